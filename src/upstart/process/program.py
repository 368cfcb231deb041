"""What a process of a job executes: its argument list, how a fork's child executes it, and whether init may do so
without a fork.

posix_spawn(3) holds its caller until the program is executed, so init may only use it where nothing on the way can
wait: not a hung NFS mount, an automounter, a FIFO, or a disk.  `Programs.find` therefore looks the program up with
openat2(2) and only in what the kernel has cached, on init's own file system and without leaving it, and has looked
into the file (a script's interpreter is looked up too).  Opening a file to read it may wait too, for a fanotify(7)
daemon: that another process does, as soon as there is one.  Anything else is not an error: the answer is ``None``,
and the job is started through a fork, which may wait as long as it likes.
"""

from __future__ import annotations

import errno
import os
import stat

from upstart.base.closing import close
from upstart.base.syscalls import (
    RESOLVE_CACHED,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from upstart.conf.jobclass import ProcessDef

    Head = Callable[[int], bytes | None]
    Look = Callable[[str], bool]

SHELL = "/bin/sh"
#: A command that contains one of these is given to the shell (the original's list).
SHELL_CHARS = frozenset("~`!$^&*()=|\\{}[];\"'<>?")
#: Where the shell finds a script of several lines.
SCRIPT_FD = 9
#: execvp(3) without PATH in the environment (what glibc's confstr gives).
DEFAULT_PATH = "/bin:/usr/bin"

#: execvp(3) goes on to the next directory of PATH after these.
_TRY_NEXT = frozenset((errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.ENODEV, errno.ETIMEDOUT))
#: Symbolic links and interpreters of interpreters that are followed, as in the kernel.
_INTERPRETERS = 4
_RESOLVE = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED
_CACHE_SIZE = 4096
#: Bytes that the kernel looks at to see how a file is executed.
_HEAD = 256


def split_words(command: str) -> list[str]:
    """The words of a command without shell characters; only ASCII blanks separate them."""
    return [word for word in command.replace("\t", " ").replace("\r", " ").replace("\n", " ").split(" ") if word]


def arguments(definition: ProcessDef, script_fd: int = SCRIPT_FD) -> tuple[list[str], str | None]:
    """The argument list of a process, and the script to feed to descriptor ``script_fd`` if there is one.

    A script, or a command with shell characters, is run by ``/bin/sh -e``: in one line behind ``-c`` (a command with
    ``exec`` in front, so that the shell gets out of the way), of several lines through the descriptor.
    """
    command = definition.command
    if not definition.script:
        if SHELL_CHARS.isdisjoint(command):
            return split_words(command), None
        command = "exec " + command
    line, newline, rest = command.partition("\n")
    if not newline or not rest.strip("\n"):
        return [SHELL, "-e", "-c", line, SHELL], None
    return [SHELL, "-e", f"/proc/self/fd/{script_fd}"], command


#: What a shell does first that is to hand sockets on: LISTEN_PID is its own pid, which becomes the program's.
_LISTENING = "export LISTEN_PID=$$"


def listening(argv: list[str], env: Mapping[str, str]) -> list[str]:
    """The argument list by which a process tells itself its pid in LISTEN_PID: a shell's, which executes ``argv``.

    Empty where a shell would change more than that: variables with names that it does not know.
    """
    if argv[:3] == [SHELL, "-e", "-c"]:
        return [*argv[:3], f"{_LISTENING}; {argv[3]}", *argv[4:]]
    if argv[:2] == [SHELL, "-e"] and argv[2].startswith("/proc/self/fd/"):
        # A script, which begins with it.
        return argv
    if not all(name.isascii() and name.isidentifier() for name in env):
        return []
    unset = "" if "PWD" in env else "unset PWD; "
    return [SHELL, "-c", f'{_LISTENING}; {unset}exec "$@"', SHELL, *argv]


def beginning(script_fd: int, sockets: bool) -> str:
    """What a script begins with that is read from a descriptor: the shell must not leave that to what it runs.

    One of more than one digit it cannot close.
    """
    words = [f"exec {script_fd}<&-"] if script_fd < 10 else []
    return "; ".join([*words, *([_LISTENING] if sockets else [])]) + "\n" if words or sockets else ""


def execute(argv: list[str], env: dict[str, str]) -> None:
    """execvp(3) with the PATH of ``env``; returns only by raising OSError."""
    if not argv or not argv[0]:
        raise OSError(errno.ENOENT, "no command")
    name = argv[0]
    if "/" in name:
        _exec(name, argv, env)
    denied = False
    last = OSError(errno.ENOENT, "not found")
    for directory in env.get("PATH", DEFAULT_PATH).split(":"):
        try:
            _exec(f"{directory}/{name}" if directory else name, argv, env)
        except OSError as error:
            if error.errno == errno.EACCES:
                denied = True
            elif error.errno not in _TRY_NEXT:
                raise
            last = error
    if denied:
        raise OSError(errno.EACCES, "not executable")
    raise last


def _exec(path: str, argv: list[str], env: dict[str, str]) -> None:
    try:
        os.execve(path, argv, env)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        # As execvp(3) does with a script that names no interpreter.
        os.execve(SHELL, [SHELL, path, *argv[1:]], env)


class Programs:
    """Finds programs that can be executed without waiting; remembers which files it has looked into.

    ``waits``: it may wait for a disk, as a boot does for all that it reads.
    """

    def __init__(self) -> None:
        self.waits = False
        #: Directories, what the paths below each begin with, and how these are resolved.
        self._roots: list[tuple[int, str, int]] = []
        self._seen: dict[tuple[int, int, int, int], str] = {}
        root = _directory("/")
        if root < 0:
            return
        # Else the kernel takes what an absolute symbolic link leads to for another file system's.
        self._roots.append((root, "/", RESOLVE_IN_ROOT))
        usr = _directory("/usr")
        if usr >= 0:
            if os.fstat(usr).st_dev == os.fstat(root).st_dev:
                close(usr)
            else:
                # First: what cannot be had from the cache below "/" may be had there.
                self._roots.insert(0, (usr, "/usr/", 0))

    def close(self) -> None:
        """Close the directories kept open."""
        for fd, _prefix, _how in self._roots:
            close(fd)
        self._roots = []

    def descriptors(self) -> tuple[int, ...]:
        """The directories kept open."""
        return tuple(fd for fd, _prefix, _how in self._roots)

    def look(self, path: str) -> bool:
        """Look ``path`` up, which may take until the disk has answered; whether the kernel knows of it now."""
        try:
            close(self._open(path, os.O_PATH, waits=True))
        except OSError as error:
            return error.errno in (errno.ENOENT, errno.ENOTDIR)
        return True

    def find(
        self, name: str, env: Mapping[str, str], head: Head | None = None, look: Look | None = None
    ) -> str | None:
        """The path that execvp(3) would execute for ``name``, or ``None`` where only trying in a child can tell.

        ``head`` gives the first bytes of the file that its argument is a path descriptor of, or ``None``.  ``look`` has
        somebody else do what `look` does.
        """
        if "/" in name:
            return name if name.startswith("/") and self._runs(name, _INTERPRETERS, head, look) is True else None
        for directory in env.get("PATH", DEFAULT_PATH).split(":"):
            if not directory.startswith("/"):
                return None
            path = f"{directory}/{name}"
            found = self._runs(path, _INTERPRETERS, head, look)
            if found is not None:
                return path if found else None
        return None

    def _runs(self, path: str, depth: int, head: Head | None, look: Look | None) -> bool | None:
        """True: ``path`` can be executed at once; ``None``: it does not exist; False: that cannot be told here."""
        if depth == 0:
            return False
        try:
            fd = self._open(path, os.O_PATH, self.waits)
        except OSError as error:
            if error.errno == errno.EAGAIN and look is not None and look(path):
                return self._runs(path, depth, head, None)
            return None if error.errno in (errno.ENOENT, errno.ENOTDIR) else False
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode) or not info.st_mode & 0o111:
                return False
            key = (info.st_dev, info.st_ino, info.st_mtime_ns, info.st_ctime_ns)
            interpreter = self._seen.get(key)
            if interpreter is None:
                text = head(fd) if head is not None else self._head(path)
                interpreter = _interpreter(text) if text is not None else None
                if interpreter is None:
                    return False
                if len(self._seen) >= _CACHE_SIZE:
                    self._seen.clear()
                self._seen[key] = interpreter
        finally:
            close(fd)
        return interpreter == "" or self._runs(interpreter, depth - 1, head, look) is True

    def _head(self, path: str) -> bytes | None:
        """The first bytes of a file, ``None`` if they are not to be had at once."""
        try:
            fd = self._open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, self.waits)
            try:
                return os.read(fd, _HEAD) if self.waits else _read_cached(fd)
            finally:
                close(fd)
        except OSError:
            return None

    def _open(self, path: str, flags: int, waits: bool) -> int:
        """Open ``path`` without leaving its file system, and from cache unless it may be waited for; EXDEV or EAGAIN
        say that this cannot be done."""
        error = OSError(errno.EXDEV, "no directory to start from")
        resolve = _RESOLVE & ~RESOLVE_CACHED if waits else _RESOLVE
        for fd, prefix, how in self._roots:
            if not path.startswith(prefix):
                continue
            try:
                return openat2(fd, os.fsencode(path[len(prefix) :].lstrip("/")), flags, resolve | how)
            except OSError as reason:
                if reason.errno != errno.EXDEV:
                    raise
                error = reason
        raise error


def _interpreter(head: bytes) -> str | None:
    """The interpreter of a script, "" for a binary, ``None`` for what the kernel may not execute by itself."""
    if head.startswith(b"\x7fELF"):
        return ""
    line, newline, _rest = head.partition(b"\n")
    words = line[2:].split()
    if not head.startswith(b"#!") or not newline or not words or not words[0].startswith(b"/"):
        return None
    return os.fsdecode(words[0])


def _read_cached(fd: int) -> bytes:
    """The first bytes of a file, EAGAIN where they would have to come from a disk."""
    buffer = bytearray(_HEAD)
    try:
        size = os.preadv(fd, [buffer], 0, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        # tmpfs and overlayfs cannot tell; it is the file system that init itself runs from.
        return os.read(fd, _HEAD)
    return bytes(buffer[:size])


def _directory(path: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1
