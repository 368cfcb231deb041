"""Signals of a message bus as events, and names that come and go there.  This is pure: messages in, events out.

What is always true here: there is one match rule for each distinct condition, which asks for no less than that may
need; what comes is told once, and only if it passes the tests of some condition.  A sender goes by the well-known name
that a condition asks for, if it owns that, and else by its unique name.
"""

from __future__ import annotations

import re

from upstart.base.buswords import NAME, SIGNAL
from upstart.base.glob import is_literal
from upstart.base.names import BUS_INTERFACE, MANAGER
from upstart.bridges.bus import NAME_CHANGED, rule
from upstart.bridges.condition import passes, tests_of
from upstart.bridges.udev import readable
from upstart.dbus.marshal import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from upstart.bridges.condition import Test
    from upstart.bridges.link import Leaves
    from upstart.dbus.wire import Message

    Told = tuple[str, dict[str, str]]

#: What a match rule calls our variables.
_WORDS = {"SIGNAL": "member", "INTERFACE": "interface", "OBJPATH": "path", "SENDER": "sender"}
_ARGUMENT = re.compile(r"ARG(\d|[1-5]\d|6[0-3])")
#: The value of an argument that need not be a string: rules compare strings only.
_OTHER = re.compile(r"-?\d+(\.\d+)?|TRUE|FALSE|/.*|[sobhgviyunqxtda(){}]*", re.S)
#: Bytes of a value, and strings of an array, that are told.
LONGEST, MOST = 16 << 10, 64


def arguments(message: Message) -> Iterator[tuple[str, str]]:
    """The variables for the arguments of a signal; those of other types are left out, but counted."""
    for number, (kind, value) in enumerate(zip(split(message.header.signature), message.args(), strict=True)):
        if kind in ("as", "ao", "ag"):
            for index, each in enumerate(value[:MOST]):
                yield f"ARG{number}.{index}", each
        elif kind == "b":
            yield f"ARG{number}", "TRUE" if value else "FALSE"
        elif kind == "d":
            yield f"ARG{number}", f"{value:f}"
        elif kind in "ynqiuxtsog":
            yield f"ARG{number}", str(value)


def _asked_for(test: Test) -> bool:
    return not test.negated and is_literal(test.value) and "$" not in test.value


class Signals:
    """The conditions of one bridge, whose bus is called ``bus_name``, unless that is empty."""

    def __init__(self, bus_name: str = "") -> None:
        self._bus = {"BUS": bus_name} if bus_name else {}
        self._all = False
        self._signals: list[list[Test]] = []
        self._names: list[list[Test]] = []
        #: Who owns each name that conditions ask for as a sender, an empty string if nobody does.
        self.owners: dict[str, str] = {}
        #: The names that conditions are about and that somebody owns, by what has been told.
        self.owned: set[str] = set()
        #: The names of which it is not known whether the last change was told.
        self.unsure: set[str] = set()

    def want(self, leaves: Leaves) -> None:
        """Tell what these wait for; every signal where they are None."""
        self._all = leaves is None
        order = ["SIGNAL", *self._bus, "INTERFACE", "OBJPATH", "SENDER", "DESTINATION"]
        found: dict[str, list[list[Test]]] = {SIGNAL: [], NAME: []}
        for name, words in leaves or ():
            if name not in found:
                continue
            tests = tests_of(words, order if name == SIGNAL else ["NAME", "OWNER", *self._bus])
            # One that is about another bus is another bridge's.
            if all(test.key != "BUS" or passes([test], self._bus) for test in tests):
                found[name].append(tests)
        self._signals, self._names = found[SIGNAL], found[NAME]
        senders = {test.value for tests in self._signals for test in tests if test.key == "SENDER" and _asked_for(test)}
        senders = {sender for sender in senders if not sender.startswith(":") and sender != BUS_INTERFACE}
        self.owners = {sender: self.owners.get(sender, "") for sender in sorted(senders)}

    def rules(self) -> set[str]:
        """The match rules of all conditions."""
        if self._all:
            return {rule()}
        rules = {self._rule(tests) for tests in self._signals}
        changed = {"sender": BUS_INTERFACE, "interface": BUS_INTERFACE, "member": NAME_CHANGED}
        rules |= {rule(**changed, arg0=name) for name in self.owners}
        for tests in self._names:
            name = next((test.value for test in tests if test.key == "NAME" and _asked_for(test)), "")
            rules.add(rule(**changed, arg0=name) if name else rule(**changed))
        return rules

    def _rule(self, tests: Iterable[Test]) -> str:
        words = {}
        for test in tests:
            if test.negated or "$" in test.value:
                continue
            head, star, _ = test.value.partition("/*")
            if is_literal(test.value):
                argument = _ARGUMENT.fullmatch(test.key)
                if test.key in _WORDS:
                    words[_WORDS[test.key]] = test.value
                elif argument and not _OTHER.fullmatch(test.value):
                    words[f"arg{argument[1]}"] = test.value
            elif test.key == "OBJPATH" and star and head and is_literal(head) and "path" not in words:
                words["path_namespace"] = head
        if "path" in words:
            words.pop("path_namespace", None)
        return rule(**words)

    def describe(self) -> list[str]:
        """What is heard of, a line each."""
        return sorted(self.rules())

    # Signals

    def heard(self, message: Message) -> Iterator[Told]:
        """What is to be told of a signal."""
        header = message.header
        if header.member == NAME_CHANGED and header.sender == BUS_INTERFACE and header.signature == "sss":
            name, _, owner = message.args()
            if name in self.owners:
                self.owners[name] = owner
            yield from self._changed(name, bool(owner))
        # What init itself says might go round in circles.
        if (header.interface or "").startswith(MANAGER) or not (self._all or self._signals):
            return
        unique = header.sender or ""
        named = [name for name, owner in self.owners.items() if owner and owner == unique]
        left = list(self._signals)
        for sender in [*named, unique]:
            env = self._env(message, sender)
            found = [tests for tests in left if passes(tests, env)]
            if sender != unique and not any(test.key == "SENDER" for tests in found for test in tests):
                continue
            if found or (self._all and sender == unique):
                left = [tests for tests in left if tests not in found]
                yield SIGNAL, env

    def _env(self, message: Message, sender: str) -> dict[str, str]:
        header = message.header
        values = [
            ("SIGNAL", header.member), *self._bus.items(), ("INTERFACE", header.interface), ("OBJPATH", header.path),
            ("SENDER", sender), ("DESTINATION", header.destination), *arguments(message),
            ("SENDER_UNIQUE", header.sender),
        ]  # fmt: skip
        return {key: readable(value.encode()) for key, value in values if value is not None and len(value) <= LONGEST}

    # Names

    def _changed(self, name: str, owned: bool) -> Iterator[Told]:
        if name.startswith(":") or ((name in self.owned) is owned and name not in self.unsure):
            return
        self.unsure.discard(name)
        env = {"NAME": name, "OWNER": "y" if owned else "n", **self._bus}
        about = [tests for tests in self._names if passes([test for test in tests if test.key == "NAME"], env)]
        if about:
            (self.owned.add if owned else self.owned.discard)(name)
        if any(passes(tests, env) for tests in about):
            yield NAME, env

    def names(self, there: Iterable[str]) -> Iterator[Told]:
        """What is to be told where these names have owners, and no others."""
        now = set(there)
        for name in sorted((self.owned | self.unsure) - now):
            yield from self._changed(name, False)
        self.owned &= now
        for name in sorted(now):
            yield from self._changed(name, True)
        self.unsure.clear()
