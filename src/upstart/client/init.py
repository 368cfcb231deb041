"""Init, as a client sees it: each method is one call that waits for its answer.

What is always true here, and of its jobs and their instances (`upstart.client.job`):

- An object is a name for something that init has, and holds nothing of it: each question is asked anew, and what has
  gone meanwhile answers with a `DBusError` (`upstart.base.names` has the names of errors).
- What is part of 1.13.2's interface works with the original too; what is our extension (docs/dbus-extension.md) says
  so, and is a `DBusError` named in ``names.NO_EXTENSION`` elsewhere.
- A call that waits for a job has no time limit, every other has libdbus's of 25 seconds.

Environments are lists of ``KEY=VALUE``.  Use::

    with Init.open() as init:
        instance = init.job("tty1").start()
        print(instance.state)
        init.emit("runlevel", ["RUNLEVEL=2"], wait=False)

Signals, and a connection that comes back by itself, are in `upstart.client.glib` and `upstart.client.aio`.
"""

from __future__ import annotations

from upstart.base.errors import DBusError
from upstart.base.names import EXTENSION, MANAGER, NO_EXTENSION, PATH, PEER, UNKNOWN_METHOD
from upstart.client.connection import NEVER, Connection, connect_bus, connect_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from upstart.client.history import History
    from upstart.client.job import Instance, Job
    from upstart.client.status import Status

#: The type of a list of statuses (docs/dbus-extension.md).
STATUS = "a(ssssa(si))"


class Init:
    """An init daemon at the other end of a `Connection`."""

    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @classmethod
    def open(cls, address: str | None = None, bus: str | None = None) -> Init:
        """Connect to PID 1's own socket, to a D-Bus ``address``, or by way of a ``bus`` ("system" or "session")."""
        if bus is not None:
            return cls(connect_bus(bus == "system"))
        init = cls(connect_private(address))
        # Nobody reads them here, and what is not read stays in memory.  An original init says no to nobody.
        init.quiet()
        return init

    def __enter__(self) -> Init:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close a connection of our own; one to a bus stays."""
        self.connection.close()

    def quiet(self) -> None:
        """Our extension: no signals on this connection, before a long wait; on a bus there are none unasked."""
        self.connection.quiet()

    def hear(self, signals: Sequence[str]) -> None:
        """Our extension: no other signals on this private connection than those of these names."""
        self.connection.call(PATH, EXTENSION, "Hear", "as", list(signals))

    # Jobs

    def jobs(self) -> list[Job]:
        """All jobs of the caller's session."""
        from upstart.client.job import Job  # not asked for by initctl's quickest commands

        (paths,) = self.connection.call(PATH, MANAGER, "GetAllJobs", returns="ao")
        return [Job(self.connection, path) for path in paths]

    def job(self, name: str) -> Job:
        """The job of that name."""
        from upstart.client.job import Job

        return Job(self.connection, self.connection.call(PATH, MANAGER, "GetJobByName", "s", name, returns="o")[0])

    def status(self, job: str, env: Sequence[str] = ()) -> list[Status]:
        """Our extension: the status of the instance that an environment selects, or of a stopped job."""
        return self._statuses("GetStatus", "sas", job, env)

    def all_status(self) -> Iterator[Status]:
        """Every instance of every job, or the job itself if it has none; of an original piece by piece."""
        try:
            yield from self._statuses("GetStatusAll")
            return
        except DBusError as error:
            if error.name not in NO_EXTENSION:
                raise
        from upstart.client.status import Status

        for job in self.jobs():
            try:
                name = job.name
                instances = job.instances()
                for instance in instances:
                    yield instance.status(name)
                if not instances:
                    yield Status(name)
            except DBusError as error:
                # What vanishes meanwhile is left out.
                if error.name != UNKNOWN_METHOD:
                    raise

    def _statuses(self, method: str, signature: str = "", *args: Any) -> list[Status]:
        from upstart.client.status import Status

        (found,) = self.connection.call(PATH, EXTENSION, method, signature, *args, returns=STATUS)
        return [Status(*entry) for entry in found]

    def stop_by_force(self, target: Job | Instance, env: Sequence[str] = (), wait: bool = True) -> None:
        """Our extension: stop, and end what stopping would else wait for; ``env`` selects a job's instance."""
        self.connection.call(PATH, EXTENSION, "StopForce", "sasb", target.path, env, wait, timeout=NEVER)

    def failure_reason(self, job: str, instance: str = "") -> str:
        """Our extension: why the instance last failed, in one line; empty if nothing is known."""
        return self._string(EXTENSION, "FailureReason", "ss", job, instance)

    def failures(self) -> dict[tuple[str, str], str]:
        """Our extension: why instances failed, by job and instance: those that have not come to run since."""
        (found,) = self.connection.call(PATH, EXTENSION, "Failures", returns="a(sss)")
        return {(str(job), str(instance)): str(reason) for job, instance, reason in found}

    def directories(self) -> tuple[list[str], str]:
        """Our extension: the directories of job files, the one that counts most first, and that of logs, or ""."""
        jobs, logs = self.connection.call(PATH, EXTENSION, "Directories", returns="ass")
        return [str(path) for path in jobs], str(logs)

    def history(self, since: int = 0) -> History:
        """Our extension: what has happened, from the entry of that number on, as far as init remembers it."""
        from upstart.client.history import read

        return read(self.connection, since)

    def emitters(self, event: str) -> list[str]:
        """Our extension: the jobs whose files say that they emit an event of this name."""
        (jobs,) = self.connection.call(PATH, EXTENSION, "Emitters", "s", event, returns="as")
        return [str(job) for job in jobs]

    def account(self, job: str = "") -> dict[str, Any]:
        """Our extension: how a job stands, for who explains it, or, without a name, all that is not at rest."""
        from upstart.base.jsontext import decoder

        (text,) = self.connection.call(PATH, EXTENSION, "Explain", "s", job, returns="s")
        account: dict[str, Any] = decoder()(text)
        return account

    def keeps_ending(self, job: str, instance: str = "") -> str:
        """Our extension: that the main process of an instance ends and is respawned again and again; "" where not."""
        (text,) = self.connection.call(PATH, EXTENSION, "KeepsEnding", "ss", job, instance, returns="s")
        return str(text)

    # Events and configuration

    def emit(self, name: str, env: Sequence[str] = (), wait: bool = True) -> None:
        """Emit an event; with ``wait``, return once it is finished.  DBusError EventFailed if a job failed."""
        self.connection.emit_event(name, list(env), wait)

    def emit_ending(self, name: str, env: Sequence[str], ending: bool) -> None:
        """Our extension: emit the event with which the machine ends, or, where not ``ending``, goes on after all.

        No job is waited for.
        """
        self.connection.call(PATH, EXTENSION, "EmitEnding", "sasb", name, list(env), ending)

    def emit_once(self, name: str, env: Sequence[str], key: str) -> None:
        """Our extension: emit an event unless that was done under this ``key`` since the boot; return once it is
        finished.

        DBusError EventFailed if something failed over it, whoever emitted it.
        """
        self.connection.call(PATH, EXTENSION, "EmitOnce", "sass", name, list(env), key, timeout=NEVER)

    def awaited(self, events: Sequence[str]) -> list[tuple[str, list[str]]]:
        """Our extension: what jobs wait for, of the events of these names or patterns: name and tests of each leaf.

        Tests are as the job has them, ``KEY=VALUE``, ``KEY!=VALUE`` or a value alone, with patterns; what refers to the
        environment of the job is replaced as far as its own ``env`` stanzas go.
        """
        (leaves,) = self.connection.call(PATH, EXTENSION, "Awaited", "as", list(events), returns="a(sas)")
        return [(str(name), [str(test) for test in tests]) for name, tests in leaves]

    def awaited_by(self, events: Sequence[str]) -> list[tuple[str, bool, str, list[str]]]:
        """Our extension: the same by jobs: job, whether it is its ``start on``, name and tests of each leaf.

        Tests of a ``start on`` are as written there.
        """
        (leaves,) = self.connection.call(PATH, EXTENSION, "AwaitedBy", "as", list(events), returns="a(sbsas)")
        return [(str(job), bool(start), str(name), [str(test) for test in tests]) for job, start, name, tests in leaves]

    def rest(
        self,
        stop: bool = False,
        force: bool = False,
        env: Sequence[str] = (),
        spared: Sequence[int] = (),
        later: Sequence[str] = (),
    ) -> list[tuple[str, str]]:
        """Our extension: while the machine ends, what is on its way, as it is shown to people, and how it stands.

        "ends" is killed when its time is over, "killed" has been and is still there, "stops" has no such limit, "works"
        is a part of the end.  With ``stop`` what is no part of the end is stopped first, with ``env`` for its pre-stop
        and post-stop, but who has a pid of ``spared``, and what runs of a job that is named in ``later``, or is to be
        stopped by an event that is; with ``force`` each of their processes has its kill timeout from now on.  Nothing
        is waited for.
        """
        args = (stop, force, list(env), list(spared), list(later))
        (jobs,) = self.connection.call(PATH, EXTENSION, "Rest", "bbasauas", *args, returns="a(ss)")
        return [(str(job), str(how)) for job, how in jobs]

    def reload_configuration(self) -> None:
        """Have init look at its job files again."""
        self.connection.call(PATH, MANAGER, "ReloadConfiguration")

    def configuration_errors(self) -> list[str]:
        """Our extension: what is wrong with job files as they now are, ``FILE:LINE: text`` each."""
        (errors,) = self.connection.call(PATH, EXTENSION, "ConfigurationErrors", returns="as")
        return [str(error) for error in errors]

    def restart(self, timeout: float) -> None:
        """Have init re-execute itself; ``timeout`` in seconds.  The answer may be lost with the connection."""
        self.connection.call(PATH, MANAGER, "Restart", timeout=timeout)

    def record(self, name: str, file: int, values: bool = False, limit: int = 0) -> None:
        """Our extension: have init record all that it is told to an open ``file``, which it calls ``name``.

        ``values``: with the values of variables, and programs.  ``limit`` is in bytes, 0 for init's own.
        """
        # libdbus sends no descriptor before it knows that they are welcome, which it does not before an answer.
        self.connection.call(PATH, PEER, "Ping")
        self.connection.call(PATH, EXTENSION, "Record", "shbt", name, file, values, limit)

    def stop_record(self) -> str:
        """Our extension: end the record, and wait until it is whole; gives what init calls its file."""
        return self._string(EXTENSION, "StopRecord", "")

    def notify_disk_writeable(self) -> None:
        """Tell init that its logs can be written."""
        self.connection.call(PATH, MANAGER, "NotifyDiskWriteable")

    def notify_dbus_address(self, address: str) -> None:
        """Tell a session's init where its session bus is."""
        self.connection.call(PATH, MANAGER, "NotifyDBusAddress", "s", address)

    def notify_cgroup_manager_address(self, address: str) -> None:
        """Kept for 1.13.2's callers: our init needs no cgroup manager."""
        self.connection.call(PATH, MANAGER, "NotifyCGroupManagerAddress", "s", address)

    @property
    def version(self) -> str:
        """``init (upstart 1.13.2)``, with the name it was called by."""
        return self.connection.get_string(PATH, MANAGER, "version")

    @property
    def log_priority(self) -> str:
        """A priority of initctl(8) log-priority; can be set."""
        return self.connection.get_string(PATH, MANAGER, "log_priority")

    @log_priority.setter
    def log_priority(self, name: str) -> None:
        self.connection.set_property(PATH, MANAGER, "log_priority", name)

    # The job environment: of the instance that ``of`` names (job, instance), or the table that all jobs begin with

    def get_env(self, name: str, of: Sequence[str] = ()) -> str:
        """The value of a variable."""
        return self._string(MANAGER, "GetEnv", "ass", of, name)

    def list_env(self, of: Sequence[str] = ()) -> list[str]:
        """All variables."""
        (table,) = self.connection.call(PATH, MANAGER, "ListEnv", "as", of, returns="as")
        return [str(word) for word in table]

    def set_env(self, variables: Sequence[str], of: Sequence[str] = (), replace: bool = True) -> None:
        """Set variables, those that are there only with ``replace``."""
        self.connection.call(PATH, MANAGER, "SetEnvList", "asasb", of, variables, replace)

    def unset_env(self, names: Sequence[str], of: Sequence[str] = ()) -> None:
        """Remove variables."""
        self.connection.call(PATH, MANAGER, "UnsetEnvList", "asas", of, names)

    def reset_env(self, of: Sequence[str] = ()) -> None:
        """Have the table as init began with it."""
        self.connection.call(PATH, MANAGER, "ResetEnv", "as", of)

    def _string(self, interface: str, method: str, signature: str, *args: Any) -> str:
        return str(self.connection.call(PATH, interface, method, signature, *args, returns="s")[0])
