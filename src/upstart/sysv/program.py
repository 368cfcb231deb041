"""What the System V commands have in common: options, --help, errors and exit statuses.

A command is a function of its context, its settings and its arguments that gives the exit status.  Every error is one
line on standard error after the program's name, with exit status 1; a wrong command line recommends --help as well.
"""

from __future__ import annotations

from upstart.base.errors import ClientError
from upstart.base.options import Option, ShowHelp, parse
from upstart.initctl.context import DEBUG, ERROR, INFO, MESSAGE, Context, carry_out
from upstart.sysv import machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    S = TypeVar("S", bound="Common")


class Common:
    """The settings that every command has: the lowest priority of messages that is shown."""

    __slots__ = ("priority",)

    def __init__(self) -> None:
        self.priority = MESSAGE


#: The options that every command has, after its own.  An option without a description is not told by --help.
COMMON = (
    (Option("q", "quiet", "priority", ERROR), "reduce output to errors only"),
    (Option("v", "verbose", "priority", INFO), "increase output to include informational messages"),
    (Option("", "debug", "priority", DEBUG), ""),
    (Option("", "help", ""), "display this help and exit"),
    (Option("", "version", ""), "output version information and exit"),
)


class Program:
    """What --help tells of a command: its arguments, one line about it, its options, and paragraphs about it."""

    __slots__ = ("arguments", "help", "options", "synopsis")

    def __init__(self, arguments: str, synopsis: str, options: tuple[tuple[Option, str], ...], text: str) -> None:
        self.arguments = arguments
        self.synopsis = synopsis
        self.options = options
        self.help = text


def run(program: Program, argv: list[str], settings: S, command: Callable[[Context, S, list[str]], int]) -> int:
    """Parse the command line into *settings* and carry out *command*; the exit status."""

    def action(context: Context, argv: list[str]) -> int:
        try:
            args = parse(argv, [option for option, _ in program.options], settings)
        except ShowHelp:
            show_help(context, program)
            return 0
        context.settings.priority = settings.priority
        return command(context, settings, args)

    return carry_out(argv, action)


def need_root(context: Context) -> None:
    """Go on as root, also where the program is set-user-id.  Raises ClientError for anybody else."""
    changed, root = machine.become_root()
    if not changed:
        warn(context, "Couldn't set uid.")
    if not root:
        raise ClientError("Need to be root")


def warn(context: Context, text: str) -> None:
    """A line on standard error that --quiet suppresses."""
    if context.settings.priority < ERROR:
        context.error(text)


def show_help(context: Context, program: Program) -> None:
    """What --help says of a command."""
    from upstart.initctl.usage import REPORT_BUGS, screen_width, wrap

    width = screen_width()
    arguments = " " + program.arguments if program.arguments else ""
    lines = [f"Usage: {context.program} [OPTION]...{arguments}", *wrap(program.synopsis, width - 1), "", "Options:"]
    for option, description in program.options:
        if not description:
            continue
        line = f"  -{option.short}" if option.short else "    "
        if option.long:
            line += (", " if option.short else "  ") + "--" + option.long
        elif option.argument:
            line += " " + option.argument
        for text in wrap(description, max(width, 50) - 31, 2):
            lines.append(line.ljust(30) + text)
            line = ""
    lines += ["", *wrap(program.help, width - 1), "", REPORT_BUGS, ""]
    context.write("\n".join(lines))
