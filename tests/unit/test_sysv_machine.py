"""What the commands ask of other programs: the record in wtmpdb's database."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from upstart.sysv import machine


def wtmpdb(monkeypatch: pytest.MonkeyPatch, path: Path, text: str) -> None:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    monkeypatch.setattr(machine, "WTMPDB", str(path))


def test_wtmpdb_is_told_and_what_it_says_is_nobodys_business(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                             capfd: pytest.CaptureFixture[str]) -> None:
    wtmpdb(monkeypatch, tmp_path / "wtmpdb", f'echo "$@" | tee {tmp_path}/told\necho error >&2\nexit 1\n')
    machine.tell_wtmpdb("shutdown")
    assert (tmp_path / "told").read_text() == "shutdown\n"
    assert capfd.readouterr() == ("", "")


def test_wtmpdb_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "WTMPDB_PATIENCE", 0.1)
    wtmpdb(monkeypatch, tmp_path / "wtmpdb", "exec sleep 60\n")
    handler = signal.getsignal(signal.SIGALRM)
    before = time.monotonic()
    machine.tell_wtmpdb("shutdown")
    assert time.monotonic() - before < 10
    assert signal.getsignal(signal.SIGALRM) is handler


def test_wtmpdb_may_be_missing_or_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "WTMPDB", str(tmp_path / "none"))
    machine.tell_wtmpdb("shutdown")
    (tmp_path / "none").write_bytes(b"\x7fELF")
    (tmp_path / "none").chmod(0o755)
    machine.tell_wtmpdb("shutdown")
