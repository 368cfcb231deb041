"""What is seen of a job's processes at one moment, for `upstart.process.follow` to decide from.

What is always true here: what runs is told by its program and its command line, never by the name in comm, which is
that of a script where an interpreter runs one.
"""

from __future__ import annotations

from upstart.process.procfs import command, in_background, is_shell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from upstart.process.procfs import ProcInfo


class Sight:
    """What was seen at one moment: the job's processes without the one followed, oldest first.

    ``shell``: the main process is a shell.  ``background``: those that a shell started with ``&``.  ``launched``:
    the one that runs just what the command line of the main process, a launcher, says.  ``dying``: something that may
    be the job's is on its way out, and may leave a daemon.  ``lag``: seconds that one of them, or the main process, has
    waited for a processor, the most of all.
    """

    __slots__ = ("background", "dying", "lag", "launched", "processes", "shell")

    def __init__(
        self,
        processes: list[ProcInfo],
        shell: bool = False,
        background: Collection[int] = (),
        launched: Collection[int] = (),
        dying: bool = False,
        lag: float = 0.0,
    ) -> None:
        self.processes = processes
        self.shell = shell
        self.background = background
        self.launched = launched
        self.dying = dying
        self.lag = lag


def see(main: int, processes: list[ProcInfo], lag: float = 0.0) -> Sight:
    """Look at what a living main process has started."""
    launched = _launched(main, processes)
    if is_shell(main):
        return Sight(processes, True, {info.pid for info in processes if in_background(info.pid)}, launched, lag=lag)
    return Sight(processes, False, (), launched, lag=lag)


def _launched(main: int, processes: list[ProcInfo]) -> list[int]:
    """The process that launchers run, each of which waits for the next: in a list, empty if ``main`` is no launcher."""
    found: list[int] = []
    pid, line = main, command(main)
    while True:
        children = [info for info in processes if info.ppid == pid]
        words = command(children[0].pid) if len(children) == 1 and not children[0].forked else []
        if not words or not _runs(line, words):
            return found
        pid, line = children[0].pid, words
        found = [pid]


def _runs(line: list[bytes], words: list[bytes]) -> bool:
    """Whether a command line says to run ``words``: as its last words (sudo, timeout), or as one of them, as it is or
    by a shell (su, sh)."""
    if len(words) < len(line) and line[-len(words) :] == words:
        return True
    text = words[-1] if len(words) == 3 and words[1] == b"-c" else b" ".join(words)
    return text in line[1:]
