"""The process that hosts bridges: what it tells those who ask it to, at whichever moment that is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from upstart.base.loop import Loop
from upstart.bridges import hosting
from upstart.bridges.hosting import HOSTED, WAIT, WATCHING, Hosting


class Hosted:
    """Stands for the host of one bridge, which watches at once."""

    begun: Callable[[str], object] = staticmethod(lambda name: None)
    unwanted = False

    def __init__(self, name: str, loop: Loop, *rest: Any) -> None:
        self._name = name
        self._ready: Callable[[], object] = rest[3]

    def begin(self, _make: object) -> None:
        Hosted.begun(self._name)
        self._ready()

    def end(self) -> None:
        pass


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosting]:
    monkeypatch.setattr(hosting, "Host", Hosted)
    loop = Loop()
    place: Any = SimpleNamespace(directory=str(tmp_path), address="", log=lambda priority, text: None)
    yield Hosting(loop, place)
    monkeypatch.setattr(Hosted, "begun", staticmethod(lambda name: None))
    loop.close()


def ask(directory: Path, name: str) -> int:
    """As bridge-step does; gives what the answer comes by."""
    (directory / HOSTED / name).write_text("\n")
    os.mkfifo(directory / f"{WAIT}{name}")
    return os.open(directory / f"{WAIT}{name}", os.O_RDWR | os.O_NONBLOCK)


def answers(fd: int) -> set[str]:
    """What was said to who has asked, who heeds the first word."""
    try:
        return set(os.read(fd, 100).decode().split())
    except BlockingIOError:
        return set()
    finally:
        os.close(fd)


def test_who_asks_while_another_begins_is_not_told_that_he_is_gone(
    process: Hosting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ask(tmp_path, "file")
    later: list[int] = []

    def begun(name: str) -> None:
        # Beginning takes a while, and has loaded what it needs before it goes on.
        if not later:
            later.append(ask(tmp_path, "mount"))

    monkeypatch.setattr(Hosted, "begun", staticmethod(begun))
    process._look()
    assert answers(first) == {WATCHING}
    # It has said so in the FIFO of the process, which looks again.
    process._look()
    assert answers(later[0]) == {WATCHING}
