"""The command line of init(8), its help text, and the variables that stand beside it.

What is always true here: an option that is not known is ignored, for the kernel hands PID 1 whatever it does not
understand itself.  The last of several values counts, except that configuration directories add up.  Texts are the
original's.
"""

from __future__ import annotations

import os
import stat

from upstart import VERSION
from upstart.base.priority import DEBUG, ERROR, INFO, MESSAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: In the environment of a child that tries the program before its init becomes it: the descriptor for its answer.
CHECK_VARIABLE = "UPSTART_RESTART_CHECK"
CONSOLES = ("none", "output", "owner", "log")

#: Long option: (name of its argument, attribute, value without an argument, help).
_OPTIONS: dict[str, tuple[str, str, object, str]] = {
    "append-confdir": ("DIR", "append_confdirs", None, "specify additional directory to load configuration files from"),
    "chroot-sessions": ("", "chroot_sessions", True, "enable chroot sessions"),
    "confdir": ("DIR", "confdirs", None, "specify alternative directory to load configuration files from"),
    "default-console": ("VALUE", "default_console", None, "default value for console stanza"),
    "logdir": ("DIR", "logdir", None, "specify alternative directory to store job output logs in"),
    "no-cgroups": ("", "cgroups", False, "do not support cgroups"),
    "no-dbus": ("", "dbus", False, "do not connect to a D-Bus bus"),
    "no-inherit-env": ("", "inherit_env", False, "jobs will not inherit environment of init"),
    "no-log": ("", "job_logging", False, "disable job logging"),
    "no-startup-event": ("", "startup", False, "do not emit any startup event (for testing)"),
    "prepend-confdir": (
        "DIR",
        "prepend_confdirs",
        None,
        "specify additional initial directory to load configuration files from",
    ),
    "restart": ("", "restart", True, "flag a re-exec has occurred"),
    "state-fd": ("FD", "state_fd", None, "specify file descriptor to read serialisation data from"),
    "session": ("", "session_bus", True, "use D-Bus session bus rather than system bus (for testing)"),
    "startup-event": ("NAME", "startup_event", None, "specify an alternative initial event (for testing)"),
    "user": ("", "user", True, "start in user mode (as used for user sessions)"),
    "write-state-file": ("", "write_state_file", True, "attempt to write state file on every re-exec"),
    "quiet": ("", "priority", ERROR, "reduce output to errors only"),
    "verbose": ("", "priority", INFO, "increase output to include informational messages"),
    "debug": ("", "priority", DEBUG, ""),
    "help": ("", "show", "help", "display this help and exit"),
    "version": ("", "show", "version", "output version information and exit"),
}
_SHORT = {"q": "quiet", "v": "verbose"}

_COPYRIGHT = """\
Copyright (C) 2006-2014 Canonical Ltd., 2011 Scott James Remnant

This is free software; see the source for copying conditions.  There is NO
warranty; not even for MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE."""


class UsageError(Exception):
    """The command line cannot be used; the text goes to standard error."""


class Options:
    """What the command line and the environment say.

    ``dbus``, ``cgroups``, ``job_logging``, ``inherit_env`` and ``startup`` are on unless switched off.
    """

    __slots__ = (
        "append_confdirs", "cgroups", "chroot_sessions", "confdirs", "dbus", "default_console", "inherit_env",
        "job_logging", "logdir", "prepend_confdirs", "priority", "problems", "program", "restart",
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
    words = _Words(argv)
    for word in words:
        try:
            _take(options, words, word)
        except UsageError as error:
            if not forgiving:
                raise
            options.problems.append(str(error).partition("\n")[0])
        if options.show and not forgiving:
            break
    if "UPSTART_USE_SESSION_BUS" in environ:
        options.session_bus = True
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
    except OSError:
        return -1


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


class _Words:
    """The arguments, of which options take their values out of turn."""

    def __init__(self, argv: list[str]) -> None:
        self.argv = argv
        self.at = 0
        self.taken = 0
        self.end = len(argv)

    def __iter__(self) -> _Words:
        return self

    def __next__(self) -> str:
        self.at += 1
        if self.at >= len(self.argv):
            raise StopIteration
        return self.argv[self.at]

    def is_option(self, word: str) -> bool:
        return word.startswith("-") and word != "-" and self.at <= self.end

    def value(self) -> str | None:
        """The next argument that is no option, which then is used up."""
        self.taken = max(self.taken, self.at)
        while self.taken + 1 < len(self.argv):
            self.taken += 1
            word = self.argv[self.taken]
            if not word.startswith("-") or self.taken > self.end:
                return word
            if word == "--":
                self.end = self.taken
        return None


def _take(options: Options, words: _Words, word: str) -> None:
    if not words.is_option(word):
        return
    if word == "--":
        words.end = words.at
    elif word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        known = _OPTIONS.get(name)
        if equals and (known is None or not known[0]):
            raise _refused(options, f"unexpected argument: --{word[2:]}")
        _set(options, words, name, value if equals else None, word)
    else:
        letters = word[1:]
        for letter in letters:
            _set(options, words, _SHORT.get(letter, ""), None, word)


def _set(options: Options, words: _Words, name: str, value: str | None, word: str) -> None:
    if name not in _OPTIONS:
        return
    argument, attribute, fixed, _ = _OPTIONS[name]
    if not argument:
        setattr(options, attribute, fixed)
        return
    if value is None:
        value = words.value()
    if value is None:
        raise _refused(options, f"missing argument: {word}")
    if name == "default-console" and value not in CONSOLES:
        raise UsageError(f"{options.program}: invalid console type specified: {value}")
    if name == "state-fd":
        if not value.lstrip("+-").isdigit():
            raise _refused(options, f"illegal argument: {value}")
        options.state_fd = int(value)
    elif isinstance(getattr(options, attribute), list):
        getattr(options, attribute).append(value)
    else:
        setattr(options, attribute, value)


def _refused(options: Options, text: str) -> UsageError:
    return UsageError(f"{options.program}: {text}\nTry `{options.program} --help' for more information.")


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
    letters = {name: letter for letter, name in _SHORT.items()}
    for name, (argument, _, _, text) in _OPTIONS.items():
        if not text:
            continue
        head = f"  -{letters[name]}, " if name in letters else "      "
        head += "--" + name + ("=" + argument if argument else "")
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
