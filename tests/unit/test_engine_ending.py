"""The end of the machine: what starts and what stops once it has begun, and that nothing holds it for ever."""

from __future__ import annotations

import json

import pytest

from upstart.base.priority import WARN
from upstart.engine import state
from upstart.engine.rest import unfinished
from upstart.engine.world import World

RC = "start on runlevel [0123456]\nstop on runlevel [!$RUNLEVEL]\nexport RUNLEVEL\ntask\nexec rc"


def end(world: World, level: str = "0", ending: bool = True) -> None:
    """What telinit does."""
    world.engine.set_ending(ending)
    world.engine.emit("runlevel", {"RUNLEVEL": level}, last=ending)
    world.settle()


def left(world: World, spared: list[int] | None = None) -> list[tuple[str, str]]:
    """What is on its way, and how it stands with it."""
    found = unfinished(world.engine.instances(), spared or [])
    return sorted(((each.display, how) for each, how in found), key=lambda each: each[1])


def test_nothing_is_respawned_any_more() -> None:
    world = World(web="respawn\nexec daemon", rc=RC)
    world.start("web")
    end(world)
    world.exit("web", 1)
    assert world.status("web") == "stop/waiting"
    assert world.status("rc") == "start/running"


def test_who_ends_as_asked_is_no_warning_then() -> None:
    for ending in (True, False):
        world = World(login="stop on runlevel 0\nexec getty", stray="stop on runlevel 0\nexec getty", rc=RC)
        world.engine.set_priority(WARN)
        world.start("login")
        world.start("stray")
        end(world, ending=ending)
        world.exit("login", 15 << 8)
        # Not as asked.
        world.exit("stray", 11 << 8)
        assert [line.split(" ")[0] for line in world.log if "killed by" in line] == ["login", "stray"][ending:]


def test_only_what_comes_of_the_runlevel_starts_jobs() -> None:
    world = World(
        rc=RC, late="start on runlevel 0\nexec x", chained="start on stopped service\nexec x",
        service="start on boot\nstop on runlevel [06]\nexec x", stray="start on net-device-up\nexec x",
        dies="start on boot\nexec x", after="start on stopped dies\nexec x", failed="start on late/failed\nexec x",
    )  # fmt: skip
    world.emit("boot")
    end(world)
    assert world.status("late") == "start/running"
    world.exit("service", 15 << 8)
    assert world.status("chained") == "start/running"
    world.emit("net-device-up")
    assert world.status("stray") == "stop/waiting"
    world.exit("dies", 1)
    assert world.status("after") == "stop/waiting"
    world.engine.emit("net-device-up", {}, last=True)
    world.settle()
    assert world.status("stray") == "start/running"


@pytest.mark.parametrize("level", ["2", "1"])
def test_another_runlevel_takes_it_back(level: str) -> None:
    world = World(web="respawn\nexec daemon", rc=RC, stray="start on net-device-up\nexec x")
    world.start("web")
    end(world)
    end(world, level, ending=False)
    world.exit("web", 1)
    world.emit("net-device-up")
    assert world.status("web") == "start/running" and world.status("stray") == "start/running"


def test_what_is_left_is_stopped_but_for_the_end_itself_and_who_is_spared() -> None:
    world = World(
        rc=RC, web="respawn\nkill timeout 1000000\npre-stop exec slow\nexec daemon", splash="exec daemon",
        late="start on runlevel 0\nexec x",
    )  # fmt: skip
    world.start("web")
    world.start("splash")
    end(world)
    spared = [world.pid("splash")]
    world.engine.stop_rest(False, spared, [], {})
    world.settle()
    assert left(world, spared) == [("web", "stops"), ("rc", "works")]
    assert world.status("splash") == world.status("late") == world.status("rc") == "start/running"
    assert world.status("web") == "stop/pre-stop"
    world.engine.stop_rest(True, spared, [], {})
    assert left(world, spared) == [("web", "ends"), ("rc", "works")]
    world.exit("web", process="pre-stop")
    pid = world.pid("web")
    assert (pid, 15) in world.kills
    assert left(world, spared) == [("web", "ends"), ("rc", "works")]
    world.sleep(61)
    assert (pid, 9) in world.kills
    world.exit("web", 9 << 8)
    assert left(world, spared) == [("rc", "works")]


def test_what_a_later_event_stops_goes_on_until_then() -> None:
    world = World(
        rc=RC, udev="exec udevd", log="stop on unmounted or halted\nexec daemon", web="stop on gone\nexec daemon",
        net="post-stop exec down",
    )  # fmt: skip
    for name in ("log", "web", "net", "udev"):
        world.start(name)
    end(world)
    later, given = ["unmounted", "halted", "udev"], {"UPSTART_STOP_EVENTS": "runlevel", "RUNLEVEL": "0"}
    world.engine.stop_rest(False, [], later, given)
    world.settle()
    assert world.status("log") == "start/running"
    assert left(world) == [("web", "ends"), ("net", "stops"), ("rc", "works")]
    env = next(env for display, process, _, env in world.spawned if (display, process) == ("net", "post-stop"))
    assert (env["UPSTART_STOP_EVENTS"], env["RUNLEVEL"]) == ("runlevel", "0")
    world.exit("net", process="post-stop")
    world.exit("web", 15 << 8)
    world.exit("rc")
    assert left(world) == []
    world.engine.stop_rest(False, [], ["halted", "udev"], {})
    world.settle()
    assert world.status("log") == world.status("udev") == "start/running"
    world.engine.stop_rest(False, [], [], {})
    world.settle()
    assert left(world) == [("udev", "ends"), ("log", "ends")]


def test_a_part_of_the_end_that_has_not_begun_is_waited_for() -> None:
    world = World(rc=RC, hangs="start on starting rc\ntask\nexec hangs", up="start on runlevel 0\nexec x")
    end(world)
    assert left(world) == [("rc", "works"), ("hangs", "works")] and world.status("up") == "start/running"


def test_a_kill_timeout_that_runs_already_is_cut_short() -> None:
    world = World(web="kill timeout 1000000\nexec daemon", rc=RC)
    world.start("web")
    world.stop("web")
    end(world)
    world.engine.stop_rest(False, [], [], {})
    world.settle()
    world.sleep(61)
    assert (world.pid("web"), 9) in world.kills


def test_who_was_killed_and_is_still_there_is_told_apart_until_it_ends() -> None:
    world = World(web="kill timeout 5\nexec daemon", rc=RC)
    world.start("web")
    end(world)
    world.engine.stop_rest(False, [], [], {})
    world.settle()
    assert left(world)[0] == ("web", "ends")
    world.sleep(6)
    assert left(world)[0] == ("web", "killed")
    document = json.loads(json.dumps(state.dump(world.engine)))
    engine = state.load(document, lambda: 0.0)
    assert ("web", "killed") in [(each.display, how) for each, how in unfinished(engine.instances(), [])]
    # It is killed again and again, and has no new time by that.
    world.engine.stop_rest(True, [], [], {})
    world.settle()
    world.sleep(6)
    assert left(world)[0] == ("web", "killed")
    world.exit("web", 9 << 8)
    assert world.status("web") == "stop/waiting"


def test_a_boot_that_hangs_before_rc_does_not_hold_the_end() -> None:
    world = World(rc=RC, hangs="start on starting rc\ntask\nexec hangs")
    end(world, "2", ending=False)
    assert world.status("rc") == "start/starting"
    end(world, "0")
    assert world.status("rc") == "start/running"
    assert world.instance("rc").env["RUNLEVEL"] == "0"


def test_a_start_called_off_before_goes_on_too() -> None:
    world = World(job="exec x", hangs="start on starting job\ntask\nexec hangs", rc=RC)
    world.start("job")
    world.stop("job")
    assert world.status("job") == "stop/starting"
    end(world)
    assert world.status("job") == "stop/waiting"


def test_the_same_end_asked_for_again_leaves_what_ends_the_machine_alone() -> None:
    world = World(rc=RC, late="start on runlevel 0\nexec x")
    end(world)
    end(world)
    world.engine.stop_rest(False, [], [], {})
    world.settle()
    assert world.status("rc") == world.status("late") == "start/running"


def test_who_waits_at_the_end_can_be_let_go_on() -> None:
    world = World(rc=RC, hangs="start on starting rc\ntask\nexec hangs")
    end(world)
    assert world.status("rc") == "start/starting"
    world.engine.wait_no_longer(world.instance("rc"))
    world.settle()
    assert world.status("rc") == "start/running"


def test_it_crosses_a_re_exec() -> None:
    world = World(rc=RC, web="respawn\nexec daemon", after="start on stopped rc\nexec x")
    world.start("web")
    end(world)
    document = json.loads(json.dumps(state.dump(world.engine)))
    engine = state.load(document, lambda: 0.0)
    assert engine.ending and not engine.respawning_allowed
    rc = engine.jobs[None, "rc"].instances[""]
    assert rc.last and not engine.jobs[None, "web"].instances[""].last
