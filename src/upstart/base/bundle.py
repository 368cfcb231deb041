"""The modules that a program loads at its start, compiled, in one file: a bundle.

Until init's first jobs run nothing else does on a machine that boots, and looking for some hundred and seventy modules,
a file each, is most of what it does by then.  A bundle has their code, compiled without documentation, types and
assertions, in the order in which they are wanted, and in pieces, each of which is read when the first module of it is
wanted.  `upstart.tools.makebundles` makes it where our packages are installed.  It stands beside the compiled file of
the program's module, with the same name but for the ending, so that what deletes that file deletes the bundle too.

What is always true here: of a bundle nothing is believed but what is whole, as a hash of it says, and made by this very
interpreter.  A module is taken from it only while its source is the file that was compiled, by size and time of change
as with any compiled file, and not where compiled files are passed over (`sys.pycache_prefix`).  All else is loaded as
if there was no bundle, and nobody is told.  Nothing here raises, except what a module's own code does.  A module looks
the same from wherever it was loaded.  After `forget` no code is kept that was not used.
"""

from __future__ import annotations

import _imp
import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import Any

    #: A source, the `stamp` of that, whether the module is a package, and its code.
    Module = tuple[str, tuple[int, int], bool, CodeType]
    #: The same with the number of the piece that has the code.
    Entry = tuple[str, tuple[int, int], bool, int]
    #: Where a piece is after the table, its size in bytes, and its `mark`.
    Piece = tuple[int, int, bytes]

#: What every hash is made with: another one wherever the form of a bundle changes.
KEY = 1
#: Bytes of the size of the table, which the file begins with.
SIZE = 4
#: Modules of a piece.  With more of them code that is done with leaves holes in init's memory, which nothing fills: all
#: in one would be half a megabyte.  With fewer all takes longer.
PIECE = 6


def path_of(program: str) -> str:
    """The bundle's file of the program whose ``main`` this module has; it is none of a checkout."""
    base = __file__.removesuffix("upstart/base/bundle.py")
    room, _, name = program.replace(".", "/").rpartition("/")
    return f"{base}{room}/__pycache__/{name}.{sys.implementation.cache_tag}.bundle"


def stamp(source: str) -> tuple[int, int]:
    """The size of a source and the second of its last change, in 32 bits each, as compiled files have them.

    OSError where there is none.
    """
    status = posix.stat(source)
    return status[6] & 0xFFFFFFFF, int(status[8]) & 0xFFFFFFFF


def mark(data: bytes) -> bytes:
    """By which it is known that these bytes are whole, and this interpreter's."""
    return MAGIC_NUMBER + _imp.source_hash(KEY, data)


def pack(modules: dict[str, Module]) -> bytes:
    """A bundle of these modules, in the order in which they are looked for."""
    names = list(modules)
    groups = [names[place : place + PIECE] for place in range(0, len(names), PIECE)]
    packed = [marshal.dumps({name: modules[name][3] for name in group}) for group in groups]
    entries = {name: (*modules[name][:3], number) for number, group in enumerate(groups) for name in group}
    pieces, place = [], 0
    for data in packed:
        pieces.append((place, len(data), mark(data)))
        place += len(data)
    table = marshal.dumps((entries, pieces))
    return b"".join((mark(table), len(table).to_bytes(SIZE, "little"), table, *packed))


class Bundle:
    """A finder of modules, and the loader of those that it finds.

    Whatever is wrong with the file is an error of any type.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._codes: dict[int, dict[str, CodeType]] = {}
        start = len(mark(b"")) + SIZE
        head = self._read(0, start)
        size = int.from_bytes(head[-SIZE:], "little")
        self._begin = start + size
        self._entries: dict[str, Entry]
        self._pieces: list[Piece]
        self._entries, self._pieces = self._load(start, size, head[:-SIZE])

    def _read(self, place: int, size: int) -> bytes:
        fd = posix.open(self._path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            return posix.pread(fd, size, place)
        finally:
            posix.close(fd)

    def _load(self, place: int, size: int, marked: bytes) -> Any:
        data = self._read(place, size)
        if mark(data) != marked:
            raise ValueError
        return marshal.loads(data)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module of that name, if it is here and what it was made from has not changed; once for each."""
        entry = self._entries.pop(name, None)
        if entry is None or sys.pycache_prefix is not None:
            return None
        try:
            source, stamped, package, number = entry
            if stamp(source) != stamped:
                return None
            codes = self._codes.get(number)
            if codes is None:
                # What is not whole is not tried again.
                codes = self._codes[number] = {}
                place, size, marked = self._pieces[number]
                codes.update(self._load(self._begin + place, size, marked))
            # What spec_from_file_location would find out, which takes much longer.
            spec = ModuleSpec(
                name,
                self,  # type: ignore[arg-type]
                origin=source,
                loader_state=codes.pop(name),
                is_package=package,
            )
            directory, _, file = source.rpartition("/")
            if package:
                spec.submodule_search_locations = [directory]
            spec.cached = f"{directory}/__pycache__/{file[:-3]}.{sys.implementation.cache_tag}.pyc"
            spec.has_location = True
        except Exception:
            return None
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """A module as any other."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code, which is not kept."""
        spec = module.__dict__["__spec__"]
        code, spec.loader_state = spec.loader_state, None
        exec(code, module.__dict__)

    def forget(self) -> None:
        """Find nothing any more."""
        self._entries.clear()
        self._codes.clear()


def use(path: str) -> None:
    """Have modules come from this bundle, where it is valid."""
    try:
        sys.meta_path.insert(0, Bundle(path))
    except Exception:
        pass


def forget() -> None:
    """Let go of bundles, with what was not loaded from them."""
    for finder in [finder for finder in sys.meta_path if isinstance(finder, Bundle)]:
        sys.meta_path.remove(finder)
        finder.forget()
