"""Keys of dconf as events.  This is pure: what the writer tells comes in, and what keys hold; events go out.

What is always true here: a key is looked at only if some condition may be about it; what has changed while there was no
bridge shows by comparing, for the keys that conditions name.
"""

from __future__ import annotations

from upstart.base.buswords import DCONF, DCONF_VARIABLES, is_key
from upstart.base.glob import is_literal
from upstart.bridges.bus import rule
from upstart.bridges.condition import passes, tests_of
from upstart.bridges.udev import readable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from upstart.bridges.condition import Test
    from upstart.bridges.link import Leaves

    #: What a key holds: whether the user has set it, and its value as GVariant text, empty where there is none.
    Held = tuple[bool, str]
    Told = tuple[str, dict[str, str]]

_NOTIFY = {"interface": "ca.desrt.dconf.Writer", "member": "Notify"}


class Keys:
    """The keys that conditions are about; ``read`` (key) gives what one holds."""

    def __init__(self, read: Callable[[str], Held]) -> None:
        self._read = read
        self._conditions: list[list[Test]] | None = []
        #: What keys hold, by what has been told.
        self.known: dict[str, Held] = {}
        #: The keys of which it is not known whether the last change was told.
        self.unsure: set[str] = set()

    def want(self, leaves: Leaves) -> None:
        """Tell what these wait for; every change where they are None."""
        conditions = [tests_of(words, DCONF_VARIABLES) for _, words in leaves or ()]
        self._conditions = None if leaves is None else conditions
        for key in list(self.known):
            if not self._concerns(key):
                del self.known[key]

    def named(self) -> set[str]:
        """The keys that conditions name in full."""
        return {
            text for tests in self._conditions or () for text in [_key_of(tests)] if is_literal(text) and is_key(text)
        }

    def rules(self) -> set[str]:
        """The match rules of all conditions: a key is written by itself, or as part of a directory."""
        if self._conditions is None:
            return {rule(**_NOTIFY)}
        places = {_place_of(_key_of(tests)) for tests in self._conditions}
        return {rule(**_NOTIFY, arg0path=place) if place else rule(**_NOTIFY) for place in places}

    def _concerns(self, key: str) -> bool:
        if self._conditions is None:
            return True
        env = {"KEY": readable(key.encode())}
        return any(passes([test for test in tests if test.key == "KEY"], env) for tests in self._conditions)

    def heard(self, prefix: str, changes: Sequence[str]) -> Iterator[Told]:
        """What is to be told where the writer says that these have changed, each below the prefix."""
        for change in changes:
            place = prefix + change
            if place.endswith("/"):
                # All that was below it is no more.
                for key in sorted(key for key in {*self.named(), *self.known} if key.startswith(place)):
                    yield from self._changed(key, only_if_other=True)
            elif is_key(place) and self._concerns(place):
                yield from self._changed(place)

    def compare(self) -> Iterator[Told]:
        """What is to be told where nothing was heard for a while; what nothing was known of is known from now on."""
        unsure = {key for key in self.unsure if self._concerns(key)}
        self.unsure = set()
        for key in sorted({*self.named(), *self.known, *unsure}):
            if key in self.known or key in unsure:
                yield from self._changed(key, only_if_other=key not in unsure)
            else:
                self.known[key] = self._read(key)

    def _changed(self, key: str, only_if_other: bool = False) -> Iterator[Told]:
        held = self._read(key)
        if only_if_other and self.known.get(key) == held:
            return
        self.known[key] = held
        is_set, value = held
        env = {"TYPE": "changed" if is_set else "reset", "KEY": key, "VALUE": value}
        env = {name: readable(text.encode()) for name, text in env.items()}
        if self._conditions is None or any(passes(tests, env) for tests in self._conditions):
            yield DCONF, env


def _key_of(tests: list[Test]) -> str:
    return next((test.value for test in tests if test.key == "KEY" and not test.negated), "*")


def _place_of(key: str) -> str:
    """What a rule is to ask for where a condition has this: a key, or the directory that all it may be about are in."""
    if is_literal(key) and "$" not in key:
        return key
    head = next((key[:at] for at, char in enumerate(key) if char in "*?[\\$"), key)
    return head[: head.rfind("/") + 1]
