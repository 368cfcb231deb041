"""What is asked of `upstart.process.spawn`, and carried on into the child."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.conf.jobclass import JobClass


class SpawnRequest:
    """What is to be started: ``process`` (a name of `upstart.conf.jobclass.PROCESSES`) of ``job_class``.

    ``job_name`` is the display name (``NAME`` or ``NAME (INSTANCE)``), ``instance_name`` the bare instance name,
    ``env`` the complete environment, ``fds`` the descriptors it inherits under their own numbers, ``console`` the
    effective value of the stanza (``log`` only if there is to be a log), ``session`` the root directory of the
    job's chroot session or ``None``.
    """

    __slots__ = ("console", "env", "fds", "instance_name", "job_class", "job_name", "process", "session")

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
