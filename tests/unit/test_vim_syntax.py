"""The syntax file for vim knows the job language: every stanza and word of it, and nothing that is not one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from manual import ROOT, of_kind
from upstart.conf.parse import ParseError, parse_job
from upstart.conf.stanzas import KILL_MODES, LIMITS, STANZAS
from upstart.process.cgroupkeys import CONTROLLERS

VIM = ROOT / "etc/vim"
#: The file's logical lines.
LINES = re.sub(r"\n +\\ ", " ", (VIM / "syntax/upstart.vim").read_text()).splitlines()

#: Words behind a stanza's name that only certain values can be.
CHOICES = {
    "console": {"none", "log", "output", "owner"},
    "expect": {"none", "stop", "fork", "daemon"},
    "oom": {"score", "never"},
    "apparmor": {"load", "switch"},
    "respawn": {"limit"},
    "kill": {"timeout"},
}


def translated(pattern: str) -> str:
    """A regular expression of Python's for one of vim's."""
    same = ((r"\%(", "(?:"), (r"\)", ")"), (r"\|", "|"), (r"\+", "+"), (r"\=", "?"), (r"\>", r"\b"), (r"\<", r"\b"))
    for vim, python in same:
        pattern = pattern.replace(vim, python)
    return pattern


def stanza_patterns() -> list[str]:
    """What a line that begins with a stanza looks like."""
    matches = [re.match(r"syntax match upstartStanza /(.*?)/", line) for line in LINES]
    starts = [re.match(r"syntax region upstart(?:Exec|Script).* start=/(.*?)/ ", line) for line in LINES]
    return [translated(found[1]) for found in [*matches, *starts] if found]


def keywords(group: str) -> set[str]:
    found: set[str] = set()
    for line in LINES:
        if line.startswith(f"syntax keyword {group} "):
            found |= {word for word in line.split()[3:] if word not in ("contained", "skipwhite") and "=" not in word}
    return found


def test_every_stanza_of_the_examples_is_recognized() -> None:
    patterns = stanza_patterns()
    shown = set()
    for example in of_kind("job", "init.5"):
        text = re.sub(r"(?ms)^((?:\S+ )?script)$.*?^end script$", r"\1", example.text)
        # What is indented goes on with the line above it.
        for line in re.findall(r"(?m)^[a-z].*", text):
            assert any(re.match(pattern, line) for pattern in patterns), line
            shown.add(line.split()[0])
    assert shown == set(STANZAS)


def test_nothing_is_taken_for_a_stanza_that_is_none() -> None:
    words = {word for pattern in stanza_patterns() for word in re.findall(r"[a-z]{2,}", pattern)}
    names = {part for stanza in STANZAS for part in stanza.split("-")} | {"on", "exit"}
    assert words == names


def test_the_words_behind_stanzas_are_known() -> None:
    choices = set().union(*CHOICES.values())
    assert keywords("upstartWord") == choices | LIMITS | set(CONTROLLERS)
    assert keywords("upstartSignalWord") == {"signal"}
    mode = next(found for line in LINES if (found := re.match(r"syntax match upstartKillMode contained /(.*)/$", line)))
    pattern = re.compile(translated(mode[1]))
    assert all(pattern.fullmatch(f"mode {word}") for word in KILL_MODES)
    assert not pattern.fullmatch("mode other")


@pytest.mark.parametrize(("stanza", "word"), [(stanza, word) for stanza in CHOICES for word in sorted(CHOICES[stanza])])
def test_the_words_are_those_of_the_parser(stanza: str, word: str) -> None:
    rest = {"score": " 5", "load": " /p", "switch": " p", "limit": " 1 2", "timeout": " 3"}
    parse_job("example", f"{stanza} {word}{rest.get(word, '')}\n", "example")
    with pytest.raises(ParseError):
        parse_job("example", f"{stanza} {word}x{rest.get(word, '')}\n", "example")


@pytest.mark.parametrize("path", ["etc/init/web.conf", "etc/init/web.override", ".config/upstart/web.conf",
                                  "usr/share/upstart/sessions/web.conf", "debian/web.upstart-job"])  # fmt: skip
def test_job_files_are_known_by_their_path(path: str) -> None:
    text = (VIM / "ftdetect/upstart.vim").read_text()
    globs = [glob for line in re.findall(r"BufRead (\S+)", text) for glob in line.split(",")]
    # In a pattern of an autocommand, * goes over slashes.
    assert any(re.fullmatch(re.escape(glob).replace(r"\*", ".*"), f"/{Path(path)}") for glob in globs)
