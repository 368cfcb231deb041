"""What all bridges share, and the pure part of the one for udev."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.base.devicewords import PATTERN
from upstart.base.glob import match
from upstart.base.loop import READ, Loop
from upstart.bridges import condition, outbox
from upstart.bridges.guarded import Guarded
from upstart.bridges.host import Host
from upstart.bridges.mounttable import Mounts, places_of_mountall
from upstart.bridges.outbox import Outbox
from upstart.bridges.state import State
from upstart.bridges.status import waiting_for
from upstart.bridges.udev import Devices, Known, Record, readable, subsystems
from upstart.bridges.udevmonitor import BY_RULE, UdevSource
from upstart.mounts.values import Mounted

# The outbox


def names(entries: Iterable[tuple[int, outbox.Entry]]) -> list[str]:
    return [f"{entry.name} {' '.join(entry.env)}".strip() for _, entry in entries]


def test_events_go_out_in_their_order_and_no_more_at_once_than_init_is_to_have() -> None:
    box = Outbox()
    for number in range(outbox.WINDOW + 10):
        box.put(str(number), "event", [f"N={number}"])
    first = box.take()
    assert names(first) == [f"event N={number}" for number in range(outbox.WINDOW)] and box.take() == []
    for ticket, _ in first[:3]:
        box.answered(ticket)
    assert names(box.take()) == [f"event N={outbox.WINDOW + number}" for number in range(3)]
    assert not box.empty


def test_of_several_of_one_name_the_last_is_enough_and_others_keep_their_order() -> None:
    box = Outbox()
    for name, value in (("added", 1), ("changed", 2), ("changed", 3), ("removed", 4), ("added", 5), ("added", 6)):
        box.put("disk", name, [str(value)])
    box.put("other", "changed", ["7"])
    assert names(box.take()) == ["added 1", "changed 3", "removed 4", "added 6", "changed 7"]
    # What is under way is not changed any more.
    box.put("other", "changed", ["8"])
    assert names(box.take()) == ["changed 8"]


def test_what_was_under_way_when_init_went_is_told_again_before_all_else() -> None:
    box = Outbox()
    for number in range(4):
        box.put(str(number), "event", [str(number)])
    (done, *_) = box.take()
    box.answered(done[0])
    box.put("1", "event", ["new"])
    box.lost()
    assert names(box.take()) == ["event 1", "event 2", "event 3", "event new"]
    assert box.take() == []


def test_what_has_no_room_is_counted() -> None:
    box = Outbox()
    for number in range(outbox.MOST + 5):
        box.put(str(number), "event", [])
    assert box.dropped == 5
    box.put("0", "event", ["last"])
    assert box.dropped == 5 and names(box.take())[0] == "event last"


moves = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("ab"), st.sampled_from(["added", "changed", "removed"])),
    st.tuples(st.sampled_from(["take", "answer", "lost"]), st.just(""), st.just("")),
)


@given(st.lists(moves, max_size=60))
def test_nothing_is_lost_and_the_last_of_each_name_arrives(moves: list[tuple[str, str, str]]) -> None:
    box = Outbox()
    put: dict[str, list[tuple[str, int]]] = {"a": [], "b": []}
    arrived: dict[str, list[tuple[str, int]]] = {"a": [], "b": []}
    under_way: list[tuple[int, outbox.Entry]] = []

    def answer() -> None:
        if under_way:
            ticket, entry = under_way.pop(0)
            box.answered(ticket)
            arrived[entry.key].append((entry.name, int(entry.env[0])))

    for number, (move, key, name) in enumerate(moves):
        if move == "put":
            put[key].append((name, number))
            box.put(key, name, [str(number)])
        elif move == "take":
            under_way += box.take()
        elif move == "answer":
            answer()
        else:
            under_way.clear()
            box.lost()
    under_way += box.take()
    while under_way:
        answer()
    assert box.empty
    for key, events in put.items():
        assert arrived[key] == sorted(arrived[key], key=lambda event: event[1])
        assert set(arrived[key]) <= set(events)
        # What is missing was followed by another of its name, with none of another name between them.
        for at, event in enumerate(events):
            if event not in arrived[key]:
                assert events[at + 1][0] == event[0]


# Devices


def record(action: str, number: int = 1, subsystem: str = "block", **properties: str | bytes) -> Record:
    raw = {key: value if isinstance(value, bytes) else value.encode() for key, value in properties.items()}
    path, kernel = f"/devices/{subsystem}/d{number}", f"d{number}"
    node = b"/dev/" + kernel.encode() if subsystem == "block" else b""
    pairs = [(b"ACTION", action.encode()), *((key.encode(), value) for key, value in raw.items())]
    return Record(action.encode(), path.encode(), kernel.encode(), subsystem.encode(), node, pairs)


class Heard:
    """Devices, and the names of the events that they have led to."""

    def __init__(self, *wanted: str) -> None:
        self.devices = Devices()
        self.devices.want(set(wanted or ("block",)))

    def __call__(self, *records: Record) -> list[str]:
        return [name for each in records for _, name, _ in self.devices.heard(each)]

    def found(self, *records: Record) -> list[str]:
        return [f"{name} {env['KERNEL']}" for _, name, env in self.devices.found(records, {"block"})]


def test_an_event_has_the_variables_of_the_original_in_its_order() -> None:
    heard = Heard("block")
    ((key, name, env),) = heard.devices.heard(record("add", ID_FS_TYPE="ext4", DEVNAME="/dev/d1", TAGS=":x:"))
    assert (key, name) == ("/devices/block/d1", "block-device-added")
    assert list(env.items()) == [
        ("KERNEL", "d1"), ("DEVPATH", "/devices/block/d1"), ("DEVNAME", "/dev/d1"), ("SUBSYSTEM", "block"),
        ("ACTION", "add"), ("ID_FS_TYPE", "ext4"), ("TAGS", ":x:"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("action", "word"), [("change", "changed"), ("remove", "removed"), ("bind", "bind"), ("offline", "offline")]
)
def test_other_actions_have_events_too(action: str, word: str) -> None:
    heard = Heard()
    assert heard(record("add"), record(action)) == ["block-device-added", f"block-device-{word}"]


def test_only_what_is_awaited_is_told() -> None:
    events = ["block-device-added", "net-device-up", "net-device-down", "usb-serial-device-removed", "-device-added",
              "a-device-b-device-bind", "device-added", "socket"]  # fmt: skip
    assert subsystems(events) == {"block", "usb-serial", "a-device-b"}
    assert [event for event in events if match(PATTERN, event)] == [
        "block-device-added", "usb-serial-device-removed", "-device-added", "a-device-b-device-bind",
    ]  # fmt: skip
    assert Heard("net")(record("add"), record("add", subsystem="net")) == ["net-device-added"]


def test_a_device_is_added_once_until_it_is_removed() -> None:
    heard = Heard()
    added, removed = record("add"), record("remove")
    assert heard(added, added, removed, added) == ["block-device-added", "block-device-removed", "block-device-added"]
    assert heard.found(record("add")) == []
    assert heard.found(record("add"), record("add", 2)) == ["block-device-added d2"]


def test_one_that_is_not_ready_is_added_by_the_change_that_makes_it_so() -> None:
    heard = Heard()
    not_ready = record("change", SYSTEMD_READY="0")
    assert heard(record("add", SYSTEMD_READY="0"), not_ready) == []
    ((_, name, env),) = heard.devices.heard(record("change"))
    assert (name, env["ACTION"]) == ("block-device-added", "add")
    # From then on it is as any other.
    assert heard(not_ready, record("remove")) == ["block-device-changed", "block-device-removed"]
    assert heard(record("add", SYSTEMD_READY="0"), record("remove"), record("change")) == ["block-device-changed"]


def test_what_is_there_is_compared_with_what_was_told() -> None:
    heard = Heard()
    first, second = (record("add", number, USEC_INITIALIZED="5") for number in (1, 2))
    assert heard.found(first, second) == ["block-device-added d1", "block-device-added d2"]
    again = Heard()
    again.devices.load(json.loads(json.dumps(heard.devices.dump())))
    # One is gone, one was pulled and plugged again, one is new.
    other = record("add", 2, USEC_INITIALIZED="6")
    assert again.found(other, record("add", 3)) == [
        "block-device-removed d1", "block-device-removed d2", "block-device-added d2", "block-device-added d3",
    ]  # fmt: skip
    assert again.found(other, record("add", 3)) == []


def test_subsystems_come_and_go_with_those_who_wait() -> None:
    devices = Devices()
    assert devices.want({"block"}) == {"block"}
    list(devices.heard(record("add")))
    assert devices.want({"block", "net"}) == {"net"} and devices.want({"net"}) == set()
    assert devices.want({"block", "net"}) == {"block"} and not devices.known


def test_all_is_told_where_everything_is_wanted() -> None:
    devices = Devices()
    assert devices.want(None) == set()
    told = [name for _ in range(2) for _, name, _ in devices.heard(record("add", subsystem=""))]
    assert told == ["(null)-device-added"] * 2


def test_what_only_an_instance_knows_may_be_anything() -> None:
    order = ("NAME", "OWNER")
    assert condition.passes(condition.tests_of(["NAME=$NAME", "OWNER=n"], order), {"NAME": "x", "OWNER": "n"})
    assert not condition.passes(condition.tests_of(["NAME=$NAME", "OWNER=n"], order), {"NAME": "x", "OWNER": "y"})
    assert condition.passes(condition.tests_of(["$X.a", "OWNER!=$Y"], order), {"NAME": "x", "OWNER": "y"})
    assert not condition.passes(condition.tests_of(["OTHER=$X"], order), {"NAME": "x"})
    mounts = Mounts()
    assert mounts.want([("unmounted", ["MOUNTPOINT=$MOUNTPOINT"])])
    assert list(mounts.read([Mounted("x", "/srv/x", "tmpfs", "rw")], set())) == []
    assert [name for _, name, _ in mounts.read([], set())] == ["unmounted"]


def test_a_device_that_may_have_been_told_of_and_has_gone_is_removed() -> None:
    first = Devices()
    first.want({"block"})
    left = [first.doubt(name, key) for number in (1, 2) for key, name, _ in first.heard(record("add", number))]
    assert first.doubt("block-device-changed", "/devices/block/d1") == []
    again = Devices()
    again.want({"block"})
    again.unsure = {path: Known(*values) for path, *values in left}
    told = [(name, env["KERNEL"]) for _, name, env in again.found([record("add", 2)], {"block"})]
    assert told == [("block-device-removed", "d1"), ("block-device-added", "d2")] and not again.unsure


def test_what_is_in_doubt_is_left_until_all_was_told(tmp_path: Path) -> None:
    fail = lambda *words: pytest.fail(str(words))  # noqa: E731
    host: Any = SimpleNamespace(state_path=f"{tmp_path}/deep/x.json", epoch="life", log=fail)
    state = State(host)
    assert state.doubts() == []
    for _ in range(2):
        state.doubt("a", "b")
        state.doubt("c")
    with open(f"{host.state_path}.doubt", "a") as file:
        file.write('["cut o')
    state.close()
    again = State(host)
    assert again.doubts() == [("a", "b"), ("c",)]
    again.doubt("d")
    assert State(host).doubts() == [("a", "b"), ("c",), ("d",)]
    again.save(x=1)
    assert State(host).doubts() == [] and os.listdir(tmp_path / "deep") == ["x.json"]
    # The same text is not written again, and yet there is no doubt.
    again.doubt("e")
    again.save(x=1)
    again.doubt("f")
    assert State(host).doubts() == [("f",)]
    host.epoch = "another"
    assert State(host).doubts() == []


def test_a_device_that_moves_is_known_by_its_new_path() -> None:
    heard = Heard("net")
    heard(record("add", subsystem="net"))
    moved = record("move", 2, "net", DEVPATH_OLD="/devices/net/d1")
    assert heard(moved) == ["net-device-move"] and list(heard.devices.known) == ["/devices/net/d2"]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain and\ttabbed", "plain and\ttabbed"),
        ("grün €".encode(), "grün €"),
        (b"\xff\xc3\xa4\xfe", "\\xffä\\xfe"),
        (b"a\nb\x01\x7f", "a\\x0ab\\x01\\x7f"),
        ("\u2028".encode(), "\\xe2\\x80\\xa8"),
    ],
)
def test_bytes_become_text_that_everybody_can_read(raw: bytes, text: str) -> None:
    assert readable(raw) == text


def test_control_characters_are_kept_where_that_is_wanted() -> None:
    assert readable(b"a\nb\xff", keep=True) == "a\nb\\xff"


actions = st.sampled_from(["add", "change", "remove", "bind", "move"])
said = st.builds(record, actions, st.integers(1, 2), SYSTEMD_READY=st.sampled_from(["0", "1"]))


@given(st.lists(said, max_size=30), st.binary(max_size=20))
def test_no_device_is_added_twice_or_removed_twice(records: list[Record], junk: bytes) -> None:
    heard = Heard()
    there: set[str] = set()
    for each in records:
        each.properties.append((b"X" + junk, junk))
        for key, name, env in heard.devices.heard(each):
            assert all(value.isprintable() or "\t" in value for value in env.values())
            if name == "block-device-added":
                assert key not in there
                there.add(key)
            elif name == "block-device-removed":
                there.discard(key)
            else:
                there.add(key)
    assert there == set(heard.devices.known)


# Its adapter


class Values(dict[str, "str | bytes"]):
    """Properties of a device as pyudev gives them: not what is not UTF-8."""

    def __getitem__(self, name: str) -> str:
        value = super().__getitem__(name)
        return value if isinstance(value, str) else value.decode()


def a_device(action: str, number: int, **properties: str | bytes) -> SimpleNamespace:
    return SimpleNamespace(
        action=action, device_path=f"/devices/d{number}", sys_name=f"d{number}", subsystem="block", device_node=None,
        properties=Values(properties),
    )  # fmt: skip


class Udev:
    """What of pyudev the adapter uses; what ``messages`` says is received, an error included."""

    def __init__(self) -> None:
        self.messages: list[SimpleNamespace | OSError] = []
        self.there: list[SimpleNamespace] = []
        self.did: list[str] = []

    def filter_by(self, subsystem: str) -> None:
        self.did.append(f"filter {subsystem}")

    def set_receive_buffer_size(self, size: int) -> None:
        raise PermissionError(errno.EPERM, "not in a container")

    def start(self) -> None:
        self.did.append("start")

    def fileno(self) -> int:
        return 7

    def poll(self, timeout: float) -> SimpleNamespace | None:
        message = self.messages.pop(0) if self.messages else None
        if isinstance(message, OSError):
            raise message
        return message

    def list_devices(self, subsystem: str) -> SimpleNamespace:
        self.did.append(f"list {subsystem}")
        return SimpleNamespace(match_is_initialized=lambda: self.there)


@pytest.fixture
def udev(monkeypatch: pytest.MonkeyPatch) -> Udev:
    udev = Udev()
    monitor = SimpleNamespace(from_netlink=lambda context, name: udev)
    module: Any = SimpleNamespace(Context=lambda: udev, Monitor=monitor)
    monkeypatch.setitem(sys.modules, "pyudev", module)
    return udev


class Listener:
    """Takes the place of a host."""

    def __init__(self, directory: Path, epoch: str = "1") -> None:
        self.told: list[str] = []
        self.said: list[str] = []
        self.state_path = str(directory / "deep" / "udev.json")
        self.epoch = epoch
        self.loop = SimpleNamespace(add_fd=self._add_fd)
        self.readable: Callable[[int], object] = print

    def _add_fd(self, fd: int, events: int, callback: Callable[[int], object]) -> None:
        self.readable = callback

    def emit(self, key: str, name: str, env: dict[str, str]) -> None:
        self.told.append(" ".join([name, *(f"{key}={value}" for key, value in env.items() if len(key) == 1)]))

    def log(self, priority: int, text: str) -> None:
        self.said.append(text)


def source_of(listener: Any, always: bool = False) -> UdevSource:
    return UdevSource(listener, always, False)


LEAVES = [("block-device-added", ["X=1"]), ("net-device-up", []), ("block-device-removed", [])]


def test_it_listens_before_it_looks_and_only_for_what_is_awaited(udev: Udev, tmp_path: Path) -> None:
    listener = Listener(tmp_path)
    source = source_of(listener)
    udev.there = [a_device("", 1, A=b"\xff", B="b")]
    source.want(LEAVES)
    assert udev.did == ["filter block", "start", "list block"]
    assert listener.told == ["block-device-added A=\\xff B=b"]
    source.want(LEAVES[:2])
    source.want([*LEAVES, ("net-device-added", [])])
    assert udev.did[3:] == ["filter net", "list net"]


def test_what_udev_s_rules_tell_is_left_to_them(udev: Udev, tmp_path: Path) -> None:
    listener = Listener(tmp_path)
    source = UdevSource(listener, False, False, BY_RULE)  # type: ignore[arg-type]
    source.want([*LEAVES, ("net-device-added", [])])
    assert udev.did == ["filter block", "start", "list block"]
    card = a_device("", 1)
    card.subsystem = "net"
    udev.there = [card]
    source.want([*LEAVES, ("net-device-added", []), ("net-device-online", [])])
    assert udev.did[3:] == ["filter net", "list net"] and listener.told == []


def test_what_the_kernel_has_dropped_is_found_by_looking(udev: Udev, tmp_path: Path) -> None:
    listener = Listener(tmp_path)
    source = source_of(listener)
    source.want(LEAVES)
    udev.messages = [a_device("add", 1, A="1"), a_device("add", 2), OSError(errno.ENOBUFS, "No buffer space")]
    udev.there = [a_device("", 2), a_device("", 3, A="3")]
    listener.readable(0)
    assert listener.told == ["block-device-added A=1", "block-device-added", "block-device-removed",
                             "block-device-added A=3"]  # fmt: skip
    udev.messages = [OSError(errno.EIO, "broken")]
    with pytest.raises(OSError, match="broken"):
        listener.readable(0)


def test_what_init_knows_is_not_told_again_by_the_next(udev: Udev, tmp_path: Path) -> None:
    udev.there = [a_device("", 1)]
    told = []
    for epoch in ("1", "1", "2"):
        listener = Listener(tmp_path, epoch)
        source = source_of(listener)
        source.want(LEAVES)
        source.told()
        told.append(len(listener.told))
    # The second life of init has heard of nothing.
    assert told == [1, 0, 1]
    path = Path(listener.state_path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("{")
    listener = Listener(tmp_path, "2")
    source_of(listener).want(LEAVES)
    assert len(listener.told) == 1 and str(path) in listener.said[0]


def test_an_init_that_cannot_tell_gets_everything(udev: Udev, tmp_path: Path) -> None:
    for always, leaves in ((False, None), (True, LEAVES)):
        listener = Listener(tmp_path)
        source_of(listener, always).want(leaves)
        udev.messages = [a_device("add", 1), a_device("add", 1)]
        listener.readable(0)
        assert listener.told == ["block-device-added"] * 2 and udev.did == ["start"]
        udev.did.clear()


# What a source has of the loop


def test_a_fault_is_that_of_one_source_and_what_it_asked_for_ends_with_it() -> None:
    loop, faults = Loop(), [0, 0]
    called: list[str] = []

    def fault(number: int) -> None:
        faults[number] += 1
        guards[number].close()

    guards = [Guarded(loop, lambda error, number=number: fault(number)) for number in range(2)]  # type: ignore[misc]
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        guards[0].add_fd(reader, READ, lambda events: called.append(str(len(os.read(reader, 1)) / 0)))
        guards[0].call_later(0.02, lambda: called.append("late"))
        guards[1].call_later(0.01, lambda: called.append("other"))
        guards[1].call_soon(lambda: called.append("soon"))
        removed = guards[1].call_later(0.0, lambda: called.append("removed"))
        guards[1].remove(removed)
        os.write(writer, b"xx")
        deadline = time.monotonic() + 0.1
        while time.monotonic() < deadline:
            loop.turn(0.01)
        assert faults == [1, 0] and called == ["soon", "other"]
        guards[0].call(lambda: called.append("closed"))
        assert called == ["soon", "other"]
    finally:
        os.close(reader)
        os.close(writer)
        loop.close()


class Broken:
    """A source that fails when it is told what is awaited."""

    patterns: tuple[str, ...] = ("broken",)

    def __init__(self) -> None:
        self.closed = 0

    def want(self, leaves: object) -> None:
        raise ValueError("broken")

    def told(self) -> None:
        raise AssertionError

    def watched(self) -> list[str]:
        return []

    def close(self) -> None:
        self.closed += 1
        raise OSError(errno.EBADF, "closed already")


def test_a_source_that_fails_is_closed_and_that_is_told_once() -> None:
    loop, source = Loop(), Broken()
    said: list[str] = []
    happened: list[str] = []
    try:
        host = Host("broken", loop, "unix:abstract=nobody", "/nonexistent", lambda priority, text: said.append(text),
                    lambda: happened.append("ready"), lambda: happened.append("failed"))  # fmt: skip
        host.begin(lambda host: source)
        assert said[0].startswith("Could not connect") and happened == ["failed"] and source.closed == 1
        host = Host("broken", loop, "unix:abstract=nobody", "/nonexistent", lambda priority, text: said.append(text),
                    lambda: happened.append("ready"), lambda: happened.append("failed"))  # fmt: skip
        host._source = source
        host._wanted([])
        host._wanted([])
        assert happened == ["failed"] * 2 and source.closed == 2 and "broken: ValueError: broken" in said
        assert host.state()["ready"] is False and host.state()["watches"] == []
    finally:
        loop.close()


def test_who_may_wait_for_what_is_found_where_a_test_has_a_variable() -> None:
    conditions = [
        ("a", [["file", "FILE=/a"], ["file", "FILE=/b"], ["/OR"]]), ("b", [["file", "FILE=$X"]]), ("b", []),
        ("c", [["file", "FILE=/a/$X"]]), ("d", [["file"]]),
    ]  # fmt: skip
    assert waiting_for(["file", "FILE=/a"], conditions) == ["a"]
    assert waiting_for(["file", "FILE=/a/x"], conditions) == ["b", "c"]
    assert waiting_for(["file", "FILE=/c"], conditions) == ["b"]
    assert waiting_for(["file"], conditions) == ["d"] and waiting_for(["other"], conditions) == []


# Mounts


def a_mount(place: str, device: str = "some", options: str = "rw") -> Mounted:
    return Mounted(device, place, "tmpfs", options)


def test_mounts_are_told_by_comparing_and_only_to_who_waits() -> None:
    mounts = Mounts()
    assert not mounts.want([("mounted", ["MOUNTPOINT=/tmp"]), ("mounted", ["DEVICE=x", "/run"])])
    assert mounts.want([("mounted", ["MOUNTPOINT=/srv/*"]), ("unmounted", ["TYPE!=proc"])])
    assert mounts.want(None) is False and mounts.want([("mounted", ["MOUNTPOINT=/srv/*"]), ("unmounted", [])])

    def read(*table: Mounted, mountalls: set[str] | None = None) -> list[str]:
        told = mounts.read(table, mountalls or set())
        return [f"{name} {env['MOUNTPOINT']} {env['OPTIONS']}" for _, name, env in told]

    assert read(a_mount("/"), a_mount("/srv/a")) == []
    assert read(a_mount("/"), a_mount("/srv/a", options="ro"), a_mount("/opt"), a_mount("/tmp")) == []
    assert read(a_mount("/srv/a"), a_mount("/srv/a"), a_mount("/srv/b")) == [
        "unmounted /opt ", "mounted /srv/a rw", "mounted /srv/b rw",
    ]  # fmt: skip
    assert read(a_mount("/srv/a")) == ["unmounted /srv/a ", "unmounted /srv/b "]
    # What mountall was about to mount it has mounted, and told of.
    assert read(a_mount("/srv/a"), mountalls={"/srv/c"}) == []
    assert read(a_mount("/srv/a"), a_mount("/srv/c")) == []
    assert read(a_mount("/srv/a")) == ["unmounted /srv/c "] and read(a_mount("/srv/c"))[1:] == ["mounted /srv/c rw"]


def test_what_mountall_is_still_to_tell_of_is_in_its_state() -> None:
    entries = [{"mountpoint": "/a"}, {"mountpoint": "/b"}, {"mountpoint": "/c"}, {}]
    items: list[dict[str, str]] = [{"phase": "done"}, {}, {"phase": "busy"}, {}]
    document = {"state": {"entries": entries, "items": items}}
    assert places_of_mountall(document, True) == {"/b", "/c"}
    for other in (None, {}, {"state": 5}, {"state": {"entries": entries, "items": items[:1]}}):
        assert places_of_mountall(other, True) == set()
    assert places_of_mountall(document, False) == set()
