"""Helpers that append to the logs of jobs, so that no file system can hold init.

What is always true here: init hands a piece of a log to whichever helper is free, through a socket that takes it or
does not, and keeps it until a helper says how much of it is in the file.  Of one log only one piece is under way.  A
helper that does not come back is left alone with what it is at, for it may yet do it, and another is started; nothing
more goes to the path that holds it, nor to its directory once a second path in it does not answer, until that answers.
Before a helper writes it notes where; so when it dies, its successor knows what it had written.  There is none before
the first output, and none after a while without.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import time

from upstart.base.closing import close
from upstart.base.logfile import FILE_CAP
from upstart.base.loop import READ
from upstart.process import helper
from upstart.process.logserver import ANSWER, MARK, NAME, NOTE, REQUEST, TOLD_TO_END, execute, serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from upstart.base.loop import Loop
    from upstart.process.log import LogFile
else:
    # Without the enumerations of the signal module, whose conversions cost more than the system calls.
    import _signal as signal

#: Helpers at most: some that hang, and one that works.
MOST = 6
#: Seconds: until a helper counts as hanging, and between two looks whether one does.
PATIENCE = 1.5
LOOK = 0.5
#: Seconds without output until a helper ends; and after all were told to end, as when the system goes down.
IDLE = 10.0
IDLE_AT_THE_END = 0.2
#: Seconds between a helper that ended at once, or could not be started, and the next.
PAUSE = 1.0

_NOWHERE = (0, 0, -1)
#: Bytes of requests that the socket takes, and of a path that no file system takes.
_ROOM = 1 << 19
_LONGEST_PATH = 4096


class _Helper:
    """One of them, seen from init: ``at`` is what it was last seen at, ``since`` when it was first seen there."""

    __slots__ = ("at", "hangs", "pid", "since", "started", "watch")

    def __init__(self, pid: int, watch: int) -> None:
        self.pid = pid
        self.watch = watch
        self.at = 0
        self.since = self.started = time.monotonic()
        self.hangs = False


class Writers:
    """The helpers of one init; ``cap`` as for `append`."""

    __slots__ = (
        "_backlog", "_cap", "_helpers", "_holding", "_idle", "_loop", "_not_before", "_notes", "_ours", "_serial",
        "_small", "_stalled", "_theirs", "_timer", "_under_way", "_waiting", "_warn", "_warned", "_watch",
    )  # fmt: skip

    def __init__(self, loop: Loop, warn: Callable[[str], None], cap: int = FILE_CAP) -> None:
        self._loop = loop
        self._warn = warn
        self._warned = False
        self._cap = cap
        #: The ends of the socket, what helpers note, and the watch of our end; there while there are helpers.
        self._ours: _socket.socket | None = None
        self._theirs: _socket.socket | None = None
        self._notes = -1
        self._watch = -1
        #: By the place of their notes.
        self._helpers: dict[int, _Helper] = {}
        self._serial = 0
        #: What helpers have: by serial, the oldest first.
        self._under_way: dict[int, LogFile] = {}
        #: Those that no helper had begun at the last look.
        self._waiting: set[int] = set()
        #: What the socket did not take, with where its last writer was; and what is in a directory that hangs.
        self._backlog: dict[LogFile, tuple[int, int, int]] = {}
        self._stalled: dict[LogFile, None] = {}
        self._timer = -1
        self._holding = False
        #: Helpers that live on become small programs, as long as what these are made of is there.
        self._small = True
        self._idle = IDLE
        self._not_before = 0.0

    # What is to be written

    def submit(self, file: LogFile) -> None:
        """Have the piece of a log appended; `LogFile.written` or `LogFile.hangs` tells."""
        if len(os.fsencode(file.path)) >= _LONGEST_PATH:
            file.written(0, errno.ENAMETOOLONG)
            return
        if self._stalled or any(each.hangs for each in self._helpers.values()):
            if self._hangs_at(os.path.dirname(file.path)) > 1:
                self._stalled[file] = None
                file.hangs()
                return
        self._backlog[file] = _NOWHERE
        self._send_backlog()

    def _held(self) -> list[int]:
        """The serials of what helpers hang at."""
        return [each.at for each in self._helpers.values() if each.hangs and each.at in self._under_way]

    def _hangs_at(self, directory: str) -> int:
        return sum(os.path.dirname(self._under_way[serial].path) == directory for serial in self._held())

    def _send_backlog(self) -> None:
        if self._holding:
            return
        self._look_later()
        if not self._have_helper():
            # Jobs do not wait for what keeps it from starting.
            for file in list(self._backlog):
                file.hangs(False)
            return
        assert self._ours is not None
        for file, last in list(self._backlog.items()):
            path, root = os.fsencode(file.path), os.fsencode(file.root or "")
            marks = [MARK.pack(*mark) for mark in file.marks()]
            head = REQUEST.pack(self._serial + 1, *last, len(path), len(root), len(marks))
            try:
                self._ours.sendmsg((head, path, root, b"".join(marks), file.piece()))
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                # No memory for it now.
                break
            self._serial += 1
            self._under_way[self._serial] = file
            del self._backlog[file]

    def _answered(self, _events: int) -> None:
        self._take_answers()
        if self._backlog:
            self._send_backlog()

    def _take_answers(self) -> None:
        ours = self._ours
        while ours is not None:
            try:
                data = ours.recv(ANSWER.size)
            except OSError:
                return
            if len(data) < ANSWER.size:
                return
            serial, count, error = ANSWER.unpack(data)
            file = self._under_way.pop(serial, None)
            for each in self._helpers.values():
                if each.hangs and each.at == serial:
                    each.hangs = False
                    each.since = time.monotonic()
                    self._go_on()
            if file is not None:
                file.written(count, error)

    def _go_on(self) -> None:
        """Something that hung has answered: try the rest."""
        for file in self._stalled:
            self._backlog[file] = _NOWHERE
        self._stalled.clear()

    # Helpers

    def _have_helper(self) -> bool:
        """See that there is a helper that works; whether there is."""
        if any(not each.hangs for each in self._helpers.values()):
            return True
        if len(self._helpers) >= MOST or time.monotonic() < self._not_before:
            return False
        try:
            self._start()
        except OSError as error:
            self._not_before = time.monotonic() + PAUSE
            if not self._helpers:
                self._close()
            if not self._warned:
                self._warned = True
                self._warn(f"Unable to start a writer of logs: {error.strerror}")
            return False
        return True

    def _start(self) -> None:
        if self._ours is None:
            ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
            self._ours, self._theirs = _socket.socket(fileno=ours.detach()), _socket.socket(fileno=theirs.detach())
            self._ours.setblocking(False)
            self._ours.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, _ROOM)
            self._notes = os.memfd_create("init-log-notes")
            self._watch = self._loop.add_fd(self._ours.fileno(), READ, self._answered)
        assert self._theirs is not None
        place = next(number for number in range(MOST) if number not in self._helpers)
        os.pwrite(self._notes, bytes(NOTE.size), place * NOTE.size)
        socket, notes, idle, cap, small = self._theirs, self._notes, self._idle, self._cap, self._small

        def settle() -> None:
            execute(socket.fileno(), notes, place, idle, cap)

        def work() -> None:
            serve(socket, notes, place, idle, cap, helper.SETTLED, settle if small else None)

        pid = helper.start(NAME, (socket.fileno(), notes), work)
        process = os.pidfd_open(pid)
        watch = self._loop.add_fd(process, READ, lambda events: self._ended(place, process))
        self._helpers[place] = _Helper(pid, watch)

    def _note(self, place: int) -> tuple[int, tuple[int, int, int]]:
        """What a helper was last at, and where; where a limit of the size of files has cut that short, as much as there
        is."""
        note = os.pread(self._notes, NOTE.size, place * NOTE.size).ljust(NOTE.size, b"\0")
        serial, device, inode, size = NOTE.unpack(note)
        return serial, (device, inode, size)

    def _ended(self, place: int, process: int) -> None:
        """A helper has ended: what it had taken is for another."""
        each = self._helpers.pop(place)
        self._loop.remove(each.watch)
        close(process)
        self._take_answers()
        serial, where = self._note(place)
        if serial == TOLD_TO_END:
            self._idle = IDLE_AT_THE_END
        elif not serial:
            self._small = False
        elif time.monotonic() - each.started < PAUSE:
            self._not_before = time.monotonic() + PAUSE
        if serial in self._under_way:
            self._backlog[self._under_way.pop(serial)] = where
        if each.hangs:
            self._go_on()
        if self._backlog or self._under_way:
            self._send_backlog()
        elif not self._helpers:
            self._close()

    def _look_later(self) -> None:
        if self._timer < 0:
            self._timer = self._loop.call_later(LOOK, self._look)

    def _look(self) -> None:
        """See which helpers hang, as long as there is anything to do."""
        self._timer = -1
        if not (self._under_way or self._backlog):
            return
        now = time.monotonic()
        notes = {place: self._note(place)[0] for place in self._helpers}
        waiting = self._under_way.keys() - notes.values()
        self._find_lost(waiting)
        for place, each in self._helpers.items():
            serial = notes[place]
            if serial != each.at or not (waiting or serial in self._under_way):
                each.at, each.since, each.hangs = serial, now, False
            elif not each.hangs and now - each.since >= PATIENCE:
                each.hangs = True
                if not serial:
                    self._small = False
                if serial in self._under_way:
                    self._under_way[serial].hangs()
        self._stall()
        if waiting or self._backlog:
            self._send_backlog()
        self._look_later()

    def _find_lost(self, waiting: set[int]) -> None:
        """Send again what nobody has: a helper took it, and ended before it could note that."""
        lost = waiting & self._waiting
        self._waiting = waiting
        if lost and self._theirs is not None:
            try:
                self._theirs.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
            except BlockingIOError:
                for serial in lost:
                    self._backlog[self._under_way.pop(serial)] = _NOWHERE

    def _stall(self) -> None:
        """What is only to wait for a directory that hangs is not waited for."""
        for file in list(self._backlog):
            if self._hangs_at(os.path.dirname(file.path)) > 1:
                del self._backlog[file]
                self._stalled[file] = None
                file.hangs()

    # The end

    def hold(self, seconds: float) -> None:
        """Have no helper write any more, for what is not written is for the next program to write.

        What is being written is waited for, for so long at most.
        """
        self._holding = True
        self._wait(seconds)
        for each in self._helpers.values():
            try:
                os.kill(each.pid, signal.SIGKILL)
            except OSError:
                pass

    def resume(self) -> None:
        """There is no next program: go on."""
        self._holding = False
        if self._backlog:
            self._send_backlog()

    def finish(self, seconds: float) -> None:
        """Have everything written, for so long at most, and end the helpers."""
        self._wait(seconds)
        self.hold(0)
        self._loop.remove(self._timer)
        self._close()

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        poll = select.poll()
        if self._ours is not None:
            poll.register(self._ours.fileno(), select.POLLIN)
        while len(self._under_way) > len(self._held()) and (left := deadline - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self._answered(0)

    def _close(self) -> None:
        self._loop.remove(self._watch)
        for end in (self._ours, self._theirs):
            if end is not None:
                end.close()
        self._ours = self._theirs = None
        if self._notes >= 0:
            close(self._notes)
            self._notes = -1
