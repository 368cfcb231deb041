"""What the job in place of checkroot.sh decides, with stand-ins for the programs that it runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "src/libexec/boot-mounts"
#: Each writes down how it was called; its exit status is that of its file, if there is one.
PROGRAMS = ("mount", "fsck", "logsave", "swapon", "sulogin", "reboot", "sleep", "findfs", "mountpoint", "mknod", "ln",
            "rm")
MOUNTINFO = """\
1 1 0:2 / / rw - rootfs rootfs rw
21 1 8:1 / / ro,relatime - ext4 /dev/sda1 ro,errors=remount-ro
22 21 0:5 / /dev rw,nosuid - devtmpfs devtmpfs rw
23 22 0:6 / /dev/pts rw,nosuid,noexec - devpts devpts rw,gid=5,mode=620,ptmxmode=000
24 21 0:7 / /run rw - tmpfs tmpfs rw
"""
FSTAB = "/dev/sda1 / ext4 errors=remount-ro 0 1\n"
CHECK = "fsck -C -a -T -t ext4 /dev/sda1"


class Machine:
    """A directory in place of the files that decide."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "bin"
        self.path.mkdir()
        for name in PROGRAMS:
            program = self.path / name
            program.write_text(f'#!/bin/sh\necho {name} "$@" >> {root}/calls\n'
                               f'[ ! -f {root}/say-{name} ] || cat {root}/say-{name}\n'
                               f'[ ! -f {root}/status-{name} ] || exit $(cat {root}/status-{name})\n')
            program.chmod(0o755)
        self.write("proc/self/mountinfo", MOUNTINFO)
        self.write("proc/cmdline", "root=/dev/sda1 ro quiet\n")
        self.write("proc/meminfo", "MemTotal: 1000000 kB\nSwapTotal: 0 kB\n")
        self.write("proc/mounts", "")
        self.write("etc/fstab", FSTAB)
        self.write("say-mountpoint", "8:1\n")
        (self.root / "etc/mtab").symlink_to(root / "proc/mounts")

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def check(self, **env: str) -> list[str]:
        """The programs that were run, without the directory's name; what went to standard error is in `said`."""
        text = PROGRAM.read_text()
        for directory in ("/etc/", "/proc/", "/run/", "/var/", "/lib/", "/forcefsck", "/fastboot"):
            text = text.replace(f" {directory}", f" {self.root}{directory}")
            text = text.replace(f"<{directory}", f"<{self.root}{directory}")
        text = text.replace("PATH=/sbin:/usr/sbin:/bin:/usr/bin", f"PATH={self.path}:/usr/bin:/bin")
        text = text.replace("/sbin/logsave", f"{self.path}/logsave").replace("/dev/rootdev", f"{self.root}/rootdev")
        done = subprocess.run(["/bin/sh", "-c", text, "boot-mounts", "checkroot"], stderr=subprocess.PIPE, text=True,
                              check=False, timeout=30, env={"TERM": "linux", **env})
        self.status = done.returncode
        self.said = done.stderr
        calls = self.root / "calls"
        lines = calls.read_text().replace(str(self.root), "").splitlines() if calls.exists() else []
        return [line for line in lines if " /run" not in line]

    def fails(self, program: str, status: int) -> None:
        self.write(f"status-{program}", f"{status}\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


READ_ONLY = "mount -n -o remount,ro /dev/sda1 /"
WRITABLE = "mount -n -o remount,errors=remount-ro,rw /dev/sda1 /"
SAVED = f"logsave -s /var/log/fsck/checkroot {CHECK}"


def test_the_root_is_checked_read_only_and_made_writable(machine: Machine) -> None:
    assert machine.check() == ["mountpoint -qx /dev/sda1", READ_ONLY, SAVED, WRITABLE]
    assert machine.status == 0
    assert machine.said == ""


def test_without_logsave_the_check_goes_to_the_console_alone(machine: Machine) -> None:
    (machine.path / "logsave").unlink()
    assert CHECK in machine.check()


@pytest.mark.parametrize("fstab", ["", "/dev/sda1 / ext4 defaults 0 0\n", "/dev/sda1 / ext4\n", "srv:/ / nfs ro 0 1\n",
                                   "srv:/ / nfs4 ro 0 1\n"])
def test_a_root_that_fstab_does_not_want_checked_is_not(machine: Machine, fstab: str) -> None:
    machine.write("etc/fstab", fstab)
    calls = machine.check()
    assert not any("fsck" in call for call in calls)
    assert "remount" in calls[-1]


def test_btrfs_is_not_checked(machine: Machine) -> None:
    machine.write("proc/self/mountinfo", MOUNTINFO.replace("- ext4", "- btrfs"))
    assert machine.check() == [WRITABLE]


def test_the_root_that_an_initramfs_checked_is_not_checked_again(machine: Machine) -> None:
    machine.write("run/initramfs/fsck-root", "")
    assert machine.check() == [WRITABLE]


def test_what_an_initramfs_said_of_it_is_kept(machine: Machine) -> None:
    machine.write("run/initramfs/fsck-root", "")
    machine.write("run/initramfs/fsck.log", "root: clean\n")
    machine.check()
    assert "logsave -s" in (machine.root / "calls").read_text()


@pytest.mark.parametrize(("word", "file"), [("fastboot", ""), ("", "fastboot")])
def test_a_fast_boot_checks_nothing_and_says_so(machine: Machine, word: str, file: str) -> None:
    machine.write("proc/cmdline", f"ro {word}\n")
    if file:
        machine.write(file, "")
    assert machine.check() == [WRITABLE]
    assert "fastboot" in machine.said


@pytest.mark.parametrize(("word", "file"), [("forcefsck", ""), ("FORCEFSCK", ""), ("", "forcefsck")])
@pytest.mark.parametrize(("kind", "options"), [("ext4", "-C -f -a"), ("ext2", "-C -f -a"), ("xfs", "-C -a")])
def test_a_check_can_be_forced_where_the_kind_knows_that(machine: Machine, word: str, file: str, kind: str,
                                                         options: str) -> None:
    machine.write("proc/cmdline", f"ro {word}\n")
    if file:
        machine.write(file, "")
    machine.write("etc/fstab", FSTAB.replace("ext4", kind))
    machine.write("proc/self/mountinfo", MOUNTINFO.replace("- ext4", f"- {kind}"))
    assert any(f"fsck {options} -T -t {kind} /dev/sda1" in call for call in machine.check())


@pytest.mark.parametrize(("settings", "term", "options"), [
    ("FSCKFIX=yes", "linux", "-C -y -T"), ("VERBOSE=yes", "linux", "-C -a -T -V"), ("", "dumb", "-a -T"),
    ("", "", "-a -T"),
])
def test_the_settings_of_rcs_and_the_terminal_decide_how(machine: Machine, settings: str, term: str,
                                                         options: str) -> None:
    machine.write("etc/default/rcS", settings + "\n")
    assert any(f"fsck {options} -t ext4" in call for call in machine.check(TERM=term))


@pytest.mark.parametrize("status", [1, 32])
def test_after_errors_that_were_corrected_or_an_interrupted_check_the_boot_goes_on(machine: Machine,
                                                                                   status: int) -> None:
    machine.fails("logsave", status)
    assert machine.check()[-1] == WRITABLE
    assert machine.status == 0
    assert ("interrupted" in machine.said) == (status == 32)


@pytest.mark.parametrize("status", [2, 3])
def test_a_repair_that_needs_a_new_start_gets_it(machine: Machine, status: int) -> None:
    machine.fails("logsave", status)
    assert machine.check()[-3:] == [SAVED, "sleep 5", "reboot -f"]
    assert machine.status == 1
    assert "restarted" in machine.said


@pytest.mark.parametrize("status", [4, 8, 12, 16, 127])
def test_a_root_that_cannot_be_trusted_is_given_to_root_read_only(machine: Machine, status: int) -> None:
    machine.fails("logsave", status)
    assert machine.check()[-3:] == [SAVED, "sulogin --force", "reboot -f"]
    assert machine.status == 1
    assert f"code {status}" in machine.said


def test_without_a_shell_there_is_time_to_read_why(machine: Machine) -> None:
    machine.fails("logsave", 4)
    machine.fails("sulogin", 1)
    assert machine.check()[-3:] == ["sulogin --force", "sleep 5", "reboot -f"]


@pytest.mark.parametrize("name", ["LABEL=root", "UUID=1234", "PARTUUID=12", "PARTLABEL=x"])
def test_a_root_is_found_by_its_names(machine: Machine, name: str) -> None:
    machine.write("etc/fstab", FSTAB.replace("/dev/sda1", name))
    machine.write("say-findfs", "/dev/sda1\n")
    assert machine.check() == [f"findfs {name}", "mountpoint -qx /dev/sda1", READ_ONLY, SAVED,
                               WRITABLE.replace("/dev/sda1", name)]


def test_a_root_of_another_name_is_checked_through_a_node_of_its_own(machine: Machine) -> None:
    machine.write("say-mountpoint", "8:17\n")
    # The stand-in of mknod makes no device, so a real one is there instead.
    (machine.path / "mknod").write_text(f'#!/bin/sh\necho mknod "$@" >> {machine.root}/calls\nexit 1\n')
    calls = machine.check()
    assert "mknod -m 600 /rootdev b 8 1" in calls
    assert calls[-2:] == ["sulogin --force", "reboot -f"]
    assert "/etc/fstab is wrong" in machine.said


def test_a_root_that_cannot_be_read_only_is_not_checked(machine: Machine) -> None:
    machine.fails("mount", 32)
    calls = machine.check()
    assert SAVED not in calls
    assert calls[-2:] == [WRITABLE, "mount -n -o remount,errors=remount-ro,rw /"]
    assert machine.status == 32
    assert "not mounted read-only" in machine.said


@pytest.mark.parametrize(("fstab", "words", "used"), [
    ("/dev/sdb1 none swap sw 0 0\n", "", True), ("UUID=12 none swap sw 0 0\n", "", True),
    ("/dev/sdb1 none swap sw 0 0\n", "noswap", False), ("", "", False),
    # These wait for mountall: what they are on may not be there yet.
    ("/swapfile none swap sw 0 0\n", "", False), ("/dev/mapper/vg-swap none swap sw 0 0\n", "", False),
])
def test_swap_is_used_before_the_check_that_may_need_it(machine: Machine, fstab: str, words: str, used: bool) -> None:
    machine.write("etc/fstab", FSTAB + fstab)
    machine.write("proc/cmdline", f"ro {words}\n")
    calls = machine.check()
    assert ("swapon -a -e" in calls) == used
    if used:
        assert calls.index("swapon -a -e") < calls.index(SAVED)


def test_a_shell_before_everything_can_be_asked_for(machine: Machine) -> None:
    machine.write("etc/default/rcS", "SULOGIN=yes\n")
    assert machine.check()[0] == "sulogin -t 30"


def test_a_root_that_fstab_wants_read_only_stays_so(machine: Machine) -> None:
    machine.write("etc/fstab", "/dev/sda1 / ext4 noatime,ro 0 1\n")
    (machine.root / "etc/mtab").unlink()
    assert machine.check()[-1] == "mount -n -o remount,noatime,ro,ro /dev/sda1 /"


def test_a_list_of_mounts_that_is_a_file_becomes_the_kernels(machine: Machine) -> None:
    (machine.root / "etc/mtab").unlink()
    machine.write("etc/mtab", "")
    assert machine.check()[-1] == "ln -fns /proc/mounts /etc/mtab"
