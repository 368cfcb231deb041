"""Events with a key are emitted once, whoever asks again: the same client, another, and after a re-exec of init."""

from __future__ import annotations

import select
from pathlib import Path

import pytest
from daemon_init import EXTENSION, MANAGER, DBusError, SessionInit, wait_for

from upstart.daemon import once
from upstart.mounts.events import Events
from upstart.mounts.values import Answered, Emit

JOBS = {
    "note": "start on go\ntask\ninstance $N\nexec sh -c 'echo $N $KIND >>$HOME/noted'\n",
    "hold": "start on held\ntask\nexec sh -c 'echo held >>$HOME/noted; until [ -e $HOME/free ]; do sleep 0.02; done'\n",
    "fail": "start on fails\ntask\nexec sh -c 'echo failed >>$HOME/noted; exit 1'\n",
}


def noted(directory: Path) -> list[str]:
    path = directory / "noted"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def test_a_key_is_one_event_and_each_who_asks_is_told_its_end(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS)
    try:
        first, second = init.client(), init.client()
        asked = [each.send(MANAGER, EXTENSION, "EmitOnce", "sass", "held", [], "a") for each in (first, second)]
        wait_for(lambda: noted(tmp_path))
        (tmp_path / "free").touch()
        assert [first.answer(asked[0]), second.answer(asked[1])] == [(), ()]
        first.call(MANAGER, EXTENSION, "EmitOnce", "sass", "held", [], "a")
        assert noted(tmp_path) == ["held"]
        for _ in range(2):
            with pytest.raises(DBusError, match="EventFailed"):
                first.call(MANAGER, EXTENSION, "EmitOnce", "sass", "fails", [], "b")
        assert noted(tmp_path) == ["held", "failed"]
        for key in ("", "k" * (once.LONGEST + 1)):
            with pytest.raises(DBusError, match="InvalidKey"):
                first.call(MANAGER, EXTENSION, "EmitOnce", "sass", "held", [], key)
        with pytest.raises(DBusError, match="InvalidArgs"):
            first.call(MANAGER, EXTENSION, "EmitOnce", "sass", "", [], "c")
    finally:
        init.close()


def test_keys_outlive_re_execs_of_an_event_under_way_and_of_those_that_are_done(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS)
    try:
        client = init.client()
        client.send(MANAGER, EXTENSION, "EmitOnce", "sass", "held", [], "under way")
        with pytest.raises(DBusError, match="EventFailed"):
            client.call(MANAGER, EXTENSION, "EmitOnce", "sass", "fails", [], "failed")
        client.call(MANAGER, EXTENSION, "EmitOnce", "sass", "go", ["N=1"], "done")
        for _ in range(2):
            client = init.restart()
            asked = client.send(MANAGER, EXTENSION, "EmitOnce", "sass", "held", [], "under way")
            with pytest.raises(DBusError, match="EventFailed"):
                client.call(MANAGER, EXTENSION, "EmitOnce", "sass", "fails", [], "failed")
            client.call(MANAGER, EXTENSION, "EmitOnce", "sass", "go", ["N=1"], "done")
        (tmp_path / "free").touch()
        assert client.answer(asked) == ()
        assert sorted(noted(tmp_path)) == ["1", "failed", "held"]
    finally:
        init.close()


def test_of_too_many_keys_the_oldest_that_is_done_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from upstart.engine.core import CommandError
    from upstart.engine.engine import Engine

    class Caller:
        answers = 0

        def reply(self) -> None:
            self.answers += 1

    monkeypatch.setattr(once, "MOST", 2)
    engine = Engine(lambda: 0.0)
    events = once.Once(engine)
    caller = Caller()

    def ask(key: str) -> None:
        events.emit(caller, "x", {}, key, None, False)  # type: ignore[arg-type]

    ask("a")
    ask("b")
    with pytest.raises(CommandError):
        ask("c")
    engine.run()
    for effect in engine.take_effects():
        if effect.kind == "reply":
            effect.request.reply()  # type: ignore[attr-defined]
    assert caller.answers == 2
    ask("c")
    assert [entry[1] for entry in events.dump()] == ["b", "c"]
    ask("b")
    assert caller.answers == 3


def collect(events: Events, count: int) -> list[Answered]:
    """Wait for so many answers, coming back to an init that has gone meanwhile."""
    answers: list[Answered] = []

    def step() -> bool:
        if events.lost:
            try:
                events.open()
            except OSError:
                return False
        select.select([events], [events] if events.wants_write else [], [], 0.1)
        answers.extend(events.receive())
        return len(answers) >= count

    wait_for(step, 30)
    return answers


def test_mountalls_way_to_init_loses_and_doubles_nothing_over_a_re_exec(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS)
    events = Events(init.address)
    try:
        events.open()
        for number in range(300):
            events.emit(Emit(number, "go", (f"N={number}", "KIND=\udcff\u00e9"), f"go {number}"))
        events.emit(Emit(300, "held", (), "held"))
        answers = collect(events, 5)
        init.restart()
        answers += collect(events, 300 - len(answers))
        assert events.waiting == 1
        (tmp_path / "free").touch()
        answers += collect(events, 1)
        assert sorted(answer.number for answer in answers) == list(range(301))
        assert not any(answer.failed for answer in answers)
        lines = sorted(noted(tmp_path))
        assert lines == sorted([*(f"{number} \ufffd\u00e9" for number in range(300)), "held"])
        events.emit(Emit(301, "fails"))
        assert collect(events, 1) == [Answered(301, True)]
    finally:
        events.close()
        init.close()
    assert events.lost


def test_nobody_listens(tmp_path: Path) -> None:
    events = Events(f"unix:abstract={tmp_path}/none")
    with pytest.raises(OSError):
        events.open()
    events.emit(Emit(1, "go"))
    assert events.receive() == []
    assert events.lost
