"""The life of instances: states, commands, failures, and the flaws that must not come back."""

from __future__ import annotations

import pytest

from upstart.conf.parse import parse_job
from upstart.engine.core import CommandError
from upstart.engine.world import START_ORDER, World

SERVICE = "exec daemon"
FULL = """
pre-start exec pre
post-start exec post
pre-stop exec prestop
post-stop exec poststop
exec main
"""
STOP_ORDER = ["pre-stopping", "pre-stop", "stopping", "killed", "post-stopping", "post-stop", "waiting"]


def test_a_service_passes_through_all_states_in_order() -> None:
    world = World(web=SERVICE)
    request = world.start("web")
    assert world.answers[request] == ["ok"]
    assert world.status("web") == "start/running"
    assert world.states("web") == START_ORDER
    stop = world.stop("web")
    assert world.status("web") == "stop/killed"
    assert world.answers[stop] == []
    assert world.kills == [(world.pid("web"), 15)]
    world.exit("web", 15 << 8)
    assert world.answers[stop] == ["ok"]
    assert world.states("web") == START_ORDER + STOP_ORDER
    assert world.job("web").instances == {}


def test_every_process_of_a_job_is_waited_for_in_its_state() -> None:
    world = World(web=FULL)
    request = world.start("web")
    assert world.status("web") == "start/pre-start"
    world.exit("web", process="pre-start")
    assert world.status("web") == "start/post-start" and set(world.instance("web").pids) == {"main", "post-start"}
    world.exit("web", process="post-start")
    assert world.status("web") == "start/running" and world.answers[request] == ["ok"]
    stop = world.stop("web")
    assert world.status("web") == "stop/pre-stop"
    world.exit("web", process="pre-stop")
    assert world.status("web") == "stop/killed"
    world.exit("web", 15 << 8)
    assert world.status("web") == "stop/post-stop" and world.answers[stop] == []
    world.exit("web", process="post-stop")
    assert world.status("web") == "stop/waiting" and world.answers[stop] == ["ok"]


def test_a_task_is_waited_for_to_its_end() -> None:
    world = World(job="task\nexec work")
    request = world.start("job")
    assert world.answers[request] == []
    world.exit("job")
    assert world.answers[request] == ["ok"]


def test_a_failing_task_fails_the_request_and_the_event() -> None:
    world = World(job="start on go\ntask\nexec work", after="start on go/failed\nexec x")
    emitted = world.emit("go", WHO="me")
    world.exit("job", 3)
    assert world.answers[emitted] == ["Event failed"]
    assert world.status("after") == "start/running"
    assert "job main process (101) terminated with status 3" in world.log
    request = world.start("job")
    world.exit("job", 9 << 8)
    assert world.answers[request] == ["Job failed to start"]
    reason = world.engine.failure_reason("job", "")
    assert reason in world.log and reason.startswith("job main process (") and "killed by KILL signal" in reason


def test_a_task_without_a_process_ends_by_itself() -> None:
    world = World(mark="start on go\ntask", next="start on stopped mark\nexec x")
    emitted = world.emit("go")
    assert world.answers[emitted] == ["ok"]
    assert world.status("mark") == "stop/waiting"
    assert "started" in world.events()
    assert world.status("next") == "start/running"


def test_a_job_without_a_process_runs_until_it_is_stopped() -> None:
    world = World(state="start on go\nstop on end")
    assert world.answers[world.emit("go")] == ["ok"]
    assert world.status("state") == "start/running"
    world.emit("end")
    assert world.status("state") == "stop/waiting"


def test_stopping_and_stopped_events_tell_how_it_ended() -> None:
    world = World(web="env A=1\nexport A\nexec x")
    world.start("web")
    world.exit("web", 7)
    emitted = [value for signal, _, value in world.signals if signal == "EventEmitted"]
    assert emitted[-2:] == [
        (name, {"JOB": "web", "INSTANCE": "", "RESULT": "failed", "PROCESS": "main", "EXIT_STATUS": "7", "A": "1"})
        for name in ("stopping", "stopped")
    ]


def test_a_spawn_failure_says_which_job_and_process_in_the_log_and_the_answer() -> None:
    world = World(web="exec /no/such")
    world.broken.add("web main")
    request = world.start("web")
    assert world.answers[request] == ["Job failed to start"]
    assert world.status("web") == "stop/waiting"
    reason = "Failed to spawn web main process: unable to execute: No such file or directory"
    assert reason in world.log
    assert world.engine.failure_reason("web", "") == reason
    env = [v[1] for s, _, v in world.signals if s == "EventEmitted" and isinstance(v, tuple) and v[0] == "stopped"][-1]
    assert env == {"JOB": "web", "INSTANCE": "", "RESULT": "failed", "PROCESS": "main"}


def test_a_failing_pre_start_stops_the_job() -> None:
    world = World(web="pre-start exec check\nexec main")
    request = world.start("web")
    world.exit("web", 1, process="pre-start")
    assert world.answers[request] == ["Job failed to start"]
    assert world.status("web") == "stop/waiting"


@pytest.mark.parametrize("process", ["post-start", "pre-stop"])
def test_failures_of_processes_beside_the_main_one_change_nothing(process: str) -> None:
    world = World(web=f"{process} exec beside\nexec main")
    world.broken.add(f"web {process}")
    request = world.start("web")
    assert world.answers[request] == ["ok"] and world.status("web") == "start/running"
    stop = world.stop("web")
    world.exit("web", 15 << 8)
    assert world.answers[stop] == ["ok"]


def test_a_failing_post_stop_fails_the_stop() -> None:
    world = World(web="exec main\npost-stop exec cleanup")
    world.start("web")
    stop = world.stop("web")
    world.exit("web", 15 << 8)
    world.exit("web", 2, process="post-stop")
    assert world.answers[stop] == ["Job failed while stopping"]


def test_a_failing_post_stop_fails_a_restart() -> None:
    world = World(web="exec main\npost-stop exec cleanup")
    world.start("web")
    restart = world.restart("web")
    world.exit("web", 15 << 8)
    assert world.status("web") == "start/post-stop"
    world.exit("web", 2, process="post-stop")
    assert world.status("web") == "stop/waiting"
    assert world.answers[restart] == ["Job failed to restart"]


def test_pre_stop_can_be_cancelled_by_a_start() -> None:
    world = World(web="pre-stop exec think\nexec main")
    world.start("web")
    pid = world.pid("web")
    stop = world.stop("web")
    start = world.start("web")
    assert world.answers[stop] == ["ok"]
    world.exit("web", process="pre-stop")
    assert world.status("web") == "start/running" and world.pid("web") == pid
    assert world.answers[start] == ["ok"]


def test_restart_keeps_the_old_definition_and_says_so() -> None:
    world = World(web="exec old")
    world.start("web")
    world.define("web", "exec new")
    request = world.restart("web")
    world.exit("web", 15 << 8)
    assert world.answers[request] == ["ok"]
    assert world.instance("web").job_class.processes["main"].command == "old"
    assert any("restarts with its old definition" in line for line in world.log)
    world.stop("web")
    world.exit("web", 15 << 8)
    world.start("web")
    assert world.instance("web").job_class.processes["main"].command == "new"


def test_the_kill_timer_ends_what_does_not_heed_its_signal() -> None:
    world = World(web="kill timeout 7\nkill signal INT\nexec main")
    world.start("web")
    pid = world.pid("web")
    world.stop("web")
    world.sleep(6.9)
    assert world.kills == [(pid, 2)]
    world.sleep(0.2)
    assert world.kills == [(pid, 2), (pid, 9)]
    world.exit("web", 9 << 8)
    assert world.status("web") == "stop/waiting"


def test_stop_lets_a_long_pre_start_go_on_to_its_end() -> None:
    world = World(web="pre-start exec migrate\nexec main")
    world.start("web")
    stop = world.stop("web")
    world.sleep(600)
    assert world.status("web") == "stop/pre-start" and world.kills == []
    world.exit("web", process="pre-start")
    assert world.answers[stop] == ["ok"] and world.status("web") == "stop/waiting"


@pytest.mark.parametrize("process", ["pre-start", "post-start"])
def test_forced_stop_ends_a_process_that_hangs(process: str) -> None:
    world = World(web=f"{process} exec hang\nexec main")
    world.start("web")
    pid = world.pid("web", process)
    world.stop("web")
    stop = world.stop("web", force=True)
    assert world.kills == [(pid, 15)]
    world.sleep(5)
    assert world.kills[-1] == (pid, 9)
    world.exit("web", 9 << 8, process=process)
    if process == "post-start":
        world.exit("web", 15 << 8)
    assert world.answers[stop] == ["ok"]
    assert world.status("web") == "stop/waiting"


def test_post_stop_that_begins_in_a_shutdown_has_its_kill_timeout_to_clean_up() -> None:
    world = World(web="exec main\npost-stop exec clean")
    world.start("web")
    world.engine.shutdown()
    world.settle()
    world.exit("web", 15 << 8)
    pid = world.pid("web", "post-stop")
    assert all(killed != pid for killed, _signal in world.kills)
    world.sleep(5)
    assert world.kills[-1] == (pid, 9)


@pytest.mark.parametrize("process", ["pre-start", "post-start", "pre-stop", "post-stop"])
def test_shutdown_waits_for_no_process_longer_than_its_kill_timeout(process: str) -> None:
    world = World(web=f"{process} exec hang\nexec main")
    world.start("web")
    if process in ("pre-stop", "post-stop"):
        world.stop("web")
        if process == "post-stop":
            world.exit("web", 15 << 8)
    world.engine.shutdown()
    world.settle()
    for _ in range(4):
        instance = world.job("web").instances.get("")
        if instance is None:
            break
        for name in list(instance.pids):
            if f"kill:{name}" in instance.timers:
                world.exit("web", 15 << 8, process=name)
    assert world.status("web") == "stop/waiting"


def test_commands_that_cannot_be_carried_out_say_why() -> None:
    world = World(web="instance $NAME\nusage 'NAME=which'\nexec main", one=SERVICE)
    with pytest.raises(CommandError, match="Unknown parameter: NAME\nUsage: NAME=which"):
        world.start("web")
    with pytest.raises(CommandError, match="Unknown instance: a"):
        world.stop("web", NAME="a")
    with pytest.raises(CommandError, match=r"Unknown instance: $"):
        world.stop("one")
    world.start("web", NAME="a")
    with pytest.raises(CommandError, match=r"Job is already running: web \(a\)"):
        world.start("web", NAME="a")
    world.start("web", NAME="b")
    world.stop("web", NAME="b")
    with pytest.raises(CommandError, match=r"Job has already been stopped: web \(b\)"):
        world.stop("web", NAME="b")
    with pytest.raises(CommandError, match="Job has already been stopped: b"):
        world.restart("web", NAME="b")
    with pytest.raises(CommandError, match="Job is not running: one"):
        world.engine.reload(world.engine.new_instance(world.job("one"), ""))


def test_an_exit_before_the_program_is_known_to_run_counts_as_both() -> None:
    world = World(job="task\nexec quick")
    world.slow.add("job main")
    request = world.start("job")
    assert world.status("job") == "start/spawned"
    world.exit("job")
    assert world.answers[request] == ["ok"] and world.status("job") == "stop/waiting"


def test_stop_environment_reaches_the_stopping_processes_only() -> None:
    world = World(web="env A=1\npre-stop exec a\npost-stop exec b\nstop on end\nexec main")
    world.start("web", B="2")
    world.emit("end", WHY="because")
    env = dict(world.spawned[-1][3])
    assert env["UPSTART_STOP_EVENTS"] == "end" and env["WHY"] == "because" and env["A"] == "1" and env["B"] == "2"
    assert env["UPSTART_JOB"] == "web" and env["UPSTART_INSTANCE"] == ""
    assert "WHY" not in world.spawned[0][3]


def circle(layers: int, width: int) -> World:
    """Layers of jobs of which each waits for the starting of all those before it, and the first for the last's."""
    world = World()
    jobs: dict[str, str] = {}
    for layer in range(layers):
        before = " and ".join(f"starting j{layer - 1}-{n}" for n in range(width)) if layer else "go"
        for n in range(width):
            jobs[f"j{layer}-{n}"] = f"start on {before}"
    # Its half-met condition holds the starting of the last layer for ever.
    jobs["end"] = " ".join(["start on never", *(f"and starting j{layers - 1}-{n}" for n in range(width))])
    for name, text in jobs.items():
        world.engine.define(parse_job(name, text, f"{name}.conf"))
    world.emit("go")
    return world


def test_stop_force_goes_through_layers_of_jobs_that_hold_each_other_in_no_time() -> None:
    world = circle(layers=15, width=3)
    assert world.status("j0-0") == "start/starting"
    request = world.stop("j0-0", force=True)
    assert world.answers[request] == ["ok"] and world.status("j0-0") == "stop/waiting"
    assert world.status("j14-2") == "start/starting"


def test_stop_force_goes_through_a_long_chain_of_jobs_that_hold_each_other() -> None:
    world = circle(layers=5000, width=1)
    for name in ("j2500-0", "j0-0"):
        request = world.stop(name, force=True)
        assert world.answers[request] == ["ok"] and world.status(name) == "stop/waiting"


def test_a_shutdown_ends_a_long_chain_of_jobs_that_hold_each_other() -> None:
    world = circle(layers=5000, width=1)
    world.stop("j2500-0", force=True)
    world.engine.shutdown()
    world.settle()
    assert not any(job.instances for job in world.engine.jobs.values()) and not world.engine.events


def test_a_forced_stop_still_waits_for_what_is_being_worked_on() -> None:
    world = World(web="start on go\nexec web", first="start on starting web\ntask\nexec first")
    world.emit("go")
    assert world.status("web") == "start/starting"
    request = world.stop("web", force=True)
    assert world.answers[request] == [] and world.status("web") == "stop/starting"
    world.exit("first")
    assert world.answers[request] == ["ok"] and world.status("web") == "stop/waiting"
