"""Whether what a job file says makes sense: what can be told from one file alone, `check_job`.

What is always true here: only what is sure is told.  Another job, an override or a program may always make up for what
one file lacks, so that an event, a job or a variable that is not known is no finding; what contradicts itself, or what
init(5) gives no meaning, is.
"""

from __future__ import annotations

import os

from upstart.base import glob
from upstart.base.emitters import NO_EVENTS
from upstart.base.glob import split_test
from upstart.base.slips import LIKELY, job_event_meant, nearest
from upstart.conf.jobclass import And, Match
from upstart.engine.condition import leaves
from upstart.tools import shelltext
from upstart.tools.eventtable import ELSEWHERE, JOB_EVENTS, RESULTS, RUNLEVELS, VARIABLES
from upstart.tools.eventwords import wrong_words
from upstart.tools.findings import Finding
from upstart.tools.knownevents import emitted_by, job_of, well_known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from upstart.conf.jobclass import Condition, JobClass
    from upstart.tools.jobtext import JobText, Stanza

#: Variables that init or the shell sets.
_GIVEN = frozenset((
    "PATH", "TERM", "PWD", "OLDPWD", "PPID", "IFS", "OPTIND", "OPTARG", "LINENO", "PS1", "PS2", "PS4", "RESULT",
    "PROCESS", "EXIT_STATUS", "EXIT_SIGNAL", "JOB", "INSTANCE", "MAINPID", "HOSTNAME", "UID", "EUID", "RANDOM",
    "SECONDS", "SHLVL", "SHELL", "BASH", "HOSTTYPE", "OSTYPE", "MACHTYPE", "GROUPS", "LISTEN_FDS", "LISTEN_PID",
))  # fmt: skip
#: Events that only the init of a system has: a job that starts on one is not started in a session.
_SYSTEM = ("runlevel", "filesystem", "local-filesystems", "virtual-filesystems", "net-device-up", "static-network-up")
#: What comes only when everything of its kind is mounted, and its job is the one that mounts.
_MOUNTED = ("filesystem", "local-filesystems", "remote-filesystems", "virtual-filesystems", "all-swaps", "mounted")
_VIRTUAL = ("/proc", "/sys", "/dev", "/run")
_LOCAL = ("/", "/tmp", "/var", "/usr", "/boot", "/var/tmp", "/var/log", "/var/run", "/var/lock", *_VIRTUAL)
#: Stanzas of which the last one counts, as they are called; and those of which it does for each second word.
_ONCE = {
    "start": "start on", "stop": "stop on", "exec": "exec or script", "script": "exec or script", "oom": "oom score",
} | {name: name for name in (
    "pre-start", "post-start", "pre-stop", "post-stop", "instance", "description", "author", "version", "usage",
    "expect", "console", "umask", "nice", "chroot", "chdir", "setuid", "setgid",
)}  # fmt: skip
_ONCE_EACH = ("kill", "reload", "respawn", "limit", "apparmor", "env")
CONDITIONS = (("start", "start on"), ("stop", "stop on"))


def conditions(job: JobClass) -> list[tuple[str, str, Condition]]:
    """The conditions that a job has, each with the word of its stanza and its whole name."""
    found = [("start", "start on", job.start_on), ("stop", "stop on", job.stop_on)]
    return [(word, title, condition) for word, title, condition in found if condition is not None]


def check_job(text: JobText, unknown_too: bool = True) -> Iterator[Finding]:
    """What is wrong with a valid job for sure; without ``unknown_too`` names of events are left to who knows more."""
    job = text.job
    if job is None:
        return
    if unknown_too:
        yield from _slips(text, job)
    yield from _impossible(text, job)
    yield from _words(text, job)
    yield from _held(text, job)
    yield from _twice(text)
    if text.is_override:
        return
    yield from _processes(text, job)
    yield from _variables(text, job)


# Events


def gone(name: str) -> Finding | None:
    """What to say of a name that is often written, and that nothing emits; without a line."""
    if name not in NO_EVENTS:
        return None
    return Finding("unknown-event", 0, f"no program of Debian or Ubuntu emits an event {name}", NO_EVENTS[name])


def _slips(text: JobText, job: JobClass) -> Iterator[Finding]:
    own = list(emitted_by(job))
    for word, title, condition in conditions(job):
        for name in dict.fromkeys(leaf.name for leaf in leaves(condition)):
            if any(glob.match(pattern, name) for pattern in own) or "$" in name:
                continue
            found = gone(name)
            if found is not None:
                yield Finding(
                    found.rule, text.line_in(word, name), f"{title} {name}: {found.text}", f"{title} {found.write}"
                )
            elif name not in ELSEWHERE and not well_known(name):
                like = nearest(name, VARIABLES) or nearest(name, JOB_EVENTS) or job_event_meant(name)
                if like:
                    yield Finding(
                        "unknown-event",
                        text.line_in(word, name),
                        f"{title} {name}: nothing is known to emit that, but {like} is an event",
                        f"{title} {like}",
                    )


def _impossible(text: JobText, job: JobClass) -> Iterator[Finding]:
    """Tests that no event of that name passes."""
    for word, title, condition in conditions(job):
        for leaf in leaves(condition):
            why, write = _never_matches(leaf, word == "start")
            if why:
                what = " ".join((leaf.name, *leaf.args))
                yield Finding(
                    "never",
                    text.line_in(word, leaf.name),
                    f"{title} {what}: {why}, so no event ever matches this",
                    f"{title} {write}" if write else "",
                )


def _words(text: JobText, job: JobClass) -> Iterator[Finding]:
    """What no bridge could bring about."""
    of_system = _starts_in_system(job) or "/etc/init/" in os.path.abspath(text.label)
    for word, title, condition in conditions(job):
        for leaf in leaves(condition):
            problem, about = wrong_words(job, word == "start", leaf, of_system)
            if problem and not (text.is_override and "instance" in problem):
                yield Finding("words", text.line_in(word, about), f"{title} {leaf.name}: {problem}")


def _never_matches(leaf: Match, starting: bool) -> tuple[str, str]:
    """Why no event passes the tests of a leaf, and what to write; empty where one may."""
    known = VARIABLES.get(leaf.name)
    for position, arg in enumerate(leaf.args):
        key, pattern, negated = split_test(arg)
        if starting and "$" in pattern:
            return f"there is no instance yet that {pattern} could be a variable of", ""
        if key is None and not position and known:
            key = known[0]
        if leaf.name in ("stopping", "stopped") and key == "RESULT" and not negated and "$" not in pattern:
            if not any(glob.match(pattern, result) for result in RESULTS):
                write = " ".join((leaf.name, *leaf.args[:position], "RESULT=failed")) if pattern[:1] in "fF" else ""
                return f"RESULT is {' or '.join(RESULTS)}", write
        if known is None or key is None:
            continue
        if key not in known:
            has = f"its variables are {', '.join(known)}" if known else "it has no variables"
            like = nearest(key, known, LIKELY)
            return (
                f"the event {leaf.name} has no {key} ({has})",
                f"{leaf.name} {arg.replace(key, like)}" if like else "",
            )
        if leaf.name == "runlevel" and key == "RUNLEVEL" and not negated and "$" not in pattern:
            if not any(glob.match(pattern, level) for level in RUNLEVELS):
                write = f"runlevel [{pattern}]" if pattern and set(pattern) <= set(RUNLEVELS) else ""
                return f"a runlevel is one character, and none matches {pattern}", write
    return "", ""


# An event that is held by a condition which waits for what cannot come meanwhile


def _held(text: JobText, job: JobClass) -> Iterator[Finding]:
    for word, title, condition in conditions(job):
        for holder, other in and_pairs(condition, _waits_for_ever):
            held, late = (" ".join((leaf.name, *leaf.args)) for leaf in (holder, other))
            yield Finding(
                "and-order",
                text.line_in(word, holder.name),
                f"{title} ... {held} and {late}: {holder.name} is held until both have come, and {late} cannot come"
                f" while it is held",
                f"{title} {late}",
            )


def and_pairs(
    condition: Condition, cannot_come: Callable[[Match, Condition], Match | None]
) -> Iterator[tuple[Match, Match]]:
    """Each event that an ``and`` holds for ever, and the one that cannot come meanwhile.

    ``cannot_come`` is asked with an event that is held and the other side of its ``and``, for the event of that side
    that cannot come, all of that side depending on it.
    """
    todo = [condition]
    while todo:
        node = todo.pop()
        if isinstance(node, Match):
            continue
        todo += (node.right, node.left)
        if isinstance(node, And):
            for side, other in ((node.left, node.right), (node.right, node.left)):
                for leaf in required(side):
                    late = cannot_come(leaf, other)
                    if late is not None:
                        yield leaf, late


def required(condition: Condition) -> Iterator[Match]:
    """The events that a condition needs whatever else comes."""
    todo = [condition]
    while todo:
        node = todo.pop()
        if isinstance(node, Match):
            yield node
        elif isinstance(node, And):
            todo += (node.right, node.left)


def needs(condition: Condition, late: Callable[[Match], bool]) -> Match | None:
    """An event of which ``late`` is true and without which, or without another such, the condition is not met."""
    if isinstance(condition, Match):
        return condition if late(condition) else None
    left, right = needs(condition.left, late), needs(condition.right, late)
    if isinstance(condition, And):
        return left or right
    return left if left is not None and right is not None else None


def _waits_for_ever(holder: Match, other: Condition) -> Match | None:
    return needs(other, lambda leaf: _comes_after(holder, leaf))


def _comes_after(holder: Match, leaf: Match) -> bool:
    """Whether an event comes only once the one that is held, which somebody waits for, has been let go of."""
    if holder.name in ("starting", "stopping"):
        job = job_of(holder)
        if job is None or len(holder.args) > 1:
            return False
        if job == "mountall" and holder.name == "starting":
            return leaf.name in _MOUNTED
        after = ("started", "stopping", "stopped") if holder.name == "starting" else ("stopped",)
        return leaf.name in after and job_of(leaf) == job
    if holder.name in ("mounting", "mounted"):
        tests = {key: value for key, value, negated in map(split_test, holder.args) if not negated}
        place = tests.get("MOUNTPOINT", "")
        if leaf.name == "mounted" and holder.name == "mounting":
            return bool(place) and glob.is_literal(place) and leaf.args == holder.args
        if leaf.name == "virtual-filesystems":
            return place in _VIRTUAL
        return leaf.name in ("filesystem", "local-filesystems") and place in _LOCAL
    return False


# Stanzas and processes


def _twice(text: JobText) -> Iterator[Finding]:
    groups: dict[str, list[Stanza]] = {}
    for stanza in text.stanzas:
        name = _single(text, stanza)
        if name:
            groups.setdefault(name, []).append(stanza)
    for name, found in groups.items():
        # Without a value it is that of init, which may have none.
        if name.startswith("env ") and "=" not in text.second(found[-1]):
            continue
        for stanza in found[:-1]:
            yield Finding(
                "twice",
                stanza.line,
                f"only the last {name} of a job counts, in line {found[-1].line}: this one does nothing",
                "one condition, with `or`" if name.endswith(" on") else "one stanza",
            )


def _single(text: JobText, stanza: Stanza) -> str:
    """What a stanza says as it can be said only once; empty where all that say it add up, or say the same."""
    name = stanza.name
    if name in _ONCE:
        return _ONCE[name]
    if name in _ONCE_EACH:
        second = text.second(stanza).partition("=")[0]
        # What respawn alone says nothing takes back.
        return "" if name == "respawn" and second != "limit" else f"{name} {second}"
    return ""


def _processes(text: JobText, job: JobClass) -> Iterator[Finding]:
    main = job.processes.get("main")
    if not job.respawn and text.all("respawn", "limit"):
        yield Finding(
            "respawn-limit",
            text.line("respawn", "limit"),
            "respawn limit alone does not have the job respawned",
            "respawn, in a line of its own" if main is not None else "",
        )
    if main is None:
        for name, given in (("expect", job.expect != "none"), ("respawn", job.respawn)):
            if given:
                yield Finding("no-process", text.line(name), f"{name} is about the main process, and the job has none")
        return
    if job.expect in ("fork", "daemon"):
        command = shelltext.last_command(main.command) if main.script else main.command
        program = shelltext.stays(command)
        if program:
            yield Finding(
                "expect",
                text.line("expect"),
                f"expect {job.expect}, but {program} stays in the foreground and never forks for that",
                "no expect stanza",
            )
    # One with a condition to stop may be there to hold what has started it until then.
    if job.task and job.stop_on is None:
        what = shelltext.never_ends(main.command, main.script)
        if what:
            yield Finding(
                "task",
                text.line("task"),
                f"{what} never ends, so the task is never done, and what started it waits for ever",
                "no task stanza",
            )


# Variables


def _variables(text: JobText, job: JobClass) -> Iterator[Finding]:
    """Variables that neither the job nor an event nor init sets."""
    given = given_variables(job, _known_variables)
    if given is None or "unset" in text.text or any(_opaque(job)):
        return
    for process, definition in job.processes.items():
        for name in dict.fromkeys(shelltext.references(definition.command)):
            if name in given or name in _GIVEN or name.startswith("UPSTART_") or shelltext.mentions(text.text, name):
                continue
            yield Finding(
                "unset-variable",
                text.line_in_process(process, rf"\$\{{?{name}\b"),
                f"nobody sets {name}: neither the job, nor an event that starts it, nor init",
                f"env {name}=VALUE",
            )


def _opaque(job: JobClass) -> Iterable[bool]:
    return (shelltext.is_opaque(definition.command) for definition in job.processes.values())


def _starts_in_system(job: JobClass) -> bool:
    """Whether a job starts on what only the init of a system has."""
    return job.start_on is not None and any(leaf.name in _SYSTEM for leaf in leaves(job.start_on))


def given_variables(job: JobClass, known: Callable[[Match], tuple[str, ...] | None]) -> set[str] | None:
    """The variables that a job of the system has from its events and stanzas; None where there may be any."""
    if not _starts_in_system(job):
        return None
    found = {entry.partition("=")[0] for entry in (*job.env, *job.export)}
    for _, _, condition in conditions(job):
        for leaf in leaves(condition):
            names = known(leaf)
            if names is None:
                return None
            found.update(names)
    return found


def _known_variables(leaf: Match) -> tuple[str, ...] | None:
    # What a job exports would be there too.
    return VARIABLES.get(leaf.name)
