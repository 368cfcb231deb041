"""Jobs whose main process ends when it should not: respawning, its limit, and what else happens meanwhile."""

from __future__ import annotations

import pytest

from upstart.engine.core import CommandError
from upstart.engine.world import START_ORDER, World


def test_respawn_goes_round_through_stopping_and_starting() -> None:
    world = World(web="respawn\nexec main")
    world.start("web")
    first = world.pid("web")
    world.signals.clear()
    world.exit("web", 1)
    assert world.status("web") == "start/running" and world.pid("web") != first
    assert world.states("web") == ["stopping", "killed", "post-stopping", "post-stop", *START_ORDER]
    assert "web main process ended, respawning" in world.log
    world.exit("web", 0)
    assert world.status("web") == "start/running"


def test_a_main_process_that_keeps_ending_is_known_as_such_until_it_lasts() -> None:
    world = World(web="respawn\nrespawn limit unlimited\nexec main", once="respawn\nexec main")
    for job in ("web", "once"):
        world.start(job)
    web, once = world.instance("web"), world.instance("once")
    for _ in range(2):
        world.exit("web", 1)
        world.sleep(4)
    assert world.engine.keeps_ending(web) == ""
    world.exit("web", 1)
    world.exit("once", 1)
    assert world.engine.keeps_ending(web) == "web main process keeps ending: respawned 3 times in 8 seconds"
    assert world.engine.keeps_ending(once) == ""
    # It has lasted.
    world.sleep(200)
    assert world.engine.keeps_ending(web) == ""
    for _ in range(3):
        world.exit("web", 1)
    assert world.engine.keeps_ending(web) == "web main process keeps ending: respawned 6 times in 208 seconds"
    world.stop("web")
    assert world.engine.keeps_ending(web) == ""


def test_a_normal_exit_is_not_respawned() -> None:
    world = World(web="respawn\nnormal exit 0 TERM\nexec main")
    world.start("web")
    world.exit("web", 15 << 8)
    assert world.status("web") == "stop/waiting"
    assert world.engine.failure_reason("web", "") == ""


def test_the_respawn_limit_stops_a_job_that_runs_away() -> None:
    world = World(web="respawn\nrespawn limit 3 5\nexec main")
    world.start("web")
    for _ in range(3):
        world.exit("web", 1)
        assert world.status("web") == "start/running"
    world.exit("web", 1)
    assert world.status("web") == "stop/waiting"
    assert "web respawning too fast, stopped" in world.log
    env = [v[1] for s, _, v in world.signals if s == "EventEmitted" and isinstance(v, tuple) and v[0] == "stopped"][-1]
    assert env["PROCESS"] == "respawn" and env["RESULT"] == "failed"


def test_respawns_that_are_far_apart_go_on_and_are_warned_of() -> None:
    world = World(web="respawn\nexec main")
    world.start("web")
    for _ in range(12):
        world.sleep(60)
        world.exit("web", 1)
    assert world.status("web") == "start/running"
    assert sum("keeps ending: respawned 10 times" in line for line in world.log) == 1


def test_respawns_that_the_limit_is_about_to_catch_are_not_warned_of() -> None:
    world = World(web="respawn\nexec main")
    world.start("web")
    for _ in range(11):
        world.exit("web", 1)
    assert "web respawning too fast, stopped" in world.log
    assert not any("keeps ending" in line for line in world.log)


def test_unlimited_respawn_never_stops() -> None:
    world = World(web="respawn\nrespawn limit unlimited\nexec main")
    world.start("web")
    for _ in range(50):
        world.exit("web", 1)
    assert world.status("web") == "start/running"


def test_a_failing_post_stop_does_not_cancel_a_respawn() -> None:
    world = World(web="respawn\nexec main\npost-stop exec cleanup")
    world.start("web")
    world.exit("web", 1)
    assert world.status("web") == "start/post-stop"
    world.exit("web", 1, process="post-stop")
    assert world.status("web") == "start/running"
    assert any("post-stop process" in line and "terminated with status 1" in line for line in world.log)


def test_a_main_process_that_dies_during_post_start_is_respawned_after_it() -> None:
    world = World(web="respawn\nexec main\npost-start exec wait")
    world.start("web")
    world.exit("web", 1)
    assert world.status("web") == "respawn/post-start"
    with pytest.raises(CommandError, match="Job is already running: web"):
        world.start("web")
    world.exit("web", process="post-start")
    assert world.status("web") == "start/post-start" and world.instance("web").main_pid


def test_stop_then_start_during_post_start_with_a_dead_main_process_starts_it_anew() -> None:
    world = World(web="respawn\nexec main\npost-start exec wait")
    world.start("web")
    world.exit("web", 1)
    world.stop("web")
    world.start("web")
    world.exit("web", process="post-start")
    assert world.status("web") == "start/post-start" and world.instance("web").main_pid


def fail_slowly(world: World, seconds: float) -> None:
    world.sleep(seconds)
    world.exit("web", 1)


def test_a_job_that_is_ready_at_a_later_try_is_answered_with_success() -> None:
    world = World(web="start on go\nexpect fork\nrespawn\nrespawn limit 10 5\nexec main")
    event, request = world.emit("go"), 0
    for _ in range(3):
        fail_slowly(world, 1.5)
    assert world.answers[event] == []
    world.fork("web")
    assert world.answers[event] == ["ok"] and world.status("web") == "start/running" and not world.timers
    world.stop("web")
    world.exit("web", 15 << 8)
    request = world.start("web")
    fail_slowly(world, 1.5)
    world.fork("web")
    assert world.answers[request] == ["ok"]


@pytest.mark.parametrize("limit, seconds", [("10 5", 5), ("unlimited", 5), ("30 8", 8)])
def test_who_starts_a_job_that_fails_slowly_before_it_is_ready_is_told_why(limit: str, seconds: int) -> None:
    world = World(web=f"expect fork\nrespawn\nrespawn limit {limit}\nexec main")
    request = world.start("web")
    fail_slowly(world, 1.5)
    for _ in range(seconds - 1):
        fail_slowly(world, 1)
    assert world.answers[request] == []
    last = world.pid("web")
    world.sleep(1)
    assert world.answers[request] == ["Job failed to start"]
    assert world.engine.failure_reason("web", "") == f"web main process ({last - 1}) terminated with status 1"
    # Respawning goes on, and nobody is told anything more.
    fail_slowly(world, 1)
    assert world.status("web") == "start/spawned" and world.pid("web") > last
    world.fork("web")
    assert world.status("web") == "start/running" and world.answers[request] == ["Job failed to start"]


def test_an_event_whose_job_is_not_ready_in_time_is_let_go_and_has_not_failed() -> None:
    world = World(web="start on go\nrespawn\nexec main\npost-start exec wait")
    request = world.emit("go")
    world.exit("web", 1)
    world.sleep(6)
    assert world.answers[request] == ["ok"] and "go/failed" not in world.events()
    world.exit("web", process="post-start")
    world.exit("web", process="post-start")
    assert world.status("web") == "start/running"


def test_a_stop_ends_the_wait_for_a_job_to_become_ready() -> None:
    world = World(web="expect fork\nrespawn\nexec main")
    start = world.start("web")
    fail_slowly(world, 1)
    assert [timer for _, timer in world.timers] == ["ready"]
    stop = world.stop("web")
    assert world.answers[start] == ["ok"] and [timer for _, timer in world.timers] == ["kill:main"]
    world.exit("web", 15 << 8)
    assert world.answers[stop] == ["ok"] and not world.timers
