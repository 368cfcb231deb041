"""File systems and files that do not answer, in a mount namespace that ends with its test.

`in_private_mounts` runs a test's body there.  `Fuse` is a mount whose server never answers, `Unflushed` one whose
server answers all but the closing of files, `Permission` a daemon that has to allow each opening (fanotify(7)) and does
not, `Frozen` a disk that takes no writing until it is thawed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import shutil
import struct
import subprocess
import threading
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


#: Requests of FUSE, and what a server answers to those about the one file that it has, which anybody may make.
_INIT, _LOOKUP, _FORGET, _GETATTR, _SETATTR, _OPEN, _WRITE, _FLUSH, _CREATE = 26, 1, 2, 3, 4, 14, 16, 25, 35
_ATTRIBUTES = struct.Struct("=6Q10I")
_ASKED = struct.Struct("=IIQQIIII")
_ANSWER = struct.Struct("=IiQ")


class Unflushed(Fuse):
    """One whose server answers everything but that a file is being closed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        #: How many files are being closed.
        self.flushes = 0
        over, self._end = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, args=(over,), daemon=True)
        self._thread.start()

    def _serve(self, over: int) -> None:
        made = False
        waits = select.poll()
        waits.register(over, select.POLLHUP)
        waits.register(self.fd, select.POLLIN)
        while over not in [fd for fd, _ in waits.poll()]:
            asked = os.read(self.fd, 1 << 18)
            _, kind, unique, node, *_ = _ASKED.unpack_from(asked)
            root = _ATTRIBUTES.pack(1, *[0] * 8, 0o40777, 2, 0, 0, 0, 4096, 0)
            file = _ATTRIBUTES.pack(2, *[0] * 8, 0o100666, 1, 0, 0, 0, 4096, 0)
            entry = struct.pack("=4Q2I", 2, 0, 0, 0, 0, 0) + file
            error, said = 0, b""
            if kind == _FLUSH:
                self.flushes += 1
                continue
            if kind == _FORGET:
                continue
            if kind == _INIT:
                said = struct.pack("=4I2H2I2H8I", 7, 31, 0, 0, 0, 0, 1 << 16, 1, 0, 0, *[0] * 8)
            elif kind in (_GETATTR, _SETATTR):
                said = struct.pack("=Q2I", 0, 0, 0) + (root if node == 1 else file)
            elif kind == _LOOKUP:
                error, said = (0, entry) if made else (-errno.ENOENT, b"")
            elif kind == _CREATE:
                made, said = True, entry + bytes(16)
            elif kind == _OPEN:
                said = bytes(16)
            elif kind == _WRITE:
                said = struct.pack("=2I", struct.unpack_from("=I", asked, _ASKED.size + 16)[0], 0)
            else:
                error = -errno.ENOSYS
            os.write(self.fd, _ANSWER.pack(_ANSWER.size + len(said), error, unique) + said)
        os.close(over)

    def go(self) -> None:
        """The server goes, and who waits for it is told so."""
        if self.fd >= 0:
            os.close(self._end)
            self._thread.join()
            super().go()


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
