"""Where the time of a boot goes: every process from its fork to its end, as the kernel's own tracing saw them.

The machine records forks, execs and ends from the first on (`APPEND` on its command line); `spans` reads that record
after the login.
"""

from __future__ import annotations

import re

import machine

EVENTS = ("sched_process_fork", "sched_process_exec", "sched_process_exit")
APPEND = "trace_buf_size=8M trace_event=" + ",".join(f"sched:{name}" for name in EVENTS)
READ = (
    "mount -t tracefs none /mnt && sed -n"
    r" 's/^.* \([0-9.]*\): sched_process_\(fork\|exec\|exit\): /\2 \1 /p' /mnt/trace; umount /mnt"
)

_FORK = re.compile(r"fork (\S+) comm=(.*) pid=(\d+) child_comm=(.*) child_pid=(\d+)")
_EXEC = re.compile(r"exec (\S+) filename=(.*) pid=(\d+) old_pid=")
_EXIT = re.compile(r"exit (\S+) comm=(.*) pid=(\d+) prio=")


class Span:
    """A process: the programs it was, its parent, and its beginning and end in seconds of the kernel's clock."""

    def __init__(self, pid: int, parent: int, begin: float, name: str) -> None:
        self.pid = pid
        self.parent = parent
        self.begin = begin
        self.programs: list[tuple[float, str]] = [(begin, name)]
        self.end: float | None = None


def spans(vm: machine.Machine, seconds: float) -> dict[int, Span]:
    """All processes of the boot by their ids."""
    return parse(vm.command(READ, seconds))


def parse(text: str) -> dict[int, Span]:
    found: dict[int, Span] = {1: Span(1, 0, 0.0, "kernel")}
    for line in text.splitlines():
        if match := _FORK.match(line):
            pid = int(match[5])
            found[pid] = Span(pid, int(match[3]), float(match[1]), match[4])
        elif match := _EXEC.match(line):
            if int(match[3]) in found:
                found[int(match[3])].programs.append((float(match[1]), match[2]))
        elif match := _EXIT.match(line):
            if int(match[3]) in found:
                found[int(match[3])].end = float(match[1])
    return found


class Step:
    """A part of the boot: what it is, seconds from the exec of init to its beginning, its length, its processes."""

    def __init__(self, name: str, begin: float, length: float, processes: int) -> None:
        self.name = name
        self.begin = begin
        self.length = length
        self.processes = processes


def _is(span: Span | None, program: str) -> bool:
    return span is not None and any(path.rpartition("/")[2] == program for _, path in span.programs[1:])


def steps(found: dict[int, Span]) -> list[Step]:
    """What the boot is made of, up to the first login: the scripts of rcS and those of its runlevel where startpar runs
    them, else what init itself started; [] for a boot without a login."""
    executed = next((moment for moment, path in found[1].programs if path.endswith("/init")), 0.0)
    children: dict[int, list[Span]] = {}
    for span in found.values():
        children.setdefault(span.parent, []).append(span)
    logins = (moment for span in found.values() for moment, path in span.programs if path.endswith("getty"))
    login = min(logins, default=None)
    if login is None:
        return []
    boot = _Boot(found, children, executed, login)
    runners = sorted(
        (span for span in found.values() if _is(span, "startpar") and _is(found.get(span.parent), "rc")),
        key=lambda span: span.begin,
    )
    return [*(boot.by_scripts(*runners[:2]) if len(runners) >= 2 else boot.by_children_of_init()), boot.together()]


class _Boot:
    """A boot's processes, the exec of init and that of the first login, in seconds of the kernel's clock."""

    def __init__(self, found: dict[int, Span], children: dict[int, list[Span]], executed: float, login: float) -> None:
        self.found = found
        self.children = children
        self.executed = executed
        self.login = login

    def together(self) -> Step:
        begun = sum(self.executed <= span.begin < self.login for span in self.found.values())
        return Step("together", 0.0, self.login - self.executed, begun)

    def by_children_of_init(self) -> list[Step]:
        """A step for each that init started before the login, and for the time until there was one."""
        begun = sorted(
            (span for span in self.children.get(1, ()) if self.executed <= span.begin < self.login),
            key=lambda span: span.begin,
        )
        first = begun[0].begin if begun else self.login
        result = [Step("init's own start", 0.0, first - self.executed, 0)]
        count: dict[str, int] = {}
        for span in begun:
            name = span.programs[-1][1].rpartition("/")[2]
            count[name] = count.get(name, 0) + 1
            result.append(self._step(span, name if count[name] == 1 else f"{name} ({count[name]})"))
        return result

    def by_scripts(self, first: Span, second: Span) -> list[Step]:
        """A step for each script that the two startpars ran, and for what lies around them."""
        top = first
        while top.parent != 1 and top.parent in self.found:
            top = self.found[top.parent]
        first_end, second_end = first.begin + self._length(first), second.begin + self._length(second)
        result = [
            Step("init's own start", 0.0, top.begin - self.executed, 0),
            Step(
                "before the scripts of rcS",
                top.begin - self.executed,
                first.begin - top.begin,
                self._outside(first, second, top.begin, first.begin),
            ),
            *self._scripts(first, "rcS"),
            Step(
                "from rcS to rc 2",
                first_end - self.executed,
                second.begin - first_end,
                self._outside(first, second, first_end, second.begin),
            ),
            *self._scripts(second, "rc 2"),
            Step(
                "from rc 2 to getty",
                second_end - self.executed,
                self.login - second_end,
                self._outside(first, second, second_end, self.login),
            ),
        ]
        return result

    def _scripts(self, runner: Span, name: str) -> list[Step]:
        whole = Step(
            f"{name}, all scripts", runner.begin - self.executed, self._length(runner), self._processes(runner) - 1
        )
        parts = []
        for span in sorted(self.children.get(runner.pid, ()), key=lambda span: span.begin):
            scripts = [path.rpartition("/")[2] for _, path in span.programs if "/init.d/" in path]
            if scripts:
                parts.append(self._step(span, scripts[0]))
        return [whole, *parts]

    def _step(self, span: Span, name: str) -> Step:
        return Step(f"- {name}", span.begin - self.executed, self._length(span), self._processes(span))

    def _outside(self, first: Span, second: Span, begin: float, end: float) -> int:
        """How many processes began in a time that are no script of either."""
        scripts = {span.pid for runner in (first, second) for span in self.children.get(runner.pid, ())}
        return sum(begin <= span.begin < end and span.pid not in scripts for span in self.found.values())

    def _processes(self, span: Span) -> int:
        return 1 + sum(map(self._processes, self.children.get(span.pid, ())))

    def _length(self, span: Span) -> float:
        """How long it ran; where it runs on, until the login."""
        return (self.login if span.end is None else span.end) - span.begin
