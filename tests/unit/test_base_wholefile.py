"""Files that are written whole: on a disk that is full the one before stays, and nothing else."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from upstart.base.wholefile import write_whole, write_whole_data
from upstart.bridges import busservices, state
from upstart.mounts import statefile
from upstart.sysv import umountall


@contextmanager
def no_room(size: int = 4) -> Iterator[None]:
    """No file can be longer than that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_it_takes_the_place_of_the_one_before_and_is_for_whom_it_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for pieces, mode in ((("one", "\udcff"), 0o600), (("two",), 0o644)):
        write_whole(str(path), pieces, mode)
        assert path.read_bytes() == os.fsencode("".join(pieces))
        assert path.stat().st_mode & 0o777 == mode
    assert os.listdir(tmp_path) == ["file"]


def test_data_is_for_whom_it_is_meant_whatever_the_mask_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0o077)
    try:
        write_whole_data(str(path), b"\xff\n", 0o644)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"\xff\n" and path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["file"]


def _bus_service(path: str) -> None:
    services = busservices.Services(os.path.dirname(path), "system", "")
    services._write(os.path.basename(path).removesuffix(".service"), "x" * 8)


WRITERS: list[Callable[[str], object]] = [
    lambda path: write_whole(path, ("xxxx", "xxxx")),
    lambda path: write_whole_data(path, b"x" * 8, 0o644),
    lambda path: umountall.write_history("x" * 8, path),
    lambda path: state.write_state(path, ("x" * 8,)),
    lambda path: statefile.write({"version": statefile.VERSION}, path),
    _bus_service,
]


@pytest.mark.parametrize("write", WRITERS)
def test_where_the_disk_is_full_the_one_before_is_as_it_was_and_nothing_else_is_left(
    tmp_path: Path, write: Callable[[str], object]
) -> None:
    path = tmp_path / "file.service"
    path.write_text("old")
    with no_room():
        try:
            assert write(str(path)) is False
        except OSError as error:
            assert error.errno == errno.EFBIG
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]


def test_what_fails_while_its_pieces_are_made_leaves_nothing(tmp_path: Path) -> None:
    def pieces() -> Iterator[str]:
        yield "one"
        raise ValueError

    with pytest.raises(ValueError):
        write_whole(str(tmp_path / "file"), pieces())
    assert os.listdir(tmp_path) == []
