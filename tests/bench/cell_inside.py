"""PID 1 of a cell's namespaces until it becomes the init to measure: lays out what the init would otherwise share.

Started by cell.py through unshare(1) with a JSON object as its only argument. Prints "prepared", waits for a line on
standard input, prints the monotonic time, and execs the init with standard streams on the cell's console.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def lay_out(work: str, cgroups: bool) -> None:
    """/dev, /run and control groups of the cell's own; kernel log and console are files in the cell's directory."""
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/dev")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    mount("-t", "sysfs", "-o", "nosuid,nodev,noexec,ro", "sysfs", "/sys")
    if cgroups:
        mount("-t", "cgroup2", "-o", "nosuid,nodev,noexec", "cgroup2", "/sys/fs/cgroup")
    os.umask(0)
    for name, (major, minor) in DEVICES.items():
        os.mknod(f"/dev/{name}", 0o020666, os.makedev(major, minor))
    os.umask(0o022)
    for name in ("kmsg", "console"):
        Path(work, name).touch()
        Path("/dev", name).symlink_to(Path(work, name))
    Path("/dev/pts").mkdir()
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=0620,gid=5", "devpts", "/dev/pts")
    Path("/dev/ptmx").symlink_to("pts/ptmx")
    Path("/dev/fd").symlink_to("/proc/self/fd")
    Path("/run/utmp").touch()


def main(argv: list[str]) -> int:
    plan = json.loads(argv[1])
    lay_out(plan["work"], plan["cgroups"])
    control = os.dup(1)
    os.set_inheritable(control, False)
    os.write(control, b"prepared\n")
    sys.stdin.readline()
    console = os.open("/dev/console", os.O_RDWR | os.O_APPEND)
    for descriptor in (0, 1, 2):
        os.dup2(console, descriptor)
    os.close(console)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # the interpreter ignores them, and init would inherit that
        signal.signal(number, signal.SIG_DFL)
    os.write(control, f"{time.monotonic()}\n".encode())
    os.execve(plan["init"][0], plan["init"], {"TERM": "linux", "PATH": os.defpath})


if __name__ == "__main__":
    sys.exit(main(sys.argv))
