"""The command line of init."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.base.errors import UsageError
from upstart.base.priority import DEBUG, ERROR, INFO, MESSAGE
from upstart.daemon.options import help_text, parse


def test_without_options() -> None:
    options = parse(["/sbin/init"], {}, False)
    assert (options.program, options.confdirs, options.logdir) == ("init", ["/etc/init"], "/var/log/upstart")
    assert options.system and options.dbus and options.startup and options.job_logging and options.cgroups
    assert (options.priority, options.default_console, options.startup_event) == (MESSAGE, "log", None)
    assert not options.inherit_env and not options.chroot_sessions


def test_every_option() -> None:
    words = [
        "--append-confdir", "/a", "--append-confdir=/b", "--prepend-confdir", "/c", "--confdir", "/d",
        "--confdir", "/e",
        "--chroot-sessions", "--default-console", "output", "--logdir", "/l", "--no-cgroups", "--no-dbus",
        "--no-inherit-env", "--no-log", "--no-startup-event", "--restart", "--state-fd", "7", "--session",
        "--startup-event", "other", "--user", "--write-state-file", "-q", "-v", "--debug",
    ]  # fmt: skip
    options = parse(["upstart", *words], {}, False)
    assert (options.append_confdirs, options.prepend_confdirs, options.confdirs) == (["/a", "/b"], ["/c"], ["/d", "/e"])
    assert (options.default_console, options.logdir, options.state_fd, options.startup_event) == (
        "output",
        "/l",
        7,
        "other",
    )
    assert options.chroot_sessions and options.restart and options.session_bus and options.user
    assert options.write_state_file and not options.system
    assert not (options.cgroups or options.dbus or options.inherit_env or options.job_logging or options.startup)
    assert options.priority == DEBUG
    assert options.version == "upstart (upstart 1.13.2)"


@pytest.mark.parametrize(
    ("words", "priority"),
    [(["-q"], ERROR), (["--quiet"], ERROR), (["-v"], INFO), (["--verbose", "--quiet"], ERROR), (["-qv"], INFO)],
)
def test_the_last_of_several_priorities_counts(words: list[str], priority: int) -> None:
    assert parse(["init", *words], {}, False).priority == priority


def test_variables_of_the_environment() -> None:
    environ = {
        "UPSTART_CONFDIR": "/c",
        "UPSTART_LOGDIR": "/l",
        "UPSTART_WRITE_STATEFILE": "",
        "UPSTART_NO_SESSIONS": "1",
    }
    options = parse(["init", "--chroot-sessions"], environ, False)
    assert (options.confdirs, options.logdir, options.write_state_file) == (["/c"], "/l", True)
    assert not options.chroot_sessions
    assert parse(["init", "--confdir", "/x", "--logdir=/y"], environ, False).confdirs == ["/x"]
    assert not parse(["init"], {"UPSTART_USE_SESSION_BUS": "1"}, False).system


def test_what_the_kernel_hands_over_keeps_pid_1_from_nothing() -> None:
    options = parse(["init", "quiet", "splash", "--unknown", "-z", "-b", "--", "--user", "single"], {}, True)
    assert options.system
    assert options.problems == ["init: invalid option: --unknown", "init: invalid option: -z"]
    # What jobs look for on the kernel's command line is no mistake.
    assert not parse(["init", "-s", "-b", "single"], {}, True).problems


@pytest.mark.parametrize("words", [["--user", "--nope"], ["--nope", "--session"], ["-vz", "--user"], ["--user", "-s"]])
def test_an_unknown_option_is_an_error_for_a_session(words: list[str]) -> None:
    with pytest.raises(UsageError, match=r"^upstart: invalid option: -(-nope|z|s)\nTry `upstart --help' for more"):
        parse(["upstart", *words], {}, False)


def test_an_unknown_option_is_no_error_where_it_was_none_before() -> None:
    # What was started with it by an earlier version goes on at a re-exec, and telinit has options of its own.
    options = parse(["upstart", "--user", "--nope", "--restart", "--state-fd=7"], {}, False)
    assert options.problems == ["upstart: invalid option: --nope"]
    assert not parse(["init", "-e", "A", "--nope", "2"], {}, False).problems
    assert parse(["upstart", "--user", "--nope", "--help"], {}, False).show == "help"


def test_values_are_the_next_words_that_are_no_options() -> None:
    options = parse(["init", "--confdir", "--user", "/c", "3"], {}, False)
    assert (options.confdirs, options.user) == (["/c"], True)


@pytest.mark.parametrize(
    "words", [["--confdir"], ["--x=1"], ["--user=1"], ["--default-console", "y"], ["--state-fd", "x"]]
)
def test_only_pid_1_goes_on_with_a_wrong_command_line(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(["init", *words], {}, False)
    assert len(parse(["init", *words], {}, True).problems) == 1


@given(st.lists(st.sampled_from(["--user", "--confdir", "--", "-v", "-", "--x=1", "--state-fd=", "3", "--help", ""])))
def test_pid_1_takes_any_command_line(words: list[str]) -> None:
    parse(["init", *words], {}, True)


def test_the_help_fits_its_width() -> None:
    text = help_text("init")
    assert text.startswith("Usage: init [OPTION]...\nProcess management daemon.\n\nOptions:\n")
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "      --append-confdir=DIR    specify additional directory to load\n" in text


def test_the_word_recovery_is_a_first_event_for_process_1_alone() -> None:
    assert parse(["init", "recovery", "quiet"], {}, True).startup_event == "recovery"
    assert parse(["init", "quiet", "--", "recovery"], {}, True).startup_event == "recovery"
    assert parse(["init", "recovery", "--startup-event", "other"], {}, True).startup_event == "other"
    assert parse(["init", "recovery"], {}, False).startup_event is None
