"""The judgement of the trials notices whatever is wrong with an init: each that is spoilt here in one way is found out.

What spoils it waits until there is a file, so that the same init is first found to be right.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent)]

import judgement  # noqa: E402
import subject  # noqa: E402
from client import Dead, Deaf, Untrue  # noqa: E402
from judgement import Judgement  # noqa: E402
from subject import Subject  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]

SPOIL = """
import os, time
import {module} as _module
def _spoilt(original):
    def method(self, *args, **named):
        if os.path.exists({flag!r}):
            {work}
        return original(self, *args, **named)
    return method
_module.{name} = _spoilt(_module.{name})
open({flag!r} + ".ready", "w").close()
"""

#: What is spoilt, how, and what the init is then.
WAYS = {
    "ends of processes are not seen": ("upstart.daemon.children", "Children.reap", "return None", (Deaf, Untrue)),
    "ends are seen and not told": ("upstart.engine.engine", "Engine.process_exited", "return None", (Deaf, Untrue)),
    "nobody is connected": ("upstart.dbus.server", "PrivateServer._accept", "time.sleep(.01); return None", (Deaf,)),
    "nothing is started": ("upstart.daemon.performer", "Performer._spawn", "return None", (Deaf, Untrue)),
    "events match nothing": ("upstart.engine.index", "EventIndex.candidates", "return {}", (Untrue,)),
    "events are told to nobody": ("upstart.daemon.endpoints", "Endpoints.announce", "return None", (Untrue,)),
    "no timer runs out": ("upstart.base.loop", "Loop._run_timers", "return None", (Deaf, Untrue)),
    "nothing is killed": ("upstart.daemon.children", "Children.signal", "return None", (Deaf, Untrue)),
    "no output is written": ("upstart.process.writer", "Writers.submit", "return None", (Untrue,)),
    "no file is read": ("upstart.daemon.passes", "Passes._begin", "return None", (Deaf, Untrue)),
    "it does nothing all the time": ("upstart.base.loop", "Loop._wait", "args = (0.0,)", (Untrue,)),
    "it starts what it does not know": (
        "upstart.daemon.performer", "Performer._spawn",
        "os.spawnv(os.P_NOWAIT, '/bin/sleep', ['sleep', '9'])", (Untrue,),
    ),
    "it answers late": ("upstart.dbus.server", "PrivateServer._accept", "time.sleep(3)", (Deaf,)),
    "it says a lot": (
        "upstart.daemon.performer", "Performer._spawn", "[self._warn('x' * 200) for _ in range(400)]", (Untrue,),
    ),
    "no other program begins": ("upstart.daemon.restart", "Restarter.begin", "return None", (Deaf, Untrue)),
}  # fmt: skip


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Subject]]:
    """Starts an init that is right so far; all is found out sooner than in a trial."""
    if os.getuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and namespaces")
    subjects: list[Subject] = []

    def begun(spoilt: str = "") -> Subject:
        one = Subject(tmp_path, ROOT, False, spoilt)
        subjects.append(one)
        verify(one)
        monkeypatch.setattr(judgement, "REST", 2.0)
        for module in (judgement, subject):
            monkeypatch.setattr(module, "PATIENCE", 4.0)
        return one

    yield begun
    for one in subjects:
        if one.process.poll() is None:
            os.kill(one.pid, signal.SIGCONT)
        one.end()


def verify(one: Subject, last: bool = False) -> None:
    Judgement(one).verify(one.log.stat().st_size, last)


@pytest.mark.parametrize("way", WAYS)
def test_an_init_that_is_spoilt_is_found_out(begin: Callable[[str], Subject], tmp_path: Path, way: str) -> None:
    module, name, work, verdicts = WAYS[way]
    flag = tmp_path / "flag"
    one = begin(SPOIL.format(module=module, name=name, work=work, flag=str(flag)))
    assert Path(f"{flag}.ready").exists(), "nothing was spoilt"
    flag.touch()
    with pytest.raises(verdicts):
        verify(one, last=True)


def test_an_init_that_is_right_is_found_to_be_so(begin: Callable[[str], Subject]) -> None:
    verify(begin(""), last=True)


def test_one_that_stands_still_is_deaf_and_one_that_is_gone_is_dead(begin: Callable[[str], Subject]) -> None:
    one = begin("")
    os.kill(one.pid, signal.SIGSTOP)
    with pytest.raises(Deaf):
        verify(one)
    os.kill(one.pid, signal.SIGCONT)
    verify(one)
    one.process.kill()
    one.process.wait()
    with pytest.raises(Dead):
        verify(one)
