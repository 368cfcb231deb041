"""mountall's performing half: it does what the reducer's actions say, and tells the reducer what came of it.

What is always true here:

- One thread, one loop, and nothing in it waits but the loop: for init, for processes, for the table of mounts, for
  devices, keys and signals.  While nothing happens nothing runs.
- The reducer is told one thing after the other, and what it answers is done in the order in which it says so.
- What was asked for and has no answer yet is kept with the reducer's state, in a file that is written before anything
  is mounted, and before init is sent anything.  Who is started after a mountall that was killed does all of it again:
  init knows an event by its key, the table says what is mounted, a check or mount that still runs is waited for first.
- That init goes away for a re-exec is nothing; that it stays away for `INIT_SECONDS` ends mountall with status 1.
"""

from __future__ import annotations

import os
import time

from upstart.base.loop import READ, WRITE
from upstart.mounts import mtab, statefile, tablewatch, waiters
from upstart.mounts.checking import CANCELLED, Checker, forget_flags, set_idle
from upstart.mounts.mounter import Mounter, available
from upstart.mounts.processes import Processes, start_time
from upstart.mounts.values import (
    Answered,
    Calm,
    Cancel,
    Check,
    Emit,
    End,
    Ended,
    Key,
    Mount,
    Mounts,
    Network,
    Prompt,
    Swap,
    Tell,
    Tick,
    Wake,
    Watch,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from upstart.base.loop import Loop
    from upstart.mounts.console import Console
    from upstart.mounts.devices import Devices
    from upstart.mounts.events import Events
    from upstart.mounts.processes import Process
    from upstart.mounts.tablewatch import Table
    from upstart.mounts.values import Action, Input

    class Reducer(Protocol):
        """What decides."""

        def step(self, now: float, input: Input) -> Sequence[Action]:
            """Take an input at a time of CLOCK_BOOTTIME; what is to be done now."""

        def dump(self) -> Any:
            """All that it knows, as JSON has it."""

        def remaining(self) -> Sequence[int]:
            """What may still be mounted after the end."""


#: Seconds in which init must be back after its connection was lost, and between two tries.
INIT_SECONDS = 60.0
FIRST_RETRY, LONGEST_RETRY = 0.02, 1.0
#: Of the place that is announced without anything being mounted there, it is told how much room there is.
_PLACE = frozenset(("MOUNTPOINT=/tmp", "TYPE=none"))
#: With one of these events, logs can be where they will be found.
_LOGS = ("local-filesystems", "filesystem")
_ERROR = 1
#: Exit statuses with which the boot goes on, and that of a restart that follows.
_WELL = (0, 5)
_RESTART = 4
#: The job for what comes later.
LATE = "mountall-late"
#: Priorities of what is done, for who asks to see that, and what is told with the higher one.
DEBUG, INFO = 1, 2
_TOLD = (Check, Emit, Mount, Swap)
#: What is not without effect if it is done twice.
_MOUNTS = (Check, Mount, Swap)


def _with_room(action: Emit) -> Emit:
    """What saves the job of the place a program of its own, on the way to all that comes after it."""
    try:
        room = available("/tmp")
    except OSError:
        return action
    return Emit(action.number, action.name, (*action.env, f"AVAILABLE={room}"), action.key, action.wait)


class Performer:
    """One run of mountall.

    ``events`` is the way to init, or ``None`` to emit nothing; ``stamp`` is what the state in ``path`` is bound to,
    and without it none is kept.  ``late``: we are for what another one has left.  ``trace`` gets all that is done, with
    a priority.  ``status`` is the exit status after the loop's end.
    """

    def __init__(
        self, loop: Loop, reducer: Reducer, table: Table, events: Events | None,
        console: Callable[[Callable[[str], object]], Console],
        devices: Callable[[Processes, Callable[[Input], object]], Devices], stamp: list[str] | None = None,
        path: str = statefile.PATH, late: bool = False,
        trace: Callable[[int, str], object] = lambda priority, text: None,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._reducer = reducer
        self._table = table
        self._events = events
        self._stamp = stamp
        self._path = path
        self._trace = trace
        self._inputs: list[Input] = []
        self._told: tuple[object, ...] | None = None
        #: Actions without an answer, by number, and the processes that are at them.
        self._open: dict[int, Action] = {}
        self._running: dict[int, Process] = {}
        self._processes = Processes(loop)
        self._mounter = Mounter(self._processes, table.read)
        self._checker = Checker(loop, self._processes, self.feed)
        self._console = console(lambda key: self.feed(Key(key)))
        self._devices = devices(self._processes, self.feed)
        self._watching = False
        self._prompt = Prompt()
        self._wake: float | None = None
        self._timer = 0
        self._changed = False
        self._ending = False
        #: We are for what another has left.
        self._late = late
        self.status = 0
        self._started = start_time(os.getpid())
        self._events_watch = 0
        self._events_mask = 0
        self._lost_at = 0.0
        self._retry = FIRST_RETRY
        loop.each_turn = self._turn
        loop.add_fd(table.fd, tablewatch.CHANGED, lambda events: self._read_table())
        self._perform: dict[type, Callable[[Any], object]] = {
            Emit: self._emit, Check: self._begin_by(self._checker.start), Calm: self._calm,
            Mount: self._begin_by(self._mounter.mount), Swap: self._begin_by(self._mounter.swap), Cancel: self._cancel,
            Watch: self._watch, Tell: self._tell, Prompt: self._show, Wake: self._set_wake,
            End: self._end,
        }  # fmt: skip

    # From outside

    def begin(self) -> None:
        """Go to work, anew."""
        self._mounter.count()
        # Whoever is killed in the very first turn has mounted something by then.
        self._save()
        self._attach()
        self._read_table()

    def resume(self, document: dict[str, Any], begins: bool = False) -> None:
        """Go on where an earlier mountall was killed; ``document`` is what it wrote.

        ``begins``: only with what that one has left, of which nothing was asked for yet.

        Raises ValueError, KeyError, TypeError or AttributeError if it is none.
        """
        actions = [statefile.unpack_action(packed) for packed in document["open"]]
        running = {int(number): (int(pid), str(started)) for number, (pid, started) in document["running"].items()}
        counts = {str(place): int(count) for place, count in document["counts"].items()}
        self._mounter.recover([] if begins else actions, counts)
        self._mounter.count()
        prompt = statefile.unpack_action(document["prompt"])
        wake = document["wake"]
        self._attach()
        if begins:
            self._save()
            self._read_table()
            return
        for action in actions:
            number: int = action.number  # type: ignore[attr-defined]
            self._open[number] = action
            if number not in running or not self._adopt(action, number, *running[number]):
                self._do(action)
        if document["watching"]:
            self._watch(Watch())
        self._show(prompt)  # type: ignore[arg-type]
        self._set_wake(Wake(wake))
        self._read_table()

    def feed(self, input: Input) -> None:
        """Tell the reducer, in this turn of the loop."""
        self._inputs.append(input)

    def network(self) -> None:
        """A network interface has come up (SIGUSR1)."""
        self.feed(Network())

    def terminate(self) -> None:
        """End now, as asked (SIGTERM): what is being checked is cancelled, what is being mounted goes on."""
        for number, process in self._running.items():
            if isinstance(self._open.get(number), Check):
                process.cancel()
        self._ending = True
        self._changed = True

    # The loop

    def _turn(self) -> bool:
        while self._inputs and not self._ending:
            inputs, self._inputs = self._inputs, []
            actions = [action for input in inputs for action in self._decide(input)]
            if any(isinstance(action, _MOUNTS) for action in actions):
                self._save()
            for action in actions:
                self._trace(INFO if isinstance(action, _TOLD) else DEBUG, repr(action))
                self._do(action)
                if self._ending:
                    break
        if self._changed:
            self._changed = False
            self._save()
        self._look_at_events()
        if self._ending and (self._events is None or not self._events.unsent):
            self._close()
            self._loop.stop()
        return bool(self._inputs) and not self._ending

    def _decide(self, input: Input) -> Sequence[Action]:
        """What the reducer wants done for an input; what has a number has no answer from now on."""
        self._changed = True
        self._trace(DEBUG, repr(input))
        try:
            actions = self._reducer.step(time.clock_gettime(time.CLOCK_BOOTTIME), input)
        except Exception:
            # What should follow is not known; a shell, and another mountall after it, is better than to wait for it.
            self._end(End(_ERROR))
            raise
        for action in actions:
            if isinstance(action, (*_MOUNTS, Emit)):
                self._open[action.number] = action
        return actions

    def _save(self) -> None:
        if self._stamp is None:
            return
        running = {number: (process.pid, process.started) for number, process in self._running.items()}
        statefile.write({
            "version": statefile.VERSION, "stamp": self._stamp, "pid": os.getpid(), "started": self._started,
            "ended": self._ending, "late": self._late,
            "status": self.status, "open": [statefile.pack_action(action) for action in self._open.values()],
            "running": running, "counts": self._mounter.counts, "watching": self._watching, "wake": self._wake,
            "prompt": statefile.pack_action(self._prompt), "state": self._reducer.dump(),
        }, self._path)  # fmt: skip

    def _close(self) -> None:
        self._checker.write_log()
        self._console.close()
        self._devices.close()
        if self._events is not None:
            self._events.close()

    def _read_table(self) -> None:
        table = self._table.read()
        if table != self._told:
            self._told = table
            self.feed(Mounts(table))

    # Init

    def _attach(self) -> None:
        """Listen to init, which is connected."""
        if self._events is not None and not self._events.lost:
            self._events_mask = READ
            self._events_watch = self._loop.add_fd(self._events.fileno(), READ, self._heard)

    def _heard(self, _events: int) -> None:
        assert self._events is not None
        for answer in self._events.receive():
            self._answered(answer)

    def _answered(self, answer: Answered | Ended) -> None:
        """An action has come to its end."""
        self._running.pop(answer.number, None)
        if self._open.pop(answer.number, None) is not None:
            self.feed(answer)

    def _look_at_events(self) -> None:
        """See whether init is still there, and whether it has yet to take something."""
        events = self._events
        if events is None or not self._events_watch:
            return
        if events.lost:
            self._loop.remove(self._events_watch)
            self._events_watch = 0
            self._lost_at = time.monotonic()
            self._retry = FIRST_RETRY
            self._loop.call_later(self._retry, self._reconnect)
            return
        events.flush()
        mask = READ | WRITE if events.wants_write else READ
        if mask != self._events_mask:
            self._events_mask = mask
            self._loop.modify(self._events_watch, mask)

    def _reconnect(self) -> None:
        assert self._events is not None
        problem = "the connection was closed"
        try:
            self._events.open()
        except OSError as error:
            problem = error.strerror or str(error)
        if not self._events.lost:
            self._attach()
        elif time.monotonic() - self._lost_at > INIT_SECONDS:
            self._console.tell(f"init is not to be reached any more: {problem}", True)
            self._end(End(_ERROR))
        else:
            self._retry = min(2 * self._retry, LONGEST_RETRY)
            self._loop.call_later(self._retry, self._reconnect)

    # Actions

    def _do(self, action: Action) -> None:
        """Perform it; what goes wrong with it is told, for the boot waits for others, too."""
        try:
            self._perform[type(action)](action)
        except Exception as error:
            self._loop.fail(error)

    def _emit(self, action: Emit) -> None:
        if self._events is None:
            self._answered(Answered(action.number))
        else:
            if action.name == "mounted" and _PLACE.issubset(action.env):
                action = _with_room(action)
            self._events.emit(action)
        if action.name == _LOGS[0] and self._events is not None:
            mtab.make_link()
        if action.name in _LOGS:
            self._checker.write_log()
            if self._events is not None and action.name == _LOGS[-1]:
                self._events.notify_disk_writeable()

    def _begin_by(self, start: Callable[[Any, Callable[[Any], object]], Process | None]) -> Callable[[Any], object]:
        """What performs an action that has its answer when a process, or what stands for it, has ended."""
        return lambda action: self._follow(action.number, start(action, self._answered))

    def _follow(self, number: int, process: Process | None) -> None:
        if process is not None:
            self._running[number] = process
            self._changed = True

    def _adopt(self, action: Action, number: int, pid: int, started: str) -> bool:
        """Have what an earlier mountall has started for this action end before it is done again."""

        def then(_status: int, _words: str) -> None:
            if self._running.pop(number).cancelled:
                self._answered(Ended(number, CANCELLED))
            else:
                self._do(action)

        process = self._processes.adopt(pid, started, then)
        self._follow(number, process)
        return process is not None

    def _calm(self, action: Calm) -> None:
        if action.number in self._running:
            set_idle(self._running[action.number], False)

    def _cancel(self, action: Cancel) -> None:
        if action.number in self._running:
            self._running[action.number].cancel()

    def _watch(self, _action: Watch) -> None:
        self._watching = True
        self._devices.watch()

    def _tell(self, action: Tell) -> None:
        self._console.tell(action.text, action.urgent)

    def _show(self, action: Prompt) -> None:
        before, self._prompt = self._prompt, action
        self._console.prompt(action.text, action.keys)
        if action.events and action.events != before.events and self._events is not None:
            waiters.ask(self._events, action.events, self._tell_waiters)

    def _tell_waiters(self, jobs: list[str]) -> None:
        if jobs and self._prompt.text:
            self._console.tell(f"Jobs that wait for it: {', '.join(jobs)}", True)

    def _set_wake(self, action: Wake) -> None:
        if self._wake == action.when and self._timer:
            return
        self._loop.remove(self._timer)
        self._timer = 0
        self._wake = action.when
        if action.when is not None:
            wait = action.when - time.clock_gettime(time.CLOCK_BOOTTIME)
            self._timer = self._loop.call_later(max(0.0, wait), self._woken)

    def _woken(self) -> None:
        self._timer = 0
        if self._wake is not None and time.clock_gettime(time.CLOCK_BOOTTIME) < self._wake:
            self._set_wake(Wake(self._wake))
            return
        self._wake = None
        self.feed(Tick())

    def _end(self, action: End) -> None:
        self.status = action.status
        self._ending = True
        self._changed = True
        if action.status in _WELL and self._events is not None and not self._late:
            forget_flags()
            if self._reducer.remaining():
                self._events.start_job(LATE)
        elif action.status == _RESTART:
            os.sync()
