"""An event on a line of text, ``NAME KEY=VALUE...``, as it is written to init's FIFO of events.

What is always true here: words are those of job files, so a value with blanks stands in quotes there as here, and a
backslash is written twice.  A line is an event as a whole or none at all: nothing of it is passed over, and a ``#``
that would begin a comment has to stand in quotes.
"""

from __future__ import annotations

from upstart.conf.lexer import Scanner, SyntaxProblem

#: Bytes of the longest line, its newline included: what pipe(7) keeps together, whoever else writes.
LONGEST = 4096


def parse_event(line: bytes) -> tuple[str, dict[str, str]]:
    """The name and the variables, in their order, of a ``line`` without its newline.

    Raises ValueError, with the reason, for one that is no event.
    """
    if b"\0" in line:
        raise ValueError("it has a NUL byte")
    try:
        scanner = Scanner(line.decode())
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    words: list[str] = []
    try:
        scanner.skip_space()
        while scanner.has_token():
            words.append(scanner.word())
    except SyntaxProblem as problem:
        raise ValueError(problem.text) from None
    if scanner.pos < scanner.length:
        raise ValueError("a # has to stand in quotes")
    if not words or not words[0]:
        raise ValueError("it has no name")
    env: dict[str, str] = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise ValueError(f"{word!r} is not KEY=VALUE")
        env[key] = value
    return words[0], env
