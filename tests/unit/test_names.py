"""A fact stands in one place: names that are part of the interface are written down once."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from upstart.base import names

SOURCE = Path(__file__).resolve().parents[2] / "src" / "upstart"

#: What a text has that is such a name, where it stands, and who else may write it, since it is another fact there: the
#: XML of introspection is one text, and an application has a name of its own.
FACTS = {
    "D-Bus's names": (r"org[./]freedesktop[./]DBus", "base/names.py", {"daemon/interfaces.py"}),
    "our names on D-Bus": (r"com[./]ubuntu[./][Uu]pstart", "base/names.py", {"monitor/application.py"}),
    "sysvinit's FIFO": (r"^/(run|dev)/initctl$", "base/initctl.py", set()),
    "who is at the other end": (r"^@iII$", "base/credentials.py", set()),
    "names of limits": (r"^(memlock|msgqueue|sigpending|rtprio)$", "conf/stanzas.py", set()),
    "names of signals": (r"^(SIG)?(WINCH|VTALRM|STKFLT|XCPU|TTIN)$", "base/signals.py", set()),
}


def texts(tree: ast.AST) -> list[str]:
    """The texts of a module, those that say what something is left out."""
    said = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in said
    ]


def users(pattern: str) -> set[str]:
    return {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if any(re.search(pattern, text) for text in texts(ast.parse(path.read_text())))
    }


@pytest.mark.parametrize("fact", FACTS)
def test_a_fact_is_written_in_one_place(fact: str) -> None:
    pattern, place, others = FACTS[fact]
    assert users(pattern) == {place} | others


def test_what_is_written_is_found_wherever_it_stands() -> None:
    code = '''"""com.ubuntu.Upstart"""
x = f"{y}/com/ubuntu/Upstart/jobs"
def f(a="org.freedesktop.DBus"):
    """initctl"""
'''
    assert texts(ast.parse(code)) == ["/com/ubuntu/Upstart/jobs", "org.freedesktop.DBus"]


def test_no_two_names_are_the_same() -> None:
    values = [value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)]
    assert len(set(values)) == len(values)
