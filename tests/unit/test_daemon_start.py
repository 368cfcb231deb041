"""What init loads, and when: little before its first jobs, all of the rest right after them, and nothing any later."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
#: Rooms of which PID 1 needs every module.
ROOMS = ("conf", "engine", "process", "daemon")
#: What they have for tools and tests.
NOT_LOADED = {
    f"upstart.{name}"
    for name in (
        "daemon.recordserver", "engine.cleaning", "engine.compared", "engine.invariants", "engine.record",
        "engine.recorded", "engine.replaying", "engine.world",
    )
}  # fmt: skip
#: Loads what an init has at its first job; then prints what is loaded, or what is once all is.
CODE = """
import sys
sys.path.insert(0, {source!r})
from upstart.daemon.main import Daemon, command_line
if {all}:
    daemon = Daemon(command_line.parse(["init", "--user"], {{}}, False), ["init"], {{}}, None)
    daemon.load_rest()
print(*sys.modules)
"""


def loaded(everything: bool) -> set[str]:
    code = CODE.format(source=str(SOURCE), all=everything)
    command = ["/usr/bin/python3", "-IS", "-c", code]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("dear", ["re", "enum", "json", "functools", "signal", "upstart.daemon.service"])
def test_the_first_jobs_do_not_wait_for_modules_that_they_do_not_need(dear: str) -> None:
    assert dear not in loaded(everything=False)


@pytest.mark.parametrize(
    "dear", ["re", "enum", "json", "collections", "hashlib", "signal", "socket", "typing", "contextlib"]
)
def test_init_keeps_no_memory_for_what_it_can_do_without(dear: str) -> None:
    assert dear not in loaded(everything=True)


def test_an_upgrade_finds_nothing_that_a_running_init_has_yet_to_load() -> None:
    modules = {
        f"upstart.{room}.{path.stem}" for room in ROOMS for path in (SOURCE / "upstart" / room).glob("*.py")
    }
    assert {name.removesuffix(".__init__") for name in modules} - NOT_LOADED <= loaded(everything=True)
