"""The state document: JSON in a memory file for the next program, a copy for people, and what GetState answers.

What is always true here: nothing is left open where something fails.
"""

from __future__ import annotations

import os

from upstart.base import jsontext
from upstart.base.closing import close
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


#: A value that JSON knows as ASCII text without blanks.
compact = jsontext.encoder(",", ":")
#: What such a text says.
entries_of = jsontext.decoder()
_text = jsontext.encoder()


def text_of(document: Document) -> str:
    """The document of this moment."""
    return _text(document.dump())


def parse(text: str) -> dict[str, Any]:
    """What a document says; ValueError where it is none."""
    saved: dict[str, Any] = entries_of(text)
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
        close(fd)
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
        close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


class Teller:
    """Gives the text of the document to whoever asks for it.

    A child writes it, for that of thousands of jobs takes longer than a client may be made to wait.  There is one at a
    time, however many ask: all who asked before it was started have its text, each in a turn of the loop.
    """

    __slots__ = ("_asked", "_busy", "_document", "_loop")

    def __init__(self, document: Document, loop: Loop) -> None:
        self._document = document
        self._loop = loop
        self._asked: list[Callable[[str | None], object]] = []
        self._busy = False

    def tell(self, told: Callable[[str | None], object]) -> None:
        """Call ``told`` with the text of a moment that is not before this one, or with None where there can be none."""
        self._asked.append(told)
        if not self._busy:
            self._begin()

    def _begin(self) -> None:
        asked, self._asked = self._asked, []
        self._busy = True
        try:
            self._start(asked)
        except BaseException as error:
            self._fail(asked)
            if not isinstance(error, OSError):
                raise

    def _fail(self, asked: list[Callable[[str | None], object]]) -> None:
        self._busy = False
        for told in asked:
            told(None)

    def _start(self, asked: list[Callable[[str | None], object]]) -> None:
        fd = os.memfd_create("upstart-state")
        reader, writer = os.pipe2(os.O_CLOEXEC)

        def work() -> None:
            # What ends unfinished leaves nothing: the note comes last.
            with open(fd, "w", encoding="ascii", closefd=False) as file:
                file.write(text_of(self._document))
            os.write(writer, b".")

        def done(_events: int) -> None:
            self._loop.remove(watch)
            try:
                whole = os.read(reader, 1)
                close(reader)
                os.lseek(fd, 0, os.SEEK_SET)
                text = read(fd)
                self._give(text if whole else text_of(self._document), asked)
            except BaseException:
                self._fail(asked)
                raise

        try:
            watch = self._loop.add_fd(reader, READ, done)
            try:
                helper.start("upstart-state", (fd, writer), work)
            except BaseException:
                self._loop.remove(watch)
                raise
        except BaseException:
            close(reader)
            close(fd)
            raise
        finally:
            close(writer)

    def _give(self, text: str, asked: list[Callable[[str | None], object]]) -> None:
        """Tell one of them; what is packed for one takes time enough."""
        if asked:
            told = asked.pop(0)
            self._loop.call_soon(lambda: self._give(text, asked))
            told(text)
            return
        self._busy = False
        if self._asked:
            self._begin()


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
        close(fd)
