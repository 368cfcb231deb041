"""Who asks: what the history has of the clients that emit events and start and stop jobs.

What is always true here: it is the kernel's word, of a moment at which the client was there: neither what it was called
nor whose child it was can be found out later.  A connection is looked at once, however much it asks for.
"""

from __future__ import annotations

from upstart.process.procfs import look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.daemon.call import Call
    from upstart.engine.data import Instance
    from upstart.engine.engine import Engine

#: A line that came by the FIFO of events: who wrote it is not known.
FIFO = ("fifo",)
#: Parents that are asked whose child a process is.
GENERATIONS = 64
#: Of a client that only wants to be named: a shell in a login is a few away from its job.
NEAR_GENERATIONS = 12


def instance_of(engine: Engine, pid: int, generations: int = GENERATIONS) -> Instance | None:
    """The instance whose process this is, or a child of one."""
    pids = engine.pids
    for _ in range(generations):
        if pid <= 1:
            return None
        process = look(pid)
        # Each process of a job leads a session of its own.
        for each in (pid, process.sid if process is not None else 0):
            found = pids.get(each)
            if found is not None:
                return found[0]
        if process is None:
            return None
        pid = process.ppid
    return None


def who_asks(engine: Engine, call: Call) -> tuple[object, ...]:
    """``("client", uid, pid, name of the program, that of its parent, of)``: the last as `history` names an instance,
    that whose process or child it is, or None; without a pid of a client on a bus, which alone knows it."""
    connection = call.connection
    if connection.uid < 0:
        return ("client", call.uid, 0, "", "", None)
    if connection.who is None:
        connection.who = ("client", call.uid, call.pid, "", "", None)
        try:
            connection.who = _described(engine, connection.uid, call.pid)
        except OSError:
            pass  # there is not what it takes to look
    return connection.who


def _described(engine: Engine, uid: int, pid: int) -> tuple[object, ...]:
    process = look(pid)
    if process is None:
        return ("client", uid, pid, "", "", None)
    parent = look(process.ppid) if process.ppid > 1 else None
    instance = instance_of(engine, pid, NEAR_GENERATIONS)
    return (
        "client", uid, pid, process.name, parent.name if parent is not None else "",
        instance.key if instance is not None else None,
    )  # fmt: skip
