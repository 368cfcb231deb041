"""initctl2dot: the graph that it draws of files and directories; of a running init, test_initctl2dot_live."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from upstart.tools.initctl2dot import main

ROOT = Path(__file__).parents[2]
SHOWN = """\
ssh
  start on filesystem (job:, env:)
  start on runlevel (job:, env: [2345])
  stop on runlevel (job:, env: [!2345])
mountall
  emits filesystem
  emits mount*
  start on startup (job:, env:)
  stop on starting (job: rcS, env:)
tmp
  start on mounted (job:, env: MOUNTPOINT=/tmp)
first
  start on starting (job: ssh, env:)
after
  start on started (job: ssh, env:)
  stop on stopping (job: ssh, env:)
  stop on stopped (job: gone, env:)
getty
  stop on $EVENT (job:, env:)
lone
"""


class Drawing:
    """The boxes and arrows of a graph in DOT."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.boxes = re.findall(r'^ +"([^"]+)" \[(?:shape|label)', text, re.M)
        arrows = re.findall(r'^ +"([^"]+)"(:\w+)? -> "([^"]+)"(:\w+)? \[color="(\w+)"', text, re.M)
        self.arrows = [f"{tail}{port} {color} {head}{other}" for tail, port, head, other, color in arrows]


class Command:
    """The command, run on what it is given as a file."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.capsys = capsys
        self.file = directory / "shown"
        self.file.write_text(SHOWN)

    def __call__(self, *arguments: str, infile: Path | None = None) -> Drawing:
        assert main(["initctl2dot", "-f", str(infile or self.file), "-o", "-", *arguments]) == 0
        return Drawing(self.capsys.readouterr().out)

    def fails(self, *arguments: str) -> str:
        assert main(["initctl2dot", *arguments]) == 1
        return self.capsys.readouterr().err


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(tmp_path, capsys)


def test_arrows_point_as_time_goes(command: Command) -> None:
    drawing = command()
    assert sorted(drawing.arrows) == sorted([
        "event_filesystem blue job_ssh:start",
        "event_runlevel blue job_ssh:start",
        "event_runlevel red job_ssh:stop",
        "job_mountall:job green event_filesystem",
        "job_mountall:job green event_mount*",
        "job_mountall:job green event_mounted",
        "event_startup blue job_mountall:start",
        "job_rcS:job red job_mountall:stop",
        "event_mounted blue job_tmp:start",
        "job_first:start blue job_ssh:job",
        "job_ssh:job blue job_after:start",
        "job_ssh:job red job_after:stop",
        "job_gone:job red job_after:stop",
        "event_getty:$EVENT red job_getty:stop",
    ])  # fmt: skip


def test_each_box_is_drawn_once_and_each_arrow_has_its_boxes(command: Command) -> None:
    for arguments in ([], ["-r", "ssh,after"], ["--around", "ssh", "--depth", "2"]):
        drawing = command(*arguments)
        assert len(drawing.boxes) == len(set(drawing.boxes))
        for arrow in drawing.arrows:
            tail, _, head = arrow.split(" ")
            assert {re.sub(r":(job|start|stop)$", "", end) for end in (tail, head)} <= set(drawing.boxes)
    assert {"job_lone", "job_gone", "job_rcS"} <= set(command().boxes)


def test_a_graph_of_many_jobs_is_in_clusters_with_each_box_once(command: Command, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    for number in range(300):
        event = "runlevel 2" if number % 2 else "started job0"
        (jobs / f"job{number}.conf").write_text(f"start on {event}\nstop on runlevel 0\nexec x\n")
    drawing = command(infile=jobs)
    assert len(drawing.boxes) == len(set(drawing.boxes)) == 301
    assert len(drawing.arrows) == 600
    assert drawing.text.count("subgraph cluster_") == 2
    assert 'label="runlevel"; ' in drawing.text and 'label="after job0"; ' in drawing.text


def test_a_directory_gives_what_its_jobs_would_show(command: Command, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    texts = {
        "ssh": "start on filesystem or runlevel [2345]\nstop on runlevel [!2345]\n",
        "mountall": "emits filesystem mount*\nstart on startup\nstop on starting rcS\n",
        "tmp": "start on mounted MOUNTPOINT=/tmp\n",
        "first": "start on starting JOB=ssh\n",
        "after": "start on started ssh\nstop on stopping ssh or stopped gone\n",
        "getty": "stop on $EVENT\n",
        "lone": "",
    }
    for name, text in texts.items():
        (jobs / f"{name}.conf").write_text(text)
    drawing, other = command(infile=jobs), command()
    assert (sorted(drawing.boxes), sorted(drawing.arrows)) == (sorted(other.boxes), sorted(other.arrows))


def test_a_subset_has_what_its_jobs_wait_for_and_who_emits_that(command: Command) -> None:
    drawing = command("--restrict-to-jobs", "ssh")
    assert sorted(drawing.arrows) == [
        "event_filesystem blue job_ssh:start",
        "event_runlevel blue job_ssh:start",
        "event_runlevel red job_ssh:stop",
        "job_mountall:job green event_filesystem",
    ]
    assert "(subset)" in drawing.text


def test_a_neighbourhood_goes_as_many_arrows_as_asked_for(command: Command) -> None:
    assert set(command("--around", "tmp").boxes) == {"job_tmp", "event_mounted"}
    assert set(command("--around", "tmp", "--depth", "2").boxes) == {"job_tmp", "event_mounted", "job_mountall"}
    assert set(command("--around", "tmp", "--depth", "0").boxes) == {"job_tmp"}


def test_a_way_is_the_shortest_from_an_event_to_a_job(command: Command) -> None:
    drawing = command("--from", "startup", "--to", "after")
    assert sorted(drawing.arrows) == [
        "event_filesystem blue job_ssh:start",
        "event_startup blue job_mountall:start",
        "job_mountall:job green event_filesystem",
        "job_ssh:job blue job_after:start",
    ]
    # What starts before another is started by that one.
    assert set(command("--from", "filesystem", "--to", "first").boxes) == {"event_filesystem", "job_ssh", "job_first"}
    given = ["-f", str(command.file), "-o", "-"]
    assert command.fails(*given, "--from", "startup", "--to", "lone") == "ERROR: no way from startup to lone\n"


def test_what_cannot_be_drawn_is_said(command: Command) -> None:
    given = ["-f", str(command.file), "-o", "-"]
    assert command.fails(*given, "-r", "none") == "ERROR: unknown job none\n"
    assert command.fails(*given, "--around", "none") == "ERROR: unknown job none\n"
    assert command.fails("-f", "none") == "ERROR: cannot read file 'none'\n"
    assert command.fails(*given[:2], "-o", "none/x") == "ERROR: cannot open file none/x for writing\n"
    assert command.fails(*given, "--state") == "ERROR: how jobs stand is known only of a running init\n"
    command.file.write_text("ssh\n  what is this\n")
    assert command.fails(*given) == "ERROR: invalid line: what is this\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from", "startup"],
        ["--around", "ssh", "--from", "startup", "--to", "ssh"],
        ["--depth", "-1"],
        ["--format", "gif"],
        ["--bogus"],
    ],
)
def test_a_wrong_command_line_is_refused(command: Command, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["initctl2dot", *arguments])
    assert ended.value.code == 2


def test_the_file_is_upstart_dot_unless_said_otherwise(command: Command) -> None:
    assert main(["initctl2dot", "-f", str(command.file)]) == 0
    assert Path("upstart.dot").read_text().startswith("digraph upstart {\n")
    assert main(["initctl2dot", "-f", str(command.file), "-w", "other"]) == 0
    assert Path("other").exists()


def test_colors_can_be_chosen(command: Command) -> None:
    text = command("--color-start-on", "navy", "--color-job=#123456", "--color-bg", "ivory").text
    assert '[color="navy"]' in text and 'fillcolor="#123456"' in text and 'bgcolor="ivory"' in text
    assert "blue" not in text


def test_odd_names_are_quoted(command: Command) -> None:
    command.file.write_text('a"b\\c\n  start on x{y|z} (job:, env:)\n  emits <w>\n')
    text = command().text
    assert r'"job_a\"b\\c" [shape=plain, label=<' in text and r'colspan="2">a&quot;b\c</td>' in text
    assert r'"event_x{y|z}" [label="x{y|z}"]' in text


def test_a_picture_is_made_by_graphviz(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    given = ["-f", str(command.file), "--format", "svg"]
    assert command.fails(*given) == "ERROR: a picture needs dot, of the package graphviz\n"
    dot = tmp_path / "dot"
    dot.write_text('#!/bin/sh\nread line\necho "$1 $line"\n')
    dot.chmod(dot.stat().st_mode | stat.S_IXUSR)
    assert main(["initctl2dot", *given]) == 0
    assert Path("upstart.svg").read_text() == "-Tsvg digraph upstart {\n"
    dot.write_text("#!/bin/sh\n/bin/cat >/dev/null\necho 'syntax error' >&2\nexit 1\n")
    assert command.fails(*given) == "ERROR: dot: syntax error\n"


def test_our_own_boot_is_drawn_whole(command: Command) -> None:
    drawing = command(infile=ROOT / "etc" / "init")
    jobs = {f"job_{path.stem}" for path in (ROOT / "etc" / "init").glob("*.conf")}
    assert jobs <= set(drawing.boxes)
    assert "job_rc-sysinit:job green event_runlevel" in drawing.arrows


def test_who_has_seen_enough_of_it_need_not_read_it_all(command: Command) -> None:
    program = Path(__file__).resolve().parents[2] / "build" / "sbin" / "initctl2dot"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = subprocess.run([program, "-f", command.file, "-o", "-"], stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert (ran.returncode, ran.stderr) == (0, "")
