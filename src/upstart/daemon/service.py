"""Calls from D-Bus: which object, which method, who asks, and the answer.

What is always true here: a call is answered exactly once, at once or, where it waits for an event or a job, when the
engine says so; whatever a client sends, the worst is an error for that client.  Nobody but root and our own user
changes anything, whatever the policy of a bus lets through.  What takes longer than a few milliseconds, because it is
long itself or its answer is, is given back as a work in short steps, between which others are served.  So is what
concerns jobs while their files are being read: it waits for that, and what the same client calls after it with it.  The
methods themselves are in `manager` and `objects`.
"""

from __future__ import annotations

import os

from upstart.base.names import (
    ACCESS_DENIED,
    FAILED,
    INTROSPECTABLE,
    INVALID_ARGS,
    PATH,
    PEER,
    UNKNOWN_METHOD,
)
from upstart.daemon.call import Call
from upstart.daemon.environment import LONG_LIST, words_in_steps
from upstart.daemon.interfaces import COMMON, Interface, introspect
from upstart.daemon.machineid import FILES
from upstart.dbus import wire
from upstart.engine.core import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from upstart.daemon.machineid import MachineId
    from upstart.dbus.bus import MessageBus
    from upstart.dbus.connection import Connection, Steps, Wait, Work

    class Served(Protocol):
        """An object on D-Bus: ``interfaces`` as tables, and for each of their methods and properties a method.

        A method ``Start`` is ``do_Start(call, *args)``, and answers the call or gives the work that does; a property
        ``name`` is ``get_name()``.
        """

        interfaces: tuple[Interface, ...]
        path: str

        def children(self) -> list[str]: ...


#: Characters.  An instance whose name would make its path longer than this is not to be found by it.
LONGEST_PATH = 256 << 10


class Service:
    """Dispatches calls to objects; ``find`` (path, call) gives the object at a path or None.

    ``children`` (path) names what is registered below a path that is no object itself.  ``fault`` gets the exception
    of a method that should not have raised one.  ``knows_jobs`` (call) is whether jobs are known as the caller may
    expect; when they will be, ``when_known`` tells.  ``machine`` knows the machine's id.
    """

    __slots__ = (
        "_knows_jobs", "_machine", "_serial", "_when_known", "bus", "check_start", "children", "fault", "find",
        "signatures", "uid",
    )  # fmt: skip

    def __init__(
        self,
        find: Callable[[str, Call], Any],
        children: Callable[[str], list[str]],
        knows_jobs: Callable[[Call], bool],
        when_known: Wait,
        machine: MachineId,
    ) -> None:
        self.find = find
        self.children = children
        self._knows_jobs = knows_jobs
        self._when_known = when_known
        self._machine = machine
        self.bus: MessageBus | None = None
        self.fault: Callable[[BaseException], object] = lambda error: None
        #: Raises CommandError where the process with this pid may not start a job now.
        self.check_start: Callable[[int], object] = lambda pid: None
        self.uid = os.getuid()
        self._serial = 0
        #: (interfaces, interface or None, member) to (interface, signature), filled as calls come.
        self.signatures: dict[tuple[str, str | None, str], str | None] = {}

    def next_serial(self) -> int:
        """A serial for the next message that we send; 32 bits, never 0."""
        self._serial = self._serial % 0xFFFFFFFF + 1
        return self._serial

    def may_change(self, call: Call) -> bool:
        """Whether the caller is root or our own user."""
        return call.uid is not None and (call.uid == 0 or call.uid == self.uid)

    def received(self, connection: Connection, message: wire.Message) -> Work:
        """Take a message; all but calls are of no interest.  Gives what is left to do for it."""
        if message.type != wire.CALL:
            return None
        call = Call(self, connection, message)
        try:
            work = self.dispatch(call) if not self._concerns_jobs(call) or self._knows_jobs(call) else self._later(call)
        except Exception as error:
            self._failed(call, error)
            return None
        return self._guarded(call, work) if work is not None else None

    def _concerns_jobs(self, call: Call) -> bool:
        """Whether what is asked depends on the files of jobs as they now are: on which there are, or how they are."""
        header = call.message.header
        if header.path == PATH:
            return header.member in _NAMING_JOBS
        return header.member in _OF_JOBS or (
            header.member in _COMMON_MEMBERS
            and len(header.path or "") <= LONGEST_PATH
            and header.interface != PEER
            and self.find(header.path or "", call) is None
        )

    def _later(self, call: Call) -> Steps:
        """Dispatch a call once jobs are known."""
        yield self._when_known
        work = self.dispatch(call)
        if work is not None:
            yield from work

    def _guarded(self, call: Call, work: Steps) -> Steps:
        try:
            yield from work
        except Exception as error:
            self._failed(call, error)

    def _failed(self, call: Call, error: Exception) -> None:
        if isinstance(error, CommandError):
            call.error(error.name, error.text)
        elif isinstance(error, wire.WireError):
            if call.connection.uid >= 0:
                call.connection.close()
            else:  # one client of a bus is not all of them
                call.error(INVALID_ARGS, str(error))
        else:
            call.error(FAILED, f"Internal error: {error}")
            self.fault(error)

    def dispatch(self, call: Call) -> Work:
        """Find the method and have it answer; CommandError is an error for the caller."""
        header = call.message.header
        path, interface, member = header.path or "", header.interface, header.member or ""
        if interface == PEER or (interface is None and member in _PEER_MEMBERS):
            return self._peer(call, member)
        target = self.find(path, call) if len(path) <= LONGEST_PATH else None
        if target is None:
            # libdbus describes any path, be there anything or not.
            if member == "Introspect" and header.signature == "" and interface in (None, INTROSPECTABLE):
                call.reply("s", introspect(path, (), self.children(path)))
            else:
                self._unknown(call)
            return None
        key = (target.interfaces[0].name, interface, member)
        signature = self.signatures.get(key)
        if signature is None:
            signature = self._signature(target.interfaces, interface, member)
            if signature is None:
                self._unknown(call)
                return None
            self.signatures[key] = signature
        if signature != header.signature:
            call.error(INVALID_ARGS, f"Invalid arguments to {member} method")
            return None
        method: Callable[..., Work]
        leading: tuple[Served, ...] = ()
        if member in _COMMON_MEMBERS and interface in (None, *_COMMON_INTERFACES):
            method, leading = getattr(self, "_" + member.lower()), (target,)
        else:
            method = getattr(target, "do_" + member)
        if len(call.message.body) > wire.LONG:
            return self._invoke_in_steps(call, method, leading)
        return method(call, *leading, *call.message.args())

    @staticmethod
    def _invoke_in_steps(
        call: Call, method: Callable[..., Work], leading: tuple[Served, ...]
    ) -> Steps:
        args = list((yield from call.message.args_in_steps()))
        for at, arg in enumerate(args):
            if type(arg) is list and len(arg) > LONG_LIST:
                args[at] = yield from words_in_steps(arg)
        work = method(call, *leading, *args)
        if work is not None:
            yield from work

    @staticmethod
    def _signature(interfaces: tuple[Interface, ...], interface: str | None, member: str) -> str | None:
        for (name, common), signature in COMMON.items():
            if common == member and interface in (None, name):
                return signature
        for each in interfaces:
            if interface in (None, each.name) and member in each.methods:
                return "".join([kind for _, kind in each.methods[member][0]])
        return None

    @staticmethod
    def _unknown(call: Call) -> None:
        header = call.message.header
        call.error(
            UNKNOWN_METHOD,
            f'Method "{header.member}" with signature "{header.signature}" on interface '
            f'"{header.interface or "(null)"}" doesn\'t exist\n',
        )

    def _peer(self, call: Call, member: str) -> Work:
        if member == "Ping":
            call.reply()
        elif member == "GetMachineId":
            return self._machine_id(call)
        else:
            call.error(UNKNOWN_METHOD, f"Unknown method invoked on {PEER} interface")
        return None

    def _machine_id(self, call: Call) -> Steps:
        try:
            if self._machine.to_be_read():
                yield self._machine.when_read
        except OSError:
            pass  # there can be no child now
        if self._machine.text:
            call.reply("s", self._machine.text)
        else:
            call.error(FAILED, f"Unable to read {FILES[-1]}")

    @staticmethod
    def _introspect(call: Call, target: Served) -> None:
        call.reply("s", introspect(target.path, target.interfaces, target.children()))

    @staticmethod
    def _property(target: Served, interface: str, name: str) -> tuple[str, str] | None:
        for each in target.interfaces:
            if interface in ("", each.name) and name in each.properties:
                return each.properties[name]
        return None

    def _get(self, call: Call, target: Served, interface: str, name: str) -> None:
        known = self._property(target, interface, name)
        if known is None:
            self._unknown(call)
            return
        call.reply("v", (known[0], getattr(target, "get_" + name)()))

    def _getall(self, call: Call, target: Served, interface: str) -> None:
        values = {}
        for each in target.interfaces:
            if interface in ("", each.name):
                for name, (kind, _) in each.properties.items():
                    values[name] = (kind, getattr(target, "get_" + name)())
        call.reply("a{sv}", values)

    def _set(self, call: Call, target: Served, interface: str, name: str, value: Any) -> None:
        known = self._property(target, interface, name)
        if known is None:
            self._unknown(call)
        elif known[1] == "read":
            call.error(ACCESS_DENIED, f"The {name} property is read-only")
        elif not isinstance(value, str):
            call.error(INVALID_ARGS, f"Invalid arguments to {name} property")
        else:
            getattr(target, "set_" + name)(call, value)
            call.reply()

    def needs_uid(self, message: wire.Message) -> bool:
        """Whether it matters who sent the message: those who only read need not be known."""
        return message.header.member not in _READING


_PEER_MEMBERS = tuple(member for interface, member in COMMON if interface == PEER)
_COMMON_INTERFACES = tuple({name for name, _ in COMMON})
_COMMON_MEMBERS = tuple(member for _, member in COMMON)
#: What the manager's methods do by the name of a job, or with all jobs; what those of jobs and instances do.
_NAMING_JOBS = frozenset(
    (
        "GetJobByName",
        "GetAllJobs",
        "EmitEvent",
        "EmitEventWithFile",
        "GetStatusAll",
        "GetStatus",
        "StopForce",
        "FailureReason",
        "Failures",
        "ConfigurationErrors",
        "Emitters",
        "Explain",
        "Awaited",
        "AwaitedBy",
        "EmitTested",
        "EmitConnection",
        "KeepDescriptor",
    )
)
_OF_JOBS = frozenset(
    ("GetInstance", "GetInstanceByName", "GetAllInstances", "Start", "Stop", "Restart", "Reload")
)
_READING = frozenset(
    (
        "Get",
        "GetAll",
        "Introspect",
        "Ping",
        "GetMachineId",
        "GetJobByName",
        "GetAllJobs",
        "GetInstance",
        "GetInstanceByName",
        "GetAllInstances",
        "GetStatusAll",
        "GetStatus",
        "FailureReason",
        "Failures",
        "Directories",
        "KeepsEnding",
        "ConfigurationErrors",
        "Quiet",
        "Hear",
        "Emitters",
        "Awaited",
        "AwaitedBy",
    )
)
#: What everybody may call as well, who is told less, so that it matters who it is.
_TELLING = frozenset(("Explain", "History"))


def steps(path: str, registered: list[str]) -> list[str]:
    """The next elements of the registered paths below ``path``, each once."""
    prefix = path.rstrip("/") + "/"
    return sorted({each[len(prefix) :].split("/", 1)[0] for each in registered if each.startswith(prefix)})
