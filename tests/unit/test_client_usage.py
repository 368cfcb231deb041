"""initctl's texts about itself, and how they are wrapped."""

from __future__ import annotations

import posix
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.initctl import usage
from upstart.initctl.main import COMMANDS, COMMON, run

real_screen_width = usage.screen_width


@given(st.text(alphabet="ab c\n", max_size=200), st.integers(3, 40), st.integers(0, 2))
def test_wrapped_lines_fit_and_lose_nothing_but_blanks(text: str, width: int, indent: int) -> None:
    lines = usage.wrap(text, width, indent)
    assert all(len(line) <= width for line in lines)
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", text)
    assert all(line.startswith(" " * indent) for line in lines[1:])


def test_a_line_is_broken_at_the_last_blank_that_fits_even_one_column_beyond() -> None:
    assert usage.wrap("aaa bbb ccc", 7) == ["aaa bbb", "ccc"]
    assert usage.wrap("aaa bbb ccc", 6) == ["aaa", "bbb", "ccc"]
    assert usage.wrap("aaaaaaaaaa b", 4) == ["aaaa", "aaaa", "aa b"]
    assert usage.wrap("a\n\nb c", 2, 1) == ["a", " ", " b", " c"]


@pytest.mark.parametrize(
    ("columns", "width"),
    [("", 80), ("0", 80), ("100", 100), (" +70", 70), ("60 ", 80), ("0x50", 80), ("-3", 1 << 31), ("1_0", 80)],
)
def test_columns_is_read_as_strtoul_reads_it(monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
    monkeypatch.setitem(posix.environ, b"COLUMNS", columns.encode())
    monkeypatch.setattr("posix.get_terminal_size", _no_terminal)
    assert real_screen_width() == width


def _no_terminal(descriptor: int) -> None:
    raise OSError(descriptor)


def output(capfd: pytest.CaptureFixture[str], *argv: str) -> str:
    assert run(list(argv)) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    return captured.out


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "screen_width", lambda: 80)


def test_version_is_what_puppet_and_ansible_look_for(capfd: pytest.CaptureFixture[str]) -> None:
    text = output(capfd, "/sbin/initctl", "--version")
    assert text.splitlines()[0] == "initctl (upstart 1.13.2)"
    assert re.search(r"initctl \(upstart ([^\)]*)\)", text)
    assert "for MERCHANTABILITY" in text


def test_help_of_the_program(capfd: pytest.CaptureFixture[str]) -> None:
    assert output(capfd, "initctl", "--help") == """\
Usage: initctl [OPTION]... COMMAND [OPTION]... [ARG]...

Options:
      --session               use existing D-Bus session bus to connect to init
                                daemon (for testing)
      --system                use D-Bus system bus to connect to init daemon
      --dest=NAME             destination well-known name on D-Bus bus
      --user                  run in user mode (as used for user sessions)
  -q, --quiet                 reduce output to errors only
  -v, --verbose               increase output to include informational messages
      --help                  display this help and exit
      --version               output version information and exit

For a list of commands, try `initctl help'.

Report bugs to <upstart-devel@lists.ubuntu.com>
"""


def test_help_of_a_command_by_either_way_of_calling_it(capfd: pytest.CaptureFixture[str]) -> None:
    as_argument = output(capfd, "initctl", "emit", "--help")
    as_name = output(capfd, "/usr/sbin/emit", "--help")
    assert as_argument.startswith("Usage: initctl emit [OPTION]... EVENT [KEY=VALUE]...\nEmit an event.\n\nOptions:\n")
    assert as_name.startswith("Usage: emit [OPTION]... EVENT [KEY=VALUE]...\nEmit an event.\n\nOptions:\n")
    assert as_name.splitlines()[1:] == as_argument.splitlines()[1:]
    assert "  -n, --no-wait               do not wait for event to finish before exiting\n" in as_argument


def test_the_list_of_commands_names_each_once_in_its_group(capfd: pytest.CaptureFixture[str]) -> None:
    text = output(capfd, "initctl", "help", "start")
    groups = re.findall(r"^(\w+) commands:$", text, re.M)
    assert groups == ["Job", "Event", "History", "Environment", "Other"]
    assert sorted(re.findall(r"^  (\S+)", text, re.M)) == sorted(COMMANDS)
    assert "  notify-cgroup-manager-address\n" + " " * 30 + "Inform Upstart of D-Bus address" in text


def test_every_command_and_option_is_described() -> None:
    assert set(usage.COMMANDS) == set(COMMANDS)
    for command, (_, _, own) in COMMANDS.items():
        for option in own + COMMON:
            known = command in usage.NO_WAIT if option.long == "no-wait" else option.long in usage.OPTIONS
            assert known or option.long == "debug"
