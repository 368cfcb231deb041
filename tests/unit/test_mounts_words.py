"""What mount options mean to the kernel, who is to mount, and the table of mounts, from text to values."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.mounts import mountflags, mounting, tablewatch
from upstart.mounts.mountflags import BIND, NODEV, NOSUID, PRIVATE, RDONLY, REC, REMOUNT
from upstart.mounts.mounting import CALL, CHILD, PROGRAM, Request
from upstart.mounts.values import Mounted


@pytest.mark.parametrize(
    ("options", "flags", "data"),
    [
        ("", 0, ""),
        ("defaults", 0, ""),
        ("ro,nosuid,,mode=700,size=1m", RDONLY | NOSUID, "mode=700,size=1m"),
        ("ro,rw", 0, ""),
        ("noexec,exec,nodev", NODEV, ""),
        ("remount,rw,errors=remount-ro", REMOUNT, "errors=remount-ro"),
        ("rbind,ro", BIND | REC | RDONLY, ""),
        ("user,exec", NOSUID | NODEV, ""),
        ("nofail,auto,x-systemd.device-timeout=3,comment=this,X-any", 0, ""),
        # Words that only begin like others are the file system's.
        ("noatimes,route,users2", 0, "noatimes,route,users2"),
    ],
)
def test_words_become_flags_and_the_text_for_the_file_system(options: str, flags: int, data: str) -> None:
    words = mountflags.read(options)
    assert (words.flags, words.data, words.program) == (flags, data, False)


@pytest.mark.parametrize("options", ["_netdev", "loop", "loop=/dev/loop3", "offset=1", 'context="a,b"', "uhelper=x"])
def test_what_mount_8_has_to_do_is_left_to_it(options: str) -> None:
    assert mountflags.read("rw," + options).program


def test_propagation_is_set_by_calls_of_its_own() -> None:
    words = mountflags.read("bind,rprivate,ro")
    assert words.propagation == [PRIVATE | REC]
    assert words.after_bind == RDONLY


def test_names_of_users_and_groups_become_numbers() -> None:
    words = mountflags.read("gid=tty,uid=0,mode=620", lambda name: None, {"tty": 5}.__getitem__)
    assert words.data == "gid=5,uid=0,mode=620"
    assert not words.program
    assert mountflags.read("gid=nobody-has-this", lambda name: None, lambda name: None).program


def test_more_text_than_the_call_takes_is_for_mount_8() -> None:
    assert not mountflags.read("lowerdir=" + "a" * 4086).program
    assert mountflags.read("lowerdir=" + "a" * 4087).program


@given(st.lists(st.sampled_from(["ro", "rw", "nosuid", "suid", "mode=1", "x-a", "bind", "private", ""])))
def test_the_last_word_wins(words: list[str]) -> None:
    found = mountflags.read(",".join(words))
    asked = [word for word in words if word in ("ro", "rw")]
    assert bool(found.flags & RDONLY) == (asked[-1:] == ["ro"])
    assert found.writable == (asked[-1:] == ["rw"])


@pytest.mark.parametrize(
    ("device", "type", "options", "way"),
    [
        ("tmpfs", "tmpfs", "size=1m", CALL),
        ("none", "overlay", "lowerdir=/a,upperdir=/b,workdir=/c", CALL),
        ("configfs", "configfs", "", CALL),
        ("/a", "none", "bind", CALL),
        ("/dev/sda1", "ext4", "remount,rw", CALL),
        ("data", "9p", "trans=virtio", CHILD),
        ("server:/a", "nfs", "", PROGRAM),
        ("sshfs#host:", "fuse.sshfs", "", PROGRAM),
        ("/dev/sda1", "auto", "", PROGRAM),
        ("/dev/sda1", "ext4,xfs", "", PROGRAM),
        ("UUID=00000000-0000-0000-0000-000000000000", "ext4", "", PROGRAM),
        ("/etc/passwd", "ext4", "", PROGRAM),
        ("tmpfs", "tmpfs", "_netdev", PROGRAM),
    ],
)
def test_who_is_to_mount(device: str, type: str, options: str, way: int) -> None:
    assert Request(device, "/somewhere", type, options).way == way


def test_a_missing_device_is_told_in_the_words_of_mount_8(tmp_path: Path) -> None:
    request = Request("/dev/there-is-none", str(tmp_path), "ext4", "")
    assert request.message(2) == f"mount: {tmp_path}: special device /dev/there-is-none does not exist."
    assert Request("x", str(tmp_path / "none"), "tmpfs", "").message(2).endswith(": mount point does not exist.")
    assert request.message(0) == ""


def test_a_label_is_looked_up_as_udev_writes_it() -> None:
    assert mounting.link_name("my disk/1") == "my\\x20disk\\x2f1"
    assert mounting.link_name("größe+1") == "größe+1"


def test_a_line_of_the_table_is_read_with_its_escapes() -> None:
    line = b"36 35 0:98 /a\\040b /m\\011nt/\xff\\134 rw,noatime master:1 - tmpfs tmp\\040fs rw,size=4k,noatime"
    assert tablewatch.parse(line) == Mounted(
        "tmp fs", os.fsdecode(b"/m\tnt/\xff\\"), "tmpfs", "rw,noatime,size=4k", "0:98", "/a b"
    )
    assert tablewatch.parse(b"36 35 0:98 / / rw - tmpfs") is None
    assert tablewatch.parse(b"") is None


def test_read_only_is_what_either_says() -> None:
    entry = tablewatch.parse(b"1 1 0:98 / / rw - tmpfs x ro,a=1")
    assert entry is not None
    assert entry.options == "ro,a=1"


@given(st.binary(max_size=80))
def test_no_line_of_the_table_is_an_error(line: bytes) -> None:
    tablewatch.parse(line)


def test_the_table_of_this_system_has_its_root() -> None:
    table = tablewatch.Table()
    try:
        assert "/" in [entry.mountpoint for entry in table.read()]
        assert table.read() == table.read()
    finally:
        table.close()
