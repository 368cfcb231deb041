"""Passes over configuration: what is to be read is, by a child, one pass after the other; and who waits for one.

What is always true here: init touches no file.  A child takes the steps of a pass (`reading`), and init the same ones
after its record, in slices of `SLICE` seconds.  There is one pass at a time, and it begins with taking what inotify
tells, so that what changes meanwhile is the next one's.  Between two of them init itself takes that, and none begins
for what cannot concern configuration (`hearing`).  A pass that is not gone through to its end, for whatever
reason, is followed by one that looks at everything, with another inotify instance: what the last has told is lost, and
a child that did not end may still have it.

A child that some path holds is left there, and the next pass leaves that path out, until it answers: what is known
of it stays as it is meanwhile.  With `unanswered.MOST_HELD` of them one more holds up every change.

Calls that concern jobs wait for changes that came before them (`current`), for `WAIT` seconds at most.
"""

from __future__ import annotations

import time

from upstart.base.priority import WARN
from upstart.conf.disk import DIRECT
from upstart.conf.record import Lost, Replay
from upstart.daemon.hearing import Hearing
from upstart.daemon.lacking import Lacking
from upstart.daemon.task import Pass
from upstart.daemon.unanswered import Unanswered
from upstart.daemon.waiters import Waiters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop
    from upstart.conf.record import Recorder
    from upstart.conf.sources import Steps
    from upstart.daemon.reading import Reader
    from upstart.daemon.task import Work


#: Seconds.
SLICE = 0.01
#: Seconds: that a call waits for changes, from when they were noticed; that whoever asked for a reload does.
WAIT = 0.5
ANSWER_SECONDS = 5.0
#: Seconds from the beginning of a pass to the next, and the same where calls wait.
DISTANCE = 0.1
SHORT_DISTANCE = 0.02
#: Seconds between two looks at where a child is.
LOOK = 0.5
#: Seconds: enough for a hundred files or two, and a path that does not answer keeps no trial longer.
TRIAL_SECONDS = 0.05
#: Seconds for which what does not answer may keep a start waiting, and children that end before they are done with it.
FIRST_SECONDS = 15.0
MOST_FAILURES = 3
#: Seconds until a child that could not be started is tried again, and at most between passes that are not finished.
RETRY_SECONDS = 1.0
MOST_SECONDS = 5.0


class Passes:
    """The passes over one daemon's configuration; ``hearing`` has them begin, ``unanswered`` is what holds them up.

    ``work`` is what is done in each, ``log`` (priority, text) writes to init's own log.
    """

    __slots__ = (
        "_began", "_failures", "_lacking", "_last", "_late", "_left", "_log", "_look", "_loop", "_missing", "_needed",
        "_next", "_not_before", "_pass", "_reader", "_replay", "_serial", "_stale", "_steps", "_timer", "_waiters",
        "_warned", "_work", "hearing", "unanswered",
    )  # fmt: skip

    def __init__(self, loop: Loop, work: Work, log: Callable[[int, str], object]) -> None:
        self._loop = loop
        self._work = work
        self._log = log
        self._replay = Replay()
        #: The pass that is to come, and the one under way with its child and its steps here; how many steps its
        #: record is enough for, as far as it is here, and whether that is all of it.
        self._next = Pass()
        self._pass: Pass | None = None
        self._reader: Reader | None = None
        self._steps: Steps = iter(())
        self._left = 0
        self._last = False
        #: Passes so far, how many in a row were not finished, when the last began, and when the next may.
        self._serial = 0
        self._failures = 0
        self._began = 0.0
        self._not_before = 0.0
        self._timer = self._look = -1
        self._warned = False
        #: The inotify instance is to be replaced; something was not watched, and can be now.
        self._stale = self._missing = False
        self.unanswered = Unanswered(self._answers, log)
        #: There is something to read; it takes too long to be waited for, from here to the next pass that is done.
        self._needed = self._late = False
        self._waiters = Waiters(loop)
        self._lacking = Lacking(loop, self._try_again)
        self.hearing = Hearing(loop, self._hear)


    # What there is to read

    def begin(self) -> None:
        """Touch no file from now on; the next pass begins after a moment, or when somebody waits for it."""
        self._began = time.monotonic() - SHORT_DISTANCE
        self._work.read_by(self._replay, silent=False)

    def look_again(self, done: Callable[[str], object] | None = None) -> None:
        """Look at everything once more.

        ``done`` is called with "" when that has been done, or with what is wrong: some of it does not answer.
        """
        self._next.everything = True
        self._next.again = False
        if done is not None:
            self._next.told.append(done)
            self._loop.call_later(ANSWER_SECONDS, lambda: self._answer(done))
        self._need()

    def _answer(self, done: Callable[[str], object]) -> None:
        """Whoever asked for a reload waits no longer."""
        for each in (self._pass, self._next):
            if each is not None and done in each.told:
                each.told.remove(done)
                done(self.unanswered.problem(self._reader) or "The configuration is still being read")

    def want(self, root: str) -> None:
        """Have the session of this root known."""
        if root not in self._next.wanted and (self._pass is None or root not in self._pass.wanted):
            self._next.wanted.append(root)
            self._need()

    def _hear(self) -> None:
        """There is something to read, of whatever it is."""
        if self._needed or self._pass is not None or self.hearing.hear():
            self._need()
        else:
            self.hearing.pause()

    def _need(self) -> None:
        """There is something to read: see that it is."""
        self._needed = True
        self.hearing.listen(False)
        self._schedule()

    def _schedule(self) -> None:
        """Have the next pass begin, once it may."""
        if self._pass is not None:
            self._look_later()
            return
        if not self._waiters:
            when = max(self._began + DISTANCE, self._not_before)
        elif self._not_before > self._began:
            when = self._began + DISTANCE
        else:
            when = self._began + SHORT_DISTANCE
        self._loop.remove(self._timer)
        self._timer = self._loop.call_later(max(0.0, when - time.monotonic()), self._begin)

    def read_now(self) -> bool:
        """Read everything before anything else is done, but for what does not answer; False where no child can.

        To be called when nobody is served yet, and the loop does not run.
        """
        told: list[str] = []
        self._next.everything = True
        self._next.told.append(told.append)
        self.begin()
        deadline = time.monotonic() + FIRST_SECONDS
        while not told and time.monotonic() < deadline:
            self._begin()
            reader = self._reader
            if reader is None or self._failures >= MOST_FAILURES:
                self._work.read_by(DIRECT, silent=False)
                return False
            reader.wait(LOOK)
            self._go_on()
            self._see_whether_held()
        return True

    def rehearse(self) -> None:
        """Begin the next pass, go through it for at most `TRIAL_SECONDS`, and raise what fails.

        For a process that tries whether that can be done, and ends.
        """
        self._work.read_by(self._replay, silent=True)
        self._begin()
        reader = self._reader
        deadline = time.monotonic() + TRIAL_SECONDS
        while reader is not None and not self._follow(reader) and (left := deadline - time.monotonic()) > 0:
            reader.wait(left)
        # It would only take the processor from who goes on.
        self.end_readers()

    # Passes

    def _begin(self) -> None:
        if self._pass is not None:
            return
        from upstart.daemon.reading import Reader

        self._began = time.monotonic()
        task, following = self._next, Pass()
        try:
            if self._stale:
                self.hearing.replace()
                self._stale = False
            if self._missing:
                self._work.watch_again(task.again)
            reader = Reader(
                self._loop,
                self.hearing.fd,
                lambda recorder: self._steps_of_child(task, recorder),
                frozenset(self.unanswered.paths()),
                self._go_on,
            )
        except BaseException as error:
            self._not_before = self._began + RETRY_SECONDS
            self._schedule()
            if not isinstance(error, OSError):
                raise
            if not self._warned:
                self._warned = True
                self._log(WARN, f"Unable to start a reader of configuration: {error.strerror}")
            return
        self._reader = reader
        self._pass = task
        self._next = following
        self._warned = self._missing = self._last = False
        self._left = 0
        self._serial += 1
        self._steps = self._work.steps(task)
        self._look_later()

    def _steps_of_child(self, task: Pass, recorder: Recorder) -> Steps:
        # What there is to say of it we say ourselves.
        self._work.read_by(recorder, silent=True)
        return self._work.steps(task)

    def _go_on(self) -> None:
        """Do what the child has done, as far as its record is here; what is left after a while is done when others
        have had their turn."""
        reader = self._reader
        if reader is None:
            return
        try:
            done = self._follow(reader)
        except Lost as error:
            self._lose()
            if self._failures == 1:
                self._log(WARN, f"Reading job files again: {error}")
            return
        except BaseException:
            self._lose()
            raise
        if done:
            self._end()
        elif done is None:
            reader.listen(True)
        else:
            reader.listen(False)
            self._loop.call_soon(self._go_on)

    def _follow(self, reader: Reader) -> bool | None:
        """Do that for a slice; whether the pass is done, None where there is no more of the record.  Raises `Lost`."""
        deadline = time.monotonic() + SLICE
        while True:
            while not self._left and not self._last:
                piece = reader.take()
                if piece is None:
                    return None
                self._left, results, self._last = piece
                self._replay.feed(results)
            try:
                change = next(self._steps)
            except StopIteration:
                self._replay.finish()
                return True
            self._left -= 1
            if change is not None:
                self._work.apply(change)
            if time.monotonic() >= deadline:
                return False

    def _end(self) -> None:
        """A pass is done."""
        reader, task = self._reader, self._pass
        assert reader is not None and task is not None
        self._reader = self._pass = None
        self._failures = 0
        reader.close()
        more = bool(self._next.everything or self._next.wanted or self._is_behind())
        self._needed, self._late = more, False
        self._waiters.release(self._serial if more else self._serial + 1)
        problem = self.unanswered.problem(None)
        while task.told:
            task.told.pop(0)(problem)
        self.see_what_lacks()
        if more:
            self._need()
        else:
            self.hearing.listen(True)

    def see_what_lacks(self) -> None:
        """See to it that what could not be read for now is tried again; what does not answer says so by itself."""
        self._lacking.see(self._work.lacks() and not self.unanswered.paths())

    def _try_again(self) -> None:
        self._missing = True
        first = not self._next.everything
        self.look_again()
        self._next.again = first

    def _lose(self) -> None:
        """A pass cannot be gone on with: the next looks at everything."""
        reader = self._reader
        assert reader is not None
        self._failures += 1
        if self._failures > 1:
            self._not_before = time.monotonic() + min(MOST_SECONDS, DISTANCE * 2.0**self._failures)
        try:
            self._abandon()
        finally:
            reader.kill()
            reader.close()

    def _abandon(self) -> None:
        task, following = self._pass, self._next
        assert task is not None
        self._reader = self._pass = None
        self._stale = following.everything = True
        following.wanted, task.wanted = task.wanted, following.wanted
        following.told, task.told = task.told, following.told
        self._steps = iter(())
        self._replay.drop()
        following.wanted += task.wanted
        following.told += task.told
        self._need()

    # What does not answer

    def _look_later(self) -> None:
        if self._look < 0:
            self._look = self._loop.call_later(LOOK, self._see_and_look_later)

    def _see_and_look_later(self) -> None:
        self._look = -1
        if self._reader is not None:
            self._look_later()
            self._see_whether_held()

    def _see_whether_held(self) -> None:
        """Leave the child behind, and go on without what holds it, if something does."""
        if self._reader is not None and self.unanswered.leave(self._reader):
            self._late = True
            self._abandon()

    def _answers(self) -> None:
        """A path answers that did not."""
        self._missing = True
        self.look_again()

    def end_readers(self) -> None:
        """End all children: who comes after us cannot know them."""
        self.unanswered.end()
        if self._reader is not None:
            self._reader.kill()

    # Who waits

    def _is_behind(self) -> bool:
        """Whether something may have changed that is not known; what is too much to tell by itself a child takes."""
        if not self.hearing.unread():
            return False
        return self._pass is not None or self.hearing.hear() is not False

    def current(self) -> bool:
        """Whether all that has changed so far is known, or is not to be waited for."""
        if not self._needed:
            if not self._is_behind():
                return True
            self._need()
        if self._pass is not None and time.monotonic() >= self._began + WAIT:
            self._late = True
        return self._late

    def when_current(self, go_on: Callable[[], object]) -> None:
        """Call ``go_on`` when what has changed so far is known, or is not to be waited for any longer."""
        if self._pass is None:
            self._waiters.add(self._serial + 1, time.monotonic() + WAIT, go_on)
            self._schedule()
        else:
            # The child has taken what was there when it was started, and perhaps what came soon after.
            self._waiters.add(self._serial + self.hearing.unread(), self._began + WAIT, go_on)
