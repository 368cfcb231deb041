"""The window: a list of rows, a filter, a search, a pane with details, and what may be asked of init.

What is always true here: everything can be done by the keyboard (`application.KEYS` has the keys); calls to init are
made beside the loop; what goes wrong is a toast, and never the end.
"""

from __future__ import annotations

import shlex

from gi.repository import Adw, Gio, GLib, Gtk

from upstart.monitor import dialogs, related, words
from upstart.monitor.details import Details
from upstart.monitor.feed import Feed
from upstart.monitor.rows import EVENT, FAILED, STATE, Filter
from upstart.monitor.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.base.errors import DBusError
    from upstart.client.init import Init
    from upstart.monitor.places import Place
    from upstart.monitor.rows import Change, Row

#: Milliseconds that a row has to be selected until init is asked about it.
ASK_AFTER = 150
#: Rows that are searched in one go.
SEARCHED = 50_000


class Window(Adw.ApplicationWindow):  # type: ignore[misc]
    """The window of a monitor; ``keys`` has what its actions are reached by."""

    def __init__(self, app: Adw.Application, place: Place, filter: Filter, keys: dict[str, tuple[str, str]]) -> None:
        super().__init__(application=app, title="Upstart Monitor", default_width=960, default_height=600)
        self.set_icon_name("upstart-monitor")
        self._place = place
        self._keys = keys
        self._given = filter
        self._asked = 0
        self._about: Row | None = None
        self.feed = Feed(place, filter, self._changed, self._connection)
        self.table = Table(self.feed.rows, self.feed.shown, self._selected)
        self.details = Details(self._command, self._copied, place.may_change)
        self._toasts = Adw.ToastOverlay()
        self._build(filter)
        for name in keys:
            if name.startswith("win."):
                action = Gio.SimpleAction(name=name[4:])
                action.connect("activate", getattr(self, "_do_" + name[4:].replace("-", "_")))
                self.add_action(action)
        for name in ("about",):
            action = Gio.SimpleAction(name=name)
            action.connect("activate", lambda *_: dialogs.show_about(self))
            self.add_action(action)
        self.connect("close-request", self._close)
        self._tell_count()
        self.feed.start()

    # What it is made of

    def _build(self, filter: Filter) -> None:
        self._title = Adw.WindowTitle(title="Upstart Monitor", subtitle=self._place.text)
        header = Adw.HeaderBar(title_widget=self._title)
        self._pause = Gtk.ToggleButton(icon_name="media-playback-pause-symbolic", tooltip_text="Pause (Ctrl+P)")
        self._pause.connect("toggled", lambda button: self._set_paused(button.get_active()))
        emit = Gtk.Button(icon_name="list-add-symbolic", tooltip_text="Emit an event (Ctrl+E)", action_name="win.emit")
        header.pack_start(self._pause)
        header.pack_start(emit)
        menu = Gio.Menu()
        for items in (
            (("_Copy Row", "win.copy"), ("Copy _All Rows", "win.copy-all"), ("_Save Rows…", "win.save")),
            (("Go to the _Newest", "win.end"), ("_Forget All Rows", "win.clear"), ("Show _Details", "win.details")),
            (("_Keyboard Shortcuts", "win.keys"), ("A_bout Upstart Monitor", "win.about")),
        ):
            section = Gio.Menu()
            for label, name in items:
                section.append(label, name)
            menu.append_section(None, section)
        header.pack_end(
            Gtk.MenuButton(icon_name="open-menu-symbolic", menu_model=menu, primary=True, tooltip_text="Menu (F10)")
        )
        self._search_button = Gtk.ToggleButton(icon_name="system-search-symbolic", tooltip_text="Search (Ctrl+F)")
        header.pack_end(self._search_button)

        self._entry = Gtk.SearchEntry(
            placeholder_text="Filter: part of a name, a pattern, or NAME=pattern", hexpand=True, search_delay=80
        )
        self._entry.connect("search-changed", lambda _: self._refilter())
        self._entry.connect("stop-search", lambda _: self._entry.set_text("") or self.table.view.grab_focus())
        kinds = Gtk.Box()
        kinds.add_css_class("linked")
        self._events = Gtk.ToggleButton(label="_Events", use_underline=True, active=EVENT in filter.kinds)
        self._states = Gtk.ToggleButton(label="_Job States", use_underline=True, active=STATE in filter.kinds)
        for button in (self._events, self._states):
            button.connect("toggled", lambda _: self._refilter())
            kinds.append(button)
        bar = Gtk.Box(spacing=6, margin_top=6, margin_bottom=6, margin_start=6, margin_end=6)
        bar.append(self._entry)
        bar.append(kinds)

        self._search = Gtk.SearchEntry(placeholder_text="Search", hexpand=True, width_chars=30)
        self._search.connect("activate", lambda _: self._find(True))
        self._search.connect("next-match", lambda _: self._find(True))
        self._search.connect("previous-match", lambda _: self._find(False))
        found = Gtk.Box()
        found.add_css_class("linked")
        for icon, title, name in (("go-up-symbolic", "Previous", "previous"), ("go-down-symbolic", "Next", "next")):
            found.append(Gtk.Button(icon_name=icon, tooltip_text=title, action_name="win." + name))
        line = Gtk.Box(spacing=6)
        line.append(self._search)
        line.append(found)
        self._search_bar = Gtk.SearchBar(child=line, show_close_button=True)
        self._search_bar.connect_entry(self._search)
        self._search_bar.bind_property("search-mode-enabled", self._search_button, "active", 3)

        self._lost = Gtk.Revealer(child=Gtk.Label(wrap=True, margin_top=9, margin_bottom=9))
        self._lost.get_child().add_css_class("heading")
        self._empty = Adw.StatusPage(icon_name="view-list-symbolic", title="No Rows Yet")
        self._stack = Gtk.Stack(hexpand=True)
        self._stack.add_named(self._empty, "empty")
        self._stack.add_named(self.table.scrolled, "table")
        self._paned = Gtk.Paned(
            start_child=self._stack, end_child=self.details.widget, resize_end_child=False, shrink_end_child=False,
            shrink_start_child=False, vexpand=True,
        )  # fmt: skip
        self.details.widget.set_visible(False)
        self._count = Gtk.Label(xalign=0, hexpand=True)
        self._count.set_css_classes(["dim-label", "caption", "numeric"])
        foot = Gtk.Box(margin_top=6, margin_bottom=6, margin_start=12, margin_end=12)
        foot.append(self._count)
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL)
        for part in (header, bar, self._search_bar, self._lost, Gtk.Separator(), self._paned, Gtk.Separator(), foot):
            box.append(part)
        self._toasts.set_child(box)
        self.set_content(self._toasts)

    # What comes

    def _changed(self, change: Change) -> None:
        self.table.changed(change)
        self._tell_count()

    def _tell_count(self) -> None:
        rows, shown = self.feed.rows, len(self.feed.shown)
        count = rows.next - rows.first
        text = f"{shown:,} of {count:,} rows"
        if rows.first > 1:
            text += f"; {rows.first - 1:,} before them are forgotten"
        if self.feed.paused:
            text += f"; paused, {self.feed.waiting:,} since"
        self._count.set_label(text)
        self._stack.set_visible_child_name("table" if shown else "empty")
        if not shown:
            self._empty.set_title("Nothing That the Filter Wants" if count else "No Rows Yet")
            self._empty.set_description("" if count else "Events show here as init finishes them.")

    def _connection(self, there: bool, reason: str) -> None:
        self._lost.get_child().set_label("" if there else f"{reason}. It is waited for.")
        self._lost.set_reveal_child(not there)
        self._title.set_subtitle(self._place.text if there else "not connected")

    # Which rows there are

    def _refilter(self) -> None:
        kinds = [EVENT] if self._events.get_active() else []
        if self._states.get_active():
            kinds += [STATE, FAILED]
        text = self._entry.get_text()
        try:
            wanted = shlex.split(text)
        except ValueError:
            # A quote that is not closed yet.
            wanted = text.split()
        self.feed.set_filter(Filter(kinds, self._given.events, self._given.variables, wanted))
        self.table.follow()
        self._tell_count()

    def _set_paused(self, paused: bool) -> None:
        self.feed.paused = paused
        self._tell_count()

    # A row

    def _selected(self, row: Row | None) -> None:
        if self._asked:
            GLib.source_remove(self._asked)
            self._asked = 0
        self._about = row
        self.details.widget.set_visible(row is not None)
        if row is not None:
            self.table.follows = False
            self.details.show(row)
            self._asked = GLib.timeout_add(ASK_AFTER, self._ask, row)

    def _ask(self, row: Row) -> bool:
        self._asked = 0

        def told(found: related.Related) -> None:
            if self._about is row:
                self.details.tell(row, found)

        def failed(error: DBusError) -> None:
            if self._about is row:
                self.details.failed(error.message.strip())

        self.feed.watcher.aside(lambda init: related.ask(init, row), told, failed)
        return False

    def _command(self, what: str, job: str, instance: str) -> None:
        def work(init: Init) -> None:
            found = init.job(job)
            target: Any = found.instance_named(instance) if instance else found
            getattr(target, what)(wait=False)

        name = f"{job} ({instance})" if instance else job
        done = {"start": "started", "stop": "stopped", "restart": "restarted"}[what]
        self.feed.watcher.aside(work, lambda _: self._toast(f"{name} is being {done}"), self._refused)

    def _refused(self, error: DBusError) -> None:
        self._toast(error.message.strip())

    def _toast(self, text: str) -> None:
        self._toasts.add_toast(Adw.Toast(title=GLib.markup_escape_text(words.visible(text)), timeout=4))

    def _copied(self, text: str) -> None:
        dialogs.copy(text)
        self._toast("Copied")

    # Actions, by their names

    def _do_search(self, *_: object) -> None:
        self._search_bar.set_search_mode(True)
        self._search.grab_focus()

    def _do_next(self, *_: object) -> None:
        self._find(True)

    def _do_previous(self, *_: object) -> None:
        self._find(False)

    def _find(self, forwards: bool) -> None:
        text = self._search.get_text()
        if not text:
            self._do_search()
            return
        start = self.table.position()
        if start < 0:
            start = 0 if forwards else -1
        else:
            start += 1 if forwards else -1
        position = self.feed.shown.find(text, start, forwards, SEARCHED)[0]
        if position is None:
            self._toast("Not found")
        else:
            self.table.select(position)

    def _do_filter(self, *_: object) -> None:
        self._entry.grab_focus()

    def _do_pause(self, *_: object) -> None:
        self._pause.set_active(not self._pause.get_active())

    def _do_copy(self, *_: object) -> None:
        row = self.table.row()
        if row is not None:
            self._copied(words.line(row))

    def _text(self) -> str:
        shown = self.feed.shown
        return "".join(words.line(shown.row(position)) + "\n" for position in range(len(shown)))

    def _do_copy_all(self, *_: object) -> None:
        self._copied(self._text())

    def _do_save(self, *_: object) -> None:
        chooser = Gtk.FileChooserNative(title="Save Rows", transient_for=self, action=Gtk.FileChooserAction.SAVE)
        chooser.set_current_name("upstart-events.txt")
        text = self._text()

        def answered(chooser: Gtk.FileChooserNative, answer: int) -> None:
            if answer == Gtk.ResponseType.ACCEPT:
                data = GLib.Bytes.new(text.encode("utf-8", "backslashreplace"))
                file = chooser.get_file()
                file.replace_contents_bytes_async(data, None, False, Gio.FileCreateFlags.NONE, None, saved)
            chooser.destroy()

        def saved(file: Gio.File, result: Gio.AsyncResult) -> None:
            try:
                file.replace_contents_finish(result)
                self._toast(f"Saved {file.get_basename()}")
            except GLib.Error as error:
                self._toast(error.message)

        chooser.connect("response", answered)
        chooser.show()

    def _do_clear(self, *_: object) -> None:
        self.feed.clear()
        self._tell_count()

    def _do_emit(self, *_: object) -> None:
        def emit(name: str, env: list[str]) -> None:
            def work(init: Init) -> None:
                init.emit(name, env, wait=False)

            self.feed.watcher.aside(work, lambda _: self._toast(f"{name} is emitted"), self._refused)

        dialogs.EmitWindow(self, emit)

    def _do_end(self, *_: object) -> None:
        self.table.unselect()
        self.table.follow()

    def _do_details(self, *_: object) -> None:
        self.details.widget.set_visible(self._about is not None and not self.details.widget.get_visible())

    def _do_keys(self, *_: object) -> None:
        dialogs.show_keys(self, self._keys)

    def _close(self, _window: Adw.ApplicationWindow) -> bool:
        if self._asked:
            GLib.source_remove(self._asked)
            self._asked = 0
        self.feed.stop()
        return False
