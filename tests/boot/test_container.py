"""A Debian root boots in namespaces with our packages, its daemons answer, and nothing is left behind."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import archive
import pytest
import root
import run
from container import Container, wait_for
from groups import unified_hierarchy

RUN = Path(__file__).with_name("run.py")


class Running:
    """`make run` without a terminal, its output in a file, its temporary files below a directory of the test."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(RUN), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(os.environ, TMPDIR=str(directory)),
            )

    def name(self) -> str:
        """The name of the boot, which its control group and its mounts carry; "" before it has one."""
        return next((path.name for path in self.directory.glob("upstart-boot-*")), "")

    def output(self) -> str:
        return self.log.read_text(errors="replace")


def traces(name: str) -> list[str]:
    """What a boot called `name` has left: processes in its control group, the group itself, mounts."""
    found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    hierarchy = unified_hierarchy()
    if hierarchy is not None and (hierarchy / name).exists():
        found.append(f"the control group {name}")
    for group in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if name in group.read_text():
                found.append(str(group))
        except OSError:
            continue  # it has just ended
    return found


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert not list(tmp_path.glob("upstart-*"))


def test_every_daemon_of_a_debian_root_answers_and_runlevel_0_ends_it(directory: Path) -> None:
    running = Running(directory)
    assert wait_for(lambda: bool(running.name()), 600)
    name = running.name()
    assert running.process.wait(300) == 0, running.output()
    output = running.output()
    print(output)
    assert "every daemon answers" in output
    assert "Runlevel: N 2" in output
    assert not traces(name)


@pytest.fixture
def booted(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    """A root that has come up with our packages; ended whatever state a test leaves it in."""
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    path, packages, files = run.prepare("upstart", archive.host_release())
    with Container(path, ["/sbin/init"], packages, files, lambda _: None) as container:
        boot = run.Boot(container, 60)
        boot.start()
        boot.settle()
        yield container


def test_a_boot_with_an_upgrade_in_it_is_recorded_and_replayed_elsewhere(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    path, packages, files = run.prepare("upstart", archive.host_release())
    record = directory / "record"
    with Container(path, ["/sbin/init", "--record", "/run/boot"], packages, files, lambda _: None) as container:
        container.boot()
        assert wait_for(lambda: container.run("runlevel").stdout == "N 2\n", 60, 0.2)
        assert wait_for(lambda: "rc start" not in container.run("initctl", "list").stdout, 60, 0.2)
        assert container.run("telinit", "u").returncode == 0
        assert wait_for(lambda: container.run("initctl", "version").returncode == 0, 10)
        before = running_jobs(container)
        assert container.run("initctl", "record", "--stop").returncode == 0
        record.write_bytes(container.path("/run/boot").read_bytes())
        secrets = container.run("sh", "-c", "tr '\\0' '\\n' </proc/1/environ | sed -n 's/^PATH=//p'").stdout.split()
    sbin = RUN.parents[2] / "build" / "sbin"
    replay = subprocess.run([sbin / "init-replay", record], capture_output=True, text=True)
    print(replay.stdout[:2000])
    assert replay.returncode == 0, replay.stdout + replay.stderr
    shown = {line.strip() for line in replay.stdout.splitlines()}
    assert set(before) <= shown and len(before) >= len(root.NATIVE)
    assert "init went on after a re-exec" in replay.stdout
    text = record.read_text()
    assert secrets and not any(secret in text for secret in secrets)
    # From where the first file systems were there, the boot goes on in virtual time.
    words = [str(sbin / "init-simulate"), "--no-races", "--json", f"--from={record}", "--until=virtual-filesystems"]
    goes_on = subprocess.run(words, capture_output=True, text=True)
    assert json.loads(goes_on.stdout)["states"]["rc"], goes_on.stderr


def running_jobs(container: Container) -> list[str]:
    """The lines of the job list that name a process."""
    listed = container.run("initctl", "list").stdout.splitlines()
    return sorted(line for line in listed if "start/running, process" in line)


def test_an_upgrade_of_the_packages_keeps_every_job_and_its_process(booted: Container) -> None:
    before = running_jobs(booted)
    assert len(before) >= len(root.NATIVE)
    # Where the kernel has put things, which is another place for each program.
    memory = booted.path("/proc/1/auxv")
    program = memory.read_bytes()
    for package in run.prepare("upstart", archive.host_release())[1]:
        booted.path(f"/tmp/{package.name}").write_bytes(package.read_bytes())
        done = booted.run("dpkg", "--install", f"/tmp/{package.name}", seconds=60)
        assert done.returncode == 0, done.stdout
    assert wait_for(lambda: memory.read_bytes() != program, 10)
    assert wait_for(lambda: booted.run("initctl", "version").returncode == 0, 10)
    assert running_jobs(booted) == before


def as_user(container: Container, command: str) -> str:
    """What a plain user sees of a command, errors too."""
    return container.run("su", "-s", "/bin/sh", "-c", f"PATH=/sbin:/usr/sbin:$PATH; {command} 2>&1", "nobody").stdout


def test_a_plain_user_reaches_init_by_the_bus_of_which_nobody_has_told_it(booted: Container) -> None:
    def connected() -> bool:
        return ":" in as_user(
            booted,
            "dbus-send --system --print-reply --dest=org.freedesktop.DBus / "
            "org.freedesktop.DBus.GetNameOwner string:com.ubuntu.Upstart | grep string",
        )

    assert wait_for(connected, 10), "after the boot"
    assert as_user(booted, "status memcached").startswith("memcached start/running, process ")
    assert booted.run("service", "dbus", "restart").returncode == 0
    assert as_user(booted, "status memcached").startswith("memcached start/running, process ")
    assert connected()


def test_all_that_is_enabled_for_systemd_is_started_but_what_is_named_with_a_remedy(booted: Container) -> None:
    done = booted.run("init-checkunits")
    lines = done.stdout.splitlines()
    # Of util-linux, which has no file for cron.
    assert [line for line in lines if not line.startswith(" ")] == ["fstrim.timer"]
    assert booted.run("sh", "-ec", "\n".join(lines[1:])).returncode == 0
    done = booted.run("init-checkunits")
    assert (done.returncode, done.stdout) == (0, "")


def test_a_directory_for_logs_that_is_gone_is_made_by_the_boot(booted: Container) -> None:
    def logs() -> list[str]:
        done = booted.run(
            "sh", "-c", "stat -c '%a %U:%G' /var/log/upstart; cat /var/log/upstart/flush-early-job-log.log"
        )
        return done.stdout.splitlines()

    booted.run("rm", "-r", "/var/log/upstart")
    booted.run("start", "flush-early-job-log")
    expected = ["2750 root:adm", "/var/log/upstart was missing, and has been made"]
    assert wait_for(lambda: logs() == expected, 10), logs()


@contextmanager
def booted_alone(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    files: dict[str, str],
    *options: str,
    show: Callable[[bytes], object] = lambda _: None,
    by: tuple[str, ...] = (),
) -> Iterator[Container]:
    """A root with our packages and these files, booted as a container of this kind, or as none where it is "".

    ``by`` is a command that executes init.
    """
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    path, packages, _ = run.prepare("upstart", archive.host_release())
    init = ["/usr/bin/env", *([f"container={kind}"] if kind else ["-u", "container"]), *by, "/sbin/init", *options]
    with Container(path, init, packages, {}, show) as container:
        for name, text in files.items():
            container.path(name).parent.mkdir(exist_ok=True)
            container.path(name).write_text(text)
            if text.startswith("#!"):
                container.path(name).chmod(0o755)
        container.boot()
        yield container


def says(container: Container, job: str, what: str) -> Callable[[], bool]:
    """Whether the status of a job has this in it."""
    return lambda: what in container.run("status", job).stdout


def test_a_container_has_a_login_on_its_console_also_after_single_user_mode(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with booted_alone(directory, monkeypatch, "lxc", {}) as container:
        assert wait_for(says(container, "console", "start/running, process"), 60)
        assert container.path("/run/container_type").read_text() == "lxc\n"
        done = container.run("initctl", "check-config")
        assert (done.returncode, done.stdout) == (0, "")
        # A login waits for the file systems alone.
        assert wait_for(lambda: container.run("runlevel").stdout == "N 2\n", 60)
        container.run("telinit", "S")
        assert wait_for(says(container, "rcS", "start/running"), 60)
        assert wait_for(says(container, "console", "stop/waiting"), 10)
        container.run("telinit", "2")
        assert wait_for(says(container, "console", "start/running, process"), 60)


def test_a_machine_has_none_and_tells_jobs_that_ask_that_it_is_no_container(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = "start on stopped rc RUNLEVEL=[2345] and (not-container or container CONTAINER=lxc)\nexec sleep 1000\n"
    with booted_alone(directory, monkeypatch, "", {"/etc/init/asks.conf": ask}) as container:
        assert wait_for(says(container, "asks", "start/running, process"), 60)
        assert says(container, "console", "stop/waiting")()
        assert not container.path("/run/container_type").exists()


MOUNTALL = Path(__file__).parents[2] / "etc/init/mountall.conf"
#: No job that starts on startup is left, but one that is over soon.
BROKEN = {
    "/etc/init/mountall.conf": "start on startup\ntask\nexce mountall\n",
    # The network is not waited for.
    "/etc/init/failsafe.override": "manual\n",
    # The event never finishes.
    "/etc/init/half.conf": "start on startup and never\nexec sleep 1000\n",
    # Root's password is empty.
    "/etc/shadow": "root::19000:0:99999:7:::\n",
}


def test_a_boot_that_comes_to_nothing_gives_a_shell_and_goes_on_once_mended(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = bytearray()

    def gives_shell() -> None:
        assert wait_for(lambda: b"/etc/init/mountall.conf:3: Unknown stanza\r\ninit: Mend" in said, 60)
        assert wait_for(lambda: b"for maintenance" in said, 60)
        said.clear()
        # It throws away what came before it listened.
        for _ in range(60):
            container.type("\n")
            if wait_for(lambda: b"# " in said, 1):
                return
        raise AssertionError(said)

    with booted_alone(directory, monkeypatch, "lxc", BROKEN, show=said.extend) as container:
        gives_shell()
        container.type("sleep 1.1; echo $(umask) $(ulimit -Sn) $(tty)-\n")
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert wait_for(lambda: f"0022 {limit} /dev/console-".encode() in said, 60), said
        # Left as it was: the same again.
        container.type("exit\n")
        gives_shell()
        container.path("/etc/init/mountall.conf").write_text(MOUNTALL.read_text())
        container.type("sleep 1.1; exit\n")
        assert wait_for(says(container, "console", "start/running, process"), 60)
        assert wait_for(lambda: container.run("runlevel").stdout == "N 2\n", 60)
        assert container.run("pgrep", "-x", "sulogin").stdout == ""


#: One after another, so that insserv need not know of them.
SCRIPTS = {
    "/etc/init.d/.legacy-bootordering": "",
    "/etc/rcS.d/S90asks": "",
    "/etc/init.d/asks": """#!/bin/sh
(while :; do sleep 1; done) & echo $! >/run/loop
setsid sh -c 'until [ -e /run/go ]; do sleep 0.1; done; echo late; touch /run/gone' </dev/null &
yes | head -n1
printf 'Word: '
read -r word
echo "got $word."
exit 7
""",
    "/etc/rc0.d/K00hangs": "#!/bin/sh\necho stopping\nsleep 1000\n",
    "/etc/init/rc.override": "env STOP_TIMEOUT=3\n",
}


def test_boot_scripts_may_ask_and_leave_something_running_and_none_holds_up_the_end(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = bytearray()
    # Lines about jobs would come in between.
    with booted_alone(directory, monkeypatch, "lxc", SCRIPTS, "--quiet", show=said.extend) as container:
        assert wait_for(lambda: b"Word: " in said, 60), said
        container.type("secret\n")
        assert wait_for(says(container, "console", "start/running, process"), 60)
        assert b"y\r\nWord: secret\r\ngot secret.\r\nrcS: asks failed with exit status 7\r\n" in said
        loop = container.path("/run/loop").read_text().strip()
        assert container.path(f"/proc/{loop}").exists()
        before = len(said)
        container.path("/run/go").touch()
        assert wait_for(container.path("/run/gone").exists, 10)
        log = container.path("/var/log/upstart/rcS-asks.log")
        assert wait_for(lambda: log.read_text().endswith("late\n"), 10)
        assert log.read_text() == "y\nWord: got secret.\nrcS: asks failed with exit status 7\nlate\n"
        assert b"late" not in said[before:]
        rc_log = container.path("/var/log/upstart/rc.log")
        assert wait_for(lambda: rc_log.exists() and "Starting" in rc_log.read_text(), 60)
        container.run("telinit", "0")
        assert container.wait(90) == signal.SIGINT
        assert b"hangs has been at it for 3 seconds, and is told to end" in said


SHOWN = {
    "/etc/init/aa-fails.conf": "start on startup\ntask\nexec sh -c 'exit 3'\n",
    # Before there is a login, which it might disturb.
    "/etc/init/aa-skips.conf": "start on startup\npre-start exec sh -c stop\nexec sleep 1000\n",
}


@pytest.mark.parametrize("coloured", [True, False])
def test_the_console_shows_how_each_job_went(
    directory: Path, monkeypatch: pytest.MonkeyPatch, coloured: bool
) -> None:
    said = bytearray()
    by = () if coloured else ("env", "NO_COLOR=1")
    with booted_alone(directory, monkeypatch, "lxc", SHOWN, show=said.extend, by=by) as container:
        assert wait_for(lambda: container.run("runlevel").stdout == "N 2\n", 60)
        assert wait_for(says(container, "rc", "stop/waiting"), 60)
        assert wait_for(lambda: b"aa-fails" in said and b"aa-skips" in said, 30), said
        booted = said.decode(errors="replace")
        container.run("telinit", "0")
        assert container.wait(60) == signal.SIGINT
    ended = said.decode(errors="replace")[len(booted) :]
    assert ("\x1b[32m" in booted) == coloured, said
    lines = re.sub(r"\x1b\[[0-9;]*m|\r", "", booted).split("\n")
    assert "[skipped] aa-skips" in lines, said
    failed = r"\[failed \] aa-fails: main process \([0-9]+\) terminated with status 3"
    assert len([line for line in lines if re.fullmatch(failed, line)]) == 1, said
    shown = [line.removeprefix("[  ok   ] ") for line in lines if line.startswith("[  ok   ] ")]
    # In the order in which they end, each once; not what has no process, nor logins.
    assert [name for name in shown if name in ("hostname", "mounted-run", "mountall")] in (
        ["hostname", "mounted-run", "mountall"], ["mounted-run", "hostname", "mountall"]
    ), said  # fmt: skip
    assert len(shown) == len(set(shown)) and not {"mountall.sh", "console", "tty1"}.intersection(shown), said
    stopped = re.sub(r"\x1b\[[0-9;]*m|\r", "", ended).split("\n")
    assert "[  ok   ] cron stopped" in stopped and "[  ok   ] rc" in stopped, said
    assert not [line for line in stopped if "console" in line or "tty" in line], said


#: By their numbers, before each of the places; the last asks how many processes there are, and what is mounted.
PLACES = {
    **{
        f"/etc/rc0.d/{link}": f"#!/bin/sh\necho place {link} $* $RUNLEVEL $(ps -eo args | grep -c '[s]leep 987')\n"
        for link in ("K00early", "K40remote", "K55network", "K75local", "K85root", "K95last")
    },
    **{f"/etc/rc0.d/{link}": "#!/bin/sh\necho must not run\n" for link in ("K20sendsigs", "K50umountnfs.sh",
       "K60networking", "K80umountfs", "K90umountroot", "K99halt", "K01udev")},
    "/etc/init/tells.conf": "start on unmounted-remote-filesystems or deconfiguring-networking\n"
    "instance $UPSTART_EVENTS\ntask\nconsole output\nexec echo event $UPSTART_EVENTS\n",
    "/etc/init/talks.conf": "start on runlevel 2\nstop on deconfiguring-networking\nconsole output\n"
    "exec sleep 1000\npost-stop exec echo network has stopped\n",
    "/etc/init/networking.override": "post-stop exec sh -c 'echo interfaces go, $UPSTART_STOP_EVENTS $RUNLEVEL'\n",
}  # fmt: skip


def test_scripts_of_others_and_events_have_their_places_at_the_end(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = bytearray()
    with booted_alone(directory, monkeypatch, "lxc", PLACES, "--quiet", show=said.extend) as container:
        assert wait_for(says(container, "talks", "start/running, process"), 60)
        assert wait_for(says(container, "networking", "start/running"), 60)
        assert wait_for(says(container, "rc", "stop/waiting"), 60)
        # The root's own have other numbers.
        names = "sendsigs umountnfs.sh networking umountfs umountroot halt"
        container.run("sh", "-c", f"for each in {names}; do rm -f /etc/rc0.d/K0?$each; done")
        # Of no job's, and of a script's.
        container.run("sh", "-c", "setsid sleep 987 >/dev/null 2>&1 </dev/null &")
        container.run("telinit", "0")
        assert container.wait(60) == signal.SIGINT
    lines = said.decode(errors="replace").split("\r\n")
    wanted = [
        "place K00early stop 0 1", "umountall: All processes are asked to end", "place K40remote stop 0 0",
        "event unmounted-remote-filesystems", "place K55network stop 0 0", "event deconfiguring-networking",
        "network has stopped", "interfaces go, runlevel 0", "place K75local stop 0 0", "place K85root stop 0 0",
        "place K95last stop 0 0", "umountall: The machine is switched off",
    ]  # fmt: skip
    found = [line for line in lines if line in wanted]
    # The two that the same event brings come in any order.
    event = found.index("network has stopped") if "network has stopped" in found else 0
    if found[event - 1 : event + 2] == wanted[4:5] + ["network has stopped", "event deconfiguring-networking"]:
        found[event : event + 2] = wanted[5:7]
    assert found == wanted, said.decode(errors="replace")
    assert b"must not run" not in said


@pytest.mark.parametrize("options", [["--confdir=/etc/mine"], ["--no-startup-event"]])
def test_who_has_jobs_of_his_own_or_no_boot_gets_no_shell(
    directory: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    files = {**BROKEN, "/etc/mine/job.conf": "start on startup\ntask\nexec true\n"}
    with booted_alone(directory, monkeypatch, "lxc", files, *options) as container:
        assert wait_for(lambda: container.run("initctl", "emit", "anything").returncode == 0, 30)
        assert container.run("pgrep", "-x", "sulogin").stdout == ""


def test_the_installed_programs_serve_a_session_and_runlevel_6_reboots(booted: Container) -> None:
    script = Path(__file__).parents[1] / "autopkgtest/session"
    booted.path("/tmp/session").write_bytes(script.read_bytes())
    done = booted.run("sh", "/tmp/session", seconds=60)
    assert done.returncode == 0, done.stdout
    booted.run("telinit", "6")
    assert booted.wait(60) == signal.SIGHUP


#: Jobs that nothing stops.
UNSTOPPED = {
    "/etc/init/holds.conf": "start on runlevel 2\nrespawn\nexec sh -c 'exec sleep 1000 3>>/var/holds'\n",
    "/etc/init/stubborn.conf": "start on runlevel 2\nrespawn\nkill timeout 1\n"
    "script\ntrap '' TERM\nwhile :; do sleep 0.1; done\nend script\n",
}


def test_jobs_that_come_back_and_hold_files_do_not_hold_the_end(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = bytearray()
    with booted_alone(directory, monkeypatch, "lxc", UNSTOPPED, "--verbose", show=said.extend) as container:
        assert wait_for(says(container, "console", "start/running, process"), 60)
        for job in ("holds", "stubborn"):
            assert wait_for(says(container, job, "start/running, process"), 60)
        container.run("telinit", "0")
        assert container.wait(60) == signal.SIGINT
    before, asking, after = said.decode(errors="replace").partition("All processes are asked to end")
    assert asking, said
    for job, name in (("holds", "TERM"), ("stubborn", "KILL")):
        assert re.search(rf"{job} main process \([0-9]+\) killed by {name} signal", before), said
    assert "Waiting for processes" not in after and "do not end" not in after, said


#: As containers of Docker and Podman are run.
WITHOUT_REBOOT = ("setpriv", "--bounding-set", "-sys_boot")


@pytest.mark.parametrize(
    ("asked", "status"), [("SIGTERM", 0), ("SIGRTMIN+3", 0), ("poweroff", 0), ("reboot", 133), ("SIGPWR", 0)]
)
def test_a_container_that_may_not_reboot_ends_in_order_and_exits(
    directory: Path, monkeypatch: pytest.MonkeyPatch, asked: str, status: int
) -> None:
    said = bytearray()
    with booted_alone(directory, monkeypatch, "docker", {}, show=said.extend, by=WITHOUT_REBOOT) as container:
        assert wait_for(says(container, "rc", "stop/waiting"), 60)
        assert wait_for(lambda: container.run("runlevel").stdout == "N 2\n", 60)
        assert wait_for(says(container, "rc", "stop/waiting"), 60)
        number = {"SIGTERM": signal.SIGTERM, "SIGRTMIN+3": signal.SIGRTMIN + 3, "SIGPWR": signal.SIGPWR}.get(asked)
        if number is None:
            container.run(asked)
        else:
            os.kill(container.pid, number)
        assert container.end(60) == status, said
    assert b"All processes are asked to end" in said


def test_a_run_ends_with_the_system_that_somebody_ends_from_inside(directory: Path) -> None:
    environment = dict(os.environ, TMPDIR=str(directory), TERM="dumb")
    runner, terminal = pty.fork()
    if runner == 0:
        os.execve(sys.executable, [sys.executable, str(RUN)], environment)
    shown = b""
    try:
        end = time.monotonic() + 300
        asked = False
        while select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]:
            try:
                shown += os.read(terminal, 65536)
            except OSError:  # the last process has closed it
                break
            if not asked and re.search(rb"A shell inside[^#]*# ", shown):
                os.write(terminal, b"reboot; sleep 1000\n")
                asked = True
        assert os.waitstatus_to_exitcode(os.waitpid(runner, 0)[1]) == 0, shown.decode(errors="replace")
        runner = 0
    finally:
        if runner:
            os.kill(runner, signal.SIGTERM)
            os.waitpid(runner, 0)
        os.close(terminal)
    assert b"PID 1 has restarted the system, as asked inside." in shown


def test_an_interrupted_boot_leaves_nothing_behind(directory: Path) -> None:
    running = Running(directory)
    # By the first line of a console the packages are installed and init is running.
    assert wait_for(lambda: running.output().count("\n") > 3 or running.process.poll() is not None, 600)
    name = running.name()
    assert name, running.output()

    def ended() -> bool:
        # Again and again, as by somebody who is impatient: cleaning up is not to be interrupted.
        running.process.send_signal(signal.SIGTERM)
        return running.process.poll() is not None

    assert wait_for(ended, 60, 0.005)
    assert running.process.returncode != 0
    assert not traces(name)
