"""What PID 1 does before anything else: file systems and devices that are missing, the console, the keyboard.

What is always true here: nothing that fails stops the boot; it is reported, and the next step is tried.  What is
there already (an initramfs or a container manager mounted it) is left alone.  Afterwards descriptors 0 to 2 are open.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import termios

from upstart.base import syscalls
from upstart.base.closing import close
from upstart.base.utmp import UTMP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CONSOLE = "/dev/console"
NULL = "/dev/null"
#: The path that init gives itself and its jobs.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin"

# mount(2)
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
# ioctl_console(2): Alt-Up sends a signal to us.
KDSIGACCEPT = 0x4B4E

#: Devices that must exist before anything can be opened: path, mode, major, minor.
_DEVICES = ((NULL, 0o666, 1, 3), ("/dev/tty", 0o666, 5, 0), (CONSOLE, 0o600, 5, 1), ("/dev/kmsg", 0o600, 1, 11))

#: Where devices are, and the modules of kernels; and what the letters of modules.devname stand for.
DEVICES, MODULES = "/dev", "/lib/modules"
_KINDS = {"b": stat.S_IFBLK, "c": stat.S_IFCHR}

#: File systems in memory that a boot needs early: where, and what mount(2) takes.  /etc/default/tmpfs may have them
#: otherwise, which is for those who read it.
_IN_MEMORY = (("/dev/shm", "mode=1777"), ("/run/lock", "size=5242880,mode=1777"))

#: What programs expect below /run beside utmp(5): where daemons say that the end of the others is not theirs.
OMITTED = "/run/sendsigs.omit.d"
#: The number of the group utmp in each Debian.
UTMP_GROUP = 43

#: What control groups are mounted with: what mountall wants of them, so that it does not mount them again, which would
#: take back all else; and that to start a job in one waits for nothing (Linux 6.0), where a start that does not closely
#: follow another takes some 10 ms without.  Then as much of it as the kernel knows.
CGROUP_OPTIONS = ("nsdelegate,favordynmods", "nsdelegate", None)
#: The machine's own namespaces, by the numbers that the kernel gives them.
FIRST_CGROUPS, FIRST_PIDS = "cgroup:[4026531835]", "pid:[4026531836]"

#: Bytes: room for every signal that there is to arrive on top of the others; what is not used takes no memory.
SIGNAL_STACK = 512 << 10


def mount_missing(kind: str, path: str, flags: int, data: str | None = None) -> None:
    """Mount a kernel file system unless something is mounted there; OSError where that fails."""
    if os.stat(os.path.dirname(path)).st_dev == os.stat(path).st_dev:
        syscalls.mount(kind, path, flags, data)


def _is_device(path: str, major: int, minor: int) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(major, minor)


def _make_device(path: str, mode: int, major: int, minor: int) -> bool:
    """See that there is a device, or at least something of that name; whether there is."""
    try:
        os.mknod(path, stat.S_IFCHR | mode, os.makedev(major, minor))
    except FileExistsError:
        pass
    except OSError:
        return False
    return True


def prepare_devices(report: Callable[[str], object], contained: bool) -> None:
    """See that /dev, /dev/pts and the devices that init itself needs are there; ``report`` gets what failed.

    A machine gets the kernel's own /dev, also where some devices are in the directory of that name.  A container
    (``contained``) has what its manager gives it, and the kernel's only if something is lacking that cannot be made.
    """
    lacking = [device for device in _DEVICES if not _make_device(*device)]
    if not contained or lacking or not _is_device("/dev/ptmx", 5, 2) or not os.path.isdir("/dev/pts"):
        try:
            mount_missing("devtmpfs", "/dev", MS_NOEXEC | MS_NOSUID)
        except OSError as error:
            report(f"Unable to mount /dev filesystem: {error.strerror}")
        for device in (("/dev/ptmx", 0o666, 5, 2), *_DEVICES):
            if not _make_device(*device):
                report(f"Unable to create device: {device[0]}")
        try:
            os.mkdir("/dev/pts", 0o755)
        except FileExistsError:
            pass
        except OSError:
            report("Cannot create directory: /dev/pts")
    try:
        mount_missing("devpts", "/dev/pts", MS_NOEXEC | MS_NOSUID, "gid=5,mode=0620")
    except OSError as error:
        report(f"Unable to mount /dev/pts filesystem: {error.strerror}")


def prepare_kernel_filesystems(report: Callable[[str], object]) -> None:
    """See that /proc, /sys, /run, a cgroup v2 hierarchy, and what belongs on them is mounted; ``report`` gets what
    failed."""
    all_flags = MS_NODEV | MS_NOEXEC | MS_NOSUID
    for kind, path, flags, data in (
        ("proc", "/proc", all_flags, None),
        ("sysfs", "/sys", all_flags, None),
        ("tmpfs", "/run", MS_NODEV | MS_NOSUID, "mode=0755"),
    ):
        try:
            mount_missing(kind, path, flags, data)
        except OSError as error:
            report(f"Unable to mount {path} filesystem: {error.strerror}")
    for path, data in _IN_MEMORY:
        try:
            if not os.path.isdir(path):
                os.mkdir(path, 0o755)
            mount_missing("tmpfs", path, all_flags, data)
        except OSError:
            pass  # in a container they are its manager's
    try:
        with open("/proc/self/mounts", "rb") as file:
            mounted = b" cgroup2 " in file.read()
        if not mounted:
            _mount_groups(all_flags)
    except OSError:
        pass  # a kernel or container without it: jobs do without


def prepare_run() -> None:
    """See that what programs expect below /run is there.  For a /run that is mounted later, mounted-run does the same.
    """
    try:
        os.mkdir(OMITTED, 0o755)
    except OSError:
        pass  # mostly since it is there
    try:
        fd = os.open(UTMP, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o664)
    except OSError:
        return
    try:
        os.fchown(fd, 0, UTMP_GROUP)
    except OSError:
        pass  # a container without that group's number
    finally:
        close(fd)


def prepare_static_devices() -> None:
    """See that the nodes are there by which modules are loaded that nothing else asks for: fuse, tun, loop-control and
    the like.

    The kernel's modules say which, modules.devname.  Where these are on a file system that is not mounted yet, the job
    udev does the same.
    """
    try:
        with open(f"{MODULES}/{os.uname().release}/modules.devname", encoding="ascii") as file:
            lines = file.read().splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        # A module, a name and a number such as c10:229; a comment.
        words = line.split()
        if len(words) != 3 or words[2][:1] not in _KINDS:
            continue
        major, _, minor = words[2][1:].partition(":")
        path = DEVICES
        try:
            for name in words[1].split("/")[:-1]:
                path += f"/{name}"
                if not os.path.isdir(path):
                    os.mkdir(path, 0o755)
            os.mknod(f"{DEVICES}/{words[1]}", _KINDS[words[2][0]] | 0o600, os.makedev(int(major), int(minor)))
        except (OSError, ValueError, OverflowError):
            pass  # mostly since it is there


def _is_in_groups_of_others() -> bool:
    """Whether we are a container that sees control groups as the machine does.  Raises OSError."""
    return os.readlink("/proc/self/ns/cgroup") == FIRST_CGROUPS and os.readlink("/proc/self/ns/pid") != FIRST_PIDS


def _mount_groups(flags: int) -> None:
    if _is_in_groups_of_others():
        # The kernel would give the machine's hierarchy, which is the same, our options in the place of its own.
        syscalls.unshare_cgroups()
    for options in CGROUP_OPTIONS:
        try:
            mount_missing("cgroup2", "/sys/fs/cgroup", flags, options)
            return
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise


def set_up_descriptors(path: str, reset: bool) -> None:
    """Open ``path`` as descriptors 0 to 2, and with ``reset`` give it the settings of a sane terminal; OSError if it
    fails."""
    # Never waits: not for a carrier when it is opened, not for a stopped terminal when we write.
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if reset:
            reset_terminal(fd)
        for each in range(3):
            if each != fd:
                os.dup2(fd, each)
            else:
                os.set_inheritable(fd, True)
    finally:
        if fd > 2:
            close(fd)


def fill_descriptors() -> None:
    """Open those of the descriptors 0 to 2 that are closed: our log must not go to whatever else would get their
    numbers."""
    try:
        while (fd := os.open(NULL, os.O_RDWR)) <= 2:
            os.set_inheritable(fd, True)
        close(fd)
    except OSError:
        pass


def set_up_console(reset: bool, report: Callable[[str], object]) -> None:
    """Have the console as descriptors 0 to 2, or /dev/null, or at least something that is open."""
    try:
        set_up_descriptors(CONSOLE, reset)
        return
    except OSError as error:
        problem = f"Unable to initialize console, will try /dev/null: {error.strerror}"
    try:
        set_up_descriptors(NULL, False)
    except OSError as error:
        problem = f"Unable to initialize console as /dev/null: {error.strerror}"
        read, write = os.pipe2(os.O_NONBLOCK)
        for each in range(3):
            if each not in (read, write):
                os.dup2(write, each)
    report(problem)


def reset_terminal(fd: int) -> None:
    """The settings that the original gives the console, as do other inits; no error where it is no terminal."""
    try:
        tty = termios.tcgetattr(fd)
        baud = getattr(termios, "CBAUD", 0o010017) | getattr(termios, "CBAUDEX", 0o010000)
        tty[2] &= baud | termios.CSIZE | termios.CSTOPB | termios.PARENB | termios.PARODD
        tty[2] |= termios.HUPCL | termios.CLOCAL | termios.CREAD
        tty[0] = termios.IGNPAR | termios.ICRNL | termios.IXON | termios.IXANY
        tty[1] = termios.OPOST | termios.ONLCR
        tty[3] = termios.ISIG | termios.ICANON | termios.ECHO | termios.ECHOCTL | termios.ECHOPRT | termios.ECHOKE
        characters = tty[6]
        for index, value in (
            (termios.VINTR, 3),
            (termios.VQUIT, 28),
            (termios.VERASE, 127),
            (termios.VKILL, 24),
            (termios.VEOF, 4),
            (termios.VSTART, 17),
            (termios.VSTOP, 19),
            (termios.VSUSP, 26),
            (termios.VTIME, 0),
            (termios.VMIN, 1),
        ):
            characters[index] = bytes((value,))
        termios.tcsetattr(fd, termios.TCSANOW, tty)
        termios.tcflush(fd, termios.TCIOFLUSH)
    except (termios.error, OSError):
        pass


def accept_keyboard_request(signal: int) -> bool:
    """Have the console send us ``signal`` for Alt-Up; false where descriptor 0 is no virtual console."""
    try:
        fcntl.ioctl(0, KDSIGACCEPT, signal)
    except OSError:
        return False
    return True


def enlarge_signal_stack() -> None:
    """Give the handlers of faulthandler a stack that signals which come all at once do not overflow, sigaltstack(2):
    that would be the end of PID 1."""
    syscalls.set_signal_stack(SIGNAL_STACK)


