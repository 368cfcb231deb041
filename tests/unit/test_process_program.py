"""What a process executes, and which programs may be executed without waiting."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from upstart.conf.jobclass import ProcessDef
from upstart.process.program import Programs, arguments


@pytest.mark.parametrize(
    ("command", "script", "argv", "fed"),
    [
        ("/bin/foo a  b\tc", False, ["/bin/foo", "a", "b", "c"], None),
        ("foo\u00a0bar", False, ["foo\u00a0bar"], None),
        ("/bin/foo $X", False, ["/bin/sh", "-e", "-c", "exec /bin/foo $X", "/bin/sh"], None),
        ("/bin/foo a=b", False, ["/bin/sh", "-e", "-c", "exec /bin/foo a=b", "/bin/sh"], None),
        ("echo hi\n", True, ["/bin/sh", "-e", "-c", "echo hi", "/bin/sh"], None),
        ("echo hi", True, ["/bin/sh", "-e", "-c", "echo hi", "/bin/sh"], None),
        ("echo hi\n\n\n", True, ["/bin/sh", "-e", "-c", "echo hi", "/bin/sh"], None),
        ("a\nb\n", True, ["/bin/sh", "-e", "/proc/self/fd/9"], "a\nb\n"),
        ("", True, ["/bin/sh", "-e", "-c", "", "/bin/sh"], None),
        ("\na\n", True, ["/bin/sh", "-e", "/proc/self/fd/9"], "\na\n"),
    ],
)
def test_argument_lists_are_those_of_the_original(
    command: str, script: bool, argv: list[str], fed: str | None
) -> None:
    assert arguments(ProcessDef(command, script)) == (argv, fed)


def executable(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    path.chmod(0o755)
    return str(path)


def found(name: str, path: str = "/nonexistent-for-tests") -> str | None:
    programs = Programs()
    try:
        # What was only just looked up or written may not be in the kernel's cache: that is never an error.
        os.path.exists(path.split(":")[0] + "/" + name)
        if os.path.isfile(name):
            with open(name, "rb") as file:
                file.read(16)
        return programs.find(name, {"PATH": path})
    finally:
        programs.close()


def at_last(name: str, path: str = "/nonexistent-for-tests") -> str | None:
    """What is found once the kernel can tell: while anybody renames or mounts something it may not be able to."""
    deadline = time.monotonic() + 10
    while (program := found(name, path)) is None and time.monotonic() < deadline:
        pass
    return program


def test_the_shell_is_executed_without_a_fork() -> None:
    assert at_last("/bin/sh") == "/bin/sh"


def test_a_name_is_searched_in_path() -> None:
    assert at_last("sh", "/nonexistent-for-tests:/bin") == "/bin/sh"
    assert found("sh", "bin:/bin") is None
    assert found("sh", ":/bin") is None


def test_a_fifo_is_left_to_the_fork(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o755)
    programs = Programs()
    assert programs.find(str(tmp_path / "fifo"), {}) is None
    programs.close()


def test_other_file_systems_are_left_to_the_fork() -> None:
    programs = Programs()
    assert programs.find("/proc/self/exe", {}) is None
    programs.close()


def test_an_absolute_link_is_followed_on_the_same_file_system(tmp_path: Path) -> None:
    """As those of /etc/alternatives are."""
    (tmp_path / "tool").symlink_to(executable(tmp_path / "target", b"#!/bin/sh\n"))
    (tmp_path / "chain").symlink_to(tmp_path / "tool")
    (tmp_path / "out").symlink_to("/proc/self/exe")
    assert at_last(str(tmp_path / "tool")) == str(tmp_path / "tool")
    assert at_last(str(tmp_path / "chain")) == str(tmp_path / "chain")
    assert found(str(tmp_path / "out")) is None


def test_what_the_kernel_does_not_know_of_is_looked_up_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = executable(tmp_path / "tool", b"#!/bin/sh\n")
    asked: list[str] = []
    known = {"/bin/sh"}

    def opened(self: Programs, path: str, flags: int, waits: bool) -> int:
        if path not in known:
            raise OSError(errno.EAGAIN, "not known")
        return os.open(path, flags)

    def look(path: str) -> bool:
        asked.append(path)
        known.add(path)
        return len(asked) < 3

    monkeypatch.setattr(Programs, "_open", opened)
    programs = Programs()
    assert programs.find("tool", {"PATH": f"/bin:{tmp_path}"}, None, look) == path and asked == ["/bin/tool", path]
    assert programs.find(path, {}, None, look) == path and len(asked) == 2
    # Nobody has answered, or nobody can be asked.
    assert programs.find("/bin/true", {}, None, look) is None and asked[2:] == ["/bin/true"]
    known.discard("/bin/true")
    assert programs.find("/bin/true", {}) is None
    programs.close()


def test_what_is_looked_up_is_on_the_same_file_system(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/proc/self/exe")
    programs = Programs()
    assert programs.look("/bin/sh") and programs.look("/no/such/program") and programs.look("/bin/sh/below")
    assert not programs.look("/proc/self/exe") and not programs.look(str(tmp_path / "out"))
    programs.close()
    assert not programs.look("/bin/sh")


def test_scripts_need_an_interpreter_that_qualifies(tmp_path: Path) -> None:
    good = executable(tmp_path / "good", b"#! /bin/sh -e\nexit 0\n")
    assert at_last(good) == good
    assert found(executable(tmp_path / "elsewhere", b"#!/proc/self/exe\n")) is None
    assert found(executable(tmp_path / "none", b"exit 0\n")) is None
    assert found(executable(tmp_path / "relative", b"#!sh\n")) is None
    assert found(executable(tmp_path / "loop", f"#!{tmp_path}/loop\n".encode())) is None


def test_what_cannot_be_executed_is_left_to_the_fork(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"#!/bin/sh\n")
    plain.chmod(0o644)
    assert found(str(plain)) is None
    assert found(str(tmp_path)) is None
    assert found(str(tmp_path / "missing")) is None


def test_a_changed_file_is_looked_into_again(tmp_path: Path) -> None:
    path = executable(tmp_path / "tool", b"#!/bin/sh\nexit 0\n")
    assert at_last(path) == path
    programs = Programs()
    deadline = time.monotonic() + 10
    while programs.find(path, {}) is None:
        assert time.monotonic() < deadline
    other = executable(tmp_path / "other", b"exit 0\n")
    os.rename(other, path)
    assert programs.find(path, {}) is None
    programs.close()
