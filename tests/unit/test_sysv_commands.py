"""telinit, runlevel, shutdown, halt, reboot and poweroff, with a machine that only takes notes."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.client.errors import DBusError, UsageError
from upstart.sysv import change, machine, otherinit, pidfile, reboot, runlevel, shutdown, telinit, utmp


class Executed(Exception):
    """The program became another one."""


class Machine:
    """What the commands did to the machine, in order; `init` is which init runs on it."""

    def __init__(self) -> None:
        self.did: list[Any] = []
        self.init = "upstart"
        self.interpreted = False
        self.root = True
        self.levels: tuple[str, str] | None = ("2", "N")
        self.restart_error = ""
        self.refusals = 0
        self.refusals_after_restart = 0

    def become_root(self) -> tuple[bool, bool]:
        return True, self.root

    def execute(self, path: str, arguments: list[str]) -> NoReturn:
        self.did.append(("execute", path, arguments))
        raise Executed

    def connect(self, address: str | None = None) -> Machine:
        if self.init != "upstart" or self.refusals:
            self.refusals = max(0, self.refusals - 1)
            raise DBusError(change.NO_SERVER, "Failed to connect to socket /com/ubuntu/upstart: Connection refused")
        return self

    def emit_event(self, name: str, env: list[str], wait: bool) -> None:
        self.did.append((name, env, wait))

    def call(self, path: str, interface: str, method: str) -> None:
        self.did.append(method)
        self.refusals = self.refusals_after_restart
        if self.restart_error:
            raise DBusError(self.restart_error, "the reason")

    def get_property(self, path: str, interface: str, name: str) -> str:
        return "init (upstart 1.13.2)"

    def close(self) -> None:
        pass

    def get_runlevel(self, path: str = "") -> tuple[str, str] | None:
        return self.levels

    def noting(self, what: str) -> Callable[..., None]:
        return lambda *arguments: self.did.append((what, *arguments))


@pytest.fixture(autouse=True)
def pc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    made = Machine()
    monkeypatch.delenv("RUNLEVEL", raising=False)
    monkeypatch.setattr(machine, "become_root", made.become_root)
    monkeypatch.setattr(machine, "execute", made.execute)
    monkeypatch.setattr(machine, "init_is_interpreted", lambda: made.interpreted)
    monkeypatch.setattr(machine, "signal_init", made.noting("signal"))
    monkeypatch.setattr(machine, "reboot", made.noting("reboot"))
    monkeypatch.setattr(machine, "tell_wtmpdb", made.noting("wtmpdb"))
    monkeypatch.setattr(os, "sync", made.noting("sync"))
    monkeypatch.setattr(os, "chdir", lambda path: None)
    monkeypatch.setattr(os, "umask", lambda mask: 0)
    monkeypatch.setattr(utmp, "get_runlevel", made.get_runlevel)
    monkeypatch.setattr(utmp, "write_runlevel", lambda *args: made.did.append(("utmp", *args[:2])))
    monkeypatch.setattr(utmp, "write_shutdown", made.noting("utmp shutdown"))
    monkeypatch.setattr(change, "connect_private", made.connect)
    monkeypatch.setattr(telinit, "connect_private", made.connect)
    monkeypatch.setattr(otherinit, "SYSTEMD", str(tmp_path / "systemd"))
    monkeypatch.setattr(otherinit, "FIFOS", (str(tmp_path / "initctl"), str(tmp_path / "old-initctl")))
    monkeypatch.setattr(shutdown, "NOLOGIN", str(tmp_path / "nologin"))
    monkeypatch.setattr(shutdown, "wall", lambda text: made.did.append(("wall", text)))
    monkeypatch.setattr(pidfile, "DIRECTORY", str(tmp_path))
    return made


Output = pytest.CaptureFixture[str]


def fails(command: Callable[[list[str]], int], argv: list[str], capfd: Output) -> str:
    """The standard error of a command that must fail."""
    assert command(argv) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    return captured.err


class TestTelinit:
    @pytest.mark.parametrize("level", "0123456")
    def test_emits_the_event_after_writing_the_record(self, pc: Machine, level: str) -> None:
        assert telinit.main(["telinit", level]) == 0
        assert pc.did == [("utmp", level, "2"), ("runlevel", [f"RUNLEVEL={level}", "PREVLEVEL=2"], False)]

    @pytest.mark.parametrize("level", "sS")
    def test_single_user_mode_is_a_capital_s(self, pc: Machine, level: str) -> None:
        pc.levels = None
        assert telinit.main(["/sbin/telinit", level]) == 0
        assert pc.did == [("utmp", "S", "N"), ("runlevel", ["RUNLEVEL=S", "PREVLEVEL=N"], False)]

    def test_adds_variables_in_their_order(self, pc: Machine) -> None:
        assert telinit.main(["telinit", "-e", "FOO=BAR", "-t", "5", "3", "-e", "TEA=YES"]) == 0
        assert pc.did[1][1] == ["RUNLEVEL=3", "PREVLEVEL=2", "FOO=BAR", "TEA=YES"]

    @pytest.mark.parametrize("request_", "qQ")
    def test_q_sends_hup(self, pc: Machine, request_: str) -> None:
        assert telinit.main(["telinit", request_]) == 0
        assert pc.did == [("signal", signal.SIGHUP)]

    @pytest.mark.parametrize("error", ["", *telinit._CUT_OFF])
    def test_u_returns_when_init_answers_again(self, pc: Machine, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(telinit, "RETRY_INTERVAL", 0.001)
        pc.restart_error = error
        pc.refusals_after_restart = 3
        assert telinit.main(["telinit", "u"]) == 0
        assert pc.did == ["Restart"] and pc.refusals == 0

    def test_u_gives_up_at_last(self, pc: Machine, monkeypatch: pytest.MonkeyPatch, capfd: Output) -> None:
        monkeypatch.setattr(telinit, "RETRY_INTERVAL", 0.001)
        monkeypatch.setattr(telinit, "RESTART_PATIENCE", 0.02)
        monkeypatch.setattr(otherinit, "FIFOS", ())
        pc.refusals_after_restart = 1_000_000
        assert "Connection refused" in fails(telinit.main, ["telinit", "u"], capfd)

    def test_u_tells_why_init_refuses(self, pc: Machine, capfd: Output) -> None:
        pc.restart_error = "com.ubuntu.Upstart.Error.Whatever"
        assert fails(telinit.main, ["telinit", "U"], capfd) == "telinit: the reason\n"

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ([], "missing runlevel"),
            (["7"], "illegal runlevel: 7"),
            (["22"], "illegal runlevel: 22"),
            ([""], "illegal runlevel: "),
            (["--", "-2"], "illegal runlevel: -2"),
            (["-x", "2"], "invalid option: -x"),
            (["2", "-e"], "missing argument: -e"),
        ],
    )
    def test_recommends_help_for_a_wrong_command_line(self, pc: Machine, args: list[str], message: str,
                                                      capfd: Output) -> None:
        pc.root = False
        expected = f"telinit: {message}\nTry `telinit --help' for more information.\n"
        assert fails(telinit.main, ["/sbin/telinit", *args], capfd) == expected
        assert pc.did == []

    def test_is_for_root(self, pc: Machine, capfd: Output) -> None:
        pc.root = False
        assert fails(telinit.main, ["telinit", "2"], capfd) == "telinit: Need to be root\n"

    def test_tells_when_no_init_can_be_reached(self, pc: Machine, capfd: Output) -> None:
        pc.init = "unknown"
        expected = "telinit: Failed to connect to socket /com/ubuntu/upstart: Connection refused\n"
        assert fails(telinit.main, ["telinit", "2"], capfd) == expected
        assert pc.did == []


class TestOtherInits:
    @pytest.mark.parametrize(
        ("args", "words"),
        [
            (["0"], ["poweroff"]),
            (["0", "-e", "INIT_HALT=HALT"], ["halt"]),
            (["6"], ["reboot"]),
            (["1"], ["--no-block", "rescue"]),
            (["3"], ["--no-block", "isolate", "multi-user.target"]),
            (["5"], ["--no-block", "isolate", "graphical.target"]),
            (["u"], ["daemon-reexec"]),
        ],
    )
    def test_systemd_is_asked_through_systemctl(self, pc: Machine, tmp_path: Path, args: list[str],
                                                words: list[str]) -> None:
        (tmp_path / "systemd").mkdir()
        pc.init = "systemd"
        with pytest.raises(Executed):
            telinit.main(["telinit", *args])
        assert pc.did == [("execute", "/usr/bin/systemctl", ["systemctl", "--no-wall", *words])]

    @pytest.mark.parametrize("name", ["initctl", "old-initctl"])
    def test_sysvinit_gets_its_requests_on_the_fifo(self, pc: Machine, tmp_path: Path, name: str) -> None:
        pc.init = "sysvinit"
        os.mkfifo(tmp_path / name)
        reader = os.open(tmp_path / name, os.O_RDONLY | os.O_NONBLOCK)
        assert shutdown.main(["shutdown", "-P", "now"]) == 0
        data = os.read(reader, 4096)
        os.close(reader)
        assert len(data) == 2 * 384
        assert struct.unpack_from("=ii", data) == (0x03091969, 6)
        assert data[16:384].rstrip(b"\0") == b"INIT_HALT=POWEROFF"
        assert struct.unpack_from("=iiii", data, 384) == (0x03091969, 1, ord("0"), 5)
        assert not (tmp_path / "nologin").exists()

    def test_an_upstart_that_does_not_answer_is_not_asked_in_a_circle(self, pc: Machine, tmp_path: Path) -> None:
        pc.init = "upstart that does not answer"
        pc.interpreted = True
        os.mkfifo(tmp_path / "initctl")
        reader = os.open(tmp_path / "initctl", os.O_RDONLY | os.O_NONBLOCK)
        assert telinit.main(["telinit", "0"]) == 1
        assert os.read(reader, 4096) == b""
        os.close(reader)

    def test_a_fifo_without_a_reader_is_no_init(self, pc: Machine, tmp_path: Path, capfd: Output) -> None:
        pc.init = "none"
        os.mkfifo(tmp_path / "initctl")
        (tmp_path / "old-initctl").write_text("a file")
        assert fails(shutdown.main, ["shutdown", "now"], capfd) == "shutdown: Unable to shutdown system\n"
        assert (tmp_path / "old-initctl").read_text() == "a file"


class TestRunlevel:
    def test_prints_the_previous_and_the_current_level(self, pc: Machine, capfd: Output) -> None:
        assert runlevel.main(["runlevel"]) == 0
        assert capfd.readouterr().out == "N 2\n"
        assert runlevel.main(["runlevel", "--quiet"]) == 0
        assert capfd.readouterr().out == ""

    @pytest.mark.parametrize("levels", [None, ("N", "N")])
    def test_says_unknown_and_fails_without_one(self, pc: Machine, levels: tuple[str, str] | None,
                                                capfd: Output) -> None:
        pc.levels = levels
        assert runlevel.main(["runlevel"]) == 1
        assert capfd.readouterr() == ("unknown\n", "")
        assert runlevel.main(["runlevel", "-q"]) == 1
        assert capfd.readouterr() == ("", "")

    def test_names_the_file_it_cannot_read(self, monkeypatch: pytest.MonkeyPatch, capfd: Output) -> None:
        monkeypatch.setattr(utmp, "get_runlevel", utmp.read_runlevel)
        expected = "runlevel:/nonexistent: No such file or directory\n"
        assert fails(runlevel.main, ["runlevel", "-q", "/nonexistent"], capfd) == expected


class TestReboot:
    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            (["/sbin/reboot"], ["-r"]),
            (["halt"], ["-h", "-H"]),
            (["halt", "-p"], ["-h", "-P"]),
            (["poweroff"], ["-h", "-P"]),
            (["reboot", "--poweroff", "argument"], ["-r"]),
            (["anything", "-d", "-i", "-h"], ["-r"]),
        ],
    )
    def test_becomes_shutdown(self, pc: Machine, argv: list[str], words: list[str]) -> None:
        with pytest.raises(Executed):
            reboot.main(argv)
        assert pc.did == [("execute", "/sbin/shutdown", ["/sbin/shutdown", *words, "now"])]

    @pytest.mark.parametrize(
        ("argv", "call", "message"),
        [
            (["reboot", "-f"], (machine.RESTART, None), "Rebooting"),
            (["halt", "-d", "-f", "-i", "-h"], (machine.HALT, None), "Halting"),
            (["halt", "-dfiph"], (machine.POWER_OFF, None), "Powering off"),
            (["poweroff", "--force"], (machine.POWER_OFF, None), "Powering off"),
            (["reboot", "-f", "recovery"], (machine.RESTART, "recovery"), "Rebooting with recovery"),
        ],
    )
    def test_acts_at_once_when_forced(self, pc: Machine, argv: list[str], call: tuple[int, str | None],
                                      message: str, capfd: Output) -> None:
        assert reboot.main([*argv, "--verbose"]) == 0
        assert pc.did == [
            ("utmp shutdown",), ("wtmpdb", "shutdown"), ("sync",),
            ("reboot", machine.CAD_ON), ("reboot", *call), ("reboot", machine.CAD_OFF),
        ]  # fmt: skip
        assert capfd.readouterr() == (message + "\n", "")

    @pytest.mark.parametrize("level", "06")
    def test_acts_at_once_where_services_are_down(self, pc: Machine, level: str) -> None:
        pc.levels = (level, "2")
        assert reboot.main(["reboot", "-n"]) == 0
        assert [what[1] for what in pc.did if what[0] == "reboot"][1] == machine.RESTART
        assert ("sync",) not in pc.did and ("wtmpdb", "shutdown") not in pc.did

    def test_may_only_write_the_record(self, pc: Machine) -> None:
        assert reboot.main(["halt", "-w"]) == 0
        assert pc.did == [("utmp shutdown",), ("wtmpdb", "shutdown")]

    def test_tells_why_shutdown_cannot_be_run(self, monkeypatch: pytest.MonkeyPatch, capfd: Output) -> None:
        def missing(path: str, arguments: list[str]) -> NoReturn:
            raise FileNotFoundError(2, "No such file or directory")

        monkeypatch.setattr(machine, "execute", missing)
        expected = "halt: Unable to execute shutdown: No such file or directory\n"
        assert fails(reboot.main, ["halt"], capfd) == expected

    def test_is_for_root(self, pc: Machine, capfd: Output) -> None:
        pc.root = False
        assert fails(reboot.main, ["poweroff", "-f"], capfd) == "poweroff: Need to be root\n"
        assert pc.did == []


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
            ("runlevel", [f"RUNLEVEL={level}", "PREVLEVEL=2", *env], False),
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
        def refuse(name: str, env: list[str], wait: bool) -> None:
            raise DBusError("com.ubuntu.Upstart0_6.Error.PermissionDenied", "no")

        monkeypatch.setattr(pc, "emit_event", refuse)
        assert fails(shutdown.main, ["shutdown", "now"], capfd) == "shutdown: no\n"

    def test_cancelling_needs_a_running_one(self, pc: Machine, tmp_path: Path, capfd: Output) -> None:
        expected = "shutdown: Cannot find pid of running shutdown\n"
        assert fails(shutdown.main, ["shutdown", "-c"], capfd) == expected
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        (tmp_path / "shutdown.pid").write_text(f"{child.pid}\n")
        assert fails(shutdown.main, ["shutdown", "-c"], capfd) == "shutdown: Shutdown is not running\n"
        assert pc.did == []

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

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.005)

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
        expected += [repr(("utmp", "6", "2")), repr(("runlevel", ["RUNLEVEL=6", "PREVLEVEL=2"], False))]
        assert did == expected
        assert sorted(path.name for path in tmp_path.iterdir()) == ["did"]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM])
    def test_is_cancelled_by_a_signal(self, pc: Machine, tmp_path: Path, number: int, capfd: Output) -> None:
        pid = self.start(pc, tmp_path, ["+2"])
        self.until(lambda: pidfile.read("shutdown") == pid and (tmp_path / "nologin").exists())
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
        self.until(lambda: pidfile.read("shutdown") == pid)
        assert not (tmp_path / "nologin").exists()
        self.until(lambda: (tmp_path / "nologin").exists())
        os.kill(pid, signal.SIGTERM)
        self.wait(pid)
        assert not (tmp_path / "nologin").exists()

    def test_keeps_users_out_at_once_where_no_more_than_the_last_minutes_are_left(self, pc: Machine,
                                                                                  tmp_path: Path) -> None:
        pid = self.start(pc, tmp_path, ["-r", "+5", "bye"])
        self.until(lambda: (tmp_path / "nologin").exists() and (tmp_path / "nologin").read_text() != "")
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
