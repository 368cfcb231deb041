"""The engine's inputs as values: what it was told, in order, and the same told again.

What is always true here: an engine that is told a journal from the beginning, or from a state document on, gets into
the state of the one that the journal was kept of, for it knows of nothing but its inputs.  That is so bit for bit: for
as long as an input lasts the clock of an observed engine stands still.  An engine that nobody observes does not know of
this file.
"""

from __future__ import annotations

from upstart.conf.jobclass import JobClass
from upstart.conf.jobdata import from_data, to_data
from upstart.engine import state
from upstart.engine.core import CommandError
from upstart.engine.data import Instance, Job
from upstart.engine.door import INPUTS
from upstart.engine.engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


class Input:
    """``name`` is one of `INPUTS`, ``args`` what it was given by parameter, as values that JSON knows; ``at`` seconds
    of the engine's clock.

    An object of the engine stands there as a table of one key, ``job``, ``instance`` or ``class``; who waits for an
    answer as ``{"request": N}``, counted by the journal.
    """

    __slots__ = ("args", "at", "name")

    def __init__(self, at: float, name: str, args: dict[str, Any]) -> None:
        self.at = at
        self.name = name
        self.args = args

    def __repr__(self) -> str:
        return f"<Input {self.at} {self.name} {self.args}>"


def observe(engine: Engine, observer: Callable[[Input], object]) -> Journal:
    """Have ``observer`` told of every input from now on, just before the engine acts on it.

    What the engine does of its own because of an input is none.  The observer must not change the engine.
    """
    return Journal(engine, observer)


class Journal:
    """Stands between an engine and whoever tells it something, until `end`.

    ``torn`` is whether an input was cut short by an error, or could not be written down, so that who is told the same
    may come to another state.
    """

    __slots__ = ("_at", "_busy", "_clock", "_engine", "_observer", "_requests", "torn")

    def __init__(self, engine: Engine, observer: Callable[[Input], object]) -> None:
        self._engine = engine
        self._observer = observer
        self._requests = 0
        self._busy = False
        self._clock = engine.clock
        self._at = 0.0
        self.torn = False
        engine.clock = self._time
        for name in INPUTS:
            setattr(engine, name, self._wrap(name))

    def end(self) -> None:
        """Observe no more; harmless where that was said before."""
        vars(self._engine)["clock"] = self._clock
        for name in INPUTS:
            vars(self._engine).pop(name, None)

    def _time(self) -> float:
        """The engine's clock."""
        return self._at if self._busy else self._clock()

    def _wrap(self, name: str) -> Callable[..., Any]:
        method = getattr(Engine, name)
        parameters: tuple[str, ...] = method.__code__.co_varnames[1 : method.__code__.co_argcount]
        engine = self._engine

        def enter(*args: Any, **named: Any) -> Any:
            if self._busy or (name == "run" and not engine.eventful):
                return method(engine, *args, **named)
            self._at = self._clock()
            self._busy = True
            try:
                try:
                    given = dict(zip(parameters, args, strict=False)) | named
                    self._observer(Input(self._at, name, {key: self._value(key, given[key]) for key in given}))
                except Exception:
                    # For want of memory, maybe: the engine is told all the same, and the journal lacks that.
                    self.torn = True
                return method(engine, *args, **named)
            except CommandError:
                raise
            except BaseException:
                self.torn = True
                raise
            finally:
                self._busy = False

        return enter

    def _value(self, key: str, thing: Any) -> Any:
        """What a parameter is in a journal."""
        if thing is None:
            return None
        if key == "request":
            self._requests += 1
            return {"request": self._requests}
        if isinstance(thing, dict):
            return dict(thing)
        if isinstance(thing, Instance):
            return {"instance": [thing.job.session, thing.job.name, thing.name, thing.serial]}
        if isinstance(thing, Job):
            return {"job": [thing.session, thing.name]}
        if isinstance(thing, JobClass):
            return {"class": to_data(thing)}
        return thing


def perform(engine: Engine, given: Input) -> bool:
    """Tell ``engine`` what is in a journal; requests are the numbers that they have there.

    False where it is about an instance that is gone, which means nothing to an engine.  A command that the engine
    refuses is refused here too, to nobody.  KeyError where the journal is another engine's.
    """
    args = {key: _thing(engine, value) for key, value in given.args.items()}
    if "instance" in args and args["instance"] is None and given.args["instance"] is not None:
        return False
    try:
        getattr(engine, given.name)(**args)
    except CommandError:
        pass
    return True


def _thing(engine: Engine, value: Any) -> Any:
    """What a parameter of a journal is to ``engine``; None for an instance that is gone."""
    if not isinstance(value, dict):
        return value
    kind, what = next(iter(value.items()), ("", ""))
    if isinstance(what, str):
        # A table of variables, which the engine may keep.
        return dict(value)
    if kind == "request":
        return what
    if kind == "class":
        return from_data(what)
    job = engine.jobs.get((what[0], what[1]))
    if kind == "job":
        if job is None:
            raise KeyError(what[1])
        return job
    instance = job.instances.get(what[2]) if job is not None else None
    return instance if instance is not None and instance.serial == what[3] else None


def replay(inputs: Iterable[Input], document: dict[str, Any] | None = None) -> Engine:
    """The engine that comes of ``inputs``, told to a new one or to that of a state document."""
    now = [0.0]
    engine = Engine(lambda: now[0]) if document is None else state.load(document, lambda: now[0])
    for given in inputs:
        now[0] = given.at
        perform(engine, given)
        engine.take_effects()
    return engine
