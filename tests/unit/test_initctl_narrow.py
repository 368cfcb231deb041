"""Lines and tables on a narrow screen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from upstart.initctl.narrow import CUT, GAP, LEAST, ROOM, cell, folded, widths_of

TEXTS = st.text(st.sampled_from("ab ü-"), max_size=120)


@given(TEXTS, st.integers(0, 100), st.integers(0, 30))
def test_a_folded_line_has_the_same_words_and_none_is_cut(text: str, width: int, indent: int) -> None:
    lines = folded(text, width, indent).split("\n")
    assert " ".join(lines).split() == text.split()
    if not width or width - indent < ROOM:
        assert lines == [text]
        return
    for at, line in enumerate(lines):
        assert len(line) <= width or max(map(len, line.split()), default=0) > width - indent
        assert not at or line.startswith(" " * indent)


def test_a_line_is_broken_at_its_last_blank_and_goes_on_below_its_text() -> None:
    text = "12:00:00  web: to start by started db, emitted by init"
    assert folded(text, 30, 10) == "12:00:00  web: to start by\n          started db, emitted\n          by init"
    assert folded(text, 80, 10) == folded(text, 0, 10) == text
    assert folded("    /a/path/that/is/longer/than/all and more", 24, 6) == (
        "    /a/path/that/is/longer/than/all\n      and more"
    )
    assert folded("  File:  /a/path/that/is/longer/than/all", 24, 9) == "  File:  /a/path/that/is/longer/than/all"


def test_texts_of_a_table_are_cut_the_widest_first_and_names_are_not() -> None:
    rows = [["JOB", "FAILURE", "DESCRIPTION"], ["a-long-name", "f" * 30, "d" * 40], ["b", "f", "d" * 10]]
    assert widths_of(rows, [1, 2], 0) == [11, 30, 40]
    assert widths_of(rows, [1, 2], 200) == [11, 30, 40]
    widths = widths_of(rows, [1, 2], 60)
    assert sum(widths) + 2 * GAP == 60 and widths[0] == 11 and abs(widths[1] - widths[2]) <= 1
    assert widths_of(rows, [1, 2], 10) == [11, LEAST, LEAST]
    assert widths_of(rows, [], 10) == [11, 30, 40]
    assert cell("d" * 40, 22) == "d" * 19 + CUT and cell("d", 3) == "d  "
