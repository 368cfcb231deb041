"""The rows that are shown, as a list of GTK's: an object for each row that is looked at, and for no other."""

from __future__ import annotations

from gi.repository import Gio, GObject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.monitor.rows import Change, Shown


class Item(GObject.Object):  # type: ignore[misc]
    """A row by its ``number``."""

    __gtype_name__ = "UpstartMonitorItem"

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class ListModel(GObject.Object, Gio.ListModel):  # type: ignore[misc]
    """What a view is given; whoever changes `Shown` says so by `changed`, at once."""

    __gtype_name__ = "UpstartMonitorList"

    def __init__(self, shown: Shown) -> None:
        super().__init__()
        self._shown = shown

    def do_get_item_type(self) -> object:
        return Item.__gtype__

    def do_get_n_items(self) -> int:
        return len(self._shown)

    def do_get_item(self, position: int) -> Item | None:
        return Item(self._shown.number(position)) if position < len(self._shown) else None

    def changed(self, change: Change | None) -> None:
        """Tell the view of a change of what is shown."""
        if change is not None:
            self.items_changed(change.position, change.removed, change.added)
