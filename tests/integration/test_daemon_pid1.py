"""PID 1 in namespaces of its own: what only the first process of a system has to do."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from daemon_init import MANAGER, PROGRAMS, UPSTART, wait_for

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("unshare") or not shutil.which("nsenter"), reason="needs root and namespaces"
)

#: Devices of its own, and with BARE=1 a machine on which nothing is mounted yet.
PREPARE = r"""
mount -t tmpfs -o mode=755 tmpfs /run; : >/run/utmp
if [ "$BARE" ]; then
    mount -t tmpfs tmpfs /dev; mkdir /dev/pts; mknod -m 666 /dev/ptmx c 5 2
    mkfifo /dev/kmsg /dev/console
else
    mount -t tmpfs -o mode=755 tmpfs /dev; mkdir /dev/pts; mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/tty c 5 0
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts /dev/pts; mknod -m 666 /dev/ptmx c 5 2
    ln -s "$W/kmsg" /dev/kmsg; ln -s "$W/console" /dev/console
fi
[ "$BARE" ] && { umount -l /sys; umount -l /proc; }
w=$W; unset W BARE
exec "$@" --confdir "$w/conf" --logdir "$w/log" --verbose
"""

JOBS = {
    "boot": 'start on startup\ntask\nscript\necho "boot $$ $UPSTART_EVENTS $PATH"\numask\nend script\n',
    "service": "start on startup\nrespawn\nexec sleep 1000\n",
    "daemon": "start on startup\nexpect fork\nexec sh -c 'sleep 1000 & exit 0'\n",
    "orphans": "task\nexec sh -c 'for i in 1 2 3 4 5 6 7 8; do (sleep 0.1 & exec true) & done'\n",
    "cad": "start on control-alt-delete\ntask\nexec echo cad\n",
    "power": "start on power-status-changed\ntask\nexec echo power\n",
    "rc": 'start on runlevel\ntask\nscript\necho "$RUNLEVEL $PREVLEVEL $INIT_HALT"\nend script\n',
    "console": "start on startup\ntask\nconsole output\nexec echo to the console\n",
    "mounts": "start on startup\ntask\nscript\nls -d /proc/self /sys/kernel /dev/null /run/initctl\nend script\n",
    "held": "start on startup and never\nexec true\n",
    "first": "start on not-container or container or net-device-up\ninstance $UPSTART_EVENTS\ntask\nexec env\n",
    "broken": "exec true\nnonsense\n",
}


class System:
    """An init as PID 1, executed ``by`` a command, seen from outside; ``pid`` is its pid out here."""

    def __init__(
        self,
        directory: Path,
        *args: str,
        bare: bool = False,
        dbus: bool = False,
        program: Path = PROGRAMS / "init",
        by: tuple[str, ...] = (),
        more: dict[str, str] | None = None,
    ) -> None:
        self.directory = directory
        (directory / "conf").mkdir(exist_ok=True)
        (directory / "log").mkdir()
        for name in ("kmsg", "console"):
            (directory / name).touch()
        for name, text in (JOBS | (more or {})).items():
            (directory / "conf" / f"{name}.conf").write_text(text)
        environ = {"PATH": os.environ["PATH"], "TERM": "linux", "W": str(directory), "BARE": "1" if bare else ""}
        command = [
            "unshare",
            "-p",
            "-f",
            "-n",
            "-m",
            "-i",
            "-u",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-ec",
            PREPARE,
            "sh",
        ]
        with open(directory / "errors", "wb") as errors:
            self.process = subprocess.Popen(
                [*command, *by, str(program), *args, *([] if dbus else ["--no-dbus"])],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )
        self.pid = wait_for(self._find)

    def _find(self) -> int:
        assert self.process.poll() is None, (self.directory / "errors").read_text()
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text() == "init\n":
            return int(children[0])
        return 0

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["nsenter", "-t", str(self.pid), "-p", "-n", "-m", "-i", "-u", "--", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20)

    def initctl(self, *words: str) -> str:
        result = self.run(str(PROGRAMS / "initctl"), *words)
        return result.stdout + result.stderr

    def job_log(self, job: str) -> str:
        path = self.directory / "log" / f"{job}.log"
        return path.read_text() if path.exists() else ""

    def kmsg(self) -> str:
        return (self.directory / "kmsg").read_text()

    def children(self) -> list[str]:
        return Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()

    def close(self) -> None:
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.process.wait(20)


@contextmanager
def running(directory: Path) -> Iterator[System]:
    """A system whose init has started its jobs, and that met no fault by the end."""
    system = System(directory)
    try:
        wait_for(lambda: "start/running" in system.initctl("status", "service"))
        yield system
        assert "Internal error" not in system.kmsg()
    finally:
        system.close()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("pid1")) as system:
        yield system


def test_it_starts_the_system(system: System) -> None:
    assert system.run("ps", "-p", "1", "-o", "comm=,args=").stdout.split() == ["init", str(PROGRAMS / "init")]
    path = "/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin"
    wait_for(lambda: system.job_log("boot").count("\n") == 2)
    words = system.job_log("boot").split()
    assert words[:1] + words[2:] == ["boot", "startup", path, "0022"]
    wait_for(lambda: "to the console" in (system.directory / "console").read_text())
    assert "Handling startup event" in system.kmsg()
    assert system.run("readlink", "/proc/1/fd/0", "/proc/1/fd/1", "/proc/1/fd/2").stdout == "/dev/null\n" * 3
    wait_for(lambda: "/run/initctl" in system.job_log("mounts"))


LOOPBACK = {"IFACE": "lo", "LOGICAL": "lo", "ADDRFAM": "inet", "METHOD": "loopback"}


def told(system: System, event: str) -> dict[str, str]:
    """The environment of the job that an event has started."""
    text: str = wait_for(lambda: system.job_log(f"first-{event}"))
    return dict(line.split("=", 1) for line in text.splitlines())


def test_it_tells_what_it_finds_itself_in(system: System) -> None:
    assert told(system, "not-container")["UPSTART_EVENTS"] == "not-container"
    assert LOOPBACK.items() <= told(system, "net-device-up").items()
    assert system.run("ip", "-o", "address", "show", "lo").stdout.count("inet") == 2
    assert system.run("cat", "/run/container_type").returncode
    assert system.run("test", "-e", "/run/upstart/announced.lo").returncode == 0
    said = system.kmsg()
    events = [said.index(f"Handling {event} event") for event in ("startup", "not-container", "net-device-up")]
    assert sorted(events) == events


@pytest.mark.parametrize("words", [("recovery",), ("--startup-event", "recovery")])
@pytest.mark.parametrize("job", [True, False])
def test_recovery_is_the_first_event_where_a_job_starts_on_it(
    tmp_path: Path, words: tuple[str, ...], job: bool
) -> None:
    text = f"start on {'recovery' if job else 'other'}\nexec sleep 1000\n"
    system = System(tmp_path, *words, more={"recovery": text})
    try:
        wait_for(lambda: "start/running" in system.initctl("status", "recovery" if job else "service"))
        said = system.kmsg()
        assert ("Handling startup event" in said) != job
        assert ("No job starts on recovery: going on with startup" in said) != job
        assert ("Handling net-device-up event" in said) != job
        assert ("start/running" in system.initctl("status", "service")) != job
        assert system.run("ip", "-o", "address", "show", "lo").stdout.count("inet") == 2
    finally:
        system.close()


def test_it_tells_where_its_jobs_and_their_logs_are(system: System) -> None:
    # Its command line does not, which it hides.
    assert f"{system.directory}/conf/boot.conf:1:" in system.initctl("cat", "boot")
    wait_for(lambda: "boot " in system.job_log("boot"))
    assert " boot " in system.initctl("log", "boot")
    assert f"{system.directory}/log/boot.log" in system.initctl("status", "--verbose", "boot")


def test_it_mounts_what_is_in_memory(system: System) -> None:
    mounts = system.run("cat", "/proc/mounts").stdout
    for line in (" /dev/shm tmpfs rw,nosuid,nodev,noexec,", " /run/lock tmpfs rw,nosuid,nodev,noexec,"):
        assert mounts.count(line) == 1
    assert system.run("stat", "-c", "%a", "/dev/shm", "/run/lock").stdout == "1777\n1777\n"
    assert int(system.run("stat", "-f", "-c", "%b", "/run/lock").stdout) == 5242880 // 4096


def test_what_is_wrong_with_a_job_is_on_the_console_and_in_the_log(system: System) -> None:
    said = "/conf/broken.conf:2: Unknown stanza"
    assert said in system.kmsg()
    assert said in (system.directory / "console").read_text()


def test_every_orphan_is_reaped(system: System) -> None:
    before = len(wait_for(system.children))
    system.initctl("start", "orphans")
    wait_for(lambda: len(system.children()) <= before)
    assert system.run("ps", "-eo", "stat").stdout.count("Z") == 0


def test_a_death_is_noticed_and_a_daemon_followed(system: System) -> None:
    status = system.initctl("status", "daemon")
    pid = int(status.split()[-1])
    assert system.run("cat", f"/proc/{pid}/comm").stdout == "sleep\n"
    assert system.run("ps", "-o", "ppid=", str(pid)).stdout.strip() == "1"
    service = system.initctl("status", "service").split()[-1]
    system.run("kill", "-KILL", service)
    wait_for(lambda: "service main process ended, respawning" in system.kmsg())
    wait_for(lambda: "start/running" in system.initctl("status", "service"))
    assert system.initctl("status", "service").split()[-1] != service


@pytest.mark.parametrize(("name", "job"), [("INT", "cad"), ("PWR", "power")])
def test_signals_of_the_kernel_are_events(system: System, name: str, job: str) -> None:
    system.run("kill", f"-{name}", "1")
    wait_for(lambda: system.job_log(job) == f"{job}\n")


def test_signals_that_mean_nothing_to_it_are_survived(system: System) -> None:
    for name in ("ALRM", "QUIT", "USR2", "WINCH", "PIPE", "USR1", "HUP", "CHLD", "SEGV"):
        system.run("kill", f"-{name}", "1")
    assert system.initctl("version") == "init (upstart 1.13.2)\n"
    wait_for(lambda: "Reloading configuration" in system.kmsg())


def request(command: int, level: str = "\0", data: bytes = b"") -> bytes:
    return struct.pack("=4i368s", 0x03091969, command, ord(level), 0, data)


def test_runlevels_are_asked_for_on_the_fifo(system: System) -> None:
    fifo = f"/proc/{system.pid}/root/run/initctl"
    assert os.stat(fifo).st_mode & 0o7777 == 0o600
    with open(fifo, "wb", buffering=0) as file:
        file.write(b"garbage")
        file.write(b"\0" * 384)
        file.write(request(1, "9"))
        file.write(request(6, data=b"INIT_HALT=POWEROFF\0LD_PRELOAD=x\0"))
        file.write(request(1, "3"))
    wait_for(lambda: system.job_log("rc") == "3 N POWEROFF\n")
    assert system.run(str(PROGRAMS / "telinit"), "4").returncode == 0
    wait_for(lambda: system.job_log("rc") == "3 N POWEROFF\n4 3 \n")


def test_a_runlevel_is_entered_though_telinit_is_another_init_s_already(tmp_path: Path) -> None:
    programs = tmp_path / "sbin"
    programs.mkdir()
    shutil.copy(PROGRAMS / "init", programs)
    shutil.copy("/bin/true", programs / "telinit")
    system = System(tmp_path, program=programs / "init")
    try:
        wait_for(lambda: "start/running" in system.initctl("status", "service"))
        if os.path.exists("/sbin/telinit"):
            assert system.run("mount", "--bind", "/bin/true", "/sbin/telinit").returncode == 0
        with open(f"/proc/{system.pid}/root/run/initctl", "wb", buffering=0) as file:
            file.write(request(6, data=b"INIT_HALT=HALT\0"))
            file.write(request(1, "s"))
        wait_for(lambda: system.job_log("rc") == "S N HALT\n")
    finally:
        system.close()


def test_telinit_u_re_executes_it_with_all_jobs(system: System) -> None:
    before = system.initctl("list")
    for words in ([str(PROGRAMS / "telinit"), "u"], ["kill", "-TERM", "1"]):
        count = system.kmsg().count("Performing stateful re-exec")
        system.run(*words)
        wait_for(lambda count=count: system.kmsg().count("Performing stateful re-exec") > count)  # type: ignore[misc]
        wait_for(lambda: system.initctl("list") == before)
    assert system.run("ps", "-p", "1", "-o", "comm=,args=").stdout.split() == ["init", str(PROGRAMS / "init")]
    # Half-met conditions, the FIFO and the signals are there as before.
    with open(f"/proc/{system.pid}/root/run/initctl", "wb", buffering=0) as file:
        file.write(request(1, "5"))
    wait_for(lambda: "5 4" in system.job_log("rc") or "5 " in system.job_log("rc"))
    system.initctl("emit", "never")
    wait_for(lambda: "held goal changed from stop to start" in system.kmsg())
    assert "Performing stateful re-exec" in system.kmsg()
    assert "Re-executing" in system.kmsg()


def test_only_root_speaks_to_it(system: System) -> None:
    drop = ["setpriv", "--reuid", "65534", "--clear-groups"]
    result = system.run(*drop, str(PROGRAMS / "initctl"), "--system", "list")
    assert result.returncode == 1 and "service" not in result.stdout


def test_environment_of_pid_1_cannot_be_changed(system: System) -> None:
    assert system.initctl("set-env", "--global", "A=1") == "initctl: Not permissible to modify PID 1 job environment\n"
    assert "PATH=" in system.initctl("list-env", "--global")


def test_end_session_is_nothing_to_it(system: System) -> None:
    send = ["dbus-send", "--peer=unix:abstract=/com/ubuntu/upstart", "--print-reply", MANAGER, UPSTART + ".EndSession"]
    if shutil.which("dbus-send"):
        assert system.run(*send).returncode == 0
    assert "start/running" in system.initctl("status", "service")


POLICY = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/></policy></busconfig>
"""


@pytest.mark.skipif(not shutil.which("dbus-daemon") or not shutil.which("dbus-send"), reason="needs dbus")
def test_usr1_has_it_look_for_the_system_bus(tmp_path: Path) -> None:
    system = System(tmp_path, dbus=True)
    daemon = None
    try:
        wait_for(lambda: "start/running" in system.initctl("status", "service"))
        system.run("mkdir", "/run/dbus")
        system.run("kill", "-USR1", "1")
        wait_for(lambda: "Unable to connect to the D-Bus system bus: Failed to connect to socket" in system.kmsg())
        (tmp_path / "bus.conf").write_text(POLICY)
        into = ["nsenter", "-t", str(system.pid), "-p", "-n", "-m", "-i", "-u", "--"]
        command = ["dbus-daemon", f"--config-file={tmp_path}/bus.conf", "--nofork", "--nopidfile"]
        daemon = subprocess.Popen([*into, *command], stderr=subprocess.DEVNULL)
        ask = ["dbus-send", "--system", "--print-reply", "--dest=com.ubuntu.Upstart", MANAGER, UPSTART + ".GetAllJobs"]
        wait_for(lambda: "ServiceUnknown" in system.run(*ask).stderr)
        system.run("kill", "-USR1", "1")
        wait_for(lambda: "/jobs/service" in system.run(*ask).stdout)
        # What goes, comes again by the same signal; a re-exec needs none.
        system.run("kill", "-TERM", "1")
        wait_for(lambda: "Performing stateful re-exec" in system.kmsg())
        wait_for(lambda: "/jobs/service" in system.run(*ask).stdout)
    finally:
        if daemon is not None:
            daemon.kill()
            daemon.wait()
        system.close()


def test_a_machine_on_which_nothing_is_mounted(tmp_path: Path) -> None:
    system = System(tmp_path, bare=True)
    try:
        wait_for(lambda: "/run/initctl" in system.job_log("mounts"), 20)
        assert "/sys/kernel" in system.job_log("mounts") and "/dev/null" in system.job_log("mounts")
        mounts = system.run("cat", "/proc/mounts").stdout
        assert " /proc proc " in mounts and " /sys sysfs " in mounts and " /dev/pts devpts " in mounts
    finally:
        system.close()


def test_a_container_keeps_what_its_manager_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its init may neither mount nor set up a network, and has a loopback that is up.
    drop = 'ip link set lo up; export container=lxc; exec setpriv --bounding-set -net_admin,-sys_admin -- "$@" --conf'
    monkeypatch.setitem(globals(), "PREPARE", PREPARE.replace('exec "$@" --conf', drop))
    system = System(tmp_path)
    try:
        assert told(system, "container")["CONTAINER"] == "lxc"
        assert LOOPBACK.items() <= told(system, "net-device-up").items()
        assert system.run("cat", "/run/container_type").stdout == "lxc\n"
        assert " /run/lock " not in system.run("cat", "/proc/mounts").stdout
        assert "/run/lock" not in system.kmsg() and "/dev/shm" not in system.kmsg()
    finally:
        system.close()


def test_without_a_loopback_that_is_up_none_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drop = 'exec setpriv --bounding-set -net_admin -- "$@" --conf'
    monkeypatch.setitem(globals(), "PREPARE", PREPARE.replace('exec "$@" --conf', drop))
    system = System(tmp_path)
    try:
        told(system, "not-container")
        assert "Handling net-device-up event" not in system.kmsg()
        assert system.run("test", "-e", "/run/upstart/announced.lo").returncode
    finally:
        system.close()


@pytest.mark.parametrize(
    "words", [["--nonsense=1", "quiet", "splash", "-x", "ro"], ["--default-console=never"], ["--confdir"]]
)
def test_no_kernel_command_line_keeps_it_from_starting(tmp_path: Path, words: list[str]) -> None:
    system = System(tmp_path, *words)
    try:
        began = time.monotonic()
        wait_for(lambda: system.initctl("version") == "init (upstart 1.13.2)\n", 20)
        assert time.monotonic() - began < 20
    finally:
        system.close()


#: How jobs go, beside those of every system here.
SHOWN = {
    "fails": "start on startup\ntask\nexec sh -c 'exit 3'\n",
    "skips": "start on startup\npre-start exec {initctl} stop\nexec sleep 1000\n",
    "later": "start on later\nexec sleep 1000\n",
    "stopped": "start on stop-of-console\nexec sleep 1000\n",
}


def test_the_console_shows_how_each_job_went_also_across_a_re_exec(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "console")
    console = os.open(tmp_path / "console", os.O_RDWR | os.O_NONBLOCK)
    (tmp_path / "conf").mkdir()
    for name, text in SHOWN.items():
        text = text.replace("{initctl}", str(PROGRAMS / "initctl"))
        (tmp_path / "conf" / f"{name}.conf").write_text(text)
    said = ""

    def shown() -> list[str]:
        nonlocal said
        try:
            said += os.read(console, 1 << 20).decode()
        except BlockingIOError:
            pass
        return [line for line in said.splitlines() if line.startswith("[")]

    # Whatever kernel this machine was booted by.
    system = System(tmp_path, by=("env", "container=lxc", "TERM=dumb"))
    try:
        wait_for(lambda: {"[  ok   ] service", "[  ok   ] boot", "[skipped] skips"} <= set(shown()))
        wait_for(lambda: any("fails" in line for line in shown()))
        system.initctl("emit", "--no-wait", "nothing")
        assert system.run(str(PROGRAMS / "telinit"), "u").returncode == 0
        system.initctl("emit", "later")
        wait_for(lambda: "[  ok   ] later" in shown())
        # What the console does not take crosses it too.
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(console, b"\n")
        system.initctl("emit", "stop-of-console")
        assert system.run(str(PROGRAMS / "telinit"), "u").returncode == 0
        wait_for(lambda: system.kmsg().count("Performing stateful re-exec") == 2)
        system.initctl("emit", "nothing")
        wait_for(lambda: "[  ok   ] stopped" in shown())
        lines = shown()
        assert len(lines) == len(set(lines)), lines
        failed = [line for line in lines if line.startswith("[failed ]")]
        assert len(failed) == 1 and failed[0].endswith(" terminated with status 3"), lines
    finally:
        system.close()
        os.close(console)
