"""The history of a real init: who did what, across a re-exec, for root and for others, and to be followed."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_init import EXTENSION, MANAGER, ROOT, UPSTART, Client, SessionInit, lose_state, on_terminal, wait_for
from test_daemon_bus import Bus, notify

from upstart.client.init import Init

SECRET = "start on go KIND=x\nexec sleep 1000\n"


@pytest.fixture
def init(tmp_path: Path) -> Iterator[SessionInit]:
    jobs = {
        "task": "start on go\ntask\nexec sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'\n",
        "service": "exec sleep 1000\n",
        "teller": f"task\nscript\n{ROOT}/build/sbin/initctl emit told BY=teller\nend script\n",
        "secret": SECRET,
    }
    init = SessionInit(tmp_path, jobs)
    yield init
    init.close()


def entries(client: Client, since: int = 0) -> list[tuple[int, list[Any]]]:
    texts = client.call(MANAGER, EXTENSION, "History", "t", since)[0]
    found = [each for first, text in texts for each in enumerate(json.loads(text), first)]
    return [(number, entry) for number, entry in found if number >= since]


def of(client: Client, *kinds: str) -> list[list[Any]]:
    return [entry[1:] for _, entry in entries(client) if entry[1] in kinds]


def test_who_did_what_is_known(init: SessionInit) -> None:
    client = init.client()
    client.emit("go", "KIND=y")
    assert of(client, "begin") == [["begin", "session"]]
    (event,) = [entry for entry in of(client, "event") if entry[2] == "go"]
    assert event[3] == {"KIND": "y"}
    kind, uid, pid, comm, _, job = event[4]
    own = Path("/proc/self/comm").read_text().strip()
    assert (kind, uid, pid, comm, job) == ("client", os.getuid(), os.getpid(), own, None)
    started, ended = of(client, "goal")[:2]
    assert started == ["goal", [None, "task", ""], "start", [event[1]]]
    assert ended == ["goal", [None, "task", ""], "stop", "ended"]


def test_an_event_of_a_job_leads_to_that_job(init: SessionInit) -> None:
    client = init.client()
    client.start("teller")
    (event,) = [entry for entry in of(client, "event") if entry[2] == "told"]
    assert event[4][3] == "initctl" and event[4][5] == [None, "teller", ""]
    (goal,) = [entry for entry in of(client, "goal") if entry[1][1] == "teller" and entry[2] == "start"]
    assert goal[3][:3] == ["client", os.getuid(), os.getpid()]


def test_what_processes_used_and_how_long_they_lived(init: SessionInit) -> None:
    client = init.client()
    client.emit("go", "KIND=y")
    (ended,) = wait_for(lambda: [entry for entry in of(client, "ended") if entry[6] is not None])
    assert ended[1:3] == [[None, "task", ""], "main"] and ended[4] == 0
    seconds, processor = ended[5:7]
    assert 0.001 < processor <= seconds * 1.5 < 10


def test_times_lead_to_the_time_of_day(init: SessionInit) -> None:
    began = time.time()
    init.client().emit("go", "KIND=y")
    library = Init.open(init.address)
    history = library.history()
    library.close()
    (at,) = [entry[0] for _, entry in history.entries if entry[1] == "event" and entry[3] == "go"]
    assert began - 1 < at + history.suspended + history.wall < time.time() + 1
    (clock,) = [entry for _, entry in history.entries if entry[1] == "clock"]
    assert abs(clock[3] - history.wall) < 1


def test_it_is_followed_by_number(init: SessionInit) -> None:
    init.client().emit("go", "KIND=y")
    library = Init.open(init.address)
    first = library.history()
    assert not library.history(first.following).entries
    init.client().emit("unheard")
    more = library.history(first.following)
    assert [(number, entry[3]) for number, entry in more.entries] == [(first.following, "unheard")]
    library.close()


def test_a_held_event_is_among_the_unfinished(init: SessionInit) -> None:
    client = init.client()
    init.write("waits", "start on never and go\nexec true\n")
    client.call(MANAGER, UPSTART, "ReloadConfiguration")
    client.emit("go", "KIND=y", wait=False)
    library = Init.open(init.address)
    history = library.history()
    (serial,) = [entry[2] for _, entry in history.entries if entry[1] == "event" and entry[3] == "go"]
    assert history.unfinished == {serial}
    assert ["half", [None, "waits", None], "start", serial] in [entry[1:] for _, entry in history.entries]
    library.close()


def test_it_outlives_a_re_exec_and_says_that_there_was_one(init: SessionInit) -> None:
    client = init.client()
    client.start("service")
    before = entries(client)
    client = init.restart()
    after = entries(client)
    assert after[: len(before)] == before
    assert [entry[1:] for _, entry in after[len(before) :]] == [["begin", "re-executed"]]
    client.stop("service")
    goal = of(client, "goal")[-1]
    assert goal[1:3] == [[None, "service", ""], "stop"]


def test_initctl_follows_it_over_a_re_exec(init: SessionInit, tmp_path: Path) -> None:
    output = tmp_path / "output"
    environ = {**init.environ, "UPSTART_SESSION": init.address}
    with output.open("wb") as file:
        command = [str(ROOT / "build/sbin/initctl"), "--user", "history", "--follow"]
        process = subprocess.Popen(command, env=environ, stdout=file, stderr=file)
    try:
        init.client().emit("before")
        wait_for(lambda: "event before" in output.read_text())
        init.restart().emit("after")
        wait_for(lambda: "event after" in output.read_text())
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait()
    lines = [line[10:] for line in output.read_text().splitlines()]
    assert len([line for line in lines if line.startswith("event before")]) == 1
    assert [line for line in lines if "re-executed" in line or "anew" in line], lines
    assert not [line for line in lines if line.startswith("ctl: ")]


@pytest.mark.parametrize("command", ["history", "explain go"])
def test_what_an_event_brings_does_not_command_a_terminal(init: SessionInit, command: str) -> None:
    init.client().emit("go", "KIND=\x1b[31mred\nline")
    environ = {**init.environ, "UPSTART_SESSION": init.address, "NO_COLOR": "1"}
    words = [str(ROOT / "build/sbin/initctl"), "--user", *command.split()]
    shown = on_terminal(words, environ, check=True)
    assert b"KIND=\\x1b[31mred\\x0aline" in shown and b"\x1b" not in shown


def test_without_its_state_it_says_that_it_begins_there(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {"service": "exec sleep 1000\n"}, program=lose_state(tmp_path) / "init")
    client = init.client()
    client.start("service")
    pid = client.status("service")[1]["main"]
    client = init.restart()
    found = [entry[1:] for _, entry in entries(client) if entry[1] != "clock"]
    assert found[:2] == [["begin", "anew"], ["adopted", [None, "service", ""], pid]]
    init.close()


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_others_are_told_what_is_no_secret(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {"secret": SECRET})
    bus = Bus(tmp_path)
    try:
        notify(init, bus)
        init.client().emit("go", "KIND=y", "PASSWORD=hush")
        own = bus.send(f"{EXTENSION}.History", "uint64:0").stdout
        others = bus.send(f"{EXTENSION}.History", "uint64:0", uid=65534).stdout
        assert '"PASSWORD":"hush"' in own
        assert '"KIND":"y"' in others and '"PASSWORD":null' in others and "hush" not in others
    finally:
        init.close()
        bus.close()


def test_a_flood_leaves_it_within_its_bound_and_the_beginning_is_there(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {})
    client = init.client()
    client.emit("first")
    before = init.resident()
    message = client.message(MANAGER, UPSTART, "EmitEvent", "sasb", "unheard", ["A=" + "x" * 100] * 2, False)
    for _ in range(40):
        client.socket.sendall(message * 500)
        client.emit("heard")
        client.signals.clear()
    # With its own connection's buffers.
    assert init.resident() - before < 2_500
    found = entries(client)
    texts = sum(len(text) for _, text in client.call(MANAGER, EXTENSION, "History", "t", 0)[0])
    assert texts <= 500_000
    assert found[-1][1][3] == "heard" and "first" in [entry[3] for _, entry in found if entry[1] == "event"]
    init.close()


def test_many_definitions_are_few_entries(init: SessionInit) -> None:
    client = init.client()
    for number in range(300):
        init.write(f"more{number}", "exec true\n")
    client.call(MANAGER, UPSTART, "ReloadConfiguration")
    added = wait_for(lambda: [e for e in of(client, "jobs") if sum(each[3] for each in of(client, "jobs")) == 300])
    assert len(added) < 20


