"""``upstart-monitor``: shows events, and states of jobs, as they come: in a window, or line by line."""

from __future__ import annotations

import os
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from upstart.base.inherited import restore_locale
from upstart.monitor import places
from upstart.monitor.rows import EVENT, FAILED, STATE, Filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def test(word: str) -> tuple[str, str]:
    """A variable and the pattern for its value, of NAME=GLOB."""
    name, equals, pattern = word.partition("=")
    if not (name and equals):
        raise ArgumentTypeError(f"not NAME=GLOB: {word!r}")
    return name, pattern


def options(argv: Sequence[str]) -> Namespace:
    """The command line; ends the program where that is wrong, or asks for help."""
    parser = ArgumentParser(prog=os.path.basename(argv[0]), description="Show events of init as they come.")
    add = parser.add_argument
    add("-n", "--no-gui", action="store_true", help="line by line, and no window")
    add("-s", "--separator", default="\t", help="what stands between the time and the event (default a tab)")
    add("-d", "--destination", choices=tuple(places.PLACES), help="where init is (default the session's init, if any)")
    add("-e", "--event", dest="events", action="append", default=[], metavar="GLOB",
        help="only events of such names; may be repeated")  # fmt: skip
    add("-v", "--variable", dest="variables", action="append", default=[], metavar="NAME=GLOB", type=test,
        help="only events with such a variable; all of several")  # fmt: skip
    add("--states", action="store_true", help="states of jobs as well")
    add("-j", "--json", action="store_true", help="an object of JSON in each line; implies --no-gui")
    add("-w", "--wait", action="store_true", help="wait for an init that is not there, or goes")
    return parser.parse_args(argv[1:])


def window_wanted(given: Namespace) -> bool:
    """Whether there is to be a window, as far as that can be known without trying."""
    return not (given.no_gui or given.json) and any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def main(argv: list[str]) -> int:
    """The command; the exit status."""
    restore_locale()
    given = options(argv)
    # An interrupt is the way to end it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    program = os.path.basename(argv[0])
    name = given.destination or places.default()
    try:
        place = places.Place(name)
    except KeyError as error:
        print(f"{program}: There is no session: {error.args[0]} is not set", file=sys.stderr)
        return 1
    kinds = (EVENT, STATE, FAILED) if given.states else (EVENT,)
    filter = Filter(kinds, given.events, given.variables)
    if window_wanted(given):
        try:
            from upstart.monitor.display import NoDisplay, open_display

            try:
                open_display()
            except NoDisplay:
                print(f"{program}: No window, as no display can be opened", file=sys.stderr)
            else:
                from upstart.monitor.application import run

                return run(place, filter)
        except (ImportError, ValueError) as error:
            print(f"{program}: No window, as GTK 4 with libadwaita is not there: {error}", file=sys.stderr)
    try:
        from upstart.monitor.console import Console
    except ImportError as error:
        print(f"{program}: PyGObject (python3-gi) is not there: {error}", file=sys.stderr)
        return 1
    return Console(program, place, filter, given.states, given.separator, given.json, given.wait).run()
