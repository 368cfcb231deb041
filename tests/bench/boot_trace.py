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

#: What runs rcS.d where Upstart is the init, and the jobs that it calls on, in their order, which share one program.
OUR_RUNNER = "/libexec/upstart/rcS"
MOUNT_JOBS = ("mountkernfs.sh", "mountdevsubfs.sh", "checkroot.sh", "mountall.sh")

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
    """The boot of an init that has startpar, or our rcS, run the scripts of rcS, and startpar those of its runlevel; []
    for another one."""
    executed = next((moment for moment, path in found[1].programs if path.endswith("/init")), 0.0)
    children: dict[int, list[Span]] = {}
    for span in found.values():
        children.setdefault(span.parent, []).append(span)

    def processes(span: Span) -> int:
        return 1 + sum(map(processes, children.get(span.pid, ())))

    def length(span: Span) -> float:
        return (span.end or span.begin) - span.begin

    runners = [
        span for span in found.values()
        if (_is(span, "startpar") and _is(found.get(span.parent), "rc")) or span.programs[-1][1].endswith(OUR_RUNNER)
    ]  # fmt: skip
    if len(runners) < 2:
        return []
    first, second = sorted(runners, key=lambda span: span.begin)[:2]
    top = first
    while top.parent != 1 and top.parent in found:
        top = found[top.parent]
    login = min((moment for span in found.values() for moment, path in span.programs if path.endswith("getty")),
                default=second.begin + length(second))
    first_end, second_end = first.begin + length(first), second.begin + length(second)

    jobs = dict(zip((span.pid for span in children.get(1, ()) if _is(span, "boot-mounts")), MOUNT_JOBS, strict=False))

    def outside(begin: float, end: float) -> int:
        scripts = {span.pid for runner in (first, second) for span in children.get(runner.pid, ())}
        return sum(begin <= span.begin < end and span.pid not in scripts for span in found.values())

    result = [
        Step("init's own start", 0.0, top.begin - executed, 0),
        Step(
            "before the scripts of rcS",
            top.begin - executed,
            first.begin - top.begin,
            outside(top.begin, first.begin),
        ),
    ]
    for runner, name in ((first, "rcS"), (second, "rc 2")):
        inside = processes(runner) - 1 + sum(processes(found[pid]) for pid in jobs if runner is first)
        result.append(Step(f"{name}, all scripts", runner.begin - executed, length(runner), inside))
        own = [found[pid] for pid in jobs] if runner is first else []
        for span in sorted((*children.get(runner.pid, ()), *own), key=lambda span: span.begin):
            scripts = [path.rpartition("/")[2] for _, path in span.programs if "/init.d/" in path]
            script = jobs.get(span.pid, next(iter(scripts), None))
            if script is not None:
                result.append(Step(f"- {script}", span.begin - executed, length(span), processes(span)))
        if runner is first:
            gap = second.begin - first_end
            result.append(Step("from rcS to rc 2", first_end - executed, gap, outside(first_end, second.begin)))
    result.append(Step("from rc 2 to getty", second_end - executed, login - second_end, outside(second_end, login)))
    result.append(Step("together", 0.0, login - executed, sum(executed <= s.begin < login for s in found.values())))
    return result
