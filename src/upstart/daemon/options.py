"""The command line of init(8), its help text, and the variables that stand beside it.

What is always true here: an option that is not known keeps nobody from starting but a session's init that somebody
calls. The kernel hands PID 1 whatever it does not understand itself; PID 1 logs that and goes on, and so does an init
that is executed anew, by whatever it was called with. What is to become telinit leaves telinit to judge.  The last of
several values counts, except that configuration directories add up.  Texts are the original's.
"""

from __future__ import annotations

import errno
import os
import stat

from upstart import VERSION
from upstart.base import options as base_options
from upstart.base.errors import UsageError
from upstart.base.options import Option, ShowHelp, ShowVersion, UnknownOption
from upstart.base.priority import DEBUG, ERROR, INFO, MESSAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: In the environment of a child that tries the program before its init becomes it: the descriptor for its answer.
CHECK_VARIABLE = "UPSTART_RESTART_CHECK"
#: Set where that child is to say as well which parts of the state document it knows.
PARTS_VARIABLE = "UPSTART_RESTART_PARTS"
#: The word of the kernel's command line, and the first event, of a boot that somebody wants to mend something in.
RECOVERY = "recovery"
#: What jobs read on the kernel's command line, and sysvinit knew as its own: emergency, and single-user mode.
OF_JOBS = ("-b", "-s")
CONSOLES = ("none", "output", "owner", "log")


class ConsoleOption(Option):
    """The console stanza's default, which is one of `CONSOLES`."""

    __slots__ = ()

    def apply(self, settings: object, value: object) -> None:
        if value not in CONSOLES:
            raise _UnknownConsole(f"invalid console type specified: {value}")
        super().apply(settings, value)


class NumberOption(Option):
    """An option whose value is a whole number."""

    __slots__ = ()

    def apply(self, settings: object, value: object) -> None:
        if not str(value).lstrip("+-").isdigit():
            raise UsageError(f"illegal argument: {value}")
        super().apply(settings, int(str(value)))


class _UnknownConsole(UsageError):
    """The original says this one thing without recommending --help."""


#: Each with what --help says of it; one without a text is not told of.
_OPTIONS: tuple[tuple[Option, str], ...] = (
    (
        Option("", "append-confdir", "append_confdirs", argument="DIR"),
        "specify additional directory to load configuration files from",
    ),
    (Option("", "chroot-sessions", "chroot_sessions"), "enable chroot sessions"),
    (
        Option("", "confdir", "confdirs", argument="DIR"),
        "specify alternative directory to load configuration files from",
    ),
    (ConsoleOption("", "default-console", "default_console", argument="VALUE"), "default value for console stanza"),
    (Option("", "logdir", "logdir", argument="DIR"), "specify alternative directory to store job output logs in"),
    (Option("", "no-cgroups", "cgroups", False), "do not support cgroups"),
    (Option("", "no-dbus", "dbus", False), "do not connect to a D-Bus bus"),
    (Option("", "no-inherit-env", "inherit_env", False), "jobs will not inherit environment of init"),
    (Option("", "no-log", "job_logging", False), "disable job logging"),
    (Option("", "no-startup-event", "startup", False), "do not emit any startup event (for testing)"),
    (
        Option("", "prepend-confdir", "prepend_confdirs", argument="DIR"),
        "specify additional initial directory to load configuration files from",
    ),
    (Option("", "record", "record", argument="FILE"), "record what init is told in FILE, from the start"),
    (Option("", "restart", "restart"), "flag a re-exec has occurred"),
    (
        NumberOption("", "state-fd", "state_fd", argument="FD"),
        "specify file descriptor to read serialisation data from",
    ),
    (Option("", "session", "session_bus"), "use D-Bus session bus rather than system bus (for testing)"),
    (
        Option("", "startup-event", "startup_event", argument="NAME"),
        "specify an alternative initial event (for testing)",
    ),
    (Option("", "user", "user"), "start in user mode (as used for user sessions)"),
    (Option("", "write-state-file", "write_state_file"), "attempt to write state file on every re-exec"),
    (Option("q", "quiet", "priority", ERROR), "reduce output to errors only"),
    (Option("v", "verbose", "priority", INFO), "increase output to include informational messages"),
    (Option("", "debug", "priority", DEBUG), ""),
    (Option("", "help", ""), "display this help and exit"),
    (Option("", "version", ""), "output version information and exit"),
)

_COPYRIGHT = """\
Copyright (C) 2006-2014 Canonical Ltd., 2011 Scott James Remnant

This is free software; see the source for copying conditions.  There is NO
warranty; not even for MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE."""


class Options:
    """What the command line and the environment say.

    ``dbus``, ``cgroups``, ``job_logging``, ``inherit_env`` and ``startup`` are on unless switched off.
    """

    __slots__ = (
        "append_confdirs", "cgroups", "chroot_sessions", "confdirs", "dbus", "default_console", "inherit_env",
        "job_logging", "logdir", "prepend_confdirs", "priority", "problems", "program", "record", "restart",
        "session_bus", "show", "startup", "startup_event", "state_fd", "user", "write_state_file",
    )  # fmt: skip

    def __init__(self, program: str) -> None:
        self.program = program
        self.append_confdirs: list[str] = []
        self.prepend_confdirs: list[str] = []
        self.confdirs: list[str] = []
        self.logdir: str | None = None
        self.default_console = "log"
        self.startup_event: str | None = None
        self.state_fd = -1
        self.priority = MESSAGE
        self.record: str | None = None
        self.cgroups = self.dbus = self.inherit_env = self.job_logging = self.startup = True
        self.chroot_sessions = self.restart = self.session_bus = self.user = self.write_state_file = False
        self.show = ""
        #: What is wrong with the command line, where it is followed all the same.
        self.problems: list[str] = []

    @property
    def system(self) -> bool:
        """Whether this is to be the system's init, and not a session's or a test's."""
        return not self.user and not self.session_bus

    @property
    def version(self) -> str:
        """What the version property says."""
        return f"{self.program} (upstart {VERSION})"


def parse(argv: list[str], environ: Mapping[str, str], forgiving: bool) -> Options:
    """Read a command line; UsageError where the original would refuse it, unless ``forgiving`` (PID 1 cannot
    exit)."""
    options = Options(argv[0].rpartition("/")[2])
    unknown: list[str] = []

    def complain(error: UsageError) -> None:
        text = str(error)
        if isinstance(error, UnknownOption):
            if "=" not in error.option:
                # Whether that is wrong the options behind it may say.
                unknown.append(error.option)
                return
            text = f"unexpected argument: {error.option}"
        refuse(text, not isinstance(error, _UnknownConsole))

    def refuse(text: str, recommend: bool) -> None:
        text = f"{options.program}: {text}"
        if not forgiving:
            if recommend:
                text += f"\nTry `{options.program} --help' for more information."
            raise UsageError(text)
        options.problems.append(text)

    # PID 1 shows nothing, and reads on.
    known = [option for option, _ in _OPTIONS if option.target or not forgiving]
    try:
        words = base_options.parse(argv, known, options, complain=complain)
        if forgiving and RECOVERY in words and options.startup_event is None:
            options.startup_event = RECOVERY
    except ShowHelp:
        options.show = "help"
    except ShowVersion:
        options.show = "version"
    if "UPSTART_USE_SESSION_BUS" in environ:
        options.session_bus = True
    if not options.show:
        forgiving = forgiving or options.restart
        for option in unknown if forgiving or not options.system else ():
            if option not in OF_JOBS or not options.system:
                refuse(f"invalid option: {option}", True)
    if "UPSTART_WRITE_STATEFILE" in environ:
        options.write_state_file = True
    if "UPSTART_NO_SESSIONS" in environ:
        options.chroot_sessions = False
    if not options.user:
        options.inherit_env = False
        if not options.confdirs:
            options.confdirs = [environ.get("UPSTART_CONFDIR", "/etc/init")]
        if options.logdir is None:
            options.logdir = environ.get("UPSTART_LOGDIR", "/var/log/upstart")
    return options


def trial_answer(argv: list[str], variable: str | None) -> int:
    """Where a child that tries the program for its init is to answer; -1 where this is no such child.

    `CHECK_VARIABLE` alone, which ``variable`` was, makes none: it may come from the kernel's command line.
    """
    given = any(word == "--state-fd" or word.startswith("--state-fd=") for word in argv)
    if variable is None or not variable.isdecimal() or not given or os.getpid() == 1:
        return -1
    try:
        return int(variable) if stat.S_ISFIFO(os.fstat(int(variable)).st_mode) else -1
    except OSError as error:
        # Whatever else fails, this must not go on as a second init with the descriptors of the first.
        return -1 if error.errno == errno.EBADF else int(variable)


def arguments(argv: list[str], state_fd: int, priority: int) -> list[str]:
    """The command line for the new program: our own, less what an earlier re-exec added to it."""
    kept: list[str] = []
    skip = False
    for word in argv:
        if skip:
            skip = False
        elif word == "--state-fd":
            skip = True
        elif not word.startswith("--state-fd=") and word not in (
            "--debug",
            "--verbose",
            "--quiet",
            "-v",
            "-q",
            "--restart",
        ):
            kept.append(word)
    level = {0: ["--debug"], 1: ["--verbose"]}.get(priority, ["--quiet"] if priority >= ERROR else [])
    state = ["--state-fd", str(state_fd)] if state_fd >= 0 else []
    return [*kept, "--restart", *state, *level]


def _wrap(text: str, width: int, first: int = 0, rest: int = 0) -> list[str]:
    lines: list[str] = []
    line = " " * first
    for word in text.split(" "):
        if line.strip() and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = " " * rest
        line += (" " if line.strip() else "") + word
    return [*lines, line]


def help_text(program: str, columns: int = 80) -> str:
    """What ``--help`` prints."""
    lines = [f"Usage: {program} [OPTION]...", "Process management daemon.", "", "Options:"]
    for option, text in _OPTIONS:
        if not text:
            continue
        head = f"  -{option.short}, " if option.short else "      "
        head += "--" + option.long + ("=" + option.argument if option.argument else "")
        wrapped = _wrap(text, max(columns, 50) - 31, 0, 2)
        if len(head) > 28:
            lines.append(head)
            head = ""
        lines.append(head.ljust(30) + wrapped[0])
        lines += [" " * 30 + each for each in wrapped[1:]]
    lines.append("")
    lines += _wrap(
        "This daemon is normally executed by the kernel and given process id 1 to denote its special status.\xa0 When "
        "executed by a user process, it will actually run /sbin/telinit.",
        columns,
    )
    lines += ["", "Report bugs to <upstart-devel@lists.ubuntu.com>"]
    return "\n".join(lines).replace("\xa0", " ") + "\n"


def version_text(options: Options) -> str:
    """What ``--version`` prints."""
    return f"{options.version}\n{_COPYRIGHT}\n"
