"""``init-checkconf``: tell whether a job file is valid and makes sense, before init has to.

The file is read by init's own parser, and each of its shell scripts by ``/bin/sh -n``; nothing is started.  The
options that name the programs of the older way are accepted, and it is checked that these exist.  Options may be
abbreviated and long ones may have one dash (getopt(1) with ``-a``).

In the place of a file there may be a directory of job files, which are checked together, or a Debian package, binary
or source, whose jobs are then all checked. Of several operands each is checked. An override is checked by itself: no
stanza depends on those before it.  What makes no sense is a warning, and is no error but with ``--strict``.
"""

from __future__ import annotations

import os
import sys

from upstart import VERSION
from upstart.base.inherited import restore_locale
from upstart.base.output import printing
from upstart.conf.files import OVERRIDE
from upstart.tools.checkjob import Invalid, check
from upstart.tools.findings import Json, Report, Sarif
from upstart.tools.packagefiles import is_package

#: Long options, each with its short form and whether it takes an argument.
OPTIONS = {
    "debug": ("d", False),
    "file": ("f", True),
    "help": ("h", False),
    "initctl-path": ("i", True),
    "json": ("", False),
    "merged": ("", True),
    "noscript": ("s", False),
    "running": ("", False),
    "sarif": ("", False),
    "strict": ("", False),
    "upstart-path": ("x", True),
}
_SHORT = {short: (name, argument) for name, (short, argument) in OPTIONS.items() if short}

USAGE = """\
Description: Determine if specified Upstart (init(8)) job configuration
             file is valid.

Usage: {program} [options] -f <conf_file>
       {program} [options]    <conf_file>...
       {program} [options]    <directory>...
       {program} [options]    <package>...
       {program} [options] --running
       {program} [--json] --merged=<override> <conf_file>

A directory has job files, as /etc/init has, which are checked together. A
package is a .deb file, a .dsc file, or a directory with an unpacked one: each
job in it is checked.

Options:

 -d, --debug           : Show some debug output.
 -f <file>,            : Job configuration file to check.
 --file=<file>           (no default).
 -i <path>,            : Specify path to initctl binary
 --initctl-path=<path>   (default={initctl}).
 --json                : Write what is found as JSON.
 --merged=<override>   : Write the job as init has it with this override,
                         each line with where it comes from.
 -s, --noscript        : Do not check script sections.
 --running             : Check the jobs of the running init, in /etc/init.
 --sarif               : Write what is found as SARIF 2.1.0.
 --strict              : Fail for what makes no sense, too.
 -x <path>             : Specify path to init daemon binary
 --upstart-path=<path>   (default={upstart}).
 -h, --help            : Show this help.

"""


class Options:
    """What the command line says."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        self.operands: list[str] = []
        #: What is wrong with the command line.
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
    if "json" in options.given and "sarif" in options.given:
        options.complaints.append("options '--json' and '--sarif' exclude each other")
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
    """The command; returns its exit status: 0 where all is valid, 1 for everything else, help among it."""
    # Shells and unpackers that are run from here are given the locale that we were given.
    restore_locale()
    program = os.path.basename(argv[0])
    return printing(program, 1, lambda: _main(program, argv))


def _main(program: str, argv: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # There is none where it was closed from the start.
        if stream is not None:
            stream.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    options = parse_options(argv[1:])
    for complaint in options.complaints:
        print(f"{program}: {complaint}", file=sys.stderr)
    given = options.given
    upstart = given.get("upstart-path", "/sbin/upstart")
    initctl = given.get("initctl-path", "/sbin/initctl")
    if options.complaints:
        print(f"Try `{program} --help' for more information.", file=sys.stderr)
        return 1
    if "help" in given:
        print(USAGE.format(program=program, initctl=initctl, upstart=upstart), end="")
        return 1
    if "merged" in given:
        return _write_merged(program, given, options.operands)
    report = Json() if "json" in given else Sarif(program, VERSION) if "sarif" in given else Report()
    # Of operands beside --file the command never took notice.
    paths = [given["file"]] if given.get("file") else options.operands or ([] if "running" in given else [""])
    for path in paths:
        _check_path(path, given, upstart, initctl, report)
    if "running" in given:
        from upstart.tools.checkdirectory import check_running

        check_running(report, "noscript" not in given, f"{os.path.basename(upstart)}:")
    report.end()
    return int(report.errors > 0 or ("strict" in given and report.warnings > 0))


def _write_merged(program: str, given: dict[str, str], operands: list[str]) -> int:
    """Write a job with its override merged; 1 where either cannot be read, or has an error."""
    from upstart.tools.merging import Merged

    if len(operands) != 1:
        print(f"{program}: option '--merged' needs one job file", file=sys.stderr)
        return 1
    try:
        merged = Merged(operands[0], given["merged"] or None)
    except OSError as error:
        print(f"{program}: {error.filename or operands[0]}: {error.strerror}", file=sys.stderr)
        return 1
    if "json" in given:
        import json

        lines = [{"file": each.file, "line": each.line, "stanza": each.stanza, "text": each.text}
                 for each in merged.pieces]  # fmt: skip
        json.dump({"lines": lines, "errors": merged.errors}, sys.stdout, indent=2)
        print()
    else:
        for each in merged.pieces:
            print(f"{each.file}:{each.line}: {each.text}")
        for text in merged.errors:
            print(f"ERROR: {text}", file=sys.stderr)
    return int(bool(merged.errors))


def _check_path(path: str, given: dict[str, str], upstart: str, initctl: str, report: Report) -> None:
    """Check a file, a directory or a package and report what came of it."""
    try:
        if not path:
            raise Invalid("Must specify configuration file")
        package = is_package(path)
        if not os.path.isfile(path) and not (package and os.path.isdir(path)):
            raise Invalid(f"File {path} does not exist")
        if "debug" in given:
            report.say(f"DEBUG: upstart_path={upstart}\nDEBUG: initctl_path={initctl}\nDEBUG: file={path}")
        for command in (given.get("upstart-path"), given.get("initctl-path")):
            if command is None:
                continue
            if not os.path.isfile(command):
                raise Invalid(f"Path {command} does not exist")
            if not os.access(command, os.X_OK):
                raise Invalid(f"File {command} not executable")
        scripts, prefix = "noscript" not in given, f"{os.path.basename(upstart)}:"
        if package:
            from upstart.tools.checkdirectory import check_directory, holds_jobs

            if os.path.isdir(path) and holds_jobs(path):
                check_directory(path, report, scripts, prefix)
                return
            from upstart.tools.checkpackage import check_package

            check_package(path, scripts, prefix, report=report)
            return
        if not path.endswith((".conf", OVERRIDE)):
            raise Invalid("File must end in .conf or .override")
        _check_file(path, scripts, prefix, report)
    except Invalid as error:
        report.error(str(error), path, error.line)


def _check_file(path: str, scripts: bool, prefix: str, report: Report) -> None:
    from upstart.tools.checkdirectory import merge_override
    from upstart.tools.sense import check_job

    text = check(path, scripts, prefix)
    report.fine(path)
    merge_override(path, text)
    for finding in check_job(text):
        report.found(path, finding)
