"""What the system's init hears from the kernel, from whoever runs it as a container, and on its FIFOs: that of
events, and that by which other inits are asked for a runlevel.

What is always true here: each of it becomes an event, or the business of telinit(8); none of it is policy of ours.
SIGTERM is blocked and read from a descriptor, for it means two things: from a process of our PID namespace it is the
re-exec, and from outside of it, where those are who run us as a container, the end of the system.
A FIFO that loses its place, by a mount over /run or because somebody has removed it, is made again there.
Only files in /run, /dev and /proc are opened here, which are the kernel's; whatever else there is to open, a child
does.
"""

from __future__ import annotations

import errno
import os

from upstart.base import syscalls, utmp
from upstart.base.closing import close
from upstart.base.initctl import LEGACY_PATH
from upstart.base.initctl import PATH as FIFO
from upstart.base.loop import READ
from upstart.base.names import LAST_RUNLEVELS, RUNLEVEL_EVENT
from upstart.base.priority import ERROR, INFO, WARN
from upstart.base.signals import ENDS, ENDS_AT_ONCE
from upstart.daemon import boot, callers, eventfifo, surroundings
from upstart.daemon.displaced import Displaced
from upstart.daemon.eventfifo import EventFifo
from upstart.daemon.initreq import InitFifo
from upstart.process import helper
from upstart.process.child import reset_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping

    from upstart.base.loop import Loop
    from upstart.engine.data import Event
    from upstart.engine.engine import Engine
else:
    import _signal as signal

TELINIT = "/sbin/telinit"
LOOPBACK = "lo"
#: Says to the hook of ifupdown that an interface has been told of, until that takes it down.
ANNOUNCED = "/run/upstart/announced." + LOOPBACK
#: That can be entered, and left.
LEVELS = frozenset("0123456S")
PREVIOUS = LEVELS | {"N"}
#: What the manager's SIGTERM asks for: runlevel and INIT_HALT.
POWER_OFF = ("0", "POWEROFF")


class System:
    """These inputs of one init, whose program is ``program``; ``log`` (priority, text) is its own log.

    ``reconnect_bus`` () connects to the message bus if we are not connected.
    """

    __slots__ = ("_displaced", "_engine", "_log", "_loop", "_program", "_reconnect_bus", "_told", "events", "fifo")

    def __init__(
        self,
        program: str,
        engine: Engine,
        loop: Loop,
        reconnect_bus: Callable[[], object],
        log: Callable[[int, str], object],
    ) -> None:
        self._program = program
        self._engine = engine
        self._loop = loop
        self._reconnect_bus = reconnect_bus
        self._log = log
        self.fifo = InitFifo(loop, FIFO, self._change_runlevel, lambda: self._emit("power-status-changed"))
        self.events = EventFifo(loop, eventfifo.PATH, engine, log, self._told_runlevel)
        self._displaced = Displaced(loop, os.path.dirname(eventfifo.PATH), self._look)
        #: What has been said of FIFOs that cannot be made.
        self._told: set[str] = set()

    def begin(self) -> None:
        """Catch the signals that are sent to PID 1 alone, and listen on the FIFOs."""
        watch = self._loop.watch_signal
        syscalls.disable_control_alt_delete()
        watch(signal.SIGINT, lambda: self._emit("control-alt-delete"))
        if boot.accept_keyboard_request(signal.SIGWINCH):
            watch(signal.SIGWINCH, lambda: self._emit("keyboard-request"))
        watch(signal.SIGPWR, lambda: self._emit("power-status-changed"))
        watch(signal.SIGUSR1, self._reconnect)
        for number, (level, halt) in ENDS.items():
            self._hear(number, self._asked_to_end, level, halt)
        for number, (command, status) in ENDS_AT_ONCE.items():
            self._hear(number, self._end_at_once, command, status)
        self._listen()

    def announce(self, environ: Mapping[str, str], tell: bool) -> None:
        """Find out, after the first event, whether this is a container, and bring up the loopback.

        ``tell`` says whether to emit that, ``environ`` is init's environment.
        """
        kind = surroundings.container_type(environ)
        surroundings.record_container_type(kind)
        if tell and kind:
            self._engine.emit("container", {"CONTAINER": kind})
        elif tell:
            self._engine.emit("not-container", {})
        if surroundings.bring_up(LOOPBACK):
            env = {"IFACE": LOOPBACK, "LOGICAL": LOOPBACK, "ADDRFAM": "inet", "METHOD": "loopback"}
            if tell:
                self._engine.emit("net-device-up", env)
            try:
                close(os.open(ANNOUNCED, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
            except OSError:
                pass  # it is told of twice

    def _hear(self, number: int, do: Callable[..., object], *words: object) -> None:
        self._loop.watch_signal(number, lambda: do(*words))

    def catch_term(self, from_inside: Callable[[], object]) -> tuple[int, ...]:
        """Hear SIGTERM: the manager's ends the system, for any other there is ``from_inside``.  Gives the signals that
        are to stay blocked."""
        try:
            fd = syscalls.signalfd(signal.SIGTERM)
        except OSError:
            self._loop.watch_signal(signal.SIGTERM, from_inside)
            return ()

        def arrived(_events: int) -> None:
            sender = syscalls.read_sender(fd)
            if sender is None:
                return
            code, pid = sender
            if code <= 0 and pid == 0:
                self._log(INFO, "Asked by who runs this container to end the system (SIGTERM)")
                self._asked_to_end(*POWER_OFF)
            else:
                from_inside()

        self._loop.add_fd(fd, READ, arrived)
        return (signal.SIGTERM,)

    def _asked_to_end(self, level: str, halt: str) -> None:
        self._change_runlevel(level, [f"INIT_HALT={halt}"] if halt else [])

    def _end_at_once(self, command: int, status: int) -> None:
        """Services are down already, or shall not be asked."""
        if syscalls.reboot(command) == errno.EPERM:
            # A container's, which ends with us.
            self._log(INFO, "This container may not be rebooted or switched off: exiting")
            os._exit(status)

    def _emit(self, name: str) -> None:
        # Who is at the machine is heard to its end.
        self._engine.emit(name, {}, last=self._engine.ending)

    def _listen(self) -> None:
        """See that all FIFOs are listened on in their places."""
        failed = set()
        for path, fifo in ((FIFO, self.fifo), (eventfifo.PATH, self.events)):
            try:
                fifo.open()
            except OSError as error:
                failed.add(f"{path}: Unable to listen: {error.strerror}")
        for text in failed - self._told:
            self._log(WARN, text)
        self._told = failed
        try:
            if self.fifo.in_place() and not os.path.lexists(LEGACY_PATH):
                os.symlink(FIFO, LEGACY_PATH)
        except OSError as error:
            self._log(WARN, f"{LEGACY_PATH}: {error.strerror}")
        self._displaced.watch()

    def _look(self) -> bool:
        """Something has been mounted or removed; whether a FIFO has lost its place by that."""
        if self.fifo.in_place() and self.events.in_place():
            return False
        self._listen()
        return True

    def _reconnect(self) -> None:
        # Whoever mounts over /run asks sysvinit in this way to make its FIFO again.
        self._told = set()
        self._listen()
        self._reconnect_bus()

    def close(self) -> None:
        """Listen no more."""
        self._displaced.close()
        self.fifo.close()
        self.events.close()

    def _change_runlevel(self, level: str, variables: list[str]) -> None:
        """Have telinit do it, in a child that may wait for its file."""
        words = [word for variable in variables for word in ("-e", variable)]
        paths = (os.path.join(os.path.dirname(self._program), "telinit"), TELINIT)
        reader = writer = watch = -1
        try:
            reader, writer = os.pipe2(os.O_CLOEXEC)

            def told(_events: int) -> None:
                none = os.read(reader, 1)
                self._loop.remove(watch)
                close(reader)
                if none:
                    self._enter_runlevel(level, variables)

            watch = self._loop.add_fd(reader, READ, told)
            helper.start("telinit", (writer,), lambda: execute_script(paths, ["telinit", *words, level], writer))
        except OSError:
            self._loop.remove(watch)
            close(reader)
            self._enter_runlevel(level, variables)
        finally:
            close(writer)

    def _enter_runlevel(self, level: str, variables: list[str]) -> None:
        """Another init has been installed: its telinit would ask us again, and ours may be gone altogether."""
        level = level.upper()
        if level == "Q":
            os.kill(os.getpid(), signal.SIGHUP)
        elif level == "U":
            self._log(ERROR, f"{FIFO}: Unable to execute telinit: it is not Upstart's")
        else:
            self._emit_runlevel(level, None, dict(each.split("=", 1) for each in variables), None)

    def _told_runlevel(self, name: str, env: dict[str, str]) -> Event | None:
        """A runlevel on the FIFO of events is entered as telinit would, without its process; None for any other."""
        level, previous = env.get("RUNLEVEL", ""), env.get("PREVLEVEL")
        if name != RUNLEVEL_EVENT or level not in LEVELS or (previous is not None and previous not in PREVIOUS):
            return None
        return self._emit_runlevel(level, previous, env, callers.FIFO)

    def _emit_runlevel(self, level: str, previous: str | None, env: dict[str, str], by: object) -> Event:
        """Record that the runlevel changes, from ``previous`` or what is on record, and emit its event."""
        previous = utmp.record_runlevel(level, previous)
        ending = level in LAST_RUNLEVELS
        self._engine.set_ending(ending)
        event = self._engine.emit(RUNLEVEL_EVENT, {"RUNLEVEL": level, "PREVLEVEL": previous} | env, last=ending, by=by)
        try:
            helper.start("upstart-wtmp", (), lambda: utmp.append_runlevel(level, previous))
        except (OSError, MemoryError):
            pass  # the history lacks it
        return event


def execute_script(paths: tuple[str, ...], argv: list[str], writer: int) -> None:
    """In a child: become the first of these that is a script; where none is, say so by a byte to ``writer``."""
    reset_signals()
    syscalls.die_with_parent(0)
    for path in paths:
        try:
            if is_script(path):
                os.execve(path, argv, os.environ)
        except OSError:
            continue
    os.write(writer, b".")


def is_script(path: str) -> bool:
    """Whether the file is interpreted, as our programs are and those of other inits are not; OSError without it."""
    with open(path, "rb") as file:
        return file.read(2) == b"#!"


def runs_our_telinit(path: str) -> bool:
    """Whether the file is the script that runs our telinit; OSError without it."""
    with open(path, "rb") as file:
        return b"from upstart.sysv.telinit import" in file.read(4096)
