"""The engine's world in virtual time: its effects are performed on processes that are just numbers.

What is always true here: a clock that jumps, processes that do what they are told to do (`World.exit`, `fork`), and
all of it decided by the caller; the same steps lead to the same end.  Effects are performed at once and in order, or
kept (`World.keeping`) and performed one by one, with inputs in between; a process comes at once, late, after other
tries, or not at all.  At any moment the whole can be written down and go on from that (`reexecute`), as init does.
Everything that must hold at any moment is checked after each step.
"""

from __future__ import annotations

import json

from upstart.base.priority import DEBUG
from upstart.conf.parse import parse_job
from upstart.engine import effects as fx
from upstart.engine import invariants, state
from upstart.engine.data import Instance
from upstart.engine.engine import Engine
from upstart.engine.lifecycle import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.engine.data import Job

    #: An instance by its serial number, and the name of one of its processes or timers.
    Key = tuple[int, str]

#: The states of a job from its start to running.
START_ORDER = [
    "starting", "security-spawning", "security", "pre-starting", "pre-start", "spawning", "spawned", "post-starting",
    "post-start", "running",
]  # fmt: skip

#: What becomes of a process that is asked for: its program runs at once; it exists, and its program is yet to run; its
#: pid is yet to come; it is tried again; it cannot be executed.
FATES = READY, SLOW, LATE, SHORT, BROKEN = "ready", "slow", "late", "short", "broken"

#: Seconds between two tries to start a process, and how many there are.
RETRY_SECONDS = 0.5
RETRIES = 20

#: Later than anything.
END = float("inf")

#: Rounds of running and performing after which jobs must be starting each other for ever.
ROUNDS = 50


class Restless(AssertionError):
    """The engine does not come to rest."""


class World:
    """An engine and the world around it, made with ``NAME=TEXT`` jobs (``__`` is a slash, ``_`` a hyphen)."""

    def __init__(self, **jobs: str) -> None:
        self.now = 1000.0
        self.engine = Engine(lambda: self.now)
        self.engine.set_priority(DEBUG)
        self.next_pid = 100
        self.log: list[str] = []
        self.reports: list[tuple[str, str, str]] = []
        #: request -> the answers it got.
        self.answers: dict[Any, list[object]] = {}
        self.signals: list[tuple[str, str, object]] = []
        self.kills: list[tuple[int, int]] = []
        #: What runs down: when, and for which instance.
        self.timers: dict[Key, tuple[float, Instance]] = {}
        #: Processes that are tried again: when, for the how manieth time, and what was asked for.
        self.retries: list[tuple[float, int, fx.Spawn]] = []
        #: Processes that a re-execution has left to be started by the next program.
        self.starts: list[fx.Spawn] = []
        #: Processes whose pid is yet to come.
        self.late: list[fx.Spawn] = []
        #: What is kept for each process until it is gone, and all that live.
        self.kept: set[Key] = set()
        self.alive: dict[int, Key] = {}
        self.spawned: list[tuple[str, str, int, dict[str, str]]] = []
        self.following: list[Instance] = []
        self.closed: list[int] = []
        #: Names of "JOB process" that cannot be executed.
        self.broken: set[str] = set()
        #: "JOB process" that stay unready until `ready` is called.
        self.slow: set[str] = set()
        #: "JOB process" for which memory lacks, so that they are tried again.
        self.short: set[str] = set()
        #: What becomes of the next processes of other names.
        self.fates: list[str] = []
        #: Effects are left with the engine until `perform` or `release` is called.
        self.keeping = False
        self.requests = 0
        for name, text in jobs.items():
            self.engine.define(parse_job(name.replace("__", "/").replace("_", "-"), text, f"{name}.conf"))
        self.settle()

    def define(self, name: str, text: str) -> Job:
        """Define a job by what its file says."""
        job = self.engine.define(parse_job(name, text, f"{name}.conf"))
        self.settle()
        return job

    def job(self, name: str) -> Job:
        """A job that there is."""
        return self.engine.jobs[None, name]

    def instance(self, name: str, instance: str = "") -> Instance:
        """An instance that there is."""
        return self.job(name).instances[instance]

    def status(self, name: str, instance: str = "") -> str:
        """Goal and state, as status(8) shows them."""
        found = self.job(name).instances.get(instance)
        return f"{found.goal}/{found.state}" if found else "stop/waiting"

    def pid(self, name: str, process: str = "main", instance: str = "") -> int:
        """The pid of a process that there is."""
        return self.instance(name, instance).pids[process]

    # What clients do

    def request(self) -> int:
        """Somebody who waits for an answer."""
        self.requests += 1
        self.answers[self.requests] = []
        return self.requests

    def emit(self, name: str, fd: int = -1, **env: str) -> int:
        """Emit an event, and wait for its end."""
        return self.emit_env(name, env, fd)

    def emit_env(self, name: str, env: dict[str, str], fd: int = -1) -> int:
        """The same with a table."""
        request = self.request()
        self.engine.emit(name, env, request=request, fd=fd)
        self.settle()
        return request

    def start(self, name: str, **env: str) -> int:
        """Start a job, and wait for that."""
        request = self.request()
        self.engine.start_job(self.job(name), env, request)
        self.settle()
        return request

    def stop(self, name: str, force: bool = False, **env: str) -> int:
        """Stop a job, and wait for that."""
        request = self.request()
        self.engine.stop_job(self.job(name), env, request, force)
        self.settle()
        return request

    def restart(self, name: str, **env: str) -> int:
        """Restart a job, and wait for that."""
        request = self.request()
        self.engine.restart_job(self.job(name), env, request)
        self.settle()
        return request

    # What processes do

    def exit(self, name: str, status: int | None = 0, process: str = "main", instance: str = "") -> None:
        """A process ends."""
        self.end(self.pid(name, process, instance), status)

    def end(self, pid: int, status: int | None) -> None:
        """The process ``pid`` ends."""
        self.alive.pop(pid, None)
        self.engine.process_exited(pid, status)
        self.settle()

    def ready(self, name: str, process: str = "main", instance: str = "") -> None:
        """A slow process has executed its program."""
        self.engine.process_ready(self.instance(name, instance), process)
        self.settle()

    def not_executed(self, instance: Instance, process: str) -> None:
        """The program of a process that is there cannot be executed."""
        self.alive.pop(instance.pids[process])
        self.engine.spawn_failed(instance, process, "unable to execute: No such file or directory")
        self.settle()

    def fork(self, name: str, instance: str = "") -> int:
        """A main process becomes a daemon, with another pid."""
        return self.become_daemon(self.instance(name, instance))

    def become_daemon(self, instance: Instance) -> int:
        """The main process of ``instance`` becomes a daemon, with another pid."""
        self.next_pid += 1
        self.alive[self.next_pid] = self.alive.pop(instance.main_pid)
        self.engine.process_forked(instance, self.next_pid)
        self.settle()
        return self.next_pid

    def come(self, number: int, fate: str) -> None:
        """What becomes of one of the late processes is known."""
        self._become(self.late.pop(number), fate, RETRIES)
        self.settle()

    # Time

    def sleep(self, seconds: float) -> None:
        """Let time pass, with what falls due on the way."""
        end = self.now + seconds
        while True:
            timer, when = min(
                ((key, when) for key, (when, _) in self.timers.items()), key=lambda each: each[1], default=(None, END)
            )
            again = min(self.retries, key=lambda each: each[0], default=None)
            if min(when, again[0] if again is not None else END) > end:
                break
            if timer is not None and (again is None or when <= again[0]):
                self.now = max(self.now, when)
                self.engine.timer_fired(self.timers.pop(timer)[1], timer[1])
            elif again is not None:
                self.now = max(self.now, again[0])
                self.retries.remove(again)
                self._try(again[2], again[1])
            self.settle()
        self.now = end

    # Performing

    def settle(self) -> None:
        """Run the engine to its rest, and perform what it asks for, if nothing is kept."""
        for _ in range(ROUNDS + len(self.engine.jobs) // 10):
            more = self.engine.run()
            if self.keeping:
                if not more:
                    break
                continue
            todo = [*self.starts, *self.engine.take_effects()]
            self.starts.clear()
            if not todo and not more:
                break
            for effect in todo:
                self._perform(effect)
        else:
            raise Restless("the engine does not come to rest")
        self.check()

    def perform(self, number: int) -> None:
        """Perform the oldest effects of those that are kept."""
        todo = [*self.starts, *self.engine.take_effects()]
        self.starts.clear()
        for effect in todo[:number]:
            self._perform(effect)
        self.engine.put_back(todo[number:])
        self.settle()

    def release(self) -> None:
        """Keep no more effects."""
        self.keeping = False
        self.settle()

    def _perform(self, effect: fx.Effect) -> None:
        getattr(self, "_" + effect.kind.replace("-", "_"))(effect)

    def _spawn(self, effect: fx.Spawn) -> None:
        self._try(effect, 0)

    def _try(self, effect: fx.Spawn, tries: int) -> None:
        what = f"{effect.instance.job.name} {effect.process}"
        named = ((BROKEN, self.broken), (SLOW, self.slow), (SHORT, self.short))
        known = [fate for fate, names in named if what in names]
        self._become(effect, known[0] if known else self.fates.pop(0) if self.fates else READY, tries)

    def _become(self, effect: fx.Spawn, fate: str, tries: int) -> None:
        instance, process = effect.instance, effect.process
        key = (instance.serial, process)
        if fate == LATE:
            self.late.append(effect)
        elif fate == SHORT and tries < RETRIES and instance.goal != "stop":
            self.retries.append((self.now + RETRY_SECONDS, tries + 1, effect))
        elif fate in (BROKEN, SHORT):
            self.engine.spawn_failed(instance, process, "unable to execute: No such file or directory")
        else:
            self.next_pid += 1
            self.spawned.append((instance.display, process, self.next_pid, effect.env))
            if not self.engine.process_spawned(instance, process, self.next_pid):
                self.kills.append((self.next_pid, SIGKILL))
                return
            self.kept.add(key)
            self.alive[self.next_pid] = key
            if fate == READY:
                self.engine.process_ready(instance, process)

    def _cancel_spawn(self, effect: fx.CancelSpawn) -> None:
        def is_meant(spawn: fx.Spawn) -> bool:
            return (spawn.instance, spawn.process) == (effect.instance, effect.process)

        count = len(self.retries) + len(self.starts)
        self.retries = [entry for entry in self.retries if not is_meant(entry[2])]
        self.starts = [spawn for spawn in self.starts if not is_meant(spawn)]
        if len(self.retries) + len(self.starts) < count:
            self.engine.spawn_withdrawn(effect.instance, effect.process)

    def _signal(self, effect: fx.Signal) -> None:
        self.kills.append((effect.pid, effect.signal))

    def _set_timer(self, effect: fx.SetTimer) -> None:
        self.timers[effect.instance.serial, effect.timer] = (self.now + effect.seconds, effect.instance)

    def _cancel_timer(self, effect: fx.CancelTimer) -> None:
        self.timers.pop((effect.instance.serial, effect.timer), None)

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

    def _report(self, effect: fx.Report) -> None:
        self.reports.append((effect.what, effect.instance.display, effect.reason))

    def _log(self, effect: fx.Log) -> None:
        self.log.append(effect.text)

    def _close(self, effect: fx.CloseFd) -> None:
        self.closed.append(effect.fd)

    def _gone(self, effect: fx.Gone) -> None:
        self.kept.discard((effect.instance.serial, effect.process))

    # Re-execution

    def leave_processes(self) -> None:
        """Perform all that is asked for but the start of processes, which the next program can do as well."""
        while todo := self.engine.take_effects():
            for effect in todo:
                if isinstance(effect, fx.Spawn):
                    self.starts.append(effect)
                else:
                    self._perform(effect)

    def reexecute(self) -> None:
        """Go on from what can be written down; those who wait for an answer lose their connection."""
        self.leave_processes()
        text = json.dumps(
            {
                "engine": state.dump(self.engine),
                "starts": [_written(effect) for effect in self.starts],
                "late": [_written(effect) for effect in self.late],
                "retries": [[when, tries, _written(effect)] for when, tries, effect in self.retries],
                "timers": [[*key, when] for key, (when, _) in self.timers.items()],
                "following": [instance.serial for instance in self.following],
            }
        )
        saved = json.loads(text)
        priority = self.engine.priority
        self.engine = state.load(saved["engine"], lambda: self.now)
        self.engine.set_priority(priority)
        instances = {instance.serial: instance for instance in self.engine.instances()}
        self.starts = [_read(entry, instances) for entry in saved["starts"]]
        self.late = [_read(entry, instances) for entry in saved["late"]]
        self.retries = [(when, tries, _read(entry, instances)) for when, tries, entry in saved["retries"]]
        self.timers = {(serial, timer): (when, instances[serial]) for serial, timer, when in saved["timers"]}
        self.following = [instances[serial] for serial in saved["following"] if serial in instances]
        self.answers = {request: answers for request, answers in self.answers.items() if answers}
        self.settle()

    def _ended(self, effect: fx.Ended) -> None:
        pass

    # What holds at any moment

    def states(self, name: str) -> list[object]:
        """The states that somebody who listens has seen a job in."""
        return [value for signal, subject, value in self.signals if signal == "StateChanged" and subject == name]

    def events(self) -> list[str]:
        """The events that have ended, in that order."""
        return [value[0] for signal, _, value in self.signals if signal == "EventEmitted" and isinstance(value, tuple)]

    def check(self) -> None:
        """Raise AssertionError where something is not as it must be."""
        for answers in self.answers.values():
            assert len(answers) <= 1, "a request was answered twice"
        invariants.check(self.engine)
        asked = [(effect.instance.serial, effect.process) for effect in [*self.starts, *self.late]]
        asked += [(effect.instance.serial, effect.process) for _, _, effect in self.retries]
        invariants.check_made(self.engine, set(self.timers), asked, set(self.kept), self.alive)


def _written(effect: fx.Spawn) -> list[Any]:
    return [effect.instance.serial, effect.process, effect.env, list(effect.fds)]


def _read(entry: list[Any], instances: dict[int, Instance]) -> fx.Spawn:
    return fx.Spawn(instances[entry[0]], entry[1], entry[2], tuple(entry[3]))
