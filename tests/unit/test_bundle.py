"""A program's modules in one file: what is taken from it, what is not, and that nobody can tell the difference."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from upstart.base import bundle
from upstart.tools import makebundles

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "things/__init__.py": '"""Things."""\nfrom things import one\n',
    "things/one.py": (
        '"""One."""\nfrom things import two\nimport colorsys\n\ndef fail():\n    assert False\n    1 / 0\n'
    ),
    "things/two.py": "import things.three\n",
    "things/three.py": "VALUE = 3\n",
}
#: All that can say of which type something is.
TYPED = """
from __future__ import annotations
from things import two
import colorsys
number: int = 1
later: str

class Kind:
    count: int = 2
    other: str

    def method(self, first: int, *rest: int, key: str = "k") -> tuple[int, str]:
        local: int
        local = first
        inner: int = local

        def nested(x: int) -> int:
            return inner + x

        return nested(1), key

    @property
    def both(self) -> int:
        self.there: int = 6
        return self.there

    async def soon(self, x: int) -> int:
        return x
"""
NAMES = ("things", "things.one", "things.two", "things.three")
#: Prints where each module came from, once all are loaded, and its value.
SOURCES = """
import things
for name in ("things", "things.one", "things.two", "things.three", "colorsys"):
    print(name, type(sys.modules[name].__loader__).__name__)
print(things.three.VALUE)
"""
#: Prints all by which modules can be told apart.
LOOKS = """
import things
for name in ("things", "things.one", "things.three", "colorsys"):
    module = sys.modules[name]
    spec = module.__spec__
    print([getattr(module, each, None) for each in ("__name__", "__file__", "__cached__", "__path__", "__package__")])
    print(spec.name, spec.origin, spec.cached, spec.has_location, spec.parent, spec.submodule_search_locations)
    print(spec.loader_state, spec.loader is module.__loader__, sorted(vars(module)))
"""


class Things:
    """A package of a few modules, and the bundle of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "things.bundle"
        for name, text in MODULES.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_text(text)
            # Of a change right afterwards the time alone would not tell.
            os.utime(directory / name, (1_000_000_000, 1_000_000_000))

    def run(self, code: str, use: bool = True) -> str:
        before = f"import sys\nsys.path += {[str(self.directory), str(ROOT / 'src')]!r}\n"
        if use:
            before += f"from upstart.base.bundle import use, forget\nuse({str(self.path)!r})\n"
        done = subprocess.run([sys.executable, "-ISB", "-c", before + code], capture_output=True, text=True, check=True)
        assert not done.stderr
        return done.stdout

    def make(self) -> None:
        code = f"""
import things
from upstart.tools.makebundles import bundle_of
open({str(self.path)!r}, "wb").write(bundle_of(("things", "things.one", "things.two", "things.three", "colorsys")))
"""
        self.run(code, use=False)

    def bundled(self) -> set[str]:
        """The modules that are loaded from the bundle; all are there, whatever is the matter with it."""
        *lines, value = self.run(SOURCES).splitlines()
        assert value == "3" and len(lines) == 5
        return {name for name, _, kind in (line.partition(" ") for line in lines) if kind == "Bundle"}


@pytest.fixture
def things(tmp_path: Path) -> Things:
    made = Things(tmp_path)
    made.make()
    return made


ALL = {*NAMES, "colorsys"}


def test_modules_come_from_a_bundle_those_of_the_library_too(things: Things) -> None:
    assert things.bundled() == ALL


def test_they_look_as_if_they_did_not(things: Things) -> None:
    assert things.run(LOOKS) == things.run(LOOKS, use=False)


def test_without_assertions_and_documentation(things: Things) -> None:
    code = """
import things.one
print(things.one.__doc__)
try:
    things.one.fail()
except ZeroDivisionError:
    print(1)
"""
    assert things.run(code) == "None\n1\n"


def test_types_are_kept_by_nothing(things: Things) -> None:
    (things.directory / "things/one.py").write_text(TYPED)
    things.make()
    code = """
import things.one as typed
kind = typed.Kind()
print(typed.number, kind.count, kind.method(1, 2, key="l"), kind.both, hasattr(typed, "later"))
print([each.__annotations__ for each in (typed.Kind.method, typed.Kind.both.fget)])
print("__annotations__" in vars(typed), "__annotations__" in vars(typed.Kind))
"""
    assert things.run(code) == "1 2 (2, 'l') 6 False\n[{}, {}]\nFalse False\n"
    assert "'first': 'int'" in things.run(code, use=False)


def test_what_fails_shows_the_line_of_its_source(things: Things) -> None:
    code = """
import things.one, traceback
try:
    things.one.fail()
except Exception:
    print(traceback.format_exc())
"""
    said = things.run(code)
    assert f'File "{things.directory}/things/one.py", line 7, in fail\n    1 / 0\n' in said


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text(path.read_text() + "\n"),
        lambda path: os.utime(path, (1_000_000_000, 1_000_000_001)),
    ],
    ids=["size", "time"],
)
def test_a_source_that_has_changed_is_what_is_loaded(things: Things, change: Callable[[Path], None]) -> None:
    change(things.directory / "things/two.py")
    assert things.bundled() == ALL - {"things.two"}


def test_a_module_whose_source_is_gone_is_not_loaded(things: Things) -> None:
    (things.directory / "things/three.py").unlink()
    code = "try:\n    import things\nexcept ImportError as error:\n    print(error)"
    assert things.run(code) == "No module named 'things.three'\n"


def test_a_module_that_it_has_not_is_loaded_as_ever(things: Things) -> None:
    (things.directory / "things/four.py").write_text("VALUE = 4\n")
    assert things.run("import things.four\nprint(things.four.VALUE)") == "4\n"


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:7],
        lambda data: data[:16],
        lambda data: data[:100],
        lambda data: b"\n" * len(data),
        # Another interpreter's, another hash, another size, and a table that is not what it was.
        lambda data: flipped(data, 0),
        lambda data: flipped(data, 8),
        lambda data: flipped(data, 12),
        lambda data: data[:12] + b"\xff\xff\xff\xff" + data[16:],
        lambda data: flipped(data, 40),
    ],
)
def test_of_a_file_that_is_no_bundle_nothing_is_taken(things: Things, damage: Callable[[bytes], bytes]) -> None:
    things.path.write_bytes(damage(things.path.read_bytes()))
    assert things.bundled() == set()


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: flipped(data, -20)])
def test_neither_is_a_piece_that_is_not_whole(things: Things, damage: Callable[[bytes], bytes]) -> None:
    things.path.write_bytes(damage(things.path.read_bytes()))
    assert things.bundled() == set()


def test_other_pieces_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    things = Things(tmp_path)
    monkeypatch.setattr(bundle, "PIECE", 2)
    modules: dict[str, bundle.Module] = {}
    for name in NAMES:
        path = tmp_path / (name.replace(".", "/") + ("/__init__.py" if name == "things" else ".py"))
        code = compile(path.read_text(), str(path), "exec", dont_inherit=True)
        modules[name] = str(path), bundle.stamp(str(path)), name == "things", code
    data = bundle.pack(modules)
    things.path.write_bytes(data)
    assert things.bundled() == set(NAMES)
    things.path.write_bytes(data[:-1])
    assert things.bundled() == {"things", "things.one"}


@pytest.mark.parametrize("what", ["none", "directory", "unreadable"])
def test_what_cannot_be_read_is_none(things: Things, what: str) -> None:
    things.path.unlink()
    if what == "directory":
        things.path.mkdir()
    elif what == "unreadable":
        things.path.symlink_to(things.path)
    assert things.bundled() == set()


def test_it_is_passed_over_where_compiled_files_are(things: Things) -> None:
    assert "Bundle" not in things.run(f"sys.pycache_prefix = '/dev/null'\n{SOURCES}")


def test_nothing_is_kept_of_it_once_it_is_forgotten(things: Things) -> None:
    code = """
import colorsys
finder = sys.meta_path[0]
print([len(held) > 0 for held in (finder._entries, finder._codes[0])])
forget()
print(finder in sys.meta_path, finder._entries, finder._codes)
import things.one
print(type(things.one.__loader__).__name__)
"""
    assert things.run(code).splitlines() == ["[True, True]", "False {} {}", "SourceFileLoader"]


def scripts(directory: Path) -> dict[str, str]:
    """The scripts of all packages, as they are installed, by their modules."""
    programs = runpy.run_path(str(ROOT / "build-aux" / "programs.py"))
    found = {}
    for name, (package, place, module) in programs["PROGRAMS"].items():
        programs["install"](str(directory), package, "/sbin")
        found[module] = (directory / ("sbin" if place == "sbin" else place[1:]) / name).read_text()
    return found


def test_those_programs_use_one_for_which_one_is_made(tmp_path: Path) -> None:
    using = {module for module, text in scripts(tmp_path).items() if f"use(path_of({module!r}))" in text}
    assert using == makebundles.PROGRAMS.keys()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, for which bundles were made, beside those of other interpreters."""
    directory = tmp_path_factory.mktemp("installed")
    subprocess.run(["cp", "-a", str(ROOT / "src" / "upstart"), str(directory)], check=True)
    (directory / "upstart/daemon/__pycache__").mkdir(exist_ok=True)
    (directory / "upstart/daemon/__pycache__/main.cpython-999.bundle").touch()
    code = "from upstart.tools.makebundles import main\nsys.exit(main())"
    run_installed(directory, code)
    return directory


def run_installed(directory: Path, code: str) -> str:
    before = f"import sys\nsys.path += {[str(directory), '/usr/lib/python3/dist-packages']!r}\n"
    command = [sys.executable, "-ISB", "-c", before + code]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, umask=0o077).stdout


def test_a_bundle_stands_beside_the_compiled_module_for_all_to_read_and_is_the_only_one(installed: Path) -> None:
    (made,) = (installed / "upstart/daemon/__pycache__").glob("*.bundle*")
    assert made.name == f"main.{sys.implementation.cache_tag}.bundle"
    assert made.stat().st_mode & 0o777 == 0o644


def test_init_loads_every_module_from_its_own_and_has_forgotten_it_when_it_runs(installed: Path) -> None:
    code = """
known = set(sys.modules)
from upstart.base.bundle import path_of, use
use(path_of("upstart.daemon.main"))
from upstart.daemon.main import Daemon, command_line
daemon = Daemon(command_line.parse(["init", "--user"], {}, False), ["init"], {}, None)
used = sys.meta_path[0]._entries.keys() & {"upstart.daemon.manager"}
daemon.load_rest()
daemon.performer.close()
for name in sys.modules.keys() - known:
    if type(sys.modules[name].__loader__).__name__ == "SourceFileLoader":
        print(name)
print(len(used), [finder for finder in sys.meta_path if not isinstance(finder, type)])
"""
    lines = run_installed(installed, code).splitlines()
    assert lines.pop() == "1 []"
    assert set(lines) == {"__future__", "upstart", "upstart.base", "upstart.base.bundle"}


def test_mountall_which_its_first_fork_runs_comes_from_it_too(installed: Path) -> None:
    code = """
from upstart.base.bundle import path_of, use
use(path_of("upstart.daemon.main"))
import upstart.daemon.main
known = set(sys.modules)
import upstart.mounts.main
from upstart.mounts import console, devices, events, files, first, perform, processes, reducer, statefile, tablewatch
print(*{type(module.__loader__).__name__ for name, module in sys.modules.items() if name not in known})
print("upstart.daemon.manager" in sys.modules, "json" in sys.modules)
"""
    kinds, others = run_installed(installed, code).splitlines()
    assert set(kinds.split()) <= {"Bundle", "type", "ExtensionFileLoader"} and "Bundle" in kinds.split()
    assert others == "False False"
