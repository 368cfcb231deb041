"""What the processes of jobs have open to us: their output, the rest of their script, what came of their program.

What is always true here: a descriptor that is watched is closed only after it is watched no more.  Where one cannot be
watched now, that is tried again.
"""

from __future__ import annotations

import os

from upstart.base.closing import close
from upstart.base.loop import READ, WRITE
from upstart.process.spawn import read_outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop
    from upstart.daemon.running import Running
    from upstart.engine.data import Instance
    from upstart.engine.engine import Engine
    from upstart.process.log import JobLog

#: Seconds until it is tried again to watch what could not be watched.
WATCH_SECONDS = 1.0


class Watching:
    """The descriptors of all processes in ``running``; ``warn`` (text) writes to init's own log."""

    __slots__ = ("_engine", "_loop", "_running", "_warn")

    def __init__(
        self,
        engine: Engine,
        loop: Loop,
        running: dict[tuple[Instance, str], Running],
        warn: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._loop = loop
        self._running = running
        self._warn = warn

    def end(self, running: Running) -> None:
        """The process is gone: take the last of its output, and close all."""
        self.end_outcome(running)
        self.end_feed(running)
        if running.log is not None:
            self.end_log(running)
            running.log.ended()

    def watch(self, instance: Instance, process: str, running: Running) -> None:
        """Watch what the process has open to us; where that fails now, try again later."""
        try:
            if running.error_fd >= 0 and running.error_watch < 0:
                self.watch_outcome(instance, process, running, running.error_fd)
            if running.log is not None and running.log.fd >= 0 and running.log_watch < 0:
                self.watch_log(running, running.log)
            if running.feed is not None and running.feed_watch < 0:
                self.watch_feed(running, *running.feed)
        except OSError as error:
            self._warn(f"{instance.display} {process} process: unable to watch it: {error.strerror}")
            self._loop.call_later(WATCH_SECONDS, lambda: self._watch_again(instance, process, running))

    def _watch_again(self, instance: Instance, process: str, running: Running) -> None:
        if self._running.get((instance, process)) is running:
            self.watch(instance, process, running)

    # Functions within that name each other would be left to the garbage collector, with all they hold.

    def watch_log(self, running: Running, log: JobLog) -> None:
        """Take the output as it comes, unless that is done or ``log``, the process's, is closed."""
        if running.log_watch < 0 and log.fd >= 0:
            running.log_watch = self._loop.add_fd(log.fd, READ, lambda events: self._readable(running, log))

    def _readable(self, running: Running, log: JobLog) -> None:
        if log.file.behind:
            self.end_log(running)
            log.file.when_answered(lambda: self.watch_log(running, log))
        elif not log.on_readable():
            self.end_log(running)
            log.close()

    def end_log(self, running: Running) -> None:
        """Take no more output."""
        watch, running.log_watch = running.log_watch, -1
        self._loop.remove(watch)

    def watch_feed(self, running: Running, fd: int, data: bytes) -> None:
        """Write the rest of a script as its shell reads it."""
        running.feed = (fd, data)

        def writable(_events: int) -> None:
            if running.feed is None:
                return
            rest = running.feed[1]
            try:
                rest = rest[os.write(fd, rest) :]
            except BlockingIOError:
                return
            except OSError:
                rest = b""
            running.feed = (fd, rest)
            if not rest:
                self.end_feed(running)

        running.feed_watch = self._loop.add_fd(fd, WRITE, writable)

    def end_feed(self, running: Running) -> None:
        """Write no more of a script."""
        if running.feed is not None:
            (fd, _), running.feed = running.feed, None
            watch, running.feed_watch = running.feed_watch, -1
            self._loop.remove(watch)
            close(fd)

    def watch_outcome(self, instance: Instance, process: str, running: Running, error_fd: int) -> None:
        """Tell the engine whether the program was executed, once that is known."""
        running.error_fd = error_fd
        running.error_watch = self._loop.add_fd(
            error_fd, READ, lambda events: self.outcome(instance, process, running)
        )

    def outcome(self, instance: Instance, process: str, running: Running) -> bool:
        """Look at the error pipe: true if the process is known to have failed before its program ran."""
        if running.error_fd < 0:
            return False
        name = f"{instance.display} {process} process"
        text = read_outcome(running.error_fd, lambda lack: self._warn(f"{name}: {lack}; it runs without"))
        if text is None:
            return False
        self.end_outcome(running)
        if not text:
            self._engine.process_ready(instance, process)
            return False
        if running.log is not None:
            self.end_log(running)
            running.log.discard()
            running.log = None
        self._engine.spawn_failed(instance, process, text)
        return True

    def end_outcome(self, running: Running) -> None:
        """Wait no more for what came of the program."""
        if running.error_fd >= 0:
            fd, running.error_fd = running.error_fd, -1
            watch, running.error_watch = running.error_watch, -1
            self._loop.remove(watch)
            close(fd)
