"""The quick way to start a process, posix_spawn(3): for jobs that ask for nothing that needs code in the child.

A umask, an oom score and some limits need none: init itself has them for that moment (`upstart.process.bequest`).
posix_spawn holds its caller until the exec, so it is used only where nothing on the way is known to wait
(`upstart.process.program`), and in the care of a helper that ends what waits all the same (`upstart.process.guard`).
What is always true here: whatever goes wrong gives 0, nothing has been executed then, and the same process is started
by a fork instead, so that there is one source of error texts.
"""

from __future__ import annotations

import os
import time

from upstart.base.closing import close
from upstart.base.syscalls import Spawner
from upstart.process import child
from upstart.process.bequest import Bequest, descriptors
from upstart.process.guarding import root_is_member
from upstart.process.kernel import read_file, write_file
from upstart.process.pace import SLOW
from upstart.process.program import SCRIPT_FD, Programs, listening
from upstart.process.request import FIRST_SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.process.cgroup import Cgroups
    from upstart.process.group import Group
    from upstart.process.guard import Guard

    Action = tuple[int, ...] | tuple[int, int, str, int, int]

_GROUP_FILE = "/etc/group"
_CONSOLE = os.makedev(5, 1)
#: The major numbers of the subordinate ends of ptys.
_PTYS = range(136, 144)
#: Seconds for which a boot goes on without its guard, which has yet to begin.
FIRST_SECONDS = 3.0


class Quick:
    """Starts processes without a fork; ``user_mode`` and ``cgroups`` as in `upstart.process.spawn.Spawner`.

    ``guard`` is ``None`` until others run that could hold us: a boot does not wait for it.
    """

    __slots__ = (
        "_bequest", "_cgroups", "_groups", "_low", "_next_guard", "_next_since", "_programs", "_spawner",
        "_user_mode", "guard",
    )  # fmt: skip

    def __init__(self, user_mode: bool, cgroups: Cgroups | None) -> None:
        self._user_mode = user_mode
        self._cgroups = cgroups
        self._programs = Programs()
        self._spawner = Spawner(child.SIGNALS)
        self._bequest = Bequest()
        self._groups: tuple[tuple[int, int, int], bool] | None = None
        # posix_spawn(3) refuses descriptors above the soft limit that the job is to have: spare low numbers.
        self._low = (os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        self.guard: Guard | None = None
        #: What is to take its place as soon as it watches, and since when.
        self._next_guard: Guard | None = None
        self._next_since = 0.0

    def begin_boot(self) -> None:
        """Until there is a guard that watches, wait for the disk that programs come from."""
        self._programs.waits = True

    @property
    def unguarded(self) -> bool:
        """Whether nobody has said yet that others may hold us."""
        return self.guard is None and self._next_guard is None

    def find(self, setup: child.Setup) -> str | None:
        """The path of its program, where that can be told without leaving init's file system."""
        return self._programs.find(setup.argv[0], setup.request.env) if setup.argv else None

    def begin_guard(self) -> bool:
        """Have what may wait watched from now on, in a boot as soon as that is possible; False: that was said before.
        """
        if not self.unguarded:
            return False
        from upstart.process.guard import HELD_IN_A_BOOT, Guard

        if self._programs.waits:
            self._next_guard = Guard(held=HELD_IN_A_BOOT, programs=self._programs)
            self._next_since = time.monotonic()
        else:
            self.guard = Guard()
        return True

    def close(self) -> None:
        """Close the descriptors kept."""
        self._programs.close()
        for fd in self._low:
            close(fd)
        for guard in (self.guard, self._next_guard):
            if guard is not None:
                guard.close()

    @property
    def _home(self) -> str:
        return self._cgroups.home if self._cgroups is not None else ""

    def watched(self) -> bool:
        """Whether init may do now what might hold it."""
        if self.guard is None and self._next_guard is not None:
            if not self._next_guard.watches(self._home) and time.monotonic() - self._next_since < FIRST_SECONDS:
                return True
            self.guard, self._next_guard, self._programs.waits = self._next_guard, None, False
        guard = self.guard
        return guard is None or guard.watches(self._home)

    def settle_guard(self) -> bool:
        """Have a guard that is a fork of ours replaced by a small program; whether that is so now, or needs no more."""
        self.watched()
        guard = self.guard
        if guard is None or guard.small:
            return True
        if not guard.pid:
            self.guard = type(guard)(small=True, rest=guard.rest)
            return True
        if self._next_guard is None:
            self._next_guard = type(guard)(small=True)
        if not self._next_guard.watches(self._home):
            return False
        self.guard, self._next_guard = self._next_guard, None
        guard.close()
        return True

    def noticed(self, pid: int) -> None:
        """A child that is no job's was stopped, or has ended."""
        for guard in (self.guard, self._next_guard):
            if guard is not None:
                guard.noticed(pid)

    def _serves(self, setup: child.Setup) -> bool:
        """Whether no stanza needs a fork."""
        request = setup.request
        job = request.job_class
        if request.console == "owner" or setup.pause or setup.profile is not None or not setup.argv:
            return False
        if request.console == "output" and self.guard is None and not _console_keeps_nobody():
            return False
        if request.process != "security":
            if setup.plan is not None or not job.chroot is job.setuid is job.setgid is request.session is None:
                return False
            if job.chdir is not None and (job.chdir != "/" or self._user_mode):
                return False
            if not self._user_mode and os.getcwd() != "/":
                return False
            if setup.groups or not self._bequest.serves(job):
                return False
        return setup.group is None or self._cgroups is None or self._cgroups.moves

    def root_has_groups(self) -> bool:
        """Whether the group file gives root more groups than its own: a fork then sets them up, or finds out."""
        try:
            info = os.stat(_GROUP_FILE)
        except OSError:
            return False
        key = (info.st_dev, info.st_ino, info.st_mtime_ns)
        if self._groups is None or self._groups[0] != key:
            if self.guard is None:
                answer: bool | None = root_is_member(read_file(_GROUP_FILE, 1 << 22))
            else:
                answer = self.guard.root_has_groups() if self.watched() else None
            if answer is None:
                return True
            self._groups = (key, answer)
        return self._groups[1]

    def spawn(self, setup: child.Setup) -> int:
        """Start it; the pid, or 0 if that is not possible, or did not work."""
        self._bequest.put_back()
        if not self._serves(setup) or not self.watched():
            return 0
        guard = self.guard
        head, look = (guard.head, guard.look) if guard is not None else (None, None)
        program = self._programs.find(setup.argv[0], setup.request.env, head, look)
        argv = setup.argv
        if program is not None and setup.sockets:
            argv = listening(argv, setup.request.env)
            if argv and argv[0] != setup.argv[0]:
                program = self._programs.find(argv[0], setup.request.env, head, look)
        if program is None or not argv:
            return 0
        request = setup.request
        soft = descriptors(request)
        output, script = setup.output, setup.script
        connection = request.connection
        fds = setup.sockets or request.fds
        places = range(FIRST_SOCKET, FIRST_SOCKET + len(setup.sockets))
        if setup.sockets and (setup.script_fd != SCRIPT_FD or any(fd in places for fd in (*fds, output, script))):
            return 0
        if 0 <= output <= 2 or 0 <= script <= 2 or any(fd >= soft or fd == SCRIPT_FD == script for fd in fds):
            return 0
        if 0 <= connection <= 2 or connection >= soft:
            return 0
        if setup.sockets and script >= soft:
            # Its spare number may be one of those that they get before it is put in its own place.
            return 0
        if output >= soft or output == SCRIPT_FD:
            output = os.dup2(output, self._low[0], inheritable=False)
        if script >= soft:
            script = os.dup2(script, self._low[1], inheritable=False)
        # Where there is none the fork finds out what is to be done.
        place = child.CONSOLE if request.console == "output" else os.devnull
        actions: list[Action] = [
            (os.POSIX_SPAWN_OPEN, 0, place, os.O_RDWR | os.O_NOCTTY, 0),
            (os.POSIX_SPAWN_DUP2, output if output >= 0 else 0, 1),
            (os.POSIX_SPAWN_DUP2, output if output >= 0 else 0, 2),
        ]
        if connection >= 0:
            actions += [(os.POSIX_SPAWN_DUP2, connection, 0), (os.POSIX_SPAWN_DUP2, connection, 1)]
        if setup.sockets:
            actions += [(os.POSIX_SPAWN_DUP2, fd, place) for fd, place in zip(fds, places, strict=True)]
        else:
            actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in fds]
        if script >= 0:
            actions.append((os.POSIX_SPAWN_DUP2, script, SCRIPT_FD))
        try:
            return self._execute(setup, program, argv, actions)
        finally:
            if output == self._low[0]:
                os.dup2(self._low[1] if script != self._low[1] else 0, output, inheritable=False)
            if script == self._low[1]:
                os.dup2(self._low[0], script, inheritable=False)

    def _enter(self, group: Group, cgroups: Cgroups) -> bool:
        """Move into the group; where the kernel took its time for that, the exec still has all of its own."""
        guard = self.guard
        if not cgroups.enter(group):
            return False
        if guard is None or guard.armed_for() < SLOW:
            return True
        free = guard.disarm() == (0, False) and guard.pid != 0
        if free:
            guard.arm()
        return free

    def _spawn(self, setup: child.Setup, program: str, argv: list[str], actions: list[Action]) -> int:
        """posix_spawn(3), by an init that is for that long as the process is to be."""
        try:
            self._bequest.give(setup)
            setup.members.pid = self._spawner.spawn(program, argv, setup.request.env, actions)
        finally:
            self._bequest.put_back()
        return setup.members.pid

    def _execute(self, setup: child.Setup, program: str, argv: list[str], actions: list[Action]) -> int:
        """posix_spawn(3) in the job's group, watched."""
        guard, group, cgroups = self.guard, setup.group, self._cgroups
        pid, killed, moved = 0, 0, False
        if guard is not None:
            guard.arm()
        try:
            if group is None or cgroups is None or self._enter(group, cgroups):
                pid = self._spawn(setup, program, argv, actions)
        except (OSError, ValueError):
            pass
        finally:
            try:
                if group is not None and cgroups is not None:
                    cgroups.leave()
                if guard is not None:
                    killed, moved = guard.disarm()
            except MemoryError:
                pass  # the process must not be lost
        if killed:
            setup.members.pid = 0
            return 0
        if pid and moved and group is not None:
            # Perhaps before there was a child: then it is where we belong.
            try:
                write_file(group.path + "/cgroup.procs", b"%d" % pid)
            except OSError:
                pass
        return pid


def _console_keeps_nobody() -> bool:
    """Whether opening the console cannot wait: the kernel's own device sees to that, and so does a container's pty."""
    try:
        number = os.stat(child.CONSOLE).st_rdev
    except OSError:
        return True  # there is nothing to wait for
    return number == _CONSOLE or os.major(number) in _PTYS
