"""What init sees to before anything else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from upstart.daemon import boot


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of /run."""
    monkeypatch.setattr(boot, "OMITTED", str(tmp_path / "sendsigs.omit.d"))
    monkeypatch.setattr(boot, "UTMP", str(tmp_path / "utmp"))
    return tmp_path


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_what_programs_expect_below_run_is_there(run: Path) -> None:
    boot.prepare_run()
    assert (run / "sendsigs.omit.d").stat().st_mode & 0o7777 == 0o755
    status = (run / "utmp").stat()
    assert status.st_mode & 0o7777 == 0o664 and status.st_size == 0
    if os.geteuid() == 0:
        assert (status.st_uid, status.st_gid) == (0, boot.UTMP_GROUP)


def test_what_is_there_stays_as_it_is(run: Path) -> None:
    """As after a re-exec, or where an initramfs or a container's manager has made it."""
    (run / "utmp").write_bytes(b"who is logged in")
    (run / "utmp").chmod(0o644)
    (run / "sendsigs.omit.d").mkdir(0o700)
    boot.prepare_run()
    assert (run / "utmp").read_bytes() == b"who is logged in" and (run / "utmp").stat().st_mode & 0o777 == 0o644
    assert (run / "sendsigs.omit.d").stat().st_mode & 0o777 == 0o700


def test_no_link_is_followed(run: Path) -> None:
    (run / "utmp").symlink_to(run / "elsewhere")
    (run / "sendsigs.omit.d").write_text("")
    boot.prepare_run()
    assert not (run / "elsewhere").exists()


def test_a_run_that_cannot_be_written_is_no_error(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMITTED", "UTMP"):
        monkeypatch.setattr(boot, name, str(run / "missing/x"))
    boot.prepare_run()
    assert not list(run.iterdir())
