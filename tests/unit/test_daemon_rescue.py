"""Which processes are no sign that a boot goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from upstart.daemon import rescue
from upstart.daemon.rescue import Boot, serves_others
from upstart.engine.world import World


def test_bridges_and_the_process_that_hosts_them_start_nothing_of_their_own() -> None:
    world = World(
        upstart_udev_bridge="start on awaited EVENT=*-device-*\nexport SEPARATE\nenv SEPARATE=\npre-start exec wait\n",
        upstart_bridges="start on starting JOB=upstart-*-bridge\nexec host\n",
        interface="start on net-device-added\nexec up\n",
        failsafe="start on startup\nexec sleep\n",
        before="start on starting failsafe\nexec sleep\n",
    )
    world.engine.tell_awaited()
    world.settle()
    world.emit("startup")
    found = {
        instance.job.name: serves_others(world.engine, instance) for instance, _ in world.engine.pids.values()
    }
    assert found == {
        "upstart-udev-bridge": True, "upstart-bridges": True, "failsafe": False, "before": False,
    }  # fmt: skip


class Watched:
    """A boot of these jobs that is looked at; ``shells`` is how often root was given one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **jobs: str) -> None:
        self.world = World(**jobs)
        self.soon: list[Callable[[], object]] = []
        self.later: dict[int, Callable[[], object]] = {}
        self.timers = 0
        self.shells: list[str] = []
        self.runlevel = False
        monkeypatch.setattr(rescue, "has_runlevel", lambda: self.runlevel)
        monkeypatch.setattr(Boot, "_give_shell", self.give_shell)
        loop: Any = self
        configuration: Any = None
        self.boot = Boot(self.world.engine, loop, configuration, "init", lambda: None, lambda level, text: None)

    def give_shell(self) -> None:
        self.shells.append("shell")

    def before_wait(self, call: Callable[[], object]) -> None:
        self.soon.append(call)

    def call_later(self, seconds: float, call: Callable[[], object]) -> int:
        assert seconds == rescue.LASTING
        self.timers += 1
        self.later[self.timers] = call
        return self.timers

    def remove(self, timer: int) -> None:
        self.later.pop(timer, None)

    def turn(self) -> None:
        self.world.settle()
        soon, self.soon = self.soon, []
        for call in soon:
            call()

    def pass_time(self) -> None:
        later, self.later = self.later, {}
        for call in later.values():
            call()
        self.turn()

    def begin(self) -> None:
        self.boot.begin("startup")
        self.turn()

    def end(self, job: str) -> None:
        self.world.exit(job)
        self.turn()


def test_a_step_of_the_boot_that_ends_after_its_first_event_is_no_sign_that_it_has_come_to_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched(monkeypatch, step="start on startup\nexec step\n")
    watched.begin()
    assert not watched.world.engine.events and watched.later and not watched.shells
    watched.end("step")
    assert len(watched.shells) == 1 and not watched.soon
    # And again once root has left the shell, whatever is left of the first time.
    watched.begin()
    assert watched.soon and list(watched.later) == [2] and len(watched.shells) == 1
    watched.end("step")
    assert len(watched.shells) == 2


def test_a_boot_has_come_to_something_once_a_process_lasts_or_there_is_a_runlevel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched(monkeypatch, step="start on startup\nexec step\n", next="start on stopped step\nexec next\n")
    watched.begin()
    watched.end("step")
    # Another one's time begins.
    watched.pass_time()
    assert watched.soon and watched.later
    watched.pass_time()
    assert not watched.soon
    watched.end("next")
    assert not watched.shells
    watched.runlevel = True
    watched.begin()
    watched.end("step")
    watched.end("next")
    watched.pass_time()
    assert not watched.soon and not watched.shells
