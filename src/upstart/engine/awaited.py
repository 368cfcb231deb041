"""What the jobs wait for, by the names of events: for the programs that bring events about only while somebody waits.

Each event that a ``start on`` or ``stop on`` names is counted with its tests as written, references in them replaced
where the ``env`` stanzas of the job have the value; one that only an instance could tell stays as it is.  Jobs of a
chroot session do not count.

A program of that kind is a job with ``start on awaited EVENT=PATTERN`` (and ``EVENT!=PATTERN`` for what another tells)
and ``stop on awaited/none JOB=NAME``: for what the patterns of the job NAME match, no job waits any more.  What is
always true here: of each such job it is known how many of the awaited names its patterns match; a definition costs what
it names, times the few such jobs that there are, and a new one of these one look at all names.
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
    #: A pattern of names, and those of the names that are not meant though it matches them.
    Pattern = tuple[str, ...]

#: The events that tell of it, and their variables.
AWAITED = "awaited"
NONE = "awaited/none"
EVENT = "EVENT"
JOB = "JOB"


class Change:
    """What a definition has changed: ``names`` for which its job waits with other tests than before, those that have
    ``appeared``, new ``patterns`` of who waits for names, and the jobs ``left`` with none of the names that they wait
    for."""

    __slots__ = ("appeared", "left", "names", "patterns")

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.appeared: list[str] = []
        self.patterns: list[Pattern] = []
        self.left: list[str] = []


class Awaited:
    """The names that are awaited, ``names``, each with its tests and how many leaves have those."""

    __slots__ = ("_listeners", "_matching", "_written", "names")

    def __init__(self) -> None:
        self.names: dict[str, dict[Tests, int]] = {}
        #: The jobs that wait for names to be awaited: their patterns, and how many names those match.
        self._listeners: dict[str, list[Pattern]] = {}
        self._matching: dict[str, int] = {}
        #: What was counted for jobs whose tests refer to their environment, which may be another one later.
        self._written: dict[str, list[tuple[str, Tests]]] = {}

    def change(self, old: JobClass | None, new: JobClass | None, inherited: Mapping[str, str]) -> Change:
        """A definition takes the place of another; ``inherited`` is what a bare ``env KEY`` takes its value from."""
        change = Change()
        before = self._forget(old) if old is not None else []
        after = self._write(new, inherited) if new is not None else []
        job = new or old
        listener = job.name if job is not None and job.session is None else ""
        patterns = self._listeners.pop(listener, [])
        self._matching.pop(listener, None)
        # What is named before and after was there all the time.
        for name, tests in after:
            self._count(name, tests, change)
        for name, tests in before:
            self._discount(name, tests, change)
        # Others may wait for the same, but who does is another matter.
        if before != after:
            old_tests, new_tests = _by_name(before), _by_name(after)
            names = (*new_tests, *old_tests)
            change.names.update(dict.fromkeys([name for name in names if old_tests.get(name) != new_tests.get(name)]))
        wanted = list(dict.fromkeys([_pattern_of(tests) for name, tests in after if name == AWAITED]))
        if wanted:
            self._listeners[listener] = wanted
            self._matching[listener] = sum(_matches(wanted, name) for name in self.names)
            change.patterns = [pattern for pattern in wanted if pattern not in patterns]
        change.left = [name for name in dict.fromkeys(change.left) if not self._matching.get(name, 1)]
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
            for job, patterns in self._listeners.items():
                self._matching[job] += _matches(patterns, name)
        known[tests] = known.get(tests, 0) + 1

    def _discount(self, name: str, tests: Tests, change: Change) -> None:
        known = self.names[name]
        known[tests] -= 1
        if not known[tests]:
            del known[tests]
        if not known:
            del self.names[name]
            for job, patterns in self._listeners.items():
                if _matches(patterns, name):
                    self._matching[job] -= 1
                    change.left.append(job)

    def has_listeners(self, name: str) -> bool:
        """Whether some job waits for this name to be awaited."""
        return any(_matches(patterns, name) for patterns in self._listeners.values())

    def matching(self, patterns: Iterable[Pattern]) -> list[str]:
        """The names that are awaited and that one of the patterns matches."""
        patterns = list(patterns)
        if all(is_literal(wanted) for wanted, *_ in patterns):
            named = dict.fromkeys([wanted for wanted, *_ in patterns])
            return [name for name in named if name in self.names and _matches(patterns, name)]
        return [name for name in self.names if _matches(patterns, name)]

    def leaves(self, patterns: list[str]) -> Iterator[tuple[str, list[str]]]:
        """Each of these names with the tests of a leaf, none twice; definitions may change between two of them."""
        for name in self.matching(_plain(patterns)):
            for tests in list(self.names.get(name, ())):
                yield name, list(tests)

    def listened_for(self) -> list[str]:
        """The awaited names that some job waits for."""
        return self.matching([pattern for patterns in self._listeners.values() for pattern in patterns])

    def counts(self) -> tuple[dict[str, dict[Tests, int]], dict[str, list[Pattern]], dict[str, int]]:
        """All that is counted, to compare."""
        return self.names, self._listeners, self._matching


def by_job(
    classes: Iterable[JobClass], inherited: Mapping[str, str], patterns: list[str]
) -> Iterator[tuple[str, bool, str, list[str]]]:
    """Who waits for the events of these names: the job, whether with its ``start on``, the event, and its tests, in the
    order in which a condition has them.  Only tests of ``stop on`` have references replaced: others match nothing."""
    meant = _plain(patterns)
    for job in classes:
        if job.session is not None:
            continue
        env: dict[str, str] | None = None
        for starts, condition in ((True, job.start_on), (False, job.stop_on)):
            for leaf in leaves(condition) if condition is not None else ():
                if not _matches(meant, leaf.name):
                    continue
                tests = list(leaf.args)
                if not starts and any("$" in test for test in tests):
                    if env is None:
                        env = {}
                        environ.append(env, job.env, inherited)
                    tests = [_expanded(test, env) for test in tests]
                yield job.name, starts, leaf.name, tests


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


def _by_name(named: list[tuple[str, Tests]]) -> dict[str, list[Tests]]:
    found: dict[str, list[Tests]] = {}
    for name, tests in named:
        found.setdefault(name, []).append(tests)
    return found


def _plain(patterns: Iterable[str]) -> list[Pattern]:
    return [(pattern,) for pattern in patterns]


def _matches(patterns: Iterable[Pattern], name: str) -> bool:
    return any(match(wanted, name) and not any(match(each, name) for each in but) for wanted, *but in patterns)


def _pattern_of(tests: Tests) -> Pattern:
    """The names that a leaf wants to be told of, by the tests of one of our events."""
    wanted, but = "*", []
    for position, test in enumerate(tests):
        key, value, negated = split_test(test)
        if key != EVENT and (key is not None or position):
            continue
        if negated:
            but.append(value)
        elif wanted == "*":
            wanted = value
    return (wanted, *but)
