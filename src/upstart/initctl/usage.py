"""What initctl says about itself: --help, --version and the list of commands, laid out as in the original.

Loaded only when one of them is asked for. Texts are wrapped to the width of COLUMNS or of the terminal.
"""

from __future__ import annotations

from upstart import VERSION
from upstart.initctl.narrow import screen_columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Protocol

    from upstart.base.options import Option

    class Context(Protocol):
        """What of `upstart.initctl.context.Context` is used here."""

        program: str

        def write(self, text: str) -> None: ...

COPYRIGHT = "Copyright (C) 2006-2014 Canonical Ltd., 2011 Scott James Remnant"
NO_WARRANTY = (
    "This is free software; see the source for copying conditions.  There is NO warranty; not even for "
    "MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE."
)
REPORT_BUGS = "Report bugs to <upstart-devel@lists.ubuntu.com>"

_ENVIRONMENT = "apply to global job environment table"

#: What an option does, where it means the same everywhere; --debug is not told.
OPTIONS = {
    "session": "use existing D-Bus session bus to connect to init daemon (for testing)",
    "system": "use D-Bus system bus to connect to init daemon",
    "dest": "destination well-known name on D-Bus bus",
    "user": "run in user mode (as used for user sessions)",
    "quiet": "reduce output to errors only",
    "verbose": "increase output to include informational messages",
    "help": "display this help and exit",
    "version": "output version information and exit",
    "force": "end even processes that stopping would otherwise wait for",
    "enumerate": "enumerate list of events and jobs causing job created from job config to start/stop",
    "ignore-events": "ignore specified list of events (comma-separated)",
    "warn": "Generate warning for any unreachable events/jobs",
    "global": _ENVIRONMENT,
    "json": "write what is shown as JSON",
    "check": "tell by the exit status whether the job runs",
    "running": "show what is running",
    "stopped": "show what is not to run and does not",
    "failed": "show what has failed and does not run",
    "changing": "show what is on its way up or down",
    "from": "tell what this file of a saved history says",
    "save": "write all to a file",
    "shutdown": "tell of the end of the machine, not of the boot",
    "output": "write to this file",
    "event": "take the name for that of an event, though a job has it too",
    "follow": "go on with what comes",
    "lines": "show so many lines, the last",
    "since": "show what has come since then",
    "boot": "show what has come since the boot, or since the session began",
    "columns": "show a table with these columns (comma-separated)",
    "sort": "order by this column, with a hyphen before it backwards",
    "services": "show the services of /etc/init.d that have no job as well",
    "stop": "end the record",
    "with-values": "keep values of variables, and programs, which may be secrets",
    "limit": "end the record at this size (64 by default)",
    "retain": "do not replace the value of the variable if already set",
}
#: What it does where a command means something else by it.
OF_COMMAND = {("explain", "boot"): "explain what is still on its way, and what has failed"}
NO_WAIT = {
    "start": "do not wait for job to start before exiting",
    "stop": "do not wait for job to stop before exiting",
    "restart": "do not wait for job to restart before exiting",
    "emit": "do not wait for event to finish before exiting",
}

#: Group of commands in the list -> its commands; those in none are "Other".
GROUPS = {
    "Job": ("start", "stop", "restart", "reload", "status", "list", "log", "cat", "edit", "enable", "disable"),
    "Event": ("emit",),
    "History": ("explain", "history", "blame", "critical-chain", "chart", "compare"),
    "Environment": ("get-env", "list-env", "reset-env", "set-env", "unset-env"),
}

#: Command -> (its arguments, one line about it, more about it).
COMMANDS: dict[str, tuple[str, str, str]] = {
    "start": (
        "JOB [KEY=VALUE]...",
        "Start job.",
        "JOB is the name of the job that is to be started, this may be followed by zero or more environment variables "
        "to be defined in the new job.\n\n"
        "The environment may also serve to distinguish between job instances, and thus decide whether a new instance "
        "will be started or an error returned if an existing instance is already running.",
    ),
    "stop": (
        "JOB [KEY=VALUE]...",
        "Stop job.",
        "JOB is the name of the job that is to be stopped, this may be followed by zero or more environment variables "
        "to be passed to the job's pre-stop and post-stop processes.\n\n"
        "The environment also serves to distinguish between job instances, and thus decide which of multiple "
        "instances will be stopped.",
    ),
    "restart": (
        "JOB [KEY=VALUE]...",
        "Restart job.",
        "JOB is the name of the job that is to be restarted, this may be followed by zero or more environment "
        "variables to be defined in the job after restarting.\n\n"
        "The environment also serves to distinguish between job instances, and thus decide which of multiple "
        "instances will be restarted.",
    ),
    "reload": (
        "JOB [KEY=VALUE]...",
        "Send HUP signal to job.",
        "JOB is the name of the job that is to be sent the signal, this may be followed by zero or more environment "
        "variables to distinguish between job instances.\n",
    ),
    "status": (
        "JOB [KEY=VALUE]...",
        "Query status of job.",
        "JOB is the name of the job that is to be queried, this may be followed by zero or more environment variables "
        "to distguish between job instances.\n",
    ),
    "list": ("[PATTERN]...", "List known jobs.", "The known jobs and their current status will be output."),
    "log": (
        "[JOB [INSTANCE]]",
        "Show what a job has said, or what happened since the boot.",
        "The log of JOB is output with the times at which its lines came, that of one INSTANCE if it is named, and "
        "what was rotated before. Without arguments, what init, the kernel and all jobs have said since the boot is "
        "output in its order.\n\n"
        "WHEN is a date (2026-11-30), a time of day (16:05), both, today, yesterday, or how long ago (10min, 2h).",
    ),
    "cat": (
        "JOB",
        "Show the files of a job as they count.",
        "The lines of JOB's file and of its override that count are output, each with the file and the line that it "
        "comes from.",
    ),
    "edit": (
        "JOB",
        "Change a job by its override.",
        "The override of JOB is opened in the editor that VISUAL or EDITOR names. What init would not take is not "
        "taken either, and may be edited again.",
    ),
    "enable": (
        "JOB...",
        "Have events start a job again.",
        "Takes back what disable, or update-rc.d, has done. Nothing is started.",
    ),
    "disable": (
        "JOB...",
        "Have no event start a job.",
        "Adds the stanza manual to the override of JOB, which can be started by hand as before. Nothing is stopped.",
    ),
    "explain": (
        "JOB [INSTANCE | KEY=VALUE...] | EVENT",
        "Explain why a job runs or does not, or what became of an event.",
        "In a few lines: what JOB is doing and since when, and what led to that, back to what began it; or what it "
        "waits for, which part of that has come, and who could emit what is missing; who holds it, and whom it holds. "
        "With --boot instead: what is still on its way, what it waits for, and what has failed. With --from it is told "
        "of a boot that is over, as far as its history goes.\n\n"
        "The exit status is 0 if JOB runs, 3 if not, 4 if there is no such job or event, 5 if it is on its way, and 6 "
        "if it does not run because it has failed.",
    ),
    "history": (
        "[JOB...]",
        "Show what has happened, and because of what.",
        "What init remembers is output, a line for each event, goal, state, process and failure; of each JOB, which "
        "may be a pattern, what it did and the events that moved it. With --save it is written to a file from which "
        "the other commands of this group tell the same later.",
    ),
    "blame": (
        "",
        "Show the jobs of the boot by how long they took.",
        "Of a service it is the time until it was up, of a task that until it had ended.",
    ),
    "critical-chain": (
        "[JOB]",
        "Show what led to a job in the boot, and how long each step took.",
        "Without JOB it is the one that was there last.",
    ),
    "chart": (
        "",
        "Draw the boot as a picture.",
        "An SVG image is output: a row for each job, coloured by its states, events as marks, and what processes used.",
    ),
    "compare": (
        "[FILE [FILE]]",
        "Show what took another time in another boot.",
        "Each FILE is one that history --save has written; instead of the second it is this boot, and without any the "
        "first is that before this one.",
    ),
    "emit": (
        "EVENT [KEY=VALUE]...",
        "Emit an event.",
        "EVENT is the name of an event the init daemon should emit, this may be followed by zero or more environment "
        "variables to be included in the event.\n",
    ),
    "reload-configuration": ("", "Reload the configuration of the init daemon.", ""),
    "version": ("", "Request the version of the init daemon.", ""),
    "log-priority": (
        "[PRIORITY]",
        "Change the minimum priority of log messages from the init daemon.",
        "PRIORITY may be one of:\n"
        "  `debug' (messages useful for debugging upstart are logged, equivalent to --debug on kernel command-line);\n"
        "  `info' (messages about job goal and state changes, as well as event emissions are logged, equivalent to "
        "--verbose on the kernel command-line);\n"
        "  `message' (informational and debugging messages are suppressed, the default);   `warn' (ordinary messages "
        "are suppressed whilst still logging warnings and errors);\n"
        "  `error' (only errors are logged, equivalent to --quiet on the kernel command-line) or\n"
        "  `fatal' (only fatal errors are logged).\n\n"
        "Without arguments, this outputs the current log priority.",
    ),
    "show-config": (
        "[CONF]",
        "Show emits, start on and stop on details for job configurations.",
        "If CONF specified, show configuration details for single job configuration, else show details for all jobs "
        "configurations.\n",
    ),
    "check-config": (
        "[CONF]",
        "Check for unreachable jobs/event conditions.",
        "List all jobs and events which cannot be satisfied by currently available job configuration files.",
    ),
    "get-env": (
        "VARIABLE",
        "Retrieve value of a job environment variable.",
        "Display the value of a variable from the job environment table.",
    ),
    "list-env": (
        "",
        "Show all job environment variables.",
        "Displays sorted list of variables and their values from the job environment table.",
    ),
    "reset-env": (
        "VARIABLE",
        "Revert all job environment variable changes.",
        "Discards all changes make to the job environment table, setting it back to its default value.",
    ),
    "set-env": (
        "VARIABLE[=VALUE]",
        "Set one or more job environment variables.",
        "Adds or updates variables in the job environment table.",
    ),
    "unset-env": (
        "VARIABLE",
        "Remove one or more job environment variables.",
        "Discards variables from the job environment table.",
    ),
    "usage": (
        "JOB",
        "Show job usage message if available.",
        "JOB is the name of the job which usage is to be shown.\n",
    ),
    "notify-cgroup-manager-address": (
        "",
        "Inform Upstart of D-Bus address cgroup manager is available on.",
        "Run to allow Upstart to provide cgroup stanza support.",
    ),
    "notify-dbus-address": (
        "",
        "Inform Upstart of D-Bus address to connect to.",
        "Run to allow Upstart to provide services over D-Bus.",
    ),
    "notify-disk-writeable": (
        "",
        "Inform Upstart that disk is now writeable.",
        "Run to ensure output from jobs ending before disk is writeable are flushed to disk.",
    ),
    "record": (
        "[FILE]",
        "Record what init is told.",
        "All that init is told from now on is recorded to the new FILE, without the values of variables that nothing "
        "compares, until `record --stop'. init-replay shows what came of it.",
    ),
    "list-sessions": ("", "List all sessions.", "Displays list of running Session Init sessions"),
    "help": ("", "display list of commands", ""),
}


def screen_width() -> int:
    """Columns of the screen, or 80 where that is not known."""
    return screen_columns() or 80


def wrap(text: str, width: int, indent: int = 0) -> list[str]:
    """Lines of at most `width` columns; all but the first start with `indent` blanks. Words too long are cut."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        rest = paragraph
        while True:
            margin = " " * indent if lines else ""
            room = max(width - len(margin), 1)
            if len(rest) <= room:
                lines.append(margin + rest)
                break
            cut = rest.rfind(" ", 0 if lines else 1, room + 1)
            if cut >= 0:
                lines.append(margin + rest[:cut])
                rest = rest[cut + 1 :]
            else:
                lines.append(margin + rest[:room])
                rest = rest[room:]
    return lines


def _columns(context: Context, entries: Iterable[tuple[str, str]], width: int) -> None:
    """A list of names with their descriptions beside them, or below a name that is too long."""
    for name, description in entries:
        line = "  " + name
        if len(line) > 28:
            context.write(line + "\n")
            line = ""
        for text in wrap(description, width, 2):
            context.write(line.ljust(30) + text + "\n")
            line = ""
    context.write("\n")


def _option_list(context: Context, command: str, options: Sequence[Option]) -> None:
    entries: list[tuple[str, str]] = []
    for option in options:
        description = NO_WAIT[command] if option.long == "no-wait" else OPTIONS.get(option.long)
        description = OF_COMMAND.get((command, option.long), description)
        if description is None:
            continue
        name = f"-{option.short}, --{option.long}" if option.short else f"    --{option.long}"
        if option.argument:
            name += "=" + option.argument
        entries.append((name, description))
    context.write("Options:\n")
    _columns(context, entries, max(screen_width(), 50) - 31)


def _paragraphs(context: Context, text: str) -> None:
    context.write("\n".join(wrap(text, screen_width() - 1)) + "\n")


def show_program_help(context: Context, options: Sequence[Option]) -> None:
    """initctl --help"""
    context.write(f"Usage: {context.program} [OPTION]... COMMAND [OPTION]... [ARG]...\n\n")
    _option_list(context, "", options)
    context.write(f"For a list of commands, try `{context.program} help'.\n\n{REPORT_BUGS}\n")


def show_command_help(context: Context, command: str, options: Sequence[Option], called_as: bool) -> None:
    """initctl COMMAND --help, or COMMAND --help if the program is called by that name."""
    arguments, summary, description = COMMANDS[command]
    words = [context.program, "[OPTION]...", arguments] if called_as else [
        context.program, command, "[OPTION]...", arguments,
    ]  # fmt: skip
    context.write("Usage: " + " ".join(word for word in words if word) + "\n")
    _paragraphs(context, summary)
    context.write("\n")
    _option_list(context, command, options)
    if description:
        _paragraphs(context, description)
        context.write("\n")
    context.write(REPORT_BUGS + "\n")


def show_commands(context: Context, commands: Iterable[str]) -> None:
    """initctl help"""
    grouped = [command for members in GROUPS.values() for command in members]
    others = tuple(command for command in commands if command not in grouped)
    for title, members in (*GROUPS.items(), ("Other", others)):
        context.write(f"{title} commands:\n")
        _columns(context, ((name, COMMANDS[name][1]) for name in members), max(screen_width(), 50) - 30)
    context.write(f"For more information on a command, try `{context.program} COMMAND --help'.\n")


def show_version(context: Context) -> None:
    """initctl --version"""
    package = f"upstart {VERSION}" if context.program == "upstart" else f"{context.program} (upstart {VERSION})"
    context.write(f"{package}\n{COPYRIGHT}\n\n")
    _paragraphs(context, NO_WARRANTY)
