"""docs/bridges.md shows a bridge being written: that one works, and says no more than there is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from upstart.bridges.host import Host

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/bridges.md").read_text()
(CODE,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)


@pytest.fixture
def written() -> dict[str, Any]:
    module: dict[str, Any] = {"__name__": "written"}
    exec(compile(CODE, "docs/bridges.md", "exec"), module)
    return module


class Listener:
    """Takes the place of a host."""

    def __init__(self, directory: Path) -> None:
        self.events: list[str] = []
        self.state_path = str(directory / "login.json")
        # As long as there is no connection to init.
        self.epoch = ""
        self.loop = SimpleNamespace(add_fd=self._add_fd)

    def _add_fd(self, fd: int, events: int, callback: Any) -> None:
        self.callback = callback

    def emit(self, key: str, name: str, env: dict[str, str]) -> None:
        self.events.append(f"{name} {env['USER']}")

    def log(self, priority: int, text: str) -> None:
        raise AssertionError(text)


@pytest.fixture
def pipe() -> Iterator[int]:
    reader, writer = os.pipe()
    yield reader
    os.close(writer)
    os.close(reader)


def test_the_bridge_of_the_document_tells_what_is_awaited_and_goes_on(
    written: dict[str, Any], tmp_path: Path, pipe: int
) -> None:
    there = [("ada", "tty1")]

    def begin() -> tuple[Listener, Any]:
        listener = Listener(tmp_path)
        source = written["LoginSource"](listener, lambda path: (pipe, lambda: None), lambda path: there)
        listener.epoch = "1"
        return listener, source

    listener, source = begin()
    source.want([("logged-in", ["USER=ada"]), ("logged-out", [])])
    there += [("bob", "tty2"), ("ada", "tty3")]
    listener.callback(1)
    del there[1]
    listener.callback(1)
    assert listener.events == ["logged-in ada", "logged-in ada", "logged-out bob"]
    source.told()
    there.append(("ada", "tty4"))
    listener, source = begin()
    source.want([("logged-in", ["tty4"]), ("logged-in", ["ada", "tty4"])])
    assert listener.events == ["logged-in ada"]
    assert source.watched() == ["/run/utmp"] and source.patterns == ("logged-in", "logged-out")
    source.close()


def test_a_bridge_takes_no_more_lines_than_are_promised() -> None:
    lines = [line for line in CODE.splitlines() if line.strip() and not line.strip().startswith('"""')]
    assert len(lines) <= 60


def test_what_the_document_names_is_there() -> None:
    for name in re.findall(r"`host\.(\w+)", TEXT):
        assert hasattr(Host, name) or name in ("loop", "log", "state_path")
    for path in re.findall(r"`(\w[\w/-]*/[\w/.-]+\.\w+)`", TEXT):
        assert (ROOT / path).exists(), path
