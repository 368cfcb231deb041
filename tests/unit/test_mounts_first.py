"""What has to come before mountall looks at any file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from upstart.base.errors import ClientError
from upstart.mounts import first
from upstart.mounts.files import Reader
from upstart.mounts.values import Answered, Emit
from upstart.sysv import standins

NOW = 1_800_000_000.0


class Machine:
    """A machine with a hardware clock in UTC, whose scripts before the check of the root have jobs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro quiet\n")
        self.write("sys/class/rtc/rtc0/name", "rtc_cmos\n")
        self.write("etc/adjtime", "0.0 0 0.0\n0\nUTC\n")
        self.write("etc/init.d/.depend.boot", "TARGETS = a b\na: b\ncheckroot.sh: hwclock.sh mountdevsubfs.sh udev\n")
        for name in ("hwclock", "mountdevsubfs.sh", "udev"):
            self.write(f"etc/init/{name}.conf", "")

    def write(self, path: str, text: str, time: float = NOW - 1000) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, (time, time))

    def needs(self) -> list[str]:
        return [" ".join(env) for env in first.needs(Reader(str(self.root)), NOW)]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(standins, "JOBS", str(tmp_path / "etc/init"))
    return Machine(tmp_path)


def test_usually_there_is_nothing(machine: Machine) -> None:
    assert machine.needs() == []


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("emergency", True),
        ("-b", True),
        ("quiet emergency ro", True),
        ("noemergency", False),
        ("emergency=1 a-b", False),
        ("", False),
    ],
)
def test_a_shell_is_needed_where_the_kernel_was_told_so(machine: Machine, words: str, asked: bool) -> None:
    machine.write("proc/cmdline", f"{words}\n")
    assert machine.needs() == ["NEED=emergency"] * asked


@pytest.mark.parametrize(
    ("adjtime", "local"),
    [("0.0 0 0.0\n0\nLOCAL\n", True), ("0.0 0 0.0\n0\nLOCAL", True), ("0.0 0 0.0\n0\nNOLOCAL\n", False), ("", False)],
)
def test_a_hardware_clock_in_local_time_needs_the_kernel_to_be_told(
    machine: Machine, adjtime: str, local: bool
) -> None:
    machine.write("etc/adjtime", adjtime)
    assert machine.needs() == ["NEED=clock"] * local


@pytest.mark.parametrize("file", ["rcS", "hwclock"])
def test_a_hardware_clock_that_nobody_may_touch_is_left_alone(machine: Machine, file: str) -> None:
    machine.write("etc/adjtime", "0.0 0 0.0\n0\nLOCAL\n")
    machine.write(f"etc/default/{file}", "HWCLOCKACCESS=no\n")
    assert machine.needs() == []


def test_without_a_hardware_clock_time_goes_on_from_what_is_known(machine: Machine) -> None:
    machine.write("etc/adjtime", "0.0 0 0.0\n0\nLOCAL\n")
    for path in ("rtc0/name", "rtc0"):
        target = machine.root / "sys/class/rtc" / path
        target.rmdir() if target.is_dir() else target.unlink()
    assert machine.needs() == []
    machine.write("var/log/wtmp", "", NOW + 100)
    machine.write("usr/lib/clock-epoch", "", NOW + 50)
    assert machine.needs() == [f"NEED=clock TIME={int(NOW) + 100}"]


def test_a_script_without_a_job_that_insserv_puts_first_is_to_be_run(machine: Machine) -> None:
    (machine.root / "etc/init/udev.conf").unlink()
    assert machine.needs() == ["NEED=scripts"]


def test_a_container_s_kernel_and_clock_are_its_host_s(machine: Machine) -> None:
    machine.write("proc/cmdline", "emergency\n")
    machine.write("etc/adjtime", "0.0 0 0.0\n0\nLOCAL\n")
    machine.write("run/container_type", "lxc\n")
    (machine.root / "etc/init/udev.conf").unlink()
    assert machine.needs() == ["NEED=scripts"]


class Init:
    """Stands in for the connection to init; what ``says`` has is what comes of each time that it is listened to."""

    def __init__(self, *says: str) -> None:
        self.says = list(says)
        self.asked: list[Emit] = []
        self.lost = False
        self.wants_write = False
        self.opened = 0
        self._ends = os.pipe()
        os.write(self._ends[1], b"x")

    def emit(self, emit: Emit) -> None:
        self.asked.append(emit)

    def fileno(self) -> int:
        return self._ends[0]

    def receive(self) -> list[Answered]:
        said = self.says.pop(0)
        self.lost = said == "lost"
        return [Answered(self.asked[-1].number)] if said == "done" else []

    def open(self) -> None:
        self.opened += 1
        if self.says[0] == "away":
            self.says.pop(0)
            raise OSError("nobody listens")
        self.lost = False

    def close(self) -> None:
        for end in self._ends:
            os.close(end)


def test_each_need_is_waited_for_before_the_next_is_told_of_and_through_a_re_exec(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    init = Init("nothing", "done", "lost", "away", "away", "nothing", "done")
    first.have_done(init, [("NEED=clock", "TIME=7"), ("NEED=scripts",)])  # type: ignore[arg-type]
    assert [(each.name, each.env, each.key) for each in init.asked] == [
        ("before-mounting", ("NEED=clock", "TIME=7"), "before-mounting NEED=clock"),
        ("before-mounting", ("NEED=scripts",), "before-mounting NEED=scripts"),
    ]
    assert init.opened == 3 and init.says == []
    init.close()


def test_an_init_that_does_not_come_back_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(first, "INIT_SECONDS", -1.0)
    init = Init("lost", "away")
    with pytest.raises(ClientError, match="Could not connect to Upstart: nobody listens"):
        first.have_done(init, [("NEED=scripts",)])  # type: ignore[arg-type]
    init.close()
