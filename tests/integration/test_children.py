"""The table of a job's processes beside a real engine, with real processes, where ends and commands cross each other.

Each process is spawned, and each end is taken, when the test says so: what a daemon meets once in a thousand starts
is the order of every run here.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from process_support import PATH, alive, make_host, needs_root, until

from upstart.base.loop import Loop
from upstart.base.priority import DEBUG
from upstart.conf.parse import parse_job
from upstart.daemon.keeping import Keeping
from upstart.daemon.options import Options
from upstart.daemon.performer import DESCRIPTORS, RETRIES, Performer
from upstart.engine.data import Instance
from upstart.engine.effects import Spawn
from upstart.engine.engine import Engine
from upstart.process.following import Following
from upstart.process.reaper import BATCH
from upstart.process.spawn import Spawner, SpawnError

pytestmark = needs_root


class Table:
    """A session init's engine and performer; processes are spawned by `spawn`, and nothing happens by itself."""

    #: Whether init was started with --debug.
    debugging = False

    def __init__(self) -> None:
        self.engine = Engine(time.monotonic)
        self.engine.reset_job_environ({"PATH": PATH})
        self.engine.set_announcing(False)
        self.waiting: list[Spawn] = []
        self.begin()

    def begin(self) -> None:
        """As a program does that has the engine's state."""
        options = Options("init")
        options.user, options.cgroups, options.default_console = True, False, "none"
        if self.debugging:
            options.priority = DEBUG
        self.loop = Loop()
        self.performer = Performer(
            options, self.engine, self.loop, None, os.getpid(), 0o22, lambda *_: None, lambda _: None,
            Keeping(self.engine, lambda _: None), lambda _: None,
        )  # fmt: skip
        self.children = self.performer.children

    def settle(self) -> None:
        """Perform what the engine asks for, but the start of processes."""
        while True:
            more = self.engine.run()
            effects = self.engine.take_effects()
            if not effects and not more:
                return
            for effect in effects:
                if isinstance(effect, Spawn):
                    self.waiting.append(effect)
                else:
                    self.performer.perform(effect)

    def mend(self) -> None:
        """What the daemon does when something was cut short; the engine is mended after."""
        self.performer.mend([(effect.instance.serial, effect.process) for effect in self.waiting])

    def spawn(self) -> None:
        """Start the processes asked for."""
        while self.waiting:
            self.performer.perform(self.waiting.pop(0))

    def turn(self) -> None:
        """One turn of the loop, and note of what has ended."""
        self.loop.turn(0.01)
        self.children.reap()
        self.settle()

    def notice(self) -> None:
        """Take note of what has ended, and do nothing else."""
        self.loop.turn(0.01)
        self.children.reap()

    def until_running(self, instance: Instance) -> None:
        """Turn until a job is running."""

        def running() -> bool:
            self.turn()
            return instance.state == "running"

        until(running)

    def close(self) -> None:
        self.performer.close()
        self.loop.close()


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    hosts = make_host(tmp_path, cgroups=False, user_mode=True)
    next(hosts)
    made = Table()
    try:
        yield made
    finally:
        made.close()
        for _ in hosts:
            pass
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


#: A first process that leaves a daemon, out of reach of signals to its group, and ends.
DAEMON = "exec sh -c 'setsid sh -c \"echo \\$\\$ >%s; exec sleep 600\" & while ! test -s %s; do sleep .01; done'"


@pytest.mark.parametrize("expect", ["fork", "daemon"])
@pytest.mark.parametrize("held", [False, True], ids=["killed", "stopping"])
@pytest.mark.parametrize("again", [False, True], ids=["stop", "restart"])
def test_a_daemon_of_which_nothing_was_known_when_its_job_was_stopped_is_stopped(
    table: Table, tmp_path: Path, expect: str, held: bool, again: bool
) -> None:
    path = tmp_path / "pid"
    engine = table.engine
    job = engine.define(parse_job("web", f"expect {expect}\n{DAEMON % (path, path)}\n", "web"))
    if held:
        engine.define(parse_job("holder", "start on stopping web\ntask\nexec sleep 600\n", "holder"))
    engine.start_job(job, {})
    table.settle()
    instance = job.instances[""]
    assert instance.state == "spawned" and not instance.main_pid
    if again:
        engine.restart_job(job, {})
    else:
        engine.stop_job(job, {})
    # Its process was asked for, and comes all the same.
    main = table.waiting[:1]
    table.settle()
    holder = table.waiting[1:]
    table.waiting = main
    table.spawn()
    pid = instance.main_pid
    assert instance.state == ("stopping" if held else "killed") and pid
    until(lambda: not alive(pid))
    daemon = int(path.read_text())
    # Its end is known before anything was sent to it.
    table.notice()
    assert instance.main_pid == daemon
    table.waiting = holder
    table.spawn()
    for other in engine.jobs.values():
        if held and other is not job:
            os.kill(other.instances[""].main_pid, 9)

    def stopped() -> bool:
        table.turn()
        return instance.main_pid != daemon

    until(stopped)
    assert not alive(daemon)
    assert ("" in job.instances) is again


@pytest.mark.parametrize("again", [False, True], ids=["stop", "restart"])
def test_what_outlives_a_daemon_that_was_told_to_end_stays(table: Table, tmp_path: Path, again: bool) -> None:
    path, session = tmp_path / "pid", tmp_path / "session"
    daemon = tmp_path / "daemon"
    daemon.write_text(f"trap 'exit 0' TERM\nsetsid sleep 600 &\necho $! >{session}\necho $$ >{path}\nwait\n")
    engine = table.engine
    job = engine.define(parse_job("web", f"expect fork\nexec sh -c 'setsid sh {daemon} & exit 0'\n", "web"))
    engine.start_job(job, {})
    table.settle()
    table.spawn()
    instance = job.instances[""]

    def running() -> bool:
        table.turn()
        return instance.state == "running" and path.exists() and path.read_text() == f"{instance.main_pid}\n"

    until(running)
    if again:
        engine.restart_job(job, {})
    else:
        engine.stop_job(job, {})

    def ended() -> bool:
        table.turn()
        return bool(table.waiting) if again else not job.instances

    until(ended)
    assert not instance.main_pid and alive(int(session.read_text()))


def test_a_process_that_the_engine_has_not_heard_of_and_does_not_want_is_ended(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = table.engine.define(parse_job("web", "exec sleep 600\n", "web"))
    table.engine.start_job(job, {})
    table.settle()
    instance = job.instances[""]

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "process_spawned", fail)
        with pytest.raises(MemoryError):
            table.spawn()
    (running,) = table.children.running.values()
    pid = running.members.pid
    assert alive(pid)
    instance.unready.clear()
    table.mend()
    assert not table.children.running
    until(lambda: not alive(pid))


def leave_daemon(table: Table, path: Path, expect: str = "fork") -> Instance:
    """Start a job whose main process leaves a daemon, with its pid in ``path``, and ends."""
    job = table.engine.define(parse_job("web", f"expect {expect}\n{DAEMON % (path, path)}\n", "web"))
    table.engine.start_job(job, {})
    table.settle()
    table.spawn()
    return job.instances[""]


@pytest.mark.parametrize("lacking", [False, True], ids=["for a while", "for ever"])
@pytest.mark.parametrize("expect", ["fork", "daemon"])
def test_what_a_main_process_has_left_is_looked_for_until_it_can_be_seen(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expect: str, lacking: bool
) -> None:
    monkeypatch.setattr("upstart.daemon.following.BLIND_SECONDS", 0.01)
    path = tmp_path / "pid"
    instance = leave_daemon(table, path, expect)
    pid = instance.main_pid
    tries = 0

    def lack(*_: object) -> bytes:
        nonlocal tries
        tries += 1
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("upstart.process.procfs.read_file", lack)

        def looked() -> bool:
            table.turn()
            return instance.main_pid != pid if lacking else tries > 10

        until(looked)
        assert instance.main_pid == (0 if lacking else pid)
    if lacking:
        assert not instance.job.instances
        return
    table.until_running(instance)
    assert instance.main_pid == int(path.read_text())


def test_what_a_main_process_has_left_is_looked_for_by_the_next_program(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = leave_daemon(table, tmp_path / "pid")
    until(lambda: not alive(instance.main_pid))

    def lack(*_: object) -> bytes:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("upstart.process.procfs.read_file", lack)
        table.notice()
    assert table.children.running[instance, "main"].ended is not None
    saved = table.children.dump()
    table.performer.close()
    table.begin()
    table.children.restore(saved, lambda _: instance, None)
    table.until_running(instance)
    assert instance.main_pid == int((tmp_path / "pid").read_text())


def test_an_end_that_could_not_be_dealt_with_leads_to_the_daemon_when_it_can(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = leave_daemon(table, tmp_path / "pid")
    pid = instance.main_pid
    until(lambda: not alive(pid))
    tried = 0

    def lack(*_: object) -> None:
        nonlocal tried
        tried += 1
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Following, "main_ended", lack)
        while not tried:
            with suppress(MemoryError):
                table.notice()
    assert instance.main_pid == pid
    table.mend()
    table.until_running(instance)
    assert instance.main_pid == int((tmp_path / "pid").read_text())


@pytest.mark.parametrize("temporary", [True, False])
def test_a_start_for_which_something_lacked_is_tried_again_by_the_next_program_too(
    table: Table, monkeypatch: pytest.MonkeyPatch, temporary: bool
) -> None:
    monkeypatch.setattr("upstart.daemon.performer.RETRY_SECONDS", 0.05)
    job = table.engine.define(parse_job("web", "exec sleep 600\n", "web"))
    table.engine.start_job(job, {})
    table.settle()
    instance = job.instances[""]

    def lack(*_: object) -> None:
        raise SpawnError("Temporary process spawn error: no", temporary)

    with monkeypatch.context() as patch:
        patch.setattr(Spawner, "spawn", lack)
        table.spawn()
        table.settle()
    if not temporary:
        assert instance.state != "spawned" and not table.performer.dump()["retries"]
        return
    saved = json.loads(json.dumps(table.performer.dump()))
    assert len(saved["retries"]) == 1
    table.performer.close()
    table.begin()
    table.performer.restore(saved)
    table.until_running(instance)


def zombies(count: int) -> list[int]:
    """So many children that have ended, and nobody has heard of."""
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pids


def test_a_turn_takes_one_batch_of_ends_however_often_it_is_told_of_them(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 5 * BATCH
    taken: list[int] = []
    monkeypatch.setattr("upstart.daemon.children.reaped", taken.append)
    pids = zombies(count)
    table.children.reap()
    turns = 0
    while len(taken) < count:
        before = len(taken)
        table.loop.turn(0)
        # As SIGCHLD does at the end of a turn.
        table.children.reap()
        table.children.reap()
        assert len(taken) - before <= BATCH
        turns += 1
        assert turns <= count
    assert sorted(taken) == sorted(pids)


def test_ends_are_taken_on_where_the_turn_that_was_to_take_them_was_lost(table: Table) -> None:
    last = zombies(BATCH + 2)[-1]
    table.children.reap()
    assert table.children._due
    table.loop._soon.clear()
    table.mend()

    def gone() -> bool:
        table.children.reap()
        table.loop.turn(0)
        return not os.path.exists(f"/proc/{last}")

    until(gone)


@pytest.mark.parametrize("lost", ["gone", "cancel-spawn"])
def test_nothing_is_held_for_an_instance_that_is_no_more_where_its_end_was_told_in_vain(
    table: Table, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    engine = table.engine
    job = engine.define(parse_job("web", "exec sleep 600\n", "web"))
    engine.start_job(job, {})
    table.settle()
    if lost == "cancel-spawn":

        def lack(*_: object) -> None:
            raise SpawnError("Temporary process spawn error: no", True)

        with monkeypatch.context() as patch:
            patch.setattr(Spawner, "spawn", lack)
            table.spawn()
        assert table.performer._retries
    else:
        table.spawn()
        os.kill(job.instances[""].main_pid, 9)
    # Memory lacked for it, and for the second try.
    table.performer._handlers[lost] = lambda effect: None
    if lost == "cancel-spawn":
        engine.stop_job(job, {})
        table.settle()
        if job.instances:
            engine.spawn_withdrawn(job.instances[""], "main")

    def ended() -> bool:
        table.turn()
        return not job.instances

    until(ended)
    assert table.children.running or table.performer._retries
    table.mend()
    saved = json.loads(json.dumps(table.performer.dump()))
    assert not table.children.running and not table.performer._retries
    table.performer.close()
    table.begin()
    table.performer.restore(saved)


def test_a_start_for_which_something_lacks_is_tried_so_often_and_told_of_once(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upstart.daemon.performer.RETRY_SECONDS", 0.0)
    said: list[str] = []
    table.performer._write_log = lambda priority, text: said.append(text)
    job = table.engine.define(parse_job("web", "exec sleep 600\n", "web"))
    table.engine.start_job(job, {})
    table.settle()
    tries = 0

    def lack(*_: object) -> None:
        nonlocal tries
        tries += 1
        raise SpawnError("Temporary process spawn error: no", True)

    monkeypatch.setattr(Spawner, "spawn", lack)
    table.spawn()

    def given_up() -> bool:
        table.turn()
        return not job.instances

    until(given_up)
    assert tries == RETRIES + 1 and not table.performer._retries
    failed = "Temporary process spawn error: no"
    assert said == [f"web: {failed}", f"Failed to spawn web main process: {failed}"]


def test_init_may_have_the_descriptors_that_a_thousand_logs_need(table: Table) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    table.performer.close()
    table.begin()
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == most


@pytest.mark.parametrize("debugging", [False, True])
def test_a_process_stops_for_a_debugger_where_init_was_started_with_debug(table: Table, debugging: bool) -> None:
    table.performer.close()
    table.debugging = debugging
    table.begin()
    job = table.engine.define(parse_job("web", "debug\nexec sleep 600\n", "web"))
    table.engine.start_job(job, {})
    table.settle()
    table.spawn()
    pid = job.instances[""].main_pid

    def state() -> str:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    def program() -> str:
        return Path(f"/proc/{pid}/comm").read_text().strip()

    if debugging:
        until(lambda: state() == "T")
    else:
        until(lambda: program() == "sleep" and state() == "S")
    os.kill(pid, 9)
    until(lambda: not alive(pid))
    table.turn()
