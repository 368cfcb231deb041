"""The manual tells the truth: pages format, links resolve, and what they list is what the programs know, both ways."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from manual import FOREIGN, KINDS, MAN, ROOT, events, examples, job_path, of_kind, pages, plain, with_kind
from upstart.conf.parse import parse_job
from upstart.conf.stanzas import LIMITS, STANZAS
from upstart.initctl.main import COMMANDS
from upstart.process.cgroupkeys import make_plan
from upstart.process.program import SHELL_CHARS

SBIN = ROOT / "build" / "sbin"
PAGES = sorted(path.name for path in MAN.iterdir())
TEXTS = pages()
LINKS = [page for page in PAGES if page not in TEXTS]

def source(page: str) -> str:
    """The text of a page, after its link if it is one."""
    text = (MAN / page).read_text()
    link = re.fullmatch(r"\.so man(\d)/(\S+\.\1)\n", text)
    return source(link[2]) if link else text


def words(line: str) -> str:
    """What a line of macros such as `.BR` prints: its arguments, joined without blanks between them."""
    arguments = re.findall(r'"((?:[^"]|"")*)"|(\S+)', line.partition(" ")[2])
    return plain("".join(quoted or bare for quoted, bare in arguments) if line[:3] != ".B " else line[3:])


def tags(text: str) -> list[str]:
    """The tags of all `.TP` paragraphs."""
    lines = text.splitlines()
    return [words(lines[n + 1]) for n, line in enumerate(lines[:-1]) if line == ".TP"]


def section(text: str, heading: str) -> str:
    found = re.search(rf"^\.S[HS] {heading}\n(.*?)(?=^\.S[HS] |\Z)", text, re.M | re.S)
    return found[1] if found else ""


def options_of(lines: list[str]) -> set[str]:
    return {option for line in lines for option in re.findall(r"(?<![\w=-])--?[A-Za-z][\w-]*", line)}


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}, stdin=subprocess.DEVNULL
    )


def help_options(*command: str) -> set[str]:
    """The options that `--help` lists, each in its short and long form."""
    result = run(SBIN / command[0], *command[1:], "--help")
    assert result.stdout and not result.stderr
    listed = [
        re.split(r"\s{2,}|\s:", line.strip())[0] for line in result.stdout.splitlines() if re.match(r"\s+-", line)
    ]
    return options_of(listed)


@pytest.mark.parametrize("page", TEXTS)
def test_page_formats_without_a_warning(page: str) -> None:
    result = run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", MAN / page, MANROFFSEQ="", LC_ALL="C.UTF-8")
    assert result.stdout
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("page", [page for page in TEXTS if "\n.TS\n" in source(page)])
def test_tables_fit_into_eighty_columns(page: str) -> None:
    result = run("man", "-E", "UTF-8", "-l", MAN / page, MANWIDTH="80", LC_ALL="C.UTF-8")
    rows = [line for line in result.stdout.splitlines() if re.match(r"\s*[┌├│└]", line)]
    assert rows
    assert max(map(len, rows)) <= 80


def test_every_page_is_named_in_a_name_section_that_can_be_indexed() -> None:
    result = run("lexgrog", *(MAN / page for page in TEXTS))
    assert result.returncode == 0, result.stdout
    indexed = set(re.findall(r'/([^/]*): "(.*?) - ', result.stdout))
    for page in PAGES:
        target = next(name for name in TEXTS if (MAN / name).read_text() == source(page))
        assert (target, page.rpartition(".")[0]) in indexed


def test_links_show_the_page_they_lead_to(tmp_path: Path) -> None:
    for page in PAGES:
        folder = tmp_path / f"man{page[-1]}"
        folder.mkdir(exist_ok=True)
        (folder / page).symlink_to(MAN / page)
    for page in LINKS:
        name, _, number = page.rpartition(".")
        target = (MAN / page).read_text().split("/")[1].strip()
        shown = [run("man", "-M", tmp_path, number, wanted) for wanted in (name, target.rpartition(".")[0])]
        assert shown[0].returncode == 0, shown[0].stderr
        assert shown[0].stdout == shown[1].stdout, page


@pytest.mark.parametrize("page", TEXTS)
def test_references_to_other_pages_resolve(page: str) -> None:
    found = references(page)
    assert found
    for reference in found - FOREIGN:
        assert (MAN / re.sub(r"\((.)\)", r".\1", reference)).exists(), reference


def references(page: str) -> set[str]:
    text = re.sub(r"^\.[BI]R (\S+) \((\d)\)", r"\1(\2)", plain(source(page)), flags=re.M)
    return set(re.findall(r"[\w-]+\(\d\)", text))


def test_every_page_is_referred_to_by_another() -> None:
    found = set().union(*(references(page) - {re.sub(r"\.(.)$", r"(\1)", page)} for page in TEXTS))
    assert found >= {re.sub(r"\.(.)$", r"(\1)", page) for page in TEXTS}


@pytest.mark.parametrize("page", TEXTS)
def test_examples_can_be_copied(page: str) -> None:
    """A bare hyphen, quote, tilde, hat or backtick may be printed as something a shell does not know."""
    for block in re.findall(r"^\.EX\n(.*?)^\.EE$", source(page), re.M | re.S):
        bare = re.sub(r"\\\(..|\\.", "", block)
        assert not re.search(r"[-'`^~]|^\.", bare, re.M), bare


@pytest.mark.parametrize("page", TEXTS)
def test_every_example_says_how_it_is_tried(page: str) -> None:
    """The tests of each kind find its examples by themselves: those of sessions, of machines, and those below."""
    for example in examples(page):
        assert example.kind in KINDS, example
        assert example.text.strip(), example


def test_every_page_has_an_example() -> None:
    assert [page for page in TEXTS if not examples(page)] == []


def test_every_kind_of_example_occurs() -> None:
    assert {example.kind for page in TEXTS for example in examples(page)} == set(KINDS)


@pytest.mark.parametrize("page", with_kind("job"))
def test_job_examples_are_valid(page: str, tmp_path: Path) -> None:
    for number, (_, _, _, text) in enumerate(of_kind("job", page)):
        # An override, as a file of its own, is a job of which it changes everything.
        name = Path(job_path(text) or f"example{number}.conf").with_suffix(".conf").name
        (tmp_path / name).write_text(text)
        checked = run(SBIN / "init-checkconf", tmp_path / name)
        assert (checked.returncode, checked.stdout) == (0, f"File {tmp_path / name}: syntax ok\n"), checked.stderr
        job = parse_job("example", text, page)
        for process in job.processes.values():
            checked = run("sh", "-n", "-c", process.command)
            assert checked.returncode == 0, checked.stderr
        if job.cgroups:
            make_plan(job.cgroups, job.name, "", {})


def test_job_examples_that_name_the_same_path_are_the_same() -> None:
    paths: dict[str, str] = {}
    for example in of_kind("job"):
        if path := job_path(example.text):
            assert paths.setdefault(path, example.text) == example.text
    assert paths


def test_characters_for_the_shell_are_listed() -> None:
    (example,) = of_kind("shell")
    assert sorted(example.text.split()) == sorted(SHELL_CHARS)


def test_every_stanza_has_its_entry_and_every_entry_its_stanza() -> None:
    entries = {tag.split()[0] for tag in tags(stanza_sections())}
    assert entries == set(STANZAS)


def stanza_sections() -> str:
    """The sections of init(5) whose tags on the outermost level are stanzas."""
    text = source("init.5")
    text = text[text.index("\n.SH PROCESSES\n") : text.index("\n.SH JOB LOGS\n")]
    return re.sub(r"^\.RS\n.*?^\.RE$", "", text, flags=re.M | re.S)


def test_every_stanza_is_shown_in_an_example() -> None:
    lines = [line for example in of_kind("job", "init.5") for line in example.text.splitlines()]
    shown = {line.split()[0] for line in lines if line.strip()}
    assert set(STANZAS) <= shown


def test_every_error_of_the_parser_is_listed() -> None:
    text = section(source("init.5"), "Errors").partition("The texts are:\n")[2]
    listed = {plain(found) for found in re.findall(r'^\.IR? "([^"]+)"', text, re.M)}
    code = "".join(path.read_text() for path in (ROOT / "src" / "upstart" / "conf").glob("*.py"))
    known = set(re.findall(r'(?:SyntaxProblem\(|^[A-Z_]+ = )"([A-Z][^"]+)"', code, re.M))
    assert listed
    assert listed == known


def test_every_limit_is_listed() -> None:
    text = source("init.5")
    entry = text[text.index("limit \\fIRESOURCE") : text.index("\n.B chroot ")]
    assert set(LIMITS) == set(re.findall(r"^\.BR? ([a-z]+)(?: [,;])?$", entry, re.M)) - {"unlimited"}


#: What is no part of the init itself has no options that are there for habit.
TOOLS = ("init-checkconf", "init-checkunits", "init-replay", "init-simulate", "initctl2dot", "upstart-monitor")
COMMAND_PAGES = [
    ("init", "init.8"),
    ("telinit", "telinit.8"),
    ("runlevel", "runlevel.8"),
    ("shutdown", "shutdown.8"),
    ("reboot", "reboot.8"),
    ("halt", "halt.8"),
    ("poweroff", "poweroff.8"),
    ("init-checkconf", "init-checkconf.8"),
    ("init-checkunits", "init-checkunits.8"),
    ("init-simulate", "init-simulate.8"),
    ("init-replay", "init-replay.8"),
    ("initctl2dot", "initctl2dot.8"),
    ("initctl", "initctl.8"),
    ("upstart-monitor", "upstart-monitor.8"),
    ("rcS", "rcS.8"),
    ("umountall", "umountall.8"),
    ("rc", "rc.8"),
    ("mountall", "mountall.8"),
    ("upstart-bridges", "upstart-bridges.8"),
    ("upstart-dbus-bridge", "upstart-dbus-bridge.8"),
    ("upstart-dconf-bridge", "upstart-dconf-bridge.8"),
    ("upstart-event-bridge", "upstart-event-bridge.8"),
    ("upstart-file-bridge", "upstart-file-bridge.8"),
    ("upstart-local-bridge", "upstart-local-bridge.8"),
    ("upstart-mount-bridge", "upstart-mount-bridge.8"),
    ("upstart-socket-bridge", "upstart-socket-bridge.8"),
    ("upstart-udev-bridge", "upstart-udev-bridge.8"),
]


def test_every_program_has_a_page_and_its_options_are_compared() -> None:
    programs = {program.name for program in SBIN.iterdir()}
    assert programs <= {page.rpartition(".")[0] for page in PAGES if page[-1] == "8"}
    assert programs == {program for program, _ in COMMAND_PAGES} | {*SHORT_FORMS, "upstart"}
    assert help_options("upstart") == help_options("init")


@pytest.mark.parametrize(("program", "page"), COMMAND_PAGES)
def test_options_of_help_and_page_are_the_same(program: str, page: str) -> None:
    text = re.split(r"^\.SS ", section(source(page), "OPTIONS"), flags=re.M)[0]
    documented = options_of(tags(text))
    assert "--help" in documented
    assert documented == help_options(program)


@pytest.mark.parametrize(("program", "page"), [each for each in COMMAND_PAGES if each[0] not in TOOLS])
def test_options_that_help_leaves_out_are_accepted(program: str, page: str) -> None:
    hidden = tags(section(source(page), "Options without an entry in the summary"))
    assert hidden
    for tag in hidden:
        for option in options_of([tag]):
            argument = ["1"] if re.search(rf"{option} [A-Z]", tag) else []
            result = run(SBIN / program, option, *argument, "--help")
            assert result.returncode == 0 and "Usage:" in result.stdout, (option, result.stderr)


def command_tags() -> dict[str, str]:
    """The tag of each command in initctl(8)."""
    text = re.sub(r"^\.RS\n.*?^\.RE$", "", section_of_commands(), flags=re.M | re.S)
    return {tag.split()[0]: tag for tag in tags(text)}


def options_below(command: str) -> set[str]:
    """The options with a paragraph of their own in the entry of a command, or above all entries of its section."""
    found: set[str] = set()
    common: set[str] = set()
    entry = ""
    for line in re.findall(r"^(\.SH|\.TP\n.*)", section_of_commands(), re.M):
        if line == ".SH":
            entry, common = "", set()
            continue
        tag = words(line.partition("\n")[2])
        if tag.startswith("-"):
            common |= options_of([tag]) if not entry else set()
            found |= options_of([tag]) if entry == command else set()
        else:
            entry = tag.split()[0]
            found |= common if entry == command else set()
    return found


def test_every_command_of_initctl_has_its_entry() -> None:
    assert set(command_tags()) == set(COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"help"}))
def test_options_of_a_command_are_in_its_entry(command: str) -> None:
    named = options_of([command_tags()[command].partition(" ")[2]])
    own = help_options("initctl", command) - help_options("initctl")
    pairs = {option.short or option.long: option for option in COMMANDS[command][2]}
    assert named == {f"-{name}" if len(name) == 1 else f"--{name}" for name in pairs}
    assert own == options_below(command)


def test_some_commands_have_options_of_their_own() -> None:
    assert options_below("set-env") == {"-g", "--global", "-r", "--retain"}
    assert options_below("reload") == set()


def section_of_commands() -> str:
    text = source("initctl.8")
    return text[text.index("\n.SH COMMANDS FOR JOBS\n") : text.index("\n.SH STATUS LINES\n")]


SHORT_FORMS = ["start", "stop", "restart", "reload", "status"]


@pytest.mark.parametrize("program", SHORT_FORMS)
def test_command_called_by_its_own_name_has_the_same_options(program: str) -> None:
    assert help_options(program) == help_options("initctl", program)


def test_every_environment_variable_of_ours_is_described() -> None:
    code = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    manual = "".join(plain(source(page)) for page in PAGES)
    assert set(re.findall(r"\bUPSTART_[A-Z_]+\b", code)) == set(re.findall(r"\bUPSTART_[A-Z_]+\b", manual))


def test_shipped_jobs_are_described_and_no_others() -> None:
    text = source("upstart-jobs.7")
    text = text[text.index("\n.SH DESCRIPTION\n") : text.index("\n.SH A JOB FOR A SERVICE\n")]
    text = re.sub(r"^\.RS\n.*?^\.RE$", "", text, flags=re.M | re.S)
    described = {name for tag in tags(text) for name in re.findall(r"\w[\w.-]*", tag)}
    shipped = {path.stem for path in (ROOT / "etc" / "init").glob("*.conf")}
    assert described == {name for name in shipped if not re.fullmatch("tty[2-5]", name)}


def test_every_event_with_a_page_has_it_and_every_page_of_an_event_is_one() -> None:
    rows = events()
    assert len(rows) > 40 and len({row.name for row in rows}) == len(rows)
    named = {f"{row.name}.7" for row in rows if row.has_page}
    assert named <= set(PAGES)
    assert {page for page in PAGES if re.search(r" \\- events? ", name_line(page))} == named


def name_line(page: str) -> str:
    return source(page).partition("\n.SH NAME\n")[2].partition("\n")[0]


@pytest.mark.parametrize("event", [row.name for row in events() if row.has_page])
def test_the_page_of_an_event_has_the_variables_of_the_table(event: str) -> None:
    row = next(each for each in events() if each.name == event)
    synopsis = plain(section(source(f"{event}.7"), "SYNOPSIS"))
    # Of several events on one page, its own line.
    (line,) = re.findall(rf"^\.B {re.escape(event)}\n(.*?)(?=^\.br$|\Z)", synopsis, re.M | re.S)
    same = re.search(r"as for ([a-z-]+)", row.text)
    text = row.text + next((f" {each.text}" for each in events() if same and each.name == same[1]), "")
    assert set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*(?==)", line)) - {"KEY"} == set(re.findall(r"\b[A-Z_]{3,}\b", text)) - {
        "SIGPWR"}


@pytest.mark.parametrize("event", [row.name for row in events() if row.has_page])
def test_the_page_of_an_event_says_whether_anybody_waits(event: str) -> None:
    row = next(each for each in events() if each.name == event)
    text = plain(section(source(f"{event}.7"), "DESCRIPTION"))
    waits = re.search(r"\bwaits(:| until| till)\s", text) is not None
    if row.kind == "hook":
        assert waits
    elif row.title in ("Events of file systems", "Events of the network") or event in ("boot-waits", "container"):
        assert re.search(r"Nobody\s+waits|(?:does|do)\s+not\s+wait", text)
