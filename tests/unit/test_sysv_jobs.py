"""The shipped jobs: that each can be read, and that their scripts decide as the System V boot always did."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from upstart.conf.eventline import parse_event
from upstart.conf.jobclass import Match
from upstart.conf.parse import parse_job
from upstart.initctl.commands_config import INIT_EVENTS

DIRECTORY = Path(__file__).parents[2] / "etc/init"
FILES = sorted(DIRECTORY.glob("*.conf"))

#: Commands of ours that the scripts call; in these tests each writes down how it was called.
COMMANDS = ("initctl", "telinit", "sulogin", "start", "stop", "status", "halt", "reboot", "poweroff", "sleep")


def script_of(name: str, process: str = "main") -> str:
    definition = parse_job(name, (DIRECTORY / f"{name}.conf").read_text(), name).processes[process]
    assert definition.script
    return definition.command


class Sandbox:
    """A directory in the place of the files that scripts read, and of the programs that they run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = root / "calls"
        (root / "bin").mkdir()
        for name in COMMANDS:
            self.program(root / "bin" / name, name)
        for name in ("rc", "rcS"):
            self.program(root / "etc/init.d" / name, f"{name} of sysv-rc")
        self.program(root / "usr/libexec/upstart/rcS", "rcS")
        self.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro quiet\n")

    def program(self, path: Path, name: str, status: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        say = f"""echo {name} "$@" ${{TELL:+"$RUNLEVEL $PREVLEVEL $UPSTART_JOB"}} >> {self.calls}"""
        path.write_text(f"#!/bin/sh\n{say}\nexit {status}\n")
        path.chmod(0o755)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def run(self, script: str, **env: str) -> list[str]:
        """Runs a job's script as init does, and gives the commands it called."""
        for path in ("/etc/", "/proc/", "/lib/init/", "/dev/", "/run/", "/usr/libexec/", "/sys/"):
            script = script.replace(path, str(self.root) + path)
        self.status = subprocess.run(["/bin/sh", "-e", "-c", script], check=False, timeout=20,
                                     env={"PATH": f"{self.root}/bin:/usr/bin:/bin", **env}).returncode
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def test_the_jobs_of_the_original_are_there() -> None:
    names = {path.stem for path in FILES}
    assert names >= {"rc-sysinit", "rcS", "rc", "control-alt-delete", "console", "shutdown",
                     *(f"tty{number}" for number in range(1, 7))}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
class TestEveryJob:
    def test_is_understood_and_says_what_it_is_for(self, path: Path) -> None:
        text = path.read_text()
        job = parse_job(path.stem, text, str(path))
        assert job.description
        assert text.startswith("# ") and text.endswith("\n")
        assert max(map(len, text.splitlines())) <= 120
        assert "main" in job.processes

    def test_has_scripts_that_the_shell_understands(self, path: Path) -> None:
        for definition in parse_job(path.stem, path.read_text(), str(path)).processes.values():
            subprocess.run(["/bin/sh", "-n", "-c", definition.command], check=True)


class TestRcSysinit:
    #: What the scripts have done, where nobody else tells it.
    MOUNTED = tuple(f"initctl emit --no-wait {event}" for event in (
        "virtual-filesystems", "local-filesystems", "remote-filesystems", "filesystem"))

    def boot(self, sandbox: Sandbox, **env: str) -> list[str]:
        given = {"DEFAULT_RUNLEVEL": "2", "RUNLEVEL": "", "PREVLEVEL": "", "UPSTART_JOB": "rc-sysinit", **env}
        return sandbox.run(script_of("rc-sysinit"), **given)

    @pytest.mark.parametrize(("program", "env"), [("usr/libexec/upstart/rcS", {}),
                                                  ("bin/telinit", {"FROM_SINGLE_USER_MODE": "y"})])
    def test_is_not_cut_off_by_the_runlevel_that_it_enters(self, sandbox: Sandbox, program: str,
                                                           env: dict[str, str]) -> None:
        last = f"#!/bin/sh\ntrap '' TERM\nkill -TERM $PPID\necho survived >> {sandbox.calls}\n"
        (sandbox.root / program).write_text(last)
        assert self.boot(sandbox, **env) == ["survived"]
        assert sandbox.status == 0

    def test_leaves_scripts_events_and_runlevel_to_one_program(self, sandbox: Sandbox) -> None:
        assert self.boot(sandbox) == ["rcS 2"]

    def test_lets_scripts_be_ended_by_signals(self, sandbox: Sandbox) -> None:
        (sandbox.root / "usr/libexec/upstart/rcS").write_text(
            f"#!/bin/sh\necho $(trap) $(grep SigIgn /proc/self/status) >> {sandbox.calls}\n")
        (call,) = self.boot(sandbox)
        assert not int(call.split()[-1], 16) & 1 << 14

    def test_is_over_when_it_is_stopped_while_the_scripts_run(self, sandbox: Sandbox) -> None:
        (sandbox.root / "usr/libexec/upstart/rcS").write_text("#!/bin/sh\nkill -TERM $$\n")
        assert self.boot(sandbox) == []
        assert sandbox.status == 143

    def test_enters_the_runlevel_where_that_program_could_not(self, sandbox: Sandbox) -> None:
        sandbox.program(sandbox.root / "usr/libexec/upstart/rcS", "rcS", 3)
        assert self.boot(sandbox) == ["rcS 2", *self.MOUNTED, "telinit 2"]

    @pytest.mark.parametrize("status", [1, 127])
    def test_has_sysv_rc_run_the_scripts_where_it_cannot(self, sandbox: Sandbox, status: int) -> None:
        sandbox.program(sandbox.root / "usr/libexec/upstart/rcS", "rcS", status)
        # Without the job's name, the scripts start the jobs that stand in for them.
        assert self.boot(sandbox, TELL="1") == [
            "rcS 2   rc-sysinit", "rcS of sysv-rc S N ", *(f"{call}   rc-sysinit" for call in self.MOUNTED),
            "telinit 2   rc-sysinit"]

    def test_is_not_stopped_by_a_script_that_fails(self, sandbox: Sandbox) -> None:
        (sandbox.root / "usr/libexec/upstart/rcS").unlink()
        sandbox.program(sandbox.root / "etc/init.d/rcS", "rcS of sysv-rc", 1)
        assert self.boot(sandbox) == ["rcS of sysv-rc", *self.MOUNTED, "telinit 2"]

    def test_finds_rcs_where_sysv_rc_keeps_it(self, sandbox: Sandbox) -> None:
        (sandbox.root / "usr/libexec/upstart/rcS").unlink()
        (sandbox.root / "etc/init.d/rcS").unlink()
        sandbox.program(sandbox.root / "lib/init/rcS", "rcS below lib")
        assert self.boot(sandbox) == ["rcS below lib", *self.MOUNTED, "telinit 2"]

    def test_heeds_the_settings_of_rcs(self, sandbox: Sandbox) -> None:
        sandbox.write("etc/default/rcS", "VERBOSE=extra\nfalse\n")
        (sandbox.root / "usr/libexec/upstart/rcS").write_text(f"#!/bin/sh\necho $VERBOSE >> {sandbox.calls}\n")
        assert self.boot(sandbox) == ["extra"]

    def test_does_none_of_it_after_single_user_mode(self, sandbox: Sandbox) -> None:
        assert self.boot(sandbox, FROM_SINGLE_USER_MODE="y") == ["telinit 2"]

    @pytest.mark.parametrize(
        ("words", "calls"),
        [
            ("single", ["rcS S"]),
            ("-s", ["rcS S"]),
            ("S", ["rcS S"]),
            ("s", ["rcS s"]),
            ("3", ["rcS 3"]),
            ("3 1", ["rcS 1"]),
            ("7 root=3 s3", ["rcS 2"]),
            ("emergency", ["sulogin", "rcS 2"]),
            ("-b 5", ["sulogin", "rcS 5"]),
        ],
    )
    def test_obeys_the_kernel_command_line(self, sandbox: Sandbox, words: str, calls: list[str]) -> None:
        sandbox.write("proc/cmdline", f"quiet {words} ro\n")
        assert self.boot(sandbox) == calls

    @pytest.mark.parametrize(
        ("inittab", "level"),
        [
            ("id:3:initdefault:\n", "3"),
            ("# id:3:initdefault:\nid:5:initdefault:", "5"),
            ("#id:3:initdefault:\nid:5:initdefault:\n", "5"),
            ("si::sysinit:/etc/init.d/rcS\nid:S:initdefault:\n1:2345:respawn:/sbin/getty 38400 tty1\n", "S"),
            ("id:7:initdefault:\nid:23:initdefault:\n", "2"),
        ],
    )
    def test_obeys_inittab(self, sandbox: Sandbox, inittab: str, level: str) -> None:
        sandbox.write("etc/inittab", inittab)
        assert self.boot(sandbox) == [f"rcS {level}"]

    def test_obeys_the_kernel_command_line_before_inittab(self, sandbox: Sandbox) -> None:
        sandbox.write("etc/inittab", "id:3:initdefault:\n")
        sandbox.write("proc/cmdline", "4\n")
        assert self.boot(sandbox) == ["rcS 4"]

    @pytest.mark.parametrize(
        ("words", "inittab", "level"),
        [("single", "", "2"), ("single", "3", "3"), ("S", "3", "2"), ("emergency", "S", "2"), ("3", "", "3")],
    )
    def test_leaves_single_user_mode_for_a_runlevel_of_many(self, sandbox: Sandbox, words: str, inittab: str,
                                                            level: str) -> None:
        sandbox.write("proc/cmdline", words + "\n")
        if inittab:
            sandbox.write("etc/inittab", f"id:{inittab}:initdefault:\n")
        assert self.boot(sandbox, FROM_SINGLE_USER_MODE="y") == [f"telinit {level}"]


class TestRc:
    def change(self, sandbox: Sandbox, **env: str) -> list[str]:
        return sandbox.run(script_of("rc"), **env)

    def test_runs_the_scripts_of_the_runlevel(self, sandbox: Sandbox) -> None:
        assert self.change(sandbox, RUNLEVEL="2", PREVLEVEL="N", TELL="1") == ["rc of sysv-rc 2 2 N "]
        assert sandbox.status == 0

    def test_fails_with_them(self, sandbox: Sandbox) -> None:
        sandbox.program(sandbox.root / "etc/init.d/rc", "rc", 3)
        assert self.change(sandbox, RUNLEVEL="3") == ["rc 3"]
        assert sandbox.status == 3

    @pytest.mark.parametrize("status", [0, 1])
    @pytest.mark.parametrize(
        ("env", "end"),
        [
            ({"RUNLEVEL": "0"}, "poweroff -f"),
            ({"RUNLEVEL": "0", "INIT_HALT": "POWEROFF"}, "poweroff -f"),
            ({"RUNLEVEL": "0", "INIT_HALT": "HALT"}, "halt -f"),
            ({"RUNLEVEL": "6"}, "reboot -f"),
        ],
    )
    def test_ends_the_machine_where_no_script_did(self, sandbox: Sandbox, env: dict[str, str], end: str,
                                                  status: int) -> None:
        sandbox.program(sandbox.root / "etc/init.d/rc", "rc", status)
        assert self.change(sandbox, **env) == [f"rc {env['RUNLEVEL']}", end]


class TestSingleUserMode:
    def test_ending_the_shell_goes_on_with_the_boot(self, sandbox: Sandbox) -> None:
        calls = sandbox.run(script_of("rcS", "post-stop"))
        assert calls == ["start --no-wait rc-sysinit FROM_SINGLE_USER_MODE=y"]

    def test_a_change_of_runlevel_does_not(self, sandbox: Sandbox) -> None:
        assert sandbox.run(script_of("rcS", "post-stop"), UPSTART_STOP_EVENTS="runlevel") == []
        assert sandbox.status == 0


@pytest.mark.parametrize("number", range(1, 7))
class TestTerminals:
    def test_nothing_is_started_where_there_is_no_such_terminal(self, sandbox: Sandbox, number: int) -> None:
        script = script_of(f"tty{number}", "pre-start")
        sandbox.write(f"dev/tty{number}", "no device")
        assert sandbox.run(script) == ["stop"]
        assert sandbox.status == 0

    def test_a_login_is_offered_where_there_is(self, sandbox: Sandbox, number: int) -> None:
        (sandbox.root / "dev").mkdir()
        os.symlink("/dev/null", sandbox.root / f"dev/tty{number}")
        assert sandbox.run(script_of(f"tty{number}", "pre-start")) == []
        assert sandbox.status == 0

    def test_the_job_of_a_serial_console_can_be_derived(self, sandbox: Sandbox, number: int) -> None:
        """Test beds are set up with just these substitutions."""
        text = (DIRECTORY / f"tty{number}.conf").read_text().replace(f"tty{number}", "ttyS0")
        text = re.sub(" *exec.*$", "exec /sbin/getty -L ttyS0 115200 vt102", text, flags=re.MULTILINE)
        job = parse_job("ttyS0", text, "ttyS0.conf")
        assert job.processes["main"].command == "/sbin/getty -L ttyS0 115200 vt102"
        assert "/dev/ttyS0" in job.processes["pre-start"].command
        assert job.respawn


class TestContainerDetect:
    @pytest.mark.parametrize("name", ["lxc", "systemd-nspawn", "some thing"])
    def test_says_again_what_init_has_found_out(self, sandbox: Sandbox, name: str) -> None:
        sandbox.write("run/container_type", f"{name}\n")
        assert sandbox.run(script_of("container-detect")) == [f"initctl emit --no-wait container CONTAINER={name}"]
        assert sandbox.status == 0

    def test_says_again_that_this_is_none(self, sandbox: Sandbox) -> None:
        assert sandbox.run(script_of("container-detect")) == ["initctl emit --no-wait not-container"]
        assert sandbox.status == 0

    def test_is_no_part_of_the_boot(self) -> None:
        text = (DIRECTORY / "container-detect.conf").read_text()
        assert re.findall("^start on (.*)", text, re.MULTILINE) == ["runlevel [1S]"]


class TestSerialGettys:
    def serve(self, sandbox: Sandbox, active: str) -> list[str]:
        sandbox.write("sys/class/tty/console/active", active)
        for name in ("ttyS0", "ttyS1", "hvc0", "tty0", "tty1", "ttynull"):
            path = sandbox.root / "dev" / name
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                path.symlink_to("/dev/null")
        for path in FILES:
            shutil.copy(path, sandbox.root / "etc/init")
        calls = sandbox.run(script_of("serial-gettys"))
        assert sandbox.status == 0
        return [call.removeprefix("start --no-wait serial-getty TTY=") for call in calls]

    @pytest.fixture(autouse=True)
    def directory(self, sandbox: Sandbox) -> None:
        (sandbox.root / "etc/init").mkdir(parents=True)

    def test_serves_each_console_of_the_kernel_that_is_no_screen(self, sandbox: Sandbox) -> None:
        assert self.serve(sandbox, "ttyS0 hvc0 tty0\n") == ["ttyS0", "hvc0"]

    @pytest.mark.parametrize("active", ["tty0\n", "", "tty1\n", "ttyS9\n", "ttynull tty0\n"])
    def test_starts_nothing_on_a_machine_without_one(self, sandbox: Sandbox, active: str) -> None:
        assert self.serve(sandbox, active) == []

    def test_leaves_what_a_job_serves_to_that(self, sandbox: Sandbox) -> None:
        sandbox.write("etc/init/login.conf", "# as on ttyS1\nstart on boot\nexec /sbin/getty -L ttyS0 115200\n")
        assert self.serve(sandbox, "ttyS0 ttyS1 ttyS\n") == ["ttyS1"]
        sandbox.write("etc/init/deep/er.conf", "env TTY=ttyS1\nexec /sbin/getty $TTY\n")
        assert self.serve(sandbox, "ttyS0 ttyS1 hvc0\n")[1:] == ["hvc0"]
        sandbox.write("etc/init/hvc0.override", "manual\n")
        assert self.serve(sandbox, "hvc0\n")[2:] == []

    def test_the_login_is_of_that_terminal_and_comes_back(self) -> None:
        job = parse_job("serial-getty", (DIRECTORY / "serial-getty.conf").read_text(), "serial-getty")
        assert job.instance == "$TTY" and job.respawn
        assert " $TTY " in job.processes["main"].command


class TestTmpfiles:
    @pytest.fixture(autouse=True)
    def devices(self, sandbox: Sandbox) -> None:
        sandbox.write("dev/null", "")

    def test_are_made_once_in_a_boot(self, sandbox: Sandbox) -> None:
        sandbox.program(sandbox.root / "bin/systemd-tmpfiles", "systemd-tmpfiles")
        for _ in range(2):
            # Nothing of what is for a boot of systemd's: it bars logins.
            assert sandbox.run(script_of("tmpfiles")) == ["systemd-tmpfiles --create"]
            assert sandbox.status == 0

    def test_are_not_missed_where_there_is_no_such_program(self, sandbox: Sandbox) -> None:
        # The machine of the test may have one.
        script = script_of("tmpfiles").replace("systemd-tmpfiles", "systemd-tmpfiles-of-nobody")
        assert sandbox.run(script) == [] and sandbox.status == 0
        assert not (sandbox.root / "run/upstart").exists()

    def test_are_there_before_services_start(self) -> None:
        job = parse_job("tmpfiles", (DIRECTORY / "tmpfiles.conf").read_text(), "tmpfiles")
        assert job.task and isinstance(job.start_on, Match) and job.start_on.name == "starting"


class TestCgroupfsMount:
    def mount(self, sandbox: Sandbox, kind: str) -> list[str]:
        (sandbox.root / "bin/stat").write_text(f"#!/bin/sh\necho {kind}\n")
        (sandbox.root / "bin/stat").chmod(0o755)
        sandbox.write("dev/null", "")
        calls = sandbox.run(script_of("cgroupfs-mount"))
        assert sandbox.status == 0
        return calls

    def test_takes_nothing_away_from_version_2(self, sandbox: Sandbox) -> None:
        sandbox.program(sandbox.root / "bin/cgroupfs-mount", "cgroupfs-mount")
        assert self.mount(sandbox, "cgroup2fs") == []
        assert self.mount(sandbox, "tmpfs") == ["cgroupfs-mount"]

    def test_is_nothing_without_the_package(self, sandbox: Sandbox) -> None:
        assert self.mount(sandbox, "tmpfs") == []


class TestHookOfInterfaces:
    HOOK = DIRECTORY.parents[1] / "etc/network/if-up.d/upstart"

    @pytest.fixture(autouse=True)
    def programs(self, sandbox: Sandbox) -> None:
        for name in ("run", "dev"):
            (sandbox.root / name).mkdir()
        ifquery = sandbox.root / "bin/ifquery"
        ifquery.write_text('#!/bin/sh\n[ "$1" != --list ] || echo eth0\n')
        ifquery.chmod(0o755)

    def up(self, sandbox: Sandbox, logical: str = "eth0", **others: str) -> list[str]:
        script = self.HOOK.read_text().replace("/sbin/initctl", f"{sandbox.root}/bin/initctl")
        names = {"IFACE": "eth0", "LOGICAL": logical, "ADDRFAM": "inet", "METHOD": "dhcp", **others}
        calls = sandbox.run(script.partition("\n")[2], **names)
        assert sandbox.status == 0
        return calls

    UP = "net-device-up IFACE=eth0 LOGICAL={} ADDRFAM=inet METHOD=dhcp"

    def fifo(self, sandbox: Sandbox) -> int:
        path = sandbox.root / "run/upstart/events"
        path.parent.mkdir()
        os.mkfifo(path)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def test_writes_the_fifo_of_events(self, sandbox: Sandbox) -> None:
        fifo = self.fifo(sandbox)
        assert self.up(sandbox) == []
        assert os.read(fifo, 4096).decode() == self.UP.format("eth0") + "\nstatic-network-up\n"
        os.close(fifo)

    def test_leaves_the_loopback_to_init(self, sandbox: Sandbox) -> None:
        fifo = self.fifo(sandbox)
        sandbox.write("run/upstart/announced.lo", "")
        assert self.up(sandbox, "lo", IFACE="lo") == []
        assert os.read(fifo, 4096) == b"static-network-up\n"
        # Other addresses than init gives it, and what is up again after it was down.
        for again in ({"ADDRFAM": "inet6"}, {}):
            self.up(sandbox, "lo", IFACE="lo", **again)
            assert os.read(fifo, 4096).startswith(b"net-device-up IFACE=lo LOGICAL=lo ADDRFAM=inet")
            script = (self.HOOK.parents[1] / "if-down.d/upstart").read_text()
            sandbox.run(script.replace("/sbin/initctl", f"{sandbox.root}/bin/initctl"), IFACE="lo")
        os.close(fifo)

    @pytest.mark.parametrize("name", ["two words", "it's", "back\\slash", "a#b", "", "b=c"])
    def test_tells_every_value_as_it_is(self, sandbox: Sandbox, name: str) -> None:
        fifo = self.fifo(sandbox)
        calls = self.up(sandbox, name)
        lines = os.read(fifo, 4096).decode().splitlines()
        if calls:
            assert calls == ["initctl emit --no-wait " + self.UP.format(name)] and lines == ["static-network-up"]
        else:
            assert parse_event(lines[0].encode())[1]["LOGICAL"] == name
        os.close(fifo)

    @pytest.mark.parametrize("kind", ["none", "file"])
    def test_calls_initctl_where_there_is_no_fifo(self, sandbox: Sandbox, kind: str) -> None:
        if kind == "file":
            sandbox.write("run/upstart/events", "")
        emit = "initctl emit --no-wait "
        assert self.up(sandbox) == [emit + self.UP.format("eth0"), emit + "static-network-up"]


class TestWaitForState:
    def wait(self, sandbox: Sandbox, **env: str) -> list[str]:
        given = {"WAITER": "a", "WAIT_FOR": "b", "TIMEOUT": "30", "MANUAL_OVERRIDE": "N", "WAIT_FOREVER": "N",
                 "WAIT_STATE": "started", "TARGET_GOAL": "start"}
        return sandbox.run(script_of("wait-for-state"), **{**given, **env})

    def test_gives_the_job_a_push_and_gives_up_after_a_while(self, sandbox: Sandbox) -> None:
        assert self.wait(sandbox) == ["status b", "start b", "sleep 30"]
        assert sandbox.status == 100

    def test_may_wait_for_the_end_of_a_job(self, sandbox: Sandbox) -> None:
        assert self.wait(sandbox, WAIT_STATE="stopped") == ["status b", "stop b", "sleep 30"]

    def test_does_not_wait_for_a_job_that_is_switched_off(self, sandbox: Sandbox) -> None:
        sandbox.write("etc/init/b.override", "manual\n")
        assert self.wait(sandbox) == []
        assert sandbox.status == 0
        assert self.wait(sandbox, MANUAL_OVERRIDE="Y") == ["status b", "start b", "sleep 30"]

    def test_does_not_wait_for_what_is_reached(self, sandbox: Sandbox) -> None:
        (sandbox.root / "bin/status").write_text("#!/bin/sh\necho $1 start/started\n")
        assert self.wait(sandbox) == []
        assert sandbox.status == 0

    def test_needs_to_know_who_waits_for_what(self, sandbox: Sandbox) -> None:
        assert self.wait(sandbox, WAIT_FOR="") == []
        assert sandbox.status == 1


def events_of(title: str) -> set[str]:
    """Events in the table below that heading of upstart-events(7)."""
    page = (DIRECTORY.parents[1] / "man/upstart-events.7").read_text().replace("\\-", "-")
    table = page.partition(f".SS {title}\n")[2].partition(".TE\n")[0]
    return set(re.findall(r"^(?:\\fB)?([a-z/-]+)(?:\\fP\(7\))?@", table, re.MULTILINE)) - {"event"}


def test_check_config_knows_every_event_that_init_and_the_boot_emit() -> None:
    emitted = [event for file in FILES for event in parse_job(file.stem, file.read_text(), file.name).emits]
    of_init, of_boot = events_of("Events of init"), events_of("Events of the boot and of System V commands")
    others = events_of("Events that need a program of their own")
    assert {"startup", "child-subreaper-failed"} <= of_init and {"static-network-up", "runlevel"} <= of_boot
    # A session's end is announced in sessions alone.
    assert of_init == {*INIT_EVENTS, "session-end"} - {"debug"}
    bridges = {"*-device-*[de]", *events_of("Events of bridges")}
    assert of_boot <= set(emitted) <= of_boot | others | bridges
    assert len(emitted) == len(set(emitted))


def test_what_a_job_or_a_hook_emits_some_job_declares() -> None:
    emitted = {event for file in FILES for event in parse_job(file.stem, file.read_text(), file.name).emits}
    found = set()
    root = DIRECTORY.parents[1]
    for file in [*FILES, *(root / "etc/network").glob("*/*"), *(root / "src/libexec").iterdir()]:
        found |= set(re.findall(r"\bemit (?:--no-wait )?([a-z][a-z-]+)", file.read_text()))
    assert found >= {"net-device-up", "net-device-down", "static-network-up", "container", "not-container"}
    assert found <= emitted
