"""/etc/mtab leads to the kernel's table of mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from upstart.mounts import mtab


@pytest.mark.parametrize("before", [None, "a file", "/elsewhere"])
def test_whatever_is_there_becomes_the_link(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "mtab"
    if before == "a file":
        path.write_text("proc /proc proc rw 0 0\n")
    elif before:
        path.symlink_to(before)
    mtab.make_link(str(path))
    assert path.readlink() == Path(mtab.TARGET)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("target", ["/proc/mounts", "/proc/self/mounts", "../proc/self/mounts"])
def test_a_link_to_the_table_stays(tmp_path: Path, target: str) -> None:
    path = tmp_path / "mtab"
    path.symlink_to(target)
    inode = path.lstat().st_ino
    mtab.make_link(str(path))
    assert (path.lstat().st_ino, str(path.readlink())) == (inode, target)


def test_a_root_that_cannot_be_written_stays_as_it_is(tmp_path: Path) -> None:
    mtab.make_link(str(tmp_path / "missing" / "mtab"))
    assert list(tmp_path.iterdir()) == []
