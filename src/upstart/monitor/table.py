"""The list of rows in a window: three columns, a selection, and an end that is followed while one is there."""

from __future__ import annotations

from gi.repository import Gdk, GLib, Gtk, Pango

from upstart.monitor import words
from upstart.monitor.listmodel import ListModel
from upstart.monitor.rows import EVENT, FAILED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.monitor.rows import Change, Row, Rows, Shown

#: How an event looks, a state, and a failure: names of libadwaita's styles.
_STYLES = {EVENT: [], FAILED: ["error"]}
_STATE = ["accent"]

#: Pixels before the end that are the end: less than a row.
_NEAR = 12


class Table:
    """The list; ``selected`` is called with a row, or ``None``, when another is."""

    def __init__(self, rows: Rows, shown: Shown, selected: Callable[[Row | None], object]) -> None:
        self._rows = rows
        self._shown = shown
        self._selected = selected
        self.model = ListModel(shown)
        self.selection = Gtk.SingleSelection(autoselect=False, can_unselect=True, model=self.model)
        self.selection.connect("notify::selected-item", self._selection_changed)
        self.view = Gtk.ColumnView(model=self.selection, show_row_separators=False, hexpand=True, vexpand=True)
        self.view.add_css_class("data-table")
        self.view.update_property([Gtk.AccessibleProperty.LABEL], ["Events and job states"])
        for title, text, styles, expand in (
            ("Time", lambda row: words.moment(row.time)[11:], ["numeric", "dim-label"], False),
            ("Event or Job", words.title, [], False),
            ("Variables or State", words.details, [], True),
        ):
            self._add_column(title, text, styles, expand)
        self.scrolled = Gtk.ScrolledWindow(child=self.view, hexpand=True, vexpand=True)
        self._adjustment = self.scrolled.get_vadjustment()
        #: Whether the newest row is to be in sight.
        self.follows = True
        self._adjustment.connect("changed", lambda _: self._to_the_end())
        # That the list has moved says nothing of who moved it: the wheel, the bar and the keys are asked.
        wheel = Gtk.EventControllerScroll(
            flags=Gtk.EventControllerScrollFlags.VERTICAL, propagation_phase=Gtk.PropagationPhase.CAPTURE
        )
        wheel.connect("scroll", self._wheel)
        self.scrolled.add_controller(wheel)
        bar = Gtk.EventControllerLegacy(propagation_phase=Gtk.PropagationPhase.CAPTURE)
        bar.connect("event", self._bar)
        self.scrolled.get_vscrollbar().add_controller(bar)
        keys = Gtk.EventControllerKey(propagation_phase=Gtk.PropagationPhase.CAPTURE)
        keys.connect("key-pressed", self._key)
        self.view.add_controller(keys)

    def _add_column(self, title: str, text: Callable[[Row], str], styles: list[str], expand: bool) -> None:
        factory = Gtk.SignalListItemFactory()
        coloured = not styles and not expand

        def setup(_factory: Any, item: Gtk.ListItem) -> None:
            label = Gtk.Label(xalign=0, ellipsize=Pango.EllipsizeMode.END, single_line_mode=True)
            label.set_css_classes(styles)
            item.set_child(label)

        def bind(_factory: Any, item: Gtk.ListItem) -> None:
            try:
                row = self._rows.row(item.get_item().number)
            except IndexError:
                # It has just been forgotten, which the list is told next.
                return
            label = item.get_child()
            label.set_text(text(row))
            if coloured:
                label.set_css_classes(_STYLES.get(row.kind, _STATE))

        factory.connect("setup", setup)
        factory.connect("bind", bind)
        column = Gtk.ColumnViewColumn(title=title, factory=factory, resizable=True, expand=expand)
        if not expand:
            column.set_fixed_width(150 if styles else 230)
        self.view.append_column(column)

    # Selection

    def row(self) -> Row | None:
        """The row that is selected."""
        item = self.selection.get_selected_item()
        try:
            return None if item is None else self._rows.row(item.number)
        except IndexError:
            return None

    def _selection_changed(self, *_: object) -> None:
        self._selected(self.row())

    def select(self, position: int) -> None:
        """Select the row at a position, and bring it into sight."""
        self.follows = False
        self.selection.set_selected(position)
        self._scroll_to(position)

    def unselect(self) -> None:
        """Select no row."""
        self.selection.set_selected(Gtk.INVALID_LIST_POSITION)

    def position(self) -> int:
        """Where the selected row is, -1 if there is none."""
        position = self.selection.get_selected()
        return -1 if position == Gtk.INVALID_LIST_POSITION else int(position)

    # The end

    def changed(self, change: Change) -> None:
        """Tell the list of a change of what is shown."""
        self.model.changed(change)
        self._keep()

    def follow(self) -> None:
        """Go to the newest row, and stay there."""
        self.follows = True
        self._keep()

    def _keep(self) -> None:
        count = len(self._shown)
        if self.follows and count:
            self._scroll_to(count - 1)

    def _scroll_to(self, position: int) -> None:
        # By an action of the list's own, as GTK 4.8 has no other way.
        self.view.get_last_child().activate_action("list.scroll-to-item", GLib.Variant("u", position))

    def _to_the_end(self) -> None:
        """The list knows by now how long it is."""
        if self.follows:
            self._adjustment.set_value(self._adjustment.get_upper() - self._adjustment.get_page_size())

    def _at_end(self) -> bool:
        end = self._adjustment.get_upper() - self._adjustment.get_page_size()
        return bool(self._adjustment.get_value() >= end - _NEAR)

    def _wheel(self, _controller: Gtk.EventControllerScroll, _dx: float, dy: float) -> bool:
        if dy < 0:
            self.follows = False
        else:
            GLib.idle_add(self._look)
        return False

    def _bar(self, _controller: Gtk.EventControllerLegacy, event: Any) -> bool:
        if event.get_event_type() in (Gdk.EventType.BUTTON_PRESS, Gdk.EventType.TOUCH_BEGIN):
            self.follows = False
        elif event.get_event_type() in (Gdk.EventType.BUTTON_RELEASE, Gdk.EventType.TOUCH_END):
            GLib.idle_add(self._look)
        return False

    def _key(self, _controller: Gtk.EventControllerKey, key: int, _code: int, _state: Gdk.ModifierType) -> bool:
        if key in (Gdk.KEY_Up, Gdk.KEY_Page_Up, Gdk.KEY_Home):
            self.follows = False
        return False

    def _look(self) -> bool:
        """Whoever has gone to the end stays there."""
        self.follows = self.follows or self._at_end()
        return False
