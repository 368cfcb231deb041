"""Who listens to what: an event costs what it matches, however many jobs are loaded.

Each leaf of each condition is filed under its event's name and, where its first test compares a variable (or the
first value) with a literal, under that value too: of ten thousand jobs with ``start on started X`` an event
``started JOB=y`` touches just those that wrote ``y``.  A test that refers to the environment of its owner counts with
the value that it has there, and before all others, since it tells the instances of a job apart: of ten thousand
instances with ``stop on gone ID=$ID`` an event touches one.  A leaf with a reference to what is not set passes no
event, and is filed nowhere; the owner is filed again (`move`) whenever its environment changes.
"""

from __future__ import annotations

from upstart.base.glob import is_literal, split_test
from upstart.conf.expand import ExpandError, expand
from upstart.engine.condition import leaves

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Generic, TypeVar

    from upstart.conf.jobclass import Condition, Match
    from upstart.engine.data import Event

    Owner = TypeVar("Owner")
    #: One listener, or all of several.
    Listeners = tuple[Owner, Match] | dict[tuple[Owner, Match], None]
    #: A variable, or None for the first value of an event, and what it must be.
    Place = tuple[str | None, str]
else:
    Owner = None

    class Generic:
        """What typing.Generic is to a type checker; the module itself is too dear for PID 1."""

        __slots__ = ()

        def __class_getitem__(cls, _):
            return cls


_NOTHING: dict[str, str] = {}
#: The place of a leaf that any event of its name may match.
_ANY: Place = (None, "*")


class _Bucket(Generic[Owner]):
    """The listeners of one event name."""

    __slots__ = ("keyed", "plain")

    def __init__(self) -> None:
        self.plain: dict[tuple[Owner, Match], None] = {}
        #: variable (None for the first value) -> literal -> listeners; nearly always there is one, and no table of it.
        self.keyed: dict[str | None, dict[str, Listeners[Owner]]] = {}

    def file(self, key: str | None, value: str, listener: tuple[Owner, Match]) -> None:
        """Add one that wants a variable to have this value."""
        values = self.keyed.setdefault(key, {})
        known = values.setdefault(value, listener)
        if isinstance(known, dict):
            known[listener] = None
        elif known != listener:
            values[value] = {known: None, listener: None}

    def take_out(self, key: str | None, value: str, listener: tuple[Owner, Match]) -> None:
        """Undo `file`; harmless where that was not done."""
        values = self.keyed.get(key, {})
        known = values.get(value)
        if isinstance(known, dict):
            known.pop(listener, None)
            if known:
                return
        elif known != listener:
            return
        del values[value]
        if not values:
            del self.keyed[key]


class EventIndex(Generic[Owner]):
    """Conditions by event name and the value of one argument."""

    __slots__ = ("_buckets", "_moving")

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket[Owner]] = {}
        #: Where the leaves are that refer to an environment, None for nowhere: it may be another one by now.
        self._moving: dict[tuple[Owner, Match], Place | None] = {}

    def add(self, owner: Owner, condition: Condition, env: Mapping[str, str] = _NOTHING) -> None:
        """File all leaves of ``condition`` for ``owner``, whose environment is ``env``."""
        for leaf in leaves(condition):
            place = _place(leaf, env)
            if _refers(leaf):
                self._moving[owner, leaf] = place
            self._file(owner, leaf, place)

    def move(self, owner: Owner, condition: Condition, env: Mapping[str, str]) -> None:
        """The environment of ``owner``, which was added with ``condition``, is ``env`` now."""
        for leaf in leaves(condition):
            if _refers(leaf):
                old, place = self._moving.get((owner, leaf)), _place(leaf, env)
                if place != old:
                    self._take_out(owner, leaf, old)
                    self._moving[owner, leaf] = place
                    self._file(owner, leaf, place)

    def remove(self, owner: Owner, condition: Condition) -> None:
        """Undo `add`; what becomes empty is dropped, so that names do not pile up."""
        for leaf in leaves(condition):
            place = self._moving.pop((owner, leaf), None) if _refers(leaf) else _place(leaf, _NOTHING)
            self._take_out(owner, leaf, place)

    def _file(self, owner: Owner, leaf: Match, place: Place | None) -> None:
        if place is None:
            return
        bucket = self._buckets.get(leaf.name)
        if bucket is None:
            bucket = self._buckets[leaf.name] = _Bucket()
        if place is _ANY:
            bucket.plain[owner, leaf] = None
        else:
            key, value = place
            bucket.file(key, value, (owner, leaf))

    def _take_out(self, owner: Owner, leaf: Match, place: Place | None) -> None:
        bucket = self._buckets.get(leaf.name)
        if bucket is None or place is None:
            return
        if place is _ANY:
            bucket.plain.pop((owner, leaf), None)
        else:
            key, value = place
            bucket.take_out(key, value, (owner, leaf))
        if not bucket.plain and not bucket.keyed:
            del self._buckets[leaf.name]

    def candidates(self, event: Event) -> dict[Owner, list[Match]]:
        """The listeners whose leaves ``event`` may match, with those leaves; in no order that means anything."""
        found: dict[Owner, list[Match]] = {}
        bucket = self._buckets.get(event.name)
        if bucket is None:
            return found
        for owner, leaf in bucket.plain:
            found.setdefault(owner, []).append(leaf)
        keyed = bucket.keyed
        # Where jobs ask for more variables than the event has, those that it has are looked up.
        env = event.values
        keys = list(keyed) if len(keyed) <= len(env) + 1 else [key for key in (None, *env) if key in keyed]
        for key in keys:
            values = keyed[key]
            value = env.get(key) if key is not None else next(iter(env.values()), None)
            listeners = values.get(value) if value is not None else None
            if listeners is not None:
                for owner, leaf in each_of(listeners):
                    found.setdefault(owner, []).append(leaf)
        return found


def each_of(listeners: Listeners[Owner]) -> Iterable[tuple[Owner, Match]]:
    """Those that are filed under one value, in their order."""
    return listeners if isinstance(listeners, dict) else (listeners,)


def _refers(leaf: Match) -> bool:
    """Whether a leaf means something else in another environment."""
    return any("$" in arg for arg in leaf.args)


def _place(leaf: Match, env: Mapping[str, str]) -> Place | None:
    """Where a leaf is filed; None where no event matches it in this environment."""
    place = _ANY
    for position, arg in enumerate(leaf.args):
        key, value, negated = split_test(arg)
        refers = "$" in value
        if refers:
            try:
                value = expand(value, env)
            except ExpandError:
                return None
        # What a later value without a name is compared with depends on the test before it.
        if negated or (key is None and position) or not is_literal(value):
            continue
        if refers:
            return key, value
        if not position:
            place = (key, value)
    return place
