"""What jobs wait for: counted as definitions come and go, told of to who waits for that, and not lost by a re-exec."""

from __future__ import annotations

import json
import time

from hypothesis import given
from hypothesis import strategies as st

from upstart.conf.jobclass import JobClass
from upstart.conf.parse import parse_job
from upstart.engine import invariants, state
from upstart.engine.awaited import count
from upstart.engine.effects import Announce
from upstart.engine.engine import Engine


def job(name: str, text: str) -> JobClass:
    return parse_job(name, text + "\nexec true\n", name)


class Told:
    """An engine, and what it tells of awaited events."""

    def __init__(self, **jobs: str) -> None:
        self.engine = Engine(time.monotonic)
        self.engine.set_environ({"HOME": "/root"})
        for name, text in jobs.items():
            self.define(name, text)

    def define(self, name: str, text: str) -> None:
        self.engine.define(job(name, text))

    def undefine(self, name: str) -> None:
        self.engine.undefine(None, name)

    def told(self) -> list[str]:
        """The events of the kind since the last time."""
        found = [
            f"{event.name} {next(iter(event.env.values()))}"
            for event in self.engine.events.values()
            if event.name.startswith("awaited") and event.progress == "pending"
        ]
        self.engine.run()
        return found

    def changed(self) -> list[str]:
        """The names in the announcements since the last time."""
        found: list[str] = []
        for effect in self.engine.take_effects():
            if isinstance(effect, Announce) and effect.signal == "AwaitedChanged":
                assert isinstance(effect.value, tuple)
                found += effect.value
        return found

    def leaves(self, *events: str) -> list[tuple[str, list[str]]]:
        return sorted(self.engine.awaited.leaves(list(events)))


def test_what_is_awaited_is_what_conditions_name() -> None:
    told = Told(
        a="start on file FILE=/etc/a EVENT=create or socket PROTO=unix\nstop on file FILE=/etc/a EVENT=create",
        b="start on file FILE=/etc/b and started a",
    )
    create, any_event = ("file", ["FILE=/etc/a", "EVENT=create"]), ("file", ["FILE=/etc/b"])
    assert told.leaves("file") == [create, any_event]
    assert told.leaves("s*") == [("socket", ["PROTO=unix"]), ("started", ["a"])]
    assert told.leaves("nothing", "socket") == [("socket", ["PROTO=unix"])] and told.leaves() == []
    told.undefine("a")
    assert told.leaves("*") == [any_event, ("started", ["a"])]
    told.undefine("b")
    assert told.leaves("*") == []


def test_who_waits_for_what_is_awaited_may_leave_out_names() -> None:
    told = Told(
        bridge="start on awaited EVENT=*-device-* EVENT!=net-* EVENT!=tty-device-added\n"
        "stop on awaited/none JOB=bridge",
        eth="start on net-device-added", disk="start on block-device-added or tty-device-added",
    )  # fmt: skip
    told.engine.tell_awaited()
    assert told.told() == ["awaited block-device-added"]
    told.define("disk", "start on tty-device-added")
    assert told.told() == ["awaited/none bridge"]


def test_who_waits_for_what_is_awaited_may_leave_out_what_everybody_asks_for() -> None:
    told = Told(
        bridge='start on awaited EVENT=mounted TESTS!=MOUNTPOINT=/run TESTS!="MOUNTPOINT=/run *"\n'
        "stop on awaited/none JOB=bridge",
        other="start on awaited EVENT=*mounted",
        run="start on mounted MOUNTPOINT=/run or mounted MOUNTPOINT=/run TYPE=tmpfs",
    )  # fmt: skip
    told.engine.tell_awaited()
    told.told()
    assert told.engine.jobs[None, "other"].instances and not told.engine.jobs[None, "bridge"].instances
    told.define("usb", "start on mounted MOUNTPOINT=/run/media/x\nstop on unmounted")
    assert told.told() == ["awaited mounted", "awaited unmounted"]
    assert told.engine.jobs[None, "bridge"].instances
    told.define("usb2", "start on mounted MOUNTPOINT=/mnt")
    told.undefine("usb")
    assert told.told() == []
    told.undefine("usb2")
    assert told.told() == ["awaited/none bridge"]


def test_references_are_replaced_as_far_as_the_job_s_own_stanzas_go() -> None:
    told = Told(a="env DIR=/srv\nenv HOME\nenv NONE\nstop on file FILE=$DIR/x KEY=${HOME}/y Z=$NONE INTERFACE=$IFACE")
    wanted = ("file", ["FILE=/srv/x", "KEY=/root/y", "Z=$NONE", "INTERFACE=$IFACE"])
    assert told.leaves("file") == [wanted]
    # Others get a definition of the same job whose variables have changed.
    told.define("a", "env DIR=/new\nstop on file FILE=$DIR/x")
    assert told.leaves("file") == [("file", ["FILE=/new/x"])]


def test_jobs_of_other_sessions_do_not_count() -> None:
    told = Told(a="env X=1\nstart on file FILE=$X")
    other = parse_job("a", "env X=2\nstart on file FILE=$X\nexec true\n", "a", session="/chroot")
    told.engine.define(other)
    told.engine.undefine("/chroot", "a")
    assert told.leaves("file") == [("file", ["FILE=1"])]
    invariants.check(told.engine)


def test_who_waits_for_it_is_told_after_the_first_event_and_of_what_comes_later() -> None:
    told = Told(
        bridge="start on awaited EVENT=*-device-*", disk="start on block-device-added", eth="start on net-device-up",
        other="start on socket",
    )  # fmt: skip
    assert told.told() == []
    told.engine.emit("startup", {})
    told.engine.tell_awaited()
    assert told.told() == ["awaited block-device-added", "awaited net-device-up"]
    told.define("disk2", "start on block-device-added ID=1")
    assert told.told() == []
    told.define("usb", "stop on usb-device-removed")
    assert told.told() == ["awaited usb-device-removed"]


def test_who_waits_for_it_may_be_told_after_a_later_event() -> None:
    told = Told(bridge="start on awaited EVENT=*-device-*", disk="start on block-device-added")
    told.engine.tell_awaited_after("startup")
    told.engine.emit("recovery", {})
    told.define("usb", "start on usb-device-added")
    assert told.told() == []
    told.engine.take_effects()
    told.engine = state.load(json.loads(json.dumps(state.dump(told.engine))), time.monotonic)
    told.engine.emit("startup", {}, session="other")
    assert told.told() == []
    told.engine.emit("startup", {})
    assert sorted(told.told()) == ["awaited block-device-added", "awaited usb-device-added"]
    told.engine.emit("startup", {})
    assert told.told() == []


def test_nobody_is_told_where_nobody_asks() -> None:
    told = Told(a="start on block-device-added")
    told.engine.tell_awaited()
    told.define("b", "start on socket")
    told.undefine("a")
    assert told.told() == []


def test_a_new_listener_is_told_of_what_is_awaited_already() -> None:
    told = Told(disk="start on block-device-added")
    told.engine.tell_awaited()
    told.define("bridge", "start on awaited *-device-*\nstop on awaited/none bridge")
    assert told.told() == ["awaited block-device-added"]
    told.define("all", "start on awaited")
    assert sorted(told.told()) == [f"awaited {name}" for name in sorted(told.engine.awaited.names)]


def test_the_last_job_that_goes_is_told_of_and_a_change_of_one_is_not() -> None:
    text = "start on awaited EVENT=*-device-*[de] or awaited EVENT=x\nstop on awaited/none JOB=bridge"
    told = Told(bridge=text, disk="start on block-device-added", net="start on net-device-added")
    told.engine.tell_awaited()
    told.told()
    told.define("disk", "start on block-device-removed")
    assert told.told() == ["awaited block-device-removed"]
    told.undefine("disk")
    assert told.told() == []
    told.define("net", "start on net-device-added INTERFACE=eth0")
    assert told.told() == []
    told.undefine("net")
    assert told.told() == ["awaited/none bridge"]
    told.define("net", "start on net-device-added")
    assert told.told() == ["awaited net-device-added"]


def test_changes_are_announced_by_the_names_that_they_concern() -> None:
    told = Told(a="start on file FILE=/a")
    told.changed()
    told.define("b", "start on file FILE=/b")
    assert told.changed() == []
    told.engine.tell_awaited()
    told.define("c", "start on file FILE=/c and started b")
    assert told.changed() == ["file", "started"]
    # Who waits for it is another matter, also where somebody does already.
    told.define("d", "start on file FILE=/c")
    assert told.changed() == ["file"]
    told.define("d", "start on file FILE=/c\nenv X=1")
    assert told.changed() == []
    told.undefine("d")
    assert told.changed() == ["file"]
    told.define("c", "start on file FILE=/d and started b")
    assert told.changed() == ["file"]
    told.undefine("c")
    assert told.changed() == ["file", "started"]


def test_a_re_exec_neither_repeats_nor_loses_it() -> None:
    told = Told(bridge="start on awaited EVENT=file", a="start on file FILE=/a")
    told.engine.tell_awaited()
    told.engine.run()
    told.engine.take_effects()
    saved = json.loads(json.dumps(state.dump(told.engine)))
    again = Told()
    again.engine = state.load(saved, time.monotonic)
    again.engine.set_environ({})
    assert again.leaves("file") == [("file", ["FILE=/a"])]
    assert not [event for event in again.engine.events.values() if event.progress == "pending"]
    again.undefine("a")
    again.define("b", "start on file FILE=/b")
    assert again.told() == ["awaited file"]
    # Before the first event there is nothing to go on with.
    early = state.load(state.dump(Engine(time.monotonic)), time.monotonic)
    assert not early.tells_awaited
    # The build before this one knew nothing of it, and was past that.
    del saved["tells_awaited"]
    assert state.load(saved, time.monotonic).tells_awaited


CONDITIONS = ("file A=1", "file A=$X", "socket", "awaited f*", "awaited EVENT=socket", "awaited/none b", "started a")
definitions = st.tuples(st.sampled_from("abc"), st.sets(st.sampled_from(CONDITIONS), max_size=3), st.booleans())


@given(st.lists(definitions, max_size=20))
def test_whatever_comes_and_goes_is_counted_as_if_anew(changes: list[tuple[str, set[str], bool]]) -> None:
    told = Told()
    told.engine.tell_awaited()
    for name, conditions, gone in changes:
        if gone:
            told.undefine(name)
        else:
            condition = " or ".join(sorted(conditions))
            told.define(name, f"env X={name}\n" + (f"start on {condition}" if condition else ""))
        classes = [job.job_class for job in told.engine.jobs.values()]
        assert told.engine.awaited.counts() == count(classes, {}).counts()
