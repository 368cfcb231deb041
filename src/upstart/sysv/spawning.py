"""Starting a script as startpar(1) does, whose work rcS and rc do by themselves.

What is always true here:

- A script leads a process group of its own, so that what ends rcS does not end what scripts have left running.  Its
  standard input is the console, its output and errors a terminal that rcS reads from; SIGINT is ignored as by rcS, and
  LINES and COLUMNS are the console's size.
- An interactive script has the console for all three and for its controlling terminal, in the foreground, with SIGINT
  as it is by default.  A small process leads its session and its group: so the keyboard cannot stop it, which nobody
  could make good, and nobody is hung up on when it ends.
- No other script has a controlling terminal.  With one, reading what is typed at the console would stop it for ever,
  for it would be in the background.
"""

from __future__ import annotations

# Not signal: that loads enum to give the numbers names.
import _signal as signal  # type: ignore[import-not-found]
import errno
import posix
import termios

from upstart.base import inherited, starting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

SHELL = "/bin/sh"
#: What a script has as by default, whatever rcS does with it.
_DEFAULTS = (*inherited.IGNORED, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGTTIN, signal.SIGTTOU)
#: What the keyboard says is for the script, not for who leads its session.
_NOT_FOR_LEADER = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP, signal.SIGTTOU)
_ROWS, _COLUMNS = 24, 80


def spawn(path: str, link: str, action: str, env: dict[bytes, bytes]) -> tuple[int, int]:
    """Start the script at *path*, whose link is *link*, with the word *action*: its pid, and where its words come from.

    That is a descriptor, -1 where there are no terminals yet; the console has its words then.  Raises OSError or
    termios.error.
    """
    try:
        output, terminal = posix.openpty()
    except OSError:
        return _execute(path, link, action, env, []), -1  # before /dev/pts is there
    try:
        rows, columns = make_like_console(terminal)
        posix.set_blocking(output, False)
        env = {**env, b"LINES": b"%d" % rows, b"COLUMNS": b"%d" % columns}
        return _execute(path, link, action, env, [(terminal, fd) for fd in (1, 2)]), output
    except (OSError, termios.error):
        posix.close(output)
        raise
    finally:
        posix.close(terminal)


def spawn_interactive(path: str, link: str, action: str, env: dict[bytes, bytes]) -> int:
    """Start a script that talks to whoever is at the console; the pid of who leads its session and ends as it ends.

    Raises OSError.
    """
    read, write = posix.pipe2(posix.O_CLOEXEC)
    try:
        pid = posix.fork()
        if pid == 0:
            _lead(path, link, action, env, write)
        posix.close(write)
        write = -1
        number = posix.read(read, 16)
        if number:
            posix.waitpid(pid, 0)
            raise OSError(int(number), posix.strerror(int(number)))
        return pid
    finally:
        for fd in (read, write):
            if fd >= 0:
                posix.close(fd)


def _execute(path: str, link: str, action: str, env: dict[bytes, bytes], files: list[tuple[int, int]]) -> int:
    for program, words in _commands(path, link, action):
        try:
            return starting.start(program, words, env, files, default=_DEFAULTS, group=True)
        except OSError as error:
            if error.errno != errno.ENOEXEC or program == SHELL:
                raise
    raise AssertionError


def _commands(path: str, link: str, action: str) -> tuple[tuple[str, list[str]], ...]:
    """The program and the words of a script, and those for one that names no interpreter, as execlp(3) has them."""
    return (path, [link, action]), (SHELL, [SHELL, path, action])


def make_like_console(terminal: int) -> tuple[int, int]:
    """Have the terminal pass on what is written as it is, for the console adds its own; gives its rows and columns."""
    try:
        settings = termios.tcgetattr(0)
    except termios.error:
        settings = termios.tcgetattr(terminal)
    settings[0] &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
                     | termios.ICRNL | termios.IXON)
    settings[1] &= ~termios.OPOST
    settings[2] = settings[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    settings[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN)
    settings[3] |= termios.ISIG
    settings[6][termios.VMIN], settings[6][termios.VTIME] = 1, 0
    termios.tcsetattr(terminal, termios.TCSANOW, settings)
    try:
        columns, rows = posix.get_terminal_size(0)
    except OSError:
        columns = rows = 0
    rows, columns = rows or _ROWS, columns or _COLUMNS
    termios.tcsetwinsize(terminal, (rows, columns))
    return rows, columns


# An interactive script


def _lead(path: str, link: str, action: str, env: dict[bytes, bytes], report: int) -> NoReturn:
    """In a child: lead the session of the script, and end as it does.  Why it cannot be run is written to *report*."""
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number in _NOT_FOR_LEADER:
            signal.signal(number, signal.SIG_IGN)
        posix.setsid()
        terminal = _take_console()
        script = posix.fork()
        if script == 0:
            _become(path, link, action, env, report)
        posix.close(report)
        signal.signal(signal.SIGTERM, _pass_on)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        status = posix.waitstatus_to_exitcode(posix.waitpid(script, 0)[1])
        _leave_console(terminal)
        if status < 0:
            if -status != signal.SIGKILL:
                signal.signal(-status, signal.SIG_DFL)
            posix.kill(posix.getpid(), -status)
    finally:
        posix._exit(status & 0xFF)


def _pass_on(number: int, frame: object) -> None:
    """Whoever ends the leader means the script."""
    signal.signal(number, signal.SIG_IGN)
    posix.killpg(0, number)


def _become(path: str, link: str, action: str, env: dict[bytes, bytes], report: int) -> NoReturn:
    try:
        for number in (*_DEFAULTS, *_NOT_FOR_LEADER):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for program, words in _commands(path, link, action):
            try:
                posix.execve(program, words, env)
            except OSError as error:
                if error.errno != errno.ENOEXEC:
                    raise
    except OSError as error:
        posix.write(report, b"%d" % (error.errno or errno.EINVAL))
    finally:
        posix._exit(127)


def _take_console() -> int:
    """Have the console as controlling terminal, whoever had it; the descriptor of it, -1 where it is no terminal."""
    import fcntl

    for fd in range(3):
        try:
            fcntl.ioctl(fd, termios.TIOCSCTTY, 1)
            return fd
        except OSError:
            pass
    return -1


def _leave_console(terminal: int) -> None:
    """Give it up; the signals of hanging up go to the foreground, which is a process that stands there for that."""
    import fcntl

    if terminal < 0:
        return
    read, write = posix.pipe2(posix.O_CLOEXEC)
    stand_in = posix.fork()
    if stand_in == 0:
        try:
            posix.close(write)
            posix.read(read, 1)
        finally:
            posix._exit(0)
    try:
        posix.setpgid(stand_in, stand_in)
        posix.tcsetpgrp(terminal, stand_in)
        fcntl.ioctl(terminal, termios.TIOCNOTTY)
    except OSError:
        pass
    posix.close(write)
    posix.waitpid(stand_in, 0)
