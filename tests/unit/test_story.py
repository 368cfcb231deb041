"""What clients make of the history: what led to what, how long it took, and how that is drawn and compared."""

from __future__ import annotations

import json
import xml.etree.ElementTree as xml

import pytest

from upstart.base.emitters import EMITTERS, NO_EVENTS, emitter_of
from upstart.client.history import History, load, saved
from upstart.client.story import Story, shown
from upstart.client.words import cause_of, duration, ordinal, step_text
from upstart.engine.history import unpacked
from upstart.engine.world import World
from upstart.initctl import boots
from upstart.initctl.chart import draw
from upstart.initctl.compared import differences
from upstart.initctl.condition import Leaf, leaves_of, needed
from upstart.initctl.entries import line
from upstart.tools.knownevents import WELL_KNOWN_EVENTS


def history_of(world: World, skip: int = 0) -> History:
    """As a client is given it."""
    found = History()
    entries = list(world.engine.history.entries())
    found.entries = json.loads(json.dumps(entries))[skip:]
    found.clock = world.now
    found.following = world.engine.history.next
    found.unfinished = set(world.engine.events)
    return found


def begun(**jobs: str) -> World:
    world = World(**jobs)
    world.engine.note_program("boot")
    return world


def chain(**jobs: str) -> World:
    """A boot of three services, the second of which takes its time."""
    world = begun(
        **{
            "one": "start on startup\nexec x\n",
            "two": "start on started one\npre-start exec y\nexec x\n",
            "three": "start on started two and go\nexec x\n",
        }
        | jobs
    )
    world.emit("startup")
    world.emit("go")
    world.now += 2.5
    world.exit("two", process="pre-start")
    return world


def test_which_respawn_it_was_is_said_in_words() -> None:
    story = Story(history_of(chain()))
    entry = [1.0, "respawn", [None, "one", ""], 1]
    assert line(entry, story).endswith("one: its main process is respawned, for the first time")
    names = [ordinal(number) for number in (2, 3, 4, 11, 21, 22, 111, 123)]
    assert names == ["second", "third", "4th", "11th", "21st", "22nd", "111th", "123rd"]


def test_what_led_to_a_job_is_followed_to_its_beginning() -> None:
    story = Story(history_of(chain()))
    goal = story.last_goal((None, "three", ""), "start")
    assert goal is not None
    assert [step_text(step, story) for step in story.back(goal)] == [
        "three was started by started two and go",
        "two was started by started one",
        "one was started by startup, emitted by init itself",
    ]


def test_a_client_of_a_job_leads_to_that_job_and_a_failed_event_to_the_event() -> None:
    world = begun(
        boots="start on startup\ntask\nexec x\n",
        told="start on told\ntask\nexec y\n",
        sorry="start on told/failed\nexec z\n",
    )
    world.emit("startup")
    who = ["client", 0, 7, "initctl", "sh", [None, "boots", ""]]
    world.engine.emit("told", {}, by=who)
    world.settle()
    world.exit("told", 1)
    story = Story(history_of(world))
    goal = story.last_goal((None, "sorry", ""), "start")
    assert goal is not None
    texts = [step_text(step, story) for step in story.back(goal)]
    assert texts == [
        "sorry was started by told/failed, emitted by init, since something failed over told",
        "boots was started by startup, emitted by init itself",
    ]


def test_what_is_forgotten_is_not_guessed() -> None:
    world = chain()
    history = history_of(world)
    goals = [place for place, (_, entry) in enumerate(history.entries) if entry[1] == "goal"]
    at = next(place for place in goals if history.entries[place][1][2][1] == "three")
    history.entries = history.entries[at:]
    story = Story(history)
    assert story.gap
    goal = story.last_goal((None, "three", ""), "start")
    assert goal is not None and cause_of(goal, story) == "by events that are forgotten"
    assert len(story.back(goal)) == 1


def test_a_circle_ends() -> None:
    world = begun(a="start on stopped b or go\ntask\nexec x\n", b="start on stopped a\ntask\nexec x\n")
    world.emit("go")
    for _ in range(60):
        world.exit("a")
        world.exit("b")
    story = Story(history_of(world))
    goal = story.last_goal((None, "a", ""), "start")
    assert goal is not None and len(story.back(goal)) == 40


def test_a_boot_is_over_when_nothing_is_on_its_way_and_each_took_its_time() -> None:
    world = chain(task="start on startup\ntask\nexec t\n")
    world.now += 1
    world.exit("task")
    world.now += 100
    world.emit("noise")
    period = boots.boot(Story(history_of(world)))
    assert period is not None
    took = {each.life.name: (each.task, each.seconds(world.now)) for each in period.took}
    assert took == {"one": (False, 0.0), "two": (False, 2.5), "three": (False, 0.0), "task": (True, 3.5)}
    assert period.ended - period.began == 3.5


def test_the_end_of_a_machine_soon_after_is_no_part_of_its_boot() -> None:
    world = chain(task="start on startup\ntask\nexec t\n", rc="start on runlevel\ntask\nexec x\n")
    world.now += 1
    world.engine.set_ending(True)
    world.engine.emit("runlevel", {"RUNLEVEL": "0"}, last=True)
    world.settle()
    world.now += 7
    world.exit("rc")
    period = boots.boot(Story(history_of(world)))
    assert period is not None
    assert {each.life.name for each in period.took} == {"one", "two", "three", "task"}
    assert period.ended - period.began == 2.5


def test_the_end_of_a_machine_is_what_came_since_it_was_to_end() -> None:
    world = chain()
    assert boots.end(Story(history_of(world))) is None
    world.now += 10
    world.engine.set_ending(True)
    world.engine.stop_rest(False, [], [], {})
    world.settle()
    world.now += 3
    for job in ("one", "two", "three"):
        world.exit(job, 15 << 8)
    period = boots.end(Story(history_of(world)))
    assert period is not None and period.ended - period.began == 3.0
    assert {each.life.name: each.seconds(world.now) for each in period.took} == {"one": 3.0, "two": 3.0, "three": 3.0}


def test_the_picture_is_sound_and_has_a_row_for_each_job_whatever_its_name() -> None:
    world = chain(**{f"job{number}": "start on startup\nexec x\n" for number in range(200)})
    world.engine.process_exited(world.pid("one"), 0)
    world.engine.process_used(101, 1.5, 4096, 0)
    history = history_of(world)
    history.entries = json.loads(json.dumps(history.entries).replace("job17", "<job>&\\u0001\\\""))
    period = boots.boot(Story(history))
    assert period is not None
    text = draw(period)
    tree = xml.fromstring(text)
    names = [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert '<job>&\ufffd"' in names and "job199" in names and "startup" in names
    assert len([name for name in names if name and name.startswith("job")]) == 189
    assert float(tree.get("height") or 0) < 14 * 203 + 400


def test_what_became_slower_is_found_and_why() -> None:
    first = boots.boot(Story(history_of(chain(gone="start on startup\nexec x\n"))))
    world = begun(
        one="start on startup\nexec x\n",
        two="start on started one\npre-start exec y\nexec x\n",
        three="start on started two and go\nexec x\n",
        new="start on go\nexec x\n",
    )
    world.emit("startup")
    world.emit("go")
    world.now += 9
    world.exit("two", process="pre-start")
    second = boots.boot(Story(history_of(world)))
    assert first is not None and second is not None
    changed, new, gone = differences(first, second)
    assert [(each.name, each.more) for each in changed] == [("two", 6.5)]
    assert changed[0].why == "its pre-start (pre-start 2.5 s, now 9.0 s)"
    assert (new, gone) == (["new"], ["gone"])


def test_each_entry_is_a_line() -> None:
    world = chain(half="start on go and never\nexec x\n", dies="start on go\nrespawn\nexec x\n")
    world.exit("dies", 3)
    world.stop("one")
    world.engine.note_clock(5.0, 1e9)
    world.engine.set_ending(True)
    world.engine.undefine(None, "half")
    story = Story(history_of(world))
    lines = [line(entry, story) for _, entry in story.history.entries]
    assert "init begins, with the boot" in lines and "half: go meets a part of its 'start on'" in lines
    assert "one: SIGTERM sent to its main process 101" in lines and "job removed: half" in lines
    assert not [each for each in lines if "[" in each]


def test_a_saved_history_is_the_same() -> None:
    world = chain()
    chunks, following = world.engine.history.chunks(0, 100)
    texts = [(first, json.dumps(unpacked(packed))) for first, packed in chunks]
    again = load(saved(texts, [world.now, 0.5, 1e9], following, [3, 4]))
    assert again.entries == [(number, entry) for number, entry in history_of(world).entries]
    assert (again.clock, again.suspended, again.wall, again.unfinished) == (world.now, 0.5, 1e9, {3, 4})


def test_what_two_answers_of_init_both_had_is_there_once() -> None:
    texts = [(0, "[[1.0,0],[1.0,1],[1.0,2]]"), (1, "[[1.0,1],[1.0,2],[1.0,3]]"), (4, "[[1.0,4]]")]
    again = load(saved(texts, [1.0, 0.0, 0.0], 5, []))
    assert [number for number, _ in again.entries] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"kind":"upstart-history","version":1}', '{"kind":"upstart-history"']
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        load(text)
    with pytest.raises(ValueError, match="later version"):
        load('{"kind":"upstart-history","version":2}')


def test_conditions_in_words() -> None:
    rpn = [["filesystem"], ["static-network-up"], ["/AND"], ["failsafe-boot"], ["/OR"]]
    assert needed(rpn) == "(filesystem and static-network-up) or failsafe-boot"
    assert [leaf.text for leaf in leaves_of(rpn)] == ["filesystem", "static-network-up", "failsafe-boot"]
    assert needed([["a"], ["b"], ["/OR"], ["c", "X=1"], ["/OR"]]) == "a or b or c X=1"
    assert Leaf(["started", "x"]).job == "x" and Leaf(["started", "JOB=y"]).job == "y" and Leaf(["go", "x"]).job == ""
    assert Leaf(["go", "A=x*", "B!=y"]).fits({"A": "xx", "B": "z"})
    assert not Leaf(["go", "A=x*", "B!=y"]).fits({"A": "xx", "B": "y"})
    assert not Leaf(["go", "A=$A"]).fits({"A": "x"})


def test_every_event_of_the_manual_has_somebody_who_emits_it() -> None:
    known = {*EMITTERS, "starting", "started", "stopping", "stopped"}
    assert [name for name in WELL_KNOWN_EVENTS if name not in known and not emitter_of(name)] == []
    assert not set(NO_EVENTS) & set(EMITTERS)
    assert emitter_of("sound-device-added").startswith("the udev bridge") and emitter_of("nothing") == ""


def test_durations_and_names() -> None:
    assert [duration(each) for each in (0.012, 2.34, 61, 3700, 90000)] == [
        "12 ms", "2.3 s", "1 min 1 s", "1 h 1 min", "25 h 0 min",
    ]  # fmt: skip
    assert shown((None, "job", "x")) == "job (x)" and shown((None, "job", None)) == "job"
