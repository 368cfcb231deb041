"""Main processes that are to fork or to stop before their job counts as running."""

from __future__ import annotations

import pytest

from upstart.engine.world import World


def test_a_daemon_is_running_once_it_has_forked() -> None:
    world = World(web="expect fork\nexec main")
    request = world.start("web")
    assert world.status("web") == "start/spawned" and world.answers[request] == []
    assert world.following == [world.instance("web")]
    pid = world.fork("web")
    assert world.status("web") == "start/running" and world.pid("web") == pid
    assert world.answers[request] == ["ok"]


def test_a_daemon_that_never_forks_runs_after_a_bounded_wait() -> None:
    world = World(web="expect daemon\nexec main")
    request = world.start("web")
    world.engine.follow_gave_up(world.instance("web"), "web main process has not forked")
    world.settle()
    assert world.status("web") == "start/running" and world.answers[request] == ["ok"]
    assert "web main process has not forked" in world.log
    pid = world.fork("web")
    assert world.pid("web") == pid and world.status("web") == "start/running"


def test_a_job_that_never_stops_itself_runs_after_a_bounded_wait() -> None:
    world = World(web="expect stop\nexec main")
    request = world.start("web")
    world.sleep(9)
    assert world.answers[request] == []
    world.sleep(2)
    assert world.answers[request] == ["ok"] and world.status("web") == "start/running"
    assert any("expect stop" in line for line in world.log)


def test_a_job_that_stops_itself_is_continued_and_running() -> None:
    world = World(web="expect stop\nexec main")
    request = world.start("web")
    world.engine.process_stopped(world.pid("web"))
    world.settle()
    assert world.kills == [(world.pid("web"), 18)]
    assert world.answers[request] == ["ok"] and not world.timers


@pytest.mark.parametrize("expect", ["fork", "daemon", "stop"])
def test_a_daemon_that_dies_before_its_expected_step_has_failed(expect: str) -> None:
    world = World(web=f"expect {expect}\nexec main", again=f"expect {expect}\nrespawn\nexec main")
    request = world.start("web")
    world.exit("web", 0)
    assert world.answers[request] == ["Job failed to start"] and world.status("web") == "stop/waiting"
    world.start("again")
    first = world.pid("again")
    world.exit("again", 0)
    assert world.status("again") == "start/spawned" and world.pid("again") != first


@pytest.mark.parametrize("expect", ["fork", "daemon", "stop"])
def test_stop_ends_a_daemon_that_has_not_yet_forked(expect: str) -> None:
    world = World(web=f"expect {expect}\nexec main")
    start = world.start("web")
    stop = world.stop("web")
    assert world.answers[start] == ["ok"]
    assert world.kills == [(world.pid("web"), 15)]
    world.exit("web", 15 << 8)
    assert world.answers[stop] == ["ok"] and world.status("web") == "stop/waiting"


def test_a_daemon_that_forks_while_it_is_killed_is_killed_again() -> None:
    world = World(web="expect fork\nexec main")
    world.start("web")
    world.stop("web")
    pid = world.fork("web")
    assert world.kills[-1] == (pid, 15)
    world.exit("web", 15 << 8)
    assert world.status("web") == "stop/waiting"
