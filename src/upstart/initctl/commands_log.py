"""log: what jobs have said, with the times at which they did; without a job all of a boot in order.

What is always true here: a time that is not known is not shown, but a hyphen in its place. Exit status 4 says that
there is neither such a job nor a log of one.
"""

from __future__ import annotations

import os
import select

from upstart.base.errors import ClientError, UsageError
from upstart.initctl import logfiles, processfacts
from upstart.initctl.context import UNKNOWN, Context
from upstart.initctl.kernellog import PATH as KMSG
from upstart.initctl.kernellog import KernelLog
from upstart.initctl.logfiles import Line, Reader, Source
from upstart.initctl.logfollow import Follower
from upstart.initctl.places import Places, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Lines that are shown first where more are waited for, unless a number is given.
FIRST = 10
#: Lines that are written in one go.
_BATCH = 500


def log(context: Context) -> int:
    """log [JOB [INSTANCE]]. Raises ClientError."""
    import _signal  # type: ignore[import-not-found]

    # Whoever reads what is written may have seen enough.
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    settings = context.settings
    if len(context.args) > 2:
        raise UsageError("too many arguments")
    places = find(context)
    if places.logdir is None:
        raise ClientError("There is no directory for logs: HOME is not set")
    whole = not context.args
    since = 0.0
    if settings.since is not None:
        from upstart.initctl.when import moment

        since = moment(settings.since)
    boot = settings.boot or (whole and settings.since is None)
    if boot:
        since = max(since, _began(places))
    _check_readable(places.logdir)
    readers = _readers(context, places)
    if not whole and not readers:
        raise ClientError(f"Unknown job, and no log of one: {' '.join(context.args)}").with_status(UNKNOWN)
    kernel = _kernel(context) if whole and not places.session else None
    count = _count(context)
    printer = _Printer(context, labelled=whole or len(readers) > 1)
    follower = Follower(readers) if settings.follow else None
    printer.write(_chosen(readers, kernel, count, since, boot))
    if follower is not None:
        _follow(context, printer, follower, kernel, places if whole else None)
    return 0


def _check_readable(logdir: str) -> None:
    """That the logs may be read; who does not belong to their group is told so. Raises ClientError."""
    if not os.path.isdir(logdir) or os.access(logdir, os.R_OK | os.X_OK):
        return
    import grp

    try:
        group = grp.getgrgid(os.stat(logdir).st_gid).gr_name
    except (KeyError, OSError):
        group = "root"
    raise ClientError(f"You may not read logs: {logdir} is for root and the group {group}")


def _began(places: Places) -> float:
    """When the boot began, or the session, or the container: with its init."""
    moment = processfacts.started(places.pid or 1)
    return processfacts.to_wall(moment) if moment is not None else 0.0


def _count(context: Context) -> int | None:
    """How many lines are wanted; None for all."""
    text = context.settings.lines
    if text is None:
        return FIRST if context.settings.follow else None
    if not text.isdecimal():
        raise UsageError(f"not a number of lines: {text}")
    return int(text)


def _readers(context: Context, places: Places) -> list[Reader]:
    """Who reads the logs that are asked for: of all jobs, of the instances of one, or of one instance."""
    assert places.logdir is not None
    found = []
    if len(context.args) == 2:
        job, instance = context.args
        path = places.log(job, instance)
        known = {job: {instance}} if path is not None and logfiles.files(path) else {}
    else:
        known = _instances(context)
    for name in logfiles.names(places.logdir):
        source = _source(name, known)
        said = [source.job, source.instance][: len(context.args)]
        if said == context.args or [name] == [arg.replace("/", "_") for arg in context.args]:
            found.append(Reader(f"{places.logdir}/{name}{logfiles.ENDING}", source, context.error))
    if not found and context.args:
        job, *instances = context.args
        if instances:
            known = _instances(context)
        if job in known and known[job].issuperset(instances):
            # It has said nothing so far.
            found.append(Reader(places.log(*context.args) or "", Source("job", *context.args), context.error))
    return found


def _instances(context: Context) -> dict[str, set[str]]:
    """The jobs that there are, with their instances; none where init cannot be asked."""
    known: dict[str, set[str]] = {}
    try:
        for status in context.open().all_status():
            known.setdefault(str(status.job), set()).add(str(status.instance))
    except ClientError:
        pass
    return known


def _source(name: str, known: dict[str, set[str]]) -> Source:
    """The job and instance that a log's name is made of: of several jobs that may be, the one of the longest name."""
    for job in sorted(known, key=len, reverse=True):
        as_name = job.replace("/", "_")
        if name == as_name:
            return Source("job", job)
        if name.startswith(as_name + "-"):
            rest = name[len(as_name) + 1 :]
            return Source("job", job, next((each for each in known[job] if each.replace("/", "_") == rest), rest))
    return Source("job", name)


def _kernel(context: Context) -> KernelLog | None:
    try:
        return KernelLog()
    except OSError as error:
        context.error(f"{KMSG}: {error.strerror}; messages of the kernel and of init are missing")
        return None


def _chosen(
    readers: list[Reader], kernel: KernelLog | None, count: int | None, since: float, boot: bool
) -> Iterable[Line]:
    """The lines that are wanted of what there is now."""
    import heapq

    if count is not None:
        streams: list[Iterable[Line]] = [reader.last(count, since, boot) for reader in readers]
    else:
        streams = [reader.lines(since, boot) for reader in readers]
    if kernel is not None:
        streams.append(kernel.lines(since))
    merged: Iterator[Line] = heapq.merge(*streams, key=lambda line: line.place)
    if count is None:
        return merged
    from collections import deque

    return deque(merged, maxlen=count)


def _follow(
    context: Context, printer: _Printer, follower: Follower, kernel: KernelLog | None, places: Places | None
) -> None:
    """Show what comes, until somebody ends us; with ``places`` also of logs that are begun there meanwhile."""
    poll = select.poll()
    if kernel is not None:
        poll.register(kernel.fd, select.POLLIN)
    if follower.fd >= 0:
        poll.register(follower.fd, select.POLLIN)
    while True:
        poll.poll(follower.patience * 1000)
        if places is not None:
            follower.add(each for each in _readers(context, places) if each.path not in follower.paths)
        lines = follower.lines()
        if kernel is not None:
            lines += kernel.lines()
        printer.write(sorted(lines, key=lambda line: line.place))


class _Printer:
    """Writes lines, with who said each where they are ``labelled``."""

    __slots__ = ("_context", "_labelled")

    def __init__(self, context: Context, labelled: bool) -> None:
        self._context = context
        self._labelled = labelled

    def write(self, lines: Iterable[Line]) -> None:
        """Write them, the first of many before the last is known."""
        for number, line in enumerate(lines, 1):
            self._line(line)
            if number % _BATCH == 0:
                self._context.flush()
        self._context.flush()

    def _line(self, line: Line) -> None:
        context, source = self._context, line.source
        if context.settings.json:
            import json

            instance = source.instance if source.kind == "job" else None
            shown = {"time": line.time, "source": source.kind, "job": source.job or None, "instance": instance}
            shown["text"] = line.text
            context.write(json.dumps(shown) + "\n")
            return
        label = context.coloured(f"{source.label}:", "36") + " " if self._labelled else ""
        context.write(f"{context.coloured(_clock(line.time), '2')} {label}{context.plain(line.text)}\n")


def _clock(moment: float | None) -> str:
    import time

    if moment is None:
        return "-".ljust(23)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) + f".{int(moment % 1 * 1000):03}"
