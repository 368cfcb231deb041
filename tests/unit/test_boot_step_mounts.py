"""The steps of boot-step that have to do with file systems."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from boot_step_machine import DAY, Machine, machine

from upstart.mounts import statefile

__all__ = ["machine"]


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
            ("9999 4096 0 65536", "", True),
            ("9999 4096 1 65536", "", False),
            ("255 4096 9 65536", "", True),
            # A file system that makes them as they are needed, such as btrfs.
            ("9999 4096 0 0", "", False),
            ("255 4096 0 0", "", True),
            ("9999 4096 0 65536", "TMP_OVERFLOW_LIMIT=0", False),
        ],
    )
    def test_without_room_has_some_in_memory(self, machine: Machine, answer: str, setting: str, full: bool) -> None:
        (machine.root / "bin/stat").unlink()
        machine.program("stat", f"echo {answer}")
        machine.write("etc/default/tmpfs", f"{setting}\n")
        calls = [call for call in machine.step("mounted-tmp") if not call.startswith("stat ")]
        assert calls == [f"mount -t tmpfs -o nosuid,nodev,size=1m,mode=1777 overflow {machine.root}/tmp"] * full


    @pytest.mark.parametrize(
        ("available", "setting", "looks"),
        [("1024", "", False), ("1023", "", True), ("1023", "TMP_OVERFLOW_LIMIT=1000", False), ("0", "", True),
         ("", "", True), ("much", "", True)],
    )  # fmt: skip
    def test_is_looked_at_where_mountall_has_not_said_that_there_is_room(
        self, machine: Machine, available: str, setting: str, looks: bool
    ) -> None:
        (machine.root / "bin/stat").unlink()
        machine.program("stat", "echo 255 4096")
        machine.write("etc/default/tmpfs", f"{setting}\n")
        calls = machine.step("mounted-tmp", TYPE="none", AVAILABLE=available)
        assert [call.partition(" ")[0] for call in calls] == ["stat", "mount"] * looks


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
