"""The shipped jobs: that each can be read, and that their scripts decide as the System V boot always did."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

from manual import Event, events
from upstart.base.names import JOB_EVENTS
from upstart.conf.eventline import parse_event
from upstart.conf.jobclass import Match
from upstart.conf.parse import parse_job
from upstart.engine.condition import leaves
from upstart.initctl.commands_config import INIT_EVENTS
from upstart.sysv import standins
from upstart.sysv.standins import waits_for_turn
from upstart.tools.knownevents import job_of

DIRECTORY = Path(__file__).parents[2] / "etc/init"
FILES = sorted(DIRECTORY.glob("*.conf"))
SERVICE_JOBS = DIRECTORY.parents[1] / "debian/jobs"

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
        self.sourced("boot-runlevel")
        self.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro quiet\n")

    def program(self, path: Path, name: str, status: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        say = f"""echo {name} "$@" ${{TELL:+"$RUNLEVEL $PREVLEVEL $UPSTART_JOB"}} >> {self.calls}"""
        path.write_text(f"#!/bin/sh\n{say}\nexit {status}\n")
        path.chmod(0o755)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def sourced(self, name: str) -> None:
        """A file of ours that jobs source."""
        self.write(f"usr/libexec/upstart/{name}", self.moved((DIRECTORY.parents[1] / "src/libexec" / name).read_text()))

    def moved(self, script: str) -> str:
        """Shell text with the files of the sandbox in the place of the machine's."""
        for path in ("/etc/", "/proc/", "/lib/init/", "/dev/", "/run/", "/usr/libexec/", "/sys/"):
            script = script.replace(path, str(self.root) + path)
        return script

    def run(self, script: str, **env: str) -> list[str]:
        """Runs a job's script as init does, and gives the commands it called."""
        script = self.moved(script)
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


#: Others without a process.
STATES = ("udev-finish", "mountall-finish", "interfaces", "upstart-socket-wait")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
class TestEveryJob:
    def test_is_understood_and_says_what_it_is_for(self, path: Path) -> None:
        text = path.read_text()
        job = parse_job(path.stem, text, str(path))
        assert job.description
        assert text.startswith("# ") and text.endswith("\n")
        assert max(map(len, text.splitlines())) <= 120
        # What starts the one without is mountall.
        assert job.start_on or job.instance or path.stem == "mountall-late"
        # Those without a process are a state that others ask for.
        assert job.processes or text.startswith("# Stands for the script ") or path.stem in STATES
        assert not job.task or "main" in job.processes

    def test_has_scripts_that_the_shell_understands(self, path: Path) -> None:
        for definition in parse_job(path.stem, path.read_text(), str(path)).processes.values():
            subprocess.run(["/bin/sh", "-n", "-c", definition.command], check=True)


class TestRcSysinit:
    """What it starts on comes when file systems, network and scripts are done: nothing is left but to say where to."""

    def boot(self, sandbox: Sandbox, **env: str) -> list[str]:
        given = {"DEFAULT_RUNLEVEL": "2", "RUNLEVEL": "", "PREVLEVEL": "", "UPSTART_JOB": "rc-sysinit", **env}
        calls = sandbox.run(script_of("rc-sysinit"), **given)
        assert sandbox.status == 0
        return calls

    @pytest.mark.parametrize("env", [{}, {"FROM_SINGLE_USER_MODE": "y"}])
    def test_is_not_cut_off_by_the_runlevel_that_it_enters(self, sandbox: Sandbox, env: dict[str, str]) -> None:
        # telinit takes the place of the shell, and is what init signals.
        (sandbox.root / "bin/telinit").write_text(f"#!/bin/sh\nkill -TERM $$\necho survived >> {sandbox.calls}\n")
        assert self.boot(sandbox, **env) == ["survived"]

    @pytest.mark.parametrize("level", ["2", "3", "4", "5"])
    def test_tells_init_of_the_runlevel_without_a_program(self, sandbox: Sandbox, level: str) -> None:
        path = sandbox.root / "run/upstart/events"
        path.parent.mkdir(parents=True)
        os.mkfifo(path)
        fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        try:
            assert self.boot(sandbox, DEFAULT_RUNLEVEL=level) == []
            assert os.read(fifo, 100) == f"runlevel RUNLEVEL={level} PREVLEVEL=N\n".encode()
            assert (path.parent / "runlevel").exists()
            (path.parent / "runlevel").unlink()
            # The level before is on record only, and this is none of many users.
            assert self.boot(sandbox, DEFAULT_RUNLEVEL=level, FROM_SINGLE_USER_MODE="y") == [f"telinit {level}"]
            assert self.boot(sandbox, DEFAULT_RUNLEVEL="1")[1:] == ["telinit 1"]
        finally:
            os.close(fifo)

    def test_fails_where_there_is_no_runlevel_to_be_had(self, sandbox: Sandbox) -> None:
        """The job rescue is there for that."""
        sandbox.program(sandbox.root / "bin/telinit", "telinit", 1)
        sandbox.run(script_of("rc-sysinit"), DEFAULT_RUNLEVEL="2")
        assert sandbox.status == 1

    def test_a_boot_has_no_runlevel_before_and_the_end_of_single_user_mode_has(self, sandbox: Sandbox) -> None:
        (sandbox.root / "bin/telinit").write_text(
            f'#!/bin/sh\necho "$1" "${{RUNLEVEL-none}}" "${{PREVLEVEL-none}}" >> {sandbox.calls}\n')
        job = parse_job("rc-sysinit", (DIRECTORY / "rc-sysinit.conf").read_text(), "rc-sysinit")
        assert {"RUNLEVEL=", "PREVLEVEL="} <= set(job.env)
        assert self.boot(sandbox) == ["2  "]
        assert self.boot(sandbox, FROM_SINGLE_USER_MODE="y")[1:] == ["2 none none"]

    @pytest.mark.parametrize(
        ("words", "level"),
        [
            ("single", "S"), ("-s", "S"), ("S", "S"), ("s", "s"), ("3", "3"), ("3 1", "1"), ("7 root=3 s3", "2"),
            ("emergency", "2"), ("-b 5", "5"), ("3 single", "S"), ("", "2"),
        ],
    )  # fmt: skip
    def test_obeys_the_kernel_command_line(self, sandbox: Sandbox, words: str, level: str) -> None:
        sandbox.write("proc/cmdline", f"quiet {words} ro\n")
        assert self.boot(sandbox) == [f"telinit {level}"]

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
        assert self.boot(sandbox) == [f"telinit {level}"]

    def test_obeys_the_kernel_command_line_before_inittab(self, sandbox: Sandbox) -> None:
        sandbox.write("etc/inittab", "id:3:initdefault:\n")
        sandbox.write("proc/cmdline", "4\n")
        assert self.boot(sandbox) == ["telinit 4"]

    def test_obeys_an_override_where_nothing_else_is_said(self, sandbox: Sandbox) -> None:
        assert self.boot(sandbox, DEFAULT_RUNLEVEL="4") == ["telinit 4"]

    def test_has_no_say_where_somebody_has_entered_a_runlevel(self, sandbox: Sandbox) -> None:
        sandbox.write("run/upstart/runlevel", "")
        events = "filesystem stopped static-network-up"
        assert self.boot(sandbox, UPSTART_EVENTS=events) == []
        # By hand, and after single-user mode.
        assert self.boot(sandbox) == ["telinit 2"]
        (sandbox.root / "run/upstart/runlevel").unlink()
        assert self.boot(sandbox, UPSTART_EVENTS=events)[1:] == ["telinit 2"]

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


@pytest.fixture
def scripts(sandbox: Sandbox) -> Sandbox:
    """With the sourced file that looks for them."""
    sandbox.sourced("scripts-left")
    (sandbox.root / "etc/init").mkdir(parents=True, exist_ok=True)
    sandbox.write("dev/null", "")
    return sandbox


def link(sandbox: Sandbox, path: str) -> None:
    """A link to a script, which is there."""
    sandbox.write(f"etc/init.d/{Path(path).name[3:]}", "#!/bin/sh\n")
    (sandbox.root / path).parent.mkdir(parents=True, exist_ok=True)
    (sandbox.root / path).symlink_to(f"../init.d/{Path(path).name[3:]}")


def install(sandbox: Sandbox) -> None:
    """Our jobs."""
    for file in FILES:
        shutil.copy(file, sandbox.root / "etc/init")


#: The scripts of /etc/rcS.d that initscripts, procps, kmod, udev and ifupdown of both releases bring.
OF_THE_BOOT = (
    "hostname.sh", "hwclock.sh", "mountkernfs.sh", "mountdevsubfs.sh", "mount-configfs", "checkroot.sh", "checkfs.sh",
    "checkroot-bootclean.sh", "mountall.sh", "mountall-bootclean.sh", "mountnfs.sh", "mountnfs-bootclean.sh",
    "bootmisc.sh", "udev", "kmod", "procps", "urandom", "brightness", "networking",
)  # fmt: skip
#: Those of /etc/rc2.d on a machine of a cloud.
OF_A_CLOUD = (
    "cloud-init-local", "rsyslog", "sudo", "acpid", "cloud-init", "cron", "dbus", "rmnologin", "bootlogs",
    "cloud-config", "ssh", "cloud-final", "rc.local",
)  # fmt: skip


class TestScriptsLeft:
    def left(self, sandbox: Sandbox, directory: str = "etc/rcS.d") -> bool:
        text = f". /usr/libexec/upstart/scripts-left\nscripts_left {sandbox.root}/{directory} && echo left || echo none"
        for path in ("/usr/libexec/",):
            text = text.replace(path, str(sandbox.root) + path)
        result = subprocess.run(["/bin/sh", "-e", "-c", text], capture_output=True, text=True, timeout=20)
        assert result.stderr == ""
        return {"left\n": True, "none\n": False}[result.stdout]

    def test_are_none_in_a_boot_of_our_own_jobs(self, scripts: Sandbox) -> None:
        assert not self.left(scripts)
        install(scripts)
        for number, name in enumerate(OF_THE_BOOT):
            link(scripts, f"etc/rcS.d/S{number:02}{name}")
        for name in ("rc.local", "rmnologin", "bootlogs"):
            link(scripts, f"etc/rc2.d/S05{name}")
        assert not self.left(scripts) and not self.left(scripts, "etc/rc2.d")

    def test_cost_no_program_then(self, scripts: Sandbox) -> None:
        install(scripts)
        for number, name in enumerate(OF_THE_BOOT):
            link(scripts, f"etc/rcS.d/S{number:02}{name}")
        (scripts.root / "bin/grep").write_text(f"#!/bin/sh\necho grep >>{scripts.calls}\nexit 1\n")
        (scripts.root / "bin/grep").chmod(0o755)
        text = f". {scripts.root}/usr/libexec/upstart/scripts-left; scripts_left {scripts.root}/etc/rcS.d || exit 3"
        env = {"PATH": f"{scripts.root}/bin"}
        assert subprocess.run(["/bin/sh", "-c", text], env=env, timeout=20).returncode == 3
        assert not scripts.calls.exists()

    def test_are_none_on_a_machine_of_a_cloud_which_are_asked_about_by_one_program(self, scripts: Sandbox) -> None:
        install(scripts)
        for file in SERVICE_JOBS.glob("*.conf"):
            shutil.copy(file, scripts.root / "etc/init")
        for name in OF_A_CLOUD:
            link(scripts, f"etc/rc2.d/S01{name}")
        assert not self.left(scripts, "etc/rc2.d")
        (scripts.root / "bin/grep").write_text(f"#!/bin/sh\necho grep >>{scripts.calls}\nexit 1\n")
        (scripts.root / "bin/grep").chmod(0o755)
        text = f". {scripts.root}/usr/libexec/upstart/scripts-left; scripts_left {scripts.root}/etc/rc2.d || exit 3"
        env = {"PATH": f"{scripts.root}/bin"}
        assert subprocess.run(["/bin/sh", "-c", text], env=env, timeout=20).returncode == 3
        assert scripts.calls.read_text() == "grep\n"

    @pytest.mark.parametrize("name", ["S01x11-common", "S20alsa-utils", "K01mdadm", "S99hostname"])
    def test_are_those_without_a_job(self, scripts: Sandbox, name: str) -> None:
        link(scripts, f"etc/rcS.d/{name}")
        assert self.left(scripts)
        scripts.write(f"etc/init/{name[3:]}.conf", "exec true\n")
        assert not self.left(scripts)

    @pytest.mark.parametrize("job", ["fake-hwclock", "fake-hwclock.sh"])
    def test_know_a_job_by_either_name(self, scripts: Sandbox, job: str) -> None:
        for name in ("S01fake-hwclock", "S01fake-hwclock.sh"):
            if name.endswith(".sh") or job.endswith(".sh"):
                link(scripts, f"etc/rcS.d/{name}")
        scripts.write(f"etc/init/{job}.conf", "exec true\n")
        assert not self.left(scripts)

    @pytest.mark.parametrize("name", ["README", "S1short", "Sxxname", "s01small", "S01"])
    def test_are_links_of_a_runlevel(self, scripts: Sandbox, name: str) -> None:
        scripts.write(f"etc/rcS.d/{name}", "")
        assert not self.left(scripts)

    def test_are_not_those_that_have_gone(self, scripts: Sandbox) -> None:
        (scripts.root / "etc/rcS.d").mkdir()
        (scripts.root / "etc/rcS.d/S01gone").symlink_to("../init.d/gone")
        assert not self.left(scripts)

    @pytest.mark.parametrize(("path", "text"), [
        ("lvm2.conf", "start on boot-script SCRIPT=lvm2\nexec true\n"),
        ("lvm2.override", "start on boot-script SCRIPT=lvm2\n"),
    ])
    def test_are_those_whose_job_waits_for_the_turn(self, scripts: Sandbox, path: str, text: str) -> None:
        link(scripts, "etc/rcS.d/S05lvm2")
        scripts.write("etc/init/lvm2.conf", "start on filesystem\nexec true\n")
        assert not self.left(scripts)
        scripts.write(f"etc/init/{path}", text)
        assert self.left(scripts)

    @pytest.mark.parametrize("path", ["hostname.override", "hostname.sh.conf"])
    def test_are_ours_too_where_somebody_has_them_wait(self, scripts: Sandbox, path: str) -> None:
        install(scripts)
        link(scripts, "etc/rcS.d/S01hostname.sh")
        assert not self.left(scripts)
        scripts.write(f"etc/init/{path}", "start on boot-script SCRIPT=hostname.sh\n")
        assert self.left(scripts)
        scripts.write(f"etc/init/{path}", "nice 3\n")
        assert not self.left(scripts)

    def test_are_found_by_the_same_rule_as_the_program_that_runs_them(
        self, scripts: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(standins, "JOBS", str(scripts.root / "etc/init"))
        install(scripts)
        scripts.write("etc/init/lvm2.conf", "start on boot-script SCRIPT=lvm2\n")
        scripts.write("etc/init/quota.conf", "start on filesystem\n")
        scripts.write("etc/init/udev.override", "start on boot-script\n")
        for name in (*OF_THE_BOOT, "lvm2", "quota", "x11-common"):
            link(scripts, f"etc/rcS.d/S01{name}")
            assert self.left(scripts) == waits_for_turn(name), name
            (scripts.root / f"etc/rcS.d/S01{name}").unlink()


class TestRcSScripts:
    def boot(self, sandbox: Sandbox, **env: str) -> list[str]:
        return sandbox.run(script_of("rcS-scripts"), **env)

    def test_starts_nothing_where_no_script_is_left(self, scripts: Sandbox) -> None:
        install(scripts)
        link(scripts, "etc/rcS.d/S01hostname.sh")
        assert self.boot(scripts) == [] and scripts.status == 0

    def test_runs_those_that_are(self, scripts: Sandbox) -> None:
        link(scripts, "etc/rcS.d/S20alsa-utils")
        assert self.boot(scripts) == ["rcS"] and scripts.status == 0

    def test_heeds_the_settings_of_rcs(self, scripts: Sandbox) -> None:
        link(scripts, "etc/rcS.d/S20alsa-utils")
        scripts.write("etc/default/rcS", "VERBOSE=extra\nfalse\n")
        (scripts.root / "usr/libexec/upstart/rcS").write_text(f"#!/bin/sh\necho $VERBOSE >> {scripts.calls}\n")
        assert self.boot(scripts) == ["extra"]

    def test_lets_scripts_be_ended_by_signals(self, scripts: Sandbox) -> None:
        link(scripts, "etc/rcS.d/S20alsa-utils")
        (scripts.root / "usr/libexec/upstart/rcS").write_text(
            f"#!/bin/sh\necho $(trap) $(grep SigIgn /proc/self/status) >> {scripts.calls}\n")
        (call,) = self.boot(scripts)
        assert not int(call.split()[-1], 16) & 1 << 14

    @pytest.mark.parametrize("status", [2, 143])
    def test_fails_with_the_program(self, scripts: Sandbox, status: int) -> None:
        """The boot goes on, for rc-sysinit waits for its end alone."""
        link(scripts, "etc/rcS.d/S20alsa-utils")
        scripts.program(scripts.root / "usr/libexec/upstart/rcS", "rcS", status)
        assert self.boot(scripts) == ["rcS"] and scripts.status == status

    @pytest.mark.parametrize("path", ["etc/init.d/rcS", "lib/init/rcS"])
    @pytest.mark.parametrize("status", [1, 127])
    def test_has_sysv_rc_run_them_where_it_cannot(self, scripts: Sandbox, status: int, path: str) -> None:
        link(scripts, "etc/rcS.d/S20alsa-utils")
        scripts.program(scripts.root / "usr/libexec/upstart/rcS", "rcS", status)
        (scripts.root / "etc/init.d/rcS").unlink()
        scripts.program(scripts.root / path, "rcS of sysv-rc")
        (scripts.root / "bin/status").write_text(
            f"#!/bin/sh\necho status $1 >>{scripts.calls}\n[ ! -e {scripts.root}/slept ] || echo $1 start/running\n")
        (scripts.root / "bin/sleep").write_text(f"#!/bin/sh\n: >{scripts.root}/slept\n")
        # With the job's name, scripts that have jobs leave their work to these.
        assert self.boot(scripts, TELL="1", UPSTART_JOB="rcS-scripts") == [
            "rcS   rcS-scripts", "status mountnfs.sh", "status mountnfs.sh", "rcS of sysv-rc S N rcS-scripts"]
        assert scripts.status == 0

    def test_waits_for_nothing_for_ever_then(self, scripts: Sandbox) -> None:
        link(scripts, "etc/rcS.d/S20alsa-utils")
        (scripts.root / "usr/libexec/upstart/rcS").unlink()
        calls = self.boot(scripts)
        assert calls.count("sleep 1") == 60 and calls[-1] == "rcS of sysv-rc"


class TestRc:
    PROGRAM = "usr/libexec/upstart/rc"

    @pytest.fixture(autouse=True)
    def something_left(self, scripts: Sandbox) -> None:
        scripts.program(scripts.root / self.PROGRAM, "rc")
        for level in "12345":
            link(scripts, f"etc/rc{level}.d/S01apache2")

    def change(self, sandbox: Sandbox, **env: str) -> list[str]:
        return sandbox.run(script_of("rc"), **env)

    def test_runs_the_scripts_of_the_runlevel(self, sandbox: Sandbox) -> None:
        assert self.change(sandbox, RUNLEVEL="2", PREVLEVEL="N", TELL="1", UPSTART_JOB="rc") == ["rc 2 2 N rc"]
        assert sandbox.status == 0

    def test_notes_that_there_is_a_runlevel(self, sandbox: Sandbox) -> None:
        (sandbox.root / "run/upstart").mkdir(parents=True)
        self.change(sandbox, RUNLEVEL="1")
        assert (sandbox.root / "run/upstart/runlevel").exists()

    def test_runs_nothing_where_jobs_do_it_all(self, sandbox: Sandbox) -> None:
        sandbox.write("etc/init/apache2.conf", "exec true\n")
        assert self.change(sandbox, RUNLEVEL="2") == [] and sandbox.status == 0

    def test_lets_users_log_in_when_it_is_done(self, sandbox: Sandbox) -> None:
        (sandbox.root / self.PROGRAM).write_text(
            f"#!/bin/sh\n[ ! -e {sandbox.root}/run/nologin ] || echo not yet >>{sandbox.calls}\n")
        sandbox.write("run/nologin", "later\n")
        assert self.change(sandbox, RUNLEVEL="2") == ["not yet"]
        assert not (sandbox.root / "run/nologin").exists() and sandbox.status == 0

    def test_keeps_users_out_of_runlevel_1(self, sandbox: Sandbox) -> None:
        sandbox.write("run/nologin", "later\n")
        self.change(sandbox, RUNLEVEL="1")
        assert (sandbox.root / "run/nologin").exists()

    def test_fails_with_the_scripts_and_lets_users_log_in_all_the_same(self, sandbox: Sandbox) -> None:
        sandbox.program(sandbox.root / self.PROGRAM, "rc", 4)
        sandbox.write("run/nologin", "later\n")
        assert self.change(sandbox, RUNLEVEL="3") == ["rc 3"]
        assert sandbox.status == 4 and not (sandbox.root / "run/nologin").exists()

    @pytest.mark.parametrize("status", [1, 126, 127])
    def test_has_sysv_rc_run_them_where_it_cannot(self, sandbox: Sandbox, status: int) -> None:
        sandbox.program(sandbox.root / self.PROGRAM, "rc", status)
        assert self.change(sandbox, RUNLEVEL="3") == ["rc 3", "rc of sysv-rc 3"]
        assert sandbox.status == 0

    @pytest.mark.parametrize("level", "06")
    def test_runs_those_that_come_before_processes_are_ended(self, sandbox: Sandbox, level: str) -> None:
        for name in ("K01udev", "K03sendsigs", "K04umountfs", "K05late"):
            link(sandbox, f"etc/rc{level}.d/{name}")
        sandbox.write("etc/init/udev.conf", "exec true\n")
        assert self.change(sandbox, RUNLEVEL=level) == [] and sandbox.status == 0
        link(sandbox, f"etc/rc{level}.d/K02apache2")
        assert self.change(sandbox, RUNLEVEL=level) == [f"rc {level}"] and sandbox.status == 0
        assert not (sandbox.root / "run/upstart/runlevel").exists()


class TestUmountall:
    PROGRAM = "usr/libexec/upstart/umountall"

    @pytest.fixture(autouse=True)
    def programs(self, sandbox: Sandbox) -> None:
        for name in ("killall5", "swapoff", "umount", "mount"):
            sandbox.program(sandbox.root / "bin" / name, name)
        (sandbox.root / "run").mkdir()

    def end(self, sandbox: Sandbox, **env: str) -> list[str]:
        return sandbox.run(script_of("umountall"), **env)

    def test_leaves_it_to_the_program(self, sandbox: Sandbox) -> None:
        sandbox.program(sandbox.root / self.PROGRAM, "umountall")
        env = {"RUNLEVEL": "0", "PREVLEVEL": "2", "UPSTART_JOB": "umountall"}
        assert self.end(sandbox, TELL="1", **env) == ["umountall 0 0 2 umountall"]
        assert sandbox.status == 0

    @pytest.mark.parametrize("status", [1, None])
    @pytest.mark.parametrize(
        ("env", "end", "key"),
        [
            ({"RUNLEVEL": "0"}, "poweroff -f", "o"),
            ({"RUNLEVEL": "0", "INIT_HALT": "POWEROFF"}, "poweroff -f", "o"),
            ({"RUNLEVEL": "0", "INIT_HALT": "HALT"}, "halt -f", "o"),
            ({"RUNLEVEL": "6"}, "reboot -f", "b"),
        ],
    )
    def test_does_what_a_shell_can_where_that_cannot_be_run(
        self, sandbox: Sandbox, env: dict[str, str], end: str, key: str, status: int | None
    ) -> None:
        if status is not None:
            sandbox.program(sandbox.root / self.PROGRAM, "umountall", status)
        sandbox.program(sandbox.root / "bin/killall5", "killall5", 1)
        first = [] if status is None else [f"umountall {env['RUNLEVEL']}"]
        assert self.end(sandbox, **env) == [
            *first, "killall5 -15", "killall5 -18", "killall5 -9", "swapoff -a",
            "umount -a -r -t noproc,nosysfs,nodevtmpfs,nodevpts,notmpfs,nocgroup2", "mount -o remount,ro /", end,
            "sleep 5", "sleep 1",
        ]  # fmt: skip
        # Not even these have ended the machine.
        assert (sandbox.root / "proc/sysrq-trigger").read_text() == f"{key}\n"

    def test_does_nothing_to_the_kernel_of_a_container(self, sandbox: Sandbox) -> None:
        sandbox.write("run/container_type", "lxc\n")
        assert self.end(sandbox, RUNLEVEL="6")[-1] == "reboot -f"
        assert not (sandbox.root / "proc/sysrq-trigger").exists()


class TestSingleUserMode:
    def test_ending_the_shell_goes_on_with_the_boot(self, sandbox: Sandbox) -> None:
        calls = sandbox.run(script_of("rcS", "post-stop"))
        assert calls == ["start --no-wait rc-sysinit FROM_SINGLE_USER_MODE=y"]

    def test_is_a_runlevel_too(self, sandbox: Sandbox) -> None:
        (sandbox.root / "run/upstart").mkdir(parents=True)
        sandbox.run(script_of("rcS", "pre-start"))
        assert (sandbox.root / "run/upstart/runlevel").exists() and sandbox.status == 0

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


#: What starts a login in a boot, and what does after single-user mode.
AT_BOOT, AFTER_SINGLE = "filesystem stopped not-container", "runlevel not-container"


class TestNoLoginBeforeSingleUserMode:
    """The first logins do not wait for the runlevel; where a boot is to enter one without logins there are none."""

    LOGINS = (("tty1", "pre-start"), ("console", "pre-start"), ("serial-gettys", "main"))

    @pytest.fixture(autouse=True)
    def terminals(self, sandbox: Sandbox) -> None:
        for name in ("tty1", "ttyS0"):
            sandbox.write(f"dev/{name}", "")
            (sandbox.root / "dev" / name).unlink()
            (sandbox.root / "dev" / name).symlink_to("/dev/null")
        sandbox.write("sys/class/tty/console/active", "tty0 ttyS0\n")
        sandbox.write("etc/init/console.conf", "")

    def logins(self, sandbox: Sandbox, events: str = AT_BOOT) -> set[str]:
        """Which jobs have one."""
        having = set()
        for name, process in self.LOGINS:
            sandbox.calls.unlink(missing_ok=True)
            calls = sandbox.run(script_of(name, process), **({"UPSTART_EVENTS": events} if events else {}))
            assert sandbox.status == 0, name
            if name == "serial-gettys":
                assert calls in ([], ["start --no-wait serial-getty TTY=ttyS0"])
                calls = [] if calls else ["stop"]
            assert calls in ([], ["stop"]), name
            if not calls:
                having.add(name)
        return having

    ALL = frozenset(name for name, _ in LOGINS)

    @pytest.mark.parametrize("words", ["single", "-s", "S", "s", "1", "3 single", "0"])
    def test_there_is_none_where_the_kernel_command_line_asks_for_it(self, sandbox: Sandbox, words: str) -> None:
        sandbox.write("proc/cmdline", f"quiet {words} ro\n")
        assert self.logins(sandbox) == set()
        # Leaving single-user mode, and by hand.
        assert self.logins(sandbox, AFTER_SINGLE) == self.logins(sandbox, "") == self.ALL

    @pytest.mark.parametrize("words", ["", "2", "single 3", "singles root=single emergency"])
    def test_there_are_all_where_it_does_not(self, sandbox: Sandbox, words: str) -> None:
        sandbox.write("proc/cmdline", f"quiet {words}\n")
        assert self.logins(sandbox) == self.ALL

    @pytest.mark.parametrize(
        ("path", "text", "single"),
        [
            ("etc/inittab", "id:S:initdefault:\n", True),
            ("etc/inittab", "id:1:initdefault:", True),
            ("etc/inittab", "#id:1:initdefault:\nid:2:initdefault:\n", False),
            ("etc/init/rc-sysinit.override", "env DEFAULT_RUNLEVEL=S\n", True),
            ("etc/init/rc-sysinit.override", "manual\n  env  DEFAULT_RUNLEVEL=\"1\"", True),
            ("etc/init/rc-sysinit.override", "env DEFAULT_RUNLEVEL=1 # why\n", True),
            ("etc/init/rc-sysinit.override", "env 'DEFAULT_RUNLEVEL=1'\n", True),
            ("etc/init/rc-sysinit.conf", "start on x\nenv DEFAULT_RUNLEVEL=1\n", True),
            ("etc/init/rc-sysinit.override", "# env DEFAULT_RUNLEVEL=S\nenv DEFAULT_RUNLEVEL=3\n", False),
        ],
    )
    def test_there_is_none_where_it_is_the_default(self, sandbox: Sandbox, path: str, text: str, single: bool) -> None:
        sandbox.write(path, text)
        assert self.logins(sandbox) == (set() if single else self.ALL)
        sandbox.write("proc/cmdline", "5\n")
        assert self.logins(sandbox) == self.ALL

    def test_what_is_to_be_the_next_default_ends_no_login(self, sandbox: Sandbox) -> None:
        """A login that comes back has the events of the boot still."""
        sandbox.write("etc/inittab", "id:S:initdefault:\n")
        sandbox.write("run/upstart/runlevel", "")
        for name in ("tty1", "console"):
            assert sandbox.run(script_of(name, "pre-start"), UPSTART_EVENTS=AT_BOOT) == [] and sandbox.status == 0


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
        (sandbox.root / "run/upstart").mkdir(parents=True)
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
        with pytest.raises(BlockingIOError):
            os.read(fifo, 4096)
        # Other addresses than init gives it, and what is up again after it was down.
        for again in ({"ADDRFAM": "inet6"}, {}):
            self.up(sandbox, "lo", IFACE="lo", **again)
            assert os.read(fifo, 4096).startswith(b"net-device-up IFACE=lo LOGICAL=lo ADDRFAM=inet")
            script = (self.HOOK.parents[1] / "if-down.d/upstart").read_text()
            sandbox.run(script.replace("/sbin/initctl", f"{sandbox.root}/bin/initctl"), IFACE="lo")
        os.close(fifo)

    def test_tells_of_the_whole_network_once_when_all_of_it_is_up(self, sandbox: Sandbox) -> None:
        fifo = self.fifo(sandbox)
        ifquery = sandbox.root / "bin/ifquery"
        ifquery.write_text('#!/bin/sh\n[ "$*" != "--list --exclude=lo" ] || printf "eth0\\neth1\\n"\n'
                           '[ "$1" != --state ] || exit 1\n')

        def told() -> bool:
            return b"\nstatic-network-up\n" in os.read(fifo, 4096)

        self.up(sandbox, IFACE="eth0")
        assert not told()
        assert not (sandbox.root / "run/network/static-network-up-emitted").exists()
        self.up(sandbox, IFACE="eth1")
        assert told()
        # cloud-init looks for it.
        assert (sandbox.root / "run/network/static-network-up-emitted").is_dir()
        self.up(sandbox, IFACE="eth1")
        assert not told()
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


#: Those of upstart-jobs.
SERVICE_FILES = sorted((DIRECTORY.parents[1] / "debian/jobs").glob("*.conf"))


def declared() -> dict[str, set[str]]:
    """The events that jobs declare, and the jobs that do."""
    found: dict[str, set[str]] = {}
    for file in [*FILES, *SERVICE_FILES]:
        emits = parse_job(file.stem, file.read_text(), file.name).emits
        assert len(emits) == len(set(emits)), file
        for event in emits:
            found.setdefault(event, set()).add(file.stem)
    return found


#: The jobs that declare what programs emit.
PROGRAMS = {
    "upstart-mount-bridge(8)": "upstart-mount-bridge",
    "mountall(8)": "mountall", "udev(7)": "udev", "ifup(8)": "network-interface", "ifdown(8)": "network-interface",
    "telinit(8)": "rc-sysinit", "shutdown(8)": "rc-sysinit",
}  # fmt: skip
OF_INIT = "Events of init"
OF_BRIDGES = "Events of bridges"


def test_what_init_emits_by_itself_is_in_the_manual_and_known_to_check_config() -> None:
    rows = {row.name for row in events() if row.title == OF_INIT}
    # A session's end is announced in sessions alone, where check-config knows it.
    assert rows == {*INIT_EVENTS, "session-end"} - {"debug"}
    assert all(row.emitters == ["init"] for row in events() if row.title == OF_INIT)


OURS = {row.name: row for row in events() if row.title not in (OF_INIT, OF_BRIDGES)}


@pytest.mark.parametrize("row", OURS.values(), ids=OURS.keys())
def test_who_emits_an_event_by_the_manual_declares_it(row: Event) -> None:
    jobs = declared().get(row.name, set())
    for emitter in row.emitters:
        # What init emits of these some job declares, too: check-config asks jobs.
        assert jobs if emitter == "init" else PROGRAMS.get(emitter, emitter) in jobs, emitter


def test_what_a_job_declares_is_in_the_manual_and_who_declares_it_emits_it() -> None:
    bridges = {row.name for row in events() if row.title == OF_BRIDGES} | {"*-device-*[de]"}
    assert set(declared()) - bridges == set(OURS)
    for event, jobs in declared().items():
        if event in bridges:
            continue
        emitters = {PROGRAMS.get(emitter, emitter) for emitter in OURS[event].emitters}
        # A row without room for all of them has them in its text.
        assert jobs <= emitters | {job for job in jobs if job in OURS[event].text}, event


def test_whatever_a_job_waits_for_somebody_emits() -> None:
    known = {row.name for row in events()}
    for file in FILES:
        job = parse_job(file.stem, file.read_text(), file.name)
        for condition in (job.start_on, job.stop_on):
            for match in leaves(condition) if condition is not None else ():
                assert match.name in known or any(fnmatch(match.name, each) for each in known), (file.name, match.name)
                if match.name in JOB_EVENTS and (other := job_of(match)) and not other.startswith("$"):
                    assert other in {path.stem for path in [*FILES, *SERVICE_FILES]}, (file.name, other)


def test_what_a_job_or_a_hook_emits_some_job_declares() -> None:
    emitted = set(declared())
    found = set()
    root = DIRECTORY.parents[1]
    programs = [path for path in (root / "src/libexec").rglob("*") if path.is_file()]
    for file in [*FILES, *(root / "etc/network").glob("*/*"), *programs]:
        found |= set(re.findall(r"\bemit (?:--no-wait )?([a-z][a-z-]+)", file.read_text()))
    assert found >= {"net-device-up", "net-device-down", "static-network-up", "container", "not-container"}
    # One goes on from a recovery as init begins.
    assert found <= emitted | {"startup"}
