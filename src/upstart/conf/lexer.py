"""Words, commands and blocks of a configuration file.

A `Scanner` walks over the text of one file.  ``pos`` is always where the next thing to read begins, behind any white
space that followed the last one; a backslash before a newline is white space between words.  Lines are not counted
on the way: an error knows its position, and the line follows from that.

A NUL byte is what it was to the C library: white space before a word, and otherwise the end of the line.
The plain forms, which are nearly all of real files, are read by one regular expression each; only a word with an escape
or a quoted string over several lines is put together piece by piece.
"""

from __future__ import annotations

import re

_SPACE = " \t\r\0"
#: Ends a word, ends a word of a condition, ends a command.
WORD_END = " \t\r#\n\0"
CONDITION_END = "() \t\r#\n\0"
COMMAND_END = "#\n\0"

_skip_blanks = re.compile(r"(?:[ \t\r\0\n]++|#[^\n]*+)*").match
_skip_space = re.compile(r"(?:[ \t\r\0]++|\\\n)*").match
_match_plain = re.compile(r"""([^ \t\r\n\0#\\"']++)(?=[ \t\r\n\0#]|\Z)(?:[ \t\r\0]++|\\\n)*""").match
_match_condition_word = re.compile(r"""([^ \t\r\n\0#()\\"']++)(?=[ \t\r\n\0#()]|\Z)(?:[ \t\r\0]++|\\\n)*""").match
_match_quoted = re.compile(
    r"""([^ \t\r\n\0#\\"']*+)(["'])([^"'\\\n\0]++)\2(?=[ \t\r\n\0#]|\Z)(?:[ \t\r\0]++|\\\n)*"""
).match
_match_command = re.compile(
    r"""((?:[ \t\r]*+(?:[^ \t\r\0\n#\\"']++|\\[^\n\0]"""
    r"""|"(?:[^"\\\n\0]++|\\[^\n\0])*"|'(?:[^'\\\n\0]++|\\[^\n\0])*'))*)"""
    r"""[ \t\r]*+(?:#[^\n]*+)?(?:\n|\Z)"""
).match
_find_block_end = re.compile(r"\n[ \t\r\0]*+end[ \t\r\0]++script[ \t\r\0]*+(?:#[^\n]*+)?(?=\n|\Z)").search
_leading_space = re.compile(r"[ \t\r\0]*+").match


class SyntaxProblem(Exception):
    """What is wrong with a text, and the position that tells the line."""

    def __init__(self, text: str, pos: int) -> None:
        super().__init__(text)
        self.text = text
        self.pos = pos


class Scanner:
    """The text of a file, and how far it has been read."""

    __slots__ = ("length", "pos", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.length = len(text)
        self.pos = 0

    def next_stanza(self) -> str | None:
        """The word that begins the next stanza; ``None`` at the end of the file."""
        match = _skip_blanks(self.text, self.pos)
        assert match is not None
        self.pos = match.end()
        if self.pos >= self.length:
            return None
        return self.keyword()

    def has_token(self) -> bool:
        """Whether something follows on this line."""
        return self.pos < self.length and self.text[self.pos] not in COMMAND_END

    def keyword(self) -> str:
        """Read a word as it is written, with its quotes."""
        match = _match_plain(self.text, self.pos)
        if match is not None:
            self.pos = match.end()
            return match[1]
        return self._word(WORD_END, False)

    def word(self) -> str:
        """Read a word, without its quotes."""
        match = _match_plain(self.text, self.pos)
        if match is not None:
            self.pos = match.end()
            return match[1]
        match = _match_quoted(self.text, self.pos)
        if match is not None:
            self.pos = match.end()
            return match[1] + match[3]
        return self._word(WORD_END, True)

    def condition_word(self) -> tuple[str, bool]:
        """Read a word of a condition, which parentheses end too: the word, and whether it can be an operator."""
        match = _match_condition_word(self.text, self.pos)
        if match is not None:
            self.pos = match.end()
            return match[1], True
        start = self.pos
        word = self._word(CONDITION_END, False)
        if word in ("and", "or"):
            return word, True
        self.pos = start
        return self._word(CONDITION_END, True), False

    def words(self) -> list[str]:
        """Read the words up to the end of the line, of which there must be one."""
        if not self.has_token():
            raise SyntaxProblem("Expected token", self.pos)
        words = []
        while self.has_token():
            words.append(self.word())
        self.end_line()
        return words

    def command(self) -> str:
        """Read a command up to the end of the line, its quotes and escapes left to the shell."""
        if not self.has_token():
            raise SyntaxProblem("Expected token", self.pos)
        match = _match_command(self.text, self.pos)
        if match is not None:
            self.pos = match.end()
            return match[1]
        command, _ = self._pieces(COMMAND_END, False)
        self.end_line()
        return command

    def script(self) -> str:
        """Read the lines up to ``end script``, without the indentation that all of them have in common."""
        self.end_line()
        start = self.pos
        end = _find_block_end(self.text, start - 1)
        if end is None:
            raise SyntaxProblem("Unterminated block", self.length)
        block = self.text[start : end.start() + 1] if end.start() >= start else ""
        self.pos = min(end.end() + 1, self.length)
        return _unindent(block)

    def end_line(self) -> None:
        """Go to the next line; a comment may end this one, and nothing else may."""
        pos = self.pos
        if pos < self.length and self.text[pos] not in COMMAND_END:
            raise SyntaxProblem("Unexpected token", pos)
        newline = self.text.find("\n", pos)
        self.pos = self.length if newline < 0 else newline + 1

    def skip_space(self) -> None:
        """Go over white space, and newlines behind a backslash."""
        match = _skip_space(self.text, self.pos)
        assert match is not None
        self.pos = match.end()

    def _word(self, ends: str, dequote: bool) -> str:
        word, something = self._pieces(ends, dequote)
        if not something:
            raise SyntaxProblem("Expected token", self.pos)
        self.skip_space()
        return word

    def _pieces(self, ends: str, dequote: bool) -> tuple[str, bool]:
        """Read up to a character of ``ends`` outside quotes: the text, and whether there was any.

        A newline in quotes or behind a backslash becomes a space that swallows the white space around it.
        """
        text, length, pos = self.text, self.length, self.pos
        parts: list[str] = []
        quote = space = ""
        newline = False
        while pos < length:
            char = text[pos]
            piece = char
            if char == "\\":
                pos += 1
                if pos == length:
                    raise SyntaxProblem("Trailing slash in file", length)
                char = text[pos]
                pos += 1
                if char == "\n":
                    newline = True
                    continue
                piece = char if dequote and (char == "\\" or char in _SPACE) else "\\" + char
            elif quote:
                pos += 1
                if char == quote:
                    quote = ""
                    piece = "" if dequote else char
                elif char == "\n":
                    newline = True
                    continue
                elif char in _SPACE:
                    space += char
                    continue
            elif char in "\"'":
                pos += 1
                quote = char
                piece = "" if dequote else char
            elif char in ends:
                break
            else:
                pos += 1
                if char in _SPACE:
                    space += char
                    continue
            if newline:
                parts.append(" ")
            elif space:
                parts.append(space)
            parts.append(piece)
            space = ""
            newline = False
        self.pos = pos
        if quote:
            raise SyntaxProblem("Unterminated quoted string", length)
        result = "".join(parts)
        return _up_to_nul(result), newline or bool(result)


def _unindent(block: str) -> str:
    """Take from each line the white space that the first begins with, as far as all of them have it."""
    match = _leading_space(block)
    assert match is not None
    indent = match.group()
    if "\0" not in block:
        if not indent:
            return block
        if block.count("\n" + indent) == block.count("\n") - 1:
            return block[len(indent) :].replace("\n" + indent, "\n")
    lines = block.split("\n")[:-1]
    for line in lines:
        if not line.startswith(indent):
            indent = _common_prefix(indent, line)
    return "".join(_up_to_nul(line[len(indent) :] + "\n") for line in lines)


def _common_prefix(one: str, other: str) -> str:
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return one[:index]
    return one[: len(other)]


def _up_to_nul(line: str) -> str:
    return line.partition("\0")[0]


def line_of(text: str, pos: int) -> int:
    """The number of the line, from 1, in which a position lies."""
    return text.count("\n", 0, pos) + 1
