"""umountall: the steps of the end of a machine, in their order, and that none is left out."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from upstart.base.errors import DBusError
from upstart.base.names import DISCONNECTED, UNKNOWN_METHOD
from upstart.sysv import endprocesses, reboot, umountall
from upstart.sysv.endjobs import EndJobs
from upstart.sysv.umountall import EndOfMachine

SOURCE = str(Path(__file__).resolve().parents[2] / "src")
#: An end that says more than a console takes, by all who say something.
STOPPED = """
import sys
sys.path.insert(0, {source!r})
from upstart.sysv import endscripts, keeping, rc, reboot, umountall
for each in (rc, umountall):
    each.need_root = lambda context: None
def run(end, *place):
    for _ in range(1000):
        end._say("x" * 100)
        keeping.Console().show(b"y" * 99 + b"\\n")
umountall.EndOfMachine.run = endscripts.EndScripts.run = run
reboot.end_now = lambda mode: None
sys.exit(rc.main(["rc", "{level}"]) or umountall.main(["umountall", "{level}"]))
"""
CLOCK = "hwclock-save"
LATER = "unmounted-remote-filesystems deconfiguring-networking networking udev"


class Steps:
    """Notes what is done, in the place of who does it; ``fails`` is what goes wrong."""

    def __init__(self, done: list[str], fails: str) -> None:
        self.done = done
        self.fails = fails

    def note(self, what: str) -> None:
        self.done.append(what)
        if what == self.fails:
            raise ValueError("broken")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def step(*words: Any, beside: Any = ()) -> Any:
            words += (beside,) if beside else ()
            shown = [" ".join(map(str, word)) if isinstance(word, (list, tuple)) else str(word) for word in words]
            self.note(" ".join([name, *shown]).strip())
            return {"pids": [], "history": ""}.get(name, True)

        return step


class Machine:
    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.done: list[str] = []
        self.said: list[str] = []
        self.fails = ""
        self.container = False
        (root / "maps").write_text("7f00-7f01 r-xp 00000000 08:01 1 /usr/bin/python3.11\n")
        monkeypatch.setattr(umountall, "MAPS", str(root / "maps"))
        monkeypatch.setattr(umountall, "LATER", str(root / ".link-later"))
        monkeypatch.setattr(umountall, "UDEV_CONTROL", str(root / "control"))
        monkeypatch.setattr(umountall, "UPS", str(root / "ups-monitor"))
        monkeypatch.setattr(umountall, "SETTINGS", str(root / "halt"))
        monkeypatch.setattr(umountall.setting, "__defaults__", (str(root / "halt"),))
        monkeypatch.setattr(endprocesses, "spared", lambda: [7])
        monkeypatch.setattr("_signal.signal", lambda number, what: None)
        monkeypatch.setattr("upstart.base.utmp.write_shutdown", lambda: self.done.append("wtmp"))
        monkeypatch.setattr("upstart.sysv.unmount.in_container", lambda: self.container)
        monkeypatch.setattr(umountall, "Unmounting", lambda *words: Steps(self.done, self.fails))
        monkeypatch.setattr(EndOfMachine, "_run", lambda machine, words: self.done.append(" ".join(words[-2:])))

    def end(self, level: str = "0", env: dict[bytes, bytes] | None = None) -> EndOfMachine:
        end = EndOfMachine(level, {b"PREVLEVEL": b"2", **(env or {})}, self.said.append)
        steps = Steps(self.done, self.fails)
        end._jobs = end._scripts = end._processes = end._hanging = steps  # type: ignore[assignment]
        end.run()
        # Whom it is told of is the processes' business.
        self.done = ["end" if each.startswith("end ") else each for each in self.done]
        return end


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


ORDER = [
    f"settle {CLOCK}", f"settle True 7 {LATER} {CLOCK}", "end", "wtmp", "run 1", "remote",
    "emit unmounted-remote-filesystems", f"settle {CLOCK}", "run 2", "emit deconfiguring-networking", f"settle {CLOCK}",
    f"settle True 7 udev {CLOCK}", "run 3", "end", "history", "local", "run 4", "settle True 7", "read_only", "run 5",
    f"call data to be written to disk {os.sync}",
]  # fmt: skip


def test_the_history_is_kept_for_root_in_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "last-boot.history"
    for text in ("one", "two"):
        umountall.write_history(text, str(path))
        assert path.read_text() == text and path.stat().st_mode & 0o777 == 0o600
    (tmp_path / "last-boot.history.new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        umountall.write_history("three", str(path))
    assert path.read_text() == "two" and not (tmp_path / "elsewhere").exists()


def test_the_steps_are_taken_in_their_order(machine: Machine) -> None:
    machine.end()
    assert machine.done == ORDER
    assert machine.said == ["All processes are asked to end", "File systems are unmounted"]


@pytest.mark.parametrize("step", [each for each in dict.fromkeys(ORDER) if each not in ("end", "wtmp")])
def test_what_goes_wrong_keeps_no_later_step_from_being_taken(machine: Machine, step: str) -> None:
    machine.fails = step
    machine.end()
    assert "ValueError: broken" in machine.said
    assert machine.done == ORDER


def test_the_file_systems_of_a_container_are_not_its_own(machine: Machine) -> None:
    machine.container = True
    machine.end()
    assert not {"remote", "local", "read_only"}.intersection(machine.done)
    assert [each for each in machine.done if each.startswith("call ")] == [f"call data to be written to disk {os.sync}"]
    assert "emit unmounted-remote-filesystems" in machine.done


def test_init_lets_go_of_what_was_replaced(machine: Machine) -> None:
    (machine.root / "maps").write_text("7f00-7f01 r-xp 00000000 08:01 1 /usr/lib/libc.so.6 (deleted)\n")
    machine.end()
    assert machine.done[0] == "restart 75.0"


def test_services_that_a_script_ran_have_their_jobs_from_the_next_boot_on(machine: Machine) -> None:
    (machine.root / ".link-later").touch()
    machine.end()
    assert machine.done.index("/usr/libexec/upstart/link-jobs --rest") < machine.done.index("local")


def test_nobody_waits_for_a_udev_that_has_gone(machine: Machine) -> None:
    (machine.root / "control").touch()
    machine.end()
    assert not (machine.root / "control").exists()


@pytest.mark.parametrize(
    ("level", "env", "settings", "mode"),
    [
        ("6", {}, "", "reboot"),
        ("6", {b"INIT_HALT": b"HALT"}, "HALT=halt\n", "reboot"),
        ("0", {}, "", "poweroff"),
        ("0", {b"INIT_HALT": b"HALT"}, "", "halt"),
        ("0", {b"INIT_HALT": b"POWEROFF"}, "HALT=halt\n", "poweroff"),
        ("0", {b"INIT_HALT": b""}, "# HALT=poweroff\nHALT='halt' # so\nNETDOWN=yes", "halt"),
        ("0", {}, "HALT=poweroff\n", "poweroff"),
    ],
)
def test_it_ends_as_was_asked(machine: Machine, level: str, env: dict[bytes, bytes], settings: str, mode: str) -> None:
    (machine.root / "halt").write_text(settings)
    ups = machine.root / "ups-monitor"
    ups.write_text("")
    ups.chmod(0o755)
    assert machine.end(level, env).mode() == mode
    assert (f"{ups} poweroff" in machine.done) == (mode == "poweroff")


@pytest.mark.parametrize("level", ["0", "6"])
def test_a_console_that_is_stopped_holds_nothing(level: str) -> None:
    master, slave = pty.openpty()
    termios.tcflow(slave, termios.TCOOFF)
    words = [sys.executable, "-c", STOPPED.format(source=SOURCE, level=level)]
    try:
        with subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave) as process:
            try:
                assert process.wait(20) == 0
            finally:
                process.kill()
        assert os.get_blocking(slave)
    finally:
        for fd in (master, slave):
            os.close(fd)


def test_the_last_call_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(EndOfMachine, "run", lambda end: None)
    monkeypatch.setattr(reboot, "end_now", ended.append)
    monkeypatch.setattr(umountall, "need_root", lambda context: None)
    assert umountall.main(["umountall", "6"]) == 0 and ended == ["reboot"]


@pytest.mark.parametrize("words", [[], ["2"], ["S"], ["06"], [""], ["0", "6"]])
def test_a_wrong_command_line_ends_nothing(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EndOfMachine, "run", lambda end: pytest.fail("it ends"))
    monkeypatch.setattr(umountall, "need_root", lambda context: None)
    assert umountall.main(["umountall", *words]) == 1


class Init:
    """An init whose answers are given: each is what is left, or an error; ``calls`` is what it was asked."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers
        self.calls: list[tuple[Any, ...]] = []

    def quiet(self) -> None:
        pass

    def rest(self, *words: Any) -> list[tuple[str, str]]:
        self.calls.append(words)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, DBusError):
            raise answer
        found: list[tuple[str, str]] = answer
        return found


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr("time.sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class TestJobs:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Clock:
        return Clock(monkeypatch)

    def settle(self, monkeypatch: pytest.MonkeyPatch, answers: list[Any], *words: Any, limit: float = 300.0) -> Init:
        init = Init(answers)
        self.said: list[str] = []
        monkeypatch.setattr("upstart.sysv.change.reconnect", lambda: init)
        EndJobs(limit, ["RUNLEVEL=0"], self.said.append).settle(*words)
        return init

    def test_are_waited_for_until_none_is_on_its_way(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        init = self.settle(monkeypatch, [[("web", "ends")], [("rc", "works")], []], True, [5], ("udev",))
        assert init.calls == [(True, False, ["RUNLEVEL=0"], [5], ("udev",))] * 3
        assert not self.said and clock.now < 101

    def test_beside_are_not_waited_for(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settle(monkeypatch, [[("clock", "works")]], False, (), (), ("clock",))
        assert clock.now == 100

    def test_that_nothing_limits_are_forced_and_then_left(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        init = self.settle(monkeypatch, [[("net", "stops")]], True)
        assert clock.now == pytest.approx(110, abs=0.5)
        assert [call[1] for call in init.calls] == sorted(call[1] for call in init.calls) and init.calls[-1][1]
        assert self.said == ["Waiting for jobs: net", "No longer waiting for jobs: net"]

    def test_that_nothing_limits_are_left_to_who_stops_the_others(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        init = self.settle(monkeypatch, [[("net", "stops")]])
        assert clock.now == pytest.approx(105, abs=0.5) and not any(call[1] for call in init.calls)

    def test_that_a_kill_timeout_ends_have_it(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settle(monkeypatch, [[("web", "ends")]], True)
        assert clock.now == pytest.approx(165, abs=0.5) and self.said[-1] == "No longer waiting for jobs: web"

    def test_that_were_killed_and_are_still_there_have_some_seconds(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("upstart.sysv.endjobs.unwritten", lambda: 7)
        killed = [("stuck", "killed"), ("db", "ends")]
        self.settle(monkeypatch, [[("stuck", "ends")], *[killed] * 30, [("stuck", "killed")]])
        assert clock.now == pytest.approx(105, abs=0.5) and self.said[-1] == "No longer waiting for jobs: stuck"

    def test_that_were_killed_and_wait_beside_others_that_nothing_limits_are_told_apart(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("upstart.sysv.endjobs.unwritten", lambda: 7)
        self.settle(monkeypatch, [[("stuck", "killed"), ("net", "stops")]], True)
        assert clock.now == pytest.approx(110, abs=0.5)
        assert [line for line in self.said if line.startswith("No ")] == [
            "No longer waiting for jobs: stuck", "No longer waiting for jobs: net"
        ]  # fmt: skip

    def test_that_were_killed_are_waited_for_as_long_as_data_are_written(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("upstart.sysv.endjobs.unwritten", lambda: max(0, int(120 - clock.now)))
        self.settle(monkeypatch, [[("db", "killed")]])
        assert clock.now == pytest.approx(125, abs=1)

    def test_that_were_killed_are_not_waited_for_beside_a_disk_that_is_never_at_rest(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("upstart.sysv.endjobs.unwritten", lambda: int(clock.now) % 3)
        self.settle(monkeypatch, [[("db", "killed")]])
        assert clock.now == pytest.approx(165, abs=0.5) and self.said[-1] == "No longer waiting for jobs: db"

    @pytest.mark.parametrize("limit", [30.0, 300.0])
    def test_that_belong_to_the_end_have_as_long_as_a_script(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch, limit: float
    ) -> None:
        self.settle(monkeypatch, [[("backup", "works")]], limit=limit)
        assert clock.now == pytest.approx(100 + limit, abs=0.5)

    def test_scripts_limit_themselves(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settle(monkeypatch, [*[[("rc", "works")]] * 5000, []], limit=30.0)
        assert clock.now > 500

    def test_an_init_that_executes_itself_again_is_asked_again(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        init = self.settle(monkeypatch, [DBusError(DISCONNECTED, "gone"), [("web", "ends")], []])
        assert len(init.calls) == 3 and not self.said

    def test_an_init_that_cannot_say_holds_nothing(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settle(monkeypatch, [DBusError(UNKNOWN_METHOD, "no such method")], True)
        assert self.said == ["no such method"] and clock.now < 101
