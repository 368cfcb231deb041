"""Where the init that a command speaks to has its job files and its logs.

What is always true here: init is asked, and where none answers that can tell, in a chroot or when an image is built,
the commands that change files work all the same. What an init was started with tells then what it would have made of
it: its command line everybody may read, but for that of process 1, which hides it; of its environment, which only its
own user may read, the defaults are assumed where it cannot be read.
"""

from __future__ import annotations

import posix

from upstart.base.errors import ClientError, UsageError
from upstart.base.names import SESSION_ADDRESS
from upstart.base.options import Option, parse
from upstart.base.xdg import config_dirs, log_dir
from upstart.initctl.context import Context, getenv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

CONFDIR = "/etc/init"
LOGDIR = "/var/log/upstart"

#: The options of init that have a value; the others are passed over.
_OPTIONS = (
    Option("", "append-confdir", "append", argument="DIR"),
    Option("", "prepend-confdir", "prepend", argument="DIR"),
    Option("", "confdir", "confdirs", argument="DIR"),
    Option("", "logdir", "logdir", argument="DIR"),
    *(Option("", name, "other", argument="VALUE") for name in ("default-console", "state-fd", "startup-event")),
)


class _Given:
    """What of the command line of an init matters here."""

    __slots__ = ("append", "confdirs", "logdir", "other", "prepend")

    def __init__(self) -> None:
        self.append: list[str] = []
        self.prepend: list[str] = []
        self.confdirs: list[str] = []
        self.logdir: str | None = None
        self.other: str | None = None


class Places:
    """Of one init: its ``pid`` (0 if unknown), whether it is a ``session``'s, the directories of its job files, the one
    that counts most first, and that of its logs (``None`` where it has none)."""

    __slots__ = ("confdirs", "logdir", "pid", "session")

    def __init__(self, pid: int, session: bool, confdirs: list[str], logdir: str | None) -> None:
        self.pid = pid
        self.session = session
        self.confdirs = confdirs
        self.logdir = logdir

    def log(self, job: str, instance: str = "") -> str | None:
        """The path of the log of an instance."""
        if self.logdir is None:
            return None
        name = f"{job}-{instance}" if instance else job
        return f"{self.logdir}/{name.replace('/', '_')}.log"

    def conf(self, job: str) -> str | None:
        """The job file that counts, ``None`` if there is none."""
        return next((path for path in self._paths(job, ".conf") if _is_file(path)), None)

    def override(self, job: str) -> str | None:
        """The override that counts: the first that is not behind the job file."""
        conf = self.conf(job)
        for path in self._paths(job, ".override"):
            if _is_file(path):
                return path
            if conf is not None and path.rpartition(".")[0] == conf.rpartition(".")[0]:
                break
        return None

    def own_override(self, job: str) -> str:
        """Where an override of the user's own is, or would be: before all others. Raises ClientError."""
        if not self.confdirs:
            raise ClientError("There is no directory for job files: HOME is not set")
        return f"{self.confdirs[0]}/{job}.override"

    def _paths(self, job: str, ending: str) -> list[str]:
        return [f"{directory}/{job}{ending}" for directory in self.confdirs]


def find(context: Context) -> Places:
    """The places of the init that the options and the environment name. Raises ClientError."""
    address = context.session_address()
    session, on_bus = address is not None, context.settings.bus == "session"
    pid = _session_pid(address) if address is not None else 0 if on_bus or _is_chroot() else 1
    if pid or session or on_bus:
        try:
            confdirs, logdir = context.open().directories()
        except UsageError:
            raise
        except ClientError:
            pass
        else:
            return Places(pid, session, confdirs, logdir or None)
    return of_init(pid, session)


def of_init(pid: int, session: bool) -> Places:
    """The places of a process that is an init; with ``pid`` 0 what one has that is started like this program."""
    given = _Given()
    words = [word.decode("utf-8", "surrogateescape") for word in _read(pid, "cmdline").split(b"\0")]
    parse(words[:-1] or [""], _OPTIONS, given, complain=lambda error: None)
    environ = _environ(pid) or ({} if pid == 1 else _own_environ())
    if session:
        confdirs = given.confdirs or config_dirs(environ, make=False)
        logdir = given.logdir or log_dir(environ, make=False)
    else:
        confdirs = given.confdirs or [environ.get("UPSTART_CONFDIR", CONFDIR) if pid else CONFDIR]
        logdir = given.logdir or (environ.get("UPSTART_LOGDIR", LOGDIR) if pid else LOGDIR)
    every = [directory.rstrip("/") or "/" for directory in (*given.prepend, *confdirs, *given.append)]
    return Places(pid, session, every, logdir.rstrip("/") if logdir else logdir)


def _session_pid(address: str) -> int:
    """The pid that stands in the address of a session's init; 0 if none does, or there is no such process of ours."""
    head, separator, rest = address.partition(SESSION_ADDRESS)
    uid, _, pid = rest.partition("/")
    if head or not separator or not (uid.isdecimal() and pid.isdecimal()) or len(pid) > 9:
        return 0
    try:
        return int(pid) if str(posix.stat(f"/proc/{pid}").st_uid) == uid else 0
    except OSError:
        return 0


def _is_chroot() -> bool:
    """Whether the init with the number 1 has another root directory than we have, or another's cannot be told."""
    try:
        its, ours = posix.stat("/proc/1/root/."), posix.stat("/.")
    except PermissionError:
        return False
    except OSError:
        return True
    return (its.st_dev, its.st_ino) != (ours.st_dev, ours.st_ino)


def _read(pid: int, name: str) -> bytes:
    """A file of a process in /proc; empty where it cannot be read."""
    if not pid:
        return b""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _environ(pid: int) -> Mapping[str, str]:
    pairs = (word.decode("utf-8", "surrogateescape").partition("=") for word in _read(pid, "environ").split(b"\0"))
    return {name: value for name, equals, value in pairs if equals}


def _own_environ() -> Mapping[str, str]:
    names = ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_DIRS", "UPSTART_NO_SYSTEM_USERCONFDIR")
    values = {name: getenv(name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _is_file(path: str) -> bool:
    try:
        return posix.stat(path.encode("utf-8", "surrogateescape")).st_mode & 0o170000 == 0o100000
    except (OSError, ValueError):
        return False
