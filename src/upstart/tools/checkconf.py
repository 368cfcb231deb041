"""``init-checkconf``: tell whether a job file is valid, before init has to.

The file is read by init's own parser, and each of its shell scripts by ``/bin/sh -n``; nothing is started and no
running init is asked.  The options that name the programs of the older way are accepted, and it is checked that these
exist.  Options may be abbreviated and long ones may have one dash (getopt(1) with ``-a``).

In the place of a file there may be a Debian package, binary or source, whose jobs are then all checked. Of several
files or packages each is checked. An override is checked by itself: no stanza depends on those before it.
"""

from __future__ import annotations

import os
import sys

from upstart.base.inherited import restore_locale
from upstart.conf.files import OVERRIDE
from upstart.tools.checkjob import Invalid, check
from upstart.tools.packagefiles import is_package

#: Long options, each with its short form and whether it takes an argument.
OPTIONS = {
    "debug": ("d", False),
    "file": ("f", True),
    "help": ("h", False),
    "initctl-path": ("i", True),
    "noscript": ("s", False),
    "upstart-path": ("x", True),
}
_SHORT = {short: (name, argument) for name, (short, argument) in OPTIONS.items()}

USAGE = """\
Description: Determine if specified Upstart (init(8)) job configuration
             file is valid.

Usage: {program} [options] -f <conf_file>
       {program} [options]    <conf_file>...
       {program} [options]    <package>...

A package is a .deb file, a .dsc file, or a directory with an unpacked one: each
job in it is checked.

Options:

 -d, --debug           : Show some debug output.
 -f <file>,            : Job configuration file to check.
 --file=<file>           (no default).
 -i <path>,            : Specify path to initctl binary
 --initctl-path=<path>   (default={initctl}).
 -s, --noscript        : Do not check script sections.
 -x <path>             : Specify path to init daemon binary
 --upstart-path=<path>   (default={upstart}).
 -h, --help            : Show this help.

"""


class Options:
    """What the command line says."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        self.operands: list[str] = []
        #: What is wrong with the command line; wrong options are told and otherwise ignored.
        self.complaints: list[str] = []


def parse_options(arguments: list[str]) -> Options:
    """Read a command line, in which options and operands may be mixed."""
    options = Options()
    todo = list(arguments)
    while todo:
        word = todo.pop(0)
        if word == "--":
            options.operands += todo
            break
        if len(word) < 2 or not word.startswith("-"):
            options.operands.append(word)
        elif word.startswith("--") or len(word) > 2 or word[1] not in _SHORT:
            _long_option(word, todo, options)
        else:
            _short_options(word[1:], todo, options)
    return options


def _long_option(word: str, todo: list[str], options: Options) -> None:
    dashes = "--" if word.startswith("--") else "-"
    name, equals, value = word[len(dashes) :].partition("=")
    found = [name] if name in OPTIONS else [option for option in OPTIONS if option.startswith(name)]
    if len(found) != 1:
        if dashes == "-" and word[1] in _SHORT:
            _short_options(word[1:], todo, options)
        elif found:
            possible = " ".join(f"'{dashes}{option}'" for option in found)
            options.complaints.append(f"option '{word}' is ambiguous; possibilities: {possible}")
        else:
            options.complaints.append(f"unrecognized option '{dashes}{name}'")
        return
    [option] = found
    _, argument = OPTIONS[option]
    if equals and not argument:
        options.complaints.append(f"option '{dashes}{option}' doesn't allow an argument")
    elif equals or not argument:
        options.given[option] = value
    elif todo:
        options.given[option] = todo.pop(0)
    else:
        options.complaints.append(f"option '{dashes}{option}' requires an argument")


def _short_options(letters: str, todo: list[str], options: Options) -> None:
    for index, letter in enumerate(letters):
        if letter not in _SHORT:
            options.complaints.append(f"invalid option -- '{letter}'")
            continue
        option, argument = _SHORT[letter]
        if not argument:
            options.given[option] = ""
            continue
        rest = letters[index + 1 :]
        if rest or todo:
            options.given[option] = rest or todo.pop(0)
        else:
            options.complaints.append(f"option requires an argument -- '{letter}'")
        break


def main(argv: list[str]) -> int:
    """The command; returns its exit status: 0 for a valid file, 1 for everything else, help among it."""
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    sys.stderr.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    # Shells and unpackers that are run from here are given the locale that we were given.
    restore_locale()
    program = os.path.basename(argv[0])
    options = parse_options(argv[1:])
    for complaint in options.complaints:
        print(f"{program}: {complaint}", file=sys.stderr)
    given = options.given
    upstart = given.get("upstart-path", "/sbin/upstart")
    initctl = given.get("initctl-path", "/sbin/initctl")
    if "help" in given:
        print(USAGE.format(program=program, initctl=initctl, upstart=upstart), end="")
        return 1
    # Of operands beside --file the command never took notice.
    paths = [given["file"]] if given.get("file") else options.operands or [""]
    return max([_check_path(path, given, upstart, initctl) for path in paths])


def _check_path(path: str, given: dict[str, str], upstart: str, initctl: str) -> int:
    """Check a file or a package and say what came of it: the exit status."""
    try:
        if not path:
            raise Invalid("Must specify configuration file")
        package = is_package(path)
        if not os.path.isfile(path) and not (package and os.path.isdir(path)):
            raise Invalid(f"File {path} does not exist")
        if "debug" in given:
            print(f"DEBUG: upstart_path={upstart}\nDEBUG: initctl_path={initctl}\nDEBUG: file={path}")
        for command in (given.get("upstart-path"), given.get("initctl-path")):
            if command is None:
                continue
            if not os.path.isfile(command):
                raise Invalid(f"Path {command} does not exist")
            if not os.access(command, os.X_OK):
                raise Invalid(f"File {command} not executable")
        scripts, prefix = "noscript" not in given, f"{os.path.basename(upstart)}:"
        if package:
            from upstart.tools.checkpackage import check_package

            return check_package(path, scripts, prefix)
        if not path.endswith((".conf", OVERRIDE)):
            raise Invalid("File must end in .conf or .override")
        check(path, scripts, prefix)
    except Invalid as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    print(f"File {path}: syntax ok")
    return 0
