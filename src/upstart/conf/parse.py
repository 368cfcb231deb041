"""From the text of a job file, or of an override, to a `JobClass`.

The text is taken apart by the lexer and the table of stanzas; nothing here touches the file system.  A class that was
given as the base of an override is never changed.
"""

from __future__ import annotations

from upstart.conf.jobclass import JobClass
from upstart.conf.lexer import Scanner, SyntaxProblem, line_of
from upstart.conf.stanzas import ILLEGAL_SIGNAL, STANZAS, UNKNOWN, Draft


class ParseError(Exception):
    """A file that cannot be parsed; ``str()`` is the message to show.

    ``path`` and ``line`` (from 1) say where, ``text`` says what.  ``job`` is what the stanzas before the error made.
    """

    def __init__(self, path: str, line: int, text: str, job: JobClass | None = None) -> None:
        self.path = path
        self.line = line
        self.text = text
        self.job = job

    def __str__(self) -> str:
        if self.text == ILLEGAL_SIGNAL:
            # The one error that was always told without its line; those who read logs know it so.
            return f"{self.path}: Error while loading configuration file: {self.text}"
        return f"{self.path}:{self.line}: {self.text}"


def parse_job(
    name: str,
    text: str,
    source: str,
    session: str | None = None,
    base: JobClass | None = None,
    places: list[tuple[str, int]] | None = None,
) -> JobClass:
    """Parse the text of the file ``source`` as the job ``name``.

    With ``base`` the text is that of an override: the result is a new class, with the stanzas of the text in the
    place of those of ``base``.  To ``places`` is added each stanza, with the position behind its first word.  Raises
    `ParseError`.
    """
    if base is None:
        job = JobClass(name, source, session)
    else:
        job = JobClass.__new__(JobClass)
        job.__dict__.update(base.__dict__)
        job.processes = dict(base.processes)
        job.override = source
    scanner = Scanner(text)
    draft = Draft(job)
    try:
        while (stanza := scanner.next_stanza()) is not None:
            if places is not None:
                places.append((stanza, scanner.pos))
            handler = STANZAS.get(stanza)
            if handler is None:
                raise SyntaxProblem(UNKNOWN, scanner.pos)
            handler(draft, scanner)
    except SyntaxProblem as problem:
        raise ParseError(source, line_of(text, problem.pos), problem.text, draft.finish())
    return draft.finish()


def parse_no_job(text: str, source: str) -> None:
    """Parse the text of the file of general configuration, in which no stanza is valid.  Raises `ParseError`."""
    scanner = Scanner(text)
    try:
        if scanner.next_stanza() is not None:
            raise SyntaxProblem(UNKNOWN, scanner.pos)
    except SyntaxProblem as problem:
        raise ParseError(source, line_of(text, problem.pos), problem.text)


def decode(data: bytes) -> str:
    """The text of a file's bytes; what is no UTF-8 goes through unharmed (`os.fsencode` gives it back)."""
    return data.decode("utf-8", "surrogateescape")
