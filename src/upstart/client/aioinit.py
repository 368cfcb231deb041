"""Init on asyncio's loop: what `upstart.client.init` has (`upstart.client.aiojob` has its jobs).

What is always true here:

- Each method is that of the same name there, takes the same, gives the same and raises the same, but is awaited; what
  is an attribute there is a method here.  A test compares them.
- `record` is not among them: jeepney sends no descriptors on this loop.
- Any number of calls may be on their way at once; init answers each when it can.
"""

from __future__ import annotations

from upstart.base.errors import DBusError
from upstart.base.names import (
    EXTENSION,
    MANAGER,
    NO_EXTENSION,
    PATH,
    PROPERTIES,
    UNKNOWN_METHOD,
)
from upstart.client.aiojob import Instance, Job, text_of
from upstart.client.aiolink import Link, open_link
from upstart.client.connection import NEVER
from upstart.client.history import ANSWER, METHOD, History
from upstart.client.init import STATUS
from upstart.client.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from typing import Any, Self


class Init:
    """An init daemon at the other end of a connection; ``async with await Init.open() as init`` closes it."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    @classmethod
    async def open(cls, address: str | None = None, bus: str | None = None) -> Self:
        """Connect to PID 1's own socket, to a D-Bus ``address``, or by way of a ``bus`` ("system" or "session")."""
        init = cls(await open_link(address, bus))
        if bus is None:
            try:
                await init.hear(())
            except DBusError as error:
                # An original init sends signals, which are dropped.
                if error.name not in NO_EXTENSION:
                    init.close()
                    raise
        return init

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    async def quiet(self) -> None:
        """Our extension: no signals on this connection, before a long wait; on a bus there are none unasked."""
        await self._link.call(PATH, EXTENSION, "Quiet")

    async def hear(self, signals: Sequence[str]) -> None:
        """Our extension: no other signals on this private connection than those of these names."""
        await self._link.call(PATH, EXTENSION, "Hear", "as", list(signals))

    # Jobs

    async def jobs(self) -> list[Job]:
        """All jobs of the caller's session."""
        (paths,) = await self._link.call(PATH, MANAGER, "GetAllJobs", returns="ao")
        return [Job(self._link, path) for path in paths]

    async def job(self, name: str) -> Job:
        """The job of that name."""
        (path,) = await self._link.call(PATH, MANAGER, "GetJobByName", "s", name, returns="o")
        return Job(self._link, path)

    async def status(self, job: str, env: Sequence[str] = ()) -> list[Status]:
        """Our extension: the status of the instance that an environment selects, or of a stopped job."""
        return await self._statuses("GetStatus", "sas", job, list(env))

    async def all_status(self) -> AsyncGenerator[Status, None]:
        """Every instance of every job, or the job itself if it has none; of an original piece by piece."""
        try:
            found = await self._statuses("GetStatusAll")
        except DBusError as error:
            if error.name not in NO_EXTENSION:
                raise
        else:
            for status in found:
                yield status
            return
        for job in await self.jobs():
            try:
                name = await job.name()
                instances = await job.instances()
                for instance in instances:
                    yield await instance.status(name)
                if not instances:
                    yield Status(name)
            except DBusError as error:
                # What vanishes meanwhile is left out.
                if error.name != UNKNOWN_METHOD:
                    raise

    async def _statuses(self, method: str, signature: str = "", *args: Any) -> list[Status]:
        (found,) = await self._link.call(PATH, EXTENSION, method, signature, *args, returns=STATUS)
        return [Status(*entry) for entry in found]

    async def stop_by_force(self, target: Job | Instance, env: Sequence[str] = (), wait: bool = True) -> None:
        """Our extension: stop, and end what stopping would else wait for; ``env`` selects a job's instance."""
        await self._link.call(PATH, EXTENSION, "StopForce", "sasb", target.path, list(env), wait, timeout=NEVER)

    async def failure_reason(self, job: str, instance: str = "") -> str:
        """Our extension: why the instance last failed, in one line; empty if nothing is known."""
        return await self._string(EXTENSION, "FailureReason", "ss", job, instance)

    async def history(self, since: int = 0) -> History:
        """Our extension: what has happened, from the entry of that number on, as far as init remembers it."""
        history = History()
        following: int | None = since
        while following is not None:
            since = following
            answer = await self._link.call(PATH, EXTENSION, METHOD, "t", since, returns=ANSWER)
            following = history.take(answer, since)
        return history

    async def keeps_ending(self, job: str, instance: str = "") -> str:
        """Our extension: that the main process of an instance ends and is respawned again and again; "" where not."""
        return await self._string(EXTENSION, "KeepsEnding", "ss", job, instance)

    async def failures(self) -> dict[tuple[str, str], str]:
        """Our extension: why instances failed, by job and instance: those that have not come to run since."""
        (found,) = await self._link.call(PATH, EXTENSION, "Failures", returns="a(sss)")
        return {(job, instance): reason for job, instance, reason in found}

    async def directories(self) -> tuple[list[str], str]:
        """Our extension: the directories of job files, the one that counts most first, and that of logs, or ""."""
        jobs, logs = await self._link.call(PATH, EXTENSION, "Directories", returns="ass")
        return list(jobs), str(logs)

    # Events and configuration

    async def emit(self, name: str, env: Sequence[str] = (), wait: bool = True) -> None:
        """Emit an event; with ``wait``, return once it is finished.  DBusError EventFailed if a job failed."""
        await self._link.call(PATH, MANAGER, "EmitEvent", "sasb", name, list(env), wait, timeout=NEVER)

    async def emit_ending(self, name: str, env: Sequence[str], ending: bool) -> None:
        """Our extension: emit the event with which the machine ends, or, where not ``ending``, goes on after all."""
        await self._link.call(PATH, EXTENSION, "EmitEnding", "sasb", name, list(env), ending)

    async def emit_once(self, name: str, env: Sequence[str], key: str) -> None:
        """Our extension: emit an event unless that was done under this ``key`` since the boot; return once it is
        finished."""
        await self._link.call(PATH, EXTENSION, "EmitOnce", "sass", name, list(env), key, timeout=NEVER)

    async def awaited(self, events: Sequence[str]) -> list[tuple[str, list[str]]]:
        """Our extension: what jobs wait for, of the events of these names or patterns: name and tests of each leaf."""
        (leaves,) = await self._link.call(PATH, EXTENSION, "Awaited", "as", list(events), returns="a(sas)")
        return [(name, list(tests)) for name, tests in leaves]

    async def awaited_by(self, events: Sequence[str]) -> list[tuple[str, bool, str, list[str]]]:
        """Our extension: the same by jobs: job, whether it is its ``start on``, name and tests of each leaf."""
        (leaves,) = await self._link.call(PATH, EXTENSION, "AwaitedBy", "as", list(events), returns="a(sbsas)")
        return [(job, start, name, list(tests)) for job, start, name, tests in leaves]

    async def account(self, job: str = "") -> dict[str, Any]:
        """Our extension: how a job stands, for who explains it, or, without a name, all that is not at rest."""
        from upstart.base.jsontext import decoder

        (text,) = await self._link.call(PATH, EXTENSION, "Explain", "s", job, returns="s")
        account: dict[str, Any] = decoder()(text)
        return account

    async def emitters(self, event: str) -> list[str]:
        """Our extension: the jobs whose files say that they emit an event of this name."""
        (jobs,) = await self._link.call(PATH, EXTENSION, "Emitters", "s", event, returns="as")
        return list(jobs)

    async def rest(
        self,
        stop: bool = False,
        force: bool = False,
        env: Sequence[str] = (),
        spared: Sequence[int] = (),
        later: Sequence[str] = (),
    ) -> list[tuple[str, str]]:
        """Our extension: while the machine ends, what is on its way, and how it stands."""
        args = (stop, force, list(env), list(spared), list(later))
        (jobs,) = await self._link.call(PATH, EXTENSION, "Rest", "bbasauas", *args, returns="a(ss)")
        return [(job, how) for job, how in jobs]

    async def reload_configuration(self) -> None:
        """Have init look at its job files again."""
        await self._link.call(PATH, MANAGER, "ReloadConfiguration")

    async def configuration_errors(self) -> list[str]:
        """Our extension: what is wrong with job files as they now are, ``FILE:LINE: text`` each."""
        (errors,) = await self._link.call(PATH, EXTENSION, "ConfigurationErrors", returns="as")
        return list(errors)

    async def restart(self, timeout: float) -> None:
        """Have init re-execute itself; ``timeout`` in seconds.  The answer may be lost with the connection."""
        await self._link.call(PATH, MANAGER, "Restart", timeout=timeout)

    async def stop_record(self) -> str:
        """Our extension: end the record, and wait until it is whole; gives what init calls its file."""
        return await self._string(EXTENSION, "StopRecord", "")

    async def notify_disk_writeable(self) -> None:
        """Tell init that its logs can be written."""
        await self._link.call(PATH, MANAGER, "NotifyDiskWriteable")

    async def notify_dbus_address(self, address: str) -> None:
        """Tell a session's init where its session bus is."""
        await self._link.call(PATH, MANAGER, "NotifyDBusAddress", "s", address)

    async def notify_cgroup_manager_address(self, address: str) -> None:
        """Kept for 1.13.2's callers: our init needs no cgroup manager."""
        await self._link.call(PATH, MANAGER, "NotifyCGroupManagerAddress", "s", address)

    async def version(self) -> str:
        """``init (upstart 1.13.2)``, with the name it was called by."""
        return await text_of(self._link, PATH, MANAGER, "version")

    async def log_priority(self) -> str:
        """A priority of initctl(8) log-priority."""
        return await text_of(self._link, PATH, MANAGER, "log_priority")

    async def set_log_priority(self, name: str) -> None:
        """Set that priority."""
        await self._link.call(PATH, PROPERTIES, "Set", "ssv", MANAGER, "log_priority", ("s", name))

    # The job environment: of the instance that ``of`` names (job, instance), or the table that all jobs begin with

    async def get_env(self, name: str, of: Sequence[str] = ()) -> str:
        """The value of a variable."""
        return await self._string(MANAGER, "GetEnv", "ass", list(of), name)

    async def list_env(self, of: Sequence[str] = ()) -> list[str]:
        """All variables."""
        (table,) = await self._link.call(PATH, MANAGER, "ListEnv", "as", list(of), returns="as")
        return list(table)

    async def set_env(self, variables: Sequence[str], of: Sequence[str] = (), replace: bool = True) -> None:
        """Set variables, those that are there only with ``replace``."""
        await self._link.call(PATH, MANAGER, "SetEnvList", "asasb", list(of), list(variables), replace)

    async def unset_env(self, names: Sequence[str], of: Sequence[str] = ()) -> None:
        """Remove variables."""
        await self._link.call(PATH, MANAGER, "UnsetEnvList", "asas", list(of), list(names))

    async def reset_env(self, of: Sequence[str] = ()) -> None:
        """Have the table as init began with it."""
        await self._link.call(PATH, MANAGER, "ResetEnv", "as", list(of))

    async def _string(self, interface: str, method: str, signature: str, *args: Any) -> str:
        return str((await self._link.call(PATH, interface, method, signature, *args, returns="s"))[0])
