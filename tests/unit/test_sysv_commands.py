"""telinit, runlevel, halt, reboot and poweroff, with a machine that only takes notes."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path
from typing import NoReturn

import pytest
from noting_machine import Executed, Machine, Output, fails, noting_machine

from upstart.base import names, utmp
from upstart.base.errors import DBusError
from upstart.sysv import change, machine, otherinit, reboot, runlevel, shutdown, telinit


@pytest.fixture(autouse=True)
def pc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return noting_machine(monkeypatch, tmp_path)


class TestTelinit:
    @pytest.mark.parametrize("level", "0123456")
    def test_emits_the_event_after_writing_the_record(self, pc: Machine, level: str) -> None:
        assert telinit.main(["telinit", level]) == 0
        assert pc.did == [("utmp", level, "2"), ("runlevel", [f"RUNLEVEL={level}", "PREVLEVEL=2"], level in "06")]

    def test_an_init_without_the_extension_gets_the_event(self, pc: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: object, **named: object) -> None:
            raise DBusError(names.UNKNOWN_METHOD, "Method does not exist")

        monkeypatch.setattr(pc, "call", refuse)
        assert telinit.main(["telinit", "0"]) == 0
        assert pc.did == [("utmp", "0", "2"), ("runlevel", ["RUNLEVEL=0", "PREVLEVEL=2"], False)]

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
        monkeypatch.setattr(change, "RETRY_INTERVAL", 0.001)
        pc.restart_error = error
        pc.refusals_after_restart = 3
        assert telinit.main(["telinit", "u"]) == 0
        assert pc.did == ["Restart"] and pc.refusals == 0

    def test_u_gives_up_at_last(self, pc: Machine, monkeypatch: pytest.MonkeyPatch, capfd: Output) -> None:
        monkeypatch.setattr(change, "RETRY_INTERVAL", 0.001)
        monkeypatch.setattr(change, "RESTART_PATIENCE", 0.02)
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


    def test_without_the_file_of_the_system_it_is_just_unknown(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Output
    ) -> None:
        """As where another init keeps none, and packages ask."""
        monkeypatch.setattr(utmp, "get_runlevel", utmp.read_runlevel)
        monkeypatch.setattr(utmp, "UTMP", str(tmp_path / "utmp"))
        assert runlevel.main(["runlevel"]) == 1
        assert capfd.readouterr() == ("unknown\n", "")
        (tmp_path / "utmp").mkdir()
        expected = f"runlevel:{tmp_path}/utmp: Is a directory\n"
        assert fails(runlevel.main, ["runlevel"], capfd) == expected


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

    @pytest.mark.parametrize(("name", "number"), [("halt", 47), ("poweroff", 48), ("reboot", 49)])
    def test_asks_init_to_exit_where_it_may_not_reboot(self, pc: Machine, name: str, number: int) -> None:
        pc.may_reboot = False
        assert reboot.main([name, "-f"]) == 0
        assert [what for what in pc.did if what[0] == "signal"] == [("signal", number)]

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
