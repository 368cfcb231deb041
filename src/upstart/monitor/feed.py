"""What comes from init into the rows of a window, and from there into its list, a few times a second.

What is always true here: a signal costs its row and nothing more; the list hears of many at once, as often as `FLUSH`
allows, and of no more than `SLICE` rows at a time, so that a frame is drawn between.  Nothing wakes up while nothing
comes.
"""

from __future__ import annotations

import time

from gi.repository import GLib

from upstart.base.errors import DBusError
from upstart.client.glib import Watcher
from upstart.monitor.rows import Filter, Rows, Shown
from upstart.monitor.story import OF_STATES, Story

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.client.init import Init
    from upstart.client.signals import Signal
    from upstart.monitor.places import Place
    from upstart.monitor.rows import Change

#: Milliseconds until what has come is shown, and between slices of what is looked at anew.
FLUSH = 40
NEXT = 5
#: Rows that are looked at in one go: some 10 ms.
SLICE = 2000


class Feed:
    """``changed`` gets each change of what is shown, ``connection`` whether init is there, and why not."""

    def __init__(
        self,
        place: Place,
        filter: Filter,
        changed: Callable[[Change], object],
        connection: Callable[[bool, str], object],
    ) -> None:
        self.rows = Rows()
        self.shown = Shown(self.rows, filter)
        self.story = Story()
        self._changed = changed
        self._connection = connection
        self._timer = 0
        #: While paused, the number of the first row that is not to be shown.
        self._until: int | None = None
        self.watcher = Watcher(
            self._heard, self._connected, lambda reason: connection(False, reason), place.address, place.bus, OF_STATES
        )

    def start(self) -> None:
        """Listen to init, whenever it is there."""
        self.watcher.start()
        if self.watcher.init is None:
            self._connection(False, "Init is not there yet")

    def stop(self) -> None:
        """Listen no more."""
        self.watcher.stop()
        if self._timer:
            GLib.source_remove(self._timer)
            self._timer = 0

    @property
    def paused(self) -> bool:
        """Whether what comes is kept, and not shown."""
        return self._until is not None

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._until = self.rows.next if paused else None
        self._soon(NEXT)

    @property
    def waiting(self) -> int:
        """Rows that came since the pause began."""
        return 0 if self._until is None else self.rows.next - max(self._until, self.rows.first)

    def set_filter(self, filter: Filter) -> None:
        """Show other rows."""
        if filter != self.shown.filter:
            self._changed(self.shown.begin(filter))
            self._soon(NEXT)

    def clear(self) -> None:
        """Forget all rows."""
        self.rows.clear()
        if self._until is not None:
            self._until = self.rows.next
        self._forgotten()

    def _connected(self, init: Init) -> None:
        try:
            self.story.begin(init.all_status())
        except DBusError:
            # It has gone again, which is told.
            return
        self._connection(True, "")

    def _heard(self, signal: Signal) -> None:
        row = self.story.take(signal, time.time())
        if row is not None:
            first = self.rows.first
            self.rows.add(row)
            if self.rows.first != first:
                self._forgotten()
            self._soon(FLUSH)

    def _forgotten(self) -> None:
        change = self.shown.forgotten()
        if change is not None:
            self._changed(change)

    def _soon(self, milliseconds: int) -> None:
        if not self._timer:
            self._timer = GLib.timeout_add(milliseconds, self._flush)

    def _flush(self) -> bool:
        self._timer = 0
        change = self.shown.look(SLICE, self._until)
        if change is not None:
            self._changed(change)
        end = self.rows.next if self._until is None else min(self._until, self.rows.next)
        if self.shown.looked < end:
            self._soon(NEXT)
        return False
