"""What jobs say that they wait for of files: ``file FILE=PATH [EVENT=KIND] [MATCH=PATTERN]``.

This is pure.  A path is taken as text, its bytes that are not UTF-8 as surrogates, and in parts, the names between its
slashes: each of them may be a pattern, and ``**`` is any number of directories.  Where a path is told, these bytes are
written as ``\\xff``.  What is always true here: an event is told only if a condition has the tests that it meets, for
init would throw it away.
"""

from __future__ import annotations

from upstart.base.filewords import EVENT, NAMED, USUAL, VARIABLES, place
from upstart.base.glob import is_literal, match
from upstart.bridges.condition import passes, tests_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from upstart.bridges.condition import Test

#: Stands for any number of directories.
ANY = "**"


class Spec:
    """A path that jobs wait for, ``text`` as they wrote it, and the tests of their conditions.

    ``parts`` are the names and patterns on the way from the root, ``literal`` which of them are names; ``directory``
    says that it ended with a slash, and ``pattern`` that it may be several paths.  ``kinds`` are the events that any of
    the conditions may take.
    """

    __slots__ = ("asks", "conditions", "directory", "itself", "kinds", "literal", "parts", "pattern", "text")

    def __init__(self, text: str, path: str, conditions: list[list[Test]]) -> None:
        self.text = text
        self.parts = tuple([part for part in path.split("/") if part not in ("", ".")])
        self.directory = path.endswith("/")
        self.literal = tuple([is_literal(part) and part != ANY for part in self.parts])
        self.pattern = not all(self.literal)
        #: Init compares what a job wrote as a pattern, also with itself.
        self.itself = match(text, text)
        self.conditions = conditions
        #: What makes it another one.
        self.asks = frozenset([tuple([(test.key, test.negated, test.value) for test in tests]) for tests in conditions])
        self.kinds = frozenset([kind for kind in (*USUAL, *NAMED) if any(_takes(tests, kind) for tests in conditions)])

    def event(self, kind: str, path: str, match: bool) -> dict[str, str] | None:
        """The variables of the event of ``kind`` at ``path``, with ``match`` that of a MATCH; None where no condition
        takes it."""
        if kind not in self.kinds:
            return None
        shown = readable(path)
        env = {"FILE": self.text if self.itself else shown, "EVENT": kind}
        if match:
            env["MATCH"] = shown
        for tests in self.conditions:
            if _takes(tests, kind) and passes(tests, env):
                return env
        return None


def _takes(tests: list[Test], kind: str) -> bool:
    """Whether a condition may take an event of this kind; one that is not usual has to be named."""
    named = [test for test in tests if test.key == "EVENT"]
    if kind in USUAL:
        return all(test.passes(kind) for test in named)
    return any(test.value == kind and not test.negated for test in named)


def readable(path: str) -> str:
    """A path for everybody to read."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read(leaves: Iterable[tuple[str, Sequence[str]]], home: str, complain: Callable[[str], object]) -> dict[str, Spec]:
    """The paths that these conditions wait for, by their texts; what is wrong with others goes to ``complain``.

    ``home`` is where a relative path begins, empty where there are none: at the bridge of the system.
    """
    conditions: dict[str, list[list[Test]]] = {}
    for name, words in leaves:
        if name != EVENT:
            continue
        tests = tests_of(words, VARIABLES)
        files = [test.value for test in tests if test.key == "FILE" and not test.negated]
        if not files:
            complain("a condition without FILE= waits for nothing")
            continue
        conditions.setdefault(files[0], []).append(tests)
    specs = {}
    for text, all_tests in conditions.items():
        path, problem = place(text, home)
        if problem:
            complain(f"{text}: {problem}")
            continue
        specs[text] = Spec(text, path, all_tests)
    return specs
