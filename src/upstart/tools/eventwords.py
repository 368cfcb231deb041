"""What conditions say of the events of bridges, which init itself does not look at: what no bridge could serve.

What is always true here: nothing is asked but the numbers of services by name.
"""

from __future__ import annotations

import re

from upstart.base.socketwords import EVENT as SOCKET
from upstart.base.socketwords import WordError, port_of, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.conf.jobclass import JobClass, Match


def wrong_words(job: JobClass, starting: bool, leaf: Match) -> tuple[str, str]:
    """What is wrong with an event of a condition, and the word that it is about; empty where nothing is."""
    check = _CHECKS.get(leaf.name)
    problem = check(job, starting, leaf) if check is not None else ""
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


_CHECKS: dict[str, Callable[[JobClass, bool, Match], str]] = {SOCKET: _socket}


def _word_of(problem: str, leaf: Match) -> str:
    """The word of a condition that a text begins with, or the one of the variable that it names."""
    for word in leaf.args:
        if problem.startswith(word):
            return word
    for word in leaf.args:
        if re.match(rf"{re.escape(word.partition('=')[0].removesuffix('!'))}\b", problem):
            return word
    return leaf.name
