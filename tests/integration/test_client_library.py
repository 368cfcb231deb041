"""The client library against a real init: what it answers, what it tells by itself, and that it is found again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_init import SECONDS, SessionInit
from test_daemon_bus import Bus

from upstart.base import names
from upstart.base.errors import DBusError
from upstart.client import signals
from upstart.client.init import Init
from upstart.client.job import Instance

pytest.importorskip("gi")
from gi.repository import GLib

from upstart.client.glib import Watcher

JOBS = {
    "service": 'description "what runs"\nusage "SERVICE"\nstart on go and ready X=1\nemits done\nexec sleep 1000\n',
    "task": "task\nexec true\n",
    "failing": "task\nexec false\n",
    "each": "instance $NAME\nexec sleep 1000\n",
}


@pytest.fixture
def init(tmp_path: Path) -> Iterator[SessionInit]:
    init = SessionInit(tmp_path, JOBS)
    yield init
    init.close()
    assert "Internal error" not in init.text()


def error_of(call: Callable[[], object]) -> str:
    with pytest.raises(DBusError) as caught:
        call()
    return caught.value.name


class Story:
    """What a watcher has told, in order."""

    def __init__(self, **where: Any) -> None:
        self.told: list[str] = []
        self.heard: list[signals.Signal] = []
        self.watcher = Watcher(self.heard.append, self._connected, lambda reason: self.told.append("lost"), **where)

    def _connected(self, init: Init) -> None:
        self.told.append(init.version.partition(" ")[0])

    def until(self, what: Callable[[], object]) -> None:
        """Have the loop go on until something is true."""
        context = GLib.MainContext.default()
        deadline = time.monotonic() + SECONDS
        while not what():
            assert time.monotonic() < deadline, (self.told, self.heard)
            while context.iteration(False):
                pass
            time.sleep(0.002)

    def close(self) -> None:
        self.watcher.stop()


@pytest.fixture
def stories() -> Iterator[Callable[..., Story]]:
    made: list[Story] = []

    def make(**where: Any) -> Story:
        made.append(Story(**where))
        return made[-1]

    yield make
    for story in made:
        story.close()


def test_jobs_and_instances_say_what_they_are(init: SessionInit) -> None:
    client = Init.open(init.address)
    assert {job.name for job in client.jobs()} == set(JOBS)
    job = client.job("service")
    assert (job.description, job.usage, job.emits) == ("what runs", "SERVICE", ["done"])
    assert job.start_on == [["go"], ["ready", "X=1"], ["/AND"]]
    assert (job.stop_on, job.instances(), job.author, job.version) == ([], [], "", "")
    instance = job.start()
    assert [each.path for each in job.instances()] == [instance.path]
    assert (instance.name, instance.goal, instance.state) == ("", "start", "running")
    assert instance.processes == [("main", init.client().status("service")[1]["main"])]
    (status,) = client.status("service")
    assert (status.job, status.goal, status.state, list(status.processes)) == (
        "service", "start", "running", instance.processes
    )  # fmt: skip
    client.close()


def test_jobs_are_started_stopped_and_told_apart_by_their_environment(init: SessionInit) -> None:
    client = Init.open(init.address)
    job = client.job("each")
    one, two = job.start(["NAME=one"]), job.start(["NAME=two"], wait=False)
    assert job.instance(["NAME=one"]).path == one.path
    assert job.instance_named("two").path == two.path
    before = one.processes
    job.restart(["NAME=one"])
    assert one.processes != before
    one.restart()
    job.stop(["NAME=one"])
    client.stop_by_force(two)
    assert job.instances() == []
    assert error_of(lambda: job.instance_named("one")) == names.UNKNOWN_INSTANCE
    assert one.status("each").state == "waiting"
    assert error_of(lambda: client.job("nothing")) == names.UNKNOWN_JOB
    assert [each.job for each in client.all_status()] == [each.job for each in client.all_status()]
    assert {each.job for each in client.all_status()} == set(JOBS)


def test_failures_have_their_reason(init: SessionInit) -> None:
    client = Init.open(init.address)
    assert client.failure_reason("failing") == ""
    assert error_of(client.job("failing").start) == names.JOB_FAILED
    assert client.failure_reason("failing").endswith("terminated with status 1")


def test_the_environment_of_jobs(init: SessionInit) -> None:
    client = Init.open(init.address)
    client.set_env(["COLOUR=red", "SIZE=1"])
    client.set_env(["COLOUR=blue"], replace=False)
    assert client.get_env("COLOUR") == "red"
    assert {"COLOUR=red", "SIZE=1"} <= set(client.list_env())
    client.unset_env(["SIZE"])
    assert error_of(lambda: client.get_env("SIZE")) == names.INVALID_ARGS
    client.job("service").start()
    client.set_env(["COLOUR=green"], ["service", ""])
    assert (client.get_env("COLOUR", ["service", ""]), client.get_env("COLOUR")) == ("green", "red")
    client.reset_env()
    assert error_of(lambda: client.get_env("COLOUR")) == names.INVALID_ARGS


def test_the_log_priority_can_be_set(init: SessionInit) -> None:
    client = Init.open(init.address)
    client.log_priority = "debug"
    assert client.log_priority == "debug"


def test_signals_come_in_the_order_of_what_happens(init: SessionInit, stories: Callable[..., Story]) -> None:
    story = stories(address=init.address)
    story.watcher.start()
    assert story.told == ["init"]
    client = story.watcher.init
    assert client is not None
    client.job("task").start()
    client.emit("anything", ["KEY=value"])
    story.until(lambda: any(isinstance(each, signals.EventEmitted) and each.name == "anything" for each in story.heard))
    states = [each.state for each in story.heard if isinstance(each, signals.StateChanged)]
    assert states[:2] == ["starting", "security-spawning"] and states[-1] == "waiting"
    goals = [each.goal for each in story.heard if isinstance(each, signals.GoalChanged)]
    assert goals == ["start", "stop"]
    kinds = [type(each) for each in story.heard]
    assert kinds.index(signals.InstanceAdded) < kinds.index(signals.StateChanged) < kinds.index(signals.InstanceRemoved)
    last = story.heard[-1]
    assert isinstance(last, signals.EventEmitted) and last.env == ["KEY=value"]
    init.write("late", "exec true\n")
    story.until(lambda: isinstance(story.heard[-1], signals.JobAdded))
    (init.conf / "late.conf").unlink()
    story.until(lambda: isinstance(story.heard[-1], signals.JobRemoved))


def test_an_init_that_executes_itself_again_is_found_again(init: SessionInit, stories: Callable[..., Story]) -> None:
    story = stories(address=init.address)
    story.watcher.start()
    for _ in range(3):
        story.told.clear()
        init.restart()
        story.until(lambda: story.told == ["lost", "init"])
    story.heard.clear()
    init.client().emit("afterwards")
    story.until(lambda: [each.name for each in story.heard if isinstance(each, signals.EventEmitted)] == ["afterwards"])


def test_an_init_that_ends_is_lost_and_one_that_is_not_there_is_waited_for(
    init: SessionInit, stories: Callable[..., Story]
) -> None:
    story = stories(address=f"{names.SESSION_ADDRESS}{os.getuid()}/0")
    story.watcher.start()
    assert story.told == [] and story.watcher.init is None
    late = stories(address=init.address)
    late.watcher.start()
    init.close()
    late.until(lambda: late.told == ["init", "lost"])
    assert late.watcher.init is None


def test_what_has_been_stopped_hears_nothing(init: SessionInit, stories: Callable[..., Story]) -> None:
    story, other = stories(address=init.address), stories(address=init.address)
    story.watcher.start()
    other.watcher.start()
    story.watcher.stop()
    init.client().emit("anything")
    other.until(lambda: other.heard)
    assert story.heard == [] and story.told == ["init"]


def test_on_a_bus_init_is_found_when_it_comes_and_nobody_speaks_in_its_name(
    init: SessionInit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stories: Callable[..., Story]
) -> None:
    bus = Bus(tmp_path)
    try:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
        story = stories(bus="session")
        story.watcher.start()
        assert story.told == []
        init.client().call(names.PATH, names.MANAGER, "NotifyDBusAddress", "s", bus.address)
        story.until(lambda: story.told == ["init"])
        stranger = Init.open(bus="session")
        own = story.watcher.init
        assert own is not None
        # To the watcher itself: what is sent to everybody its match rules keep away.
        destination = f"--dest={own.connection._raw.get_unique_name()}"
        member = f"{names.MANAGER}.JobAdded"
        message = ["dbus-send", f"--bus={bus.address}", "--type=signal", destination, names.PATH, member]
        assert os.spawnvp(os.P_WAIT, message[0], [*message, f"objpath:{names.PATH}/jobs/false"]) == 0
        stranger.emit("anything")
        story.until(lambda: any(isinstance(each, signals.EventEmitted) for each in story.heard))
        assert not any(isinstance(each, signals.JobAdded) for each in story.heard)
        stranger.connection.disconnect()
        init.restart()
        story.until(lambda: story.told == ["init", "lost", "init"])
    finally:
        bus.close()


@pytest.mark.parametrize(
    ("interface", "member", "signature", "values"),
    [
        (names.MANAGER, "JobAdded", "s", ["/a"]),
        (names.MANAGER, "EventEmitted", "s", ["a"]),
        (names.MANAGER, "Unknown", "", []),
        (None, "JobAdded", "o", ["/a"]),
        (names.JOB, "JobAdded", "o", ["/a"]),
    ],
)
def test_what_is_no_signal_of_init_is_none(interface: str | None, member: str, signature: str, values: Any) -> None:
    assert signals.parse(interface, member, signature, "/", values) is None


def test_a_watcher_hears_of_what_is_awaited_and_of_nothing_else_where_it_asks_so(
    init: SessionInit, stories: Callable[..., Story]
) -> None:
    story = stories(address=init.address)
    story.watcher.start()
    assert story.watcher.init is not None
    story.watcher.init.hear(["AwaitedChanged"])
    init.client().emit("unheard")
    init.write("new", "start on dog-seen NAME=rex\nexec true\n")
    story.until(lambda: story.heard)
    (heard,) = story.heard
    assert isinstance(heard, signals.AwaitedChanged) and (heard.path, heard.events) == (names.PATH, ["dog-seen"])
    assert story.watcher.init.awaited(["dog-seen", "ready"]) == [("dog-seen", ["NAME=rex"]), ("ready", ["X=1"])]


def test_what_is_done_aside_leaves_the_loop_free(init: SessionInit, stories: Callable[..., Story]) -> None:
    init.write("held", "pre-start exec sleep 1000\nexec sleep 1000\n")
    story = stories(address=init.address)
    story.watcher.start()
    told: list[object] = []
    story.watcher.aside(lambda own: own.job("held").start(), told.append, told.append)
    story.until(lambda: init.client().status("held")[0] == "start/pre-start")
    story.watcher.aside(lambda own: own.emit("meanwhile"), lambda _: told.append("emitted"))
    story.until(lambda: told == ["emitted"])
    story.until(lambda: any(isinstance(each, signals.EventEmitted) for each in story.heard))
    story.watcher.aside(lambda own: own.job("held").instances()[0].stop(wait=False))
    story.watcher.aside(lambda own: own.stop_by_force(own.job("held")))
    story.until(lambda: len(told) == 2)
    assert isinstance(told[1], Instance) and told[1].path.endswith("/held/_")
    story.watcher.aside(lambda own: 1 // 0, told.append, told.append)
    story.until(lambda: len(told) == 3)
    assert isinstance(told[2], DBusError) and "division" in told[2].message


def test_a_watcher_of_some_signals_hears_no_other(init: SessionInit, stories: Callable[..., Story]) -> None:
    story = stories(address=init.address, signals=["EventEmitted"])
    story.watcher.start()
    init.client().start("task")
    init.client().emit("anything")
    story.until(lambda: any(isinstance(each, signals.EventEmitted) and each.name == "anything" for each in story.heard))
    assert {type(each) for each in story.heard} == {signals.EventEmitted}


def test_an_init_that_is_only_asked_gathers_no_signals(init: SessionInit) -> None:
    with Init.open(init.address) as client:
        init.client().emit("first")
        assert client.version
        # What libdbus had been sent by now would be there for whoever asks.
        heard: list[object] = []
        client.connection.filter(lambda connection, message: heard.append(message))
        init.client().emit("second")
        assert client.version and client.job("task")
    assert not any(message.get_member() == "EventEmitted" for message in heard if hasattr(message, "get_member"))


def test_whoever_is_connected_hears_what_happens_from_then_on(init: SessionInit) -> None:
    heard: list[signals.Signal] = []
    # Nothing is asked, which would show that init has let us in.
    watcher = Watcher(heard.append, connected=lambda own: init.client().emit("at-once"), address=init.address)
    watcher.start()
    context = GLib.MainContext.default()
    deadline = time.monotonic() + SECONDS
    while not heard and time.monotonic() < deadline:
        context.iteration(False)
    watcher.stop()
    assert [each.name for each in heard if isinstance(each, signals.EventEmitted)] == ["at-once"]
