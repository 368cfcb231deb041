"""The state document: it is of a moment that there was, and what it has crosses a re-exec.  What it has to have is in
test_kept_state.py."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from started_helpers import note_helpers

from upstart.base.loop import Loop
from upstart.conf.parse import parse_job
from upstart.daemon.children import Children
from upstart.daemon.document import Document
from upstart.daemon.initreq import InitFifo
from upstart.daemon.performer import Performer
from upstart.daemon.quiesce import Quiesce
from upstart.daemon.statefile import Teller
from upstart.daemon.turn import Turn
from upstart.engine import state
from upstart.engine.data import Instance
from upstart.engine.effects import Effect, Signal, Spawn
from upstart.engine.engine import Engine
from upstart.process import helper


def test_parts_are_taken_over_in_their_order_and_what_a_document_lacks_is_begun_anew() -> None:
    taken: list[object] = []
    document = Document(lambda: taken.append("prepared"))
    for name in ("engine", "performer", "newer", "endpoints"):
        document.register(name, lambda name=name: name.upper(), taken.append)  # type: ignore[misc]
    saved = json.loads(json.dumps(document.dump()))
    assert saved == {
        "version": 1, "engine": "ENGINE", "performer": "PERFORMER", "newer": "NEWER", "endpoints": "ENDPOINTS"
    }  # fmt: skip
    del saved["newer"]
    document.restore(saved)
    assert taken == ["prepared", "ENGINE", "PERFORMER", "ENDPOINTS"]
    del saved["performer"]
    with pytest.raises(KeyError):
        document.restore(saved)
    with pytest.raises(ValueError, match="newest known"):
        document.restore(saved | {"version": 2})


def test_descriptors_cross_an_exec_only_while_there_is_one() -> None:
    document = Document(lambda: None)
    fds = os.pipe2(os.O_CLOEXEC)
    for name in ("engine", "performer", "endpoints"):
        document.register(name, lambda: None, lambda saved: None, lambda: fds)
    document.keep_open(True)
    assert all(map(os.get_inheritable, fds))
    document.restore({"version": 1, "engine": None, "performer": None, "endpoints": None})
    assert not any(map(os.get_inheritable, fds))
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize(
    ("known", "ending"),
    [
        (["engine", "record", "newer"], []),
        (["engine", "record"], ["newer"]),
        (["engine"], ["record", "newer"]),
        # A program that does not tell is one of before there were records, as far as is known.
        ([], ["record"]),
    ],
)
def test_descriptors_that_the_new_program_does_not_know_of_cross_no_exec(known: list[str], ending: list[str]) -> None:
    document = Document(lambda: None)
    fds = {name: os.pipe2(os.O_CLOEXEC) for name in ("engine", "record", "newer")}
    for name, both in fds.items():
        document.register(name, lambda: None, lambda saved: None, lambda both=both: both)  # type: ignore[misc]
    assert document.names == list(fds)
    assert document.keep_open(True, known) == ending
    assert [name for name, both in fds.items() if not any(map(os.get_inheritable, both))] == ending
    assert document.keep_open(False) == []
    for both in fds.values():
        assert not any(map(os.get_inheritable, both))
        for fd in both:
            os.close(fd)


class Half:
    """A daemon's engine, of whose effects some were performed."""

    def __init__(self, saved: dict[str, object] | None = None) -> None:
        self.engine = Engine(time.monotonic) if saved is None else state.load(saved, time.monotonic)
        self.performed: list[Effect] = []
        self.pid = 1000
        self.turn = Turn(self.engine, self._perform, self._fault, lambda: False)

    def _perform(self, effect: Effect) -> None:
        self.performed.append(effect)
        if isinstance(effect, Spawn):
            self.pid += 1
            self.engine.process_spawned(effect.instance, effect.process, self.pid)
            self.engine.process_ready(effect.instance, effect.process)

    @staticmethod
    def _fault(error: BaseException) -> None:
        raise error

    def find(self, of: list[str]) -> Instance:
        return self.engine.jobs[None, of[1]].instances[of[2]]


def test_processes_yet_to_be_started_are_in_the_document_and_all_else_is_performed() -> None:
    old = Half()
    for number in range(3):
        old.engine.define(parse_job(f"job{number}", "start on go\nexec sleep 1\n", ""))
    old.engine.emit("go", {"A": "1"})
    old.engine.run()
    old.turn.leave_processes()
    assert old.performed and not any(isinstance(effect, Spawn) for effect in old.performed)
    saved = json.loads(json.dumps({"engine": state.dump(old.engine), "turn": old.turn.dump()}))
    assert [entry["of"] for entry in saved["turn"]] == [[None, f"job{number}", "", "main"] for number in range(3)]

    new = Half(saved["engine"])
    new.turn.restore(saved["turn"], new.find)
    assert not new.turn.settle()
    spawns = [effect for effect in new.performed if isinstance(effect, Spawn)]
    assert [(effect.instance.job.name, effect.env["A"]) for effect in spawns] == [
        (f"job{number}", "1") for number in range(3)
    ]
    for number in range(3):
        assert new.find([None, f"job{number}", ""]).state == "running"  # type: ignore[list-item]


def test_events_that_no_pass_has_come_to_go_on_in_the_next_program() -> None:
    old = Half()
    old.engine.define(parse_job("job", "start on go\nexec sleep 1\n", ""))
    old.engine.emit("go", {})
    old.turn.leave_processes()
    new = Half(json.loads(json.dumps(state.dump(old.engine))))
    new.turn.settle()
    assert new.engine.jobs[None, "job"].instances[""].state == "running"


def test_the_end_of_a_session_goes_on_where_it_was() -> None:
    loop, ended = Loop(), []
    old = Half()
    old.engine.define(parse_job("slow", "start on go\nkill timeout 100\nexec sleep 1\n", ""))
    old.engine.emit("go", {})
    old.turn.settle()
    ending = Quiesce(old.engine, loop, lambda *_: None, lambda: None)
    assert ending.dump() is None
    ending.begin("shutdown")
    old.turn.settle()
    assert not ending.settled()
    new = Half(json.loads(json.dumps(state.dump(old.engine))))
    again = Quiesce(new.engine, loop, lambda *_: None, lambda: ended.append(1))
    again.restore(json.loads(json.dumps(ending.dump())))
    assert again.running and again.dump() == ending.dump()
    again.begin("logout")
    assert not ended
    new.engine.process_exited(1001, 15 << 8)
    new.turn.settle()
    again.settled()
    assert ended == [1]
    loop.close()


def test_the_end_of_a_session_that_was_reached_is_reached_by_the_next_program() -> None:
    loop, ended = Loop(), []
    ending = Quiesce(Engine(time.monotonic), loop, lambda *_: None, lambda: None)
    ending.begin("shutdown")
    ending.settled()
    again = Quiesce(Engine(time.monotonic), loop, lambda *_: None, lambda: ended.append(1))
    again.restore(ending.dump())
    again.settled()
    assert ended == [1]
    loop.close()


def test_a_request_on_the_fifo_that_has_come_by_half_is_taken_by_the_next_program(tmp_path: Path) -> None:
    loop = Loop()
    path = str(tmp_path / "initctl")
    changes: list[tuple[str, list[str]]] = []
    request = (0x03091969).to_bytes(4, "little") + b"".join(each.to_bytes(4, "little") for each in (1, ord("2"), 0))
    request = request.ljust(384, b"\0")
    old = InitFifo(loop, path, lambda *_: None, lambda: None)
    assert old.dump() is None and old.descriptors() == []
    old.open()
    write = os.open(path, os.O_WRONLY)
    os.write(write, request[:100])
    loop.turn(0)
    os.write(write, request[100:])
    os.close(write)
    saved = json.loads(json.dumps(old.dump()))
    saved["fd"] = os.dup(saved["fd"])
    old.close()
    # What is in the FIFO is there only as long as somebody has it open.
    new = InitFifo(loop, path, lambda level, words: changes.append((level, words)), lambda: None)
    new.restore(saved)
    new.open()
    loop.turn(0)
    assert changes == [("2", [])]
    new.close()
    loop.close()


def test_a_signal_that_has_come_is_handled_by_the_next_program() -> None:
    old, new, heard = Loop(), Loop(), []
    old.watch_signal(signal.SIGUSR2, lambda: None)
    os.kill(os.getpid(), signal.SIGUSR2)
    saved = old.dump_signals()
    assert saved == [signal.SIGUSR2]
    new.restore_signals(saved)
    new.watch_signal(signal.SIGUSR2, lambda: heard.append(1))
    new.turn(0)
    assert heard == [1]
    old.close()
    new.close()


def starting(count: int) -> Half:
    """An engine of which this many processes are to be started."""
    half = Half()
    for number in range(count):
        half.engine.define(parse_job(f"job{number}", "start on go\nexec sleep 1\n", ""))
    half.engine.emit("go", {})
    return half


def kinds(half: Half) -> list[str]:
    return [effect.kind for effect in half.performed]


def test_an_answer_does_not_wait_for_the_processes_that_were_to_be_started_before_it() -> None:
    half = starting(3)
    half.engine.run()
    half.engine.answer("request")
    half.turn.settle()
    assert kinds(half).index("reply") < kinds(half).index("spawn")
    assert kinds(half).count("spawn") == 3


def test_a_slice_ends_after_the_process_that_used_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    half = starting(3)
    monkeypatch.setattr("upstart.daemon.turn.SLICE", 0.0)
    monkeypatch.setattr("upstart.daemon.turn.LAST_SLICE", 0.0)
    started = [0]
    while half.turn.settle():
        started.append(kinds(half).count("spawn"))
    assert sorted(set(started)) == [0, 1, 2, 3]


@pytest.mark.parametrize("process", ["main", "pre-start"])
def test_what_is_stopped_before_its_turn_to_be_started_is_not_started(process: str) -> None:
    half = Half()
    for number in range(3):
        text = "start on go\nexec sleep 1\n" + ("pre-start exec true\n" if process == "pre-start" else "")
        half.engine.define(parse_job(f"job{number}", text, ""))
    half.engine.emit("go", {})
    half.turn.hold()
    half.turn.settle()
    half.engine.stop(half.find(["", "job1", ""]))
    half.turn.settle()
    assert not half.engine.jobs[None, "job1"].instances
    assert [entry["of"][1] for entry in half.turn.dump()] == ["job0", "job2"]
    assert len(half.turn.waiting()) == 2
    # Its successor is another's turn, after those that have been waiting.
    half.engine.emit("go", {})
    half.turn.release()
    half.turn.settle()
    spawns = [effect.instance.job.name for effect in half.performed if isinstance(effect, Spawn)]
    assert spawns == ["job0", "job2", "job1"]


def test_no_process_is_started_while_they_are_held() -> None:
    half = starting(3)
    half.turn.hold()
    assert not half.turn.settle()
    assert "spawn" not in kinds(half)
    half.turn.release()
    assert not half.turn.settle()
    assert kinds(half).count("spawn") == 3


def test_a_descriptor_is_not_closed_before_the_process_that_is_given_it_is_started() -> None:
    half = Half()
    half.engine.define(parse_job("job", "start on go\nexec sleep 1\npost-stop exec true\n", ""))
    fd = os.open(os.devnull, os.O_RDONLY)
    half.engine.emit("go", {}, fd=fd)
    half.turn.settle()
    instance = half.engine.jobs[None, "job"].instances[""]
    half.engine.stop(instance)
    half.engine.run()
    half.engine.process_exited(instance.main_pid, 0)
    half.engine.run()
    half.turn.leave_processes()
    half.engine.start_job(instance.job, {})
    half.engine.run()
    half.turn.leave_processes()
    assert "close" not in kinds(half)
    assert half.turn.descriptors() == [fd]
    new = Half(json.loads(json.dumps(state.dump(half.engine))))
    new.turn.restore(json.loads(json.dumps(half.turn.dump())), new.find)
    assert new.turn.descriptors() == [fd]
    new.turn.settle()
    (spawn,) = [effect for effect in new.performed[: kinds(new).index("close")] if isinstance(effect, Spawn)]
    assert spawn.fds == (fd,)
    os.close(fd)


def test_a_signal_for_a_process_that_has_ended_meanwhile_reaches_nobody() -> None:
    half = starting(1)
    half.turn.settle()
    instance = half.find([None, "job0", ""])  # type: ignore[list-item]
    child = subprocess.Popen(["sleep", "100"])
    stale = Signal(instance, "main", child.pid, signal.SIGKILL, alone=True)
    children: Any = SimpleNamespace(running={})
    performer: Any = SimpleNamespace(children=SimpleNamespace(signal=partial(Children.signal, children)))
    Performer._signal(performer, stale)
    assert child.poll() is None
    instance.pids["main"] = child.pid
    Performer._signal(performer, stale)
    assert child.wait(10) == -signal.SIGKILL


def test_however_many_ask_for_the_state_one_child_writes_it_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, document = Loop(), Document(lambda: None)
    moment = [0]
    document.register("engine", lambda: moment[0], lambda saved: None)
    started = note_helpers(monkeypatch)
    teller = Teller(document, loop)
    told: list[tuple[int, int]] = []

    def ask(number: int) -> None:
        at_least = moment[0]
        teller.tell(lambda text: told.append((number, json.loads(text or "")["engine"] - at_least)))

    for number in range(9):
        ask(number)
        moment[0] += 1
    deadline = time.monotonic() + 20
    turns = [0]
    while len(told) < 9:
        assert time.monotonic() < deadline
        before = len(told)
        loop.turn(0.01)
        turns.append(len(told) - before)
    assert [number for number, _ in told] == list(range(9))
    # Nobody has what was before the call; and one answer at a time leaves room for others.
    assert min(since for _, since in told) >= 0 and max(turns) <= 2
    assert len(started) == 2
    # A child that cannot be started is told to who has asked, and to nobody else.
    with monkeypatch.context() as patch:
        patch.setattr(helper, "start", Mock(side_effect=OSError(errno.EAGAIN, "no")))
        texts: list[str | None] = []
        loop.turn(0)
        teller.tell(texts.append)
        assert texts == [None]
    ask(9)
    while len(told) < 10:
        loop.turn(0.01)
    loop.close()
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break


@pytest.mark.parametrize("line", range(1, 9))
def test_what_is_said_to_wait_for_its_start_does_wherever_that_was_cut_short(line: int) -> None:
    half = starting(2)
    half.turn.hold()
    half.turn.settle()
    half.turn.release()
    left = [line]

    def trace(frame: Any, event: str, argument: object) -> Any:
        if frame.f_code is not Turn._start_next.__code__:
            return None
        if event == "line":
            left[0] -= 1
            if not left[0]:
                raise MemoryError
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        half.turn._start_next()
    except MemoryError:
        pass
    finally:
        sys.settrace(before)
    queued = [(effect.instance.serial, effect.process) for effect in half.turn._starts if isinstance(effect, Spawn)]
    assert set(half.turn.waiting()) <= set(queued)
    # As mending has it: what does not wait is asked for again, and each is started once.
    half.engine.mend(half.turn.waiting(), [])
    half.turn.settle()
    started = [effect.instance.serial for effect in half.performed if isinstance(effect, Spawn)]
    assert len(started) == len(set(started)) == 2
