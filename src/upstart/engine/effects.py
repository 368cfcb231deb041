"""What the engine asks of the world.

Every input to the engine (an event, a command, an exit, a timer) may leave effects in ``Engine.effects``, in the order
in which they must be performed.  Performing one may be an input again (a process spawned, or failed to).  Effects
are plain values: the daemon performs them with system calls and D-Bus, the simulator and the tests in virtual time.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.engine.data import Instance, Job


class Effect:
    """Base of all effects; ``kind`` selects the performer's handler."""

    __slots__ = ()
    kind = ""


class Spawn(Effect):
    """Start ``process`` of ``instance`` with exactly the environment ``env``; descriptors ``fds`` are inherited.

    The performer answers with `Engine.process_spawned` (it has a pid), then `Engine.process_ready` (the program
    was executed), or `Engine.spawn_failed` before or after the first; all may come at once, or late.  What
    `Engine.process_spawned` refuses has to be ended.  No other
    process of the same name is asked for before.
    """

    __slots__ = ("env", "fds", "instance", "process")
    kind = "spawn"

    def __init__(self, instance: Instance, process: str, env: dict[str, str], fds: tuple[int, ...]) -> None:
        self.instance = instance
        self.process = process
        self.env = env
        self.fds = fds


class CancelSpawn(Effect):
    """Give up starting ``process`` of ``instance`` where its turn is still to come, or it is to be tried again later.

    Answered by `Engine.spawn_withdrawn` then; otherwise by what the `Spawn` itself is answered by.
    """

    __slots__ = ("instance", "process")
    kind = "cancel-spawn"

    def __init__(self, instance: Instance, process: str) -> None:
        self.instance = instance
        self.process = process


class Signal(Effect):
    """Send ``signal`` to ``process`` of ``instance``, and as far beyond it as the job's ``kill mode`` says.

    With ``alone`` only the process itself gets it.
    """

    __slots__ = ("alone", "instance", "pid", "process", "signal")
    kind = "signal"

    def __init__(self, instance: Instance, process: str, pid: int, signal: int, alone: bool = False) -> None:
        self.alone = alone
        self.instance = instance
        self.process = process
        self.pid = pid
        self.signal = signal


class SetTimer(Effect):
    """Call `Engine.timer_fired` (instance, timer) after ``seconds``; replaces a live timer of the same name."""

    __slots__ = ("instance", "seconds", "timer")
    kind = "set-timer"

    def __init__(self, instance: Instance, timer: str, seconds: float) -> None:
        self.instance = instance
        self.timer = timer
        self.seconds = seconds


class CancelTimer(Effect):
    """Forget the timer; there may be none."""

    __slots__ = ("instance", "timer")
    kind = "cancel-timer"

    def __init__(self, instance: Instance, timer: str) -> None:
        self.instance = instance
        self.timer = timer


class Follow(Effect):
    """Watch the main process of ``instance`` become a daemon (``expect fork`` or ``daemon``).

    Answered by `Engine.process_forked` (the daemon's pid), or `Engine.follow_gave_up`.
    """

    __slots__ = ("instance",)
    kind = "follow"

    def __init__(self, instance: Instance) -> None:
        self.instance = instance


class Reply(Effect):
    """Answer a blocked request: the path of ``instance`` where the method returns one (Job.Start, Job.Restart)."""

    __slots__ = ("instance", "request")
    kind = "reply"

    def __init__(self, request: object, instance: Instance | None = None) -> None:
        self.request = request
        self.instance = instance


class ReplyError(Effect):
    """Answer a blocked request with the D-Bus error ``name`` (after ``com.ubuntu.Upstart0_6.Error.``) and ``text``."""

    __slots__ = ("name", "request", "text")
    kind = "reply-error"

    def __init__(self, request: object, name: str, text: str) -> None:
        self.request = request
        self.name = name
        self.text = text


class Report(Effect):
    """What has become of an instance, for who is at the console: `what` is one of these.

    "begun": its main process is to be started; "up": it is running, as a service; "failed", for ``reason``; "down": it
    is at rest again.
    """

    __slots__ = ("instance", "reason", "what")
    kind = "report"

    def __init__(self, instance: Instance, what: str, reason: str = "") -> None:
        self.instance = instance
        self.what = what
        self.reason = reason


class Announce(Effect):
    """A D-Bus signal: ``signal`` is its member name, ``subject`` the object it is about.

    GoalChanged, StateChanged, Failed, InstanceAdded, InstanceRemoved (Instance); JobAdded, JobRemoved (Job);
    EventEmitted (value is the (name, env) pair, subject None); AwaitedChanged (value is the names of events of which
    other tests are awaited, subject None).
    """

    __slots__ = ("signal", "subject", "value")
    kind = "announce"

    def __init__(self, signal: str, subject: Instance | Job | None, value: object = None) -> None:
        self.signal = signal
        self.subject = subject
        self.value = value


class Log(Effect):
    """A line for init's own log; only produced when ``Engine.priority`` admits it."""

    __slots__ = ("priority", "text")
    kind = "log"

    def __init__(self, priority: int, text: str) -> None:
        self.priority = priority
        self.text = text


class CloseFd(Effect):
    """The descriptor of a finished EmitEventWithFile is no longer needed."""

    __slots__ = ("fd",)
    kind = "close"

    def __init__(self, fd: int) -> None:
        self.fd = fd


class Gone(Effect):
    """``process`` of ``instance`` with ``pid`` has ended: flush its log, forget what was kept for it."""

    __slots__ = ("instance", "pid", "process")
    kind = "gone"

    def __init__(self, instance: Instance, process: str, pid: int) -> None:
        self.instance = instance
        self.process = process
        self.pid = pid


class Ended(Effect):
    """``instance`` is no more: what is kept for it beyond its processes can go."""

    __slots__ = ("instance",)
    kind = "ended"

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
