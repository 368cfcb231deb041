"""Jobs and instances of an init, by their object paths; what is always true of them stands in `upstart.client.init`."""

from __future__ import annotations

from upstart.base.errors import DBusError
from upstart.base.names import INSTANCE, JOB, UNKNOWN_METHOD
from upstart.client.connection import NEVER, Connection
from upstart.client.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    #: A condition in reverse Polish notation: the words of an event, or an operator (/AND, /OR) alone.
    Condition = list[list[str]]


class Instance:
    """An instance by its object path."""

    __slots__ = ("_connection", "path")

    def __init__(self, connection: Connection, path: str) -> None:
        self._connection = connection
        self.path = path

    @property
    def name(self) -> str:
        """Its name, empty for the only one of most jobs."""
        return self._connection.get_string(self.path, INSTANCE, "name")

    @property
    def goal(self) -> str:
        """``start`` or ``stop``."""
        return self._connection.get_string(self.path, INSTANCE, "goal")

    @property
    def state(self) -> str:
        """How far it has come, a state of init(5)."""
        return self._connection.get_string(self.path, INSTANCE, "state")

    @property
    def processes(self) -> list[tuple[str, int]]:
        """The name and pid of each of its processes, main first."""
        found = self._connection.get_property(self.path, INSTANCE, "processes")
        return [(str(name), int(pid)) for name, pid in found]

    def status(self, job: str) -> Status:
        """All of these at one moment, for the job of that name; that of a stopped job if the instance is gone."""
        try:
            found = self._connection.get_all(self.path, INSTANCE)
        except DBusError as error:
            if error.name != UNKNOWN_METHOD:
                raise
            return Status(job)
        return Status(job, found["name"], found["goal"], found["state"], found["processes"])

    def start(self, wait: bool = True) -> None:
        """Start it with the environment it has; with ``wait``, return once it runs or a task has ended."""
        self._connection.call(self.path, INSTANCE, "Start", "b", wait, timeout=NEVER)

    def stop(self, wait: bool = True) -> None:
        """Stop it; with ``wait``, return once it has stopped."""
        self._connection.call(self.path, INSTANCE, "Stop", "b", wait, timeout=NEVER)

    def restart(self, wait: bool = True) -> None:
        """Stop it and start it again with the definition and environment it has."""
        self._connection.call(self.path, INSTANCE, "Restart", "b", wait, timeout=NEVER)

    def reload(self) -> None:
        """Send its main process the reload signal."""
        self._connection.call(self.path, INSTANCE, "Reload")


class Job:
    """A job by its object path."""

    __slots__ = ("_connection", "path")

    def __init__(self, connection: Connection, path: str) -> None:
        self._connection = connection
        self.path = path

    def _text(self, name: str) -> str:
        return self._connection.get_string(self.path, JOB, name)

    @property
    def name(self) -> str:
        """The name of its file, without the ending."""
        return self._text("name")

    @property
    def description(self) -> str:
        """What the stanza ``description`` says."""
        return self._text("description")

    @property
    def author(self) -> str:
        """What the stanza ``author`` says."""
        return self._text("author")

    @property
    def version(self) -> str:
        """What the stanza ``version`` says."""
        return self._text("version")

    @property
    def usage(self) -> str:
        """How it wants to be started, the stanza ``usage``."""
        return self._text("usage")

    @property
    def emits(self) -> list[str]:
        """The events that it says it emits, possibly as patterns."""
        return [str(event) for event in self._connection.get_property(self.path, JOB, "emits")]

    @property
    def start_on(self) -> Condition:
        """Its ``start on``, empty without one."""
        return self._condition("start_on")

    @property
    def stop_on(self) -> Condition:
        """Its ``stop on``, empty without one."""
        return self._condition("stop_on")

    def _condition(self, name: str) -> Condition:
        items = self._connection.get_property(self.path, JOB, name)
        return [[str(word) for word in item] for item in items if item and item[0]]

    def _instance(self, path: str) -> Instance:
        return Instance(self._connection, path)

    def instances(self) -> list[Instance]:
        """All of its instances."""
        (paths,) = self._connection.call(self.path, JOB, "GetAllInstances", returns="ao")
        return [self._instance(path) for path in paths]

    def instance(self, env: Sequence[str] = ()) -> Instance:
        """The instance that an environment selects."""
        return self._instance(self._connection.call(self.path, JOB, "GetInstance", "as", env, returns="o")[0])

    def instance_named(self, name: str) -> Instance:
        """The instance of that name."""
        (path,) = self._connection.call(self.path, JOB, "GetInstanceByName", "s", name, returns="o")
        return self._instance(path)

    def start(self, env: Sequence[str] = (), wait: bool = True) -> Instance:
        """Start an instance; with ``wait``, return once it runs or a task has ended."""
        return self._begin("Start", env, wait)

    def restart(self, env: Sequence[str] = (), wait: bool = True) -> Instance:
        """Stop an instance and start it again with the definition it was started with."""
        return self._begin("Restart", env, wait)

    def _begin(self, method: str, env: Sequence[str], wait: bool) -> Instance:
        (path,) = self._connection.call(self.path, JOB, method, "asb", env, wait, returns="o", timeout=NEVER)
        return self._instance(path)

    def stop(self, env: Sequence[str] = (), wait: bool = True) -> None:
        """Stop an instance; with ``wait``, return once it has stopped."""
        self._connection.call(self.path, JOB, "Stop", "asb", env, wait, timeout=NEVER)
