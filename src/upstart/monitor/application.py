"""The window's program: what every window has in common; loaded once there is a display (`display`)."""

from __future__ import annotations

from gi.repository import Adw, Gio

from upstart.monitor.window import Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.monitor.places import Place
    from upstart.monitor.rows import Filter

ID = "com.ubuntu.Upstart.Monitor"

#: By action of a window, or of the program: its keys, and what it does, as the help shows them.
KEYS = {
    "win.search": ("<Control>f", "Search in what is shown"),
    "win.next": ("<Control>g", "Next row that is found"),
    "win.previous": ("<Control><Shift>g", "Previous row that is found"),
    "win.filter": ("<Control>l", "Filter"),
    "win.pause": ("<Control>p", "Pause"),
    "win.copy": ("<Control>c", "Copy the row"),
    "win.copy-all": ("<Control><Shift>c", "Copy all rows that are shown"),
    "win.save": ("<Control>s", "Save what is shown"),
    "win.clear": ("<Control><Shift>Delete", "Forget all rows"),
    "win.emit": ("<Control>e", "Emit an event"),
    "win.end": ("<Alt>End", "Go to the newest row, and stay there"),
    "win.details": ("F9", "Show or hide the details"),
    "win.keys": ("<Control>question", "Keyboard shortcuts"),
    "app.quit": ("<Control>q", "Quit"),
}


def run(place: Place, filter: Filter) -> int:
    """Show a window until it is closed; the exit status."""
    return int(application(place, filter).run([]))


def application(place: Place, filter: Filter) -> Adw.Application:
    """The program, which has its window once it runs."""
    # Each call of the program is one of its own: what it is to show is on its command line.
    app = Adw.Application(application_id=ID, flags=Gio.ApplicationFlags.NON_UNIQUE)

    def activate(app: Adw.Application) -> None:
        window = app.get_active_window() or Window(app, place, filter, KEYS)
        window.present()

    def quit(_action: Gio.SimpleAction, _value: None) -> None:
        app.quit()

    action = Gio.SimpleAction(name="quit")
    action.connect("activate", quit)
    app.add_action(action)
    for name, (key, _) in KEYS.items():
        app.set_accels_for_action(name, [key])
    app.connect("activate", activate)
    return app
