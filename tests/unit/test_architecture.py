"""The rooms of the package import only what the table in docs/architecture.md allows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "upstart"
#: What the engine must not see of the world (design: the engine does no I/O).
IMPURE = {"os", "signal", "socket", "time", "dbus", "_dbus_bindings", "subprocess", "ctypes", "select", "sys", "io"}


def allowed_imports() -> dict[str, set[str]]:
    """Rows `| room | may import | ... |` of the document, the header and the rule below it left out."""
    table: dict[str, set[str]] = {}
    for line in (ROOT / "docs" / "architecture.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or len(cells) < 2 or not (SOURCE / cells[0]).is_dir():
            continue
        table[cells[0]] = set() if cells[1] == "-" else {name.strip() for name in cells[1].split(",")}
    return table


def imported_modules(path: Path) -> set[str]:
    """Absolute dotted names of all that a file imports, at any depth of its code."""
    package = ["upstart", *path.relative_to(SOURCE).parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.add(module)
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


MODULES = sorted(SOURCE.rglob("*.py"))


def test_every_room_stands_in_the_table() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= set(allowed_imports())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_rooms_that_its_room_may_import(path: Path) -> None:
    rooms = allowed_imports()
    room = path.relative_to(SOURCE).parts[0]
    used = {name.split(".")[1] for name in imported_modules(path) if name.startswith("upstart.")}
    foreign = {name for name in used if name in rooms and name != room}
    assert foreign <= rooms.get(room, set()), f"{path.relative_to(ROOT)} reaches into {foreign}"


@pytest.mark.parametrize("path", sorted((SOURCE / "engine").glob("*.py")), ids=lambda path: path.name)
def test_the_engine_does_no_input_or_output(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported_modules(path)} & IMPURE


def test_one_module_alone_calls_the_c_library() -> None:
    users = {
        path.relative_to(SOURCE)
        for path in MODULES
        if imported_modules(path) & {"ctypes", "_ctypes", "upstart.base.cdata"} or "import cdata" in path.read_text()
    }
    # One calls dconf's, which nothing else reads, and is part of one bridge's process alone.
    assert users == {Path("base/cdata.py"), Path("base/syscalls.py"), Path("bridges/dconfreader.py")}


def test_nobody_starts_a_program_in_a_way_that_has_it_ignore_signals() -> None:
    """As Python's own posix_spawn(3) does; last_resort's is an interpreter that says whether one can begin."""
    users = {path.relative_to(SOURCE) for path in MODULES if ".posix_spawn(" in path.read_text()}
    assert users == {Path("daemon/faults.py")}


def module_name(path: Path) -> str:
    """The dotted name of a module of the package."""
    return ".".join(["upstart", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")


def circles(imports: dict[str, set[str]]) -> set[frozenset[str]]:
    """The groups of modules each of which leads to all others of its group."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        left = [start]
        while left:
            for each in imports[left.pop()] - found:
                found.add(each)
                left.append(each)
        return found

    reach = {name: reached(name) for name in imports}
    return {
        frozenset({name} | {other for other in reach[name] if name in reach[other]})
        for name in imports
        if name in reach[name]
    }


def test_no_modules_import_each_other_in_a_circle_not_even_for_their_types() -> None:
    names = {module_name(path) for path in MODULES}
    imports = {module_name(path): (imported_modules(path) & names) - {module_name(path)} for path in MODULES}
    assert circles(imports) == set()


def test_a_circle_is_found_however_long_it_is() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == set()
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == {frozenset("abc")}
