"""What README.md and the manual show of a machine with Upstart is what appears on one: everything is typed, and compared."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import archive
import manual
import pytest
import run
from container import Container, wait_for


def put_files(directory: Path, texts: dict[str, str]) -> dict[str, str]:
    """Files of a boot from their texts by path."""
    files = {}
    for path, text in texts.items():
        source = directory / path.replace("/", "-")
        source.write_text(text)
        files[str(source)] = path
    return files


def boot(directory: Path, texts: dict[str, str], ready: tuple[int, str]) -> Iterator[Container]:
    """The root with our packages and these files, once `runlevel` answers as in `ready` and its scripts have run."""
    path, packages, native = run.prepare("upstart", archive.host_release())
    shown = bytearray()
    with Container(path, ["/sbin/init"], packages, native | put_files(directory, texts), shown.extend) as container:

        def answers(*command: str) -> tuple[int, str]:
            done = container.run(*command)
            return done.returncode, done.stdout

        container.boot()
        booted = wait_for(lambda: answers("runlevel") == ready, 60, 0.1)
        ended = booted and wait_for(lambda: answers("status", "rc") == (0, "rc stop/waiting\n"), 60, 0.1)
        assert ended, shown.decode(errors="replace")
        yield container


def type_into(container: Container, command: str) -> str:
    """What a shell of root's prints for a command; the shell's end counts, not that of what it leaves behind."""
    with tempfile.TemporaryFile("w+") as output:
        shell = container.enter("sh", "-c", command)
        subprocess.run(shell, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=30)
        output.seek(0)
        return output.read()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    jobs = manual.jobs([example.text for example in manual.of_kind("job")])
    texts = {path: text for path, text in jobs.items() if path.endswith(".conf")}
    yield from boot(tmp_path_factory.mktemp("documents"), texts, (0, "N 2\n"))


def tour() -> list[str]:
    """The blocks of the tour in README.md, without their indentation: transcripts, and texts to paste."""
    text = (manual.ROOT / "README.md").read_text()
    found = re.search(r"^## Five minutes\n(.*?)^##", text, re.M | re.S)
    assert found
    blocks = re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", found[1], re.M)
    return [part for block in blocks for part in re.split(r"(?m)(?<=^END\n)\n", re.sub(r"(?m)^ {4}", "", block).lstrip("\n"))]


def test_the_tour_shows_what_happens(tmp_path_factory: pytest.TempPathFactory) -> None:
    for container in boot(tmp_path_factory.mktemp("tour"), {}, (0, "N 2\n")):
        reader = manual.Reader(lambda command: type_into(container, command))
        for block in tour():
            if block.startswith("# "):
                reader.follow(block)
                continue
            pasted = re.fullmatch(r"cat >/etc/init/(\w+)\.conf <<'END'\n.*\nEND\n", block, re.S)
            assert pasted, block
            assert type_into(container, block) == ""
            # Whoever types the next command is slower than init is at noticing the file.
            assert wait_for(lambda: container.run("status", pasted[1]).returncode == 0, 10)
        assert container.run("telinit", "0").returncode == 0
        assert container.wait(60) == signal.SIGINT


@pytest.mark.parametrize("page", manual.with_kind("boot"))
def test_transcripts_of_the_page_are_true_on_a_machine(page: str, machine: Container) -> None:
    reader = manual.Reader(lambda command: type_into(machine, command))
    for example in manual.of_kind("boot", page):
        reader.follow(example.text)


@pytest.mark.parametrize("page", manual.with_kind("off"))
def test_the_machine_ends_as_the_page_says(page: str, tmp_path: Path) -> None:
    """The same boot shows that init reads what inittab(5) says of a file of that name, and nothing else."""
    inittab = {"/etc/inittab": "".join(example.text for example in manual.of_kind("inittab"))}
    assert "id:3:initdefault:" in inittab["/etc/inittab"]
    for example in manual.of_kind("off", page):
        *before, (last, printed) = manual.commands(example.text)
        assert printed == ""
        for container in boot(tmp_path, inittab, (0, "N 3\n")):
            assert container.run("pgrep", "-f", "getty.*ttyS0").returncode == 1
            for command, expected in before:
                assert type_into(container, command) == expected
            type_into(container, last)
            assert container.wait(60) == signal.SIGINT
