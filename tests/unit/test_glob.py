"""Shell patterns: what the C library says of them, and no work that explodes."""

from __future__ import annotations

import ctypes
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstart.base import glob
from upstart.base.glob import is_literal, match

libc = ctypes.CDLL(None)
libc.fnmatch.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]

PIECES = ["a", "b", "z", "*", "?", "[", "]", "]", "\\", "-", "!", "^", ":", "1", "[:alpha:]", "[:digit:]", "[:foo:]",
          "[:nope", "[[:alnum:]"]  # fmt: skip
# Where a range is to end with a bracket the C library ends the whole expression in different places for different
# texts.
PATTERNS = st.lists(st.sampled_from(PIECES), max_size=9).map("".join).filter(lambda pattern: "-[" not in pattern)


def of_libc(pattern: str, text: str) -> bool:
    return bool(libc.fnmatch(pattern.encode(), text.encode(), 0) == 0)


@settings(max_examples=500, deadline=None)
@given(PATTERNS, st.lists(st.text("ab1[]\\-!^:z", max_size=8), min_size=1, max_size=5))
def test_a_pattern_matches_what_it_does_for_the_c_library(pattern: str, texts: list[str]) -> None:
    for text in texts:
        assert match(pattern, text) == of_libc(pattern, text), (pattern, text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["*", "*", "?", "a", "b", "ab", "[ab]", "[!a]"]), max_size=12).map("".join),
       st.text("aab", max_size=30))  # fmt: skip
def test_stars_find_what_they_do_for_the_c_library(pattern: str, text: str) -> None:
    assert match(pattern, text) == of_libc(pattern, text)


@pytest.mark.parametrize("name", sorted(glob._CLASSES))
def test_a_class_has_the_characters_that_it_has_in_the_c_locale(name: str) -> None:
    for number in range(1, 128):
        assert match(f"[[:{name}:]]", chr(number)) == of_libc(f"[[:{name}:]]", chr(number)), number


def test_a_character_is_a_code_point_and_what_is_no_text_is_one_too() -> None:
    assert match("?", "é") and match("[é-ü]", "ö") and match("*?é[ß]*", "aaéßb") and not match("*?é[ß]*", "aaésb")
    assert match("*[!a]\udc80?*", "aaa\udc80\udc80\udc80a")


@settings(deadline=None)
@given(st.text("ab*?[]\\"))
def test_a_literal_pattern_matches_itself_only(pattern: str) -> None:
    if is_literal(pattern):
        assert match(pattern, pattern) and not match(pattern, pattern + "a")


HUGE = [
    ("*a" * 500 + "*b", "a" * 1_000_000),
    ("*a*a*a*a*a*a*b", "a" * 100),
    ("*" + "?a" * 50 + "b*", "a" * 100_000),
    ("*" + "[ab]?" * 50 + "c*", "ab" * 50_000),
    ("*" + "[é-ü]" * 50 + "c*", "é" * 100_000),
    ("*" * 100_000 + "b", "a" * 100_000),
    ("*[" + "a-b" * 10_000 + "]c*", "b" * 100_000),
    ("[" * 100_000 + "\\]", "[" * 100_000),
    ("[]" * 100_000, "a"),
    ("[:" * 50_000, "[:" * 50_000),
    ("[[:" * 50_000 + "a:]", "[:" * 50_000),
    ("[a-" * 50_000, "a"),
    ("\\[[\\]" * 30_000, "[[]" * 30_000),
]


@pytest.mark.parametrize(("pattern", "text"), HUGE, ids=[pattern[:12] for pattern, _ in HUGE])
def test_work_grows_no_faster_than_pattern_and_text(pattern: str, text: str) -> None:
    # Each takes below a tenth of a second of a processor; what backtracks, or reads to the end again and again,
    # minutes.
    began = time.process_time()
    match(pattern, text)
    assert time.process_time() - began < 2


def test_patterns_that_are_kept_are_bounded() -> None:
    for number in range(3 * glob._CACHE_LIMIT):
        match(f"*{number}", "")
    match("*" + "a" * 10_000, "a" * 20_000)
    assert len(glob._cache) <= glob._CACHE_LIMIT
    assert all(len(pattern) <= glob._CACHE_LENGTH for pattern in glob._cache)
