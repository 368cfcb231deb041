"""show-config and check-config: what jobs emit and wait for, and which of it nothing can ever bring about.

Both ask init, not the files; check-config asks also which of these have errors. A condition comes as a list in reverse
Polish notation; each item is a list of words: either an operator alone (/AND, /OR) or an event's name with what it must
match. Output and its order are the original's, down to the order in which check-config goes through the jobs.
"""

from __future__ import annotations

from upstart.base.errors import ClientError, DBusError
from upstart.base.glob import match
from upstart.base.names import JOB_EVENTS, NO_EXTENSION
from upstart.initctl.context import Context
from upstart.initctl.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from upstart.client.init import Init
    from upstart.client.job import Job

AND, OR = "/AND", "/OR"
#: Events that init itself emits.
INIT_EVENTS = (
    "startup", "recovery", "debug", "control-alt-delete", "keyboard-request", "power-status-changed",
    "child-subreaper-failed", "awaited", "awaited/none", *JOB_EVENTS,
)  # fmt: skip
CONDITIONS = (("start_on", "start on"), ("stop_on", "stop on"))


def show_config(context: Context) -> int:
    """show-config [CONF]"""
    init = context.open()
    jobs = [Target(context).find_job(init)] if context.args else init.jobs()
    if context.settings.json:
        context.show_json([_as_json(context, job) for job in jobs])
        return 0
    for job in jobs:
        context.message(job.name)
        for event in _emits(context, job):
            context.message(f"  emits {event}")
        for key, title in CONDITIONS:
            items = _condition(job, key)
            if context.settings.enumerate:
                for item in items:
                    if item[0] not in (AND, OR):
                        context.message(f"  {title} {_enumerated(item)}")
            elif items:
                context.message(f"  {title} {_infix(items)}")
    return 0


def _as_json(context: Context, job: Job) -> dict[str, object]:
    """What a job emits and waits for: each condition as a text, and its events one by one."""
    shown: dict[str, object] = {"job": job.name, "emits": _emits(context, job)}
    for key, _ in CONDITIONS:
        items = _condition(job, key)
        events = [{"event": item[0], "tests": item[1:]} for item in items if item[0] not in (AND, OR)]
        shown[key] = {"condition": _infix(items), "events": events} if items else None
    return shown


def _emits(context: Context, job: Job) -> list[str]:
    try:
        return job.emits
    except DBusError as error:
        context.error(error.message)
        return []


def _condition(job: Job, key: str) -> list[list[str]]:
    """The items of a condition; one that is absent, or whose job is gone, has none."""
    try:
        return job.start_on if key == "start_on" else job.stop_on
    except DBusError:
        return []


def _split_job(item: Sequence[str]) -> tuple[str | None, list[str]]:
    """The job whose event is meant (None if none is named), and the remaining words."""
    job: str | None = None
    rest: list[str] = []
    for position, word in enumerate(item[1:]):
        if job is None and item[0] in JOB_EVENTS:
            if word.startswith("JOB="):
                job = word[len("JOB=") :]
                continue
            if position == 0 and "=" not in word:
                job = word
                continue
        rest.append(word)
    return job, rest


def _enumerated(item: Sequence[str]) -> str:
    job, rest = _split_job(item)
    return f"{item[0]} (job:{'' if job is None else ' ' + job}, env:{''.join(' ' + word for word in rest)})"


def _infix(items: Sequence[Sequence[str]]) -> str:
    """The condition as it could stand in a job file, fully parenthesised."""
    stack: list[str] = []
    for item in items:
        if item[0] in (AND, OR):
            right, left = stack.pop(), stack.pop()
            stack.append(f"({left} {'and' if item[0] == AND else 'or'} {right})")
        else:
            stack.append(" ".join(item))
    return stack[-1]


class Node:
    """A condition or part of one: an operator with two operands, or an event with what is wrong with it."""

    __slots__ = ("left", "possible", "right", "unknown_event", "unknown_job")

    def __init__(self) -> None:
        self.left: Node | None = None
        self.right: Node | None = None
        self.possible = True
        self.unknown_event: str | None = None
        self.unknown_job: str | None = None

    def operators(self) -> Iterator[Node]:
        """The operators below and at this node, outermost first."""
        if self.left is not None and self.right is not None:
            yield self
            yield from self.right.operators()
            yield from self.left.operators()

    def leaves(self) -> Iterator[Node]:
        """The events of this part, the last one first."""
        if self.left is not None and self.right is not None:
            yield from self.right.leaves()
            yield from self.left.leaves()
        else:
            yield self


class Checker:
    """Knows which jobs there are and which events are emitted."""

    __slots__ = ("emitted", "ignored", "jobs", "warn")

    def __init__(self, ignored: list[str], user: bool, warn: bool) -> None:
        self.jobs: dict[str, list[list[list[str]]]] = {}
        self.emitted: list[str] = []
        self.ignored = {*ignored, *INIT_EVENTS}
        if user:
            self.ignored.add("session-end")
        self.warn = warn

    def tree(self, items: Sequence[Sequence[str]]) -> Node:
        """The condition, each node of it judged."""
        stack: list[Node] = []
        for item in items:
            node = Node()
            if item[0] in (AND, OR):
                node.right, node.left = stack.pop(), stack.pop()
                if item[0] == AND or self.warn:
                    node.possible = node.left.possible and node.right.possible
                else:
                    node.possible = node.left.possible or node.right.possible
            else:
                job, _ = _split_job(item)
                if job is not None and not self._is_known(job):
                    node.unknown_job = job
                if not self._emitted(item[0]):
                    node.unknown_event = item[0]
                node.possible = node.unknown_job is None and node.unknown_event is None
            stack.append(node)
        return stack[-1]

    def _is_known(self, job: str) -> bool:
        """Whether there is such a job, or one that the pattern matches, or only the job's instance can tell."""
        return job in self.jobs or job.startswith("$") or any(match(job, each) for each in self.jobs)

    def _emitted(self, event: str) -> bool:
        if event in self.ignored:
            return True
        return any(match(pattern, event) for pattern in self.emitted)

    def complaints(self, title: str, items: Sequence[Sequence[str]]) -> list[str]:
        """What makes the condition impossible; a possible one has none."""
        if not items:
            return []
        root = self.tree(items)
        for node in (*root.operators(), root):
            if not node.possible:
                break
        else:
            return []
        lines: list[str] = []
        for leaf in node.leaves():
            if leaf.unknown_event is not None:
                lines.append(f"  {title}: unknown event {leaf.unknown_event}")
            if leaf.unknown_job is not None:
                lines.append(f"  {title}: unknown job {leaf.unknown_job}")
        return lines


def check_config(context: Context) -> int:
    """check-config [CONF]: status 1 if a file has an error, or if anything cannot be reached.

    It is 0, as in the original, if init cannot be asked.
    """
    settings = context.settings
    ignored = [event for events in settings.ignored for event in events.split(",")]
    try:
        init = context.open()
        checker = Checker(ignored, settings.user, settings.warn)
        for job in init.jobs():
            name = job.name
            checker.emitted += _emits(context, job)
            checker.jobs[name] = [_condition(job, key) for key, _ in CONDITIONS]
        errors = _errors(init, context.args[0] if context.args else None)
    except ClientError as error:
        context.fail(error)
        return 0
    wanted = context.args[0] if context.args else None
    if wanted is not None and wanted not in checker.jobs:
        raise Target(context).explained(init, ClientError(f"Invalid job class: {wanted}"))
    found: dict[str, list[str]] = {}
    for name in sorted(checker.jobs, key=_place):
        if wanted is None or name == wanted:
            lines: list[str] = []
            for (_, title), items in zip(CONDITIONS, checker.jobs[name], strict=True):
                lines += checker.complaints(title, items)
            if lines:
                found[name] = lines
    if settings.json:
        unmet = [{"job": name, "problems": [line.strip() for line in lines]} for name, lines in found.items()]
        context.show_json({"errors": errors, "jobs": unmet})
    else:
        for text in errors:
            context.message(text)
        for name, lines in found.items():
            for line in (name, *lines):
                context.message(line)
    return 1 if errors or found else 0


def _errors(init: Init, job: str | None) -> list[str]:
    """What is wrong with the files of jobs, or with those of one: an original init does not tell."""
    try:
        errors = init.configuration_errors()
    except DBusError as failure:
        if failure.name not in NO_EXTENSION:
            raise
        return []
    if job is None:
        return errors
    return [error for error in errors if error.partition(":")[0].endswith((f"/{job}.conf", f"/{job}.override"))]


def _place(name: str) -> int:
    """Where the original's table has a job: FNV-1 modulo 17; jobs in the same place stay as they came."""
    value = 2166136261
    for byte in name.encode("utf-8", "surrogateescape"):
        value = (value * 16777619) & 0xFFFFFFFF
        value ^= byte if byte < 128 else byte | 0xFFFFFF00  # a signed char
    return value % 17
