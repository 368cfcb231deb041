"""The local bridge's pure part: what clients say, as events, and what they may not say."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.base.errors import UsageError
from upstart.bridges.kinds import find
from upstart.bridges.localpairs import LONGEST, OURS, Pairs, Rules
from upstart.bridges.localsocket import wanted_of
from upstart.bridges.program import settings_of

US, OTHER = 1000, 1001
RULES = Rules(US, any_user=True)


def said(*data: bytes, uid: int = US, several: bool = False, rules: Rules = RULES) -> list[dict[str, str] | str]:
    pairs = Pairs(rules, uid, several)
    found = [each for chunk in data for each in pairs.feed(chunk)]
    return [problem or env for env, problem in [*found, *pairs.end()]]


@pytest.mark.parametrize(
    ("data", "events"),
    [
        ([b"A=1\nB=2\n"], [{"A": "1"}, {"B": "2"}]),
        ([b"A=", b"1\n", b"B", b"=2"], [{"A": "1"}, {"B": "2"}]),
        ([b"A=1\r\n\r\n\n"], [{"A": "1"}]),
        ([b"A=b=c\nro.build.id=\n"], [{"A": "b=c"}, {"ro.build.id": ""}]),
        ([b"A=\xff\x01\tx\n"], [{"A": "\\xff\\x01\tx"}]),
        ([b"junk\n=x\nA=1\n"], ["Not KEY=VALUE: junk", "Not KEY=VALUE: =x", {"A": "1"}]),
        ([b"A B=1\n"], ["Not KEY=VALUE: A B=1"]),
    ],
)
def test_each_line_is_an_event(data: list[bytes], events: list[dict[str, str] | str]) -> None:
    assert said(*data) == events


def test_pairs_up_to_a_blank_line_are_one_event_where_that_is_wanted() -> None:
    assert said(b"A=1\nB=2\n\nC=3\r\n\r", b"\nD=4", several=True) == [{"A": "1", "B": "2"}, {"C": "3"}, {"D": "4"}]
    # One that is refused in part is refused whole.
    assert said(b"A=1\nCLIENT_UID=0\nB=2\n\nC=3\n\n", several=True) == ["Not to be set: CLIENT_UID", {"C": "3"}]


def test_a_packet_is_an_event() -> None:
    pairs = Pairs(RULES, US, False)
    assert list(pairs.packet(b"A=1\nB=2")) == [({"A": "1", "B": "2"}, "")] and list(pairs.packet(b"")) == []


@pytest.mark.parametrize("variable", [*OURS, "UPSTART_JOB", "UPSTART_FDS", "LISTEN_PID"])
def test_nobody_sets_who_it_is_or_what_is_inits(variable: str) -> None:
    assert said(f"{variable}=1\n".encode()) == [f"Not to be set: {variable}"]


@pytest.mark.parametrize("variable", ["PATH", "LD_PRELOAD", "BASH_ENV", "ENV", "IFS", "PYTHONPATH", "HOME", "PERL5LIB"])
def test_others_lead_no_program_elsewhere(variable: str) -> None:
    assert said(f"{variable}=/tmp\n".encode(), uid=OTHER) == [f"Not to be set: {variable}"]
    assert said(f"{variable}=/tmp\n".encode(), uid=US) == [{variable: "/tmp"}]


def test_with_patterns_nothing_else_is_set_by_anybody() -> None:
    rules = Rules(US, allowed=["A*", "PATH"])
    assert said(b"A=1\nAB=2\nB=3\n", rules=rules) == [{"A": "1"}, {"AB": "2"}, "Not to be set: B"]
    assert said(b"PATH=/tmp\n", rules=rules, uid=OTHER) == ["Not to be set: PATH"]


def test_who_may_speak() -> None:
    assert Rules(US).admits(US, ()) and not Rules(US).admits(0, (0,)) and Rules(US, any_user=True).admits(OTHER, ())
    rules = Rules(US, group=50)
    assert rules.admits(OTHER, (7, 50)) and not rules.admits(OTHER, (7,)) and not Rules(US).admits(OTHER, (-1,))


@pytest.mark.parametrize("several", [False, True])
def test_what_is_too_long_is_told_once_and_not_kept(several: bool) -> None:
    pairs = Pairs(RULES, US, several)
    found = [problem for _ in range(20) for _, problem in pairs.feed(b"A=" + b"x" * 4000)]
    assert found == [f"Longer than {LONGEST} bytes"] and pairs.too_long
    assert next(Pairs(RULES, US, several).packet(b"A=" + b"x" * LONGEST))[1] == f"Longer than {LONGEST} bytes"
    (longest,) = Pairs(RULES, US, several).packet(b"A=" + b"x" * (LONGEST - 2))
    assert len(longest[0]["A"]) == LONGEST - 2


@given(
    st.lists(st.binary(max_size=12) | st.sampled_from([b"A=1\n", b"\n", b"CLIENT_PID=1\r\n", b"=", b"X"])),
    st.booleans(),
)
def test_where_what_is_said_is_cut_makes_no_difference(chunks: list[bytes], several: bool) -> None:
    whole = said(b"".join(chunks), several=several, uid=OTHER)
    assert said(*chunks, several=several, uid=OTHER) == whole
    for event in whole:
        assert not isinstance(event, dict) or (event and not set(event) & set(OURS))


def test_options_say_what_socket_there_is() -> None:
    def wanted(*words: str) -> tuple[str, int | None, str]:
        made = wanted_of(settings_of(find("local"), ["--event=e", *words]))
        return made.proto, made.mode, made.group

    assert wanted("--path=/run/x") == ("unix", 0o600, "")
    assert wanted("--path=/run/x", "--any-user", "--type=seqpacket") == ("unix-seqpacket", 0o666, "")
    assert wanted("--path=/run/x", "--group=5") == ("unix", 0o660, "5")
    assert wanted("--path=@x", "--type", "datagram", "--group=5") == ("unix-dgram", None, "5")


@pytest.mark.parametrize(
    "words",
    [["--event=e"], ["--path=/x"], ["--event=e", "--path=x"], ["--event=e", "--path=/x", "--mode=9"],
     ["--event=e", "--path=/x", "--type=udp"], ["--event=e", "--path=/" + "x" * 108]],
)  # fmt: skip
def test_what_cannot_be_is_an_error_of_usage(words: list[str]) -> None:
    with pytest.raises(UsageError):
        settings_of(find("local"), words)


def test_settings_that_are_lists_are_each_bridges_own() -> None:
    first = settings_of(find("local"), ["--event=e", "--path=/x", "--allow=A", "--allow=B"])
    second = settings_of(find("local"), ["--event=e", "--path=/x"])
    assert (vars_of(first).allow, vars_of(second).allow) == (["A", "B"], [])


def vars_of(settings: object) -> SimpleNamespace:
    return SimpleNamespace(**vars(settings))
