"""The event bridge's pure part: which of the system's events a session is told of."""

from __future__ import annotations

from pathlib import Path

import pytest

from upstart.bridges.bus import address_of, rule
from upstart.bridges.sysevents import Forward, read_list
from upstart.tools.knownevents import well_known

ROOT = Path(__file__).parents[2]
LEAVES = [
    (":sys:net-device-up", ["IFACE=eth*"]), (":sys:runlevel", ["2"]), (":sys:secret", []),
    (":sys:net-device-up", ["lo"]),
]  # fmt: skip


def told(forward: Forward, name: str, *env: str) -> list[str]:
    return [" ".join([event, *(f"{key}={value}" for key, value in values.items())])
            for event, values in forward.emitted(name, env)]  # fmt: skip


@pytest.fixture
def forward() -> Forward:
    forward = Forward()
    forward.listed = ["net-device-*", "runlevel"]
    forward.want(LEAVES)
    return forward


def test_events_that_are_listed_and_awaited_are_told_with_their_variables(forward: Forward) -> None:
    assert forward.names() == ["net-device-up", "runlevel", "secret"]
    assert told(forward, "net-device-up", "IFACE=eth0", "A=b=c") == [":sys:net-device-up IFACE=eth0 A=b=c"]
    # The order is that of the event.
    assert told(forward, "net-device-up", "IFACE=lo") == [":sys:net-device-up IFACE=lo"]
    assert told(forward, "runlevel", "RUNLEVEL=2", "PREVLEVEL=N") == [":sys:runlevel RUNLEVEL=2 PREVLEVEL=N"]


def test_what_is_not_listed_or_not_awaited_is_not_told(forward: Forward) -> None:
    assert told(forward, "secret") == []
    assert told(forward, "net-device-down", "IFACE=eth0") == told(forward, "net-device-up", "IFACE=wlan0") == []
    assert told(forward, "runlevel", "PREVLEVEL=2", "RUNLEVEL=3") == [":sys:runlevel PREVLEVEL=2 RUNLEVEL=3"]
    forward.listed = []
    assert told(forward, "net-device-up", "IFACE=eth0") == []


def test_an_init_that_cannot_say_what_is_awaited_hears_all_that_is_listed() -> None:
    forward = Forward()
    forward.listed = ["a*"]
    forward.want(None)
    assert forward.names() is None
    assert told(forward, "ab", "X=1") == [":sys:ab X=1"] and told(forward, "b") == []
    assert list(forward.restarted(":1.1")) == [(":sys:restarted", {})]


def test_a_re_execution_is_told_once_however_it_shows() -> None:
    forward = Forward()
    forward.want([(":sys:restarted", [])])
    assert forward.names() == []
    restarted: list[tuple[str, dict[str, str]]] = [(":sys:restarted", {})]
    forward.connected()
    assert list(forward.owner(":1.1")) == []
    # It says so, and keeps its name.
    assert list(forward.restarted(":1.1")) == restarted and list(forward.restarted(":1.1")) == restarted
    # Its name goes and comes, and it says so; or it does not.
    assert [*forward.owner(""), *forward.owner(":1.2"), *forward.restarted(":1.2")] == restarted
    assert [*forward.owner(""), *forward.owner(":1.3")] == restarted
    # Another bus is not another init.
    forward.connected()
    assert list(forward.owner(":1.9")) == []
    forward.want([(":sys:other", [])])
    assert list(forward.restarted(":1.9")) == []


def test_the_list_that_is_shipped_has_events_of_the_manual_and_none_that_may_tell_secrets() -> None:
    listed = read_list((ROOT / "etc/upstart-event-bridge.conf").read_text())
    assert all(map(well_known, listed)) and {"net-device-up", "runlevel"} <= set(listed)
    assert not {"mounting", "mounted", "starting", "started", "stopping", "stopped"} & set(listed)
    assert read_list("# a\n\n b # c\nd*\n") == ["b", "d*"]


def test_rules_say_what_they_are_to_match_whatever_is_in_it() -> None:
    assert rule(member="M", arg0="it's") == "type='signal',member='M',arg0='it'\\''s'"


def test_where_buses_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert (address_of(True), address_of(False)) == ("unix:path=/run/dbus/system_bus_socket", "")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/5")
    assert address_of(False) == "unix:path=/run/user/5/bus"
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x")
    assert address_of(False) == "unix:path=/x"
