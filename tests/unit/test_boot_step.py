"""boot-step, the steps of a boot that are a few lines of shell each: in a directory in the place of the machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from upstart.mounts import statefile

PROGRAM = Path(__file__).parents[2] / "src/libexec/boot-step"
#: Each of these writes down how it was called, and does nothing.
FAKES = (
    "hwclock", "sulogin", "start", "stop", "initctl", "mount", "umount", "reboot", "modprobe", "ifquery", "ifup",
    "ifdown", "dmesg", "udevadm", "mknod", "sleep", "chgrp", "fsck", "swapon",
    "ps",
)  # fmt: skip
#: These are the real ones; there are no others.
TOOLS = ("cat", "dd", "find", "head", "install", "ln", "mkdir", "mv", "rm", "stat")
DAY = 86400.0


class Machine:
    """Its root, and what the program has done there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = root / "calls"
        self.said = ""
        self.status = 0
        for name in (
            "bin",
            "dev",
            "etc/default",
            "proc",
            "run/upstart",
            "run/network",
            "sys/class/net",
            "tmp",
            "var/log",
        ):
            (root / name).mkdir(parents=True)
        for name in ("null", "urandom"):
            (root / "dev" / name).symlink_to(f"/dev/{name}")
        for name in TOOLS:
            path = shutil.which(name, path="/usr/bin:/bin")
            assert path
            (root / "bin" / name).symlink_to(path)
        for name in FAKES:
            self.program(name)
        self.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro quiet\n")
        os.mkfifo(root / "run/upstart/events")
        self.fifo = os.open(root / "run/upstart/events", os.O_RDWR | os.O_NONBLOCK)

    def program(self, name: str, text: str = "") -> None:
        path = self.root / "bin" / name
        path.write_text(f'#!/bin/sh\necho {name} "$@" >>{self.calls}\n{text}\n')
        path.chmod(0o755)

    def write(self, path: str, text: str = "") -> Path:
        made = self.root / path
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(text)
        return made

    def within(self, text: str) -> str:
        """A shell program as it is for this machine."""
        text = re.sub(
            r"(?<![\w/.+-])/(etc|proc|run|dev|sys|var|tmp|lib|usr/lib|usr/local/lib|sbin)\b",
            lambda found: f"{self.root}{found[0]}",
            text.replace("PATH=/sbin:/usr/sbin:/bin:/usr/bin", "PATH=P"),
        )
        return text.replace("PATH=P", f"PATH={self.root}/bin")

    def step(self, *words: str, **env: str) -> list[str]:
        """Take a step; the commands that it has called."""
        self.calls.write_text("")
        result = subprocess.run(
            ["/bin/sh", "-c", self.within(PROGRAM.read_text()), "boot-step", *words],
            env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL,
            cwd=self.root,
        )  # fmt: skip
        self.said, self.status = result.stderr, result.returncode
        return self.calls.read_text().splitlines()

    def events(self) -> list[str]:
        """The lines that init has been written since the last look."""
        try:
            return os.read(self.fifo, 65536).decode().splitlines()
        except BlockingIOError:
            return []


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    os.close(made.fifo)


def test_a_word_that_is_none_does_nothing(machine: Machine) -> None:
    assert machine.step("no-such-step") == [] and machine.status == 2
    assert machine.said == "Usage: boot-step WORD [ARGUMENT]\n"
    assert machine.step() == [] and machine.status == 2


def test_every_step_that_a_job_or_a_rule_takes_is_there_and_no_others() -> None:
    root = PROGRAM.parents[2]
    files = [*(root / "etc/init").glob("*.conf"), *(root / "etc/udev").glob("*.rules")]
    taken = {word for file in files for word in re.findall(r"boot-step ([a-z.-]+)", file.read_text())}
    known = set(re.findall(r"^    ([a-z.-]+)\) ", PROGRAM.read_text().rpartition("\ncase ${1:-} in\n")[2], re.M))
    assert "mounted-tmp" in taken
    assert taken == known


def test_events_go_by_initctl_where_there_is_no_fifo(machine: Machine) -> None:
    (machine.root / "run/upstart/events").unlink()
    machine.program("ifquery")
    said = ["ifquery --list --allow=auto", "ifquery lo", "initctl emit --no-wait static-network-up"]
    assert machine.step("ifupdown") == said


class TestEmergency:
    def test_has_a_shell_once_however_often_mountall_is_started(self, machine: Machine) -> None:
        assert machine.step("emergency") == ["sulogin"]
        assert machine.step("emergency") == [] and machine.status == 0


class TestRescue:
    SAID = (
        "There is no runlevel, for rc-sysinit has failed.  Root can log in here; once it is mended: start rc-sysinit\n"
    )

    @pytest.mark.parametrize(
        ("active", "tty"),
        [("ttyS0\n", "ttyS0"), ("tty0 hvc0\n", "hvc0"), ("ttyS0 tty0\n", "tty1"), ("", "console")],
    )
    def test_says_so_where_somebody_can_log_in_on_the_console(self, machine: Machine, active: str, tty: str) -> None:
        machine.write("sys/class/tty/tty0/active", "tty1\n")
        if active:
            machine.write("sys/class/tty/console/active", active)
        machine.program("ps", "echo 123")
        assert machine.step("rescue") == ["sleep 2", f"ps -o pid= -t {tty}"]
        assert (machine.said, machine.status) == (self.SAID, 0)

    def test_gives_a_shell_where_nobody_can_and_tries_again_after_it(self, machine: Machine) -> None:
        machine.program("sulogin", f"[ -e {machine.root}/left ] || {{ : >{machine.root}/left; exit 1; }}")
        calls = machine.step("rescue")
        assert calls[2:] == ["sulogin", "sleep 1", "start --no-wait rc-sysinit"] and machine.status == 0


class TestClock:
    @pytest.mark.parametrize(
        ("adjtime", "local"),
        [
            ("0.0 0 0.0\n0\nLOCAL\n", True),
            ("0.0 0 0.0\n0\nLOCAL", True),
            ("0.0 0 0.0\n0\nUTC\n", False),
            ("0.0 0 0.0\n0\nNOLOCAL\n", False),
            (None, False),
        ],
    )
    def test_is_told_of_local_time_alone(self, machine: Machine, adjtime: str | None, local: bool) -> None:
        if adjtime is not None:
            machine.write("etc/adjtime", adjtime)
        assert machine.step("hwclock") == ["hwclock --systz"] * local
        assert machine.status == 0

    @pytest.mark.parametrize("file", ["rcS", "hwclock"])
    def test_is_left_alone_where_access_is_forbidden(self, machine: Machine, file: str) -> None:
        machine.write("etc/adjtime", "LOCAL\n")
        machine.write("dev/rtc0")
        machine.write(f"etc/default/{file}", "HWCLOCKACCESS=no\n")
        assert machine.step("hwclock") == machine.step("hwclock-save") == []

    @pytest.mark.parametrize(("device", "saved"), [("rtc0", True), ("rtc", True), ("rtc1", False)])
    def test_is_saved_where_there_is_one(self, machine: Machine, device: str, saved: bool) -> None:
        machine.write(f"dev/{device}")
        assert machine.step("hwclock-save") == ["hwclock --systohc"] * saved
        assert machine.status == 0

    def test_needs_the_program(self, machine: Machine) -> None:
        (machine.root / "bin/hwclock").unlink()
        machine.write("etc/adjtime", "LOCAL\n")
        machine.write("dev/rtc0")
        for word in ("hwclock", "hwclock-save"):
            assert machine.step(word) == [] and (machine.status, machine.said) == (0, "")


class TestMountallNet:
    def note(self, machine: Machine, pid: int, name: str | None = "mountall") -> None:
        """What a mountall writes; ``name`` is that of the process, if it is there."""
        inputs = " ".join(f"{number}{'9' * 12}.{'9' * 12}.{'9' * 20}" for number in range(3))
        document = {
            "version": statefile.VERSION,
            "stamp": statefile.stamp(1, "12345", inputs),
            "pid": pid,
            "started": "99",
            "state": {"items": [{"pid": 1}] * 1000},
        }
        assert statefile.write(document, str(machine.root / "run/upstart/mountall.json"))
        shutil.rmtree(machine.root / f"proc/{pid}", ignore_errors=True)
        if name is not None:
            machine.write(f"proc/{pid}/comm", f"{name}\n")

    def test_asks_mountall_to_try_again(self, machine: Machine) -> None:
        code = "import signal; print('ready', flush=True); print(signal.sigwait([10]))"
        signal.pthread_sigmask(signal.SIG_BLOCK, [10])
        try:
            process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [10])
        with process:
            self.note(machine, process.pid)
            machine.step("mountall-net")
            assert (machine.status, machine.said) == (0, "")
            assert process.communicate(timeout=20)[0].split()[1:] == ["10"]

    @pytest.mark.parametrize("name", ["python3", "mountall-other", None])
    def test_sends_nothing_to_another_of_that_number(self, machine: Machine, name: str | None) -> None:
        # It would end us.
        self.note(machine, os.getpid(), name)
        machine.step("mountall-net")
        assert (machine.status, machine.said) == (0, "")

    @pytest.mark.parametrize("text", [None, "", "{}", '{"version":1,"pid":null}'])
    def test_has_nobody_to_ask_before_mountall_has_written(self, machine: Machine, text: str | None) -> None:
        if text is not None:
            machine.write("run/upstart/mountall.json", text)
        assert machine.step("mountall-net") == []
        assert (machine.status, machine.said) == (0, "")


class TestMountallAgain:
    def die(self, machine: Machine, *seconds: float) -> list[list[str]]:
        done = []
        for second in seconds:
            machine.write("proc/uptime", f"{second:.2f} 99.00\n")
            done.append(machine.step("mountall-again", EXIT_SIGNAL="KILL"))
        return done

    START = ["start --no-wait mountall"]

    def test_goes_on_four_times_and_has_a_shell_the_fifth(self, machine: Machine) -> None:
        assert self.die(machine, 1, 2, 3, 4) == [self.START] * 4
        assert machine.events() == []
        assert self.die(machine, 59.9) == [[]]
        assert machine.said == "mountall was killed 5 times within a minute\n"
        assert machine.events() == ["mountall-gives-up"]

    def test_has_a_shell_where_there_is_nothing_to_go_on_with(self, machine: Machine) -> None:
        assert machine.step("mountall-again") == []
        assert machine.said == "mountall could not be started\n"
        assert machine.events() == ["mountall-gives-up"]

    def test_leaves_an_exit_status_to_the_shell(self, machine: Machine) -> None:
        assert machine.step("mountall-again", EXIT_STATUS="2") == []
        assert (machine.said, machine.events()) == ("", [])

    def test_counts_those_of_the_last_minute(self, machine: Machine) -> None:
        assert self.die(machine, 1, 2, 3, 4, 61, 62, 63, 64) == [self.START] * 8
        assert self.die(machine, 65) == [[]]


class TestMountallShell:
    LOST = "root:!:19000:0:99999:7:::\n"

    @pytest.mark.parametrize(
        ("status", "text", "then"),
        [
            ("", "The program that mounts the file systems, mountall, does not run.", "starts it again"),
            ("1", "The file systems could not be mounted.", "restarts the machine"),
            ("2", "A file system that the boot needs is missing or damaged.", "goes on mounting"),
            (
                "3",
                "The root file system is damaged, and is mounted read-only: repair it with fsck.",
                "restarts the machine",
            ),
        ],
    )
    def test_says_why_and_what_leaving_it_does(self, machine: Machine, status: str, text: str, then: str) -> None:
        machine.write("etc/shadow", "root:$y$j9T$x:19000:0:99999:7:::\nme:!:1::::::\n")
        assert machine.step("mountall-shell", status) == ["sulogin"]
        assert machine.said == f"\n{text}\nA root shell follows; leaving the shell {then}.\n"
        left = machine.step("mountall-shell-left", status)
        if then != "restarts the machine":
            assert left == ["start --no-wait mountall"]
        else:
            assert left == ["umount -a", "reboot -f"] and machine.said == "The machine restarts.\n"

    @pytest.mark.parametrize("password", ["!", "!!", "*", "!$y$j9T$x", "!*"])
    def test_is_no_dead_end_where_root_cannot_log_in(self, machine: Machine, password: str) -> None:
        machine.write("etc/shadow", f"daemon:*:1::::::\nroot:{password}:19000:0:99999:7:::\n")
        for status in ("1", "2", "3"):
            assert machine.step("mountall-shell", status) == []
            assert "Root has no password" in machine.said and machine.status == 0
            assert machine.step("mountall-shell-left", status) == ["start --no-wait mountall SKIP=all"]

    @pytest.mark.parametrize("status", ["", "1"])
    def test_mounts_plainly_where_mountall_itself_fails_again(self, machine: Machine, status: str) -> None:
        machine.write("etc/shadow", self.LOST)
        machine.write("proc/mounts", "/dev/vda / ext4 rw 0 0\ntmpfs /run tmpfs rw,nosuid 0 0\n")
        assert machine.step("mountall-shell", status) == []
        assert machine.step("mountall-shell-left", status) == ["start --no-wait mountall SKIP=all"]
        assert machine.events() == []
        machine.write("run/udev/control")
        assert machine.step("mountall-shell-left", status) == [
            "sleep 1", "udevadm settle --timeout=30", "fsck -A -T -a", "mount -o remount,rw /",
            "mount -a -O no_netdev", "swapon -a",
        ]  # fmt: skip
        assert machine.events() == [
            "virtual-filesystems",
            "mounted DEVICE=/dev/vda MOUNTPOINT=/ TYPE=ext4 OPTIONS=rw",
            "mounted DEVICE=tmpfs MOUNTPOINT=/run TYPE=tmpfs OPTIONS=rw,nosuid",
            "local-filesystems", "remote-filesystems", "filesystem", "all-swaps",
        ]  # fmt: skip
        (machine.root / "run/udev/control").unlink()
        assert machine.step("mountall-shell-left", status)[:11] == [*["sleep 1"] * 10, "fsck -A -T -a"]

    def test_is_given_to_a_root_without_a_password_to_type(self, machine: Machine) -> None:
        machine.write("etc/shadow", "root::19000:0:99999:7:::\n")
        assert machine.step("mountall-shell", "2") == ["sulogin"]

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("etc/default/rcS", "ONFAIL=continue\n"),
            ("etc/default/mountall", "ONFAIL=continue\n"),
            ("proc/cmdline", "quiet mountall.skip=all ro\n"),
        ],
    )
    def test_is_left_out_where_nobody_reads_the_console(self, machine: Machine, path: str, text: str) -> None:
        machine.write(path, text)
        assert machine.step("mountall-shell", "3") == []
        assert machine.said.endswith("The boot goes on with what there is (ONFAIL, mountall.skip=all).\n")
        assert machine.step("mountall-shell-left", "3") == ["start --no-wait mountall SKIP=all"]


class TestRun:
    def test_gets_what_programs_expect_once(self, machine: Machine) -> None:
        assert machine.step("mounted-run") == []
        assert (machine.status, machine.said) == (0, "")
        run = machine.root / "run"
        assert (run / "lock").stat().st_mode & 0o7777 == 0o1777
        assert (run / "sendsigs.omit.d").is_dir()
        assert (run / "utmp").read_bytes() == b""
        if os.getuid() == 0:
            assert (run / "utmp").stat().st_mode & 0o777 == 0o664
        assert (run / "nologin").read_text() == "System bootup in progress - please wait\n"
        (run / "utmp").write_text("who")
        (run / "nologin").write_text("why")
        machine.step("mounted-run")
        assert (run / "utmp").read_text() == "who" and (run / "nologin").read_text() == "why"

    @pytest.mark.parametrize(("setting", "delays"), [("yes", True), ("Y", True), ("no", False), ("", False)])
    def test_delays_logins_as_rcs_has_it(self, machine: Machine, setting: str, delays: bool) -> None:
        machine.write("etc/default/rcS", f"DELAYLOGIN={setting}\n")
        machine.step("mounted-run")
        assert (machine.root / "run/nologin").exists() == delays


class TestTmp:
    @pytest.fixture(autouse=True)
    def tmp(self, machine: Machine) -> Path:
        tmp = machine.root / "tmp"
        tmp.chmod(0o1777)
        return tmp

    def old(self, path: Path, days: float = 10) -> Path:
        """A file that was neither read nor written for so long; its ctime is of today."""
        when = time.time() - days * DAY
        os.utime(path, (when, when), follow_symlinks=False)
        return path

    def left(self, tmp: Path) -> list[str]:
        return sorted(str(path.relative_to(tmp)) for path in tmp.rglob("*"))

    def age(self, machine: Machine) -> None:
        """find takes the times of change from the future: nobody can set those."""
        path = machine.root / "bin/find"
        real = os.readlink(path)
        path.unlink()
        path.write_text(
            f'#!/bin/sh\nfor word; do shift; case $word in -ctime) set -- "$@" -mtime ;; '
            f'*) set -- "$@" "$word" ;; esac; done\nexec {real} "$@"\n'
        )
        path.chmod(0o755)

    @pytest.mark.parametrize("setting", [None, "TMPTIME=0", "TMPTIME="])
    def test_is_emptied_by_default(self, machine: Machine, tmp: Path, setting: str | None) -> None:
        if setting is not None:
            machine.write("etc/default/rcS", f"{setting}\n")
        for name in ("a", ".b", "..c", "d/e/f", "with space", "-rf", "*", ".X0-lock", "line\nbreak"):
            machine.write(f"tmp/{name}")
        (tmp / "empty").mkdir()
        (tmp / "dangling").symlink_to("/no/such/file")
        assert machine.step("mounted-tmp", TYPE="none") == []
        assert (machine.status, machine.said) == (0, "")
        assert self.left(tmp) == []

    @pytest.mark.skipif(os.getuid() != 0, reason="what belongs to root")
    def test_keeps_what_is_the_file_systems_own(self, machine: Machine, tmp: Path) -> None:
        names = [
            "...security",
            "...security.x",
            ".clean",
            ".journal",
            ".sujournal",
            "aquota.group",
            "aquota.user",
            "quota.group",
            "quota.user",
        ]
        for name in names:
            machine.write(f"tmp/{name}")
        (tmp / "lost+found").mkdir()
        machine.write("tmp/sub/quota.user")
        machine.step("mounted-tmp")
        assert self.left(tmp) == sorted([*names, "lost+found"])
        for name in [*names, "lost+found"]:
            os.chown(tmp / name, 65534, 65534)
        machine.step("mounted-tmp")
        assert not {"quota.user", ".journal", ".clean", "lost+found"} & set(self.left(tmp))

    def test_follows_no_link_out_of_it(self, machine: Machine, tmp: Path) -> None:
        kept = machine.write("home/kept")
        (tmp / "directory").symlink_to(kept.parent)
        (tmp / "file").symlink_to(kept)
        os.link(kept, tmp / "other-name")
        machine.step("mounted-tmp")
        assert self.left(tmp) == []
        assert kept.exists()

    def test_that_is_a_link_is_where_that_leads(self, machine: Machine, tmp: Path) -> None:
        tmp.rmdir()
        (machine.root / "elsewhere").mkdir(mode=0o1777)
        (machine.root / "elsewhere").chmod(0o1777)
        tmp.symlink_to(machine.root / "elsewhere")
        machine.write("elsewhere/a")
        machine.step("mounted-tmp")
        assert self.left(machine.root / "elsewhere") == []

    @pytest.mark.parametrize("setting", ["-1", "infinite", "infinity", "7d", "never"])
    def test_is_cleaned_only_by_a_number_of_days(self, machine: Machine, tmp: Path, setting: str) -> None:
        machine.write("etc/default/rcS", f"TMPTIME={setting}\n")
        self.old(machine.write("tmp/a"), 1000)
        machine.write("tmp/.X0-lock")
        machine.step("mounted-tmp")
        assert self.left(tmp) == ["a"]
        assert machine.status == 0

    def test_keeps_what_is_younger_than_tmptime(self, machine: Machine, tmp: Path) -> None:
        self.age(machine)
        machine.write("etc/default/rcS", "TMPTIME=7\n")
        for name in ("old", "deep/old", "read"):
            self.old(machine.write(f"tmp/{name}"))
        os.utime(tmp / "read", (time.time(), time.time() - 10 * DAY))
        machine.write("tmp/new")
        (tmp / "empty-old").mkdir()
        (tmp / "empty-new").mkdir()
        for name in ("empty-old", "deep"):
            self.old(tmp / name)
        machine.step("mounted-tmp")
        # The directory was written to when what was in it went.
        assert self.left(tmp) == ["deep", "empty-new", "new", "read"]

    def test_keeps_what_has_changed_lately_in_any_way(self, machine: Machine, tmp: Path) -> None:
        machine.write("etc/default/rcS", "TMPTIME=7\n")
        self.old(machine.write("tmp/moved-here"))
        machine.step("mounted-tmp")
        assert self.left(tmp) == ["moved-here"]

    def test_that_not_everybody_may_write_to_is_not_what_is_meant(self, machine: Machine, tmp: Path) -> None:
        machine.write("tmp/a")
        tmp.chmod(0o755)
        machine.step("mounted-tmp")
        assert self.left(tmp) == ["a"]

    def test_in_memory_is_new_already(self, machine: Machine, tmp: Path) -> None:
        machine.write("tmp/a")
        assert machine.step("mounted-tmp", TYPE="tmpfs") == []
        assert self.left(tmp) == ["a"]

    @pytest.mark.parametrize(
        ("answer", "setting", "full"),
        [
            ("255 4096", "", True),
            ("256 4096", "", False),
            ("2047 512", "", True),
            ("2048 512", "", False),
            ("1 1048576", "", False),
            ("0 4096", "TMP_OVERFLOW_LIMIT=0", False),
            ("0 4096", "TMP_OVERFLOW_LIMIT=", False),
            ("255 4096", "TMP_OVERFLOW_LIMIT=1020", False),
            ("255 4096", "TMP_OVERFLOW_LIMIT=1021", True),
        ],
    )
    def test_without_room_has_some_in_memory(self, machine: Machine, answer: str, setting: str, full: bool) -> None:
        (machine.root / "bin/stat").unlink()
        machine.program("stat", f"echo {answer}")
        machine.write("etc/default/tmpfs", f"{setting}\n")
        calls = [call for call in machine.step("mounted-tmp") if not call.startswith("stat ")]
        assert calls == [f"mount -t tmpfs -o nosuid,nodev,size=1m,mode=1777 overflow {machine.root}/tmp"] * full


class TestVar:
    def test_has_the_old_names_lead_to_run(self, machine: Machine) -> None:
        machine.write("var/run/old.pid", "1\n")
        machine.step("mounted-var")
        for name, target in (("run", "run"), ("lock", "run/lock")):
            assert os.readlink(machine.root / "var" / name) == str(machine.root / target)
        assert machine.status == 0

    def test_leaves_links_that_are_there(self, machine: Machine) -> None:
        (machine.root / "var/run").symlink_to("../run")
        (machine.root / "var/lock").symlink_to("/somewhere/else")
        machine.step("mounted-var")
        assert os.readlink(machine.root / "var/run") == "../run"
        assert os.readlink(machine.root / "var/lock") == "/somewhere/else"


class TestGrowfs:
    @pytest.fixture(autouse=True)
    def disk(self, machine: Machine) -> None:
        for name in ("resize2fs", "btrfs", "xfs_growfs"):
            machine.program(name)
        machine.program("mountpoint", "echo 254:1")
        machine.write("sys/dev/block/254:1/uevent", "MAJOR=254\nMINOR=1\nDEVNAME=mapper/x y\nDEVTYPE=disk\n")

    @pytest.mark.parametrize(
        ("type", "called"),
        [
            ("ext4", ["mountpoint -d /a b", "resize2fs {dev}/mapper/x y"]),
            ("ext3", ["mountpoint -d /a b", "resize2fs {dev}/mapper/x y"]),
            ("btrfs", ["btrfs filesystem resize max /a b"]),
            ("xfs", ["xfs_growfs /a b"]),
        ],
    )
    def test_makes_a_file_system_as_large_as_its_device(self, machine: Machine, type: str, called: list[str]) -> None:
        calls = machine.step("growfs", TYPE=type, MOUNTPOINT="/a b", OPTIONS="rw,x-systemd.growfs")
        assert calls == [call.format(dev=machine.root / "dev") for call in called] and machine.status == 0

    def test_says_what_it_lacks(self, machine: Machine) -> None:
        (machine.root / "bin/xfs_growfs").unlink()
        assert machine.step("growfs", TYPE="xfs", MOUNTPOINT="/srv", OPTIONS="x-systemd.growfs") == []
        assert machine.said == "/srv stays as large as it is: xfs_growfs is not there\n" and machine.status == 1

    @pytest.mark.parametrize(
        ("type", "options"), [("vfat", "x-systemd.growfs"), ("ext4", "noatime,ro,x-systemd.growfs")]
    )
    def test_leaves_alone_what_cannot_be_made_larger(self, machine: Machine, type: str, options: str) -> None:
        assert machine.step("growfs", TYPE=type, MOUNTPOINT="/srv", OPTIONS=options) == []
        assert "/srv" in machine.said and machine.status == 0

    def test_fails_where_nothing_is_mounted(self, machine: Machine) -> None:
        machine.program("mountpoint", "exit 32")
        assert machine.step("growfs", TYPE="ext4", MOUNTPOINT="/srv", OPTIONS="x-systemd.growfs") == [
            "mountpoint -d /srv"
        ]
        assert machine.status


class TestUdev:
    @pytest.fixture(autouse=True)
    def daemon(self, machine: Machine) -> None:
        machine.write("lib/systemd/systemd-udevd").chmod(0o755)
        machine.write("proc/sys/kernel/osrelease", "6.1.0\n")

    def test_makes_the_nodes_by_which_modules_are_loaded(self, machine: Machine) -> None:
        machine.write(
            "lib/modules/6.1.0/modules.devname",
            "# Device nodes to trigger on-demand module loading.\nfuse fuse c10:229\ntun net/tun c10:200\n"
            "loop loop-control c10:237\nbtrfs btrfs-control c10:234\nbad nothing\nfloppy fd0 b2:0\n",
        )
        machine.write("dev/loop-control")
        calls = machine.step("udev")
        dev = machine.root / "dev"
        assert calls == [
            f"mknod -m 600 {dev}/fuse c 10 229",
            f"mknod -m 600 {dev}/net/tun c 10 200",
            f"mknod -m 600 {dev}/btrfs-control c 10 234",
            f"mknod -m 600 {dev}/fd0 b 2 0",
        ]
        assert (dev / "net").is_dir() and machine.status == 0

    def test_forgets_what_the_udev_of_an_initramfs_knew(self, machine: Machine) -> None:
        (machine.root / "run/udev/data").mkdir(parents=True)
        assert machine.step("udev") == ["udevadm info --cleanup-db"]

    def test_switches_off_the_kernels_own_helper(self, machine: Machine) -> None:
        helper = machine.write("sys/kernel/uevent_helper", "/sbin/hotplug\n")
        machine.step("udev")
        assert helper.read_text() == "\n"

    def test_is_nothing_where_there_is_no_udevd(self, machine: Machine) -> None:
        (machine.root / "lib/systemd/systemd-udevd").unlink()
        assert machine.step("udev") == ["stop"]


class TestModules:
    @pytest.fixture(autouse=True)
    def kernel(self, machine: Machine) -> None:
        machine.write("proc/modules")

    def test_are_loaded_at_once_and_those_with_options_by_themselves(self, machine: Machine) -> None:
        text = "# comment\n\nloop max_loop=8\n  fuse\n; another\nnbd # not an option\ndummy numdummies=2 x=y\nlast"
        machine.write("etc/modules", text)
        assert machine.step("kmod") == [
            "modprobe -b loop max_loop=8",
            "modprobe -b dummy numdummies=2 x=y",
            "modprobe -a -b fuse nbd last",
        ]

    def test_of_files_with_one_name_come_from_the_first_directory(self, machine: Machine) -> None:
        for number, directory in enumerate(("etc", "run", "usr/local/lib", "usr/lib")):
            machine.write(f"{directory}/modules-load.d/all.conf", f"all{number}\n")
            machine.write(f"{directory}/modules-load.d/only{number}.conf", f"only{number}\n")
            machine.write(f"{directory}/modules-load.d/from{number}.conf", f"from{number}\n")
            for later in ("etc", "run", "usr/local/lib", "usr/lib")[number + 1 :]:
                machine.write(f"{later}/modules-load.d/from{number}.conf", f"wrong{number}\n")
        machine.write("etc/modules-load.d/no-module-file", "nothing\n")
        (call,) = machine.step("kmod")
        words = call.split()[3:]
        assert sorted(words) == sorted(
            ["all0", *(f"{kind}{number}" for kind in ("only", "from") for number in range(4))]
        )

    def test_of_a_file_that_is_masked_are_not_loaded(self, machine: Machine) -> None:
        (machine.root / "etc/modules-load.d").mkdir()
        (machine.root / "etc/modules-load.d/cups.conf").symlink_to("/dev/null")
        (machine.root / "etc/modules-load.d/gone.conf").symlink_to("/no/such/file")
        machine.write("usr/lib/modules-load.d/cups.conf", "lp\n")
        machine.write("usr/lib/modules-load.d/gone.conf", "ppdev\n")
        assert machine.step("kmod") == []

    def test_of_etc_modules_are_loaded_once(self, machine: Machine) -> None:
        machine.write("etc/modules", "fuse\n")
        (machine.root / "etc/modules-load.d").mkdir()
        (machine.root / "etc/modules-load.d/modules.conf").symlink_to("../modules")
        assert machine.step("kmod") == ["modprobe -a -b fuse"]

    @pytest.mark.parametrize(
        ("words", "modules"),
        [
            ("modules_load=a,b quiet", "a b"),
            ("modules-load=c", "c"),
            ("modules_load=a modules-load=b,c", "a b c"),
            ("rd.modules-load=d", "d"),
            ("nomodules_load=x", ""),
        ],
    )
    def test_may_be_named_to_the_kernel(self, machine: Machine, words: str, modules: str) -> None:
        machine.write("proc/cmdline", f"ro {words}\n")
        assert machine.step("kmod") == [f"modprobe -a -b {modules}"] * bool(modules)

    def test_are_none_where_the_kernel_has_none(self, machine: Machine) -> None:
        machine.write("etc/modules", "fuse\n")
        (machine.root / "proc/modules").unlink()
        assert machine.step("kmod") == [] and machine.status == 0


class TestRandom:
    def test_seed_is_never_used_twice(self, machine: Machine) -> None:
        seed = machine.write("var/lib/urandom/random-seed", "s" * 512)
        (machine.root / "dev/urandom").unlink()
        (machine.root / "dev/urandom").symlink_to("/dev/zero")
        machine.step("urandom")
        assert machine.status == 0
        assert seed.read_bytes() == bytes(512)

    def test_seed_is_secret_and_of_a_size(self, machine: Machine) -> None:
        (machine.root / "var/lib/urandom").mkdir(parents=True)
        machine.step("urandom-save")
        seed = machine.root / "var/lib/urandom/random-seed"
        assert seed.stat().st_size == 512 and seed.stat().st_mode & 0o777 == 0o600
        assert len(set(seed.read_bytes())) > 100

    def test_is_nothing_without_a_place_for_it(self, machine: Machine) -> None:
        machine.step("urandom-save")
        assert (machine.status, machine.said) == (0, "")
        assert not (machine.root / "var/lib/urandom").exists()


class TestBrightness:
    @pytest.mark.parametrize(
        ("screen", "record"), [("acpi_video0", "brightness"), ("intel_backlight", "brightness.intel")]
    )
    def test_is_kept_and_comes_back(self, machine: Machine, screen: str, record: str) -> None:
        knob = machine.write(f"sys/class/backlight/{screen}/brightness", "300\n")
        machine.write(f"sys/class/backlight/{screen}/max_brightness", "900\n")
        (machine.root / "var/lib/initscripts").mkdir(parents=True)
        machine.step("brightness-save")
        assert (machine.root / "var/lib/initscripts" / record).read_text() == "300\n"
        knob.write_text("1\n")
        machine.step("brightness")
        assert knob.read_text() == "300\n"

    def test_is_full_where_none_was_kept(self, machine: Machine) -> None:
        knob = machine.write("sys/class/backlight/acpi_video0/brightness", "0\n")
        machine.write("sys/class/backlight/acpi_video0/max_brightness", "15\n")
        machine.step("brightness")
        assert knob.read_text() == "15\n" and machine.status == 0


class TestInterfaces:
    def wants(self, machine: Machine, *names: str) -> None:
        machine.program("ifquery", "case $1 in --list) printf '%s\\n' " + " ".join(("lo", *names)) + ";; esac")

    def test_that_are_wanted_are_noted(self, machine: Machine) -> None:
        self.wants(machine, "eth0", "br0")
        machine.step("ifupdown")
        assert (machine.root / "run/network/upstart/wanted").read_text() == " eth0 br0\n"
        assert (machine.root / "run/network/ifstate").read_text() == "lo=lo\n"
        assert machine.events() == []
        machine.step("ifupdown")
        assert (machine.root / "run/network/ifstate").read_text() == "lo=lo\n"

    def test_of_the_loopback_have_what_is_written_of_it(self, machine: Machine) -> None:
        machine.program("ifquery", "case $1 in lo) echo up: ip address add 192.0.2.1 dev lo;; --list) echo lo;; esac")
        machine.step("ifupdown")
        assert machine.events() == ["network-interface-wanted INTERFACE=lo", "static-network-up"]
        assert (machine.root / "run/network/ifstate").read_text() == ""

    def test_that_are_none_mean_a_network_that_is_up_told_once(self, machine: Machine) -> None:
        self.wants(machine)
        machine.step("ifupdown")
        assert machine.events() == ["static-network-up"]
        machine.step("ifupdown")
        assert machine.events() == []

    def test_of_no_ifupdown_mean_the_same(self, machine: Machine) -> None:
        (machine.root / "bin/ifquery").unlink()
        machine.step("ifupdown")
        assert machine.events() == ["static-network-up"]

    @pytest.mark.parametrize(
        ("setting", "wanted"),
        [
            ("CONFIGURE_INTERFACES=no", ""),
            ("EXCLUDE_INTERFACES='eth0 wlan0'", " br0"),
            ("EXCLUDE_INTERFACES=eth", " eth0 br0"),
        ],
    )
    def test_may_be_left_out(self, machine: Machine, setting: str, wanted: str) -> None:
        self.wants(machine, "eth0", "br0")
        machine.write("etc/default/networking", f"{setting}\n")
        machine.step("ifupdown")
        assert (machine.root / "run/network/upstart/wanted").read_text() == f"{wanted}\n"
        assert machine.events() == ["static-network-up"] * (not wanted)

    def test_without_a_device_are_asked_for(self, machine: Machine) -> None:
        machine.write("run/network/upstart/wanted", " eth0 br0 bond0\n")
        machine.write("sys/class/net/eth0/carrier", "1\n")
        machine.step("ifupdown-virtual")
        assert machine.events() == [f"network-interface-wanted INTERFACE={name}" for name in ("br0", "bond0")]

    def test_that_a_container_has_are_told_of(self, machine: Machine) -> None:
        for name in ("lo", "eth0", "eth1"):
            (machine.root / "sys/class/net" / name).mkdir()
        machine.step("interfaces-there")
        assert machine.events() == [
            f"net-device-added INTERFACE={name} SUBSYSTEM=net ACTION=add" for name in ("eth0", "eth1")
        ]

    @pytest.mark.parametrize(
        ("action", "event"),
        [
            ("add", "added"),
            ("remove", "removed"),
            ("change", "changed"),
            ("move", "changed"),
        ],
    )
    def test_are_told_of_by_udev(self, machine: Machine, action: str, event: str) -> None:
        env = {"ACTION": action, "INTERFACE": "eth0", "DEVPATH": "/devices/x/net/eth0", "SUBSYSTEM": "net",
               "ID_BUS": "usb", "ID_PATH": "", "ID_SERIAL": "made by $(someone) & co", "OTHER": "x"}  # fmt: skip
        machine.step("device", **env)
        (told,) = machine.events()
        begin = f"net-device-{event} KERNEL=eth0 DEVPATH=/devices/x/net/eth0 SUBSYSTEM=net ACTION={action} "
        assert told.startswith(begin)
        assert sorted(told.removeprefix(begin).split(" ")) == ["ID_BUS=usb", "INTERFACE=eth0", "OTHER=x"]
        machine.write("run/upstart/recovery")
        machine.step("device", **env)
        assert machine.events() == []
        (machine.root / "run/upstart/recovery").unlink()
        (machine.root / "run/upstart/events").unlink()
        assert machine.step("device", **env) == []

    def test_that_have_gone_are_taken_down_and_others_with_the_network(self, machine: Machine) -> None:
        machine.write("run/network/upstart/wanted", " eth0\n")
        assert machine.step("interface-gone", "eth0", UPSTART_STOP_EVENTS="net-device-removed") == [
            "ifdown --force eth0"
        ]
        assert machine.step("interface-gone", "eth0", UPSTART_STOP_EVENTS="deconfiguring-networking") == []
        assert machine.step("interface-gone", "eth0") == []


class TestNetworking:
    def test_brings_nothing_up_that_comes_up_by_itself(self, machine: Machine) -> None:
        assert machine.step("networking-start", UPSTART_EVENTS="static-network-up") == []

    def test_brings_up_by_hand_what_was_taken_down_by_hand(self, machine: Machine) -> None:
        assert machine.step("networking-stop") == ["ifdown -a --exclude=lo"]
        assert machine.step("networking-start") == ["ifup -a"]
        assert machine.step("networking-start", UPSTART_EVENTS="failsafe-boot") == []

    def test_takes_the_network_down_at_the_end(self, machine: Machine) -> None:
        machine.write("proc/mounts", "/dev/vda1 / ext4 rw 0 0\nproc /proc proc rw 0 0\n")
        machine.write("run/network/ifstate", "lo=lo\neth0=eth0\n")
        assert machine.step("networking-stop", UPSTART_STOP_EVENTS="runlevel") == ["ifdown -a --exclude=lo"]
        # Whoever starts it next is the next boot, which has others bring interfaces up.
        assert machine.step("networking-start", UPSTART_EVENTS="static-network-up") == []

    @pytest.mark.parametrize("state", ["", "lo=lo\n", None])
    def test_has_nothing_to_take_down_where_nothing_is_up(self, machine: Machine, state: str | None) -> None:
        machine.write("proc/mounts", "/dev/vda1 / ext4 rw 0 0\n")
        if state is not None:
            machine.write("run/network/ifstate", state)
        assert machine.step("networking-stop", UPSTART_STOP_EVENTS="runlevel") == [] and machine.status == 0

    @pytest.mark.parametrize(
        "line",
        [
            "server:/home /home nfs rw 0 0",
            "server:/home /home nfs4 rw 0 0",
            "//s/x /mnt cifs rw 0 0",
            "/dev/nbd0 /mnt ext4 rw 0 0",
            "m1:/ /mnt ceph rw 0 0",
            "x /mnt 9p rw 0 0",
        ],
    )
    def test_leaves_it_up_for_files_on_it(self, machine: Machine, line: str) -> None:
        machine.write("proc/mounts", machine.within(f"/dev/vda1 / ext4 rw 0 0\n{line}\n"))
        machine.write("run/network/ifstate", "lo=lo\neth0=eth0\n")
        assert machine.step("networking-stop", UPSTART_STOP_EVENTS="runlevel") == []
        assert machine.said == f"network interfaces stay up: {line.split()[1]} is mounted\n"

    def test_leaves_it_up_for_a_root_by_iscsi(self, machine: Machine) -> None:
        machine.write("proc/mounts", "/dev/sda1 / ext4 rw 0 0\n")
        machine.write("etc/iscsi/iscsi.initramfs")
        machine.write("run/network/ifstate", "lo=lo\neth0=eth0\n")
        assert machine.step("networking-stop", UPSTART_STOP_EVENTS="runlevel") == []

    def test_has_nothing_to_do_without_ifupdown(self, machine: Machine) -> None:
        (machine.root / "bin/ifdown").unlink()
        assert machine.step("networking-stop", UPSTART_STOP_EVENTS="runlevel") == []
        assert machine.status == 0


class TestNetworkOnline:
    HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    LOCAL = "eth0\t000A0A0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    DEFAULT = "eth0\t00000000\t010A0A0A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    NOWHERE = f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200       lo\n"
    DEFAULT6 = f"{'0' * 32} 00 {'0' * 32} 00 fe8{'0' * 28}1 00000400 00000001 00000000 00000003     eth0\n"

    @pytest.mark.parametrize(("route", "route6"), [(DEFAULT, NOWHERE), (LOCAL + DEFAULT, ""), (LOCAL, DEFAULT6)])
    def test_is_told_when_there_is_a_default_route(self, machine: Machine, route: str, route6: str) -> None:
        (machine.root / "run/network/static-network-up-emitted").mkdir(parents=True)
        machine.write("proc/net/route", self.HEAD + route)
        machine.write("proc/net/ipv6_route", route6)
        assert machine.step("network-online") == [] and machine.events() == ["network-online"]

    def test_time_counts_from_when_the_boot_has_come_to_it(self, machine: Machine) -> None:
        state = machine.root / "run/network/upstart"
        count = f"n=0; while read -r _; do n=$((n + 1)); done <{machine.calls}"
        machine.program("sleep", f"{count}; [ $n -lt 40 ] || /bin/mkdir -p {state}")
        assert machine.step("network-online", LIMIT="5") == ["sleep 1"] * (39 + 15)

    @pytest.mark.parametrize(("up", "seconds"), [(True, 5), (False, 15)])
    def test_is_not_waited_for_for_ever(self, machine: Machine, up: bool, seconds: int) -> None:
        (machine.root / "run/network/upstart").mkdir(parents=True, exist_ok=True)
        if up:
            (machine.root / "run/network/static-network-up-emitted").mkdir(parents=True)
            machine.write("proc/net/route", self.HEAD + self.LOCAL)
            machine.write("proc/net/ipv6_route", self.NOWHERE)
        assert machine.step("network-online", LIMIT="5") == ["sleep 1"] * seconds
        assert machine.events() == ["network-online"]


class TestFailsafe:
    @pytest.fixture(autouse=True)
    def wanted(self, machine: Machine) -> None:
        machine.write("run/network/upstart/wanted", " eth0 eth1 eth2 eth3\n")
        machine.write("run/network/upstart/up.eth0")
        machine.write("sys/class/net/eth2/carrier", "0\n")
        machine.write("sys/class/net/eth3/carrier", "1\n")

    WHY = "eth1 (there is no such device), eth2 (no cable, or no link), eth3 (no answer to its configuration yet)"

    def test_says_what_the_boot_waits_for_and_goes_on_without(self, machine: Machine) -> None:
        assert machine.step("failsafe", TIMEOUT="60") == ["sleep 10", "sleep 20", "sleep 30", "sleep 5"]
        assert machine.said.splitlines() == [
            f"The boot waits for the network: {self.WHY} (for 50 seconds more).",
            f"The boot waits for the network: {self.WHY} (for 30 seconds more).",
            f"The boot goes on without all of the network: {self.WHY}.",
        ]
        assert machine.events() == ["failsafe-boot"]

    @pytest.mark.parametrize(
        ("limit", "waits"),
        [
            ("0", []),
            ("5", [5]),
            ("10", [10]),
            ("25", [10, 15]),
            ("100", [10, 20, 30, 40]),
            ("300", [10, 20, 30, *[60] * 4]),
        ],
    )
    def test_waits_as_long_as_it_is_told(self, machine: Machine, limit: str, waits: list[int]) -> None:
        assert machine.step("failsafe", TIMEOUT=limit) == [*(f"sleep {each}" for each in waits), "sleep 5"]
        assert machine.events() == ["failsafe-boot"]

    def test_has_nothing_to_say_of_a_network_that_is_there(self, machine: Machine) -> None:
        machine.write("run/network/upstart/wanted", " eth0\n")
        machine.step("failsafe", TIMEOUT="60")
        assert machine.said == "The boot goes on without all of the network.\n"

    def test_ends_in_peace_when_it_is_not_needed(self, machine: Machine) -> None:
        machine.program("sleep", "kill -TERM $PPID; exec /bin/sleep 0.1")
        machine.step("failsafe", TIMEOUT="60")
        assert (machine.status, machine.said, machine.events()) == (0, "", [])


class TestRcLocal:
    STOCK = "#!/bin/sh -e\n#\n# rc.local\n\nexit 0\n"

    def run(self, machine: Machine, text: str, mode: int = 0o755) -> list[str]:
        machine.write("etc/rc.local", text.replace("MARK", f"echo ran >>{machine.calls}")).chmod(mode)
        calls = machine.step("rc.local")
        assert machine.status == 0
        return calls

    @pytest.mark.parametrize(
        "text", ["#!/bin/sh\nMARK\nexit 0\n", "#!/bin/sh\nexit_code=0\nMARK", "#!/bin/sh\n\tMARK\n"]
    )
    def test_is_run_where_it_does_something(self, machine: Machine, text: str) -> None:
        assert self.run(machine, text) == ["ran"]

    @pytest.mark.parametrize("text", [STOCK, "", "#!/bin/sh\n  # MARK\nexit 0"])
    def test_is_not_run_for_nothing(self, machine: Machine, text: str) -> None:
        assert self.run(machine, text) == []

    def test_is_not_run_where_it_is_switched_off(self, machine: Machine) -> None:
        assert self.run(machine, "#!/bin/sh\nMARK\n", 0o644) == []

    def test_need_not_be_there(self, machine: Machine) -> None:
        assert machine.step("rc.local") == [] and machine.status == 0


class TestDmesg:
    def test_is_kept_with_five_earlier_ones(self, machine: Machine) -> None:
        log = machine.root / "var/log"
        for number in range(1, 9):
            machine.program("dmesg", f"echo boot {number}")
            machine.step("dmesg")
            assert machine.status == 0
        assert {path.name: path.read_text() for path in log.iterdir()} == {
            "dmesg": "boot 8\n",
            **{f"dmesg.{number}": f"boot {7 - number}\n" for number in range(5)},
        }
        assert (log / "dmesg").stat().st_mode & 0o777 == 0o640

    def test_belongs_to_the_group_that_reads_logs(self, machine: Machine) -> None:
        assert machine.step("dmesg") == ["dmesg", f"chgrp adm {machine.root}/var/log/dmesg"]
