"""Command lines mean what they mean to the original's programs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.base.errors import UsageError
from upstart.base.options import Option, ShowHelp, ShowVersion, parse
from upstart.initctl.context import ERROR, INFO, Settings, words_of
from upstart.initctl.main import COMMANDS, COMMON, NO_WAIT

OPTIONS = NO_WAIT + COMMON
VALUE = Option("i", "ignore-events", "ignored", argument="EVENT_LIST")


def parsed(line: str, *, command: bool = False, extra: tuple[Option, ...] = ()) -> tuple[list[str], Settings]:
    settings = Settings()
    return parse(["initctl", *line.split()], extra + OPTIONS, settings, stop_at_argument=command), settings


def test_options_and_arguments_may_be_mixed() -> None:
    args, settings = parsed("job -n A=1 --quiet B=2")
    assert args == ["job", "A=1", "B=2"]
    assert settings.no_wait and settings.priority == ERROR


def test_short_options_cluster() -> None:
    args, settings = parsed("-nv job")
    assert args == ["job"]
    assert settings.no_wait and settings.priority == INFO


def test_the_last_of_contradicting_options_wins() -> None:
    assert parsed("-qv")[1].priority == INFO
    assert parsed("-vq")[1].priority == ERROR
    assert parsed("--session --system")[1].bus == "system"


@pytest.mark.parametrize("word", ["--no", "--no-wai", "--vers", "--no-waits", "--=x", "--debugging"])
def test_long_options_are_never_abbreviated(word: str) -> None:
    with pytest.raises(UsageError, match=f"^invalid option: {word}$"):
        parsed(word)


def test_errors_name_what_was_wrong() -> None:
    for line, text in [
        ("-x", "invalid option: -x"),
        ("-nxv", "invalid option: -x"),
        ("--nope=3", "invalid option: --nope=3"),
        ("--no-wait=3", "unexpected argument: --no-wait=3"),
        ("--help=3", "unexpected argument: --help=3"),
        ("job --dest", "missing argument: --dest"),
        ("--dest -q", "missing argument: --dest"),
        ("job --dest -5", "missing argument: --dest; -5 is taken for an option"),
    ]:
        with pytest.raises(UsageError) as caught:
            parsed(line)
        assert str(caught.value) == text


def test_a_value_may_be_attached_or_be_the_next_argument_that_is_no_option() -> None:
    assert parsed("--dest=com.example job")[1].dest == "com.example"
    args, settings = parsed("--dest -q com.example job")
    assert (args, settings.dest, settings.priority) == (["job"], "com.example", ERROR)
    assert parsed("--dest= job")[1].dest == ""


def test_a_short_option_takes_the_rest_of_its_cluster_only_if_it_is_first() -> None:
    assert parsed("-ia,b", extra=(VALUE,))[1].ignored == ["a,b"]
    args, settings = parsed("-ni a,b job", extra=(VALUE,))
    assert (args, settings.ignored, settings.no_wait) == (["job"], ["a,b"], True)


def test_two_options_in_one_cluster_take_two_arguments() -> None:
    args, settings = parsed("-i a -i b c", extra=(VALUE,))
    assert (args, settings.ignored) == (["c"], ["a", "b"])


def test_nothing_is_an_option_after_two_dashes() -> None:
    args, settings = parsed("-n -- -q --help -")
    assert (args, settings.no_wait) == (["-q", "--help", "-"], True)
    args, settings = parsed("--dest -- -q")
    assert (args, settings.dest) == ([], "-q")


def test_a_single_dash_and_an_empty_word_are_arguments() -> None:
    assert parse(["x", "-", ""], OPTIONS, Settings()) == ["-", ""]


def test_a_program_with_commands_leaves_what_follows_the_command_alone() -> None:
    args, settings = parsed("-q start -n --nope", command=True)
    assert (args, settings.priority, settings.no_wait) == (["start", "-n", "--nope"], ERROR, False)
    assert parsed("--dest start stop -x", command=True)[0] == ["stop", "-x"]


def test_help_and_version_act_before_errors_that_follow_and_not_before_those_that_precede() -> None:
    with pytest.raises(ShowHelp):
        parsed("job --help --nope")
    with pytest.raises(ShowVersion):
        parsed("-q --version --help")
    with pytest.raises(UsageError):
        parsed("--nope --help")


@given(st.lists(st.sampled_from(["-n", "-q", "-nv", "--dest", "--dest=a", "--", "-", "job", "A=1", "-vn", "--user"])))
def test_every_word_is_an_option_or_an_argument_or_a_value_and_order_is_kept(words: list[str]) -> None:
    settings = Settings()
    try:
        args = parse(["initctl", *words], OPTIONS, settings)
    except UsageError as error:
        assert str(error) == "missing argument: --dest"
        return
    remaining = iter(words)
    assert all(word in remaining for word in args)
    assert len(args) <= len(words)


def test_every_command_has_its_own_long_and_short_options_once() -> None:
    for _, _, own in COMMANDS.values():
        options = own + COMMON
        longs = [option.long for option in options]
        shorts = [option.short for option in options if option.short]
        assert len(set(longs)) == len(longs) and len(set(shorts)) == len(shorts)
        for option in options:
            assert option.long in ("help", "version") or option.target in Settings.__slots__


def test_in_a_locale_of_another_encoding_the_bytes_go_to_init(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "iso8859-1")
    assert words_of(["é".encode().decode("latin-1"), "\xe9"]) == ["é", "\udce9"]
