"""shutdown, with a machine that only takes notes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noting_machine import Machine, Output, fails, noting_machine

from upstart.base.errors import DBusError, UsageError
from upstart.sysv import pidfile, shutdown


@pytest.fixture(autouse=True)
def pc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return noting_machine(monkeypatch, tmp_path)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


#: What tells a shutdown from other processes; the machine of most tests does not.
RUNS = pidfile.runs
MAINTENANCE = "\rThe system is going down for maintenance NOW!\r\n"


class TestShutdown:
    @pytest.mark.parametrize(
        ("args", "level", "env", "what"),
        [
            ([], "1", [], "maintenance"),
            (["-r"], "6", [], "reboot"),
            (["-h"], "0", [], "halt"),
            (["-H"], "0", ["INIT_HALT=HALT"], "halt"),
            (["-P"], "0", ["INIT_HALT=POWEROFF"], "power off"),
            (["-h", "-P"], "0", ["INIT_HALT=POWEROFF"], "power off"),
            (["-P", "-h"], "0", [], "halt"),
            (["-P", "-r"], "6", [], "reboot"),
            (["-a", "-n", "-f", "-F", "-i", "3", "-t", "5", "-y", "-r"], "6", [], "reboot"),
            (["-anfFy", "-t5", "-h"], "0", [], "halt"),
        ],
    )
    def test_warns_then_emits_the_event(self, pc: Machine, args: list[str], level: str, env: list[str],
                                        what: str) -> None:
        assert shutdown.main(["shutdown", *args, "now"]) == 0
        assert pc.did == [
            ("wall", f"\rThe system is going down for {what} NOW!\r\n"),
            ("utmp", level, "2"),
            ("runlevel", [f"RUNLEVEL={level}", "PREVLEVEL=2", *env], level in "06"),
        ]

    def test_all_further_words_are_the_message(self, pc: Machine) -> None:
        assert shutdown.main(["shutdown", "now", "Control-Alt-Delete", "pressed"]) == 0
        assert pc.did[0] == ("wall", MAINTENANCE + "Control-Alt-Delete pressed \r\n")

    def test_the_old_way_to_tell_the_time(self, pc: Machine) -> None:
        assert shutdown.main(["shutdown", "-g", "0", "-k", "bye"]) == 0
        assert pc.did == [("wall", MAINTENANCE + "bye \r\n")]

    def test_may_only_warn(self, pc: Machine, tmp_path: Path) -> None:
        assert shutdown.main(["shutdown", "-k", "-r", "+1"]) == 0
        assert pc.did == [("wall", "\rThe system is going down for reboot in 1 minute!\r\n")]
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ([], "time expected"),
            (["soon"], "illegal time value"),
            (["--", "-5"], "illegal time value"),
            (["+5m"], "illegal time value"),
            (["99999999999"], "illegal time value"),
            (["24:00"], "illegal hour value"),
            (["x:00"], "illegal hour value"),
            (["12:60"], "illegal minute value"),
            (["12:3x"], "illegal minute value"),
            (["-z", "now"], "invalid option: -z"),
        ],
    )
    def test_recommends_help_for_a_wrong_command_line(self, pc: Machine, args: list[str], message: str,
                                                      capfd: Output) -> None:
        pc.root = False
        expected = f"shutdown: {message}\nTry `shutdown --help' for more information.\n"
        assert fails(shutdown.main, ["/sbin/shutdown", *args], capfd) == expected

    def test_is_for_root(self, pc: Machine, capfd: Output) -> None:
        pc.root = False
        assert fails(shutdown.main, ["shutdown", "now"], capfd) == "shutdown: Need to be root\n"
        assert pc.did == []

    def test_there_is_only_one_at_a_time(self, pc: Machine, tmp_path: Path, capfd: Output) -> None:
        (tmp_path / "shutdown.pid").write_text(f"{os.getpid()}\n")
        assert fails(shutdown.main, ["shutdown", "now"], capfd) == "shutdown: Another shutdown is already running\n"
        assert pc.did == []

    def test_a_pid_file_left_behind_is_no_hindrance(self, pc: Machine, tmp_path: Path) -> None:
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        (tmp_path / "shutdown.pid").write_text(f"{child.pid}\n")
        assert shutdown.main(["shutdown", "now"]) == 0
        assert not (tmp_path / "shutdown.pid").exists()

    def test_tells_what_init_answered(self, pc: Machine, monkeypatch: pytest.MonkeyPatch, capfd: Output) -> None:
        def refuse(*args: object, **named: object) -> None:
            raise DBusError("com.ubuntu.Upstart0_6.Error.PermissionDenied", "no")

        monkeypatch.setattr(pc, "call", refuse)
        assert fails(shutdown.main, ["shutdown", "now"], capfd) == "shutdown: no\n"

    def test_cancelling_needs_a_running_one(self, pc: Machine, tmp_path: Path, capfd: Output) -> None:
        expected = "shutdown: Cannot find pid of running shutdown\n"
        assert fails(shutdown.main, ["shutdown", "-c"], capfd) == expected
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        (tmp_path / "shutdown.pid").write_text(f"{child.pid}\n")
        assert fails(shutdown.main, ["shutdown", "-c"], capfd) == "shutdown: Shutdown is not running\n"
        assert pc.did == []

    def test_a_process_that_has_got_the_pid_of_an_earlier_shutdown_is_none(
        self, pc: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Output
    ) -> None:
        monkeypatch.setattr(pidfile, "runs", RUNS)
        with subprocess.Popen(["/bin/sleep", "60"]) as child:
            (tmp_path / "shutdown.pid").write_text(f"{child.pid}\n")
            until(lambda: pidfile.runs("sleep", child.pid))
            assert fails(shutdown.main, ["shutdown", "-c"], capfd) == "shutdown: Shutdown is not running\n"
            assert shutdown.main(["shutdown", "now"]) == 0
            assert child.poll() is None
            child.kill()
        assert not (tmp_path / "shutdown.pid").exists()

    def test_cancelling_interrupts_and_tells(self, pc: Machine, tmp_path: Path) -> None:
        with subprocess.Popen(["/bin/sleep", "60"]) as child:
            (tmp_path / "shutdown.pid").write_text(f"{child.pid}\n")
            assert shutdown.main(["shutdown", "-c", "back", "to", "work"]) == 0
        assert child.returncode == -signal.SIGINT
        assert pc.did == [("wall", "back to work \r\n")]


class TestWaiting:
    def wait(self, pid: int) -> int:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise AssertionError("the shutdown did not end")

    def start(self, pc: Machine, tmp_path: Path, args: list[str]) -> int:
        pid = os.fork()
        if pid == 0:
            status = 99
            try:
                status = shutdown.main(["shutdown", *args])
            finally:
                (tmp_path / "did").write_text("\n".join(repr(what) for what in pc.did))
                os._exit(status)
        return pid

    def test_counts_down_with_warnings_and_a_bar_to_logins(self, pc: Machine, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutdown, "MINUTE", 0.01)
        monkeypatch.setattr(shutdown, "_bar_logins", lambda text: pc.did.append(("nologin", text)))
        pid = self.start(pc, tmp_path, ["-r", "+31", "bye"])
        assert self.wait(pid) == 0
        did = (tmp_path / "did").read_text().splitlines()
        delays = [31, 30, 15, *range(9, 0, -1)]
        texts = [f"in {delay} minute{'s' if delay > 1 else ''}!" for delay in delays] + ["NOW!"]
        expected = []
        for text in texts:
            warning = f"\rThe system is going down for reboot {text}\r\nbye \r\n"
            if text in texts[-6:]:
                expected.append(repr(("nologin", warning)))
            expected.append(repr(("wall", warning)))
        expected += [repr(("utmp", "6", "2")), repr(("runlevel", ["RUNLEVEL=6", "PREVLEVEL=2"], True))]
        assert did == expected
        assert sorted(path.name for path in tmp_path.iterdir()) == ["did"]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM])
    def test_is_cancelled_by_a_signal(self, pc: Machine, tmp_path: Path, number: int, capfd: Output) -> None:
        pid = self.start(pc, tmp_path, ["+2"])
        until(lambda: pidfile.read("shutdown") == pid and (tmp_path / "nologin").exists())
        os.kill(pid, signal.SIGHUP)
        os.kill(pid, number)
        assert self.wait(pid) == 0
        assert capfd.readouterr().err == "shutdown: Shutdown cancelled\n"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["did"]
        assert (tmp_path / "did").read_text().count("\n") == 0

    def test_keeps_users_out_in_the_last_minutes(self, pc: Machine, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutdown, "MINUTE", 0.3)
        pid = self.start(pc, tmp_path, ["+7", "bye"])
        until(lambda: pidfile.read("shutdown") == pid)
        assert not (tmp_path / "nologin").exists()
        until(lambda: (tmp_path / "nologin").exists())
        os.kill(pid, signal.SIGTERM)
        self.wait(pid)
        assert not (tmp_path / "nologin").exists()

    def test_keeps_users_out_at_once_where_no_more_than_the_last_minutes_are_left(self, pc: Machine,
                                                                                  tmp_path: Path) -> None:
        pid = self.start(pc, tmp_path, ["-r", "+5", "bye"])
        until(lambda: (tmp_path / "nologin").exists() and (tmp_path / "nologin").read_text() != "")
        os.kill(pid, signal.SIGTERM)
        self.wait(pid)
        assert not (tmp_path / "nologin").exists()


def at(hour: int, minute: int) -> time.struct_time:
    return time.struct_time((2026, 1, 1, hour, minute, 30, 3, 1, 0))


class TestTheTime:
    @pytest.mark.parametrize(
        ("text", "minutes"),
        [("now", 0), ("+0", 0), ("0", 0), ("", 0), ("+10", 10), ("10", 10), ("010", 10),
         ("12:30", 0), ("12:31", 1), ("12:29", 1439), ("0:5", 695), (":30", 720), ("13:", 30)],
    )
    def test_is_a_delay_or_an_hour_of_the_day(self, text: str, minutes: int) -> None:
        assert shutdown.minutes_until(text, at(12, 30)) == minutes

    @given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 23), st.integers(0, 59))
    def test_an_hour_of_the_day_is_always_less_than_a_day_ahead(self, hour: int, minute: int, then_hour: int,
                                                                then_minute: int) -> None:
        delay = shutdown.minutes_until(f"{then_hour:02}:{then_minute:02}", at(hour, minute))
        assert 0 <= delay < 1440
        assert (hour * 60 + minute + delay) % 1440 == then_hour * 60 + then_minute

    @given(st.text(max_size=30))
    def test_no_text_does_worse_than_being_refused(self, text: str) -> None:
        try:
            assert shutdown.minutes_until(text, at(12, 30)) >= 0
        except UsageError as error:
            assert str(error).startswith("illegal ")

    def test_users_are_warned_more_often_towards_the_end(self) -> None:
        due = [delay for delay in range(300, -1, -1) if shutdown.warning_is_due(delay)]
        assert due == [300, 240, 180, 150, 120, 90, 60, 45, 30, 15, *range(9, -1, -1)]


def test_the_pid_file_is_complete_from_the_moment_it_exists(tmp_path: Path) -> None:
    stop = threading.Event()
    seen: set[int | None] = set()

    def look() -> None:
        while not stop.is_set():
            if os.path.exists(pidfile.path("x")):
                seen.add(pidfile.read("x"))

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(20):
        pidfile.write("x", 4711)
    stop.set()
    thread.join()
    assert seen <= {4711}
    assert [path.name for path in tmp_path.iterdir()] == ["x.pid"]
