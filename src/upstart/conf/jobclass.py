"""What a job configuration file says, as a value.

A `JobClass` is made by the parser and never changes afterwards: an override or an edited file gives a new one.
A stanza that a file does not contain costs nothing: the defaults of init(5) are class attributes, and an instance
holds only what the file set.  Nothing here reads a file, looks up a user or knows what is running.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Condition: TypeAlias = "Match | And | Or"

#: The processes a job may have, in the order in which status output and state documents list them.
PROCESSES = ("main", "pre-start", "post-start", "pre-stop", "post-stop", "security")

#: Signal numbers of the defaults (signal(7), the same on every Linux port Debian has but mips).
SIGHUP = 1
SIGTERM = 15


class Match:
    """One event of a condition: its name and the tests its environment must pass.

    ``args`` keeps the words as written after the event name: ``KEY=VALUE``, ``KEY!=VALUE`` or a positional value;
    values may hold globs (fnmatch(3)) and ``$VARIABLE`` references.
    """

    __slots__ = ("args", "name")

    def __init__(self, name: str, args: tuple[str, ...] = ()) -> None:
        self.name = name
        self.args = args


class And:
    """Both sides must have happened."""

    __slots__ = ("left", "right")

    def __init__(self, left: Condition, right: Condition) -> None:
        self.left = left
        self.right = right


class Or:
    """Either side must have happened."""

    __slots__ = ("left", "right")

    def __init__(self, left: Condition, right: Condition) -> None:
        self.left = left
        self.right = right


class ProcessDef:
    """A process of a job: a shell script (``script``) or a command line (``exec``), as text."""

    __slots__ = ("command", "script")

    def __init__(self, command: str, script: bool) -> None:
        self.command = command
        self.script = script


class JobClass:
    """The definition of a job; see init(5) for each stanza.

    Attributes without a stanza of the same name: ``name`` (file name without directory prefix and ``.conf``),
    ``session`` (root directory of the chroot session it belongs to, ``None`` for the system or user session),
    ``source`` (path of the file), ``override`` (path of the override merged in, or ``None``), ``processes``
    (keyed by the names in `PROCESSES`; the AppArmor profile to load is the ``security`` process).
    """

    name: str
    source: str
    session: str | None = None
    override: str | None = None

    instance: str = ""
    description: str | None = None
    author: str | None = None
    version: str | None = None
    usage: str | None = None

    #: ``KEY=VALUE``, or ``KEY`` to take the value from init's own environment.
    env: tuple[str, ...] = ()
    export: tuple[str, ...] = ()
    start_on: Condition | None = None
    stop_on: Condition | None = None
    emits: tuple[str, ...] = ()

    processes: dict[str, ProcessDef]
    #: ``none``, ``stop``, ``daemon`` or ``fork``.
    expect: str = "none"
    task: bool = False

    respawn: bool = False
    #: Respawns within the interval in seconds; 0 for either means unlimited.
    respawn_limit: int = 10
    respawn_interval: int = 5
    #: Exit statuses, and signals shifted left by 8, that are no failure.
    normal_exit: tuple[int, ...] = ()
    #: Seconds.
    kill_timeout: int = 5
    kill_signal: int = SIGTERM
    #: How far the kill signal and SIGKILL reach: ``process``, ``group``, ``session`` or ``all``.
    kill_mode: str = "session"
    reload_signal: int = SIGHUP

    #: ``none``, ``log``, ``output``, ``owner``; ``None`` where the file has no such stanza.
    console: str | None = None
    umask: int = 0o022
    nice: int | None = None
    #: -1000 to 1000.
    oom_score_adj: int | None = None
    #: Lower-case limit name of init(5) (``nofile``) to (soft, hard); -1 is unlimited.
    limits: dict[str, tuple[int, int]] = {}  # shared by all classes, so never changed in place
    chroot: str | None = None
    chdir: str | None = None
    setuid: str | None = None
    setgid: str | None = None
    apparmor_switch: str | None = None
    #: (controller, name or None, key or None, value or None) a ``cgroup`` stanza each.
    cgroups: tuple[tuple[str, str | None, str | None, str | None], ...] = ()
    debug: bool = False

    def __init__(self, name: str, source: str, session: str | None = None) -> None:
        self.name = name
        self.source = source
        if session is not None:
            self.session = session
        self.processes = {}

    def __repr__(self) -> str:
        return f"<JobClass {self.name} from {self.source}>"
