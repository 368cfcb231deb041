"""A boot by rcS in a directory: its scripts, what init says of jobs, and what is seen of both."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from upstart.base.errors import DBusError
from upstart.base.names import DISCONNECTED, UNKNOWN_JOB
from upstart.sysv import bootorder, bootscripts, keeping, standins
from upstart.sysv.bootorder import BootOrder

SOURCE = str(Path(__file__).resolve().parents[2] / "src")
FAILED = "com.ubuntu.Upstart0_6.Error.EventFailed"


class Boot:
    """A directory of scripts and jobs, and what has become of them."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        for module, name, path in (
            (bootorder, "SCRIPTS", "init.d"), (bootscripts, "LINKS", "rcS.d"), (standins, "JOBS", "init"),
        ):  # fmt: skip
            (root / path).mkdir()
            monkeypatch.setattr(module, name, str(root / path))
        (root / "log").mkdir()
        monkeypatch.setattr(keeping, "LOGS", str(root / "log"))
        monkeypatch.setattr("upstart.client.init.connect_private", self.connect)
        monkeypatch.setattr("time.sleep", lambda seconds: self.told.append("waits"))
        self.told: list[str] = []
        self.said: list[str] = []
        #: Jobs that init knows; what emitting does.
        self.known: set[str] = set()
        self.on_emit: Callable[[], None] = lambda: None
        self.instances: list[list[str]] = []
        #: Instances as init tells of them: job, instance, goal, state, processes; and what happens when it is asked.
        self.states: list[tuple[str, str, str, str, list[tuple[str, int]]]] = []
        self.on_ask: Callable[[], None] = lambda: None
        self.reachable = True

    def connect(self, address: str | None = None) -> Any:
        if not self.reachable:
            raise DBusError("org.freedesktop.DBus.Error.NoServer", "nobody listens")
        return self

    def quiet(self) -> None:
        """Nobody listens to what init tells by itself."""

    def call(self, path: str, interface: str, method: str, signature: str = "", *args: Any, **_: Any) -> Any:
        if method == "GetAllInstances":
            return (self.instances.pop(0),)
        if method == "GetStatusAll":
            self.on_ask()
            return (list(self.states),)
        assert method == "GetJobByName"
        if args[0] not in self.known:
            raise DBusError(UNKNOWN_JOB, f"Unknown job: {args[0]}")
        return (f"/job/{args[0]}",)

    def emit_event(self, name: str, env: list[str], wait: bool) -> None:
        self.told.append(" ".join([name, *env, "waits" if wait else "goes on"]))
        self.on_emit()

    def get_string(self, path: str, interface: str, name: str) -> str:
        return "init (upstart)"

    def lose_init(self) -> None:
        """What emitting does while init executes itself again."""
        raise DBusError(DISCONNECTED, "Connection was disconnected before a reply was received")

    def close(self) -> None:
        pass

    def script(self, link: str, text: str, mode: int = 0o755) -> None:
        path = self.root / "init.d" / link[3:]
        path.write_text(text if text.startswith("#!") or not text else f"#!/bin/sh\n{text}\n")
        path.chmod(mode)
        (self.root / "rcS.d" / link).symlink_to(path)

    def job(self, name: str, text: str = "start on boot-script\ntask\n", state: str = "stop/waiting") -> None:
        """A job in the place of a script; unless its text says otherwise, one that waits to be told."""
        (self.root / "init" / f"{name}.conf").write_text(text)
        self.known.add(name)
        self.put(name, state)

    def put(self, name: str, state: str) -> None:
        """Have a job be in that state."""
        goal, _, found = state.partition("/")
        self.states = [each for each in self.states if each[0] != name] + [(name, "", goal, found, [])]

    def run(self, depend: str | None = None) -> None:
        bootscripts.BootScripts(BootOrder(os.listdir(self.root / "rcS.d"), depend), self.said.append).run()

    def trace(self, link: str, text: str = "") -> None:
        """A script that leaves a trace of its run."""
        self.script(link, f"echo {link[3:]} >> {self.root}/trace\n{text}")

    @property
    def ran(self) -> list[str]:
        path = self.root / "trace"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Boot:
    return Boot(tmp_path, monkeypatch)


def all_of(*names: str, interactive: str = "") -> str:
    return f"TARGETS = {' '.join(names)}\nINTERACTIVE = {interactive}\n"
