"""init-checkconf: what it says of job files, and its command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from upstart.tools.checkconf import main, parse_options

MORE = "Try `init-checkconf --help' for more information.\n"


class Command:
    """The command, run in a directory of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run it: status, output and errors."""
        status = main(["/usr/bin/init-checkconf", *arguments])
        output, errors = self.capsys.readouterr()
        return status, output, errors


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    Path("ok.conf").write_text("task\npre-start script\n  echo\nend script\nexec true\n")
    Path("bad.conf").write_text("task\nbad\n")
    return Command(capsys)


def test_a_valid_file_is_ok(command: Command, tmp_path: Path) -> None:
    assert command("ok.conf") == (0, "File ok.conf: syntax ok\n", "")
    assert command("-f", "ok.conf") == (0, "File ok.conf: syntax ok\n", "")
    path = str(tmp_path / "ok.conf")
    assert command("--file=" + path) == (0, f"File {path}: syntax ok\n", "")


def test_an_invalid_file_is_told_with_the_line(command: Command) -> None:
    expected = "ERROR: File ./bad.conf: syntax invalid:\nupstart:bad.conf:2: Unknown stanza\n"
    assert command("./bad.conf") == (1, "", expected)


def test_the_name_of_the_program_begins_the_messages(command: Command) -> None:
    init = Path("init")
    init.write_text("")
    init.chmod(0o755)
    status, _, errors = command("-x", "./init", "bad.conf")
    assert (status, errors) == (1, "ERROR: File bad.conf: syntax invalid:\ninit:bad.conf:2: Unknown stanza\n")


@pytest.mark.parametrize("section", ["pre-start script", "post-start script", "script", "pre-stop script"])
def test_each_script_is_read_by_the_shell(command: Command, section: str) -> None:
    Path("sh.conf").write_text(f"start on (a or b)\n{section}\n  if true; then\n    echo\nend script\n")
    status, output, errors = command("sh.conf")
    name = section.removesuffix(" script")
    assert (status, output) == (1, "")
    assert errors.startswith(f"ERROR: File sh.conf: shell syntax invalid in {name} section:\n/bin/sh: 5: ")
    assert command("--noscript", "sh.conf") == (0, "File sh.conf: syntax ok\n", "")


def test_each_of_several_files_is_checked(command: Command) -> None:
    invalid = "ERROR: File bad.conf: syntax invalid:\nupstart:bad.conf:2: Unknown stanza\n"
    assert command("ok.conf", "./ok.conf") == (0, "File ok.conf: syntax ok\nFile ./ok.conf: syntax ok\n", "")
    assert command("bad.conf", "ok.conf") == (1, "File ok.conf: syntax ok\n", invalid)
    assert command("-f", "ok.conf", "bad.conf") == (0, "File ok.conf: syntax ok\n", "")


def test_an_override_is_checked_by_itself(command: Command) -> None:
    Path("ok.override").write_text("manual\nenv A=b\n")
    assert command("ok.override") == (0, "File ok.override: syntax ok\n", "")
    Path("ok.override").write_text("start on\n")
    invalid = "ERROR: File ok.override: syntax invalid:\nupstart:ok.override:1: Expected token\n"
    assert command("ok.override") == (1, "", invalid)


def test_other_stanzas_are_not_taken_for_shell(command: Command) -> None:
    Path("mix.conf").write_text("pre-start exec foo\nstart on (a or b)\nscript\n echo\nend script\n")
    assert command("mix.conf") == (0, "File mix.conf: syntax ok\n", "")


@pytest.mark.parametrize(
    ("arguments", "errors"),
    [
        ([], "ERROR: Must specify configuration file\n"),
        (["none.conf"], "ERROR: File none.conf does not exist\n"),
        (["ok.txt"], "ERROR: File must end in .conf or .override\n"),
        (["-x", "none", "ok.conf"], "ERROR: Path none does not exist\n"),
        (["-i", "ok.conf", "ok.conf"], "ERROR: File ok.conf not executable\n"),
        (["--foo"], "init-checkconf: unrecognized option '--foo'\n" + MORE),
        (["-f"], "init-checkconf: option requires an argument -- 'f'\n" + MORE),
    ],
)
def test_what_cannot_be_checked_says_why(command: Command, arguments: list[str], errors: str) -> None:
    Path("ok.txt").write_text("")
    assert command(*arguments) == (1, "", errors)


def test_help_shows_the_options(command: Command) -> None:
    status, output, errors = command("--help")
    assert (status, errors) == (1, "")
    assert output.startswith("Description: Determine if specified Upstart (init(8)) job configuration\n")
    assert "init-checkconf [options] -f <conf_file>" in output
    assert "init-checkconf [options]    <package>..." in output
    assert "(default=/sbin/upstart)" in output


def test_a_file_of_odd_bytes_is_no_trouble(command: Command) -> None:
    Path("odd.conf").write_bytes(b"script\n echo '\xff\x00'\nend script\nenv \xfe=\xff\n")
    assert command("odd.conf")[0] == 1


@pytest.mark.parametrize("text", ["", "\n \n", "# only\n# comments\n", "# no end of line"])
def test_a_file_without_a_stanza_is_valid(command: Command, text: str) -> None:
    Path("jobs").mkdir()
    Path("jobs/none.conf").write_text(text)
    ok = (0, "File jobs/none.conf: syntax ok\n", "")
    assert command("jobs/none.conf") == ok
    assert command("jobs") == ok


@pytest.mark.parametrize(
    ("arguments", "given", "operands", "complaints"),
    [
        (["a", "-d", "b"], {"debug": ""}, ["a", "b"], []),
        (["--", "-d"], {}, ["-d"], []),
        (["-dsf", "x"], {"debug": "", "noscript": "", "file": "x"}, [], []),
        (["-fx"], {"file": "x"}, [], []),
        (["-noscript", "--deb", "-fil", "x"], {"noscript": "", "debug": "", "file": "x"}, [], []),
        (["-n"], {"noscript": ""}, [], []),
        (["--file"], {}, [], ["option '--file' requires an argument"]),
        (["--help=x"], {}, [], ["option '--help' doesn't allow an argument"]),
        (["-z"], {}, [], ["unrecognized option '-z'"]),
        (["-dz"], {"debug": ""}, [], ["invalid option -- 'z'"]),
        (["-"], {}, ["-"], []),
        (["--json", "--sar"], {"json": "", "sarif": ""}, [], ["options '--json' and '--sarif' exclude each other"]),
    ],
)
def test_options_are_read_as_getopt_does(
    arguments: list[str], given: dict[str, str], operands: list[str], complaints: list[str]
) -> None:
    options = parse_options(arguments)
    assert (options.given, options.operands, options.complaints) == (given, operands, complaints)


@pytest.mark.parametrize(
    "text, line, said",
    [
        ("start on socket PROTO=inet PORT=99999\n", 1, "start on socket: PORT=99999: not from 1 to 65535"),
        ("# PORT=99999\nstop on (x or\n  socket PROTO=inet\n    PORT=99999)\n", 4, "stop on socket: PORT=99999: not"),
        ("task\nstart on (a\n  or socket PROTO=sctp PORT=1)\n", 3, "start on socket: PROTO=sctp: unknown; it is"),
        ("start on (socket PROTO=tcp PORT=80\n or socket PORT=81)\n", 1, "start on socket: PROTO is missing"),
        ("start on socket PROTO=unix PATH=/x \\\n MODE=9\n", 2, "start on socket: MODE=9: not three octal digits"),
        ("start on socket PROTO=unix \"PATH=x\"\n", 1, "start on socket: PATH=x: not absolute"),
        ("start on socket PROTO=tcp PORT=80 ACCEPT=y\n", 1, "start on socket: ACCEPT=y: each connection needs an"),
        ("instance $X\nstop on socket PROTO=tcp PORT=80 ACCEPT=y\n", 2, "stop on socket: ACCEPT=y: not for stop on"),
    ],
)
def test_words_of_sockets_are_looked_at(command: Command, text: str, line: int, said: str) -> None:
    Path("s.conf").write_text(text + "exec true\n")
    assert f"WARNING: File s.conf:{line}: {said}" in command("s.conf")[2]


def test_sockets_that_there_can_be_are_valid(command: Command) -> None:
    text = "instance $CONNECTION\nstart on socket PROTO=tcp PORT=ssh ACCEPT=y REMOTE_ADDR=10.*\nexec true\n"
    Path("s.conf").write_text(text)
    assert command("s.conf") == (0, "File s.conf: syntax ok\n", "")
