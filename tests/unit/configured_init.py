"""An init's loop, engine and configuration in a directory."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from upstart.base.loop import Loop
from upstart.base.priority import MESSAGE
from upstart.conf.sources import Sources
from upstart.daemon.basis import Basis
from upstart.daemon.chroots import Chroots
from upstart.daemon.configuration import Configuration
from upstart.daemon.options import Options
from upstart.engine import state
from upstart.engine.engine import Engine

#: Seconds.
SOON = 10.0


class Init:
    """A loop, an engine and the configuration in ``conf``; ``said`` is the log."""

    def __init__(self, conf: Path, before: Init | None = None, *, restart: bool = False) -> None:
        """With ``before`` it has the jobs of that, with ``restart`` it begins anew without."""
        self.conf = conf
        self.said: list[str] = []
        options = Options("init")
        options.user = True
        options.confdirs = [str(conf)]
        options.restart = restart or before is not None
        self.loop = Loop()
        self.engine = Engine(time.monotonic) if before is None else before.next_engine()
        self.chroots = Chroots(True)
        log = lambda priority, text: self.said.append(text) if priority > MESSAGE else None  # noqa: E731
        self.configuration = Configuration(Basis(options, {}, self.engine, self.loop, log), self.chroots)
        self.loop.fault = self._fault
        self.faults: list[BaseException] = []
        self.configuration.load(before is not None)

    def next_engine(self) -> Engine:
        """The engine that a re-exec has."""
        self.engine.take_effects()
        return state.load(json.loads(json.dumps(state.dump(self.engine))), time.monotonic)

    def _fault(self, error: BaseException) -> None:
        self.faults.append(error)
        # As what mends an init does.
        self.configuration.passes.look_again()

    def turn(self, until: Callable[[], Any], seconds: float = SOON) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, f"not in time; {self.said}"
            self.loop.turn(0.02)
            self.reap()

    def rest(self) -> None:
        """Until all that has changed is known."""
        self.turn(lambda: self.configuration.passes._pass is None and not self.configuration.passes._needed
                  and not self.configuration.passes.hearing.unread())  # fmt: skip

    @staticmethod
    def reap() -> None:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    def description(self, name: str, session: str | None = None) -> str | None:
        job = self.engine.jobs.get((session, name))
        return None if job is None else (job.successor or job.job_class).description

    def known(self) -> dict[str, str | None]:
        return {name: self.description(name) for session, name in self.engine.jobs if session is None}

    def on_disk(self) -> dict[str, str | None]:
        """What an init that begins now would know."""
        sources = Sources(lambda text: None)
        sources.add_dir(str(self.conf))
        found = [change for change in sources.load() if change is not None]
        return {each.name: each.job_class.description for each in found if each.job_class is not None}

    def child(self) -> int:
        reader = self.configuration.passes._reader
        return reader._pid if reader is not None else 0

    def close(self) -> None:
        for reader in [self.configuration.passes._reader, *self.configuration.passes.unanswered._held.values()]:
            if reader is not None:
                reader.kill()
                reader.close()
        if self.configuration._watch is not None:
            self.configuration._watch.close()
        self.loop.close()
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break


@pytest.fixture
def init(tmp_path: Path) -> Iterator[Init]:
    conf = tmp_path / "init"
    conf.mkdir()
    (conf / "old.conf").write_text("description one\n")
    instance = Init(conf)
    yield instance
    instance.close()


def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on whoever looks at a path in this process fails."""
    us = os.getpid()

    def guard(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            assert os.getpid() != us or not isinstance(arguments[0], str), f"{name} {arguments}"
            return real(*arguments, **keywords)

        monkeypatch.setattr(os, name, call)

    for name in ("open", "stat", "lstat", "scandir", "listdir"):
        guard(name)
