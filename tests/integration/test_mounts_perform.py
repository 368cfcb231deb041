"""What mountall's actions do to a real system: in namespaces of their own, with a real init of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from upstart.mounts.statefile import pack_action
from upstart.mounts.values import Action, Mount, Swap

SCRIPTED = Path(__file__).with_name("mounts_scripted.py")
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may mount")


def perform(
    directory: Path, actions: list[Action], before: str = "", after: str = "", address: str = "-", state: str = "-"
) -> list[str]:
    """Perform actions in a namespace of mounts, where ``before`` and ``after`` are run; all that is said, by lines."""
    run = f"{sys.executable} -IS {SCRIPTED} '{address}' '{state}' \"$ACTIONS\" || echo status $?"
    script = f"{before}\n{run}\n{after}\n"
    packed = json.dumps([pack_action(action) for action in actions])
    result = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-euc", script], cwd=directory, text=True, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "ACTIONS": packed}, check=False,
    )  # fmt: skip
    return result.stdout.splitlines()


#: Nothing that is mounted here needs a program.
NO_PROGRAM = "mount --bind /dev/null /bin/mount"


def ended(number: int, status: int = 0, type: str = "", words: str = "", place: str = "") -> str:
    return f"Ended(number={number}, place={place!r}, status={status}, type={type!r}, words={words!r})"


def test_what_the_kernel_has_in_memory_is_mounted_by_its_own_call(tmp_path: Path) -> None:
    a, b, c = (str(tmp_path / name) for name in "abc")
    actions: list[Action] = [
        Mount(1, "tmpfs", a, "tmpfs", "nosuid,size=1m,mode=711"),
        Mount(2, a, b, "none", "bind,ro"),
        Mount(3, "tmpfs", a, "tmpfs", "remount,noexec,size=2m"),
        Mount(4, "none", a, "none", "rprivate"),
        Mount(5, "tmpfs", c, "tmpfs", "size=10%VM,gid=tty"),
    ]
    said = perform(tmp_path, actions, NO_PROGRAM, "findmnt -rno TARGET,FSTYPE,OPTIONS | grep $PWD; stat -c %a a")
    assert said[:5] == [ended(number, type="tmpfs") for number in range(1, 6)]
    assert said[5].startswith(f"{a} tmpfs rw,noexec,relatime,size=2048k,mode=711")
    assert said[6].startswith(f"{b} tmpfs ro,")
    assert said[7].startswith(f"{c} tmpfs rw,")
    assert ",gid=5" in said[7]
    assert said[8:] == ["711"]


def test_a_block_device_is_mounted_by_a_child_and_known_by_its_own_name(tmp_path: Path) -> None:
    before = f"""
truncate -s 16M image; mkfs.ext4 -q image; loop=$(losetup -f --show image); ln -s $loop link
trap 'umount -q a b c || :; losetup -d $loop' EXIT
{NO_PROGRAM}
"""
    actions: list[Action] = [
        Mount(1, str(tmp_path / "link"), str(tmp_path / "a"), "ext4", "noatime,errors=remount-ro"),
        Mount(2, "/dev/there-is-none", str(tmp_path / "b"), "ext4", "defaults"),
        Mount(3, "/dev/null", str(tmp_path / "c"), "ext4", "defaults"),
    ]
    said = perform(tmp_path, actions, before, "echo $loop; findmnt -rno SOURCE,OPTIONS a")
    loop, shown = said[-2:]
    assert set(said[:-2]) == {
        ended(1, type="ext4"),
        ended(2, 32, words=f"mount: {tmp_path}/b: special device /dev/there-is-none does not exist."),
        ended(3, 32, words=f"mount: {tmp_path}/c: /dev/null is not a block device."),
    }
    assert shown.startswith(f"{loop} rw,noatime")


def test_mount_8_does_what_takes_more_and_says_so_in_the_same_words(tmp_path: Path) -> None:
    before = "truncate -s 16M image; mkfs.ext4 -q image; printf x >bad; trap 'umount -q a || :' EXIT"
    actions: list[Action] = [
        Mount(1, str(tmp_path / "image"), str(tmp_path / "a"), "auto", "loop,ro"),
        Mount(2, "none", str(tmp_path / "b"), "nosuchtype", "defaults"),
        Mount(3, "/dev/loop0", str(tmp_path / "b"), "nosuchtype", "_netdev"),
    ]
    words = f"mount: {tmp_path}/b: unknown filesystem type 'nosuchtype'."
    assert sorted(perform(tmp_path, actions, before)) == [
        ended(1, type="ext4"), ended(2, -2, words=words), ended(3, -2, words=words),
    ]  # fmt: skip


def test_mount_points_are_made_and_links_are_told(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").write_text("text\n")
    actions: list[Action] = [
        Mount(1, "tmpfs", str(tmp_path / "link"), "tmpfs", ""),
        Mount(2, "tmpfs", str(tmp_path / "none" / "below"), "tmpfs", ""),
        Mount(3, "tmpfs", str(tmp_path / "link" / "new"), "tmpfs", ""),
        Mount(4, str(tmp_path / "file"), str(tmp_path / "copy"), "none", "bind"),
        Mount(5, "tmpfs", str(tmp_path / "file"), "tmpfs", ""),
        Mount(6, "tmpfs", str(tmp_path / "from"), "tmpfs", ""),
        Mount(7, str(tmp_path / "from"), str(tmp_path / "to"), "none", "move"),
    ]
    assert perform(tmp_path, actions, NO_PROGRAM, "cat copy; ls -d from || findmnt -rno FSTYPE to") == [
        ended(1, -3, words=str(tmp_path / "real")),
        ended(2, -1, words=f"mount: {tmp_path}/none/below: mount point does not exist."),
        ended(3, type="tmpfs", place=str(tmp_path / "real" / "new")),
        ended(4, type=said_type(tmp_path)),
        ended(5, 32, words=f"mount: {tmp_path}/file: mount point is not a directory."),
        ended(6, type="tmpfs"),
        ended(7, type="none"),
        "text",
        "ls: cannot access 'from': No such file or directory",
        "tmpfs",
    ]


def said_type(path: Path) -> str:
    """The type of the file system that a path is on."""
    command = ["findmnt", "-rno", "FSTYPE", "-T", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_device_that_cannot_be_written_is_mounted_to_be_read_and_that_is_told(tmp_path: Path) -> None:
    before = """
truncate -s 16M image; mkfs.ext4 -q image; cp image other
one=$(losetup -r -f --show image); two=$(losetup -r -f --show other); ln -s $one one; ln -s $two two
trap 'umount -q a || :; losetup -d $one $two' EXIT
"""
    actions: list[Action] = [
        Mount(1, str(tmp_path / "one"), str(tmp_path / "a"), "ext4", "defaults"),
        Mount(2, str(tmp_path / "two"), str(tmp_path / "b"), "ext4", "rw"),
    ]
    said = perform(tmp_path, actions, before, "echo $two")
    two = said[-1]
    assert set(said[:-1]) == {
        ended(1, type="ext4", words=f"mount: {tmp_path}/a: WARNING: source write-protected, mounted read-only."),
        ended(2, 32, words=f"mount: {tmp_path}/b: {two} is write-protected but explicit read-write mode requested."),
    }


def test_a_swap_file_that_is_refused_is_told(tmp_path: Path) -> None:
    before = "truncate -s 1M holes; mkswap -q holes 2>/dev/null; chmod 600 holes"
    actions: list[Action] = [Swap(1, str(tmp_path / "holes"), "sw,pri=3"), Swap(2, "/dev/there-is-none", "sw")]
    said = perform(tmp_path, actions, before)
    assert len(said) == 2
    assert all(line.startswith("Ended(number=") and "status=255" in line for line in said)
    assert "holes" in "".join(said)
