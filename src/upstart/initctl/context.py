"""What every command of initctl is given: its name, its settings, where its output goes, and the way to init.

Standard output is gathered and written at the end (or line by line to a terminal), as C's would be, so that messages
and errors that meet in one file keep the order scripts are used to; a reader that went away is no error, and a full
disk only where the output is a document.
"""

from __future__ import annotations

import posix
import sys
from errno import EPIPE

from upstart.base.errors import ClientError, DBusError, Reason, UsageError
from upstart.base.names import ACCESS_DENIED
from upstart.base.options import ShowVersion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.client.connection import Connection
    from upstart.client.init import Init

DEBUG, INFO, MESSAGE, ERROR = 1, 2, 3, 5

#: Exit statuses beside 0 and 1, of options and commands that the original has not: what was asked for does not run, or
#: there is nothing of it; there is no such job or instance; it is on its way; it does not run because it failed.
NOTHING, UNKNOWN, CHANGING, FAILED = 3, 4, 5, 6


def getenv(name: str) -> str | None:
    """A variable of the environment, None if unset; bytes that are not UTF-8 as surrogates."""
    value = posix.environ.get(name.encode())
    return None if value is None else value.decode("utf-8", "surrogateescape")


class Settings:
    """What the options say; each slot is the target of an option."""

    __slots__ = (
        "boot", "bus", "check", "columns", "dest", "enumerate", "event", "follow", "force", "globally", "ignored",
        "json", "kinds", "limit", "lines", "no_wait", "output", "priority", "retain", "save", "saved", "services",
        "shutdown", "since", "sort", "stop", "user", "warn", "with_values",
    )  # fmt: skip

    def __init__(self) -> None:
        self.bus: str | None = None  # "system" or "session", if the user chose
        self.dest: str | None = None
        self.user = False
        self.priority = MESSAGE
        self.no_wait = False
        self.force = False
        self.enumerate = False
        self.ignored: list[str] = []
        self.warn = False
        self.globally = False
        self.retain = False
        self.json = False
        self.check = False
        self.services = False
        self.kinds: list[str] = []  # of instances, of which list shows those of any of them
        self.columns: str | None = None
        self.sort: str | None = None
        self.boot = False
        self.event = False
        self.output: str | None = None
        self.save: str | None = None
        self.saved: str | None = None  # a file with a history
        self.shutdown = False
        self.follow = False
        self.lines: str | None = None
        self.since: str | None = None
        self.stop = False
        self.with_values = False
        self.limit: str | None = None  # in megabytes


class Context:
    """One run of one command. `program` is the name the program was called by, `args` the command's arguments."""

    __slots__ = ("_lines", "_lost", "_terminal", "args", "document", "program", "settings")

    def __init__(self, program: str) -> None:
        self.program = program
        self.settings = Settings()
        self.args: list[str] = []
        #: Whether what is written is good for nothing unless it is whole; JSON always is.
        self.document = False
        self._lines: list[str] = []
        self._lost: OSError | None = None
        self._terminal = posix.isatty(1)

    def message(self, text: str) -> None:
        """A line of the command's answer; --quiet suppresses it."""
        if self.settings.priority <= MESSAGE:
            self.write(text + "\n")

    def info(self, text: str) -> None:
        """A line that only --verbose shows, and that is no part of what --json writes."""
        if self.settings.priority <= INFO and not self.settings.json:
            self.write(text + "\n")

    def error(self, text: str) -> None:
        """A line on standard error after the program's name; GNU's convention for "FILE:LINE: ..." is kept."""
        word = text.split(" ", 1)[0]
        if ":" in word:
            _write(2, f"{self.program}:{text}\n")
        else:
            self.reason(text)

    def reason(self, text: str) -> None:
        """A line on standard error after the program's name and a blank, whatever it is; the original has none such."""
        _write(2, f"{self.program}: {text}\n")

    def fail(self, error: ClientError) -> None:
        """What is to be said about an error that ends the command."""
        if isinstance(error, Reason):
            self.reason(str(error))
        else:
            self.error(str(error))
        if isinstance(error, DBusError) and error.name == ACCESS_DENIED and posix.getuid():
            # The bus tells which rule of its policy refused, and not what that means.
            self.error("Only root may do this, and the owner of a session in it")
        if isinstance(error, UsageError):
            _write(2, f"Try `{self.program} --help' for more information.\n")

    def write(self, text: str) -> None:
        """Text for standard output, as it is."""
        self._lines.append(text)
        if self._terminal:
            self.flush()

    def show_json(self, value: object) -> None:
        """The command's answer as JSON, which --quiet does not suppress."""
        import json

        self.write(json.dumps(value, indent=2) + "\n")

    @property
    def colours(self) -> bool:
        """Whether standard output shows colours, and is to."""
        return self._terminal and not getenv("NO_COLOR") and getenv("TERM") not in (None, "", "dumb")

    def coloured(self, text: str, colour: str) -> str:
        """The text in a colour, an SGR of ECMA-48, where it is shown in colours at all."""
        return f"\x1b[{colour}m{text}\x1b[0m" if colour and self.colours else text

    def plain(self, text: str) -> str:
        """What a program has said, on one line and without what commands a terminal, if it is shown on one."""
        if not self._terminal or text.isprintable():
            return text
        return "".join(char if char.isprintable() or char == "\t" else f"\\x{ord(char):02x}" for char in text)

    def folded(self, text: str, indent: int) -> str:
        """A line that is broken at blanks where a terminal is too narrow for it, and goes on behind so many blanks."""
        if not self._terminal:
            return text
        from upstart.initctl.narrow import folded

        return folded(text, self.width, indent)

    @property
    def width(self) -> int:
        """Columns of the terminal that standard output is; 0 where it is none, or that is not known."""
        if not self._terminal:
            return 0
        from upstart.initctl.narrow import screen_columns

        return screen_columns()

    def flush(self) -> None:
        """Writes what has been gathered for standard output."""
        if self._lines:
            self._lost = _write(1, "".join(self._lines)) or self._lost
            self._lines.clear()

    def finish(self, status: int) -> int:
        """Writes what is left; the exit status, which is ``status`` unless a document could not be written."""
        self.flush()
        needed = self.document or self.settings.json
        if self._lost is not None and needed and self._lost.errno != EPIPE:
            self.error(f"Unable to write: {self._lost.strerror}")
            return status or 1
        return status

    def open(self) -> Init:
        """Connects to the init daemon that options and environment name. Raises ClientError or UsageError.

        A session's init (UPSTART_SESSION) comes first, unless a bus was asked for; root talks to PID 1 directly, others
        by way of the system bus.
        """
        from upstart.client.init import Init

        return Init(self._connect())

    def _connect(self) -> Connection:
        from upstart.client.connection import connect_bus, connect_private

        settings = self.settings
        session = self.session_address()
        user = settings.user
        bus = settings.bus
        if user:
            bus = None
        elif bus is None and posix.getuid() != 0:
            bus = "system"
        if bus is not None:
            try:
                if settings.dest is None:
                    return connect_bus(bus == "system")
                return connect_bus(bus == "system", settings.dest)
            except DBusError as error:
                raise ClientError(f"Unable to connect to {bus} bus: {error.message}")
        if settings.dest is not None and not user:
            raise UsageError("--dest given without --system")
        try:
            connection = connect_private(session)
        except DBusError as error:
            raise ClientError(f"Unable to connect to Upstart: {error.message}")
        if settings.dest is not None:
            self._find_destination(connection, settings.dest)
        return connection

    def session_address(self) -> str | None:
        """The address of the session's init, if it is that which the command is for. Raises ClientError."""
        settings = self.settings
        session = getenv("UPSTART_SESSION")
        if session and settings.bus is None:
            settings.user = True
        if settings.user and session is None:
            raise ClientError(
                "UPSTART_SESSION isn't set in the environment. Unable to locate the Upstart instance."
            )
        return session if settings.user else None

    def _find_destination(self, connection: Connection, dest: str) -> None:
        """Looks for a bus name on a private connection, which as in the original fails, since init is no bus."""
        from upstart.base import names
        try:
            connection.call(names.BUS_PATH, names.BUS_INTERFACE, "AddMatch", "s", f"type='signal',arg0='{dest}'")
        except DBusError as error:
            raise ClientError(error.message)


def _write(descriptor: int, text: str) -> OSError | None:
    """Why not all of it was written: as in the original nobody's error, since the exit status tells of the command,
    but where what is written is a document."""
    data = memoryview(text.encode("utf-8", "surrogateescape"))
    try:
        while data:
            data = data[posix.write(descriptor, data) :]
    except OSError as error:
        return error
    return None


def carry_out(argv: list[str], action: Callable[[Context, list[str]], int]) -> int:
    """Do what the command line says, and write the output; the exit status.

    `action` is given the command's context and the words of its line; what it raises of ShowVersion and ClientError
    is answered here.
    """
    argv = words_of(argv)
    context = Context(argv[0].rpartition("/")[2])
    try:
        status = action(context, argv)
    except ShowVersion:
        from upstart.initctl.usage import show_version

        show_version(context)
        status = 0
    except ClientError as error:
        context.fail(error)
        status = error.status
    except BaseException:
        context.flush()
        raise
    return context.finish(status)


def words_of(argv: list[str]) -> list[str]:
    """The command line as UTF-8, in which it goes to init, whatever the locale decoded it from."""
    encoding = sys.getfilesystemencoding()
    if encoding == "utf-8":
        return argv
    return [word.encode(encoding, "surrogateescape").decode("utf-8", "surrogateescape") for word in argv]
