"""Wherever an input of the engine is cut short, it is mended: everything comes to rest where it would have anyway."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from upstart.conf.parse import parse_job
from upstart.engine import effects as fx
from upstart.engine.engine import Engine
from upstart.engine.world import World

ENGINE = "/upstart/engine/"
#: What allocates nothing where it matters, and what only tests call from outside.
UNFAILING = ("take_effects", "_served", "main_pid", "display")
NEVER = 1 << 60
#: Of the lines that a life runs through, each of these counts is tried once in so many.
STEP = 23

JOBS = {
    "service": "start on go\nstop on halt\nrespawn\npre-start exec true\npost-start exec true\npre-stop exec true\n"
    "post-stop exec true\nexec sleep\n",
    "chained": "start on started service\nstop on stopping service\nexec sleep\n",
    "task": "start on go and now\ntask\nexec true\n",
    "broken": "start on go\nexec nothing\n",
    "many": "start on go\ninstance $N\nexport N\nexec sleep\n",
    "first": "start on starting chained\ntask\nexec true\n",
    "stopper": "start on go\nstop on halt\nexpect stop\nexec sleep\n",
    "late": "start on go\nexec sleep\n",
}


class Failing:
    """Has the Nth line of the engine's code raise, once."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.fired = ""

    def __enter__(self) -> Failing:
        sys.settrace(self._entered)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _entered(self, frame: Any, event: str, argument: object) -> Any:
        code = frame.f_code
        if ENGINE not in code.co_filename or code.co_filename.endswith("/world.py") or code.co_name in UNFAILING:
            return None
        return self._line

    def _line(self, frame: Any, event: str, argument: object) -> Any:
        if event == "line":
            self.left -= 1
            if not self.left:
                name = frame.f_code.co_filename.rpartition("/")[2]
                self.fired = f"{name}:{frame.f_lineno} {frame.f_code.co_name}"
                raise MemoryError
        return self._line


class TornWorld(World):
    """One whose engine may be cut short at any moment: it is then mended, as the daemon does it."""

    def __init__(self, **jobs: str) -> None:
        self.todo: list[fx.Effect] = []
        #: Requests whose call failed at once.
        self.refused: set[int] = set()
        #: "JOB process" that are yet to come.
        self.held: set[str] = set()
        super().__init__(**jobs)

    def tell(self, act: Callable[[], object]) -> None:
        """What the kernel reports again until it was dealt with."""
        try:
            act()
        except MemoryError:
            self.mend()
            act()

    def command(self, act: Callable[[int], object], again: Callable[[], object]) -> None:
        """A client's call, which may fail; the client then tries ``again``."""
        request = self.request()
        try:
            act(request)
        except MemoryError:
            self.refused.add(request)
            self.mend()
            again()
        self.settle()

    def mend(self) -> None:
        timers = [(instance.serial, name) for (_, name), (_, instance) in self.timers.items()]
        asked = []
        for effect in [*self.todo, *self.late]:
            if isinstance(effect, fx.Spawn):
                asked.append((effect.instance.serial, effect.process))
            elif isinstance(effect, fx.SetTimer):
                timers.append((effect.instance.serial, effect.timer))
        self.engine.mend(asked, timers)

    def settle(self) -> None:
        for _ in range(80):
            more = True
            try:
                more = self.engine.run()
            except MemoryError:
                self.mend()
            self.todo += self.engine.take_effects()
            if not self.todo and not more:
                return
            while self.todo:
                effect = self.todo[0]
                try:
                    getattr(self, "_" + effect.kind.replace("-", "_"))(effect)
                except MemoryError:
                    del self.todo[0]
                    self.mend()
                else:
                    del self.todo[0]
        raise AssertionError("the engine does not come to rest")

    def _answer(self, request: Any, text: str) -> None:
        """As a client's call does: once."""
        if request not in self.refused and not self.answers[request]:
            self.answers[request].append(text)

    def _reply(self, effect: fx.Reply) -> None:
        self._answer(effect.request, "ok")

    def _reply_error(self, effect: fx.ReplyError) -> None:
        self._answer(effect.request, effect.text)

    def _spawn(self, effect: fx.Spawn) -> None:
        what = f"{effect.instance.job.name} {effect.process}"
        if what in self.held:
            self.late.append(effect)
            return
        if what in self.broken:
            self.engine.spawn_failed(effect.instance, effect.process, "unable to execute: No such file or directory")
            return
        self.next_pid += 1
        pid = self.next_pid
        # What exists is told, whatever happens; then that it runs.
        self.tell(lambda: self.engine.process_spawned(effect.instance, effect.process, pid))
        self.engine.process_ready(effect.instance, effect.process)

    def come_late(self) -> None:
        """What was held comes, at last."""
        self.held.clear()
        while self.late:
            try:
                self._spawn(self.late[0])
            except MemoryError:
                del self.late[0]
                self.mend()
            else:
                del self.late[0]
            self.settle()

    def end(self, pid: int, status: int | None) -> None:
        """A process ends, if it has not."""
        self.tell(lambda: self.engine.process_exited(pid, status))
        self.settle()

    def end_those(self, *states: str) -> None:
        """Main processes of instances in these states end as their job would have it, and so do all others."""
        for _ in range(8):
            for pid, (instance, process) in list(self.engine.pids.items()):
                if process != "main" or instance.job_class.task:
                    self.end(pid, 0)
                elif instance.state in states:
                    self.end(pid, 15 << 8)
                elif instance.state == "spawned" and instance.job_class.expect == "stop":
                    self.tell(lambda pid=pid: self.engine.process_stopped(pid))  # type: ignore[misc]
                    self.settle()


def live(world: TornWorld) -> None:
    """Events, commands and ends of processes, until all is stopped."""
    engine = world.engine
    world.broken = {"broken main"}
    world.held = {"late main"}

    def emit(name: str, **env: str) -> None:
        world.command(lambda request: engine.emit(name, env, request=request), lambda: engine.emit(name, env))

    emit("go", N="1")
    world.end_those()
    for instance in list(world.job("late").instances.values()):
        world.command(
            lambda request: engine.stop(instance, request),  # noqa: B023
            lambda: engine.stop(instance, None, True),  # noqa: B023
        )
        assert instance.state in ("stopping", "killed")
    emit("now")
    world.end_those()
    world.come_late()
    world.end_those("killed")
    for pid, (instance, process) in list(engine.pids.items()):
        if instance.job.name == "service" and process == "main":
            world.end(pid, 1)
    world.end_those()
    for instance in list(world.job("many").instances.values()):
        if instance.goal == "start":
            world.command(lambda request: engine.restart(instance, request), lambda: None)  # noqa: B023
    world.end_those("killed")
    emit("halt")
    world.end_those("killed")
    for job in list(engine.jobs.values()):
        for instance in list(job.instances.values()):
            world.command(
                lambda request: engine.stop(instance, request, True),  # noqa: B023
                lambda: engine.stop(instance, None, True),  # noqa: B023
            )
    for _ in range(4):
        world.end_those("killed")
    world.sleep(20)
    world.end_those("killed")


def lines() -> int:
    with Failing(NEVER) as failing:
        live(TornWorld(**JOBS))
    return NEVER - failing.left


@pytest.mark.parametrize("first", range(1, STEP, 5))
def test_an_input_that_is_cut_short_anywhere_is_brought_to_its_end(first: int) -> None:
    for at in range(first, lines(), STEP):
        world = TornWorld(**JOBS)
        with Failing(at) as failing:
            live(world)
        where = f"line {at}, {failing.fired}"
        if not failing.fired:
            # The last lines of a life are not in every one.
            continue
        world.check()
        left = [repr(instance) for job in world.engine.jobs.values() for instance in job.instances.values()]
        assert not left, where
        unanswered = {request for request, answers in world.answers.items() if not answers} - world.refused
        assert not unanswered, where


def test_a_process_that_nobody_is_about_to_spawn_is_not_waited_for_by_a_job_that_is_stopping() -> None:
    """Its start has failed in init, and it was stopped before that was mended."""
    now = [0.0]
    engine = Engine(lambda: now[0])
    job = engine.define(parse_job("job", "exec sleep\n", ""))
    engine.define(parse_job("holds", "start on stopping job\ntask\nexec sleep\n", ""))
    instance = engine.start_job(job, {}, None)
    engine.run()
    assert [effect.process for effect in engine.take_effects() if isinstance(effect, fx.Spawn)] == ["main"]
    engine.stop(instance)
    engine.run()
    (spawn,) = [effect for effect in engine.take_effects() if isinstance(effect, fx.Spawn)]
    assert instance.state == "stopping" and instance.unready == {"main"}
    engine.process_spawned(spawn.instance, "main", 1000)
    engine.process_ready(spawn.instance, "main")
    engine.run()
    engine.take_effects()
    engine.mend([], [])
    assert instance.state == "stopping"
    engine.process_exited(1000, 0)
    engine.run()
    assert not job.instances and not any(isinstance(effect, fx.Spawn) for effect in engine.take_effects())
