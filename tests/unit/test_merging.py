"""A job with its override merged by lines says what init's own parser makes of both."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.conf.jobdata import same_definition
from upstart.conf.parse import parse_job
from upstart.tools.merging import Merged

STANZAS = [
    "start on a", "start on b or c", "stop on d", "manual", "exec one", "exec two \\\n  more", "respawn", "task",
    "script\n  # manual\n  three\n\nend script", "pre-start exec x", "pre-start script\n  y\nend script", "nice 5",
    "respawn limit 5 10", "respawn limit unlimited", "env A=1", "env A=2", "env B=3", "export A", "emits e f",
    "kill timeout 5", "kill timeout 9", "kill signal INT", "limit nofile 10 20", "limit core 0 0", "limit core 5 5",
    "normal exit 1", "normal exit 2 TERM", "oom score 5", "oom score never", "expect fork", "expect stop",
    "apparmor load /x", "apparmor switch y", "console none", "reload signal USR1", "instance $A", "umask 022",
    'description "x y"', "setuid me", "# a comment", "", "usage 'how'", "cgroup memory m", "chdir /", "console log",
]  # fmt: skip


def texts() -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(STANZAS), max_size=9).map(lambda lines: "".join(line + "\n" for line in lines))


def merged(directory: Path, conf: str, override: str | None) -> Merged:
    (directory / "web.conf").write_text(conf)
    if override is None:
        return Merged(str(directory / "web.conf"), None)
    (directory / "web.override").write_text(override)
    return Merged(str(directory / "web.conf"), str(directory / "web.override"))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("merging")


@given(conf=texts(), override=texts())
def test_the_lines_that_count_make_the_same_job(directory: Path, conf: str, override: str) -> None:
    found = merged(directory, conf, override)
    text = "".join(piece.text + "\n" for piece in found.pieces)
    base = parse_job("web", conf, "web.conf")
    expected = parse_job("web", override, "web.override", base=base)
    ours = parse_job("web", text, "web.conf")
    # Of variables and limits that are set twice the last counts: the earlier ones may be left out.
    for job in (expected, ours):
        job.env = tuple(sorted({word.partition("=")[0]: word for word in job.env}.values()))
    ours.override = expected.override
    assert same_definition(ours, expected), text


@given(conf=texts(), override=texts())
def test_every_line_is_where_it_is_said_to_be(directory: Path, conf: str, override: str) -> None:
    for piece in merged(directory, conf, override).pieces:
        assert Path(piece.file).read_text().splitlines()[piece.line - 1] == piece.text


def test_of_a_file_with_an_error_counts_what_stands_before_it(directory: Path) -> None:
    found = merged(directory, "exec one\nstart on a\n", "manual\nnonsense\nexec two\n")
    assert [piece.text for piece in found.pieces] == ["exec one", "manual"]
    assert found.errors == [f"{directory}/web.override:2: Unknown stanza"]


def test_stanzas_on_one_line(directory: Path) -> None:
    found = merged(directory, "manual env A=1\nexec one\n", None)
    assert [(piece.line, piece.stanza, piece.text.strip()) for piece in found.pieces] == [
        (1, "manual", "manual"), (1, "env", "env A=1"), (2, "exec", "exec one"),
    ]  # fmt: skip
