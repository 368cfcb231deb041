"""A window of upstart-monitor that is driven from outside: each line of the standard input is an expression of Python.

It is evaluated in the window's loop, where `window` is the window, `active` the one that has the keyboard and `frames`
what has been measured, and its value is written as a line of JSON.  The arguments are a place and the directory of the
sources.
"""

from __future__ import annotations

import json
import sys
import time

sys.path.insert(0, sys.argv[2])

from upstart.monitor.display import open_display

open_display()

from gi.repository import Adw, Gdk, GLib, Gtk  # noqa: E402

from upstart.monitor import application, words  # noqa: E402
from upstart.monitor.places import Place  # noqa: E402
from upstart.monitor.rows import EVENT, FAILED, STATE, Filter  # noqa: E402

#: Seconds of this thread from one frame to the next, and on the clock.
frames: list[tuple[float, float]] = []
_last = (0.0, 0.0)


def tick(_widget: object, _clock: object) -> bool:
    global _last
    now = time.thread_time(), time.monotonic()
    frames.append((now[0] - _last[0], now[1] - _last[1]))
    _last = now
    return True


def texts(widget: Gtk.Widget) -> list[str]:
    """All that labels in a widget say."""
    found = [widget.get_text()] if isinstance(widget, Gtk.Label) and widget.get_mapped() else []
    child = widget.get_first_child()
    while child is not None:
        found += texts(child)
        child = child.get_next_sibling()
    return found


app = application.application(Place(sys.argv[1]), Filter((EVENT, STATE, FAILED)))


def asked(channel: GLib.IOChannel, _condition: object) -> bool:
    line = channel.readline()
    if not line:
        app.quit()
        return False
    windows = app.get_windows()
    names = {
        "app": app, "window": windows[-1] if windows else None, "frames": frames, "texts": texts, "tick": tick,
        "words": words, "Adw": Adw, "Gdk": Gdk,
        "active": next((each for each in Gtk.Window.list_toplevels() if each.is_active()), None),
    }  # fmt: skip
    print(json.dumps(eval(line, names), default=str), flush=True)
    return True


GLib.io_add_watch(GLib.IOChannel.unix_new(0), GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, asked)
sys.exit(app.run([]))
