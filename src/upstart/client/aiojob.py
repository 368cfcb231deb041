"""Jobs and their instances on asyncio's loop: what `upstart.client.job` has.

What is always true here is what `upstart.client.aioinit` says of itself.
"""

from __future__ import annotations

from upstart.base.errors import DBusError
from upstart.base.names import (
    INSTANCE,
    INVALID_ARGS,
    JOB,
    PROPERTIES,
    UNKNOWN_METHOD,
)
from upstart.client.aiolink import TIMEOUT, Link
from upstart.client.connection import BAD_REPLY, NEVER
from upstart.client.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from upstart.client.job import Condition


async def property_of(link: Link, path: str, interface: str, name: str) -> Any:
    """The value of a property; jeepney gives a variant as its signature and its value."""
    ((_, value),) = await link.call(path, PROPERTIES, "Get", "ss", interface, name, returns="v")
    return value


async def text_of(link: Link, path: str, interface: str, name: str) -> str:
    """The value of a property that is a string."""
    value = await property_of(link, path, interface, name)
    if not isinstance(value, str):
        raise DBusError(INVALID_ARGS, BAD_REPLY)
    return value


class Instance:
    """An instance by its object path."""

    __slots__ = ("_link", "path")

    def __init__(self, link: Link, path: str) -> None:
        self._link = link
        self.path = path

    async def name(self) -> str:
        """Its name, empty for the only one of most jobs."""
        return await text_of(self._link, self.path, INSTANCE, "name")

    async def goal(self) -> str:
        """``start`` or ``stop``."""
        return await text_of(self._link, self.path, INSTANCE, "goal")

    async def state(self) -> str:
        """How far it has come, a state of init(5)."""
        return await text_of(self._link, self.path, INSTANCE, "state")

    async def processes(self) -> list[tuple[str, int]]:
        """The name and pid of each of its processes, main first."""
        found = await property_of(self._link, self.path, INSTANCE, "processes")
        return [(name, pid) for name, pid in found]

    async def status(self, job: str) -> Status:
        """All of these at one moment, for the job of that name; that of a stopped job if the instance is gone."""
        try:
            (found,) = await self._link.call(self.path, PROPERTIES, "GetAll", "s", INSTANCE, returns="a{sv}")
        except DBusError as error:
            if error.name != UNKNOWN_METHOD:
                raise
            return Status(job)
        name, goal, state, processes = (found[key][1] for key in ("name", "goal", "state", "processes"))
        return Status(job, name, goal, state, [(process, pid) for process, pid in processes])

    async def start(self, wait: bool = True) -> None:
        """Start it with the environment it has; with ``wait``, return once it runs or a task has ended."""
        await self._link.call(self.path, INSTANCE, "Start", "b", wait, timeout=NEVER)

    async def stop(self, wait: bool = True) -> None:
        """Stop it; with ``wait``, return once it has stopped."""
        await self._link.call(self.path, INSTANCE, "Stop", "b", wait, timeout=NEVER)

    async def restart(self, wait: bool = True) -> None:
        """Stop it and start it again with the definition and environment it has."""
        await self._link.call(self.path, INSTANCE, "Restart", "b", wait, timeout=NEVER)

    async def reload(self) -> None:
        """Send its main process the reload signal."""
        await self._link.call(self.path, INSTANCE, "Reload")


class Job:
    """A job by its object path."""

    __slots__ = ("_link", "path")

    def __init__(self, link: Link, path: str) -> None:
        self._link = link
        self.path = path

    async def name(self) -> str:
        """The name of its file, without the ending."""
        return await text_of(self._link, self.path, JOB, "name")

    async def description(self) -> str:
        """What the stanza ``description`` says."""
        return await text_of(self._link, self.path, JOB, "description")

    async def author(self) -> str:
        """What the stanza ``author`` says."""
        return await text_of(self._link, self.path, JOB, "author")

    async def version(self) -> str:
        """What the stanza ``version`` says."""
        return await text_of(self._link, self.path, JOB, "version")

    async def usage(self) -> str:
        """How it wants to be started, the stanza ``usage``."""
        return await text_of(self._link, self.path, JOB, "usage")

    async def emits(self) -> list[str]:
        """The events that it says it emits, possibly as patterns."""
        return list(await property_of(self._link, self.path, JOB, "emits"))

    async def start_on(self) -> Condition:
        """Its ``start on``, empty without one."""
        return await self._condition("start_on")

    async def stop_on(self) -> Condition:
        """Its ``stop on``, empty without one."""
        return await self._condition("stop_on")

    async def _condition(self, name: str) -> Condition:
        items = await property_of(self._link, self.path, JOB, name)
        return [list(item) for item in items if item and item[0]]

    async def instances(self) -> list[Instance]:
        """All of its instances."""
        (paths,) = await self._link.call(self.path, JOB, "GetAllInstances", returns="ao")
        return [Instance(self._link, path) for path in paths]

    async def instance(self, env: Sequence[str] = ()) -> Instance:
        """The instance that an environment selects."""
        return await self._instance("GetInstance", "as", list(env))

    async def instance_named(self, name: str) -> Instance:
        """The instance of that name."""
        return await self._instance("GetInstanceByName", "s", name)

    async def start(self, env: Sequence[str] = (), wait: bool = True) -> Instance:
        """Start an instance; with ``wait``, return once it runs or a task has ended."""
        return await self._instance("Start", "asb", list(env), wait, timeout=NEVER)

    async def restart(self, env: Sequence[str] = (), wait: bool = True) -> Instance:
        """Stop an instance and start it again with the definition it was started with."""
        return await self._instance("Restart", "asb", list(env), wait, timeout=NEVER)

    async def _instance(self, method: str, signature: str, *args: Any, timeout: float = TIMEOUT) -> Instance:
        (path,) = await self._link.call(self.path, JOB, method, signature, *args, returns="o", timeout=timeout)
        return Instance(self._link, path)

    async def stop(self, env: Sequence[str] = (), wait: bool = True) -> None:
        """Stop an instance; with ``wait``, return once it has stopped."""
        await self._link.call(self.path, JOB, "Stop", "asb", list(env), wait, timeout=NEVER)
