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


@pytest.mark.parametrize("how", ["stop", "restart", "exit"])
def test_the_wait_for_a_job_to_stop_itself_ends_with_the_state_it_is_for(how: str) -> None:
    world = World(web="expect stop\nrespawn\nexec main")
    world.start("web")
    assert [timer for _, timer in world.timers] == ["expect"]
    world.slow.add("web main")
    if how == "exit":
        world.exit("web", 1)
    else:
        getattr(world, how)("web")
        assert world.status("web").endswith("/killed") and [timer for _, timer in world.timers] == ["kill:main"]
        world.exit("web", 15 << 8)
    assert not {timer for _, timer in world.timers} & {"expect", "kill:main"}
    if how != "stop":
        world.sleep(100)
        assert world.status("web") == "start/spawned"
        world.ready("web")
        world.sleep(9)
        assert world.status("web") == "start/spawned"
        world.sleep(2)
        assert world.status("web") == "start/running"


def test_a_stop_does_not_wait_for_a_process_that_is_still_to_be_tried() -> None:
    world = World(web="exec main\npost-stop exec clean")
    world.short.add("web main")
    start = world.start("web")
    assert world.status("web") == "start/spawned" and world.retries
    stop = world.stop("web")
    assert world.status("web") == "stop/post-stop" and not world.retries
    world.exit("web", process="post-stop")
    assert world.answers[start] == ["ok"] and world.answers[stop] == ["ok"]


@pytest.mark.parametrize("process", ["pre-start", "post-start"])
def test_a_stop_waits_for_no_process_beside_the_main_one_that_is_still_to_be_tried(process: str) -> None:
    world = World(web="exec main\npre-start exec before\npost-start exec after\npost-stop exec clean")
    world.short.add(f"web {process}")
    start = world.start("web")
    if process == "post-start":
        world.exit("web", process="pre-start")
    assert world.status("web") == f"start/{process}" and world.retries
    stop = world.stop("web")
    assert not world.retries
    if process == "post-start":
        assert world.status("web") == "stop/killed"
        world.exit("web", 15 << 8)
    assert world.status("web") == "stop/post-stop"
    world.exit("web", process="post-stop")
    assert world.answers[start] == ["ok"] and world.answers[stop] == ["ok"]
    assert ("EventEmitted", "", ("stopped", {"JOB": "web", "INSTANCE": "", "RESULT": "ok"})) in world.signals


def test_what_cleans_up_is_tried_on_though_the_job_is_stopped() -> None:
    world = World(web="exec main\npost-stop exec clean")
    world.start("web")
    world.short.add("web post-stop")
    world.restart("web")
    world.exit("web", 15 << 8)
    world.stop("web")
    assert world.status("web") == "stop/post-stop" and world.retries
    world.short.clear()
    world.sleep(1)
    world.exit("web", process="post-stop")
    assert world.status("web") == "stop/waiting"
    assert [process for _, process, _, _ in world.spawned] == ["main", "post-stop"]


def test_a_restart_while_a_pre_start_is_still_to_be_tried_has_it_tried_on() -> None:
    world = World(web="exec main\npre-start exec before")
    world.short.add("web pre-start")
    world.start("web")
    world.restart("web")
    world.short.clear()
    world.sleep(1)
    assert world.status("web") == "start/pre-start" and not world.retries
    world.exit("web", process="pre-start")
    assert [process for _, process, _, _ in world.spawned] == ["pre-start", "main"]


def test_a_restart_while_a_process_is_still_to_be_tried_starts_one_with_the_new_environment() -> None:
    world = World(web="env A=old\nexec main")
    world.short.add("web main")
    world.start("web")
    world.restart("web", A="new")
    world.short.clear()
    world.sleep(20)
    assert [(process, env["A"]) for _, process, _, env in world.spawned] == [("main", "new")]
    assert world.status("web") == "start/running"


def test_a_process_that_comes_after_its_stop_is_killed() -> None:
    world = World(web="exec main")
    world.fates.append("late")
    world.start("web")
    stop = world.stop("web")
    assert world.status("web") == "stop/killed"
    world.come(0, "ready")
    assert world.kills == [(world.pid("web"), 15)]
    world.exit("web", 15 << 8)
    assert world.answers[stop] == ["ok"]


def test_a_process_that_cannot_be_run_after_its_stop_is_no_failure() -> None:
    world = World(web="exec main")
    world.fates.append("late")
    world.start("web")
    stop = world.stop("web")
    world.come(0, "broken")
    assert world.answers[stop] == ["ok"] and world.status("web") == "stop/waiting"


def test_what_comes_late_from_another_life_changes_nothing() -> None:
    world = World(web="expect daemon\nrespawn\nexec main")
    world.start("web")
    instance = world.instance("web")
    world.fates.append("late")
    world.exit("web", 1)
    assert world.status("web") == "start/spawned" and not instance.pids
    world.engine.process_forked(instance, 7)
    world.engine.follow_gave_up(instance, "it has not forked")
    world.engine.process_ready(instance, "pre-start")
    world.engine.spawn_failed(instance, "post-stop", "no")
    world.engine.timer_fired(instance, "expect")
    world.settle()
    assert world.status("web") == "start/spawned" and not instance.pids
    world.come(0, "ready")
    assert not world.engine.process_spawned(instance, "main", 8)
    world.settle()
    assert world.pid("web") != 8


def test_an_end_with_unknown_status_is_no_failure_and_says_so() -> None:
    world = World(web="expect fork\nexec main", after="start on stopped web\nexec main")
    world.start("web")
    pid = world.fork("web")
    world.exit("web", None)
    assert world.status("web") == "stop/waiting"
    env = world.spawned[-1][3]
    assert world.spawned[-1][0] == "after" and env["RESULT"] == "ok" and "EXIT_STATUS" not in env
    assert f"web main process ({pid}) ended with unknown status: it is no child of init" in world.log


def test_an_end_with_unknown_status_respawns_where_the_job_says_so() -> None:
    world = World(web="expect fork\nrespawn\nexec main")
    world.start("web")
    world.fork("web")
    world.exit("web", None)
    assert world.status("web") == "start/spawned" and world.pid("web") == world.spawned[-1][2]
    world.fork("web")
    request = world.stop("web")
    world.exit("web", None)
    assert world.status("web") == "stop/waiting" and world.answers[request] == ["ok"]
