"""The output of jobs: read from their ptys or pipes, appended to a file a job, kept in memory while that cannot be.

The log file is opened, appended to and closed for each batch of output, so that a rotated or removed file is never
written to, nothing holds the file system busy at shutdown, and no descriptor has to survive a re-exec.  It is
never followed through a symbolic link, never anything but a regular file, and grows to a cap, at which it is renamed
to ``.old``.  What cannot be written is kept, the oldest first, within a bound for each job and one for all of them;
what goes beyond is counted and a line in the log says so.  Output is always read, so that no job ever hangs on a
full pipe, and init warns once a log, not once a line.
"""

from __future__ import annotations

import errno
import os
import stat

from upstart.base.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes: kept for one log, for all logs together, read in one go, and at most after the process has ended.
KEPT = 256 * 1024
KEPT_IN_ALL = 8 * 1024 * 1024
READ = 65536
LAST_READ = 1024 * 1024
#: Logs of ended processes that wait to be written.
UNFLUSHED = 4096
#: Size of a log file at which it is renamed, bytes; two of them are the most that a job can fill a disk with.
FILE_CAP = 128 * 1024 * 1024
MODE = 0o640

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def log_path(logdir: str, job: str, instance: str, chroot: str | None) -> str:
    """Path of the log of a job instance; slashes of the names become underscores.

    ``chroot`` is the root of the job's session: its jobs log below it.
    """
    name = job if not instance else f"{job}-{instance}"
    return f"{chroot or ''}{logdir}/{name.replace('/', '_')}.log"


class LogStore:
    """All logs of one init: their common bound, and those whose process has ended before they could be written.

    ``warn`` gets a text for init's own log.  ``cap`` is `FILE_CAP` or another size in bytes.
    """

    __slots__ = ("cap", "kept", "unflushed", "warn")

    def __init__(self, warn: Callable[[str], None], cap: int = FILE_CAP) -> None:
        self.warn = warn
        self.cap = cap
        self.kept = 0
        #: By path, so that a job that ends again and again takes one place.
        self.unflushed: dict[str, JobLog] = {}

    def flush_all(self) -> bool:
        """Write what the logs of ended processes still hold (notify-disk-writeable); False if some still cannot be."""
        for path in list(self.unflushed):
            self.flush_path(path)
        return not self.unflushed

    def flush_path(self, path: str) -> bool:
        """The same for one log."""
        log = self.unflushed.get(path)
        if log is not None and log.flush():
            del self.unflushed[path]
            return True
        return log is None


class JobLog:
    """The log of one process: reads ``fd`` (pty master or pipe, non-blocking, owned from now on), writes ``path``.

    ``root`` is the root directory of a chroot session, which ``path`` is below: no link in it can lead out.
    """

    __slots__ = ("_data", "_dropped", "_store", "_warned", "fd", "path", "root")

    def __init__(self, store: LogStore, path: str, fd: int, root: str | None = None) -> None:
        self._store = store
        self.path = path
        self.root = root
        self.fd = fd
        self._data = bytearray()
        self._dropped = 0
        self._warned = False

    def on_readable(self) -> bool:
        """Take what the descriptor has; False when it is at its end and `fd` is closed (stop watching it)."""
        return self._take(READ)

    def _take(self, limit: int) -> bool:
        parts: list[bytes] = []
        size = 0
        open_still = True
        while size < limit:
            try:
                part = os.read(self.fd, READ)
            except BlockingIOError:
                break
            except InterruptedError:
                continue
            except OSError:
                # EIO: no process has the slave side of the pty open any more.
                open_still = False
                break
            if not part:
                open_still = False
                break
            parts.append(part)
            size += len(part)
        if parts:
            self._append(parts[0] if len(parts) == 1 else b"".join(parts))
        if not open_still:
            self.close()
        return open_still

    def _append(self, output: bytes) -> None:
        waiting = self._data or self._dropped or self.path in self._store.unflushed
        if waiting and not (self._store.flush_path(self.path) and self.flush()):
            self._keep(output)
            return
        written = self._write(output)
        if written < len(output):
            self._keep(output[written:])

    def flush(self) -> bool:
        """Try to write what is kept; False if some of it must still be kept."""
        if self._data:
            written = self._write(bytes(self._data))
            del self._data[:written]
            self._store.kept -= written
            if self._data:
                return False
        if self._dropped:
            note = b"(%d bytes of output are missing here)\n" % self._dropped
            if self._write(note) < len(note):
                return False
            self._dropped = 0
        return True

    def _keep(self, output: bytes) -> None:
        room = min(KEPT - len(self._data), KEPT_IN_ALL - self._store.kept)
        taken = output[: max(room, 0)] if not self._dropped else b""
        self._data += taken
        self._store.kept += len(taken)
        self._dropped += len(output) - len(taken)

    def _write(self, output: bytes) -> int:
        """Append to the file; returns how many bytes it took (0 if it cannot be written now)."""
        try:
            fd = self._open()
        except OSError as error:
            self._complain(error)
            return 0
        written = 0
        try:
            while written < len(output):
                count = os.write(fd, output[written:] if written else output)
                if count <= 0:
                    break
                written += count
        except OSError as error:
            self._complain(error)
        finally:
            try:
                os.close(fd)
            except OSError as error:
                self._complain(error)
        return written

    def _open(self) -> int:
        fd = self._open_file()
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            if info.st_size < self._store.cap:
                return fd
            self._rename(info)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return self._open_file()

    def _open_file(self) -> int:
        before = os.umask(0o117)
        try:
            if self.root is None:
                return os.open(self.path, _FLAGS, MODE)
            root = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                below = os.fsencode(self.path[len(self.root) :])
                return openat2(root, below, _FLAGS, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, MODE)
            finally:
                os.close(root)
        finally:
            os.umask(before)

    def _rename(self, info: os.stat_result) -> None:
        """Make room: the full log becomes ``PATH.old``, in place of an earlier one."""
        if self.root is not None:
            # A path inside a chroot cannot be renamed without resolving it outside: that log starts anew instead.
            fd = self._open_file()
            try:
                os.ftruncate(fd, 0)
            finally:
                os.close(fd)
            return
        now = os.stat(self.path, follow_symlinks=False)
        if (now.st_dev, now.st_ino) == (info.st_dev, info.st_ino):
            os.rename(self.path, self.path + ".old")

    def _complain(self, error: OSError) -> None:
        if not self._warned and error.errno not in (errno.EROFS, errno.ENOENT):
            self._warned = True
            self._store.warn(f"Failed to write to log file {self.path}: {os.strerror(error.errno or 0)}")

    def ended(self) -> None:
        """The process has been reaped: take the last of its output, and hand what cannot be written to the store.

        The descriptor is closed even if the process has left others that hold the other end.
        """
        if self.fd >= 0:
            self._take(LAST_READ)
        self.close()
        unflushed = self._store.unflushed
        if self._store.flush_path(self.path) and self.flush():
            return
        earlier = unflushed.get(self.path)
        if earlier is None:
            if len(unflushed) < UNFLUSHED:
                unflushed[self.path] = self
            else:
                self.discard()
        else:
            data = bytes(self._data)
            self._store.kept -= len(data)
            earlier._keep(data)
            earlier._dropped += self._dropped

    def discard(self) -> None:
        """Forget the log: its process could not be started."""
        self.close()
        self._store.kept -= len(self._data)
        self._data.clear()
        self._dropped = 0

    def close(self) -> None:
        """Close the descriptor, keeping what has been read."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def dump(self) -> dict[str, object]:
        """As plain values."""
        return {
            "path": self.path,
            "root": self.root,
            "fd": self.fd,
            "data": self._data.decode("latin-1"),
            "dropped": self._dropped,
        }

    @classmethod
    def load(cls, store: LogStore, state: dict[str, object]) -> JobLog:
        """From what `dump` gave.  Raises KeyError, TypeError or OSError (the descriptor is not open)."""
        fd, root, data, dropped = state["fd"], state.get("root"), state.get("data", ""), state.get("dropped", 0)
        if not isinstance(fd, int) or not isinstance(data, str) or not isinstance(dropped, int):
            raise TypeError("log")
        if fd >= 0:
            os.set_inheritable(fd, False)
        log = cls(store, str(state["path"]), fd, None if root is None else str(root))
        log._data += data.encode("latin-1")
        log._dropped = dropped
        store.kept += len(data)
        return log
