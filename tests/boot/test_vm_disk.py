"""A disk is read and changed from outside, and what is wrong with it is seen there."""

from __future__ import annotations

from pathlib import Path

import pytest
import vm_disk
from vm_disk import Disk


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(vm_disk.make(tmp_path / "disk.img", "data", 16))


def test_files_are_written_read_replaced_and_removed(disk: Disk, tmp_path: Path) -> None:
    disk.write("/first", "one\n", 0o755)
    assert disk.mode("/first") == 0o755
    disk.write("/first", "two\nlines\n")
    assert disk.mode("/first") == 0o644
    assert disk.read("/first") == "two\nlines\n"
    assert disk.dump("/first", tmp_path / "out").read_text() == "two\nlines\n"
    disk.write("/second", "")
    assert disk.names("/") == ["lost+found", "first", "second"]
    disk.remove("/first")
    assert disk.read("/first") == ""
    with pytest.raises(RuntimeError, match="there is no /first"):
        disk.dump("/first", tmp_path / "missing")
    disk.check()


def test_a_file_in_a_directory_that_is_missing_is_not_written_in_silence(disk: Disk) -> None:
    with pytest.raises(RuntimeError, match="did not write"):
        disk.write("/missing/file", "text\n")


def test_damage_is_seen_from_outside(disk: Disk) -> None:
    assert disk.state() == ("clean", False)
    disk.write("/first", "first\n" * 3000)
    disk.write("/second", "second\n" * 3000)
    disk.check()
    disk.share_blocks("/first", "/second")
    assert disk.state()[0] != "clean"
    with pytest.raises(RuntimeError, match="e2fsck"):
        disk.check()


def test_a_whole_check_is_on_record(disk: Disk) -> None:
    before = disk.last_check()
    vm_disk.run("e2fsck", "-p", str(disk.path))
    assert disk.last_check() == before
    vm_disk.run("env", "E2FSCK_TIME=1700000000", "e2fsck", "-f", "-p", str(disk.path))
    assert "2023" in disk.last_check()
    disk.mend()
    assert "2023" not in disk.last_check()


def test_swap_space_is_found_by_its_label(tmp_path: Path) -> None:
    path = vm_disk.make_swap(tmp_path / "swap.img", "swap", 1)
    assert vm_disk.run("blkid", "-p", "-o", "value", "-s", "LABEL", str(path)) == "swap\n"
