"""The System V commands against a real init, in PID, network, mount and UTS namespaces of their own.

Nothing here can reach the machine: reboot(2) in a PID namespace ends that namespace, the socket's name belongs to the
network namespace, and /dev, /run and /var/log are the namespaces' own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from upstart.base import utmp

ROOT = Path(__file__).parents[2]

#: Becomes PID 1 of the namespaces, and then init.
ENTER = """
test $$ = 1
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/log
: >/run/utmp
: >/var/log/wtmp
mount -t tmpfs -o mode=755 tmpfs /dev
mknod -m666 /dev/null c 1 3
mknod -m666 /dev/zero c 1 5
mknod -m666 /dev/urandom c 1 9
mkdir /dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts
ln -s pts/ptmx /dev/ptmx
ln -s null /dev/console
ln -s null /dev/kmsg
exec "$@"
"""

JOB = """
start on runlevel
task
instance $RUNLEVEL$PREVLEVEL
exec /bin/sh -c 'echo "$RUNLEVEL $PREVLEVEL $INIT_HALT $FOO" >> {events}'
"""


class Namespace:
    """Namespaces whose PID 1 is init."""

    def __init__(self, directory: Path) -> None:
        self.events = directory / "events"
        self.sbin = directory / "sbin"
        conf, log = directory / "conf", directory / "log"
        conf.mkdir()
        log.mkdir()
        (conf / "note.conf").write_text(JOB.format(events=self.events))
        (conf / "service.conf").write_text("start on runlevel 2\nexec sleep 1000\n")
        subprocess.run([sys.executable, ROOT / "build-aux/programs.py", "checkout", self.sbin], check=True)
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--net", "--mount", "--ipc", "--uts", "--mount-proc"]
        options = ["--confdir", str(conf), "--logdir", str(log), "--no-dbus", "--no-startup-event"]
        init = [str(self.sbin / "init"), *options]
        self.unshare = subprocess.Popen(
            [*unshare, "/bin/sh", "-ec", ENTER, "sh", *init],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "TERM": "dumb"},
        )
        self.until(lambda: self.run("initctl", "version").returncode == 0)

    def pid(self) -> int:
        children = Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of our programs inside.  Outside there is no way to run one."""
        pid = self.pid()
        if not pid or os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid"):
            return subprocess.CompletedProcess([], 255)
        enter = ["nsenter", "-t", str(pid), "-p", "-n", "-m", "-i", "-u", "--"]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        return subprocess.run(
            [*enter, *clean, self.sbin / name, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def ok(self, name: str, *arguments: str) -> str:
        done = self.run(name, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def noted(self) -> list[str]:
        return self.events.read_text().splitlines() if self.events.exists() else []

    def records(self, path: str) -> list[tuple[int, bytes]]:
        return [(record.kind, record.user) for record in utmp.read(f"/proc/{self.pid()}/root{path}")]

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline
            assert self.unshare.poll() is None
            time.sleep(0.02)

    def end(self) -> int:
        """The signal that ended PID 1, as the kernel reports reboot(2)."""
        return -self.unshare.wait(30)

    def close(self) -> None:
        if self.unshare.poll() is None:
            pid = self.pid()
            if pid:
                os.kill(pid, signal.SIGKILL)
        self.unshare.wait()


@pytest.fixture
def ns(tmp_path: Path) -> Iterator[Namespace]:
    if os.geteuid() != 0:
        pytest.skip("making namespaces needs root")
    made = None
    try:
        made = Namespace(tmp_path)
        yield made
    finally:
        if made:
            made.close()


def test_changing_the_runlevel_emits_and_records(ns: Namespace) -> None:
    assert ns.run("runlevel").stdout == "unknown\n"
    ns.ok("telinit", "-e", "FOO=BAR", "2")
    ns.until(lambda: ns.noted() == ["2 N  BAR"])
    assert ns.ok("runlevel") == "N 2\n"
    # The boot goes by it.
    assert os.path.exists(f"/proc/{ns.pid()}/root/run/upstart/runlevel")
    ns.ok("telinit", "3")
    ns.until(lambda: ns.noted() == ["2 N  BAR", "3 2  "])
    assert ns.ok("runlevel") == "2 3\n"
    ns.ok("shutdown", "-P", "now", "good", "night")
    ns.until(lambda: ns.noted()[2:] == ["0 3 POWEROFF "])
    assert ns.ok("runlevel") == "3 0\n"
    assert ns.records("/run/utmp") == [(utmp.BOOT_TIME, b"reboot"), (utmp.RUN_LVL, b"runlevel")]
    assert ns.records("/var/log/wtmp") == [(utmp.BOOT_TIME, b"reboot"), *[(utmp.RUN_LVL, b"runlevel")] * 3]


def test_init_reads_its_configuration_and_re_executes_itself_when_told(ns: Namespace, tmp_path: Path) -> None:
    ns.ok("telinit", "2")
    ns.until(lambda: "start/running" in ns.run("initctl", "status", "service").stdout)
    before = ns.ok("initctl", "status", "service")
    (tmp_path / "conf/late.conf").write_text("exec sleep 1000\n")
    ns.ok("telinit", "q")
    ns.until(lambda: ns.run("initctl", "status", "late").returncode == 0)
    ns.ok("telinit", "u")
    assert ns.ok("initctl", "status", "service") == before
    assert ns.ok("runlevel") == "N 2\n"


@pytest.mark.parametrize(
    ("argv", "number"),
    [
        (["halt", "-d", "-f", "-i", "-h"], signal.SIGINT),
        (["poweroff", "-f"], signal.SIGINT),
        (["reboot", "-f"], signal.SIGHUP),
        (["reboot", "-f", "-n", "recovery"], signal.SIGHUP),
    ],
)
def test_the_end_is_reached_through_reboot(ns: Namespace, argv: list[str], number: int) -> None:
    ns.run(*argv)
    assert ns.end() == number


def test_only_the_record_of_the_end_may_be_written(ns: Namespace) -> None:
    ns.ok("telinit", "2")
    ns.ok("halt", "-w")
    assert ns.records("/var/log/wtmp")[-1] == (utmp.RUN_LVL, b"shutdown")
    assert ns.run("runlevel").stdout == "unknown\n"
    assert ns.unshare.poll() is None


def test_a_waiting_shutdown_can_be_cancelled_by_another(ns: Namespace) -> None:
    enter = ["nsenter", "-t", str(ns.pid()), "-p", "-n", "-m", "-i", "-u", "--"]
    waiting = subprocess.Popen([*enter, ns.sbin / "shutdown", "-r", "+5"], stderr=subprocess.PIPE, text=True)
    try:
        ns.until(lambda: os.path.exists(f"/proc/{ns.pid()}/root/run/shutdown.pid"))
        second = ns.run("shutdown", "now")
        assert (second.returncode, second.stderr) == (1, "shutdown: Another shutdown is already running\n")
        ns.ok("shutdown", "-c")
        assert waiting.communicate(timeout=30)[1] == "shutdown: Shutdown cancelled\n"
        assert waiting.returncode == 0
    finally:
        waiting.kill()
        waiting.wait()
    assert ns.noted() == []


def test_init_called_as_a_command_is_telinit_under_its_own_name(ns: Namespace, tmp_path: Path) -> None:
    def says(name: str, *arguments: str) -> str:
        done = ns.run(name, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr

    wrong = {
        "missing runlevel": [],
        "illegal runlevel: 9": ["9"],
        "missing argument: -e": ["-e"],
        "invalid option: -x": ["-x", "2"],
        "invalid option: --no-dbus": ["--no-dbus", "2"],
        "illegal runlevel: -2": ["--", "-2"],
    }
    for problem, arguments in wrong.items():
        assert says("init", *arguments) == f"init: {problem}\nTry `init --help' for more information.\n"
    assert says("telinit", "9").startswith("telinit: illegal runlevel")
    # What init itself answers, before it is telinit.
    assert says("init", "--default-console=foo", "2") == "init: invalid console type specified: foo\n"
    assert "Process management daemon." in ns.ok("init", "-e", "X=Y", "--help")
    assert ns.ok("init", "--version").startswith("init (upstart ")
    assert ns.noted() == []
    ns.ok("init", "-e", "FOO=BAR", "3")
    ns.until(lambda: ns.noted() == ["3 N  BAR"])
    assert ns.ok("runlevel") == "N 3\n"


def test_init_called_as_a_command_hands_on_to_the_telinit_of_another_init(ns: Namespace) -> None:
    other = ns.sbin / "telinit"
    other.write_text('#!/bin/sh\necho "other telinit: $*"\n')
    assert ns.ok("init", "-e", "A=B", "3") == "other telinit: -e A=B 3\n"
    assert ns.noted() == []


def write_jobs(ns: Namespace, **jobs: str) -> None:
    for name, text in jobs.items():
        (ns.events.parent / "conf" / f"{name}.conf").write_text(text.replace("{sbin}", str(ns.sbin)))
    ns.ok("initctl", "reload-configuration")


def status(ns: Namespace, job: str) -> str:
    return ns.run("status", job).stdout.rpartition(", process")[0] or ns.run("status", job).stdout.strip()


#: What umountall does about jobs.
SETTLE = f"""
import sys
sys.path[:0] = [{str(Path(__file__).resolve().parents[2] / "src")!r}]
from upstart.sysv import endprocesses
from upstart.sysv.endjobs import EndJobs

EndJobs(300.0, [], print).settle(True, endprocesses.spared())
"""
#: What rc does at the end: its scripts start jobs by name and emit events, also through a process in the background.
RC = """
start on runlevel [06]
env PATH=/usr/sbin:/usr/bin:/sbin:/bin
task
script
    {sbin}/start by-script || :
    ({sbin}/initctl emit --no-wait from-script; {sbin}/initctl emit --no-wait from-script) &
    wait
    {sbin}/initctl emit --no-wait scripts-done
    while [ ! -e {go} ]; do sleep 0.05; done
    /usr/bin/python3 {settle} >>{said} 2>&1 || echo "status $?" >>{said}
    {sbin}/initctl emit --no-wait rest-stopped
    sleep 1000
end script
"""


@pytest.mark.parametrize("restarted", [False, True])
def test_at_the_end_nothing_comes_back_and_what_is_left_is_stopped(ns: Namespace, restarted: bool) -> None:
    go, said, settle = (ns.events.parent / name for name in ("go", "said", "settle.py"))
    settle.write_text(SETTLE)
    write_jobs(
        ns,
        rc=RC.replace("{go}", str(go)).replace("{said}", str(said)).replace("{settle}", str(settle)),
        respawns="respawn\nrespawn limit unlimited\nexec sleep 1000",
        stubborn="kill timeout 1\nscript\ntrap '' TERM\nwhile :; do sleep 0.1; done\nend script",
        splash="exec sleep 1000",
        **{
            "by-script": "exec sleep 1000",
            "by-emit": "start on from-script\nexec sleep 1000",
            "by-stranger": "exec sleep 1000",
            "by-event": "start on stranger\nexec sleep 1000",
            "at-last": "start on rest-stopped\nexec sleep 1000",
            "ready": "start on scripts-done\nexec sleep 1000",
        },
    )
    for job in ("respawns", "stubborn", "splash"):
        ns.ok("start", job)
    splash = ns.run("status", "splash").stdout.split()[-1]
    omit = Path(f"/proc/{ns.pid()}/root/run/sendsigs.omit.d")
    omit.mkdir(exist_ok=True)
    (omit / "splash").write_text(f"{splash}\n")
    ns.ok("telinit", "0")
    ns.until(lambda: status(ns, "ready") == "ready start/running")
    if restarted:
        ns.ok("telinit", "u")
    assert status(ns, "by-script") == "by-script start/running"
    assert status(ns, "by-emit") == "by-emit start/running"
    ns.ok("initctl", "emit", "stranger")
    assert status(ns, "by-event") == "by-event stop/waiting"
    refused = ns.run("start", "by-stranger")
    assert refused.returncode == 1
    assert refused.stderr == "start: The machine is being shut down: only what does that may start jobs\n"
    pid = int(ns.run("status", "respawns").stdout.split()[-1])
    ns.run("initctl", "version")
    subprocess.run(["nsenter", "-t", str(ns.pid()), "-p", "-m", "kill", "-9", str(pid)], check=True)
    ns.until(lambda: status(ns, "respawns") == "respawns stop/waiting")
    go.touch()
    ns.until(lambda: status(ns, "at-last") == "at-last start/running")
    assert status(ns, "stubborn") == "stubborn stop/waiting"
    assert status(ns, "splash") == "splash start/running"
    assert not said.read_text()
    # Another runlevel takes it back.
    ns.ok("telinit", "2")
    ns.ok("start", "by-stranger")
    ns.ok("initctl", "emit", "stranger")
    assert status(ns, "by-event") == "by-event start/running"


def test_a_boot_that_hangs_before_rc_can_be_ended(ns: Namespace) -> None:
    write_jobs(
        ns,
        rc="start on runlevel\nstop on runlevel [!$RUNLEVEL]\nexport RUNLEVEL\ntask\nexec sleep 1000",
        hangs="start on starting rc\ntask\nexec sleep 1000",
    )
    ns.ok("telinit", "2")
    ns.until(lambda: status(ns, "rc") == "rc start/starting")
    ns.ok("telinit", "6")
    ns.until(lambda: status(ns, "rc") == "rc start/running")


def test_who_is_at_the_machine_is_heard_to_its_end(ns: Namespace) -> None:
    """By Control-Alt-Delete; and a request on sysvinit's FIFO is telinit's."""
    write_jobs(ns, keys="start on control-alt-delete\nexec sleep 1000")
    ns.ok("telinit", "6")
    os.kill(ns.pid(), signal.SIGINT)
    ns.until(lambda: status(ns, "keys") == "keys start/running")
