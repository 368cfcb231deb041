"""The D-Bus bridge's pure part: which signals conditions ask for, and what is told of them."""

from __future__ import annotations

from typing import Any

import pytest

from upstart.base.errors import UsageError
from upstart.bridges.kinds import find
from upstart.bridges.program import settings_of
from upstart.bridges.signals import LONGEST, Signals
from upstart.dbus import wire

BUS = "org.freedesktop.DBus"
CHANGED = f"type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged'"


def message(
    member: str,
    signature: str = "",
    *args: Any,
    sender: str = ":1.7",
    interface: str = "org.foo.Iface",
    path: str = "/a/b",
) -> wire.Message:
    header = wire.Header()
    header.member, header.sender, header.interface, header.path = member, sender, interface, path
    header.signature = signature
    return wire.Message(wire.SIGNAL, 0, 1, header, wire.pack(signature, *args), True)


def waiting(*conditions: str, bus: str = "") -> Signals:
    signals = Signals(bus)
    signals.want([(words[0], words[1:]) for words in map(str.split, conditions)])
    return signals


def told(signals: Signals, *messages: wire.Message) -> list[str]:
    return [
        " ".join([name, *(f"{key}={value}" for key, value in env.items())])
        for each in messages
        for name, env in signals.heard(each)
    ]


@pytest.mark.parametrize(
    ("condition", "rule"),
    [
        ("dbus", "type='signal'"),
        ("dbus SIGNAL=S INTERFACE=i.i", "type='signal',member='S',interface='i.i'"),
        ("dbus S INTERFACE=i.i OBJPATH=/o", "type='signal',member='S',interface='i.i',path='/o'"),
        ("dbus SIGNAL=S* INTERFACE!=i.i OBJPATH=/o/*", "type='signal',path_namespace='/o'"),
        ("dbus OBJPATH=/* SENDER=$X", "type='signal'"),
        ("dbus SENDER=:1.7 ARG0=hello ARG63=x.y", "type='signal',sender=':1.7',arg0='hello',arg63='x.y'"),
        # What need not be a string, or has no place in a rule, is looked at when it comes.
        ("dbus ARG0=5 ARG1=TRUE ARG2=/o ARG3=as ARG64=word ARG5.0=word", "type='signal'"),
    ],
)
def test_a_condition_is_a_match_rule(condition: str, rule: str) -> None:
    assert waiting(condition).rules() == {rule}


def test_there_is_one_rule_for_each_distinct_condition() -> None:
    signals = waiting("dbus SIGNAL=S", "dbus SIGNAL=S ARG0=5", "dbus SIGNAL=T")
    assert signals.rules() == {"type='signal',member='S'", "type='signal',member='T'"}
    assert waiting("dbus SENDER=org.foo").rules() == {"type='signal',sender='org.foo'", f"{CHANGED},arg0='org.foo'"}
    assert waiting("dbus-name NAME=org.foo OWNER=n").rules() == {f"{CHANGED},arg0='org.foo'"}
    assert waiting("dbus-name NAME=org.*").rules() == {CHANGED} and waiting().rules() == set()


def test_what_is_about_another_bus_is_another_bridges() -> None:
    for bus, rules in (("session", {"type='signal',member='T'"}), ("", set())):
        signals = waiting("dbus SIGNAL=S BUS=system", "dbus SIGNAL=T BUS=session", bus=bus)
        assert signals.rules() == rules
    signals = waiting("dbus S session", bus="session")
    assert told(signals, message("S"))[0].startswith("dbus SIGNAL=S BUS=session INTERFACE=org.foo.Iface")


def test_variables_are_the_originals_in_its_order() -> None:
    signals = waiting("dbus", bus="b")
    body: tuple[Any, ...] = (True, False, -5, 7, 1.5, "two\nlines\x01", "/o", "a{sv}", [1], ["x", "y"], ["/p"], 3)
    (text,) = told(signals, message("S", "bbiudsogaiasaoy", *body))
    assert text == (
        "dbus SIGNAL=S BUS=b INTERFACE=org.foo.Iface OBJPATH=/a/b SENDER=:1.7 ARG0=TRUE ARG1=FALSE ARG2=-5 ARG3=7 "
        "ARG4=1.500000 ARG5=two\\x0alines\\x01 ARG6=/o ARG7=a{sv} ARG9.0=x ARG9.1=y ARG10.0=/p ARG11=3 "
        "SENDER_UNIQUE=:1.7"
    )
    assert "ARG0" not in told(signals, message("S", "s", "x" * (LONGEST + 1)))[0]


def test_a_sender_goes_by_the_name_that_a_condition_has_for_it() -> None:
    signals = waiting("dbus SIGNAL=S SENDER=org.foo", "dbus SIGNAL=S")
    unique = "dbus SIGNAL=S INTERFACE=org.foo.Iface OBJPATH=/a/b SENDER=:1.7 SENDER_UNIQUE=:1.7"
    named = unique.replace("SENDER=:1.7", "SENDER=org.foo", 1)
    assert told(signals, message("S")) == [unique]
    # The bus says who owns it.
    owner = message("NameOwnerChanged", "sss", "org.foo", "", ":1.7", sender=BUS, interface=BUS)
    assert told(signals, owner, message("S")) == [named]
    # Nobody else does, whatever it says.
    forged = message("NameOwnerChanged", "sss", "org.foo", "", ":1.8", sender=":1.8", interface=BUS)
    assert told(signals, forged, message("S", sender=":1.8"))[-1].endswith("SENDER=:1.8 SENDER_UNIQUE=:1.8")
    # Who asks for the unique name is told of that besides.
    signals.want([("dbus", ["SENDER=org.foo"]), ("dbus", ["SENDER=:*"])])
    assert told(signals, message("S")) == [named, unique]
    assert told(waiting(f"dbus SENDER={BUS}"), message("S", sender=BUS)) != []


def test_only_what_passes_all_tests_of_a_condition_is_told() -> None:
    signals = waiting("dbus SIGNAL=S ARG0=5", "dbus SIGNAL=T ARG0!=x", "dbus SIGNAL=U ARG1.0=a*")
    assert len(told(signals, message("S", "u", 5), message("S", "u", 6), message("S", "s", "5"))) == 2
    assert len(told(signals, message("T", "s", "x"), message("T", "s", "y"), message("T"))) == 1
    assert len(told(signals, message("U", "uas", 1, ["ab"]), message("U", "uas", 1, ["b"]))) == 1


def test_what_init_itself_says_is_not_told() -> None:
    for interface in ("com.ubuntu.Upstart0_6", "com.ubuntu.Upstart0_6.Job"):
        assert told(waiting("dbus"), message("EventEmitted", interface=interface)) == []


def test_everything_is_told_where_that_is_wanted() -> None:
    signals = Signals()
    signals.want(None)
    assert signals.rules() == {"type='signal'"} and len(told(signals, message("S"), message("T"))) == 2


def changed(name: str, owner: str) -> wire.Message:
    return message("NameOwnerChanged", "sss", name, "", owner, sender=BUS, interface=BUS)


def test_names_are_told_when_somebody_owns_them_and_when_nobody_does() -> None:
    signals = waiting("dbus-name NAME=org.foo", "dbus-name NAME=org.bar* OWNER=n")
    assert told(signals, changed("org.foo", ":1.1"), changed("org.foo", ":1.2"), changed("org.other", ":1.1")) == [
        "dbus-name NAME=org.foo OWNER=y"
    ]
    assert told(signals, changed("org.bar.x", ":1.1"), changed("org.bar.x", ""), changed("org.foo", "")) == [
        "dbus-name NAME=org.bar.x OWNER=n", "dbus-name NAME=org.foo OWNER=n",
    ]  # fmt: skip


def test_names_are_compared_with_what_was_told() -> None:
    signals = waiting("dbus-name NAME=org.foo", "dbus-name NAME=org.bar", bus="b")

    def names(*there: str) -> list[str]:
        return [" ".join(env.values()) for _, env in signals.names(there)]

    assert names("org.foo", ":1.1", BUS) == ["org.foo y b"] and names("org.foo") == []
    assert names("org.bar") == ["org.foo n b", "org.bar y b"]
    # What nobody waits for is not known of either.
    signals.want([("dbus-name", ["NAME=org.foo"])])
    assert names() == [] and signals.owned == set()


def test_a_name_of_which_it_is_in_doubt_what_was_told_is_told_again() -> None:
    signals = waiting("dbus-name NAME=org.foo", "dbus-name NAME=org.bar", "dbus-name NAME=org.baz", bus="b")
    signals.owned = {"org.foo", "org.baz"}
    signals.unsure = {"org.foo", "org.bar", "org.other"}
    told = [" ".join(env.values()) for _, env in signals.names(["org.foo", "org.baz", "org.other"])]
    assert told == ["org.bar n b", "org.foo y b"] and not signals.unsure


def test_a_bus_must_have_a_name_if_it_is_to_have_one() -> None:
    for words in (["--bus-name="], ["--bus-name", " x"]):
        with pytest.raises(UsageError):
            settings_of(find("dbus"), words)
    settings: Any = settings_of(find("dbus"), ["--bus-name", "x", "--session", "--always"])
    assert (settings.bus, settings.bus_name, settings.always) == ("session", "x", True)
