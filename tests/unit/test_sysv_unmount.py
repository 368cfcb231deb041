"""What is unmounted at the end of a machine, and how: nothing here is a mount of this machine's."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from upstart.sysv import unmount
from upstart.sysv.hanging import Hanging
from upstart.sysv.unmount import MNT_DETACH, MNT_FORCE, MS_RDONLY, MS_REMOUNT, Unmounting

BOOTED = """\
21 1 0:20 / /sys rw,nosuid - sysfs sysfs rw
22 1 0:21 / /proc rw - proc proc rw
23 1 0:5 / /dev rw,nosuid - devtmpfs udev rw,size=1k
24 23 0:22 / /dev/pts rw - devpts devpts rw
25 1 0:23 / /run rw - tmpfs tmpfs rw,size=1k
1 1 254:0 / / rw,relatime - ext4 /dev/vda1 rw,errors=remount-ro
26 23 0:24 / /dev/shm rw - tmpfs tmpfs rw
27 25 0:25 / /run/lock rw - tmpfs tmpfs rw
28 1 254:1 / /usr rw - ext4 /dev/vda2 rw
29 1 254:2 / /srv rw - ext4 /dev/vda3 rw
30 29 0:40 / /srv/with\\040blank rw - nfs4 server:/x rw,vers=4.2
31 1 0:41 / /tmp rw - tmpfs tmpfs rw
32 25 8:1 / /run/media/stick rw - vfat /dev/sda1 rw
33 29 254:2 /a /mnt ro - ext4 /dev/vda3 rw
34 1 43:0 / /far rw - ext4 /dev/nbd0 rw
35 22 0:42 / /proc/sys/fs/binfmt_misc rw - binfmt_misc binfmt_misc rw
36 1 254:3 / /marked rw - ext4 /dev/vdb rw
37 1 254:4 / /cdrom ro - iso9660 /dev/sr0 ro
"""
OVERLAY = """\
25 1 0:23 / /run rw - tmpfs tmpfs rw
40 25 7:0 / /run/live/rootfs ro - squashfs /dev/loop0 ro
41 25 254:0 / /run/live/medium rw - ext4 /dev/vda1 rw
1 1 0:50 / / rw - overlay overlay rw,lowerdir=/a,upperdir=/b
42 1 254:1 / /home rw - ext4 /dev/vdb rw
"""


class Machine:
    """A table, and what is done about it: ``busy`` cannot be unmounted, ``hung`` never answers."""

    def __init__(self, root: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.table = root / "mountinfo"
        self.table.write_text(text)
        self.swaps = root / "swaps"
        self.swaps.write_text("Filename Type Size Used Priority\n")
        (root / "utab").write_text("SRC=/dev/vdb TARGET=/marked ROOT=/ OPTS=_netdev\n")
        for name, value in (
            ("TABLE", self.table),
            ("SWAPS", self.swaps),
            ("UTAB", root / "utab"),
            ("BLOCKS", root / "block"),
            ("SYSRQ", root / "sysrq"),
        ):
            monkeypatch.setattr(unmount, name, str(value))
        monkeypatch.setattr(unmount.read, "__defaults__", (str(self.table), str(root / "utab")))
        self.root = root
        self.busy: set[str] = set()
        self.hung: set[str] = set()
        self.done: list[str] = []
        self.said: list[str] = []
        self.unmounting = Unmounting(self, self.said.append, str(self.table))  # type: ignore[arg-type]
        self.calls = SimpleNamespace(
            umount=self.umount, mount=self.mount, swapoff=self.swapoff)
        monkeypatch.setattr(unmount, "_free_loop", self.free)
        monkeypatch.setattr(self.unmounting, "_calls", self.calls)

    def call(self, what: str, action: Callable[[], object]) -> int | None:
        """In the place of a child."""
        if what == "data to be written to disk":
            self.done.append("sync")
            return 0
        if any(f"{point} to be" in what for point in self.hung):
            return None
        try:
            action()
        except OSError as error:
            return error.errno
        return 0

    def _lines(self) -> list[str]:
        return self.table.read_text().splitlines(keepends=True)

    def umount(self, point: str, flags: int) -> None:
        escaped = point.replace(" ", "\\040")
        lines = self._lines()
        above = [line for line in lines if line.split()[4].startswith(escaped + "/")]
        files = [
            path for path in self.root.glob("block/*/loop/backing_file") if path.read_text().startswith(point + "/")
        ]  # fmt: skip
        swaps = [line for line in self.swaps.read_text().splitlines() if line.startswith(point + "/")]
        if not flags & MNT_DETACH and (point in self.busy or above or files or swaps):
            raise OSError(errno.EBUSY, "busy")
        self.done.append(f"{point}{' by force' if flags & MNT_FORCE else ''}")
        gone = {escaped, *(line.split()[4] for line in above)}
        self.table.write_text("".join(line for line in lines if line.split()[4] not in gone))

    def loop(self, name: str, file: str) -> None:
        path = self.root / "block" / name / "loop"
        path.mkdir(parents=True)
        (path / "backing_file").write_text(f"{file}\n")

    def free(self, device: str) -> None:
        """In the place of _free_loop."""
        if any(line.split()[-2].startswith(device) for line in self._lines()):
            raise OSError(errno.EBUSY, "busy")
        self.done.append(f"{device} freed")
        (self.root / "block" / device[5:] / "loop/backing_file").unlink()

    def swapoff(self, path: str) -> None:
        self.done.append(f"swapoff {path}")
        escaped = path.replace(" ", "\\040")
        lines = self.swaps.read_text().splitlines(keepends=True)
        self.swaps.write_text("".join(line for line in lines if line.split()[0] != escaped))

    def mount(self, kind: str | None, point: str, flags: int, data: str | None) -> None:
        assert (kind, flags, data) == (None, MS_REMOUNT | MS_RDONLY, None)
        if point in self.busy:
            raise OSError(errno.EBUSY, "busy")
        self.done.append(f"{point} ro")
        (number,) = {line.split()[2] for line in self._lines() if line.split()[4] == point}
        self.table.write_text("".join(
            line.rpartition(" rw")[0] + " ro\n" if line.split()[2] == number else line for line in self._lines()))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, BOOTED, monkeypatch)


def test_what_comes_over_a_network_goes_first(machine: Machine) -> None:
    machine.unmounting.remote()
    assert machine.done == ["/marked", "/far", "/srv/with blank"]


def test_what_does_not_go_by_itself_is_taken_out_of_sight(machine: Machine) -> None:
    machine.busy = {"/far"}
    machine.unmounting.remote()
    assert machine.done == ["/marked", "/srv/with blank", "/far by force"]


STOOD_ON = """\
1 1 254:0 / / rw - ext4 /dev/vda1 rw
40 1 0:40 / /net rw - nfs4 server:/x rw
41 40 254:9 / /net/disk rw - ext4 /dev/vdz rw
42 1 7:1 / /image rw - ext4 /dev/loop1p2 rw
43 1 7:2 / /deeper rw - ext4 /dev/loop2 rw
44 1 7:3 / /other rw - ext4 /dev/loop3 rw
45 1 254:10 / /network rw - ext4 /dev/vdy rw
"""


@pytest.fixture
def stood_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path, STOOD_ON, monkeypatch)
    machine.loop("loop1", "/net/images/1")
    machine.loop("loop2", "/image/2")
    machine.loop("loop3", "/3")
    (tmp_path / "block/loop4").mkdir()
    machine.swaps.write_text(
        "Filename Type Size Used Priority\n/net/swap file 1 0 -2\n/swap file 1 0 -2\n/dev/vdb partition 1 0 -2\n")
    return machine


def test_what_stands_on_it_goes_before_it_is_forced(stood_on: Machine) -> None:
    stood_on.unmounting.remote()
    assert stood_on.done == [
        "swapoff /net/swap", "/deeper", "/net/disk", "/dev/loop2 freed", "/image", "/dev/loop1 freed", "/net"]
    assert not stood_on.said


def test_what_stands_on_it_and_is_in_use_is_made_read_only_before_it_is_forced(stood_on: Machine) -> None:
    machine = stood_on
    umount = machine.calls.umount

    def in_use(point: str, flags: int) -> None:
        if point == "/net/disk":
            raise OSError(errno.EBUSY, "busy")
        umount(point, flags)

    machine.calls.umount = in_use
    machine.unmounting.remote()
    assert machine.done[-2:] == ["/net/disk ro", "/net by force"]


def test_what_stands_on_what_hangs_is_left_alone(stood_on: Machine) -> None:
    stood_on.hung = {"/net"}
    asked: list[str] = []
    call = stood_on.call

    def noted(what: str, action: Callable[[], object]) -> int | None:
        asked.append(what)
        return call(what, action)

    stood_on.call = noted  # type: ignore[method-assign]
    stood_on.unmounting.remote()
    assert asked == ["/net to be unmounted"] * 2 and not stood_on.done


def test_the_last_that_was_mounted_goes_first_and_the_kernels_and_usr_stay(machine: Machine) -> None:
    machine.unmounting.remote()
    machine.done.clear()
    machine.swaps.write_text("Filename Type Size Used Priority\n/srv/swap\\040file\tfile\t1\t0\t-2\n")
    machine.unmounting.local()
    assert machine.done == ["/tmp", "swapoff /srv/swap file", "/cdrom", "/mnt", "/run/media/stick", "/srv"]
    machine.done.clear()
    assert machine.unmounting.read_only()
    assert machine.done == ["sync", "/ ro", "/usr ro"] and not machine.said


BREAKS = "a\rb\x0bc\x0cd\x1ce\x1df\x1eg\x85h\u2028i\u2029j"


def test_a_name_may_have_what_text_breaks_lines_at(machine: Machine) -> None:
    line = f"40 1 254:9 / /srv/{BREAKS} rw - ext4 /dev/{BREAKS} rw\n".encode()
    latin = b"41 1 254:10 / /srv/\xe4 rw - ext4 /dev/vdx rw\n"
    machine.table.write_bytes(BOOTED.encode() + line + latin)
    found = unmount.read(str(machine.table))
    assert (found[-2].point, found[-2].device, len(found)) == (f"/srv/{BREAKS}", f"/dev/{BREAKS}", 20)
    assert os.fsencode(found[-1].point) == b"/srv/\xe4"
    machine.swaps.write_bytes(f"Filename Type Size Used Priority\n/{BREAKS}\u3000k  file\t1\t0\t-2\n".encode())
    machine.table.write_text("")
    machine.unmounting.local()
    assert machine.done == [f"swapoff /{BREAKS}\u3000k"]


def test_a_line_that_is_none_keeps_no_other_from_being_read(machine: Machine) -> None:
    machine.table.write_text("broken\n1 2 3 -\n\n- - -\n" + BOOTED)
    found = unmount.read(str(machine.table))
    assert len(found) == 18 and found[0].point == "/sys" and found[-1].point == "/cdrom"


def test_what_is_busy_is_made_read_only(machine: Machine) -> None:
    machine.busy = {"/srv"}
    machine.unmounting.remote()
    machine.unmounting.local()
    assert machine.said == ["/srv could not be unmounted"]
    machine.busy = set()
    assert machine.unmounting.read_only()
    assert "/srv ro" in machine.done


def test_what_cannot_even_be_that_is_left_to_the_kernel(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.busy = {"/"}
    def kernel(seconds: float) -> None:
        machine.busy.clear()
        machine.mount(None, "/", MS_REMOUNT | MS_RDONLY, None)

    monkeypatch.setattr("time.sleep", kernel)
    machine.unmounting.remote()
    machine.unmounting.local()
    assert machine.unmounting.read_only()
    assert (machine.root / "sysrq").read_text() == "u"


def test_what_hangs_is_tried_once_and_all_else_is_unmounted(machine: Machine) -> None:
    machine.hung = {"/srv"}
    asked: list[str] = []
    call = machine.call

    def noted(what: str, action: Callable[[], object]) -> int | None:
        asked.append(what)
        return call(what, action)

    machine.call = noted  # type: ignore[method-assign]
    machine.unmounting.remote()
    machine.unmounting.local()
    assert asked.count("/srv to be unmounted") == 1
    assert "/mnt" in machine.done and "/srv" not in machine.done


def test_a_root_on_others_is_read_only_before_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, OVERLAY, monkeypatch)
    machine.unmounting.remote()
    machine.unmounting.local()
    assert machine.done == ["/home"]
    assert machine.unmounting.read_only()
    assert machine.done == ["/home", "sync", "/ ro", "/run/live/medium ro"]


def test_a_line_that_is_gone_meanwhile_is_no_failure(machine: Machine) -> None:
    def gone(point: str, flags: int) -> None:
        raise OSError(errno.EINVAL, "not mounted")

    machine.calls.umount = gone
    machine.unmounting.local()
    assert not machine.said


class TestHanging:
    def test_gives_the_error_of_what_is_called(self) -> None:
        def fails() -> None:
            raise OSError(errno.EBUSY, "busy")

        def breaks() -> None:
            raise ValueError

        said: list[str] = []
        hanging = Hanging(said.append)
        assert hanging.call("a", lambda: None) == 0
        assert hanging.call("a", fails) == errno.EBUSY
        assert hanging.call("a", breaks) not in (0, None)
        assert not said

    def test_all_that_hangs_has_so_many_seconds_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import os
        import time

        monkeypatch.setattr("upstart.sysv.hanging.LEAST", 0.05)
        monkeypatch.setattr("upstart.sysv.hanging.MOST", 1.0)
        monkeypatch.setattr("upstart.sysv.hanging.LOOK", 0.05)
        monkeypatch.setattr("upstart.sysv.hanging.NAMED_AFTER", 0.2)
        monkeypatch.setattr("upstart.sysv.hanging.unwritten", lambda: 0)
        said: list[str] = []
        hanging = Hanging(said.append, 1.5)
        began = time.monotonic()
        for _ in range(5):
            assert hanging.call("/srv to be unmounted", lambda: time.sleep(1000)) is None
        assert 1.5 < time.monotonic() - began < 5
        assert said[:2] == ["Waiting for /srv to be unmounted", "No longer waiting for /srv to be unmounted"]
        for pid in Path("/proc/thread-self/children").read_text().split():
            os.kill(int(pid), 9)
            os.waitpid(int(pid), 0)

    def test_what_gets_on_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import time

        left = iter(range(1000, 0, -1))
        monkeypatch.setattr("upstart.sysv.hanging.MOST", 0.1)
        monkeypatch.setattr("upstart.sysv.hanging.LOOK", 0.05)
        monkeypatch.setattr("upstart.sysv.hanging.unwritten", lambda: next(left))
        assert Hanging(lambda text: None).call("data", lambda: time.sleep(0.6)) == 0


@pytest.mark.parametrize(
    ("word", "path"),
    [
        ("/a\\040b", "/a b"), ("\\134\\011x", "\\\tx"), ("/a\\04", "/a\\04"), ("/a\\", "/a\\"), ("/a\\09b", "/a\\09b"),
        ("/x", "/x"),
    ],
)
def test_what_the_kernel_writes_as_numbers_is_read(word: str, path: str) -> None:
    assert unmount._unescape(word) == path


@pytest.mark.parametrize(
    ("device", "loop"),
    [("/dev/loop0", "loop0"), ("/dev/loop12p3", "loop12"), ("/dev/loop-control", ""), ("/dev/sda1", "")],
)
def test_a_part_of_a_loop_device_stands_for_it(device: str, loop: str) -> None:
    assert unmount._loop_of(device) == loop
