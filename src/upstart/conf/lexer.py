"""Words, commands and blocks of a configuration file.

A `Scanner` walks over the text of one file.  ``pos`` is always where the next thing to read begins, behind any white
space that followed the last one; a backslash before a newline is white space between words.  Lines are not counted
on the way: an error knows its position, and the line follows from that.

A NUL byte is what it was to the C library: white space before a word, and otherwise the end of the line.
The plain forms, which are nearly all of real files, are found by searching the text; only a word with an escape, or
with quotes of an uncommon kind, is put together character by character. There are no regular expressions here: to load
and compile them takes longer than to read all jobs of a system, and that before anything runs.

What is always true here: work grows as the text does, and a file on which much more of it would have to be spent than
any job needs is refused, for init does nothing else meanwhile.
"""

from __future__ import annotations

_SPACE = " \t\r\0"
_BLANK = _SPACE + "\n"
#: Ends a word, ends a word of a condition, ends a command.
WORD_END = " \t\r#\n\0"
CONDITION_END = "() \t\r#\n\0"
COMMAND_END = "#\n\0"
#: What has one of these in it is no plain word, no plain word of a condition, no plain command.
_NOT_IN_WORD = frozenset("\t\r\n\0#\\\"'")
_NOT_IN_CONDITION_WORD = _NOT_IN_WORD | {"(", ")"}
_NOT_IN_COMMAND = frozenset("\0#\\'")


#: What a file may cost, in about as much as one character takes that is looked at by itself; and what a word takes.
#: Scripts cost next to nothing.
MOST_WORK = 1 << 18
WORD = 16


class SyntaxProblem(Exception):
    """What is wrong with a text, and the position that tells the line."""

    def __init__(self, text: str, pos: int) -> None:
        super().__init__(text)
        self.text = text
        self.pos = pos


class Scanner:
    """The text of a file, and how far it has been read."""

    __slots__ = ("_left", "_newline", "length", "pos", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.length = len(text)
        self.pos = 0
        #: The first newline from ``pos`` on, or the end of the text; found anew where ``pos`` is behind it.
        self._newline = -1
        #: What of `MOST_WORK` is left.
        self._left = MOST_WORK

    def spend(self, work: int) -> None:
        """Account for work that has been done; raises `SyntaxProblem` where it is too much."""
        self._left -= work
        if self._left < 0:
            raise SyntaxProblem("Too much in one file", self.pos)

    def next_stanza(self) -> str | None:
        """The word that begins the next stanza; ``None`` at the end of the file."""
        text, length, pos = self.text, self.length, self.pos
        steps = 0
        while pos < length:
            char = text[pos]
            if char == "#":
                pos = self._line_end(pos)
            elif char in _BLANK:
                pos += 1
            else:
                break
            steps += 1
        self.pos = pos
        self.spend(steps)
        if self.pos >= self.length:
            return None
        return self.keyword()

    def has_token(self) -> bool:
        """Whether something follows on this line."""
        return self.pos < self.length and self.text[self.pos] not in COMMAND_END

    def keyword(self) -> str:
        """Read a word as it is written, with its quotes."""
        return self._plain(_NOT_IN_WORD) or self._word(WORD_END, False)

    def word(self) -> str:
        """Read a word, without its quotes."""
        return self._plain(_NOT_IN_WORD) or self._quoted() or self._word(WORD_END, True)

    def condition_word(self) -> tuple[str, bool]:
        """Read a word of a condition, which parentheses end too: the word, and whether it can be an operator."""
        word = self._plain(_NOT_IN_CONDITION_WORD)
        if word:
            return word, True
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
        end = self._line_end(self.pos)
        command = self.text[self.pos : end]
        if _NOT_IN_COMMAND.isdisjoint(command) and command.count('"') % 2 == 0:
            self.pos = min(end + 1, self.length)
            return command.rstrip(_SPACE)
        command, _ = self._pieces(COMMAND_END, False)
        self.end_line()
        return command

    def script(self) -> str:
        """Read the lines up to ``end script``, without the indentation that all of them have in common."""
        self.end_line()
        start = self.pos
        end = self._block_end(start)
        self.end_line()
        block = self.text[start:end]
        self.spend(2 * block.count("\n"))
        return _unindent(block)

    def _block_end(self, start: int) -> int:
        """Where the line ``end script`` begins that ends a block; goes to the end of these words.

        Raises `SyntaxProblem` where there is none.
        """
        text = self.text
        end = text.find("end", start)
        while end >= 0:
            self.spend(4)
            line = end
            while line > start and text[line - 1] in _SPACE:
                line -= 1
            if line == start or text[line - 1] == "\n":
                word = self._behind_space(end + 3)
                if word > end + 3 and text.startswith("script", word):
                    self.pos = self._behind_space(word + 6)
                    if self.pos == self.length or text[self.pos] in "#\n":
                        return line
            end = text.find("end", end + 3)
        raise SyntaxProblem("Unterminated block", self.length)

    def _behind_space(self, pos: int) -> int:
        while pos < self.length and self.text[pos] in _SPACE:
            pos += 1
        return pos

    def end_line(self) -> None:
        """Go to the next line; a comment may end this one, and nothing else may."""
        pos = self.pos
        if pos < self.length and self.text[pos] not in COMMAND_END:
            raise SyntaxProblem("Unexpected token", pos)
        self.pos = min(self._line_end(pos) + 1, self.length)

    def skip_space(self) -> None:
        """Go over white space, and newlines behind a backslash."""
        text = self.text
        pos = self._behind_space(self.pos)
        while text.startswith("\\\n", pos):
            pos = self._behind_space(pos + 2)
        self.pos = pos

    def _line_end(self, pos: int) -> int:
        """Where the line ends in which ``pos`` lies, which never goes back to an earlier one."""
        if pos > self._newline:
            newline = self.text.find("\n", pos)
            self._newline = newline if newline >= 0 else self.length
        return self._newline

    def _plain(self, not_in: frozenset[str]) -> str:
        """Read a word if it is plain, up to a blank or the end of the line; empty where it is not."""
        start = self.pos
        self._left -= WORD
        if self._left < 0:
            self.spend(0)
        newline = self._line_end(start)
        blank = self.text.find(" ", start, newline)
        word = self.text[start : blank if blank >= 0 else newline]
        if not word or not not_in.isdisjoint(word):
            return ""
        self.pos = start + len(word)
        if blank >= 0:
            self.skip_space()
        return word

    def _quoted(self) -> str:
        """Read a word of which the end is in double quotes, without these, if nothing else in it is of note; empty
        where it is not such a word."""
        text, start = self.text, self.pos
        newline = self._line_end(start)
        blank = text.find(" ", start, newline)
        opening = text.find('"', start, blank if blank >= 0 else newline)
        closing = text.find('"', opening + 1, newline)
        if opening < 0 or closing <= opening + 1:
            return ""
        before, within, after = text[start:opening], text[opening + 1 : closing], text[closing + 1 : closing + 2]
        if not _NOT_IN_WORD.isdisjoint(before) or "\\" in within or "\0" in within or after not in WORD_END:
            return ""
        self.pos = closing + 1
        self.skip_space()
        return before + within

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
        start = pos
        most = min(length, start + self._left)
        parts: list[str] = []
        quote = space = ""
        newline = False
        while pos < most:
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
        self.spend(pos - start + (most < length and pos >= most))
        if quote:
            raise SyntaxProblem("Unterminated quoted string", length)
        result = "".join(parts)
        return _up_to_nul(result), newline or bool(result)


def _unindent(block: str) -> str:
    """Take from each line the white space that the first begins with, as far as all of them have it."""
    indent = block[: len(block) - len(block.lstrip(_SPACE))]
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
