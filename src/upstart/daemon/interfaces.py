"""What our objects have on D-Bus: interfaces, methods, signals and properties, as tables.

The dispatcher takes a method's signature from here, and so does Introspect, whose text is laid out as libnih's; so
what is documented is what is served.
"""

from __future__ import annotations

from upstart.base.names import EXTENSION, INSTANCE, INTROSPECTABLE, JOB, MANAGER, PEER, PROPERTIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    Args = tuple[tuple[str, str], ...]

STATUS = "a(ssssa(si))"


class Interface:
    """``methods``: name to (arguments in, arguments out); ``signals``: name to arguments; ``properties``: name to
    (type, access)."""

    __slots__ = ("methods", "name", "properties", "signals")

    def __init__(
        self,
        name: str,
        methods: dict[str, tuple[Args, Args]],
        signals: dict[str, Args],
        properties: dict[str, tuple[str, str]],
    ) -> None:
        self.name = name
        self.methods = methods
        self.signals = signals
        self.properties = properties


_DETAILS = ("job_details", "as")
_ENV = ("env", "as")
_WAIT = ("wait", "b")

MANAGER_INTERFACE = Interface(
    MANAGER,
    {
        "ReloadConfiguration": ((), ()),
        "GetJobByName": ((("name", "s"),), (("job", "o"),)),
        "GetAllJobs": ((), (("jobs", "ao"),)),
        "GetState": ((), (("state", "s"),)),
        "Restart": ((), ()),
        "GetEnv": ((_DETAILS, ("name", "s")), (("value", "s"),)),
        "SetEnv": ((_DETAILS, ("var", "s"), ("replace", "b")), ()),
        "SetEnvList": ((_DETAILS, ("vars", "as"), ("replace", "b")), ()),
        "UnsetEnv": ((_DETAILS, ("name", "s")), ()),
        "UnsetEnvList": ((_DETAILS, ("name", "as")), ()),
        "ListEnv": ((_DETAILS,), (_ENV,)),
        "ResetEnv": ((_DETAILS,), ()),
        "EmitEvent": ((("name", "s"), _ENV, _WAIT), ()),
        "EmitEventWithFile": ((("name", "s"), _ENV, _WAIT, ("file", "h")), ()),
        "NotifyDiskWriteable": ((), ()),
        "NotifyDBusAddress": ((("address", "s"),), ()),
        "NotifyCGroupManagerAddress": ((("address", "s"),), ()),
        "EndSession": ((), ()),
    },
    {
        "JobAdded": (("job", "o"),),
        "JobRemoved": (("job", "o"),),
        "EventEmitted": (("name", "s"), _ENV),
        "Restarted": (),
    },
    {"version": ("s", "read"), "log_priority": ("s", "readwrite")},
)

EXTENSION_INTERFACE = Interface(
    EXTENSION,
    {
        "GetStatusAll": ((), (("status", STATUS),)),
        "GetStatus": ((("job", "s"), _ENV), (("status", STATUS),)),
        "StopForce": ((("path", "s"), _ENV, _WAIT), ()),
        "FailureReason": ((("job", "s"), ("instance", "s")), (("reason", "s"),)),
        "Failures": ((), (("failures", "a(sss)"),)),
        "Directories": ((), (("jobs", "as"), ("logs", "s"))),
        "KeepsEnding": ((("job", "s"), ("instance", "s")), (("text", "s"),)),
        "ConfigurationErrors": ((), (("errors", "as"),)),
        "Emitters": ((("event", "s"),), (("jobs", "as"),)),
        "Explain": ((("job", "s"),), (("account", "s"),)),
        "History": (
            (("since", "t"),),
            (("entries", "a(ts)"), ("clocks", "(ddd)"), ("following", "t"), ("unfinished", "at")),
        ),
        "Quiet": ((), ()),
        "Hear": ((("signals", "as"),), ()),
        "Awaited": ((("events", "as"),), (("awaited", "a(sas)"),)),
        "AwaitedBy": ((("events", "as"),), (("awaited", "a(sbsas)"),)),
        "EmitTested": ((("name", "s"), _ENV, ("tested", "as"), _WAIT), ()),
        "EmitConnection": ((("name", "s"), _ENV, ("tested", "as"), ("key", "s"), ("connection", "h")), ()),
        "KeepDescriptor": ((("job", "s"), ("key", "s"), ("name", "s"), ("file", "h")), ()),
        "ArrangeDescriptors": ((("job", "s"), ("event", "s"), ("given", "as"), ("others", "as")), (("busy", "b"),)),
        "KeptDescriptors": ((("job", "s"),), (("kept", "a(ssh)"),)),
        "KeptFor": ((), (("jobs", "as"), ("connections", "as"))),
        "EmitEnding": ((("name", "s"), _ENV, ("ending", "b")), ()),
        "EmitOnce": ((("name", "s"), _ENV, ("key", "s")), ()),
        "Record": ((("name", "s"), ("file", "h"), ("values", "b"), ("limit", "t")), ()),
        "StopRecord": ((), (("name", "s"),)),
        "Rest": ((("stop", "b"), ("force", "b"), _ENV, ("spared", "au"), ("later", "as")), (("jobs", "a(ss)"),)),
    },
    {
        "AwaitedChanged": (("events", "as"),),
        "DescriptorsFree": (("job", "s"),),
        "ConnectionClosed": (("key", "s"),),
    },
    {},
)

JOB_INTERFACE = Interface(
    JOB,
    {
        "GetInstance": ((_ENV,), (("instance", "o"),)),
        "GetInstanceByName": ((("name", "s"),), (("instance", "o"),)),
        "GetAllInstances": ((), (("instances", "ao"),)),
        "Start": ((_ENV, _WAIT), (("instance", "o"),)),
        "Stop": ((_ENV, _WAIT), ()),
        "Restart": ((_ENV, _WAIT), (("instance", "o"),)),
    },
    {"InstanceAdded": (("instance", "o"),), "InstanceRemoved": (("instance", "o"),)},
    {
        "name": ("s", "read"),
        "description": ("s", "read"),
        "author": ("s", "read"),
        "version": ("s", "read"),
        "usage": ("s", "read"),
        "start_on": ("aas", "read"),
        "stop_on": ("aas", "read"),
        "emits": ("as", "read"),
    },
)

INSTANCE_INTERFACE = Interface(
    INSTANCE,
    {"Start": ((_WAIT,), ()), "Stop": ((_WAIT,), ()), "Restart": ((_WAIT,), ()), "Reload": ((), ())},
    {"GoalChanged": (("goal", "s"),), "StateChanged": (("state", "s"),), "Failed": (("status", "i"),)},
    {"name": ("s", "read"), "goal": ("s", "read"), "state": ("s", "read"), "processes": ("a(si)", "read")},
)

MANAGER_OBJECT = (MANAGER_INTERFACE, EXTENSION_INTERFACE)
JOB_OBJECT = (JOB_INTERFACE,)
INSTANCE_OBJECT = (INSTANCE_INTERFACE,)

#: Methods that every object has, with their signatures.
COMMON = {
    (PROPERTIES, "Get"): "ss",
    (PROPERTIES, "Set"): "ssv",
    (PROPERTIES, "GetAll"): "s",
    (INTROSPECTABLE, "Introspect"): "",
    (PEER, "Ping"): "",
    (PEER, "GetMachineId"): "",
}

_DOCTYPE = (
    '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
    '"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n'
)
_PROPERTIES_XML = """\
  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="out"/>
    </method>
    <method name="Set">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="in"/>
    </method>
    <method name="GetAll">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="props" type="a{sv}" direction="out"/>
    </method>
  </interface>
"""
_INTROSPECTABLE_XML = """\
  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect">
      <arg name="data" type="s" direction="out"/>
    </method>
  </interface>
"""


def introspect(path: str, interfaces: tuple[Interface, ...], children: list[str]) -> str:
    """The description of an object; one without interfaces is only a step on the way to its children."""
    if not interfaces:
        nodes = "".join(f'  <node name="{child}"/>\n' for child in children)
        return f"{_DOCTYPE}<node>\n{nodes}</node>\n"
    out = [_DOCTYPE, f'<node name="{path}">\n']
    for interface in interfaces:
        out.append(f'  <interface name="{interface.name}">\n')
        for name, (ins, outs) in interface.methods.items():
            out.append(f'    <method name="{name}">\n')
            out += [f'      <arg name="{arg}" type="{kind}" direction="in"/>\n' for arg, kind in ins]
            out += [f'      <arg name="{arg}" type="{kind}" direction="out"/>\n' for arg, kind in outs]
            out.append("    </method>\n")
        for name, args in interface.signals.items():
            out.append(f'    <signal name="{name}">\n')
            out += [f'      <arg name="{arg}" type="{kind}"/>\n' for arg, kind in args]
            out.append("    </signal>\n")
        out += [
            f'    <property name="{name}" type="{kind}" access="{access}"/>\n'
            for name, (kind, access) in interface.properties.items()
        ]
        out.append("  </interface>\n")
    if any(interface.properties for interface in interfaces):
        out.append(_PROPERTIES_XML)
    out.append(_INTROSPECTABLE_XML)
    out += [f'  <node name="{child}"/>\n' for child in children]
    out.append("</node>\n")
    return "".join(out)
