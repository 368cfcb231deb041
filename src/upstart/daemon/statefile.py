"""The state document: JSON in a memory file for the next program, a copy for people, and what GetState answers.

What is always true here: nothing is left open where something fails.
"""

from __future__ import annotations

import json
import os

from upstart.base.loop import READ
from upstart.process import helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.base.loop import Loop
    from upstart.daemon.document import Document

STATE_FILE = "upstart.state"
_MAX_STATE = 256 << 20


def text_of(document: Document) -> str:
    """The document of this moment."""
    return json.dumps(document.dump())


def parse(text: str) -> dict[str, Any]:
    """What a document says; ValueError where it is none."""
    saved: dict[str, Any] = json.loads(text)
    return saved


def memory_file(text: str) -> int:
    """A descriptor from which the next program reads a document; OSError where there can be none."""
    fd = os.memfd_create("upstart-state")
    try:
        data = memoryview(text.encode("utf-8", "surrogateescape"))
        while data:
            data = data[os.write(fd, data) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read(fd: int) -> str:
    """The text of a `memory_file`; closes ``fd``.  OSError where that fails."""
    parts = []
    try:
        left = _MAX_STATE
        while left > 0:
            part = os.read(fd, 1 << 20)
            if not part:
                break
            parts.append(part)
            left -= len(part)
    finally:
        os.close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def tell(document: Document, loop: Loop, told: Callable[[str], object]) -> None:
    """Give ``told`` the text of this moment, which a child writes: that of thousands of jobs takes longer than a client
    may be made to wait."""
    fd = os.memfd_create("upstart-state")
    reader, writer = os.pipe2(os.O_CLOEXEC)

    def work() -> None:
        # What ends unfinished leaves nothing: the note comes last.
        with open(fd, "w", encoding="ascii", closefd=False) as file:
            file.write(text_of(document))
        os.write(writer, b".")

    def done(_events: int) -> None:
        loop.remove(watch)
        whole = os.read(reader, 1)
        os.close(reader)
        os.lseek(fd, 0, os.SEEK_SET)
        text = read(fd)
        told(text if whole else text_of(document))

    try:
        watch = loop.add_fd(reader, READ, done)
        try:
            helper.start("upstart-state", (fd, writer), work)
        except BaseException:
            loop.remove(watch)
            raise
    except BaseException:
        os.close(reader)
        os.close(fd)
        raise
    finally:
        os.close(writer)


def keep_copy(logdir: str | None, text: str) -> None:
    """Have a helper keep a copy for people to look at, readable by its owner alone; failing to is no error."""
    if logdir is not None:
        try:
            helper.start("upstart-state", (), lambda: write_file(logdir, text))
        except OSError:
            pass


def write_file(logdir: str, text: str) -> None:
    """Write the copy; waits for the disk."""
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(f"{logdir}/{STATE_FILE}", flags, 0o400)
    except OSError:
        return
    try:
        os.write(fd, text.encode("utf-8", "surrogateescape"))
    except OSError:
        pass
    finally:
        os.close(fd)
