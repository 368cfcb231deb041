"""What conditions say of the events of bridges, which init itself does not look at: what no bridge could serve.

What is always true here: nothing is asked but the numbers of services by name.
"""

from __future__ import annotations

import re

from upstart.base import buswords, devicewords, filewords
from upstart.base.glob import is_literal, match, split_test
from upstart.base.socketwords import EVENT as SOCKET
from upstart.base.socketwords import WordError, port_of, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.conf.jobclass import JobClass, Match


#: Where a relative path of a job begins that may be one of a session.
_SOME_HOME = "/home"
#: Events of bridges of buses, with the variable that a value alone in the first place is compared with.
_OF_BUSES = {
    buswords.SIGNAL: "SIGNAL", buswords.NAME: "NAME", buswords.ACTIVATION: "SERVICE", buswords.DCONF: "TYPE",
}  # fmt: skip
#: What fstab(5) has in the place of a mount point where there is none.
_NO_PLACE = ("none", "swap")
_OF_MOUNTS = ("mounting", "mounted", "unmounted")


def wrong_words(job: JobClass, starting: bool, leaf: Match, of_system: bool = False) -> tuple[str, str]:
    """What is wrong with an event of a condition, and the word that it is about; empty where nothing is.

    ``of_system`` says that the job is surely none of a session.
    """
    if leaf.name == filewords.EVENT:
        problem = _file(leaf, of_system)
    elif leaf.name == SOCKET:
        problem = _socket(job, starting, leaf)
    elif leaf.name in _OF_BUSES:
        problem = _of_bus(leaf)
    elif leaf.name in _OF_MOUNTS:
        problem = _each_value(leaf, "", _mount)
    elif any(devicewords.parts(leaf.name)):
        problem = _each_value(leaf, "KERNEL", lambda key, value: devicewords.wrong_value(leaf.name, key, value))
    else:
        problem = devicewords.wrong_name(leaf.name)
    return problem, _word_of(problem, leaf) if problem else ""


def _socket(job: JobClass, starting: bool, leaf: Match) -> str:
    try:
        wanted = read(leaf.args, port_of)
    except WordError as error:
        return str(error)
    if wanted.accept and not starting:
        return "ACCEPT=y: not for stop on"
    if wanted.accept and not job.instance:
        return "ACCEPT=y: each connection needs an instance of its own (instance $CONNECTION)"
    return ""


def _file(leaf: Match, of_system: bool) -> str:
    path = ""
    for position, word in enumerate(leaf.args):
        key, value, negated = split_test(word)
        if key is None:
            key = filewords.VARIABLES[position] if position < len(filewords.VARIABLES) else ""
        if negated or "$" in value:
            # A variable has a value that is known only where the job is.
            path = path or (value if key == "FILE" and not negated else "")
        elif key == "FILE" and not path:
            path = value
            problem = filewords.place(value, "" if of_system else _SOME_HOME)[1]
            if problem:
                return f"{word}: {problem}"
        elif key == "EVENT" and value not in filewords.NAMED:
            if not any(match(value, kind) for kind in filewords.USUAL):
                return f"{word}: unknown; it is {', '.join(filewords.USUAL + filewords.NAMED)}"
    return "" if path else "FILE is missing, and nothing is watched"


def _of_bus(leaf: Match) -> str:
    for word in leaf.args:
        key, _, _ = split_test(word)
        problem = buswords.wrong_key(leaf.name, key) if key is not None else ""
        if problem:
            return f"{key}: {problem}"
    return _each_value(leaf, _OF_BUSES[leaf.name], lambda key, value: buswords.wrong_value(leaf.name, key, value))


def _mount(key: str, value: str) -> str:
    if key == "MOUNTPOINT" and value not in _NO_PLACE:
        if not value.startswith("/"):
            return "not absolute"
        if value.endswith("/") and value != "/":
            return "without the slash at its end"
    return ""


def _each_value(leaf: Match, first: str, wrong: Callable[[str, str], str]) -> str:
    """What is wrong with the first value that is; ``first`` is the variable of a value alone in the first place."""
    for position, word in enumerate(leaf.args):
        key, value, negated = split_test(word)
        if key is None:
            key = first if position == 0 else ""
        # A variable or a pattern may be anything, and what an event has not it passes.
        if key and not negated and is_literal(value) and "$" not in value:
            problem = wrong(key, value)
            if problem:
                return f"{word}: {problem}"
    return ""


def _word_of(problem: str, leaf: Match) -> str:
    """The word of a condition that a text begins with, or the one of the variable that it names."""
    for word in leaf.args:
        if problem.startswith(word):
            return word
    for word in leaf.args:
        if re.match(rf"{re.escape(word.partition('=')[0].removesuffix('!'))}\b", problem):
            return word
    return leaf.name
