"""Command line options, parsed as the original's programs do.

The rules differ from getopt's, and scripts stand on them: long options are never abbreviated; options and other
arguments may be mixed; short options may be clustered; an option that takes a value takes the rest of a cluster only
if it comes first in it, otherwise the next argument that is not an option (which is then used up); ``--help`` and
``--version`` act at once, whatever follows. Error texts are the original's.
"""

from __future__ import annotations

from upstart.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Option:
    """One option. Given, it sets the attribute `target` of the settings to `value`, or to its argument if it takes one
    (`argument` is then that argument's name in the help); an attribute that is a list is appended to. ``help`` and
    ``version`` without a `target` end the parsing."""

    __slots__ = ("argument", "long", "short", "target", "value")

    def __init__(self, short: str, long: str, target: str, value: object = True, argument: str = "") -> None:
        self.short = short
        self.long = long
        self.target = target
        self.value = value
        self.argument = argument

    def apply(self, settings: object, value: object) -> None:
        current = getattr(settings, self.target)
        if isinstance(current, list):
            current.append(value)
        else:
            setattr(settings, self.target, value)


class UnknownOption(UsageError):
    """An option, its value included, that the program does not have."""

    def __init__(self, option: str) -> None:
        super().__init__(f"invalid option: {option}")
        self.option = option


class ShowHelp(Exception):
    """``--help`` was given."""


class ShowVersion(Exception):
    """``--version`` was given."""


class _Parser:
    __slots__ = ("argv", "complain", "end", "index", "options", "settings", "taken")

    def __init__(
        self,
        argv: Sequence[str],
        options: Sequence[Option],
        settings: object,
        complain: Callable[[UsageError], object],
    ) -> None:
        self.argv = argv
        self.complain = complain
        self.options = options
        self.settings = settings
        self.index = 0  # the argument being looked at
        self.taken = 0  # arguments up to this one have been taken as values of options
        self.end = 0  # if not 0, nothing after this argument is an option

    def parse(self, stop_at_argument: bool) -> list[str]:
        arguments: list[str] = []
        for index in range(1, len(self.argv)):
            self.index = index
            word = self.argv[index]
            if word[:1] != "-" or word == "-" or self._past_end(index):
                if index > self.taken:
                    arguments.append(word)
                    if stop_at_argument:
                        self.end = index
            elif word == "--":
                self.end = index
            else:
                self._option(word)
        return arguments

    def _option(self, word: str) -> None:
        try:
            if word[1] != "-":
                self._short(word)
            else:
                self._long(word[2:])
        except UsageError as error:
            self.complain(error)

    def _past_end(self, index: int) -> bool:
        return self.end != 0 and index > self.end

    def _short(self, word: str) -> None:
        for position, letter in enumerate(word[1:], 1):
            for option in self.options:
                if option.short == letter:
                    break
            else:
                self.complain(UnknownOption(f"-{letter}"))
                continue
            if option.argument and position == 1 and len(word) > 2:
                option.apply(self.settings, word[2:])
                return
            self._given(option)

    def _long(self, text: str) -> None:
        name, equals, value = text.partition("=")
        for option in self.options:
            if option.long == name:
                break
        else:
            raise UnknownOption(f"--{text}")
        if not equals:
            self._given(option)
        elif option.argument:
            option.apply(self.settings, value)
        else:
            raise UsageError(f"unexpected argument: --{text}")

    def _given(self, option: Option) -> None:
        """An option without a value of its own."""
        if not option.target:
            raise ShowHelp if option.long == "help" else ShowVersion
        option.apply(self.settings, self._next_argument() if option.argument else option.value)

    def _next_argument(self) -> str:
        position = max(self.taken, self.index) + 1
        while position < len(self.argv):
            word = self.argv[position]
            if word[:1] != "-" or self._past_end(position):
                self.taken = position
                return word
            if word == "--":
                self.end = position
            position += 1
        follows = self.argv[max(self.taken, self.index) + 1 :][:1]
        # A number below 0 was meant, and is no argument.
        why = f"; {follows[0]} is taken for an option" if follows and follows[0][1:].isdecimal() else ""
        raise UsageError(f"missing argument: {self.argv[self.index]}{why}")


def refuse(error: UsageError) -> None:
    """What `parse` does with an error unless told otherwise: raise it."""
    raise error


def parse(
    argv: Sequence[str],
    options: Sequence[Option],
    settings: object,
    stop_at_argument: bool = False,
    complain: Callable[[UsageError], object] = refuse,
) -> list[str]:
    """The arguments of `argv` (whose first word is skipped) that are not options; the options are set in `settings`.

    With `stop_at_argument` nothing after the first such argument is taken for an option. An option that is wrong is
    left out if `complain`, which is given the error, returns.
    Raises UsageError, ShowHelp or ShowVersion.
    """
    return _Parser(argv, options, settings, complain).parse(stop_at_argument)
