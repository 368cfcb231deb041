"""initctl, and the commands start, stop, restart, reload and status: finds the command and runs it.

Starting fast is what this module is arranged for: it knows the name, options and place of each command, and nothing
else is loaded before it is needed. Exit statuses: 0, or 1 for any failure, and where
the original has no say those of `upstart.initctl.context`. See initctl(8).
"""

from __future__ import annotations

from upstart.base.errors import UsageError
from upstart.base.options import Option, ShowHelp, parse
from upstart.initctl.context import DEBUG, ERROR, INFO, Context, carry_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NO_WAIT = (Option("n", "no-wait", "no_wait"),)
GLOBAL = (Option("g", "global", "globally"),)
JSON = (Option("", "json", "json"),)
FROM = (Option("", "from", "saved", argument="FILE"),)
PERIOD = (*FROM, Option("", "shutdown", "shutdown"))
CHOICES = (
    *(Option("", kind, "kinds", kind) for kind in ("running", "stopped", "failed", "changing")),
    Option("", "columns", "columns", argument="NAMES"),
    Option("", "sort", "sort", argument="NAME"),
    Option("", "services", "services"),
    *JSON,
)

#: Command -> (module, function, its own options); the order is that of the help.
COMMANDS: dict[str, tuple[str, str, tuple[Option, ...]]] = {
    "start": ("jobs", "start", (*NO_WAIT, *JSON)),
    "stop": ("jobs", "stop", (*NO_WAIT, Option("", "force", "force"), *JSON)),
    "restart": ("jobs", "restart", (*NO_WAIT, *JSON)),
    "reload": ("jobs", "reload", ()),
    "status": ("status", "status", (Option("", "check", "check"), *JSON)),
    "list": ("status", "list_jobs", CHOICES),
    "log": (
        "log",
        "log",
        (
            Option("f", "follow", "follow"),
            Option("n", "lines", "lines", argument="COUNT"),
            Option("", "since", "since", argument="WHEN"),
            Option("", "boot", "boot"),
            *JSON,
        ),
    ),
    "cat": ("files", "cat", JSON),
    "edit": ("edit", "edit", ()),
    "enable": ("files", "enable", ()),
    "disable": ("files", "disable", ()),
    "explain": ("explain", "explain", (Option("", "boot", "boot"), Option("", "event", "event"), *FROM, *JSON)),
    "history": (
        "boot",
        "history",
        (Option("f", "follow", "follow"), Option("", "save", "save", argument="FILE"), *FROM, *JSON),
    ),
    "blame": ("boot", "blame", (*PERIOD, *JSON)),
    "critical-chain": ("boot", "critical_chain", (*PERIOD, *JSON)),
    "chart": ("boot", "chart", (Option("o", "output", "output", argument="FILE"), *PERIOD)),
    "compare": ("boot", "compare", (Option("", "shutdown", "shutdown"), *JSON)),
    "emit": ("manager", "emit", NO_WAIT),
    "reload-configuration": ("manager", "reload_configuration", ()),
    "version": ("manager", "version", JSON),
    "log-priority": ("manager", "log_priority", JSON),
    "show-config": ("config", "show_config", (Option("e", "enumerate", "enumerate"), *JSON)),
    "check-config": (
        "config",
        "check_config",
        (Option("i", "ignore-events", "ignored", argument="EVENT_LIST"), Option("w", "warn", "warn"), *JSON),
    ),
    "get-env": ("environment", "get_env", (*GLOBAL, *JSON)),
    "list-env": ("environment", "list_env", (*GLOBAL, *JSON)),
    "reset-env": ("environment", "reset_env", GLOBAL),
    "set-env": ("environment", "set_env", (*GLOBAL, Option("r", "retain", "retain"))),
    "unset-env": ("environment", "unset_env", GLOBAL),
    "usage": ("jobs", "usage", JSON),
    "notify-cgroup-manager-address": ("manager", "notify_cgroup_manager_address", ()),
    "notify-dbus-address": ("manager", "notify_dbus_address", ()),
    "notify-disk-writeable": ("manager", "notify_disk_writeable", ()),
    "record": (
        "record",
        "record",
        (
            Option("", "stop", "stop"),
            Option("", "with-values", "with_values"),
            Option("", "limit", "limit", argument="MEGABYTES"),
        ),
    ),
    "list-sessions": ("sessions", "list_sessions", JSON),
    "help": ("", "", ()),
}

COMMON: tuple[Option, ...] = (
    Option("", "session", "bus", "session"),
    Option("", "system", "bus", "system"),
    Option("", "dest", "dest", argument="NAME"),
    Option("", "user", "user"),
    Option("q", "quiet", "priority", ERROR),
    Option("v", "verbose", "priority", INFO),
    Option("", "debug", "priority", DEBUG),
    Option("", "help", ""),
    Option("", "version", ""),
)


def _run(context: Context, argv: list[str]) -> int:
    command = context.program
    called_as = True
    if command not in COMMANDS:
        called_as = False
        try:
            argv = parse(argv, COMMON, context.settings, stop_at_argument=True)
        except ShowHelp:
            from upstart.initctl.usage import show_program_help

            show_program_help(context, COMMON)
            return 0
        if not argv:
            raise UsageError("missing command")
        command = argv[0]
        if command not in COMMANDS:
            raise UsageError(f"invalid command: {command}")
    module, function, own = COMMANDS[command]
    try:
        context.args = parse(argv, own + COMMON, context.settings)
    except ShowHelp:
        from upstart.initctl.usage import show_command_help

        show_command_help(context, command, own + COMMON, called_as)
        return 0
    if not module:
        from upstart.initctl.usage import show_commands

        show_commands(context, COMMANDS)
        return 0
    action: Callable[[Context], int] = getattr(
        __import__(f"upstart.initctl.commands_{module}", fromlist=(function,)), function
    )
    return action(context)


def main(argv: list[str]) -> int:
    """Runs the command that `argv` names; gives the exit status."""
    import _signal  # type: ignore[import-not-found]

    # Waiting happens inside libdbus, where Python could not act on an interrupt.
    if _signal.getsignal(_signal.SIGINT) is not _signal.SIG_IGN:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    return run(argv)


def run(argv: list[str]) -> int:
    """Runs the command that `argv` names, and writes its output; gives the exit status."""
    return carry_out(argv, _run)
