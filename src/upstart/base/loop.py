"""The main loop: descriptors, timers and signals, one callback after the other, in one thread.

What is always true here: nothing but `Loop.run` waits, and it waits only in epoll(7).  An exception of a callback
never ends the loop; it goes to ``Loop.fault`` and the next callback runs, even where telling of it fails as well.  A
turn in which something failed is followed by a pause, so that what fails every time costs little, and everybody else is
still served.  A signal is never lost: the handler notes its number, and the wake-up pipe only cuts the wait short.  A
descriptor or timer that was removed is not called any more, not even when it was ready in the same turn.  One that was
closed before it was removed, where another process has it open, neither keeps the loop awake nor is taken for who gets
its number.

The loop itself needs no memory to go on: what is to be called is called before it is forgotten.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from heapq import heapify, heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable
else:
    # The public module wraps this one in enumerations, which cost PID 1 more than all that it does with signals.
    import _signal as signal

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
#: Reported whether asked for or not.
HANGUP = select.EPOLLHUP | select.EPOLLERR
#: Whatever it is, it is reported once, until the descriptor is modified.
ONCE = select.EPOLLONESHOT

#: Ready descriptors taken from the kernel in one turn; the rest is found in the next.
BATCH = 64
#: Cancelled timers left in the heap before it is rebuilt.
STALE_TIMERS = 256
#: Seconds of the longest wait: epoll(7) counts milliseconds in an int, and a timer may be due in a million years.
LONGEST_WAIT = 86400.0
#: Seconds after a turn in which something failed.
PAUSE = 0.01
#: Seconds of the longest wait in such a turn: what the failure left undone is tried again, less and less often.
RETRY_SECONDS = 1.0
#: Signals are numbered below this.
_SIGNALS = 65


class Loop:
    """An epoll(7) loop with monotonic timers and signals.

    ``each_turn`` is called once before every wait (the daemon settles its engine and flushes its clients there) and
    must return true while it left work that cannot wait.  ``fault`` gets every exception of a callback; SystemExit,
    and nothing else, it may raise.
    """

    __slots__ = (
        "_blocked", "_closed_first", "_epoll", "_failed", "_fds", "_flushes", "_heap", "_next", "_pending", "_repeated",
        "_retry", "_running", "_sends", "_signalled", "_signals", "_soon", "_stale", "_timers", "_wake_read",
        "_wake_write", "_watches", "each_turn", "fault",
    )  # fmt: skip

    def __init__(self) -> None:
        self._epoll = select.epoll()
        #: For each descriptor the id of its watch, its callback, and the events that are waited for.
        self._fds: dict[int, tuple[int, Callable[[int], object], int]] = {}
        #: A descriptor was closed while it was watched: where a child has it open, too, the kernel goes on reporting
        #: it, and nothing can name it any more.
        self._closed_first = False
        self._watches: dict[int, int] = {}
        self._timers: dict[int, Callable[[], object]] = {}
        self._heap: list[tuple[float, int]] = []
        self._stale = 0
        self._next = 0
        self._soon: list[Callable[[], object]] = []
        self._flushes: list[Callable[[], object]] = []
        self._sends: list[Callable[[], object]] = []
        self._signals: list[tuple[int, Callable[[], object]]] = []
        #: For each signal whether it has come, and whether any has; not a set, which may have to grow.
        self._pending = bytearray(_SIGNALS)
        self._signalled = False
        self._repeated: list[Callable[[], object]] = []
        self._running = False
        self._failed = False
        self._retry = PAUSE
        self._blocked: tuple[int, ...] | None = None
        self.each_turn: Callable[[], bool] = lambda: False
        self.fault: Callable[[BaseException], object] | None = None
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self.add_fd(self._wake_read, READ, self._drain_wakeups)

    def close(self) -> None:
        """Give back the descriptors and the signal handlers."""
        for number, _ in self._signals:
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._epoll.close()

    def add_fd(self, fd: int, events: int, callback: Callable[[int], object]) -> int:
        """Call ``callback`` with the ready events (a mask of READ, WRITE, HANGUP) while ``fd`` has any; gives an
        id."""
        self._next += 1
        if fd in self._fds:  # the owner closed it without a word, and the number was given out again
            self._watches.pop(self._fds[fd][0], None)
            self._unregister(fd)
        try:
            self._fds[fd] = (self._next, callback, events)
            self._watches[self._next] = fd
            self._epoll.register(fd, events)
        except BaseException:
            self._watches.pop(self._next, None)
            self._fds.pop(fd, None)
            raise
        return self._next

    def modify(self, watch: int, events: int) -> None:
        """Wait for other events on a watched descriptor."""
        fd = self._watches[watch]
        self._epoll.modify(fd, events)
        self._fds[fd] = (watch, self._fds[fd][1], events)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> int:
        """Call ``callback`` once, ``seconds`` from now; gives an id for `remove`."""
        self._next += 1
        heappush(self._heap, (time.monotonic() + seconds, self._next))
        self._timers[self._next] = callback
        return self._next

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` before the loop waits again."""
        self._soon.append(callback)

    def before_wait(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` after the engine has settled and right before the loop waits."""
        self._flushes.append(callback)

    def send_soon(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` to send what was queued: when all that is ready was called, or the engine has settled.

        Who was answered at once does not wait for what the engine has to do besides.
        """
        self._sends.append(callback)

    def remove(self, ident: int) -> None:
        """Forget a descriptor (before it is closed) or a timer; one that is gone already is no error."""
        fd = self._watches.pop(ident, None)
        if fd is not None:
            del self._fds[fd]
            self._unregister(fd)
        elif self._timers.pop(ident, None) is not None:
            self._stale += 1
            if self._stale > STALE_TIMERS:
                self._drop_stale()

    def _unregister(self, fd: int) -> None:
        try:
            self._epoll.unregister(fd)
        except OSError:
            self._closed_first = True

    def _begin_anew(self) -> None:
        """Watch what is watched, and nothing else; where that lacks something, the next turn tries again."""
        try:
            epoll = select.epoll()
        except OSError:
            return
        for fd, (_, _, events) in self._fds.items():
            try:
                epoll.register(fd, events)
            except OSError:
                if _can_be_watched(fd):
                    epoll.close()
                    return
                # It was closed, and its owner has yet to say so.
        old, self._epoll = self._epoll, epoll
        self._closed_first = False
        old.close()

    def _drop_stale(self) -> None:
        kept = 0
        for entry in self._heap:
            if entry[1] in self._timers:
                self._heap[kept] = entry
                kept += 1
        del self._heap[kept:]
        heapify(self._heap)
        self._stale = 0

    def watch_signal(self, number: int, callback: Callable[[], object], *, repeated: bool = False) -> None:
        """Call ``callback`` from the loop after signal ``number`` arrived, once however often it came.

        Callbacks of signals that arrive together run in the order in which they were set up here.  ``repeated``:
        after a turn that failed too, for it may have been the handler, and with it the signal, that was lost.
        """
        self._signals.append((number, callback))
        if repeated:
            self._repeated.append(callback)
        signal.signal(number, self._note_signal)

    def keep_blocked(self, numbers: Iterable[int]) -> None:
        """Have these signals blocked from now on, and no other whenever the loop waits.

        Whoever blocks some for a moment may lack the memory to unblock them, and their end would not be heard of.
        """
        self._blocked = tuple(numbers)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)

    def _note_signal(self, number: int, _frame: object) -> None:
        self._pending[number] = 1
        self._signalled = True

    def dump_signals(self) -> list[int]:
        """The signals that have arrived and were not called back for, for the next program."""
        return [number for number, pending in enumerate(self._pending) if pending]

    def restore_signals(self, saved: list[int]) -> None:
        """Take over what `dump_signals` gave."""
        for number in saved:
            self._note_signal(number, None)

    def _drain_wakeups(self, _events: int) -> None:
        try:
            while len(os.read(self._wake_read, 512)) == 512:
                pass
        except BlockingIOError:
            pass

    def run(self) -> None:
        """Serve until `stop`."""
        self._running = True
        while self._running:
            try:
                self.turn()
                if self._failed:
                    self._recover()
                else:
                    self._retry = PAUSE
            except SystemExit:
                raise
            except BaseException as error:
                self.fail(error)

    def stop(self) -> None:
        """Make `run` return at the end of this turn."""
        self._running = False

    def turn(self, seconds: float | None = None) -> None:
        """Settle, wait for what is ready (for at most so many ``seconds``), and call back for it."""
        if self._soon:
            soon, self._soon = self._soon, []
            for each in soon:
                self._call(each)
        busy = False
        try:
            busy = self.each_turn()
        except BaseException as error:
            self.fail(error)
        if self._flushes:
            flushes, self._flushes = self._flushes, []
            for each in flushes:
                self._call(each)
        self._send()
        if not self._running and seconds is None:
            return
        try:
            if busy or self._soon or self._signalled:
                wait = 0.0
            else:
                wait = self._retry if self._failed else LONGEST_WAIT
                wait = wait if seconds is None else min(wait, seconds)
            if self._blocked is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)
            ready = self._wait(wait)
        except BaseException as error:
            self.fail(error)
            ready = []
        last = self._next
        for fd, events in ready:
            watch = self._fds.get(fd)
            # A callback of this turn may have closed the descriptor and opened another of the same number, which is
            # not what is ready: what is added in a turn is called in the next.
            if watch is not None and watch[0] <= last:
                try:
                    watch[1](events)
                except BaseException as error:
                    self.fail(error)
        if self._signalled:
            self._run_signals()
        if self._heap:
            self._run_timers()
        self._send()

    def _send(self) -> None:
        if self._sends:
            sends, self._sends = self._sends, []
            for each in sends:
                self._call(each)

    def _wait(self, wait: float) -> list[tuple[int, int]]:
        """What is ready within ``wait`` seconds, or before the next timer is due."""
        if self._closed_first:
            self._begin_anew()
        heap = self._heap
        while heap and heap[0][1] not in self._timers:
            heappop(heap)
            self._stale = max(0, self._stale - 1)
        if heap and wait > 0.0:
            wait = min(wait, max(0.0, heap[0][0] - time.monotonic()))
        return self._epoll.poll(wait, BATCH)

    def _run_signals(self) -> None:
        self._signalled = False
        for number, callback in self._signals:
            if self._pending[number]:
                self._pending[number] = 0
                self._call(callback)

    def _run_timers(self) -> None:
        now = time.monotonic()
        last = self._next
        heap = self._heap
        # A timer that one of these sets waits for the next turn.
        while heap and heap[0][0] <= now and heap[0][1] <= last:
            callback = self._timers.pop(heappop(heap)[1], None)
            if callback is not None:
                self._call(callback)
            else:
                self._stale = max(0, self._stale - 1)

    def _call(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except BaseException as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Tell of what failed; where that fails too there is nobody left to tell, and the others have their turn."""
        self._failed = True
        if self.fault is None:
            raise error
        try:
            self.fault(error)
        except Exception:
            pass

    def _recover(self) -> None:
        """After a turn that failed: whatever it was may fail again at once."""
        self._failed = False
        self._retry = min(2 * self._retry, RETRY_SECONDS)
        time.sleep(PAUSE)
        for callback in self._repeated:
            self._call(callback)


def _can_be_watched(fd: int) -> bool:
    """Whether a descriptor is open, and no file's that has got the number since."""
    try:
        kind = os.fstat(fd).st_mode
    except OSError as error:
        return error.errno != errno.EBADF
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))
