"""list-sessions reads the files that session inits leave, and nothing else in their directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from upstart.initctl import commands_sessions
from upstart.initctl.main import run

GONE = 4194304  # beyond the largest pid of Linux


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(commands_sessions, "getenv", {"XDG_RUNTIME_DIR": str(tmp_path)}.get)
    directory = tmp_path / "upstart" / "sessions"
    directory.mkdir(parents=True)
    return directory


def test_running_sessions_are_listed(sessions: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (sessions / f"{os.getpid()}.session").write_text("UPSTART_SESSION=unix:abstract=/a\n")
    (sessions / "1.session").write_text("UPSTART_SESSION=unix:abstract=/b")
    assert run(["initctl", "list-sessions"]) == 0
    lines = sorted(capfd.readouterr().out.splitlines())
    assert lines == sorted([f"{os.getpid()} unix:abstract=/a", "1 unix:abstract=/b"])


def test_stale_and_foreign_files_are_ignored(sessions: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("1", "1.session.old", "x1.session", "1.conf"):
        (sessions / name).write_text("UPSTART_SESSION=unix:abstract=/a\n")
    (sessions / "1.session").write_text("SOMETHING=else\n")
    (sessions / f"{os.getpid()}.session").write_text("UPSTART_SESSION=\n")
    stale = sessions / f"{GONE}.session"
    stale.write_text("UPSTART_SESSION=unix:abstract=/a\n")
    (sessions / ("9" * 40 + ".session")).write_text("UPSTART_SESSION=unix:abstract=/a\n")
    assert run(["initctl", "list-sessions"]) == 0
    assert capfd.readouterr().out == ""
    assert run(["initctl", "list-sessions", "-v"]) == 0
    assert f"Ignoring stale session file: {stale}\n" in capfd.readouterr().out


def test_a_missing_directory_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands_sessions, "getenv", {"XDG_RUNTIME_DIR": str(tmp_path)}.get)
    assert run(["initctl", "list-sessions"]) == 0
    assert (tmp_path / "upstart" / "sessions").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("value", [None, "", "relative"])
def test_without_a_runtime_directory_there_is_an_error(
    value: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands_sessions, "getenv", lambda name: value)
    assert run(["initctl", "list-sessions"]) == 1
    assert capfd.readouterr().err == "initctl: Unable to query session directory\n"


def test_a_directory_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "upstart").write_text("")
    monkeypatch.setattr(commands_sessions, "getenv", {"XDG_RUNTIME_DIR": str(tmp_path)}.get)
    assert run(["initctl", "list-sessions"]) == 1
    assert capfd.readouterr().err == "initctl: unable to determine sessions\n"
