"""The processes that are left at the end of a machine: each is asked to end, and killed when it does not.

What is always true here: PID 1, threads of the kernel, this process and its parents, and what is spared go on; so does
what root runs and calls itself by a name that begins with "@", as what a root file system stands on does.  Who was
asked is not asked again, and who was given up not waited for again.  Nothing is read that waits where the process does.
"""

from __future__ import annotations

# Not signal: that loads enum to give the numbers names.
import _signal as signal  # type: ignore[import-not-found]
import posix
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

PROC = "/proc"
#: Files of pids, and directories of such files, as initscripts' sendsigs has them.
OMIT_FILE, OMIT_DIRECTORY = "/run/sendsigs.omit", "/run/sendsigs.omit.d"
#: Seconds until those are killed that were asked, and until those are given up that were killed.
MERCY, PATIENCE = 6.0, 2.0
NAMED_AFTER = 2.0
#: Between two looks, which cost more where there is little else to do.
LOOK = 0.02
#: As many are named.
NAMED = 6
#: Whose processes are heeded when they ask to be spared.
ROOT = 0
_KERNEL_THREAD = 0x00200000


class Process:
    """A process that has not ended, by its stat(5)."""

    __slots__ = ("in_doubt", "name", "pid", "session", "started", "state", "terminal")

    def __init__(self, pid: int, name: str, fields: list[bytes]) -> None:
        self.pid = pid
        self.name = name
        self.state = fields[0].decode()
        self.session = int(fields[3])
        self.terminal = int(fields[4])
        #: Tells it from another of the same number.
        self.started = int(fields[19])
        #: Whether it may be one that is spared, which cannot be told for now.
        self.in_doubt = False

    @property
    def key(self) -> tuple[int, int]:
        """It, and no other."""
        return self.pid, self.started

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})" + (", which waits for a device" if self.state == "D" else "")


def spared() -> list[int]:
    """The pids of processes that are to outlive the others."""
    paths = [OMIT_FILE]
    try:
        paths += [f"{OMIT_DIRECTORY}/{name}" for name in posix.listdir(OMIT_DIRECTORY)]
    except OSError:
        pass
    pids = [int(word) for path in paths for word in _read(path, 4096).split() if word.isdigit()]
    return [pid for pid in pids if 0 < pid < 1 << 32]


def left(spare: Collection[int]) -> list[Process]:
    """Those that are to end; *spare* are pids of others, whose sessions are spared with them."""
    own = _parents()
    found = []
    for word in posix.listdir(PROC):
        if not word.isdigit() or int(word) in own or int(word) in spare:
            continue
        text = _read(f"{PROC}/{word}/stat", 4096)
        before, _, after = text.rpartition(b")")
        fields = after.split()
        if len(fields) < 20 or fields[0] in b"ZX" or int(fields[6]) & _KERNEL_THREAD:
            continue
        process = Process(int(word), before.partition(b"(")[2].decode(errors="replace"), fields)
        if process.session in spare:
            continue
        if _is_roots(word):
            # Its memory, where that name is, may be what it waits for.
            process.in_doubt = process.state == "D"
            if not process.in_doubt and _read(f"{PROC}/{word}/cmdline", 1) == b"@":
                continue
        found.append(process)
    return found


class Ending:
    """Ends what is left; *say* gets a line about what takes long."""

    __slots__ = ("_asked", "_doubtful", "_given_up", "_say")

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._asked: set[tuple[int, int]] = set()
        #: Whom SIGKILL has not ended in time.
        self._given_up: set[tuple[int, int]] = set()
        #: Of whom it could not be told at any look so far whether they are spared.
        self._doubtful: set[tuple[int, int]] | None = None

    def end(self, spare: Callable[[], Collection[int]]) -> bool:
        """Whether all have ended; *spare* is asked for the pids of those that go on."""
        self._doubtful = None
        return self._wait(spare, False, MERCY) or self._wait(spare, True, PATIENCE)

    def _wait(self, spare: Callable[[], Collection[int]], killed: bool, most: float) -> bool:
        began = time.monotonic()
        named = NAMED_AFTER
        pause = LOOK
        while processes := left(spare()):
            if self._given_up.issuperset(each.key for each in processes):
                return False
            doubtful = {each.key for each in processes if each.in_doubt}
            self._doubtful = doubtful if self._doubtful is None else doubtful & self._doubtful
            for each in processes:
                (self._kill if killed else self._ask)(each)
            passed = time.monotonic() - began
            if passed >= most:
                if killed:
                    self._given_up.update(each.key for each in processes)
                    self._say(f"Processes that do not end: {_listed(processes)}")
                return False
            if passed >= named and not killed:
                named += NAMED_AFTER
                self._say(f"Waiting for processes to end, for {most - passed:.0f} seconds more: {_listed(processes)}")
            time.sleep(pause)
            pause = min(2 * pause, 5 * LOOK)
        return True

    def _ask(self, process: Process) -> None:
        if process.in_doubt:
            return
        if process.key in self._asked:
            if process.terminal:
                # A shell that has looked for the signal just before it came, and waits for a key, looks again; all
                # others do as little about this one as they please.
                _send(process.pid, signal.SIGWINCH)
            return
        self._asked.add(process.key)
        _send(process.pid, signal.SIGTERM)
        if process.terminal:
            # A shell does not heed the other.
            _send(process.pid, signal.SIGHUP)
        _send(process.pid, signal.SIGCONT)

    def _kill(self, process: Process) -> None:
        # What has waited for a device all the time is nothing that anything else stands on, or it is lost anyway.
        if not process.in_doubt or process.key in (self._doubtful or ()):
            _send(process.pid, signal.SIGKILL)


def _is_roots(pid: str) -> bool:
    """Whether root runs it; not who has a program run that becomes root."""
    for line in _read(f"{PROC}/{pid}/status", 4096).split(b"\n"):
        if line.startswith(b"Uid:"):
            return all(int(word) == ROOT for word in line.split()[1:])
    return False


def _send(pid: int, number: int) -> None:
    try:
        posix.kill(pid, number)
    except OSError:
        pass


def _listed(processes: list[Process]) -> str:
    words = [str(each) for each in processes[:NAMED]]
    if len(processes) > NAMED:
        words.append(f"{len(processes) - NAMED} more")
    return ", ".join(words)


def _parents() -> set[int]:
    """This process and those above it, init among them."""
    found = {1}
    pid = posix.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        fields = _read(f"{PROC}/{pid}/stat", 4096).rpartition(b")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0
    return found


def _read(path: str, most: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except OSError:
        return b""
