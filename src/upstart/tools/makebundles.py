"""Makes the bundles of programs for which a boot waits (`upstart.base.bundle`), where our packages are installed.

What is always true here: which modules a bundle has is found out by loading them, in an interpreter that is started as
the programs are.  It is written whole, or the one before stays.  Those of other interpreters, by which no program runs
any more, are deleted.
"""

from __future__ import annotations

import glob
import os
import subprocess
import sys
from _frozen_importlib_external import SourceFileLoader

from upstart.base.bundle import pack, path_of, stamp
from upstart.base.wholefile import write_whole_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from upstart.base.bundle import Module

#: The module of each program, and the modules that it loads with what is named there, when what is urgent is done.
PROGRAMS = {
    "upstart.daemon.main": "upstart.daemon.daemon.REST",
}
#: Loads what a program does, as it does, and only then what makes a bundle of that.
LOADING = """
import sys
program, rest, *sys.path = sys.argv[1:]
known = set(sys.modules)
__import__(program)
place, _, names = rest.rpartition(".")
for name in getattr(sys.modules[place], names):
    __import__(name)
loaded = [name for name in sys.modules if name not in known]
from upstart.tools.makebundles import bundle_of
sys.stdout.buffer.write(bundle_of(loaded))
"""


def bundle_of(names: Iterable[str]) -> bytes:
    """A bundle of those of these modules, which are loaded, that have a source.  OSError where it cannot be read."""
    modules: dict[str, Module] = {}
    for name in names:
        spec = sys.modules[name].__spec__
        if spec is None or spec.origin is None or type(spec.loader) is not SourceFileLoader:
            continue
        # Before it is read: of one that changes meanwhile nothing is used.
        stamped = stamp(spec.origin)
        with open(spec.origin, "rb") as file:
            code = compile(file.read(), spec.origin, "exec", dont_inherit=True, optimize=2)
        modules[name] = spec.origin, stamped, spec.submodule_search_locations is not None, code
    return pack(modules)


def make(program: str, rest: str) -> None:
    """Write the bundle of a program, and delete those of other interpreters.

    OSError, or CalledProcessError after a message.
    """
    path = path_of(program)
    # Which columns of a line code stands for takes a tenth of its memory, and is shown by nothing of ours.
    command = [sys.executable, "-IS", "-X", "no_debug_ranges", "-c", LOADING, program, rest, *sys.path]
    data = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_whole_data(path, data, 0o644)
    stem = path.removesuffix(f".{sys.implementation.cache_tag}.bundle")
    for other in glob.glob(f"{glob.escape(stem)}.*.bundle"):
        if other != path:
            os.unlink(other)


def main() -> int:
    """Make all of them; 1 if one cannot be made: its program starts without."""
    status = 0
    for program, rest in PROGRAMS.items():
        try:
            make(program, rest)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = error.strerror if isinstance(error, OSError) else "see above"
            print(f"make-bundles: Unable to make the bundle of {program}: {reason}", file=sys.stderr)
            status = 1
    return status
