"""Programs of ours that a boot starts are run by the fork itself: it has an interpreter, and most of their modules.

An interpreter of its own is half of what mountall(8) costs a boot, and until that has mounted there is little else.
What is always true here: whoever looks finds the process as the exec would have left it, but for what /proc tells of
its memory (`cmdline`, of one word, and `environ`, which is init's: one that begins anew without a state in that half
minute does not adopt it).  It runs the very text of the script that would have been executed, which is one that our
packages install, found as the exec would have found it.  What it has is what the job asks for, no descriptor, handler
or variable of init's, and nothing that it does or raises leads back into init's code.  Only an init that has just
booted does this, and only while its files are those that it was started from: else modules that are loaded and others
would be of two versions.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import stat
import sys

import upstart
from upstart.base.title import show_as
from upstart.process.program import DEFAULT_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping
    from typing import NoReturn

    from upstart.process.request import SpawnRequest
else:
    # Without the enumerations of the signal module, whose conversions cost more than the system calls.
    import _signal as signal

#: Bytes; none of our scripts is longer.
_LONGEST = 8192
#: The kernel's, where an exec changes what the process is allowed.
_LABELS = "/sys/fs/selinux/enforce"
_DESCRIPTORS = "/proc/self/fd"
#: What the interpreter has made its own at its start, and does not look at again.
_LOCALE = ("LC_ALL", "LC_CTYPE", "LANG")
#: What it ignores, as each of our programs finds it.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)


class Script:
    """One of ours: its ``path``, which is the program's first argument, and its ``text``."""

    __slots__ = ("path", "text")

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text


class OwnPrograms:
    """Tells which programs are ours: those that begin as ``program`` does, the script that init was started by."""

    __slots__ = ("_beginning", "_installed", "_program")

    def __init__(self, program: str) -> None:
        able = os.path.isdir(_DESCRIPTORS) and not os.path.exists(_LABELS)
        self._beginning = _beginning(_read(program)) if able else ()
        self._program = program
        self._installed = _stamps(program)

    def find(self, request: SpawnRequest, argv: list[str], path: str = "") -> Script | None:
        """The script that executing ``argv`` would run, ``None`` where that is not one of ours, or where it needs what
        only an exec gives.

        It reads files, for which it may wait; ``path`` is the program's, where that is known.
        """
        job = request.job_class
        if not self._beginning or job.apparmor_switch is not None or job.debug or "expect" in vars(job):
            return None
        if not (job.chroot is job.setuid is job.setgid is request.session is None):
            return None
        if any(request.env.get(name) != os.environ.get(name) for name in _LOCALE):
            return None
        path = path or (_which(argv[0], request.env) if argv else "")
        text = _read(path) if path else ""
        if _beginning(text) != self._beginning or _stamps(self._program) != self._installed:
            return None
        return Script(path, text)


def run(script: Script, argv: list[str], env: Mapping[str, str]) -> NoReturn:
    """Be the program, in a child in which nothing of init's is to be found any more but its memory."""
    status = 1
    try:
        _forget_init(env)
        _close_what_an_exec_closes()
        show_as(script.path, os.path.basename(script.path)[:15])
        sys.argv = [script.path, *argv[1:]]
        exec(compile(script.text, script.path, "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
        status = 0
    except SystemExit as end:
        status = _status(end.code)
    except BaseException as error:
        # Without the line above that runs it.
        trace = error.__traceback__
        sys.excepthook(type(error), error, trace.tb_next if trace is not None else None)
    finally:
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        finally:
            os._exit(status)


def _forget_init(env: Mapping[str, str]) -> None:
    """Be as an interpreter that has just been started with ``env``."""
    # Collecting would look at all that init has, and so have it copied.
    gc.freeze()
    gc.enable()
    faulthandler.disable()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # This is posix.environ, too.
    os.environ.clear()
    os.environ.update(env)


def _close_what_an_exec_closes() -> None:
    for fd in map(int, os.listdir(_DESCRIPTORS)):
        try:
            if fd > 2 and not os.get_inheritable(fd):
                os.close(fd)
        except OSError:
            pass  # the directory's own


def _status(code: object) -> int:
    """The exit status that sys.exit(``code``) asks for."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    os.write(2, f"{code}\n".encode(errors="replace"))
    return 1


def _which(name: str, env: Mapping[str, str]) -> str:
    """The file that execvp(3) would execute first, "" where that is for it to find out."""
    if "/" in name:
        return name if name.startswith("/") else ""
    for directory in env.get("PATH", DEFAULT_PATH).split(":"):
        if not directory.startswith("/"):
            return ""
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
        if os.path.lexists(path):
            return ""
    return ""


def _read(path: str) -> str:
    """The text of a file that can be executed, "" where it is none, or too long to be one of ours."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode) or not mode & 0o111 or mode & 0o6000:
                return ""
            text = os.read(fd, _LONGEST + 1).decode()
            return text if len(text) <= _LONGEST else ""
        finally:
            os.close(fd)
    except (OSError, UnicodeDecodeError):
        return ""


def _stamps(program: str) -> list[tuple[int, int]]:
    """What changes when our packages are unpacked: of the program, and of what stands for all modules."""
    found = []
    for path in (program, upstart.__file__):
        try:
            info = os.stat(path)
            found.append((info.st_ino, info.st_mtime_ns))
        except OSError:
            found.append((0, 0))
    return found


def _beginning(text: str) -> tuple[str, ...]:
    """What all our scripts have in common: the interpreter with its options, and where their modules are; () for
    another file."""
    lines = text.splitlines()
    paths = tuple(line for line in lines if line.startswith("sys.path += "))
    return (lines[0], *paths) if paths and lines[0].startswith("#!") else ()
