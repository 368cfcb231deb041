"""GTK's and libadwaita's versions, and the display; before anything of the window is loaded, which needs both.

What is always true here: whoever has come through `open_display` has GTK 4 and libadwaita 1, as both Debian 12 and 13
have them, and a display.  Nothing newer than GTK 4.8 and libadwaita 1.2 is used.
"""

from __future__ import annotations

import os

import gi


class NoDisplay(Exception):
    """There is no display, or it cannot be opened."""


def open_display() -> None:
    """Load GTK and open the display.  Raises NoDisplay; ImportError or ValueError where GTK is not there."""
    gi.require_version("Gdk", "4.0")
    gi.require_version("Gtk", "4.0")
    gi.require_version("Adw", "1")
    if "GSK_RENDERER" not in os.environ:
        # A list of text gains nothing by OpenGL, whose drivers take more memory than all the rest: 60 of 100 MB.
        os.environ["GSK_RENDERER"] = "cairo"
        repository = gi.Repository.get_default()
        repository.require("Gtk", "4.0", 0)
        # Asked before GTK itself is loaded, which looks at once.
        if repository.find_by_name("Gtk", "MINOR_VERSION").get_value() >= 16:
            os.environ.setdefault("GDK_DISABLE", "gl,vulkan")
        else:
            os.environ.setdefault("GDK_DEBUG", "gl-disable")
    from gi.repository import Gdk, Gtk

    # libadwaita complains at length of what is missing as soon as it is loaded, so that it is loaded last.
    if not Gtk.init_check() or Gdk.Display.get_default() is None:
        raise NoDisplay
