"""When the quick way to start a process is left to a fork: where descriptors would get into each other's way."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from upstart.base.syscalls import Spawner
from upstart.conf.parse import parse_job
from upstart.process import child, limits
from upstart.process.members import Members
from upstart.process.quick import Quick
from upstart.process.request import SpawnRequest

PID = 4_000_000


class Spawning:
    """What is asked of posix_spawn(3), which is not called; init's descriptors from ``soft`` on are above the limit
    that jobs have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.calls: list[list[tuple[int, ...]]] = []
        called = self.called
        monkeypatch.setattr(Spawner, "spawn", lambda self, *asked: called(*asked))
        monkeypatch.setattr("upstart.process.program.Programs.find", lambda self, name, *_: name)
        monkeypatch.setattr("resource.setrlimit", lambda *args: None)
        self.quick = Quick(True, None)
        self.script, self.other = os.pipe()
        job = parse_job("job", "script\n  one\n  two\nend script\n", "")
        request = SpawnRequest(job, "job", "main", "", {})
        self.setup = child.Setup(request, ["/bin/sh", "-e", "/proc/self/fd/9"], -1, Members(0, 0, "job", "", None))
        self.setup.script = self.script

    def called(self, program: str, argv: list[str], env: dict[str, str], actions: list[tuple[int, ...]]) -> int:
        self.calls.append(actions)
        return PID

    def spawn(self, soft: int) -> int:
        self.monkeypatch.setattr(limits, "_original", (soft, 1 << 20))
        return self.quick.spawn(self.setup)

    def close(self) -> None:
        self.quick.close()
        os.close(self.script)
        os.close(self.other)


@pytest.fixture
def spawning(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spawning]:
    made = Spawning(monkeypatch)
    yield made
    made.close()


def test_a_script_above_the_limit_is_given_by_a_spare_number(spawning: Spawning) -> None:
    assert spawning.spawn(spawning.script) == PID
    (low,) = [action[1] for action in spawning.calls[0] if action[0] == os.POSIX_SPAWN_DUP2 and action[2] == 9]
    assert low != spawning.script


def test_a_spare_number_is_not_used_where_sockets_may_take_it(spawning: Spawning) -> None:
    spawning.setup.sockets = [fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 20) for _ in range(3)]
    try:
        above = max(*spawning.setup.sockets, spawning.script) + 1
        script = os.dup2(spawning.script, above + 1)
        spawning.setup.script = script
        assert spawning.spawn(above) == 0 and not spawning.calls
        # Below the limit it has a number that none of them takes.
        assert spawning.spawn(script + 1) == PID
        assert (os.POSIX_SPAWN_DUP2, script, 9) in spawning.calls[0]
        os.close(script)
    finally:
        for fd in spawning.setup.sockets:
            os.close(fd)


class TestSpawner:
    """posix_spawn(3) by itself."""

    def run(self, *argv: str, env: dict[str, str] | None = None, actions: tuple[tuple[Any, ...], ...] = ()) -> str:
        reader, writer = os.pipe()
        try:
            out = (os.POSIX_SPAWN_DUP2, writer, 1)
            pid = Spawner(child.SIGNALS).spawn(argv[0], argv, env or {}, (out, *actions))
            os.close(writer)
            writer = -1
            with os.fdopen(reader, "rb", closefd=False) as file:
                said = file.read().decode("utf-8", "surrogateescape")
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            return said
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)

    def test_gives_words_variables_and_descriptors(self) -> None:
        assert self.run("/usr/bin/env", env={"A": "b c", "X": "\udcff=1"}) == "A=b c\nX=\udcff=1\n"
        actions = ((os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_CLOSE, 2))
        said = self.run("/bin/sh", "-c", "cat; echo $1; ls -l /proc/$$/fd/2 /proc/$$/fd/0 | cut -d'>' -f2", "sh", "é",
                        env={"PATH": "/usr/bin:/bin"}, actions=actions)  # fmt: skip
        assert said.splitlines()[0] == "é" and "/dev/null" in said

    def test_has_no_signal_ignored_or_blocked_and_a_session_of_its_own(self) -> None:
        said = self.run("/bin/sh", "-c", "grep ^Sig /proc/self/status; cut -d' ' -f6 /proc/$$/stat; echo $$",
                        env={"PATH": "/usr/bin:/bin"})  # fmt: skip
        words = dict(line.split(":\t") for line in said.splitlines() if ":" in line)
        assert int(words["SigIgn"], 16) == 0 and int(words["SigBlk"], 16) == 0
        assert said.splitlines()[-1] == said.splitlines()[-2]

    def test_says_what_is_wrong(self, tmp_path: Path) -> None:
        spawner = Spawner(child.SIGNALS)
        with pytest.raises(FileNotFoundError, match=str(tmp_path)):
            spawner.spawn(f"{tmp_path}/none", ["x"], {}, ())
        for argv, env in ((["a\0b"], {}), (["a"], {"X": "\0"})):
            with pytest.raises(ValueError, match="null"):
                spawner.spawn("/bin/true", argv, env, ())
        before = os.listdir("/proc/self/fd")
        with pytest.raises(OSError, match="descriptor"):
            spawner.spawn("/bin/true", ["true"], {}, ((os.POSIX_SPAWN_DUP2, 999, 1),))
        assert os.listdir("/proc/self/fd") == before
