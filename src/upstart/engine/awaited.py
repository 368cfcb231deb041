"""What the jobs wait for, by the names of events: for the programs that bring events about only while somebody waits.

Each event that a ``start on`` or ``stop on`` names is counted with its tests as written, references in them replaced
where the ``env`` stanzas of the job have the value; one that only an instance could tell stays as it is.  Jobs of a
chroot session do not count.

A program of that kind is a job with ``start on awaited EVENT=PATTERN`` and ``stop on awaited/none JOB=NAME``: for what
the patterns of the job NAME match, no job waits any more.  With ``EVENT!=PATTERN`` and ``TESTS!=PATTERN`` it leaves out
what others tell, by the name, or by the tests that somebody has for it.  What is always true here: of each such job it
is known how many of the awaited leaves its patterns match, by their names; a definition costs what it names, times the
few such jobs that there are, and a new one of these one look at all leaves.
"""

from __future__ import annotations

from upstart.base.glob import is_literal, match, split_test
from upstart.conf.expand import ExpandError, expand
from upstart.engine import environ
from upstart.engine.condition import leaves

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from upstart.conf.jobclass import JobClass

    Tests = tuple[str, ...]
    #: A name and its tests, as a leaf has them.
    Leaf = tuple[str, Tests]
    #: A pattern of names; those of the names that are not meant though it matches them; and what the tests, as one
    #: text, have to match, or must not (true).
    Pattern = tuple[str, tuple[str, ...], tuple[tuple[str, bool], ...]]

#: The events that tell of it, and their variables.
AWAITED = "awaited"
NONE = "awaited/none"
EVENT = "EVENT"
TESTS = "TESTS"
JOB = "JOB"


class Change:
    """What a definition has changed: ``names`` for which its job waits with other tests than before, the leaves that
    are ``news`` to somebody who waits for such a name, and the jobs ``left`` with none of the names that they wait for.
    """

    __slots__ = ("left", "names", "news")

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.news: dict[Leaf, None] = {}
        self.left: list[str] = []


class Awaited:
    """The names that are awaited, ``names``, each with its tests and how many leaves have those."""

    __slots__ = ("_interested", "_listeners", "_matching", "_written", "names")

    def __init__(self) -> None:
        self.names: dict[str, dict[Tests, int]] = {}
        #: The jobs that wait for names to be awaited: their patterns, and of how many leaves those match by name.
        self._listeners: dict[str, list[Pattern]] = {}
        self._matching: dict[str, dict[str, int]] = {}
        #: Who waits for a name, as far as it was looked for.
        self._interested: dict[str, list[tuple[str, list[Pattern]]]] = {}
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
        if patterns:
            self._interested.clear()
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
            self._interested.clear()
            self._matching[listener] = self._counted(wanted)
            change.news.update(self._first([pattern for pattern in wanted if pattern not in patterns]))
        change.left = [job for job in dict.fromkeys(change.left) if job in self._matching and not self._matching[job]]
        return change

    def _counted(self, patterns: list[Pattern]) -> dict[str, int]:
        """Of how many leaves these patterns match, by name."""
        found = {}
        for name in self.matching(patterns):
            mine = _of_name(patterns, name)
            if number := sum(_means(mine, tests) for tests in self.names[name]):
                found[name] = number
        return found

    def _first(self, patterns: list[Pattern]) -> dict[Leaf, None]:
        """Of each name that these patterns match a leaf that they match, too."""
        found: dict[Leaf, None] = {}
        for name in self.matching(patterns):
            mine = _of_name(patterns, name)
            for tests in self.names[name]:
                if _means(mine, tests):
                    found[name, tests] = None
                    break
        return found

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
        known = self.names.setdefault(name, {})
        if tests not in known:
            for job, patterns in self._who(name):
                if _means(patterns, tests):
                    matching = self._matching[job]
                    if name not in matching:
                        change.news[name, tests] = None
                    matching[name] = matching.get(name, 0) + 1
        known[tests] = known.get(tests, 0) + 1

    def _discount(self, name: str, tests: Tests, change: Change) -> None:
        known = self.names[name]
        known[tests] -= 1
        if known[tests]:
            return
        del known[tests]
        who = self._who(name)
        if not known:
            del self.names[name]
            self._interested.pop(name, None)
        for job, patterns in who:
            if _means(patterns, tests):
                matching = self._matching[job]
                matching[name] -= 1
                if not matching[name]:
                    del matching[name]
                    change.left.append(job)

    def _who(self, name: str) -> list[tuple[str, list[Pattern]]]:
        """The jobs that wait for a name to be awaited, each with those of its patterns that match it."""
        who = self._interested.get(name)
        if who is None:
            who = self._interested[name] = []
            for job, patterns in self._listeners.items():
                if mine := _of_name(patterns, name):
                    who.append((job, mine))
        return who

    def matching(self, patterns: Iterable[Pattern]) -> list[str]:
        """The names that are awaited and that one of the patterns matches."""
        patterns = list(patterns)
        if all(is_literal(wanted) for wanted, _, _ in patterns):
            named = dict.fromkeys([wanted for wanted, _, _ in patterns])
            return [name for name in named if name in self.names and _matches(patterns, name)]
        return [name for name in self.names if _matches(patterns, name)]

    def leaves(self, patterns: list[str]) -> Iterator[tuple[str, list[str]]]:
        """Each of these names with the tests of a leaf, none twice; definitions may change between two of them."""
        for name in self.matching(_plain(patterns)):
            for tests in list(self.names.get(name, ())):
                yield name, list(tests)

    def listened_for(self) -> list[Leaf]:
        """The awaited names that some job waits for, each with a leaf for each of these jobs."""
        found: dict[Leaf, None] = {}
        for patterns in self._listeners.values():
            found.update(self._first(patterns))
        return list(found)

    def counts(self) -> tuple[dict[str, dict[Tests, int]], dict[str, list[Pattern]], dict[str, dict[str, int]]]:
        """All that is counted, to compare."""
        return self.names, self._listeners, self._matching


def told(leaf: Leaf) -> dict[str, str]:
    """The variables of the event that tells who waits for it of a leaf."""
    name, tests = leaf
    return {EVENT: name, TESTS: _text(tests)}


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
    return [(pattern, (), ()) for pattern in patterns]


def _of_name(patterns: Iterable[Pattern], name: str) -> list[Pattern]:
    """Those of the patterns that match a name."""
    return [
        pattern
        for pattern in patterns
        if match(pattern[0], name) and not any(match(each, name) for each in pattern[1])
    ]


def _matches(patterns: Iterable[Pattern], name: str) -> bool:
    return bool(_of_name(patterns, name))


def _means(patterns: Iterable[Pattern], tests: Tests) -> bool:
    """Whether one of the patterns, which match a name, means what waits for it with these tests."""
    for _, _, texts in patterns:
        if not texts or all(match(each, _text(tests)) != negated for each, negated in texts):
            return True
    return False


def _text(tests: Tests) -> str:
    return " ".join(tests)


def _pattern_of(tests: Tests) -> Pattern:
    """What a leaf wants to be told of, by the tests of one of our events."""
    wanted = "*"
    but: list[str] = []
    texts: list[tuple[str, bool]] = []
    for position, test in enumerate(tests):
        key, value, negated = split_test(test)
        if key == TESTS:
            texts.append((value, negated))
        elif key == EVENT or (key is None and not position):
            if negated:
                but.append(value)
            elif wanted == "*":
                wanted = value
    return wanted, tuple(but), tuple(texts)
