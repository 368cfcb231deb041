"""Every stanza of init(5): what it gives, and what is said where it is wrong."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstart.conf.condition import condition_to_rpn
from upstart.conf.jobclass import JobClass
from upstart.conf.parse import ParseError, decode, parse_job, parse_no_job
from upstart.conf.stanzas import STANZAS

DATA = Path(__file__).parent.parent / "data" / "jobs"


def parse(text: str, base: JobClass | None = None) -> JobClass:
    return parse_job("test", text, "test.conf", base=base)


def processes(job: JobClass) -> dict[str, tuple[str, bool]]:
    return {name: (process.command, process.script) for name, process in job.processes.items()}


def test_an_empty_file_is_a_job_with_the_defaults() -> None:
    for text in ("", "\n", "# nothing", "  \t\r\n # nothing\n\n"):
        job = parse(text)
        assert (job.name, job.source, job.session) == ("test", "test.conf", None)
        assert vars(job) == {"name": "test", "source": "test.conf", "processes": {}}
        assert (job.respawn_limit, job.respawn_interval, job.kill_timeout) == (10, 5, 5)
        assert (job.kill_signal, job.reload_signal, job.umask) == (15, 1, 0o022)
        assert job.kill_mode == "session"
        assert all(hasattr(job, name) for name in JobClass.__annotations__)
        for name in ("console", "nice", "oom_score_adj", "apparmor_switch", "chroot", "chdir", "setuid", "setgid"):
            assert getattr(job, name) is None
        assert (job.limits, job.cgroups, job.debug, job.task, job.respawn) == ({}, (), False, False, False)


VALUES: list[tuple[str, str, Any]] = [
    ("description foo", "description", "foo"),
    ('description "foo   bar"  # comment', "description", "foo   bar"),
    ("description 'it has \"quotes\"'", "description", 'it has "quotes"'),
    ('description "two\n  lines"', "description", "two lines"),
    ('description "two \\\n  lines"', "description", "two lines"),
    ('description ""foo', "description", "foo"),
    ('description f"o o"o', "description", "fo oo"),
    ("description foo\\ bar", "description", "foo bar"),
    ("description foo\\\\bar", "description", "foo\\bar"),
    ("description foo\\bar", "description", "foo\\bar"),
    ('description "say \\bar"', "description", "say \\bar"),
    ('description "\\"foo\\""', "description", '\\"foo\\"'),
    ("description foo#bar", "description", "foo"),
    ("description \\\n   foo", "description", "foo"),
    ("description foo\\\nbar", "description", "foo bar"),
    ("description héllo", "description", "héllo"),
    ("description one\ndescription two", "description", "two"),
    ("author me", "author", "me"),
    ("version 1", "version", "1"),
    ("usage 'X=1'", "usage", "X=1"),
    ("instance $TTY", "instance", "$TTY"),
    ('instance "$A-${B:-c d}"', "instance", "$A-${B:-c d}"),
    ("env FOO=bar", "env", ("FOO=bar",)),
    ("env FOO", "env", ("FOO",)),
    ('env FOO="bar baz"\nenv "BAR=a b"', "env", ("FOO=bar baz", "BAR=a b")),
    ("env A=1\nenv A=2", "env", ("A=1", "A=2")),
    ("export FOO", "export", ("FOO",)),
    ("export FOO BAR\nexport BAZ", "export", ("FOO", "BAR", "BAZ")),
    ("emits foo bar # and", "emits", ("foo", "bar")),
    ("expect fork", "expect", "fork"),
    ("expect daemon\nexpect none", "expect", "none"),
    ("expect stop", "expect", "stop"),
    ("task", "task", True),
    ("respawn", "respawn", True),
    ("respawn # and", "respawn", True),
    ("respawn limit 7 30", "respawn_limit", 7),
    ("respawn limit 7 30", "respawn_interval", 30),
    ("respawn limit 7 30", "respawn", False),
    ("respawn limit unlimited", "respawn_limit", 0),
    ("respawn limit unlimited", "respawn_interval", 0),
    ("normal exit 0 99 TERM SIGHUP", "normal_exit", (0, 99, 15 << 8, 1 << 8)),
    ("normal exit 1\nnormal exit 2", "normal_exit", (1, 2)),
    ("kill timeout 30", "kill_timeout", 30),
    ("kill signal SIGPWR", "kill_signal", 30),
    ("kill signal INT", "kill_signal", 2),
    ("kill signal POLL", "kill_signal", 29),
    ("kill signal 9", "kill_signal", 9),
    ("kill mode process", "kill_mode", "process"),
    ("kill mode group", "kill_mode", "group"),
    ("kill mode all\nkill mode session # as by default", "kill_mode", "session"),
    ("kill mode all", "kill_mode", "all"),
    ("reload signal 0", "reload_signal", 0),
    ("reload signal USR1", "reload_signal", 10),
    ("console none", "console", "none"),
    ("console log", "console", "log"),
    ("console output", "console", "output"),
    ("console owner", "console", "owner"),
    ("umask 0155", "umask", 0o155),
    ("umask 0", "umask", 0),
    ("nice -20", "nice", -20),
    ("nice +5", "nice", 5),
    ("oom -17", "oom_score_adj", -1000),
    ("oom -16", "oom_score_adj", -941),
    ("oom 10", "oom_score_adj", 666),
    ("oom 15", "oom_score_adj", 1000),
    ("oom never", "oom_score_adj", -1000),
    ("oom score -1000", "oom_score_adj", -1000),
    ("oom score 500", "oom_score_adj", 500),
    ("oom score never", "oom_score_adj", -1000),
    ("limit nofile 1024 unlimited", "limits", {"nofile": (1024, -1)}),
    ("limit core 0 0\nlimit as 1 2\nlimit core 3 4", "limits", {"core": (3, 4), "as": (1, 2)}),
    ("limit rttime 5 6", "limits", {"rttime": (5, 6)}),
    ("limit nice -10 -10", "limits", {"nice": (-10, -10)}),
    ("chroot /jail", "chroot", "/jail"),
    ("chdir /tmp", "chdir", "/tmp"),
    ("setuid nobody", "setuid", "nobody"),
    ("setgid nogroup", "setgid", "nogroup"),
    ("apparmor switch /usr/bin/foo", "apparmor_switch", "/usr/bin/foo"),
    ("cgroup cpu", "cgroups", (("cpu", None, None, None),)),
    ("cgroup cpu name", "cgroups", (("cpu", "name", None, None),)),
    ("cgroup memory limit_in_bytes 5", "cgroups", (("memory", None, "limit_in_bytes", "5"),)),
    ("cgroup memory name key value", "cgroups", (("memory", "name", "key", "value"),)),
    ("cgroup a\ncgroup b", "cgroups", (("a", None, None, None), ("b", None, None, None))),
    ("debug", "debug", True),
]


@pytest.mark.parametrize(("text", "attribute", "value"), VALUES)
@pytest.mark.parametrize("end", ["", "\n", " # comment", "\r\n"])
def test_a_stanza_gives_its_value(text: str, attribute: str, value: Any, end: str) -> None:
    result = getattr(parse(text + end), attribute)
    assert result == value
    assert type(result) is type(value)


PROCESSES: list[tuple[str, dict[str, tuple[str, bool]]]] = [
    ("exec foo -d", {"main": ("foo -d", False)}),
    ('exec  foo  -d "a  b" # comment', {"main": ('foo  -d "a  b"', False)}),
    ("exec foo \\\n  bar", {"main": ("foo bar", False)}),
    ('exec foo "a # b"', {"main": ('foo "a # b"', False)}),
    ("exec foo $A > /dev/null 2>&1", {"main": ("foo $A > /dev/null 2>&1", False)}),
    ("exec echo \\$A a\\ b\\\\", {"main": ("echo \\$A a\\ b\\\\", False)}),
    ('exec foo "a\nb"', {"main": ('foo "a b"', False)}),
    ("script\n  foo\n    bar\n\n  baz\nend script", {"main": ("  foo\n    bar\n\n  baz\n", True)}),
    ("script\n  foo\n    bar\n  baz\nend script # x", {"main": ("foo\n  bar\nbaz\n", True)}),
    ("script\n\tfoo\n    bar\nend script", {"main": ("\tfoo\n    bar\n", True)}),
    ("script # x\nfoo # y\n  end  script\t\n", {"main": ("foo # y\n", True)}),
    ("script\nend script", {"main": ("", True)}),
    ("script\nend scripts\nend\na end script\nend script", {"main": ("end scripts\nend\na end script\n", True)}),
    ("script\r\n foo\r\nend script\r\n", {"main": ("foo\r\n", True)}),
    ("pre-start exec a\npost-start exec b", {"pre-start": ("a", False), "post-start": ("b", False)}),
    ("pre-stop script\n a\nend script\npost-stop exec b", {"pre-stop": ("a\n", True), "post-stop": ("b", False)}),
    ("exec a\nscript\n b\nend script", {"main": ("b\n", True)}),
    ("script\n b\nend script\nexec a", {"main": ("a", False)}),
    ("pre-start exec a\npre-start exec b", {"pre-start": ("b", False)}),
    ("apparmor load /etc/p", {"security": ("/sbin/apparmor_parser -r -W /etc/p", False)}),
]


@pytest.mark.parametrize(("text", "result"), PROCESSES)
def test_a_process_is_a_command_or_a_script(text: str, result: dict[str, tuple[str, bool]]) -> None:
    assert processes(parse(text)) == result


CONDITIONS: list[tuple[str, list[list[str]]]] = [
    ("foo", [["foo"]]),
    ("foo # comment", [["foo"]]),
    ("foo bar KEY=VALUE A!=b*", [["foo", "bar", "KEY=VALUE", "A!=b*"]]),
    ('foo KEY="a b" \'c=d e\'', [["foo", "KEY=a b", "c=d e"]]),
    ("runlevel [!2345]", [["runlevel", "[!2345]"]]),
    ("a and b", [["a"], ["b"], ["/AND"]]),
    ("a or b and c", [["a"], ["b"], ["/OR"], ["c"], ["/AND"]]),
    ("a or (b and c)", [["a"], ["b"], ["c"], ["/AND"], ["/OR"]]),
    ("(a or b) and (c or d)", [["a"], ["b"], ["/OR"], ["c"], ["d"], ["/OR"], ["/AND"]]),
    ("((((a))))", [["a"]]),
    ("((a x) or b) and (c or d)", [["a", "x"], ["b"], ["/OR"], ["c"], ["d"], ["/OR"], ["/AND"]]),
    ("a \\\n  and b", [["a"], ["b"], ["/AND"]]),
    ("a and\\\n b", [["a"], ["b"], ["/AND"]]),
    ("(a # one\n  and b # two\n ) # three", [["a"], ["b"], ["/AND"]]),
    ("(a\n\tand\nb)", [["a"], ["b"], ["/AND"]]),
    ("(a)and(b)", [["a"], ["b"], ["/AND"]]),
    ('a "and" b', [["a", "and", "b"]]),
    (":sys:x or *-device-added", [[":sys:x"], ["*-device-added"], ["/OR"]]),
    ("started foo INSTANCE=$X", [["started", "foo", "INSTANCE=$X"]]),
    ("a b c", [["a", "b", "c"]]),
]


@pytest.mark.parametrize("stanza", ["start on", "stop on"])
@pytest.mark.parametrize(("text", "result"), CONDITIONS)
def test_a_condition_is_read_from_the_left(stanza: str, text: str, result: list[list[str]]) -> None:
    job = parse(f"{stanza} {text}\ntask")
    condition = job.start_on if stanza == "start on" else job.stop_on
    assert condition_to_rpn(condition) == result
    assert job.task


def test_no_condition_is_an_empty_list() -> None:
    assert condition_to_rpn(None) == []


def test_manual_takes_back_start_on_and_nothing_else() -> None:
    job = parse("start on a\nstop on b\nmanual")
    assert job.start_on is None
    assert condition_to_rpn(job.stop_on) == [["b"]]
    assert condition_to_rpn(parse("manual\nstart on a").start_on) == [["a"]]


def test_another_stanza_may_follow_manual_and_debug_on_the_same_line() -> None:
    job = parse("manual task\ndebug respawn\n")
    assert job.task and job.respawn and job.debug


INTERVAL = "Illegal interval, expected number of seconds"
LIMIT = "Illegal limit, expected 'unlimited' or integer"
SIGNAL = "Illegal signal status, expected integer"
UMASK = "Illegal file creation mask, expected octal integer"
NICE = "Illegal nice value, expected -20 to 19"
OOM = "Illegal oom adjustment, expected -16 to 15 or 'never'"
OOM_SCORE = "Illegal oom score adjustment, expected -999 to 1000 or 'never'"
EXIT = "Illegal exit status, expected integer"

ERRORS: list[tuple[str, int, str]] = [
    ("foo", 1, "Unknown stanza"),
    ("\n# comment\n  foo bar\n", 3, "Unknown stanza"),
    ("foo \\\n bar", 2, "Unknown stanza"),
    ('"task"', 1, "Unknown stanza"),
    ("\ufefftask", 1, "Unknown stanza"),
    ("Task", 1, "Unknown stanza"),
    ("import x", 1, "Unknown stanza"),
    ("description", 1, "Expected token"),
    ('description ""', 1, "Expected token"),
    ("description # foo", 1, "Expected token"),
    ("description foo bar", 1, "Unexpected token"),
    ('task\ndescription "foo\nbar\n', 4, "Unterminated quoted string"),
    ("description 'foo", 1, "Unterminated quoted string"),
    ("description foo\\", 1, "Trailing slash in file"),
    ("exec foo\\", 1, "Trailing slash in file"),
    ('exec foo "bar\n', 2, "Unterminated quoted string"),
    ("exec it's\nstart on foo\n", 3, "Unterminated quoted string"),
    ("exec", 1, "Expected token"),
    ("exec # foo", 1, "Expected token"),
    ("script foo\nend script", 1, "Unexpected token"),
    ("task\nscript\n foo\n", 4, "Unterminated block"),
    ("script\nfoo", 2, "Unterminated block"),
    ("script", 1, "Unterminated block"),
    ("pre-start", 1, "Expected token"),
    ("pre-start foo", 1, "Unknown stanza"),
    ("post-stop exec", 1, "Expected token"),
    ("pre-stop script foo", 1, "Unexpected token"),
    ("start", 1, "Expected token"),
    ("start foo", 1, "Unknown stanza"),
    ("start on", 1, "Expected token"),
    ("start on\n", 1, "Expected token"),
    ("start on and foo", 1, "Expected event"),
    ("start on foo or", 1, "Expected event"),
    ("start on foo or and bar", 1, "Expected event"),
    ("start on (foo and) or bar", 1, "Expected event"),
    ("start on ()", 1, "Expected event"),
    ("start on )", 1, "Expected event"),
    ("start on foo)", 1, "Mismatched parentheses"),
    ("start on (foo", 1, "Mismatched parentheses"),
    ("start on (foo\nand bar\n", 3, "Mismatched parentheses"),
    ("start on foo (bar)", 1, "Expected operator"),
    ("start on foo(bar)", 1, "Expected operator"),
    ("start on (foo) (bar)", 1, "Expected operator"),
    ("start on (foo) bar", 1, "Expected operator"),
    ("start on foo A=b c", 1, "Expected variable name before value"),
    ("start on foo A=b \\\n c\n", 2, "Expected variable name before value"),
    ("stop on foo and", 1, "Expected event"),
    ("stop foo", 1, "Unknown stanza"),
    ("expect", 1, "Expected token"),
    ("expect foo", 1, "Unknown stanza"),
    ("expect fork daemon", 1, "Unexpected token"),
    ("task foo", 1, "Unexpected token"),
    ("kill", 1, "Expected token"),
    ("kill foo", 1, "Unknown stanza"),
    ("kill timeout", 1, "Expected token"),
    ("kill timeout foo", 1, INTERVAL),
    ("kill timeout -1", 1, INTERVAL),
    ("kill timeout 5s", 1, INTERVAL),
    ("kill timeout 99999999999999999999", 1, INTERVAL),
    ("kill timeout \\\n foo", 2, INTERVAL),
    ("kill timeout 5 6", 1, "Unexpected token"),
    ("kill mode", 1, "Expected token"),
    ("kill mode none", 1, "Unknown stanza"),
    ("kill mode all group", 1, "Unexpected token"),
    ("kill mode \\\n All", 2, "Unknown stanza"),
    ("kill signal", 1, "Expected token"),
    ("kill signal FOO", 1, SIGNAL),
    ("kill signal -1", 1, SIGNAL),
    ("kill signal sigterm", 1, SIGNAL),
    ("reload", 1, "Expected token"),
    ("reload foo", 1, "Unknown stanza"),
    ("reload signal FOO", 1, SIGNAL),
    ("respawn foo", 1, "Unknown stanza"),
    ("respawn limit", 1, "Expected token"),
    ("respawn limit 5", 1, "Expected token"),
    ("respawn limit foo 5", 1, LIMIT),
    ("respawn limit -1 5", 1, LIMIT),
    ("respawn limit 5 foo", 1, INTERVAL),
    ("respawn limit 5 -1", 1, INTERVAL),
    ("respawn limit 5 6 7", 1, "Unexpected token"),
    ("normal", 1, "Expected token"),
    ("normal foo", 1, "Unknown stanza"),
    ("normal exit", 1, "Expected token"),
    ("normal exit foo", 1, EXIT),
    ("normal exit 0 -1", 1, EXIT),
    ("console", 1, "Expected token"),
    ("console foo", 1, "Unknown stanza"),
    ("umask", 1, "Expected token"),
    ("umask 1000", 1, UMASK),
    ("umask 08", 1, UMASK),
    ("umask -1", 1, UMASK),
    ("nice", 1, "Expected token"),
    ("nice 20", 1, NICE),
    ("nice -21", 1, NICE),
    ("nice foo", 1, NICE),
    ("oom", 1, "Expected token"),
    ("oom 16", 1, OOM),
    ("oom -18", 1, OOM),
    ("oom foo", 1, OOM),
    ("oom score", 1, "Expected token"),
    ("oom score 1001", 1, OOM_SCORE),
    ("oom score foo", 1, OOM_SCORE),
    ("limit", 1, "Expected token"),
    ("limit foo", 1, "Unknown stanza"),
    ("limit nofile", 1, "Expected token"),
    ("limit nofile 5", 1, "Expected token"),
    ("limit nofile foo 5", 1, LIMIT),
    ("limit nofile 5 foo", 1, LIMIT),
    ("limit nofile 5 6 7", 1, "Unexpected token"),
    ("env", 1, "Expected token"),
    ("env A=b C=d", 1, "Unexpected token"),
    ("env A= b", 1, "Unexpected token"),
    ("export", 1, "Expected token"),
    ("emits # foo", 1, "Expected token"),
    ("apparmor", 1, "Expected token"),
    ("apparmor foo", 1, "Unknown stanza"),
    ("apparmor load", 1, "Expected token"),
    ("apparmor switch a b", 1, "Unexpected token"),
    ("cgroup", 1, "Expected token"),
    ("cgroup a b c d e", 1, "Unexpected token"),
    ("manual foo", 1, "Unknown stanza"),
]


@pytest.mark.parametrize(("text", "line", "message"), ERRORS)
def test_an_error_names_file_line_and_what_was_expected(text: str, line: int, message: str) -> None:
    with pytest.raises(ParseError) as failure:
        parse(text)
    where = f"test.conf:{line}" if message != SIGNAL else "test.conf: Error while loading configuration file"
    assert str(failure.value) == f"{where}: {message}" and failure.value.line == line


def test_every_stanza_can_be_wrong() -> None:
    wrong = {text.split()[0] for text, _, _ in ERRORS}
    quiet = {"debug", "author", "version", "usage", "instance", "chroot", "chdir", "setuid", "setgid", "post-start"}
    assert set(STANZAS) <= wrong | quiet


@pytest.mark.parametrize("text", ["log-priority debug", "\n  task", "'"])
def test_no_stanza_is_valid_in_the_general_configuration(text: str) -> None:
    with pytest.raises(ParseError):
        parse_no_job(text, "init.conf")
    parse_no_job("# only\n\n  # comments", "init.conf")


def test_an_override_replaces_adds_and_leaves_its_base_alone() -> None:
    base = parse("start on a\nexec foo\npre-start exec bar\nenv A=1\nlimit core 1 2\nnice 5\nrespawn")
    before = {**vars(base), "processes": dict(base.processes)}
    job = parse_job("test", "start on b\npre-start script\n x\nend script\nenv B=2\nlimit as 3 4", "o", base=base)
    assert vars(base) == before
    assert condition_to_rpn(job.start_on) == [["b"]]
    assert processes(job) == {"main": ("foo", False), "pre-start": ("x\n", True)}
    assert job.env == ("A=1", "B=2")
    assert job.limits == {"core": (1, 2), "as": (3, 4)}
    assert (job.nice, job.respawn, job.source, job.override) == (5, True, "test.conf", "o")


def test_a_condition_without_end_is_refused_before_it_is_too_deep() -> None:
    parse("start on " + " or ".join(["a"] * 251))
    with pytest.raises(ParseError, match="more than 250 operators"):
        parse("start on " + " or ".join(["a"] * 100_000))
    for many, problem in ((10_000, "Mismatched parentheses"), (100_000, "Too much in one file")):
        with pytest.raises(ParseError, match=problem):
            parse("start on " + "(" * many + "a")
    assert parse("start on " + "(" * 10_000 + "a" + ")" * 10_000).start_on is not None


@pytest.mark.parametrize("path", sorted(DATA.glob("*.conf")), ids=lambda path: path.name)
def test_forms_found_in_real_files_are_valid(path: Path) -> None:
    job = parse_job(path.stem, decode(path.read_bytes()), str(path))
    assert job.start_on is not None and "main" in job.processes


WORDS = [
    *STANZAS,
    *["on", "and", "or", "(", ")", "exit", "limit", "signal", "timeout", "end script", "start on"],
    *["#", "\\", "\\\n", '"', "'", "$X", "5", "-1", "A=b", "[!2]"],
    *["\n", "\n", "\r\n", "\x00", "é", "\udcff", "\t"],
]


@given(st.lists(st.sampled_from(WORDS)).map(" ".join) | st.text() | st.binary().map(decode))
def test_any_text_gives_a_job_or_an_error_within_the_file(text: str) -> None:
    try:
        job = parse(text)
    except ParseError as error:
        assert 1 <= error.line <= text.count("\n") + 1
    else:
        assert all("\0" not in process.command for process in job.processes.values())


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(" \t\\\n\"'#a(\x00"), st.integers(1, 200_000))
def test_long_runs_of_one_character_end_in_time(char: str, count: int) -> None:
    for before in ("", "exec a", "description a", "start on a", "script\n"):
        try:
            parse(before + char * count)
        except ParseError:
            pass


ATOM = st.tuples(
    st.text("abz:*-.[]$é", min_size=1, max_size=8),
    st.lists(st.text('ab "\'\\#()é', max_size=6), max_size=2),
    st.lists(st.text('ab "#(', max_size=6).map("K={}".format), max_size=2),
).map(lambda parts: [parts[0], *[word for word in parts[1] if word], *parts[2]])
TREE: st.SearchStrategy[Any] = st.recursive(
    ATOM, lambda inner: st.tuples(st.sampled_from(["and", "or"]), inner, inner), max_leaves=8
)


def quoted(word: str) -> str:
    """A word as a condition can hold it, whatever is in it."""
    special = {'"': "'\"'", "\\": "\\\\", **{char: f'"{char}"' for char in " #()'"}}
    return "".join(special.get(char, char) for char in word)


def written(tree: Any) -> str:
    if isinstance(tree, list):
        return " ".join(map(quoted, tree))
    return f"({written(tree[1])})\n {tree[0]} # comment\n ({written(tree[2])})"


def reverse_polish(tree: Any) -> list[list[str]]:
    if isinstance(tree, list):
        return [tree]
    return [*reverse_polish(tree[1]), *reverse_polish(tree[2]), ["/" + tree[0].upper()]]


@given(TREE)
def test_a_condition_that_is_written_out_reads_back(tree: Any) -> None:
    assert condition_to_rpn(parse(f"start on ({written(tree)})").start_on) == reverse_polish(tree)


@pytest.mark.parametrize("text", ["( foo and ( bar ) )", "(\tfoo and(  bar))", "( foo )and( bar )"])
def test_blanks_may_stand_on_either_side_of_a_parenthesis(text: str) -> None:
    assert condition_to_rpn(parse(f"start on {text}").start_on) == [["foo"], ["bar"], ["/AND"]]


def test_blank_lines_and_comments_may_stand_inside_parentheses() -> None:
    text = "start on (foo # one\n\n# comment\n  # and another\nand bar)\nexec x\n"
    job = parse_job("job", text, "job.conf")
    assert condition_to_rpn(job.start_on) == [["foo"], ["bar"], ["/AND"]]


MUCH = {
    "stanzas": "env A=1\n" * 120_000,
    "comments": "#\n" * 500_000,
    "blanks": " \n" * 500_000,
    "words": "emits " + "a " * 500_000,
    "statuses": "normal exit " + "1 " * 500_000,
    "parentheses": "start on " + "(" * 100_000 + "a" + ")" * 100_000,
    "open parentheses": "start on " + "(" * 1_000_000,
    "lines of parentheses": "start on a and " + "(\n" * 500_000,
    "arguments": "start on a " + "x=1 " * 250_000,
    "quotes": "exec " + "'a' " * 250_000,
    "a quoted word": 'description "' + "\\a" * 500_000 + '"\n',
    "continued lines": "exec a" + "\\\n" * 500_000,
    "limits": "limit nofile 1 1\n" * 60_000,
    "conditions": ("start on " + "a or " * 200 + "a\n") * 1000,
    "scripts": "script\nend script\n" * 55_000,
    "false ends": "script\n" + " end\n" * 200_000 + "end script\n",
    "lines of a script": "script\n a\n" + "b\n" * 500_000 + "end script\n",
    "stanzas of one line": "debug " * 170_000,
}


@pytest.mark.parametrize("name", MUCH)
def test_a_file_that_takes_long_to_read_is_refused_soon(name: str) -> None:
    # A twentieth of a second of a processor, and minutes where work grows faster than the text.
    began = time.process_time()
    with pytest.raises(ParseError, match="Too much in one file"):
        parse_job("much", MUCH[name], "much.conf")
    assert time.process_time() - began < 1


def test_a_big_file_is_read() -> None:
    script = "  if true; then echo something; fi\n" * 25_000
    job = parse_job("big", f"script\n{script}end script\n" + "env A=1\n" * 2000 + "emits " + "a " * 8000, "big.conf")
    assert len(job.env) == 2000 and len(job.emits) == 8000 and job.processes["main"].command.count("\n") == 25_000
