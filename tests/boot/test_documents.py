"""What README.md and the manual show of a machine with Upstart is what appears there: all is typed, and compared."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import archive
import pytest
import run
from container import Container, wait_for

import manual


class Machine:
    """The booted root, and a shell of root's in it."""

    def __init__(self, container: Container) -> None:
        self.container = container

    def type(self, command: str) -> str:
        """What a command prints; the end of the shell counts, not that of what it leaves behind."""
        with tempfile.TemporaryFile("w+") as output:
            shell = self.container.enter("sh", "-c", command)
            subprocess.run(shell, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=30)
            output.seek(0)
            return output.read()

    def paste(self, text: str, job: str) -> None:
        """Has the shell write a job file. Whoever types the next command is slower than init is at noticing it."""
        assert self.type(text) == ""
        assert wait_for(lambda: self.type(f"status {job}").startswith(f"{job} "), 10)

    def switched_off(self) -> bool:
        return self.container.wait(60) == signal.SIGINT


@contextmanager
def booted(directory: Path, texts: dict[str, str], runlevel: str) -> Iterator[Machine]:
    """The root with our packages and these files, once it is in its runlevel and the scripts of that have run."""
    path, packages, files = run.prepare("upstart", archive.host_release())
    for target, text in texts.items():
        source = directory / target.replace("/", "-")
        source.write_text(text)
        files[str(source)] = target
    shown = bytearray()
    with Container(path, ["/sbin/init"], packages, files, shown.extend) as container:
        container.boot()
        machine = Machine(container)
        entered = wait_for(lambda: machine.type("runlevel") == f"{runlevel}\n", 60, 0.1)
        ended = entered and wait_for(lambda: machine.type("status rc") == "rc stop/waiting\n", 60, 0.1)
        assert ended, shown.decode(errors="replace")
        yield machine


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with the jobs of all pages."""
    jobs = manual.jobs([example.text for example in manual.of_kind("job")])
    texts = {path: text for path, text in jobs.items() if path.endswith(".conf")}
    with booted(tmp_path_factory.mktemp("documents"), texts, "N 2") as machine:
        yield machine


def tour() -> list[str]:
    """The transcripts and the texts to paste of the tour in README.md, without their indentation."""
    text = (manual.ROOT / "README.md").read_text()
    found = re.search(r"^## Five minutes\n(.*?)^##", text, re.M | re.S)
    assert found
    blocks = re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", found[1], re.M)
    texts = [re.sub(r"(?m)^ {4}", "", block).lstrip("\n") for block in blocks]
    return [part for text in texts for part in re.split(r"(?m)(?<=^END\n)\n", text)]


def test_the_tour_shows_what_happens(tmp_path: Path) -> None:
    with booted(tmp_path, {}, "N 2") as machine:
        reader = manual.Reader(machine.type)
        for block in tour():
            if block.startswith("# "):
                reader.follow(block)
                continue
            pasted = re.fullmatch(r"cat >/etc/init/(\w+)\.conf <<'END'\n.*\nEND\n", block, re.S)
            assert pasted, block
            machine.paste(block, pasted[1])
        machine.type("telinit 0")
        assert machine.switched_off()


@pytest.mark.parametrize("page", manual.with_kind("boot"))
def test_transcripts_of_the_page_are_true_on_a_machine(page: str, machine: Machine) -> None:
    reader = manual.Reader(machine.type)
    for example in manual.of_kind("boot", page):
        reader.follow(example.text)


def test_commands_for_services_and_logins_do_what_readme_debian_says(machine: Machine) -> None:
    (document,) = (manual.ROOT / "debian").glob("*README.Debian")
    text = document.read_text()
    shown = re.findall(r"(?m)^ {4}(\S.*)", text[text.index("\nServices and packages\n---") :])
    runlevel = [command for command in shown if "DEFAULT_RUNLEVEL" in command]
    *others, start = [command.replace("NAME", "web") for command in shown if command not in runlevel]
    assert len(runlevel) == 1 and len(others) == 4
    assert machine.type("service web status").endswith("web: unrecognized service\n")
    for command in others:
        assert machine.type(command) == "", command
    assert re.fullmatch(r"web start/running, process \d+\n", machine.type("service web status"))
    assert machine.type("stop web; initctl show-config web").count("start on") == 0
    assert machine.type("invoke-rc.d web start; status web").startswith("web ")
    assert machine.type("init-checkconf /etc/init/ttyS0.conf").endswith(": syntax ok\n")
    assert wait_for(lambda: machine.type("status ttyS0") == "ttyS0 stop/waiting\n", 10)
    # There is no such line: the job stops itself, before or after start has asked what became of it.
    assert re.fullmatch(r"ttyS0 stop/(waiting|pre-start, process \d+)\n", machine.type(start))
    machine.type(runlevel[0])
    written = machine.type("cat /etc/init/rc-sysinit.override")
    # The next boot of the file's own system shows what it means.
    assert written == "env DEFAULT_RUNLEVEL=3\n"
    machine.type("rm /etc/init/rc-sysinit.override")


@pytest.mark.parametrize("page", manual.with_kind("off"))
def test_the_machine_ends_as_the_page_says(page: str, tmp_path: Path) -> None:
    """The same boot shows that of a file like that of inittab(5) the runlevel is read, and nothing else."""
    inittab = "".join(example.text for example in manual.of_kind("inittab"))
    assert "id:3:initdefault:" in inittab and ":respawn:/sbin/getty" in inittab
    for example in manual.of_kind("off", page):
        *before, (last, printed) = manual.commands(example.text)
        with booted(tmp_path, {"/etc/inittab": inittab}, "N 3") as machine:
            assert machine.type("pgrep --full gett[y].*ttyS0") == ""
            for command, expected in before:
                assert machine.type(command) == expected
            assert machine.type(last) == printed
            assert machine.switched_off()
