"""A guard at the door of the engine: whoever changes what it owns otherwise than by an input is noted, and stopped.

It looks at what happens, not at what is written, so that no alias and no table handed around gets by.  What is always
true here: a change is in order if the code that makes it is the engine's, and was entered by one of the inputs, or by
what fetches effects, or makes or loads an engine.
"""

from __future__ import annotations

import marshal
import sys
from collections.abc import Callable
from types import FrameType, SimpleNamespace
from typing import Any

from upstart.engine import core, data, history
from upstart.engine.door import INPUTS
from upstart.engine.engine import Engine

ROOM = core.__file__.rpartition("/")[0] + "/"
#: What the engine is, and what belongs to it.
OWNED = (Engine, data.Event, data.Job, data.Blocked, data.Instance)
#: By which functions of the room a change may begin: inputs, and those that are none but serve the one who owns it.
DOORS = {*INPUTS, "take_effects", "put_back"}
OTHERS = {
    "Core.__init__", "load", "Journal.__init__", "Journal._wrap.<locals>.enter", "Journal.end",
}  # fmt: skip
#: Effects are the owner's once they are taken.
TAKEN = "effects"


def is_engines(frame: FrameType) -> bool:
    """Whether code is the engine's; the world in which it is tried owns it, as the daemon does."""
    return frame.f_code.co_filename.startswith(ROOM) and not frame.f_code.co_filename.endswith("/world.py")


class Poked(Exception):
    """Who changed what."""


class Guard:
    """What was noted; ``note`` (text) is told, too."""

    def __init__(self, note: Callable[[str], object] = lambda text: None) -> None:
        self.pokes: list[str] = []
        self._note = note
        self._before = {kind: kind.__dict__.get("__setattr__") for kind in OWNED}
        for kind in OWNED:
            kind.__setattr__ = self._setter(kind)  # type: ignore[method-assign]
        # What an event has is packed with the rest of the history, by what takes no tables but the usual.
        history.marshal = SimpleNamespace(dumps=lambda value: marshal.dumps(usual(value)), loads=marshal.loads)  # type: ignore[attr-defined,assignment]

    def end(self) -> None:
        """Let everybody do what he wants again."""
        for kind, before in self._before.items():
            if before is None:
                del kind.__setattr__
            else:
                kind.__setattr__ = before  # type: ignore[method-assign]
        history.marshal = marshal  # type: ignore[attr-defined]

    def _setter(self, kind: type) -> Callable[[Any, str, Any], None]:
        def set_attribute(thing: Any, name: str, value: Any) -> None:
            self.check(f"{kind.__name__}.{name}")
            if name != TAKEN and type(value) in TABLES:
                value = TABLES[type(value)](value)
                value.guard, value.name = self, f"{kind.__name__}.{name}"
            object.__setattr__(thing, name, value)

        return set_attribute

    def check(self, what: str) -> None:
        """See whose doing it is that something changes."""
        frame = sys._getframe(2)
        culprit = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        if is_engines(frame):
            while frame.f_back is not None and is_engines(frame.f_back):
                frame = frame.f_back
            called = frame.f_code
            if called.co_name in DOORS or called.co_qualname in OTHERS:
                return
            culprit += f" by {called.co_qualname}"
        text = f"{what} changed at {culprit}"
        self.pokes.append(text)
        self._note(text)
        raise Poked(text)


def _guarded(base: type, changing: str) -> type:
    """The same table, which says when it changes."""

    def method(name: str) -> Callable[..., Any]:
        original = getattr(base, name)

        def change(self: Any, *args: Any, **named: Any) -> Any:
            if self.guard is not None:
                self.guard.check(f"{self.name}.{name}")
            return original(self, *args, **named)

        return change

    own = {name: method(name) for name in changing.split()}
    return type(f"Guarded{base.__name__.title()}", (base,), {"guard": None, "name": "", **own})


TABLES: dict[type, Any] = {
    dict: _guarded(dict, "__delitem__ __ior__ __setitem__ clear pop popitem setdefault update"),
    list: _guarded(
        list, "__delitem__ __iadd__ __imul__ __setitem__ append clear extend insert pop remove reverse sort"
    ),
    set: _guarded(
        set, "__iand__ __ior__ __isub__ __ixor__ add clear difference_update discard intersection_update pop remove "
        "symmetric_difference_update update"
    ),
}  # fmt: skip


def usual(value: Any) -> Any:
    """The same with tables that are not guarded."""
    if isinstance(value, dict):
        return {key: usual(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return (list if isinstance(value, list) else tuple)(map(usual, value))
    return value


def install(path: str) -> None:
    """Guard the engines of this process for good, and have what is noted in a file."""

    def note(text: str) -> None:
        with open(path, "a") as file:
            print(text, file=file)

    Guard(note)
