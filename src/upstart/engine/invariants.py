"""What holds of an engine at any moment at which nothing is under way: its own data agree with each other, and with
what was made for it.

What is always true here: nothing is changed.
"""

from __future__ import annotations

from upstart.engine import effects as fx
from upstart.engine.awaited import count
from upstart.engine.lifecycle import NEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.engine.data import Instance
    from upstart.engine.engine import Engine

    #: An instance by its serial number, and the name of one of its processes or timers.
    Key = tuple[int, str]


def check(engine: Engine) -> None:
    """Raise AssertionError where something is not as it must be."""
    blockers: dict[int, int] = {}
    for job in engine.jobs.values():
        for event in (job.start_progress or {}).values():
            blockers[event.serial] = blockers.get(event.serial, 0) + 1
        for instance in job.instances.values():
            _check_instance(instance)
            for event in (instance.stop_progress or {}).values():
                blockers[event.serial] = blockers.get(event.serial, 0) + 1
            for blocked in instance.blocking:
                if blocked.event is not None:
                    blockers[blocked.event.serial] = blockers.get(blocked.event.serial, 0) + 1
    for event in engine.events.values():
        assert event.blockers == blockers.get(event.serial, 0), f"{event} counts its blockers wrongly"
        assert event.blockers > 0, f"{event} is held by nothing"
    assert not set(blockers) - set(engine.events), "something waits for an event that is gone"
    pids = {pid: (i, process) for i in engine.instances() for process, pid in i.pids.items()}
    assert engine.pids == pids
    awaited = count([job.job_class for job in engine.jobs.values()], engine.environ)
    assert engine.awaited.counts() == awaited.counts(), "what is awaited is counted wrongly"


def _check_instance(instance: Instance) -> None:
    assert instance.state in NEXT and instance.state != "waiting"
    assert instance.goal in ("start", "stop", "respawn")
    if "main" in instance.job_class.processes:
        if (instance.goal, instance.state) == ("start", "running"):
            assert instance.main_pid, "start/running without a process"
    if instance.state in ("starting", "stopping"):
        assert instance.blocker is not None and instance.blocker.waiting is instance
    else:
        assert instance.blocker is None
    timers = set(instance.timers)
    assert instance.doomed <= set(instance.pids), "killed, and no longer there"
    if instance.state == "killed":
        assert "kill:main" in timers or "main" in instance.unready, "killed, and nothing will kill it"
    if "expect" in timers:
        assert instance.state == "spawned", "a timer has outlived its state: expect"
    if "ready" in timers:
        assert instance.goal != "stop" and instance.state != "running", "a timer has outlived its state: ready"
    for process in (timer.removeprefix("kill:") for timer in timers - {"expect", "ready"}):
        assert process in instance.pids, f"a timer has outlived its process: {process}"


def check_made(engine: Engine, timers: set[Key], asked: list[Key], kept: set[Key], alive: dict[int, Key]) -> None:
    """As `check`: timers, tries to start a process, and processes are those that the engine knows of, and no others.

    ``timers`` are those that run, ``asked`` the processes yet to be started, ``kept`` those that are not let go of, and
    ``alive`` those that live, by their pid; of effects not performed yet they know nothing.
    """
    for effect in engine.effects:
        if isinstance(effect, fx.SetTimer):
            timers.add((effect.instance.serial, effect.timer))
        elif isinstance(effect, fx.CancelTimer):
            timers.discard((effect.instance.serial, effect.timer))
        elif isinstance(effect, fx.Spawn):
            asked.append((effect.instance.serial, effect.process))
        elif isinstance(effect, fx.Gone):
            kept.discard((effect.instance.serial, effect.process))
    instances = list(engine.instances())
    assert timers == {(i.serial, timer) for i in instances for timer in i.timers}, "a timer is not the engine's"
    unborn = [(i.serial, process) for i in instances for process in i.unready if process not in i.pids]
    assert sorted(asked) == sorted(unborn), "a process is asked for that the engine does not wait for"
    assert kept == {(i.serial, process) for i in instances for process in i.pids}, "a process is kept that is gone"
    known = {pid: (i.serial, process) for i in instances for process, pid in i.pids.items()}
    assert alive == known, "a process lives of which the engine does not know"
    mains = [key for key in alive.values() if key[1] == "main"]
    assert len(mains) == len(set(mains)), "two main processes"
