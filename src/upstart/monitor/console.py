"""The command line: a line for each row, written at once, until init goes.

What is always true here: nothing is imported that needs a display.  Each line is given to the kernel before the next
signal is looked at; a reader that has gone ends the program without a word, at once where the kernel tells.  A re-exec
is no end: init is there again a moment later.
"""

from __future__ import annotations

import os
import select
import sys
import time

from gi.repository import GLib

from upstart.base.errors import DBusError
from upstart.client.glib import Watcher
from upstart.client.init import Init
from upstart.monitor import words
from upstart.monitor.story import OF_EVENTS, OF_STATES, Story

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.client.signals import Signal
    from upstart.monitor.places import Place
    from upstart.monitor.rows import Filter

#: Seconds in which an init that has executed itself anew has to be there again.
ANEW = 5


class Console:
    """One run; ``separator`` stands between the time and the rest, ``as_json`` has objects in place of lines."""

    __slots__ = (
        "_as_json", "_filter", "_fresh", "_loop", "_place", "_program", "_separator", "_status", "_story",
        "_timer", "_wait", "_watcher",
    )  # fmt: skip

    def __init__(
        self, program: str, place: Place, filter: Filter, states: bool, separator: str, as_json: bool, wait: bool
    ) -> None:
        self._program = program
        self._place = place
        self._filter = filter
        self._separator = separator
        self._as_json = as_json
        self._wait = wait
        self._story: Story | None = Story() if states else None
        self._loop = GLib.MainLoop()
        self._status = 0
        self._fresh = True
        self._timer = 0
        self._watcher = Watcher(
            self._heard, self._connected, self._lost, place.address, place.bus, OF_STATES if states else OF_EVENTS
        )

    def run(self) -> int:
        """Until init has gone, or who reads has; the exit status."""
        GLib.io_add_watch(1, GLib.PRIORITY_DEFAULT, GLib.IO_ERR | GLib.IO_HUP, self._reader_gone)
        if self._wait or self._reached():
            self._watcher.start()
            if self._watcher.init is None and self._fresh and self._wait:
                self._say("Init is not there yet, and is waited for")
            if self._status == 0:
                self._loop.run()
            self._watcher.stop()
        return max(self._status, 0)

    def _reached(self) -> bool:
        """Whether init can be spoken to; tells why not."""
        try:
            init = Init.open(self._place.address, self._place.bus)
            _ = init.version
            init.connection.disconnect()
        except DBusError as error:
            self._say(f"Unable to connect to Upstart: {error.message.rstrip()}")
            self._status = 1
            return False
        return True

    def _connected(self, init: Init) -> None:
        if self._story is not None:
            try:
                self._story.begin(init.all_status())
            except DBusError:
                # It has gone again, which is told.
                return
        if self._fresh:
            if not self._as_json:
                # From here on nothing is missed.
                what = "Events and job states" if self._story else "Events"
                self._write(f"# {what} of init, by {self._place.text}\n#\n# time, event and variables\n\n")
        else:
            if self._as_json:
                self._write(words.told(time.time(), "connected") + "\n")
            self._say("Init is there again; what has happened meanwhile is not shown")
        self._fresh = False
        if self._timer:
            GLib.source_remove(self._timer)
            self._timer = 0

    def _lost(self, reason: str) -> None:
        if self._as_json:
            self._write(words.told(time.time(), "lost", reason) + "\n")
        if self._wait:
            self._say(f"Init has gone, and is waited for: {reason}")
        elif not self._timer:
            self._timer = GLib.timeout_add_seconds(ANEW, self._given_up)

    def _given_up(self) -> bool:
        self._timer = 0
        self._say("Init has gone")
        self._end(1)
        return False

    def _heard(self, signal: Signal) -> None:
        row = (self._story or _PLAIN).take(signal, time.time())
        if row is not None and self._filter.wants(row):
            text = words.document(row) if self._as_json else words.line(row, self._separator)
            self._write(text + "\n")

    def _say(self, text: str) -> None:
        try:
            print(f"{self._program}: {text}", file=sys.stderr, flush=True)
        except OSError:
            pass

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        while data and self._status == 0:
            try:
                data = data[os.write(1, data) :]
            except BlockingIOError:
                # Somebody else has made the terminal or the pipe so.
                poll = select.poll()
                poll.register(1, select.POLLOUT)
                poll.poll()
            except BrokenPipeError:
                self._end(-1)
            except OSError as error:
                self._say(f"Unable to write: {error.strerror}")
                self._end(1)

    def _reader_gone(self, _fd: int, _condition: object) -> bool:
        self._end(-1)
        return False

    def _end(self, status: int) -> None:
        """End with this exit status; with -1, as nobody reads, well and without a word."""
        self._status = self._status or status
        self._loop.quit()


_PLAIN = Story()
