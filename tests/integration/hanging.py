"""File systems and files that do not answer, in a mount namespace that ends with its test.

`in_private_mounts` runs a test's body there.  `Fuse` is a mount whose server never answers, `Permission` a daemon that
has to allow each opening (fanotify(7)) and does not, `Frozen` a disk that takes no writing until it is thawed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from daemon_init import MANAGER, PROPERTIES, UPSTART, Client

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18
_MNT_DETACH = 2
_FAN_CLASS_CONTENT, _FAN_CLOEXEC, _FAN_NONBLOCK = 4, 1, 2
_FAN_MARK_ADD = 1
_FAN_OPEN_PERM, _FAN_ONDIR, _FAN_EVENT_ON_CHILD = 0x10000, 0x40000000, 0x08000000
_EVENT = struct.Struct("=IBBHQii")
_AT_FDCWD = -100

#: Seconds: the longest that init may keep a client waiting here, and how long it is asked.
AT_MOST = 0.3

needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("fsfreeze") or not os.path.exists("/dev/fuse"), reason="needs root and mounts"
)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def in_private_mounts(body: Callable[[], object]) -> None:
    """Run ``body`` in a child with mounts of its own; what it raises fails the test."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                _check(_libc.unshare(_CLONE_NEWNS))
                _check(_libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
                body()
            except BaseException:
                os.write(write, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as file:
        text = file.read()
    os.waitpid(pid, 0)
    assert not text, text


class Fuse:
    """A file system at ``path`` whose server does not answer until it goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        _check(_libc.mount(b"none", bytes(path), b"fuse", ctypes.c_ulong(0), options))

    def go(self) -> None:
        """The server goes, and the mount with it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            _check(_libc.umount2(bytes(self.path), _MNT_DETACH))


class Permission:
    """A daemon that has to allow each opening of what is in the directory ``path``, or of that file."""

    def __init__(self, path: Path) -> None:
        self.fd = _check(_libc.fanotify_init(_FAN_CLASS_CONTENT | _FAN_CLOEXEC | _FAN_NONBLOCK, os.O_RDONLY))
        mask = _FAN_OPEN_PERM | (_FAN_ONDIR | _FAN_EVENT_ON_CHILD if path.is_dir() else 0)
        _check(_libc.fanotify_mark(self.fd, _FAN_MARK_ADD, ctypes.c_uint64(mask), _AT_FDCWD, bytes(path)))
        self.asked = 0

    def look(self) -> int:
        """How many openings have been asked for."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return self.asked
        while data:
            length, _, _, _, _, fd, _ = _EVENT.unpack_from(data)
            data = data[length:]
            os.close(fd)
            self.asked += 1
        return self.asked

    def go(self) -> None:
        """The daemon ends: the kernel allows everything."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Frozen:
    """A disk at ``path``, frozen or not."""

    def __init__(self, path: Path, image: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        with image.open("wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(path)], check=True)
        self.frozen = False

    def freeze(self) -> None:
        subprocess.run(["fsfreeze", "--freeze", str(self.path)], check=True)
        self.frozen = True

    def go(self) -> None:
        """Take writing again."""
        if self.frozen:
            self.frozen = False
            subprocess.run(["fsfreeze", "--unfreeze", str(self.path)], check=True)

    def unmount(self) -> None:
        self.go()
        _check(_libc.umount2(bytes(self.path), _MNT_DETACH))


def slowest(client: Client, seconds: float) -> float:
    """The longest that init takes for an answer in so many seconds."""
    worst = 0.0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        client.call(MANAGER, PROPERTIES, "Get", "ss", UPSTART, "version")
        worst = max(worst, time.monotonic() - began)
        time.sleep(0.005)
    return worst
