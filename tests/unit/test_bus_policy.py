"""The policy for the system bus lets through what the daemon answers to everybody, and of root all that it answers."""

from __future__ import annotations

import xml.etree.ElementTree as xml

from manual import ROOT
from upstart.daemon.interfaces import EXTENSION_INTERFACE, INSTANCE_INTERFACE, JOB_INTERFACE, MANAGER_INTERFACE
from upstart.daemon.service import _READING, _TELLING

POLICIES = xml.parse(ROOT / "etc/dbus-1/com.ubuntu.Upstart.conf").getroot().findall("policy")
INTERFACES = (MANAGER_INTERFACE, EXTENSION_INTERFACE, JOB_INTERFACE, INSTANCE_INTERFACE)


def allowed(attribute: str, value: str) -> list[dict[str, str]]:
    """What the policies with that attribute allow."""
    return [dict(rule.attrib) for policy in POLICIES if policy.get(attribute) == value for rule in policy]


def test_root_may_use_every_interface() -> None:
    whole = {rule.get("send_interface") for rule in allowed("user", "root") if "send_member" not in rule}
    assert {interface.name for interface in INTERFACES} <= whole


def test_others_may_use_the_methods_that_change_nothing() -> None:
    members = {(rule["send_interface"], rule.get("send_member", "")) for rule in allowed("context", "default")}
    looking = {
        (interface.name, method)
        for interface in INTERFACES
        for method in interface.methods
        if method in _READING | _TELLING
    }
    assert looking
    properties = "org.freedesktop.DBus.Properties"
    common = {("org.freedesktop.DBus.Introspectable", ""), (properties, "Get"), (properties, "GetAll")}
    assert members == looking | common
