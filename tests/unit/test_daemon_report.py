"""What a person sees on the console while the machine boots, and while it ends."""

from __future__ import annotations

import fcntl
import json
import os
import re
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import wait_for

from manual import Example, of_kind
from upstart.base.priority import ERROR
from upstart.daemon import report
from upstart.daemon.report import Console, Reporter
from upstart.engine import effects as fx
from upstart.engine import state
from upstart.engine.world import World

TASK = "start on startup\ntask\nexec work"
GETTY = "start on filesystem\nrespawn\nexec /sbin/getty -8 38400 tty1"


class Loop:
    """Timers by hand."""

    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []

    def call_later(self, seconds: float, what: Callable[[], object]) -> int:
        self.due.append(what)
        return len(self.due)

    def second(self) -> None:
        due, self.due = self.due, []
        for each in due:
            each()


class Booted:
    """A world whose reports are shown; ``lines`` are those on the console since the last look."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, words: str = "ro", **jobs: str) -> None:
        self.cmdline = root / "cmdline"
        self.cmdline.write_text(f"root=/dev/vda1 {words}\n")
        monkeypatch.setattr(report, "CMDLINE", str(self.cmdline))
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        # What is written to a terminal comes out of it a little later.
        self.console = root / f"console{os.urandom(4).hex()}"
        os.mkfifo(self.console)
        self.reading = os.open(self.console, os.O_RDONLY | os.O_NONBLOCK)
        self.world = World(**jobs)
        self.loop = Loop()
        self.environ = {"TERM": "dumb"}
        self.reporter = self.made()
        self.reporter.begin()
        world, seen = self.world, World._report

        def shown(effect: fx.Report) -> None:
            seen(world, effect)
            self.reporter.perform(effect)

        world._report = shown  # type: ignore[method-assign]

    def made(self) -> Reporter:
        return Reporter(self.world.engine, self.loop, self.environ, str(self.console))  # type: ignore[arg-type]

    @property
    def lines(self) -> list[str]:
        try:
            return os.read(self.reading, 65536).decode().splitlines()
        except BlockingIOError:
            return []

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.loop.second()

    def close(self) -> None:
        os.close(self.reading)


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    made: list[Booted] = []

    def begin(words: str = "ro", **jobs: str) -> Booted:
        made.append(Booted(tmp_path, monkeypatch, words, **jobs))
        return made[-1]

    yield begin
    for each in made:
        each.close()


Begin = Callable[..., Booted]


def test_each_job_is_shown_as_it_ends(boot: Begin) -> None:
    booted = boot(
        hostname=TASK, kmod=TASK, web="start on stopped kmod\nexec serve", state="start on started web",
        none="start on started web\npre-start exec look\nexec daemon", seed="start on startup\npre-start exec load",
    )  # fmt: skip
    world = booted.world
    world.emit("startup")
    assert booted.lines == []
    world.exit("kmod")
    assert booted.lines == ["[  ok   ] kmod", "[  ok   ] web"]
    world.exit("hostname", 1)
    world.exit("seed", process="pre-start")
    # Who finds nothing to do stops itself.
    world.engine.stop_job(world.job("none"), {})
    world.settle()
    world.exit("none", process="pre-start")
    lines = booted.lines
    assert re.fullmatch(r"\[failed \] hostname: main process \([0-9]+\) terminated with status 1", lines[0])
    assert lines[1:] == ["[  ok   ] seed", "[skipped] none"]


def test_a_job_is_shown_once_however_often_it_is_respawned(boot: Begin) -> None:
    booted = boot(web="start on startup\nrespawn\nexec serve")
    booted.world.emit("startup")
    booted.world.exit("web", 1)
    assert booted.lines == ["[  ok   ] web"]


def test_what_is_quiet_shows_failures_alone(boot: Begin) -> None:
    booted = boot("quiet ro", hostname=TASK, kmod=TASK)
    booted.world.emit("startup")
    booted.world.exit("kmod")
    booted.world.exit("hostname", 1)
    (line,) = booted.lines
    assert line.startswith("[failed ] hostname: ")


def test_the_kernels_words_are_not_those_of_a_container_which_has_an_option(boot: Begin) -> None:
    booted = boot("quiet ro", a="start on startup\nexec a", b="start on later\nexec b")
    booted.environ = {"TERM": "dumb", "container": "lxc"}
    booted.reporter = booted.made()
    booted.reporter.begin()
    booted.world.emit("startup")
    assert booted.lines == ["[  ok   ] a"]
    booted.world.engine.set_priority(ERROR)
    booted.reporter.begin()
    booted.world.emit("later")
    assert booted.lines == []


def test_instances_logins_shells_and_what_people_start_are_not_shown(boot: Begin) -> None:
    booted = boot(
        net="start on device\ninstance $NAME\nexport NAME\ntask\nexec ifup",
        tty1=GETTY.replace("filesystem", "startup"),
        shell="start on startup\nconsole owner\ntask\nexec work", hand="exec serve",
    )  # fmt: skip
    world = booted.world
    world.emit("startup")
    world.start("hand")
    for name in ("a", "b"):
        world.emit_env("device", {"NAME": name})
    world.end(world.pid("net", instance="a"), 0)
    world.exit("shell")
    assert booted.lines == []
    world.end(world.pid("net", instance="b"), 1)
    assert [line.partition(": ")[0] for line in booted.lines] == ["[failed ] net (b)"]


def test_what_an_event_has_put_into_a_name_does_nothing_to_the_console(boot: Begin) -> None:
    booted = boot(net="start on startup\ninstance $NAME\nexport NAME\ntask\nexec ifup")
    booted.world.emit_env("startup", {"NAME": "a\x1b]0;b\x07\n\u009b2Jc \udcffé"})
    (instance,) = booted.world.engine.instances()
    booted.world.end(next(iter(instance.pids.values())), 1)
    (line,) = booted.lines
    assert line.startswith("[failed ] net (a\\x1b]0;b\\x07\\x0a\\xc2\\x9b2Jc \\xffé): main process (")


def test_a_login_is_not_disturbed_but_for_failures_and_ends_the_boot(boot: Begin) -> None:
    booted = boot(
        tty1=GETTY, a="start on filesystem\nexec a", b="start on late\nexec b", c="start on late\ntask\nexec c",
        slow=TASK,
    )  # fmt: skip
    world = booted.world
    world.emit("startup")
    world.emit("filesystem")
    assert booted.lines == ["[  ok   ] a"]
    booted.wait(2)
    world.emit("late")
    assert booted.lines == []
    world.exit("c", 1)
    first, second = booted.lines
    # In a line of its own.
    assert first == "" and second.startswith("[failed ] c: ")
    booted.wait(20)
    assert world.engine.reporting
    world.exit("slow")
    booted.wait(2)
    assert not world.engine.reporting and not booted.loop.due and booted.lines == []


def test_a_boot_without_a_login_is_over_when_nothing_moves(boot: Begin) -> None:
    booted = boot(web="start on startup\nexec serve", slow=TASK)
    booted.world.emit("startup")
    booted.wait(60)
    assert booted.world.engine.reporting
    booted.world.exit("slow")
    booted.wait(4)
    assert booted.world.engine.reporting
    booted.wait(2)
    assert not booted.world.engine.reporting and not booted.loop.due


def test_a_boot_is_over_at_some_time(boot: Begin) -> None:
    booted = boot(slow=TASK)
    booted.world.emit("startup")
    booted.wait(301)
    assert not booted.world.engine.reporting and not booted.loop.due


def test_the_end_is_shown_too_whoever_is_logged_in(boot: Begin) -> None:
    booted = boot(
        tty1=GETTY + "\nstop on runlevel 0", web="start on filesystem\nstop on runlevel 0\nexec serve",
        save="start on runlevel 0\ntask\nexec hwclock", hand="exec serve",
    )  # fmt: skip
    world = booted.world
    world.emit("filesystem")
    world.start("hand")
    booted.wait(10)
    assert booted.lines == ["[  ok   ] web"] and not world.engine.reporting
    world.engine.set_ending(True)
    world.engine.emit("runlevel", {"RUNLEVEL": "0"}, last=True)
    world.settle()
    world.exit("tty1", 15 << 8)
    world.exit("web", 15 << 8)
    world.exit("save")
    world.engine.stop_rest(False, [], [], {})
    world.settle()
    world.exit("hand", 15 << 8)
    assert booted.lines == ["[  ok   ] web stopped", "[  ok   ] save", "[  ok   ] hand stopped"]
    booted.wait(100)
    assert world.engine.reporting


def test_a_re_exec_goes_on_with_what_was_not_shown(boot: Begin) -> None:
    booted = boot(web="start on startup\nrespawn\nexec serve", slow=TASK, tty1=GETTY)
    world = booted.world
    world.emit("startup")
    assert booted.lines == ["[  ok   ] web"]
    saved = booted.reporter.dump()
    world.engine.set_reporting(False)
    booted.loop.due.clear()
    booted.reporter = booted.made()
    booted.reporter.restore(saved)
    world.exit("web", 1)
    world.exit("slow")
    assert booted.lines == ["[  ok   ] slow"]
    # A boot that was over stays so.
    over = booted.made()
    over.restore({"on": False, "seconds": 0.0, "login": True})
    assert not over.dump()["on"]


def test_a_re_exec_keeps_the_console_and_what_it_has_not_taken(boot: Begin) -> None:
    booted = boot(one=TASK, two=TASK)
    booted.world.emit("startup")
    booted.world.exit("one")
    assert booted.lines == ["[  ok   ] one"]
    (fd,) = booted.reporter.descriptors()
    size = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    os.write(fd, b"\n" * size)
    booted.world.exit("two")
    booted.reporter._stop()
    saved = json.loads(json.dumps(booted.reporter.dump()))
    booted.loop.due.clear()
    old, booted.reporter = booted.reporter, booted.made()
    booted.reporter.restore(saved)
    assert list(booted.reporter.descriptors()) == [fd]
    assert [line for line in booted.lines if line] == []
    # The boot was over: what is left is still shown, and the console then closed.
    booted.wait(1)
    assert booted.lines == ["[  ok   ] two"] and not booted.loop.due
    assert list(booted.reporter.descriptors()) == []
    with pytest.raises(OSError):
        os.fstat(fd)
    assert old.descriptors()


def test_a_document_of_before_has_no_console(boot: Begin) -> None:
    booted = boot(web="start on startup\nexec serve")
    booted.loop.due.clear()
    booted.reporter = booted.made()
    booted.reporter.restore({"on": False, "seconds": 0.0, "login": False})
    assert not booted.reporter.descriptors() and not booted.loop.due
    booted.reporter.restore({"on": True, "seconds": 1.0, "login": False})
    booted.world.emit("startup")
    assert booted.lines == ["[  ok   ] web"]


def test_an_end_that_has_shown_nothing_yet_is_shown_after_a_re_exec(boot: Begin) -> None:
    booted = boot(web="start on startup\nstop on runlevel 0\nexec serve")
    world = booted.world
    world.emit("startup")
    booted.wait(10)
    assert booted.lines == ["[  ok   ] web"] and not world.engine.reporting
    world.engine.set_ending(True)
    saved = json.loads(json.dumps(state.dump(world.engine)))
    assert state.load(saved, time.monotonic).reporting
    saved["ending"] = False
    assert not state.load(saved, time.monotonic).reporting


@pytest.mark.parametrize(
    ("environ", "coloured"), [({"TERM": "linux"}, True), ({"TERM": "dumb"}, False), ({}, False),
                              ({"TERM": "linux", "NO_COLOR": "1"}, False)])
def test_words_are_coloured_where_the_terminal_can(boot: Begin, environ: dict[str, str], coloured: bool) -> None:
    booted = boot(web="start on startup\nexec serve", hostname=TASK)
    booted.environ = environ
    booted.reporter = booted.made()
    booted.reporter.begin()
    booted.world.emit("startup")
    assert booted.lines == ["[\x1b[32m  ok   \x1b[0m] web" if coloured else "[  ok   ] web"]


def test_a_session_shows_nothing(boot: Begin) -> None:
    booted = boot(web="start on startup\nexec serve", other="start on startup\nexec serve")
    booted.loop.due.clear()
    booted.reporter = Reporter(booted.world.engine, booted.loop, booted.environ, "")  # type: ignore[arg-type]
    booted.world.engine.set_ending(True)
    booted.world.engine.emit("startup", {}, last=True)
    booted.world.settle()
    assert booted.lines == [] and not booted.loop.due


@pytest.mark.parametrize("example", of_kind("console"))
def test_the_manual_shows_the_lines_as_they_are(boot: Begin, example: Example) -> None:
    booted = boot(
        hostname="start on startup\ntask\nexec work", networking="start on startup\npre-start exec ifup",
        tty2="start on startup\npre-start exec look\nexec daemon",
        cron="start on startup\nstop on runlevel 0\nexec cron",
    )  # fmt: skip
    world = booted.world
    world.emit("startup")
    world.exit("hostname")
    world.exit("networking", 1, "pre-start")
    world.engine.stop_job(world.job("tty2"), {})
    world.exit("tty2", process="pre-start")
    lines = [line for line in booted.lines if "cron" not in line]
    world.engine.set_ending(True)
    world.engine.emit("runlevel", {"RUNLEVEL": "0"}, last=True)
    world.settle()
    world.exit("cron", 15 << 8)
    lines += booted.lines
    assert re.sub(r"\([0-9]+\)", "(212)", "\n".join(lines)) == example.text.strip()


class TestConsole:
    def test_that_is_not_read_is_not_waited_for_and_hears_the_rest_later(self) -> None:
        master, slave = os.openpty()
        console = Console(os.ttyname(slave))
        began = time.monotonic()
        line = b"x" * 99 + b"\n"
        for _ in range(1000):
            console.write(line)
        assert time.monotonic() - began < 1
        assert not console.close()
        os.set_blocking(master, False)
        said = b""

        def closed() -> bool:
            nonlocal said
            try:
                said += os.read(master, 1 << 20)
            except BlockingIOError:
                pass
            return console.close() and said.endswith(b"\n")

        assert wait_for(closed)
        # Whole lines, without those in between that there was no room for.
        assert said and set(said.split(b"\r\n")) == {b"x" * 99, b""}
        os.close(master)
        os.close(slave)

    def test_on_which_a_password_is_typed_hears_of_jobs_afterwards(self) -> None:
        master, slave = os.openpty()
        os.set_blocking(master, False)
        console = Console(os.ttyname(slave))
        settings = termios.tcgetattr(slave)
        hidden = [*settings[:3], settings[3] & ~termios.ECHO, *settings[4:]]
        termios.tcsetattr(slave, termios.TCSANOW, hidden)
        console.write(b"one\n", polite=True)
        time.sleep(0.05)
        with pytest.raises(BlockingIOError):
            os.read(master, 100)
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        console.flush(polite=True)
        os.set_blocking(master, True)
        assert os.read(master, 100) == b"one\r\n"
        termios.tcsetattr(slave, termios.TCSANOW, hidden)
        # A login hides it all the time.
        console.write(b"two\n")
        assert os.read(master, 100) == b"two\r\n"
        os.close(master)
        os.close(slave)

    @pytest.mark.parametrize("kind", ["missing", "file", "directory"])
    def test_that_is_none_is_no_error(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "console"
        if kind == "file":
            path.write_text("")
        elif kind == "directory":
            path.mkdir()
        console = Console(str(path))
        console.write(b"line\n")
        assert kind != "file" or path.read_text() == ""

    def test_on_which_somebody_has_hung_up_is_opened_again(self) -> None:
        master, slave = os.openpty()
        path = os.ttyname(slave)
        console = Console(path)
        console.write(b"one\n")
        os.close(master)
        os.close(slave)
        console.write(b"lost\n")
        master, slave = os.openpty()
        if os.ttyname(slave) == path:
            console.write(b"two\n")
            assert b"two" in os.read(master, 100)
        os.close(master)
        os.close(slave)
