"""What is asked of `upstart.process.spawn`, and carried on into the child."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.conf.jobclass import JobClass

#: As sd_listen_fds(3) has it.
FIRST_SOCKET = 3


class SpawnRequest:
    """What is to be started: ``process`` (a name of `upstart.conf.jobclass.PROCESSES`) of ``job_class``.

    ``job_name`` is the display name (``NAME`` or ``NAME (INSTANCE)``), ``instance_name`` the bare instance name,
    ``env`` the complete environment, ``fds`` the descriptors it inherits under their own numbers, ``console`` the
    effective value of the stanza (``log`` only if there is to be a log), ``session`` the root directory of the
    job's chroot session or ``None``.

    ``sockets`` (names and descriptors) are its descriptors from `FIRST_SOCKET` on, as LISTEN_FDS tells it; those of
    ``fds`` come after them then, and UPSTART_FDS names all.  ``connection`` is its standard input and output, unless
    that is -1.  ``warded`` asks for a warden where the job has no cgroup of its own (`upstart.process.warden`).
    """

    __slots__ = (
        "connection", "console", "env", "fds", "instance_name", "job_class", "job_name", "process", "session",
        "sockets", "warded",
    )  # fmt: skip

    def __init__(
        self,
        job_class: JobClass,
        job_name: str,
        process: str,
        instance_name: str,
        env: dict[str, str],
        fds: tuple[int, ...] = (),
        console: str = "none",
        session: str | None = None,
    ) -> None:
        self.job_class = job_class
        self.job_name = job_name
        self.process = process
        self.instance_name = instance_name
        self.env = env
        self.fds = fds
        self.console = console
        self.session = session
        self.sockets: tuple[tuple[str, int], ...] = ()
        self.connection = -1
        self.warded = False

    def take_sockets(self) -> list[int]:
        """The descriptors that are to be those from `FIRST_SOCKET` on; the environment tells of all but the pid."""
        if not self.sockets:
            return []
        names = [name for name, _ in self.sockets] + ["event"] * len(self.fds)
        count = len(names)
        self.env["UPSTART_FDS"] = " ".join([str(fd) for fd in range(FIRST_SOCKET, FIRST_SOCKET + count)])
        self.env["LISTEN_FDS"] = str(count)
        self.env["LISTEN_FDNAMES"] = ":".join(names)
        return [fd for _, fd in self.sockets] + list(self.fds)
