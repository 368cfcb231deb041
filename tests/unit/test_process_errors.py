"""The reasons for which a process cannot be started, in the original's words."""

from __future__ import annotations

import errno

import pytest

from upstart.process.errors import decode_failure, encode


@pytest.mark.parametrize(
    ("step", "number", "detail", "text"),
    [
        ("exec", errno.ENOENT, "", "unable to execute: No such file or directory"),
        ("chdir", errno.ENOENT, "", "unable to change working directory: No such file or directory"),
        ("chroot", errno.EACCES, "", "unable to change root directory: Permission denied"),
        ("rlimit", errno.EPERM, "nofile", 'unable to set "nofile" resource limit: Operation not permitted'),
        ("bad-setuid", 0, "", "unable to find setuid user"),
        ("bad-setgid", 0, "", "unable to find setgid group"),
        ("console", errno.ENXIO, "", "unable to open console: No such device or address"),
        ("dup", errno.EBADF, "", "unable to move script fd: Bad file descriptor"),
        ("priority", errno.EACCES, "", "unable to set priority: Permission denied"),
        ("oom", errno.EACCES, "", "unable to set oom adjustment: Permission denied"),
        ("setuid", errno.EPERM, "", "unable to setuid: Operation not permitted"),
        ("setgid", errno.EPERM, "", "unable to setgid: Operation not permitted"),
        ("initgroups", errno.EPERM, "", "unable to initgroups: Operation not permitted"),
        ("security", errno.ENOENT, "", "unable to switch security profile: No such file or directory"),
        ("cgroup-setup", 0, "cpu.shares: Invalid argument", "unable to setup cgroup: cpu.shares: Invalid argument"),
    ],
)
def test_texts(step: str, number: int, detail: str, text: str) -> None:
    assert decode_failure(encode(step, number, detail)) == text


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"exec", b"exec x y", b"nonsense 2 z"])
def test_a_garbled_report_is_still_a_text(data: bytes) -> None:
    assert decode_failure(data).startswith("unable to")
