"""The broadcast message, on real pseudo-terminals."""

from __future__ import annotations

import os
import re
import select
import time
from pathlib import Path

import pytest

from upstart.base import utmp
from upstart.base.utmp import Record
from upstart.sysv.wall import terminals, wall


class Terminal:
    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.line = os.ttyname(self.slave).removeprefix("/dev/").encode()

    def shown(self, patience: float) -> str:
        data = b""
        while select.select([self.master], [], [], patience)[0]:
            data += os.read(self.master, 4096)
            patience = 0.05
        return data.decode()

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


def login(line: bytes, user: bytes = b"frodo", kind: int = utmp.USER_PROCESS) -> Record:
    return Record(kind, 1, line, line[-4:], user)


def test_every_terminal_with_a_login_shows_it_and_no_other(tmp_path: Path) -> None:
    one, two, free = Terminal(), Terminal(), Terminal()
    plain = tmp_path / "plain"
    plain.touch()
    try:
        records = [
            login(b"tty-that-is-gone"), login(str(plain).encode()[:32]), login(one.line), login(b"/dev/" + two.line),
            login(free.line, user=b""), login(free.line, kind=utmp.LOGIN_PROCESS),
        ]  # fmt: skip
        (tmp_path / "utmp").write_bytes(b"".join(record.pack() for record in records))
        pid = wall("\rThe end\r\n", str(tmp_path / "utmp"))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        pattern = (r"\x07\r+\nBroadcast message from \S+@" + re.escape(os.uname().nodename)
                   + r"\r+\n\t\(\S+\) at \d{1,2}:\d\d \.\.\.\r+\n\r+\n\rThe end\r+\n")
        for terminal in (one, two):
            assert re.fullmatch(pattern, terminal.shown(5))
        assert free.shown(0) == ""
        assert plain.read_text() == ""
    finally:
        for terminal in (one, two, free):
            terminal.close()


def test_a_terminal_that_is_stopped_holds_nothing_up(tmp_path: Path) -> None:
    stopped, other = Terminal(), Terminal()
    try:
        os.set_blocking(stopped.slave, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(stopped.slave, b"x" * 4096)
        (tmp_path / "utmp").write_bytes(login(stopped.line).pack() + login(other.line).pack())
        before = time.monotonic()
        os.waitpid(wall("The end", str(tmp_path / "utmp")), 0)
        assert other.shown(5).endswith("The end")
        assert time.monotonic() - before < 2
    finally:
        stopped.close()
        other.close()


def test_without_a_utmp_file_nobody_is_told(tmp_path: Path) -> None:
    assert terminals(str(tmp_path / "none")) == []
    os.waitpid(wall("The end", str(tmp_path / "none")), 0)
