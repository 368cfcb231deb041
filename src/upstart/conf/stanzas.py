"""The stanzas of init(5): one handler each, found by name in `STANZAS`.

A handler reads what follows the stanza's name and writes it into the job class under construction.  It leaves the
scanner at the next line, except for ``debug`` and ``manual``: behind these another stanza may follow on the same line,
as has always been so.  Of a stanza given twice the last one counts; ``env``, ``export``, ``emits``, ``normal exit``,
``cgroup`` and ``limit`` add up.

An error that concerns a value is placed where that value begins.
"""

from __future__ import annotations

from sys import intern

from upstart.base.signals import signal_number
from upstart.conf.condition import parse_condition
from upstart.conf.jobclass import ProcessDef
from upstart.conf.lexer import Scanner, SyntaxProblem
from upstart.conf.numbers import NotANumber, signed, unsigned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from upstart.conf.jobclass import JobClass

    Handler: TypeAlias = "Callable[[Draft, Scanner], None]"

UNKNOWN = "Unknown stanza"
ILLEGAL_INTERVAL = "Illegal interval, expected number of seconds"
ILLEGAL_EXIT = "Illegal exit status, expected integer"
ILLEGAL_SIGNAL = "Illegal signal status, expected integer"
ILLEGAL_UMASK = "Illegal file creation mask, expected octal integer"
ILLEGAL_NICE = "Illegal nice value, expected -20 to 19"
ILLEGAL_OOM = "Illegal oom adjustment, expected -16 to 15 or 'never'"
ILLEGAL_OOM_SCORE = "Illegal oom score adjustment, expected -999 to 1000 or 'never'"
ILLEGAL_LIMIT = "Illegal limit, expected 'unlimited' or integer"

#: The limits of setrlimit(2), by the names behind RLIMIT_ there.
KILL_MODES = frozenset(("process", "group", "session", "all"))

LIMITS = frozenset((
    "as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime",
    "sigpending", "stack",
))  # fmt: skip

#: apparmor_parser(8) as it loads a profile, in the place of any that has its name, and caches what it compiled.
APPARMOR_LOAD = "/sbin/apparmor_parser -r -W"

_INT_MAX = 2**31 - 1


class Draft:
    """A job class that is being written, and those of its values that grow from stanza to stanza."""

    __slots__ = ("growing", "job")

    def __init__(self, job: JobClass) -> None:
        self.job = job
        self.growing: dict[str, list[Any]] = {}

    def add(self, attribute: str, values: list[Any]) -> None:
        """Append to a value of the job class that is a tuple."""
        if attribute not in self.growing:
            self.growing[attribute] = list(getattr(self.job, attribute))
        self.growing[attribute] += values

    def finish(self) -> JobClass:
        """The job class with all that has been added to it."""
        for attribute, values in self.growing.items():
            setattr(self.job, attribute, tuple(values))
        self.growing.clear()
        return self.job


def _text(attribute: str, *, share: bool = False) -> Handler:
    """A handler for a stanza of one word, which jobs ``share`` in memory where it is often the same."""

    def handle(draft: Draft, scanner: Scanner) -> None:
        value = scanner.word()
        setattr(draft.job, attribute, intern(value) if share else value)
        scanner.end_line()

    return handle


def _choice(attribute: str, choices: frozenset[str]) -> Handler:
    """A handler for a stanza of one word out of several."""

    def handle(draft: Draft, scanner: Scanner) -> None:
        start = scanner.pos
        value = scanner.word()
        if value not in choices:
            raise SyntaxProblem(UNKNOWN, start)
        setattr(draft.job, attribute, intern(value))
        scanner.end_line()

    return handle


def _words(attribute: str) -> Handler:
    """A handler for a stanza of names that add up."""

    def handle(draft: Draft, scanner: Scanner) -> None:
        draft.add(attribute, [intern(word) for word in scanner.words()])

    return handle


def _on(attribute: str) -> Handler:
    """A handler for ``start on`` or ``stop on``."""

    def handle(draft: Draft, scanner: Scanner) -> None:
        start = scanner.pos
        if scanner.keyword() != "on":
            raise SyntaxProblem(UNKNOWN, start)
        setattr(draft.job, attribute, parse_condition(scanner))

    return handle


def _process(process: str) -> Handler:
    """A handler for a process other than main: ``exec`` and a command, or ``script`` and a block."""

    def handle(draft: Draft, scanner: Scanner) -> None:
        start = scanner.pos
        kind = scanner.keyword()
        if kind == "exec":
            draft.job.processes[process] = ProcessDef(scanner.command(), False)
        elif kind == "script":
            draft.job.processes[process] = ProcessDef(scanner.script(), True)
        else:
            raise SyntaxProblem(UNKNOWN, start)

    return handle


def _exec(draft: Draft, scanner: Scanner) -> None:
    draft.job.processes["main"] = ProcessDef(scanner.command(), False)


def _script(draft: Draft, scanner: Scanner) -> None:
    draft.job.processes["main"] = ProcessDef(scanner.script(), True)


def _env(draft: Draft, scanner: Scanner) -> None:
    draft.add("env", [intern(scanner.word())])
    scanner.end_line()


def _manual(draft: Draft, scanner: Scanner) -> None:
    draft.job.start_on = None


def _debug(draft: Draft, scanner: Scanner) -> None:
    draft.job.debug = True


def _task(draft: Draft, scanner: Scanner) -> None:
    draft.job.task = True
    scanner.end_line()


def _signal(scanner: Scanner) -> int:
    """Read a signal's name or number."""
    start = scanner.pos
    word = scanner.word()
    number = signal_number(word)
    if number is not None:
        return number
    return _unsigned(word, 10, _INT_MAX, ILLEGAL_SIGNAL, start)


def _unsigned(word: str, base: int, most: int, problem: str, start: int) -> int:
    try:
        number = unsigned(word, base)
    except NotANumber:
        raise SyntaxProblem(problem, start)
    if number > most:
        raise SyntaxProblem(problem, start)
    return number


def _signed(word: str, least: int, most: int | None, problem: str, start: int, *, wrap: bool = True) -> int:
    """A number within limits; ``wrap`` it first to the 32 bits in which it has always been kept."""
    try:
        number = signed(word)
    except NotANumber:
        raise SyntaxProblem(problem, start)
    if wrap:
        number = (number + 2**31) % 2**32 - 2**31
    if number < least or (most is not None and number > most):
        raise SyntaxProblem(problem, start)
    return number


def _kill(draft: Draft, scanner: Scanner) -> None:
    start = scanner.pos
    kind = scanner.keyword()
    if kind == "timeout":
        start = scanner.pos
        draft.job.kill_timeout = _signed(scanner.word(), 0, None, ILLEGAL_INTERVAL, start, wrap=False)
    elif kind == "signal":
        draft.job.kill_signal = _signal(scanner)
    elif kind == "mode":
        start = scanner.pos
        mode = scanner.word()
        if mode not in KILL_MODES:
            raise SyntaxProblem(UNKNOWN, start)
        draft.job.kill_mode = intern(mode)
    else:
        raise SyntaxProblem(UNKNOWN, start)
    scanner.end_line()


def _reload(draft: Draft, scanner: Scanner) -> None:
    start = scanner.pos
    if scanner.keyword() != "signal":
        raise SyntaxProblem(UNKNOWN, start)
    draft.job.reload_signal = _signal(scanner)
    scanner.end_line()


def _respawn(draft: Draft, scanner: Scanner) -> None:
    if not scanner.has_token():
        draft.job.respawn = True
        scanner.end_line()
        return
    start = scanner.pos
    if scanner.keyword() != "limit":
        raise SyntaxProblem(UNKNOWN, start)
    start = scanner.pos
    limit = scanner.word()
    if limit == "unlimited":
        draft.job.respawn_limit = draft.job.respawn_interval = 0
    else:
        draft.job.respawn_limit = _signed(limit, 0, None, ILLEGAL_LIMIT, start)
        start = scanner.pos
        draft.job.respawn_interval = _signed(scanner.word(), 0, None, ILLEGAL_INTERVAL, start, wrap=False)
    scanner.end_line()


def _normal(draft: Draft, scanner: Scanner) -> None:
    start = scanner.pos
    if scanner.keyword() != "exit":
        raise SyntaxProblem(UNKNOWN, start)
    while True:
        start = scanner.pos
        word = scanner.word()
        number = signal_number(word)
        status = _unsigned(word, 10, _INT_MAX, ILLEGAL_EXIT, start) if number is None else number << 8
        draft.add("normal_exit", [status])
        if not scanner.has_token():
            break
    scanner.end_line()


def _umask(draft: Draft, scanner: Scanner) -> None:
    start = scanner.pos
    word = scanner.word()
    try:
        mask = unsigned(word, 8) & 0xFFFFFFFF
    except NotANumber:
        mask = -1
    if not 0 <= mask <= 0o777:
        raise SyntaxProblem(ILLEGAL_UMASK, start)
    draft.job.umask = mask
    scanner.end_line()


def _nice(draft: Draft, scanner: Scanner) -> None:
    start = scanner.pos
    draft.job.nice = _signed(scanner.word(), -20, 19, ILLEGAL_NICE, start)
    scanner.end_line()


def _oom(draft: Draft, scanner: Scanner) -> None:
    start = scanner.pos
    word = scanner.word()
    if word == "score":
        start = scanner.pos
        word = scanner.word()
        score = -1000 if word == "never" else _signed(word, -1000, 1000, ILLEGAL_OOM_SCORE, start)
    elif word == "never":
        score = -1000
    else:
        old = _signed(word, -17, 15, ILLEGAL_OOM, start)
        score = -(-old * 1000 // 17) if old < 0 else old * 1000 // 15
    draft.job.oom_score_adj = score
    scanner.end_line()


def _limit(draft: Draft, scanner: Scanner) -> None:
    start = scanner.pos
    name = scanner.word()
    if name not in LIMITS:
        raise SyntaxProblem(UNKNOWN, start)
    values = []
    for _ in ("soft", "hard"):
        start = scanner.pos
        word = scanner.word()
        value = -1 if word == "unlimited" else _unsigned(word, 10, 2**64, ILLEGAL_LIMIT, start)
        # The system calls take the upper half of the unsigned numbers as negative ones; -1 is without limit.
        values.append(value if value < 2**63 else value - 2**64)
    draft.job.limits = {**draft.job.limits, intern(name): (values[0], values[1])}
    scanner.end_line()


def _apparmor(draft: Draft, scanner: Scanner) -> None:
    start = scanner.pos
    kind = scanner.keyword()
    if kind == "load":
        draft.job.processes["security"] = ProcessDef(f"{APPARMOR_LOAD} {scanner.word()}", False)
    elif kind == "switch":
        draft.job.apparmor_switch = scanner.word()
    else:
        raise SyntaxProblem(UNKNOWN, start)
    scanner.end_line()


def _cgroup(draft: Draft, scanner: Scanner) -> None:
    if not scanner.has_token():
        raise SyntaxProblem("Expected token", scanner.pos)
    words = [scanner.word()]
    while len(words) < 4 and scanner.has_token():
        words.append(scanner.word())
    name = words[1] if len(words) in (2, 4) else None
    key, value = (words[-2], words[-1]) if len(words) > 2 else (None, None)
    draft.add("cgroups", [(words[0], name, key, value)])
    scanner.end_line()


STANZAS: dict[str, Handler] = {
    "instance": _text("instance", share=True),
    "description": _text("description"),
    "author": _text("author", share=True),
    "version": _text("version", share=True),
    "usage": _text("usage"),
    "env": _env,
    "export": _words("export"),
    "start": _on("start_on"),
    "stop": _on("stop_on"),
    "emits": _words("emits"),
    "manual": _manual,
    "exec": _exec,
    "script": _script,
    "pre-start": _process("pre-start"),
    "post-start": _process("post-start"),
    "pre-stop": _process("pre-stop"),
    "post-stop": _process("post-stop"),
    "expect": _choice("expect", frozenset({"none", "stop", "daemon", "fork"})),
    "task": _task,
    "kill": _kill,
    "reload": _reload,
    "respawn": _respawn,
    "normal": _normal,
    "console": _choice("console", frozenset({"none", "log", "output", "owner"})),
    "umask": _umask,
    "nice": _nice,
    "oom": _oom,
    "limit": _limit,
    "chroot": _text("chroot", share=True),
    "chdir": _text("chdir", share=True),
    "setuid": _text("setuid", share=True),
    "setgid": _text("setgid", share=True),
    "apparmor": _apparmor,
    "cgroup": _cgroup,
    "debug": _debug,
}
