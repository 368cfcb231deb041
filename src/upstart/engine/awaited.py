"""What the jobs wait for, by the names of events: for the programs that bring events about only while somebody waits.

Each event that a ``start on`` or ``stop on`` names is counted with its tests as written, references in them replaced
where the ``env`` stanzas of the job have the value; one that only an instance could tell stays as it is.  Jobs of a
chroot session do not count.

A program of that kind is a job with ``start on awaited EVENT=PATTERN``, and ``stop on awaited/none EVENT=PATTERN``.
What is always true here: it is known for each pattern of the latter kind how many of the awaited names it matches; a
definition costs what it names, times the few patterns that there are, and a new pattern one look at all names.
"""

from __future__ import annotations

from upstart.base.glob import is_literal, match
from upstart.conf.expand import ExpandError, expand
from upstart.engine import environ
from upstart.engine.condition import leaves, split_test

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from upstart.conf.jobclass import JobClass

    Tests = tuple[str, ...]

#: The events that tell of it, and their variable.
AWAITED = "awaited"
NONE = "awaited/none"
EVENT = "EVENT"


class Change:
    """What a definition has changed: ``names`` of which other tests are awaited, those that have ``appeared``, new
    ``patterns`` that wait for names, and those ``left`` with none of the names that they match."""

    __slots__ = ("appeared", "left", "names", "patterns")

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.appeared: list[str] = []
        self.patterns: list[str] = []
        self.left: list[str] = []


class Awaited:
    """The names that are awaited, ``names``, each with its tests and how many leaves have those."""

    __slots__ = ("_matching", "_patterns", "_written", "names")

    def __init__(self) -> None:
        self.names: dict[str, dict[Tests, int]] = {}
        #: The patterns of those who wait for ``awaited``, and of those who wait for ``awaited/none``: how many leaves
        #: have each; and how many names each of the latter matches.
        self._patterns: dict[str, dict[str, int]] = {AWAITED: {}, NONE: {}}
        self._matching: dict[str, int] = {}
        #: What was counted for jobs whose tests refer to their environment, which may be another one later.
        self._written: dict[str, list[tuple[str, Tests]]] = {}

    def change(self, old: JobClass | None, new: JobClass | None, inherited: Mapping[str, str]) -> Change:
        """A definition takes the place of another; ``inherited`` is what a bare ``env KEY`` takes its value from."""
        change = Change()
        before = self._forget(old) if old is not None else []
        after = self._write(new, inherited) if new is not None else []
        # What is named before and after was there all the time.
        for name, tests in after:
            self._count(name, tests, change)
        for name, tests in before:
            self._discount(name, tests, change)
        change.left = [pattern for pattern in dict.fromkeys(change.left) if not self._matching.get(pattern, 1)]
        return change

    def _write(self, job: JobClass, inherited: Mapping[str, str]) -> list[tuple[str, Tests]]:
        named = list(_named(job))
        if any("$" in test for _, tests in named for test in tests):
            env: dict[str, str] = {}
            environ.append(env, job.env, inherited)
            named = [(name, tuple([_expanded(test, env) for test in tests])) for name, tests in named]
            self._written[job.name] = named
        return named

    def _forget(self, job: JobClass) -> list[tuple[str, Tests]]:
        written = self._written.pop(job.name, None) if job.session is None else None
        return written if written is not None else list(_named(job))

    def _count(self, name: str, tests: Tests, change: Change) -> None:
        known = self.names.get(name)
        if known is None:
            known = self.names[name] = {}
            change.appeared.append(name)
            for pattern in self._matching:
                self._matching[pattern] += match(pattern, name)
        if tests not in known:
            change.names[name] = None
        known[tests] = known.get(tests, 0) + 1
        listeners = self._patterns.get(name)
        if listeners is not None:
            wanted = _pattern_of(tests)
            if wanted not in listeners:
                if name == NONE:
                    self._matching[wanted] = sum(match(wanted, each) for each in self.names)
                else:
                    change.patterns.append(wanted)
            listeners[wanted] = listeners.get(wanted, 0) + 1

    def _discount(self, name: str, tests: Tests, change: Change) -> None:
        known = self.names[name]
        known[tests] -= 1
        if not known[tests]:
            del known[tests]
            change.names[name] = None
        if not known:
            del self.names[name]
            for pattern in self._matching:
                if match(pattern, name):
                    self._matching[pattern] -= 1
                    change.left.append(pattern)
        listeners = self._patterns.get(name)
        if listeners is not None:
            wanted = _pattern_of(tests)
            listeners[wanted] -= 1
            if not listeners[wanted]:
                del listeners[wanted]
                if name == NONE:
                    del self._matching[wanted]

    def has_listeners(self, name: str) -> bool:
        """Whether some job waits for this name to be awaited."""
        return any(match(pattern, name) for pattern in self._patterns[AWAITED])

    def matching(self, patterns: list[str]) -> list[str]:
        """The names that are awaited and that one of the patterns matches."""
        if all(map(is_literal, patterns)):
            return [name for name in dict.fromkeys(patterns) if name in self.names]
        return [name for name in self.names if any(match(pattern, name) for pattern in patterns)]

    def leaves(self, patterns: list[str]) -> Iterator[tuple[str, list[str]]]:
        """Each of these names with the tests of a leaf, none twice; definitions may change between two of them."""
        for name in self.matching(patterns):
            for tests in list(self.names.get(name, ())):
                yield name, list(tests)

    def listened_for(self) -> list[str]:
        """The awaited names that some job waits for."""
        return self.matching(list(self._patterns[AWAITED]))

    def counts(self) -> tuple[dict[str, dict[Tests, int]], dict[str, dict[str, int]], dict[str, int]]:
        """All that is counted, to compare."""
        return self.names, self._patterns, self._matching


def count(classes: Iterable[JobClass], inherited: Mapping[str, str]) -> Awaited:
    """What these definitions wait for together; ``inherited`` as for `Awaited.change`."""
    awaited = Awaited()
    for job_class in classes:
        awaited.change(None, job_class, inherited)
    return awaited


def _named(job: JobClass) -> Iterator[tuple[str, Tests]]:
    if job.session is None:
        for condition in (job.start_on, job.stop_on):
            if condition is not None:
                for leaf in leaves(condition):
                    yield leaf.name, leaf.args


def _expanded(test: str, env: Mapping[str, str]) -> str:
    try:
        return expand(test, env)
    except ExpandError:
        return test


def _pattern_of(tests: Tests) -> str:
    """The names that a leaf wants to be told of, by the tests of one of our events."""
    for position, test in enumerate(tests):
        key, value, negated = split_test(test)
        if (key == EVENT or (key is None and not position)) and not negated:
            return value
    return "*"
