"""What an event has to do with jobs: which conditions name it, and whether what it carries is what they ask for.

What is always true here: it is pure but for `ask`, which is the calls that it takes, made beside a window's loop.
"""

from __future__ import annotations

from upstart.base.errors import DBusError
from upstart.base.glob import match, split_test
from upstart.base.names import NO_EXTENSION
from upstart.client.history import History
from upstart.monitor.past import parts
from upstart.monitor.rows import EVENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from upstart.client.init import Init
    from upstart.client.status import Status
    from upstart.monitor.rows import Row

#: What is said of a test.
YES, NO, UNSURE = "yes", "no", "unsure"


class Mention:
    """A ``job`` that names the event in its ``start on`` (``starts``) or ``stop on``, with ``tests``.

    ``fits`` says whether the event is what it waits for: ``UNSURE`` where that depends on the job's environment.
    ``states`` are the instances of the job as they are, as text.
    """

    __slots__ = ("event", "fits", "job", "starts", "states", "tests")

    def __init__(self, job: str, starts: bool, event: str, tests: Sequence[str], fits: str) -> None:
        self.job = job
        self.starts = starts
        self.event = event
        self.tests = list(tests)
        self.fits = fits
        self.states: list[str] = []

    def condition(self) -> str:
        """The event as the condition names it."""
        return " ".join([self.event, *self.tests])


class Related:
    """``mentions`` of jobs that wait for an event, and, of the ``past``, titles with lines of name and text."""

    __slots__ = ("mentions", "past")

    def __init__(
        self, mentions: Sequence[Mention] = (), past: Sequence[tuple[str, list[tuple[str, str]]]] = ()
    ) -> None:
        self.mentions = list(mentions)
        self.past = list(past)


def fits(env: Sequence[str], tests: Sequence[str]) -> str:
    """Whether an event with the variables ``env``, KEY=VALUE, passes ``tests``, as init(5) has them."""
    keys = [word.partition("=")[0] for word in env]
    values = [word.partition("=")[2] for word in env]
    sure = YES
    position = -1
    for test in tests:
        name, pattern, negated = split_test(test)
        if name is not None:
            position = keys.index(name) if name in keys else len(keys)
        else:
            # It is about the variable after that of the test before it.
            position += 1
        value = values[position] if position < len(values) else None
        if "$" in pattern:
            sure = UNSURE
        elif value is None or match(pattern, value) is negated:
            return NO
    return sure


def mentions(row: Row, leaves: Sequence[tuple[str, bool, str, list[str]]], statuses: Sequence[Status]) -> list[Mention]:
    """The jobs that name an event, those first that it is what they wait for, with how they stand."""
    found = []
    for job, starts, event, tests in leaves:
        if not match(event, row.name):
            continue
        mention = Mention(job, starts, event, tests, fits(row.env, tests))
        for status in statuses:
            if status.job == job:
                instance = f" ({status.instance})" if status.instance else ""
                mention.states.append(f"{status.goal}/{status.state}{instance}")
        found.append(mention)
    order = (YES, UNSURE, NO)
    return sorted(found, key=lambda each: (order.index(each.fits), not each.starts, each.job))


def ask(init: Init, row: Row) -> Related:
    """What an init says about a row; nothing of one without our extension.  Raises DBusError."""
    try:
        return _ask(init, row)
    except DBusError as error:
        if error.name not in NO_EXTENSION:
            raise
        return Related()


def _ask(init: Init, row: Row) -> Related:
    if row.kind != EVENT:
        about = row.name, row.instance
        now = [f"{each.goal}/{each.state}" for each in init.all_status() if (each.job, each.instance) == about]
        lines = [("Now", now[0] if now else "stop/waiting")]
        reason = init.failure_reason(row.name, row.instance)
        if reason:
            lines.append(("Last failure", reason))
        return Related(past=[("State", lines), *parts(_history(init), row)])
    # A condition may name events by a pattern, which only we can tell that this one matches.
    leaves = [leaf for leaf in init.awaited_by(["*"]) if match(leaf[2], row.name)]
    jobs = {job for job, _, _, _ in leaves}
    statuses = [each for each in init.all_status() if each.job in jobs] if jobs else []
    return Related(mentions(row, leaves, statuses), parts(_history(init), row))


def _history(init: Init) -> History:
    """What an init remembers; nothing of one that remembers nothing."""
    try:
        return init.history()
    except DBusError as error:
        if error.name not in NO_EXTENSION:
            raise
        return History()
