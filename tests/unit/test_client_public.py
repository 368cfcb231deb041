"""What is public of the client library: named in one place, documented, and the same awaited and not."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from upstart import client
from upstart.base.paths import escape
from upstart.client import signals

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "client-library.md").read_text()
#: What is waited for by its own way, is no question, or needs a descriptor, which jeepney sends on no loop of asyncio.
OWN_WAYS = {"connection", "open", "record"}


@pytest.mark.parametrize("module", sorted(client.PUBLIC))
def test_what_is_public_is_there_and_all_of_it_is_named(module: str) -> None:
    if module == "upstart.client.glib":
        pytest.importorskip("gi")
    found = importlib.import_module(module)
    assert sorted(found.__all__) == sorted(client.PUBLIC[module])
    for name in client.PUBLIC[module]:
        assert getattr(found, name) is not None


def test_the_document_names_what_is_public_and_nothing_else() -> None:
    table = dict(re.findall(r"^\| `(upstart\.client[.\w]*)` \| (.*?) \|", DOCUMENT, re.M))
    assert {module: sorted(re.findall(r"`(\w+)`", names)) for module, names in table.items()} == {
        module: sorted(names) for module, names in client.PUBLIC.items()
    }


def test_what_is_not_there_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="Connection"):
        _ = client.Connection


def test_the_package_loads_nothing_that_is_not_asked_for() -> None:
    script = "import sys, upstart.client\nprint(*sorted(name for name in sys.modules if name.startswith('upstart')))"
    done = subprocess.run(
        [sys.executable, "-ISc", f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n{script}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "upstart upstart.client\n"


def methods(kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if not name.startswith("_")}


def kinds() -> list[Any]:
    pytest.importorskip("jeepney")
    from upstart.client import aio

    return [(client.Init, aio.Init), (client.Job, aio.Job), (client.Instance, aio.Instance)]


@pytest.mark.parametrize("which", range(3))
def test_each_class_has_the_same_awaited_and_not(which: int) -> None:
    plain, awaited = kinds()[which]
    names = methods(plain).keys() - OWN_WAYS
    settable = {f"set_{name}" for name in names if isinstance(vars(plain)[name], property) and vars(plain)[name].fset}
    assert methods(awaited).keys() - OWN_WAYS == names | settable
    for name in names - {"path"}:
        one, other = vars(plain)[name], vars(awaited)[name]
        call: Any = one.fget if isinstance(one, property) else one
        of = inspect.signature(call)
        assert inspect.signature(other).parameters.keys() == of.parameters.keys(), name
        for key, parameter in inspect.signature(other).parameters.items():
            same = of.parameters[key]
            assert (parameter.default, parameter.annotation) == (same.default, same.annotation)
        if inspect.isasyncgenfunction(other) or name == "close":
            continue
        assert inspect.iscoroutinefunction(other), name
        assert inspect.signature(other).return_annotation == of.return_annotation, name


@pytest.mark.parametrize("path", [name for name in client.PUBLIC if name != "upstart.client"])
def test_every_public_class_and_method_says_what_it_does(path: str) -> None:
    if path.endswith("glib"):
        pytest.importorskip("gi")
    for name in client.PUBLIC[path]:
        found = getattr(importlib.import_module(path), name)
        if inspect.isclass(found):
            assert found.__doc__, name
            for method, value in methods(found).items():
                if callable(value) or isinstance(value, property):
                    assert inspect.getdoc(value), (name, method)


@pytest.mark.parametrize(("job", "instance"), [("cron", ""), ("a-b", "1"), ("ünï", "x/y"), ("_", "_"), ("a", "")])
def test_a_path_names_its_job_and_its_instance(job: str, instance: str) -> None:
    assert signals.names_of(f"/com/ubuntu/Upstart/jobs/{escape(job)}/{escape(instance)}") == (job, instance)
    assert signals.names_of(f"/com/ubuntu/Upstart/jobs/{escape(job)}") == (job, "")


@pytest.mark.parametrize(
    "path", ["/", "/com/ubuntu/Upstart", "/com/ubuntu/Upstart/jobs/_2", "/com/ubuntu/Upstart/jobs/a/b/c", "/a/b"]
)
def test_another_path_names_nothing(path: str) -> None:
    assert signals.names_of(path) is None
