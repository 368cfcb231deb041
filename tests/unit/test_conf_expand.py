"""Variable references in instance names, conditions and values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.conf.expand import MAX_DEPTH, MAX_LENGTH, MAX_REFERENCES, ExpandError, expand

ENV = {"FOO": "frodo", "BAR": "bilbo", "BAZ": "xx", "HOBBIT": "FOO", "NULL": "", "DOLLAR": "$FOO"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("this is a test", "this is a test"),
        ("", ""),
        ("this is a $FOO test", "this is a frodo test"),
        ("test $FOO $BAR$BAZ", "test frodo bilboxx"),
        ("${BAR}test", "bilbotest"),
        ("${BAR}${FOO}test${BAZ}", "bilbofrodotestxx"),
        ("$FOO-$BAR", "frodo-bilbo"),
        ("$FOO.conf", "frodo.conf"),
        ("$NULL", ""),
        ("${$HOBBIT} baggins", "frodo baggins"),
        ("${${HOBBIT}} baggins", "frodo baggins"),
        ("${MEEP-a }test", "a test"),
        ("${BAZ-a }test", "xxtest"),
        ("${NULL-a }test", "test"),
        ("${MEEP:-a }test", "a test"),
        ("${BAZ:-a }test", "xxtest"),
        ("${NULL:-a }test", "a test"),
        ("${MEEP+good }test", "test"),
        ("${BAZ+good }test", "good test"),
        ("${NULL+good }test", "good test"),
        ("${MEEP:+good }test", "test"),
        ("${BAZ:+good }test", "good test"),
        ("${NULL:+good }test", "test"),
        ("${$BAZ:-${$HOBBIT}}test", "frodotest"),
        ("this is a $ test", "this is a $ test"),
        ("ends with $", "ends with $"),
        ("$$FOO", "$frodo"),
        ("$1", "$1"),
        ("${}test", "$test"),
        ("${}FOO", "$FOO"),
        ("${MEEP:-}", ""),
        ("${MEEP-a:-b+c}", "a:-b+c"),
        ("${MEEP+$FOO}", ""),
    ],
)
def test_references_become_values(text: str, result: str) -> None:
    assert expand(text, ENV) == result


def test_a_value_is_not_expanded_again() -> None:
    assert expand("$DOLLAR ${DOLLAR} ${MEEP:-$DOLLAR}", ENV) == "$FOO $FOO $FOO"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("this is a $WIBBLE test", "Unknown parameter: WIBBLE"),
        ("this is a ${WIBBLE} test", "Unknown parameter: WIBBLE"),
        ("${$WIBBLE:-$FOO}", "Unknown parameter: WIBBLE"),
        ("${FOO:-$WIBBLE}", "Unknown parameter: WIBBLE"),
        ("${$}", "Unknown parameter: $"),
        ("${ }", "Unknown parameter:  "),
        ("${$FOO:!$BAR test", "Expected operator"),
        ("${FOO:!$BAR test", "Expected operator"),
        ("${FOO:", "Expected operator"),
        ("${FOO", "Mismatched braces"),
        ("${", "Mismatched braces"),
        ("this is a ${FOO:-$BAR test", "Mismatched braces"),
    ],
)
def test_what_cannot_be_expanded_says_why(text: str, message: str) -> None:
    with pytest.raises(ExpandError) as failure:
        expand(text, ENV)
    assert str(failure.value) == message


def test_nesting_without_end_is_an_error_not_a_crash() -> None:
    with pytest.raises(ExpandError):
        expand("${X:-" * 100_000, {})
    deep = "${X:-" * MAX_DEPTH + "y" + "}" * MAX_DEPTH
    assert expand(deep, {}) == "y"


@given(st.text(alphabet="${}:-+AB_ 1\x00\udc80"), st.dictionaries(st.sampled_from(["A", "B", "AB", "_"]), st.text()))
def test_any_text_gives_a_result_or_an_error(text: str, env: dict[str, str]) -> None:
    try:
        result = expand(text, env)
    except ExpandError:
        return
    if "$" not in text:
        assert result == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$" * (MAX_REFERENCES + 1), "Too long to be expanded"),
        ("$" + "A" * MAX_LENGTH, "Too long to be expanded"),
        ("$BIG$BIG", "Expansion too long"),
        ("${X:-${X:-$BIG}$BIG}", "Expansion too long"),
        ("$HUGE", "Expansion too long"),
    ],
)
def test_what_no_environment_would_take_is_not_put_together(text: str, message: str) -> None:
    with pytest.raises(ExpandError, match=message):
        expand(text, {"BIG": "x" * (MAX_LENGTH // 2 + 1), "HUGE": "x" * (MAX_LENGTH + 1)})


def test_what_an_environment_takes_is_put_together() -> None:
    assert expand("$A" * MAX_REFERENCES, {"A": "1"}) == "1" * MAX_REFERENCES
    assert len(expand("$A$A", {"A": "x" * (MAX_LENGTH // 2)})) == MAX_LENGTH
