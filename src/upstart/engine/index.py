"""Who listens to what: an event costs what it matches, however many jobs are loaded.

Each leaf of each condition is filed under its event's name and, where its first test compares one variable (or the
first positional value) with a literal, under that value too: of ten thousand jobs with ``start on started X`` an event
``started JOB=y`` touches just those that wrote ``y``.
"""

from __future__ import annotations

from upstart.base.glob import is_literal
from upstart.engine.condition import leaves, split_test

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Generic, TypeVar

    from upstart.conf.jobclass import Condition, Match
    from upstart.engine.data import Event

    Owner = TypeVar("Owner")
else:
    Owner = None

    class Generic:
        """What typing.Generic is to a type checker; the module itself is too dear for PID 1."""

        __slots__ = ()

        def __class_getitem__(cls, _):
            return cls


class _Bucket(Generic[Owner]):
    """The listeners of one event name."""

    __slots__ = ("keyed", "plain")

    def __init__(self) -> None:
        self.plain: dict[tuple[Owner, Match], None] = {}
        #: variable ("" for the first positional value) -> literal -> listeners.
        self.keyed: dict[str, dict[str, dict[tuple[Owner, Match], None]]] = {}


class EventIndex(Generic[Owner]):
    """Conditions by event name and first literal argument."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket[Owner]] = {}

    def add(self, owner: Owner, condition: Condition) -> None:
        """File all leaves of ``condition`` for ``owner``."""
        for leaf in leaves(condition):
            bucket = self._buckets.get(leaf.name)
            if bucket is None:
                bucket = self._buckets[leaf.name] = _Bucket()
            discriminator = _discriminator(leaf)
            if discriminator is None:
                bucket.plain[owner, leaf] = None
            else:
                key, value = discriminator
                bucket.keyed.setdefault(key, {}).setdefault(value, {})[owner, leaf] = None

    def remove(self, owner: Owner, condition: Condition) -> None:
        """Undo `add`; what becomes empty is dropped, so that names do not pile up."""
        for leaf in leaves(condition):
            bucket = self._buckets.get(leaf.name)
            if bucket is None:
                continue
            discriminator = _discriminator(leaf)
            if discriminator is None:
                bucket.plain.pop((owner, leaf), None)
            else:
                key, value = discriminator
                values = bucket.keyed.get(key, {})
                listeners = values.get(value, {})
                listeners.pop((owner, leaf), None)
                if not listeners:
                    values.pop(value, None)
                    if not values:
                        bucket.keyed.pop(key, None)
            if not bucket.plain and not bucket.keyed:
                del self._buckets[leaf.name]

    def candidates(self, event: Event) -> dict[Owner, list[Match]]:
        """The listeners whose leaves ``event`` may match, with those leaves."""
        found: dict[Owner, list[Match]] = {}
        bucket = self._buckets.get(event.name)
        if bucket is None:
            return found
        for owner, leaf in bucket.plain:
            found.setdefault(owner, []).append(leaf)
        keyed = bucket.keyed
        # Where jobs ask for more variables than the event has, those that it has are looked up.
        keys = list(keyed) if len(keyed) <= len(event.env) + 1 else [key for key in ("", *event.env) if key in keyed]
        for key in keys:
            values = keyed[key]
            value = event.env.get(key) if key else next(iter(event.env.values()), None)
            listeners = values.get(value) if value is not None else None
            if listeners:
                for owner, leaf in listeners:
                    found.setdefault(owner, []).append(leaf)
        return found


def _discriminator(leaf: Match) -> tuple[str, str] | None:
    if not leaf.args:
        return None
    key, value, negated = split_test(leaf.args[0])
    if negated or "$" in value or not is_literal(value):
        return None
    return key or "", value
