"""What jobs wait for, as clients of a real init see it, and the jobs that run only while it is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import EXTENSION, MANAGER, UPSTART, Client, SessionInit, wait_for

from upstart.client.init import Init

BRIDGE = """\
start on awaited EVENT=*-seen
stop on awaited/none JOB=bridge
script
    echo "began $EVENT"
    exec sleep 1000
end script
"""


@pytest.fixture
def init(tmp_path: Path) -> Iterator[SessionInit]:
    init = SessionInit(tmp_path, {"bridge": BRIDGE, "cat": "start on cat-seen COLOUR=black\nexec sleep 1000\n"})
    yield init
    init.close()


def awaited(client: Client, *events: str) -> list[tuple[str, list[str]]]:
    return [tuple(leaf) for leaf in client.call(MANAGER, EXTENSION, "Awaited", "as", list(events))[0]]


def signals(client: Client) -> list[tuple[str, tuple[str, ...]]]:
    client.call(MANAGER, UPSTART, "GetAllJobs")
    found = [(message.header.member or "", tuple(map(str, message.args()))) for message in client.signals]
    client.signals.clear()
    return found


def test_a_client_asks_once_for_all_it_wants_to_know(init: SessionInit) -> None:
    client = init.client()
    assert awaited(client, "*-seen") == [("cat-seen", ["COLOUR=black"])]
    assert awaited(client, "dog-seen") == []
    init.write("dog", "env NAME=rex\nstop on dog-seen NAME=$NAME\nexec sleep 1000\n")
    # It waits for files that are being read, as what concerns jobs does.
    assert awaited(client, "dog-seen", "nothing") == [("dog-seen", ["NAME=rex"])]
    library = Init.open(init.address)
    assert library.awaited(["*-seen"]) == [("cat-seen", ["COLOUR=black"]), ("dog-seen", ["NAME=rex"])]
    library.close()


def test_who_hears_of_some_events_alone_hears_of_these(init: SessionInit) -> None:
    named, every = init.client(), init.client()
    named.call(MANAGER, EXTENSION, "Hear", "as", ["EventEmitted dog-seen", "JobAdded"])
    every.call(MANAGER, EXTENSION, "Hear", "as", ["EventEmitted"])
    for name in ("cat-seen", "dog-seen", "dog"):
        every.emit(name)
    init.write("dog", "exec true\n")
    every.call(MANAGER, UPSTART, "ReloadConfiguration")
    # Nobody listens to all there is.
    assert [name for name, _ in signals(named)] == ["EventEmitted", "JobAdded"]
    assert [values[0] for _, values in signals(every)] == ["cat-seen", "dog-seen", "dog"]


def test_changes_are_told_together_and_to_who_wants_them(init: SessionInit) -> None:
    all_of_it, some, none = init.client(), init.client(), init.client()
    some.call(MANAGER, EXTENSION, "Hear", "as", ["AwaitedChanged"])
    none.call(MANAGER, EXTENSION, "Hear", "as", [])
    for number in range(20):
        init.write(f"dog{number}", f"start on dog-seen NUMBER={number}\nexec true\n")
    some.call(MANAGER, UPSTART, "ReloadConfiguration")
    heard: list[tuple[str, tuple[str, ...]]] = []

    def complete() -> bool:
        heard.extend(signals(some))
        return bool(heard)

    wait_for(complete)
    some.emit("unheard")
    assert set(heard) == {("AwaitedChanged", ("['dog-seen']",))} and len(heard) <= 5
    assert len(awaited(some, "dog-seen")) == 20
    assert signals(some) in ([], heard[:1])
    assert {"AwaitedChanged", "JobAdded", "EventEmitted"} <= {name for name, _ in signals(all_of_it)}
    assert signals(none) == []
    # More names than a signal has are no names.
    for number in range(100):
        init.write(f"many{number}", f"start on event{number}\nexec true\n")
    some.call(MANAGER, UPSTART, "ReloadConfiguration")
    heard.clear()

    def told() -> bool:
        complete()
        text = "".join(args[0] for _, args in heard)
        return "[]" in text or text.count("event") == 100

    wait_for(told)


def test_a_job_runs_while_another_waits_for_what_it_tells(init: SessionInit) -> None:
    client = init.client()
    client.wait_status("bridge", "start/running")
    wait_for(lambda: init.job_log("bridge") == "began cat-seen\n")
    init.write("dog", "start on dog-seen\nexec true\n")
    client.call(MANAGER, UPSTART, "ReloadConfiguration")
    (init.conf / "cat.conf").unlink()
    client.call(MANAGER, UPSTART, "ReloadConfiguration")
    assert client.status("bridge")[0] == "start/running"
    (init.conf / "dog.conf").unlink()
    client.wait_status("bridge", "stop/waiting")
    init.write("dog", "start on dog-seen\nexec true\n")
    client.wait_status("bridge", "start/running")
    wait_for(lambda: init.job_log("bridge") == "began cat-seen\nbegan dog-seen\n")


def test_a_re_exec_tells_nothing_twice_and_forgets_nothing(init: SessionInit) -> None:
    client = init.client()
    client.wait_status("bridge", "start/running")
    client.stop("bridge")
    client = init.restart()
    # Nothing new is awaited: who was stopped stays so.
    assert client.status("bridge")[0] == "stop/waiting"
    assert awaited(client, "*-seen") == [("cat-seen", ["COLOUR=black"])]
    # What has changed while the new program came up counts.
    init.write("dog", "start on dog-seen\nexec true\n")
    client = init.restart()
    client.wait_status("bridge", "start/running")
    wait_for(lambda: init.job_log("bridge") == "began cat-seen\nbegan dog-seen\n")
