"""What conditions say of the events of bridges, which init itself does not look at: what no bridge could serve.

What is always true here: nothing is asked but the numbers of services by name.
"""

from __future__ import annotations

import re

from upstart.base import filewords
from upstart.base.glob import match
from upstart.base.socketwords import EVENT as SOCKET
from upstart.base.socketwords import WordError, port_of, read
from upstart.engine.condition import split_test

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.conf.jobclass import JobClass, Match


#: Where a relative path of a job begins that may be one of a session.
_SOME_HOME = "/home"


def wrong_words(job: JobClass, starting: bool, leaf: Match, of_system: bool = False) -> tuple[str, str]:
    """What is wrong with an event of a condition, and the word that it is about; empty where nothing is.

    ``of_system`` says that the job is surely none of a session.
    """
    if leaf.name == filewords.EVENT:
        problem = _file(leaf, of_system)
    else:
        problem = _socket(job, starting, leaf) if leaf.name == SOCKET else ""
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


def _word_of(problem: str, leaf: Match) -> str:
    """The word of a condition that a text begins with, or the one of the variable that it names."""
    for word in leaf.args:
        if problem.startswith(word):
            return word
    for word in leaf.args:
        if re.match(rf"{re.escape(word.partition('=')[0].removesuffix('!'))}\b", problem):
            return word
    return leaf.name
