"""A simulation that goes on from a point in a record, in virtual time: `Resumed`.

What is always true here: it begins with the engine as it was then, and with the processes that ran.  What these are
yet to do is assumed as for all others (`playing`), but that a service which was up stays so, what was asked to end
ends, and what mountall had told already is not told again.
"""

from __future__ import annotations

from upstart.base.priority import WARN
from upstart.engine import effects as fx
from upstart.engine import snapshot
from upstart.engine.lifecycle import KILL_TIMER, SIGTERM
from upstart.engine.world import Restless
from upstart.tools import playing
from upstart.tools.simulation import LIMIT, Simulation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from upstart.conf.jobclass import JobClass
    from upstart.engine.data import Instance
    from upstart.tools.playing import Event
    from upstart.tools.simulation import Waiting
    from upstart.tools.situation import Situation


class Resumed(Simulation):
    """Goes on from ``situation``, once the jobs ``added`` are defined and those named in ``removed`` are gone."""

    def __init__(
        self,
        situation: Situation,
        takes: Mapping[str, float] | None = None,
        container: str = "",
        added: Iterable[JobClass] = (),
        removed: Iterable[str] = (),
    ) -> None:
        super().__init__((), takes, container)
        world = self.world
        engine = world.engine = snapshot.load(situation.saved(), lambda: world.now)
        engine.set_priority(WARN)
        engine.set_announcing(True)
        world.now = self._start = situation.replay.now
        self.history = list(situation.history)
        self.started_before = set(situation.started)
        self.begins_late = situation.begins_late
        # Who waited for an answer then, and is not told.
        world.answers[0] = []
        self._emitted_before = situation.emitted
        self._told = {name for name, _ in situation.emitted}
        world.next_pid = max([world.next_pid, *engine.pids])
        instances = list(engine.instances())
        for instance in instances:
            for timer, due in instance.timers.items():
                world.timers[instance.serial, timer] = (due, instance)
            for process, pid in instance.pids.items():
                world.kept.add((instance.serial, process))
                world.alive[pid] = (instance.serial, process)
            for process in instance.unready:
                if process not in instance.pids:
                    world.starts.append(fx.Spawn(instance, process, dict(instance.env), instance.fds))
        for name in removed:
            engine.undefine(None, name)
        for job_class in added:
            engine.define(job_class)
        self.jobs = [job.job_class for job in engine.jobs.values()]
        try:
            for instance in instances:
                for process in list(instance.unready & instance.pids.keys()):
                    engine.process_ready(instance, process)
            world.settle()
        except Restless:
            self.restless = True
        for instance in instances:
            for process, pid in list(instance.pids.items()):
                self._goes_on(instance, process, pid)

    def _goes_on(self, instance: Instance, process: str, pid: int) -> None:
        """What a process that is there is yet to do."""
        job = instance.job_class
        up = instance.state in ("running", "pre-stopping", "pre-stop")
        if KILL_TIMER + process in instance.timers:
            self._at(0.0, lambda: self._end(pid, SIGTERM))
        elif process == "main" and not job.task and up and not playing.is_mountall(job) and job.name != "failsafe":
            return
        elif process == "main" and up:
            self._runs(instance, pid)
        else:
            self._began(instance, process, pid)
        if not up or job.task:
            self.under_way.append(job.name)

    def _play(self, waiting: Waiting) -> list[Event]:
        found = super()._play(waiting)
        return [each for each in found if (each[0], each[1].get("MOUNTPOINT", "")) not in self._emitted_before]

    def go_on(self, events: list[Event]) -> Simulation:
        """Let it come to rest, and then have these events come."""
        if not self.restless:
            self._rest(LIMIT)
        return self.run(events)
