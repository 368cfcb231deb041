"""Makes the bundles of programs for which a boot waits (`upstart.base.bundle`), where our packages are installed.

What is always true here: which modules a bundle has is found out by loading them, in an interpreter that is started as
the programs are.  It is written whole, or the one before stays.  Those of other interpreters, by which no program runs
any more, are deleted.
"""

from __future__ import annotations

import ast
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
    from typing import Any

    from upstart.base.bundle import Module

#: The module of each program; where the modules are named that it loads later; and a program that it runs in a fork
#: before it has forgotten the bundle (`upstart.process.ownprograms`).
PROGRAMS = {
    "upstart.daemon.main": ("upstart.daemon.daemon.REST", "upstart.mounts.main"),
}
#: A module with this line, as all of ours, never asks of which types something is.
UNASKED = b"\nfrom __future__ import annotations\n"
#: Loads what a program does, as it does, then what its fork does, and only then what makes a bundle of that.
LOADING = """
import sys
program, later, forked, names, *sys.path = sys.argv[1:]
known = set(sys.modules)
__import__(program)
place, _, rest = later.rpartition(".")
for name in getattr(sys.modules[place], rest):
    __import__(name)
__import__(forked)
for name in names.split():
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        # Something in a module that is none itself.
        if error.name != name:
            raise
loaded = [name for name in sys.modules if name not in known]
from upstart.tools.makebundles import bundle_of
sys.stdout.buffer.write(bundle_of(loaded))
"""


class Bare(ast.NodeTransformer):
    """Takes types away, which are for who reads a module and for mypy: each function would keep its own."""

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.stmt:
        """A function and those in it; types of what is local are kept nowhere."""
        for each in ast.walk(node):
            if isinstance(each, ast.arg):
                each.annotation = None
            elif isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
                each.returns = None
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        """A name of a module or a class."""
        bare = ast.Pass() if node.value is None else ast.Assign([node.target], node.value)
        return ast.copy_location(bare, node)


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
            text = file.read()
            tree = ast.parse(text)
            if UNASKED in text:
                tree = Bare().visit(tree)
        code: Any = compile(tree, spec.origin, "exec", dont_inherit=True, optimize=2)
        modules[name] = spec.origin, stamped, spec.submodule_search_locations is not None, code
    return pack(modules)


def imported_later(program: str) -> list[str]:
    """The modules of its own room that functions of a program's module import, and what may be such modules.

    Others are for messages and the like.
    """
    room, _, name = program.rpartition(".")
    directory = os.path.dirname(os.path.dirname(path_of(program)))
    with open(f"{directory}/{name}.py", encoding="utf-8") as file:
        functions = [node for node in ast.walk(ast.parse(file.read())) if isinstance(node, ast.FunctionDef)]
    found: list[str] = []
    for node in (node for function in functions for node in ast.walk(function)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [each for each in dict.fromkeys(found) if each.startswith(f"{room}.")]


def make(program: str) -> None:
    """Write the bundle of a program, and delete those of other interpreters.

    OSError, or CalledProcessError after a message.
    """
    path = path_of(program)
    later, forked = PROGRAMS[program]
    names = " ".join(imported_later(forked))
    # Which columns of a line code stands for takes a tenth of its memory, and is shown by nothing of ours.
    command = [sys.executable, "-IS", "-X", "no_debug_ranges", "-c", LOADING, program, later, forked, names, *sys.path]
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
    for program in PROGRAMS:
        try:
            make(program)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = error.strerror if isinstance(error, OSError) else "see above"
            print(f"make-bundles: Unable to make the bundle of {program}: {reason}", file=sys.stderr)
            status = 1
    return status
