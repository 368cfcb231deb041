"""A writer of logs that is no other process: it appends at once, in whoever calls it."""

from __future__ import annotations

from upstart.base.logfile import FILE_CAP, append
from upstart.process.log import LogFile


class DirectWriter:
    """``cap`` as for `append`."""

    def __init__(self, cap: int = FILE_CAP) -> None:
        self.cap = cap

    def submit(self, file: LogFile) -> None:
        file.written(*append(file.path, file.root, file.piece(), self.cap))
