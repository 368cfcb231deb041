"""The bridges that one process hosts for their jobs: who is to be hosted stands in a directory.

A job asks by a file there, whose name is the bridge's and whose text is its options, and says so by a byte for the
FIFO ``control``; with a FIFO ``wait.NAME`` it waits to be told what has become of that (``bridge-step``, in shell, does
all this).  What is always true here: who is started again finds all in the directory; a bridge whose file has gone is
closed, one whose file is another one begins anew; nobody is told that a bridge watches before it does; one that fails
is tried again, later and later, and keeps no other from going on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from upstart.base.errors import ClientError
from upstart.base.loop import READ
from upstart.base.priority import ERROR
from upstart.bridges.host import Host
from upstart.bridges.kinds import find
from upstart.bridges.program import Place, settings_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from upstart.base.loop import Loop

HOSTED, CONTROL, LEFT, WAIT = "hosted", "control", "left", "wait."
#: What who waits is told.
WATCHING, UNWANTED, FAILED, GONE = "watching", "unwanted", "failed", "gone"
#: Seconds before a bridge that has failed is tried again, at first and at most; one that has run for longer than that
#: begins with the first again.
RETRY, LONGEST_RETRY = 1.0, 60.0
#: Seconds for the first to come.
PATIENCE = 60.0


class Busy(Exception):
    """Another process hosts them."""


class Hosted:
    """One that is to be hosted: its file, as it was read, and its host, while it has one."""

    __slots__ = ("began", "host", "options", "retry", "stamp", "state")

    def __init__(self, stamp: tuple[int, int, int], options: list[str]) -> None:
        self.stamp = stamp
        self.options = options
        self.host: Host | None = None
        self.began = 0.0
        self.retry = RETRY
        #: What who waits is to be told; empty while that is not known.
        self.state = ""


class Hosting:
    """All that are hosted.  Raises Busy, or OSError where the directory cannot be used."""

    def __init__(self, loop: Loop, place: Place) -> None:
        self._loop = loop
        self._place = place
        self._directory = place.directory
        self._hosted: dict[str, Hosted] = {}
        os.makedirs(f"{self._directory}/{HOSTED}", mode=0o700, exist_ok=True)
        self._lock = os.open(f"{self._directory}/{HOSTED}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Busy from None
        self._control = self._open_control()
        self._watch = loop.add_fd(self._control, READ, self._asked)

    def _open_control(self) -> int:
        path = f"{self._directory}/{CONTROL}"
        for old in (path, f"{self._directory}/{LEFT}"):
            try:
                os.unlink(old)
            except FileNotFoundError:
                pass
        os.mkfifo(path, 0o600)
        # For writing as well: who else opens it never waits, and nothing is lost between two of them.
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def hosts(self) -> Iterable[Host]:
        """Those that run."""
        return [hosted.host for hosted in self._hosted.values() if hosted.host is not None]

    def run(self) -> None:
        """Host them until the last one has gone."""
        self._look()
        if not self._hosted:
            self._loop.call_later(PATIENCE, self._leave)
        self._place.ready()
        self._loop.run()
        for hosted in self._hosted.values():
            self._end(hosted)

    def _asked(self, _events: int) -> None:
        try:
            while os.read(self._control, 4096):
                pass
        except BlockingIOError:
            pass
        self._look()
        self._leave()

    def _leave(self) -> None:
        """End if there is nobody left, and leave a word of that; who comes meanwhile finds no FIFO, or is found."""
        if self._hosted:
            return
        os.rename(f"{self._directory}/{CONTROL}", f"{self._directory}/{LEFT}")
        if os.listdir(f"{self._directory}/{HOSTED}"):
            self._loop.remove(self._watch)
            os.close(self._control)
            self._control = self._open_control()
            self._watch = self._loop.add_fd(self._control, READ, self._asked)
            self._look()
        else:
            self._loop.stop()

    def _look(self) -> None:
        """Host who is to be hosted, and tell who waits."""
        # Who waits has his file in place by then.  One who comes later has us look again: of him nothing is known yet.
        waiting = [name.removeprefix(WAIT) for name in os.listdir(self._directory) if name.startswith(WAIT)]
        wanted = {}
        for name in os.listdir(f"{self._directory}/{HOSTED}"):
            try:
                with open(f"{self._directory}/{HOSTED}/{name}", "rb") as file:
                    stat = os.fstat(file.fileno())
                    wanted[name] = (stat.st_ino, stat.st_size, stat.st_mtime_ns), os.fsdecode(file.read(4096)).split()
            except OSError:
                continue  # it has just gone
        for name, hosted in list(self._hosted.items()):
            if name not in wanted or wanted[name][0] != hosted.stamp:
                del self._hosted[name]
                self._end(hosted)
        for name, (stamp, options) in wanted.items():
            if name not in self._hosted:
                self._hosted[name] = Hosted(stamp, options)
                self._begin(name, self._hosted[name])
        for name in waiting:
            self._tell(name)

    def _begin(self, name: str, hosted: Hosted) -> None:
        def log(priority: int, text: str) -> None:
            self._place.log(priority, f"{name}: {text}")

        try:
            bridge = find(name)
            settings = settings_of(bridge, hosted.options)
        except (ClientError, ImportError) as error:
            log(ERROR, str(error))
            self._settle(name, hosted, FAILED)
            return
        hosted.began = time.monotonic()
        hosted.host = Host(
            name, self._loop, self._place.address, self._directory, log,
            lambda: self._settle(name, hosted, WATCHING), lambda: self._failed(name, hosted),
        )  # fmt: skip
        hosted.host.begin(lambda host: bridge.make(host, settings))

    def _end(self, hosted: Hosted) -> None:
        host, hosted.host = hosted.host, None
        if host is not None:
            host.end()

    def _failed(self, name: str, hosted: Hosted) -> None:
        hosted.host = None
        if time.monotonic() - hosted.began > LONGEST_RETRY:
            hosted.retry = RETRY
        self._loop.call_later(hosted.retry, lambda: self._again(name, hosted))
        hosted.retry = min(2 * hosted.retry, LONGEST_RETRY)
        self._settle(name, hosted, FAILED)

    def _again(self, name: str, hosted: Hosted) -> None:
        if self._hosted.get(name) is hosted and hosted.host is None:
            self._begin(name, hosted)

    def _settle(self, name: str, hosted: Hosted, state: str) -> None:
        if state == WATCHING and hosted.host is not None and hosted.host.unwanted:
            state = UNWANTED
        hosted.state = state
        self._tell(name)

    def _tell(self, name: str) -> None:
        """Tell who waits for this bridge what has become of it, if that is known."""
        hosted = self._hosted.get(name)
        state = hosted.state if hosted is not None else GONE
        if not state:
            return
        try:
            fd = os.open(f"{self._directory}/{WAIT}{name}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENXIO):
                self._place.log(ERROR, f"{WAIT}{name}: {error.strerror}")
            return
        try:
            os.write(fd, f"{state}\n".encode())
        except OSError:
            pass  # who waited has gone
        finally:
            os.close(fd)
