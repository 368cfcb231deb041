"""Runs the engine in virtual time: performs its effects on processes that are just numbers.

A test scripts what processes do (`World.exit`, `fork`, …), jumps the clock (`World.sleep`), and looks at what was
logged, answered and announced.  Everything that must hold at any moment is checked after each step by `check`.
"""

from __future__ import annotations

from typing import Any

from upstart.base.priority import DEBUG
from upstart.conf.parse import parse_job
from upstart.engine import effects as fx
from upstart.engine.data import Instance, Job
from upstart.engine.engine import Engine
from upstart.engine.lifecycle import NEXT

#: The states of a job from its start to running.
START_ORDER = [
    "starting", "security-spawning", "security", "pre-starting", "pre-start", "spawning", "spawned", "post-starting",
    "post-start", "running",
]  # fmt: skip


class World:
    """An engine and the world around it."""

    def __init__(self, **jobs: str) -> None:
        self.now = 1000.0
        self.engine = Engine(lambda: self.now)
        self.engine.set_priority(DEBUG)
        self.next_pid = 100
        self.log: list[str] = []
        #: request -> the answers it got.
        self.answers: dict[Any, list[object]] = {}
        self.signals: list[tuple[str, str, object]] = []
        self.kills: list[tuple[int, int]] = []
        self.timers: dict[tuple[int, str], tuple[float, Instance]] = {}
        self.spawned: list[tuple[str, str, int, dict[str, str]]] = []
        self.following: list[Instance] = []
        self.closed: list[int] = []
        #: Names of "JOB process" that cannot be executed.
        self.broken: set[str] = set()
        #: "JOB process" that stay unready until `ready` is called.
        self.slow: set[str] = set()
        self.requests = 0
        for name, text in jobs.items():
            self.define(name.replace("__", "/").replace("_", "-"), text)
        self.settle()

    def define(self, name: str, text: str) -> Job:
        job = self.engine.define(parse_job(name, text, f"{name}.conf"))
        self.settle()
        return job

    def job(self, name: str) -> Job:
        return self.engine.jobs[None, name]

    def instance(self, name: str, instance: str = "") -> Instance:
        return self.job(name).instances[instance]

    def status(self, name: str, instance: str = "") -> str:
        found = self.job(name).instances.get(instance)
        return f"{found.goal}/{found.state}" if found else "stop/waiting"

    def pid(self, name: str, process: str = "main", instance: str = "") -> int:
        return self.instance(name, instance).pids[process]

    # Inputs

    def request(self) -> int:
        self.requests += 1
        self.answers[self.requests] = []
        return self.requests

    def emit(self, name: str, fd: int = -1, **env: str) -> int:
        return self.emit_env(name, env, fd)

    def emit_env(self, name: str, env: dict[str, str], fd: int = -1) -> int:
        request = self.request()
        self.engine.emit(name, env, request=request, fd=fd)
        self.settle()
        return request

    def start(self, name: str, **env: str) -> int:
        request = self.request()
        self.engine.start_job(self.job(name), env, request)
        self.settle()
        return request

    def stop(self, name: str, force: bool = False, **env: str) -> int:
        request = self.request()
        self.engine.stop_job(self.job(name), env, request, force)
        self.settle()
        return request

    def restart(self, name: str, **env: str) -> int:
        request = self.request()
        self.engine.restart_job(self.job(name), env, request)
        self.settle()
        return request

    def exit(self, name: str, status: int = 0, process: str = "main", instance: str = "") -> None:
        self.engine.process_exited(self.pid(name, process, instance), status)
        self.settle()

    def ready(self, name: str, process: str = "main", instance: str = "") -> None:
        self.engine.process_ready(self.instance(name, instance), process)
        self.settle()

    def fork(self, name: str, instance: str = "") -> int:
        self.next_pid += 1
        self.engine.process_forked(self.instance(name, instance), self.next_pid)
        self.settle()
        return self.next_pid

    def sleep(self, seconds: float) -> None:
        """Let time pass, firing what falls due on the way."""
        end = self.now + seconds
        while True:
            due = [(when, key) for key, (when, _) in self.timers.items() if when <= end]
            if not due:
                break
            when, key = min(due)
            self.now = max(self.now, when)
            _, instance = self.timers.pop(key)
            self.engine.timer_fired(instance, key[1])
            self.settle()
        self.now = end

    # Performing

    def settle(self) -> None:
        for _ in range(50 + len(self.engine.jobs) // 10):
            more = self.engine.run()
            todo = self.engine.take_effects()
            if not todo and not more:
                break
            for effect in todo:
                getattr(self, "_" + effect.kind.replace("-", "_"))(effect)
        else:
            raise AssertionError("the engine does not come to rest")
        self.check()

    def _spawn(self, effect: fx.Spawn) -> None:
        what = f"{effect.instance.job.name} {effect.process}"
        if what in self.broken:
            self.engine.spawn_failed(effect.instance, effect.process, "unable to execute: No such file or directory")
            return
        self.next_pid += 1
        self.spawned.append((effect.instance.display, effect.process, self.next_pid, effect.env))
        self.engine.process_spawned(effect.instance, effect.process, self.next_pid)
        if what not in self.slow:
            self.engine.process_ready(effect.instance, effect.process)

    def _kill(self, effect: fx.Kill) -> None:
        self.kills.append((effect.pid, effect.signal))

    def _set_timer(self, effect: fx.SetTimer) -> None:
        self.timers[id(effect.instance), effect.timer] = (self.now + effect.seconds, effect.instance)

    def _cancel_timer(self, effect: fx.CancelTimer) -> None:
        self.timers.pop((id(effect.instance), effect.timer), None)

    def _follow(self, effect: fx.Follow) -> None:
        self.following.append(effect.instance)

    def _reply(self, effect: fx.Reply) -> None:
        self.answers[effect.request].append("ok")

    def _reply_error(self, effect: fx.ReplyError) -> None:
        self.answers[effect.request].append(effect.text)

    def _announce(self, effect: fx.Announce) -> None:
        subject = effect.subject
        name = subject.display if isinstance(subject, Instance) else subject.name if subject is not None else ""
        self.signals.append((effect.signal, name, effect.value))

    def _log(self, effect: fx.Log) -> None:
        self.log.append(effect.text)

    def _close(self, effect: fx.CloseFd) -> None:
        self.closed.append(effect.fd)

    def _gone(self, effect: fx.Gone) -> None:
        pass

    # What holds at any moment

    def states(self, name: str) -> list[object]:
        return [value for signal, subject, value in self.signals if signal == "StateChanged" and subject == name]

    def events(self) -> list[str]:
        return [value[0] for signal, _, value in self.signals if signal == "EventEmitted" and isinstance(value, tuple)]

    def check(self) -> None:
        engine = self.engine
        for answers in self.answers.values():
            assert len(answers) <= 1, "a request was answered twice"
        blockers: dict[int, int] = {}
        for job in engine.jobs.values():
            for event in (job.start_progress or {}).values():
                blockers[event.serial] = blockers.get(event.serial, 0) + 1
            for instance in job.instances.values():
                self._check_instance(instance)
                for event in (instance.stop_progress or {}).values():
                    blockers[event.serial] = blockers.get(event.serial, 0) + 1
                for blocked in instance.blocking:
                    if blocked.event is not None:
                        blockers[blocked.event.serial] = blockers.get(blocked.event.serial, 0) + 1
        for event in engine.events.values():
            assert event.blockers == blockers.get(event.serial, 0), f"{event} counts its blockers wrongly"
            assert event.blockers > 0, f"{event} is held by nothing"
        assert not set(blockers) - set(engine.events), "something waits for an event that is gone"
        instances = [instance for job in engine.jobs.values() for instance in job.instances.values()]
        pids = {pid: (instance, process) for instance in instances for process, pid in instance.pids.items()}
        assert engine.pids == pids

    def _check_instance(self, instance: Instance) -> None:
        assert instance.state in NEXT and instance.state != "waiting"
        assert instance.goal in ("start", "stop", "respawn")
        assert instance.unready <= set(instance.pids)
        if "main" in instance.job_class.processes:
            if (instance.goal, instance.state) == ("start", "running"):
                assert instance.main_pid, "start/running without a process"
        if instance.state in ("starting", "stopping"):
            assert instance.blocker is not None and instance.blocker.waiting is instance
        else:
            assert instance.blocker is None
        if instance.state == "killed":
            assert (id(instance), "kill:main") in self.timers, "killed, and nothing will kill it"
