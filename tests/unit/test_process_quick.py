"""When the quick way to start a process is left to a fork: where descriptors would get into each other's way."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest

from upstart.conf.parse import parse_job
from upstart.process import child, quick
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
        monkeypatch.setattr(os, "posix_spawn", self.called)
        monkeypatch.setattr("upstart.process.program.Programs.find", lambda self, name, env, head: name)
        monkeypatch.setattr("resource.setrlimit", lambda *args: None)
        self.quick = Quick(True, None)
        self.script, self.other = os.pipe()
        job = parse_job("job", "script\n  one\n  two\nend script\n", "")
        request = SpawnRequest(job, "job", "main", "", {})
        self.setup = child.Setup(request, ["/bin/sh", "-e", "/proc/self/fd/9"], -1, Members(0, 0, "job", "", None))
        self.setup.script = self.script

    def called(self, *args: object, file_actions: list[tuple[int, ...]], **options: object) -> int:
        self.calls.append(file_actions)
        return PID

    def spawn(self, soft: int) -> int:
        self.monkeypatch.setattr(quick, "original_descriptors", lambda: (soft, 1 << 20))
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
