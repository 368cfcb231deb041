"""What a window asks or tells in a window of its own: an event to emit, the keys, and what this program is."""

from __future__ import annotations

import shlex
from xml.sax.saxutils import escape

from gi.repository import Adw, Gdk, Gtk

from upstart import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def variables(text: str) -> list[str]:
    """The words KEY=VALUE of a line, quoted as in a shell.  Raises ValueError with what is wrong."""
    words = shlex.split(text)
    for word in words:
        key, equals, _ = word.partition("=")
        if not (key and equals):
            raise ValueError(f"Not KEY=VALUE: {word}")
    return words


class EmitWindow:
    """Asks for an event; ``emit`` is called with its name and its variables."""

    def __init__(self, parent: Gtk.Window, emit: Callable[[str, list[str]], object]) -> None:
        self._emit = emit
        self._name = Adw.EntryRow(title="Event")
        self._variables = Adw.EntryRow(title="Variables: KEY=VALUE, quoted as in a shell")
        group = Adw.PreferencesGroup(margin_top=18, margin_bottom=18, margin_start=18, margin_end=18)
        for row in (self._name, self._variables):
            group.add(row)
            row.connect("entry-activated", lambda _: self._done())
            row.connect("changed", lambda _: self._check())
        self._wrong = Gtk.Label(xalign=0, wrap=True, margin_start=18, margin_end=18, margin_bottom=18, visible=False)
        self._wrong.add_css_class("error")
        self._button = Gtk.Button(label="_Emit", use_underline=True, sensitive=False)
        self._button.add_css_class("suggested-action")
        self._button.connect("clicked", lambda _: self._done())
        cancel = Gtk.Button(label="_Cancel", use_underline=True)
        header = Adw.HeaderBar(show_end_title_buttons=False, show_start_title_buttons=False)
        header.pack_start(cancel)
        header.pack_end(self._button)
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL)
        for part in (header, group, self._wrong):
            box.append(part)
        self.window = Adw.Window(
            title="Emit an Event", modal=True, transient_for=parent, default_width=440, content=box,
            destroy_with_parent=True,
        )  # fmt: skip
        cancel.connect("clicked", lambda _: self.window.close())
        keys = Gtk.ShortcutController()
        keys.add_shortcut(
            Gtk.Shortcut(
                trigger=Gtk.ShortcutTrigger.parse_string("Escape"),
                action=Gtk.CallbackAction.new(lambda *_: self.window.close() or True),
            )
        )
        self.window.add_controller(keys)
        self.window.present()
        self._name.grab_focus()

    def _check(self) -> list[str] | None:
        """Tell what is wrong with what stands there; the variables if nothing is."""
        found: list[str] | None = None
        wrong = ""
        try:
            found = variables(self._variables.get_text())
        except ValueError as error:
            wrong = str(error)
        self._wrong.set_label(wrong)
        self._wrong.set_visible(bool(wrong))
        self._button.set_sensitive(bool(self._name.get_text().strip()) and not wrong)
        return found

    def _done(self) -> None:
        found = self._check()
        if found is not None and self._button.get_sensitive():
            self._emit(self._name.get_text().strip(), found)
            self.window.close()


def show_keys(parent: Gtk.Window, keys: dict[str, tuple[str, str]]) -> None:
    """A window with all keys."""
    lines = "".join(
        f"<child><object class='GtkShortcutsShortcut'><property name='accelerator'>{escape(key)}</property>"
        f"<property name='title'>{escape(text)}</property></object></child>"
        for key, text in keys.values()
    )
    # By its description, as GTK 4.8 has no other way to put a section into such a window.
    builder = Gtk.Builder.new_from_string(
        "<interface><object class='GtkShortcutsWindow' id='keys'><property name='modal'>1</property>"
        "<child><object class='GtkShortcutsSection'><property name='section-name'>keys</property>"
        f"<property name='visible'>1</property><child><object class='GtkShortcutsGroup'>{lines}</object></child>"
        "</object></child></object></interface>",
        -1,
    )
    window = builder.get_object("keys")
    window.set_transient_for(parent)
    window.present()


def show_about(parent: Gtk.Window) -> None:
    """A window that says what this is."""
    Adw.AboutWindow(
        transient_for=parent, modal=True, application_name="Upstart Monitor", application_icon="upstart-monitor",
        version=VERSION, comments="Shows events of init, and states of its jobs, as they come.",
        license_type=Gtk.License.GPL_2_0, developer_name="Upstart maintainers",
    ).present()  # fmt: skip


def copy(text: str) -> None:
    """Have a text on the clipboard."""
    display = Gdk.Display.get_default()
    if display is not None:
        display.get_clipboard().set_content(Gdk.ContentProvider.new_for_value(text))
