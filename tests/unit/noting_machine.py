"""A machine that only takes notes of what the System V commands do to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from upstart.base import utmp
from upstart.base.errors import DBusError
from upstart.base.names import NO_SERVER
from upstart.sysv import machine, otherinit, pidfile, shutdown


class Executed(Exception):
    """The program became another one."""


class Machine:
    """What the commands did to the machine, in order; `init` is which init runs on it."""

    def __init__(self) -> None:
        self.did: list[Any] = []
        self.init = "upstart"
        self.interpreted = False
        self.root = True
        self.levels: tuple[str, str] | None = ("2", "N")
        self.restart_error = ""
        self.refusals = 0
        self.refusals_after_restart = 0
        self.may_reboot = True

    def become_root(self) -> tuple[bool, bool]:
        return True, self.root

    def execute(self, path: str, arguments: list[str]) -> NoReturn:
        self.did.append(("execute", path, arguments))
        raise Executed

    def connect(self, address: str | None = None) -> Machine:
        if self.init != "upstart" or self.refusals:
            self.refusals = max(0, self.refusals - 1)
            raise DBusError(NO_SERVER, "Failed to connect to socket /com/ubuntu/upstart: Connection refused")
        return self

    def quiet(self) -> None:
        """Nobody listens to what init tells by itself."""

    def emit_event(self, name: str, env: list[str], wait: bool) -> None:
        self.did.append((name, env, wait))

    def call(
        self, path: str, interface: str, method: str, signature: str = "", *args: object, timeout: float = 0
    ) -> None:
        if method == "EmitEnding":
            self.did.append(args)
            return
        self.did.append(method)
        self.refusals = self.refusals_after_restart
        if self.restart_error:
            raise DBusError(self.restart_error, "the reason")

    def get_string(self, path: str, interface: str, name: str) -> str:
        return "init (upstart 1.13.2)"

    def close(self) -> None:
        pass

    def get_runlevel(self, path: str = "") -> tuple[str, str] | None:
        return self.levels

    def reboot(self, *arguments: object) -> bool:
        self.did.append(("reboot", *arguments))
        return self.may_reboot

    def noting(self, what: str) -> Callable[..., None]:
        return lambda *arguments: self.did.append((what, *arguments))


def noting_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """The only machine that the commands can reach from now on; what they write goes below *tmp_path*."""
    made = Machine()
    monkeypatch.delenv("RUNLEVEL", raising=False)
    monkeypatch.setattr(machine, "become_root", made.become_root)
    monkeypatch.setattr(machine, "execute", made.execute)
    monkeypatch.setattr(machine, "init_is_interpreted", lambda: made.interpreted)
    monkeypatch.setattr(machine, "signal_init", made.noting("signal"))
    monkeypatch.setattr(machine, "reboot", made.reboot)
    monkeypatch.setattr(machine, "tell_wtmpdb", made.noting("wtmpdb"))
    monkeypatch.setattr(os, "sync", made.noting("sync"))
    monkeypatch.setattr(os, "chdir", lambda path: None)
    monkeypatch.setattr(os, "umask", lambda mask: 0)
    monkeypatch.setattr(utmp, "get_runlevel", made.get_runlevel)
    monkeypatch.setattr(utmp, "write_runlevel", lambda *args: made.did.append(("utmp", *args[:2])))
    monkeypatch.setattr(utmp, "write_shutdown", made.noting("utmp shutdown"))
    monkeypatch.setattr("upstart.client.init.connect_private", made.connect)
    monkeypatch.setattr(otherinit, "SYSTEMD", str(tmp_path / "systemd"))
    monkeypatch.setattr(otherinit, "FIFOS", (str(tmp_path / "initctl"), str(tmp_path / "old-initctl")))
    monkeypatch.setattr(shutdown, "NOLOGIN", str(tmp_path / "nologin"))
    monkeypatch.setattr(shutdown, "wall", lambda text: made.did.append(("wall", text)))
    monkeypatch.setattr(pidfile, "DIRECTORY", str(tmp_path))
    monkeypatch.setattr(pidfile, "runs", lambda program, pid: True)
    return made


Output = pytest.CaptureFixture[str]


def fails(command: Callable[[list[str]], int], argv: list[str], capfd: Output) -> str:
    """The standard error of a command that must fail."""
    assert command(argv) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    return captured.err
