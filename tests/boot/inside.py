"""PID 1 of the new namespaces until it becomes init: lays out the file systems, installs the init to test, gives way.

Started by container.py through unshare(1), with a JSON object as its only argument. Whatever it mounts lives in its own
mount namespace, so nothing of it outlives the boot. It prints "prepared", waits for a line on standard input, prints
the monotonic time of the exec, and execs.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
PR_CAPBSET_DROP = 24
#: What would act on the machine below, not on the namespaces: modules, raw I/O, the clock, the kernel's log.
DROPPED_CAPABILITIES = {"SYS_MODULE": 16, "SYS_RAWIO": 17, "SYS_TIME": 25, "SYSLOG": 34}
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}


def mount(*arguments: str) -> None:
    """mount(8); its message goes to standard error, and CalledProcessError ends the boot."""
    subprocess.run(["mount", *arguments], check=True)


def overlay(lower: str, work: Path, layer: str = "") -> Path:
    """The root to boot: `lower` below a writable layer, in the directory `layer` or else in memory until the end.

    What is in a directory of an earlier boot is there again, as it was. Nothing forces it to the disk: a boot is not
    there to be resumed after a crash of the machine below.
    """
    mount("-t", "tmpfs", "-o", "mode=0755,size=2g", "layer", str(work))
    written = Path(layer) if layer else work
    for path in (written / "upper", written / "work", work / "root"):
        path.mkdir(exist_ok=True)
    # The mark of a volatile layer, which is refused otherwise.
    shutil.rmtree(written / "work" / "work" / "incompat", ignore_errors=True)
    options = f"lowerdir={lower},upperdir={written}/upper,workdir={written}/work,volatile"
    mount("-t", "overlay", "-o", options, "overlay", str(work / "root"))
    return work / "root"


def devices(root: Path, console: str, terminals: list[str]) -> None:
    """/dev of a container: memory, random, ptys of its own, the console and terminals lent by the launcher."""
    dev = root / "dev"
    mount("-t", "tmpfs", "-o", "mode=0755,size=1m", "udev", str(dev))
    os.umask(0)
    for name, (major, minor) in DEVICES.items():
        os.mknod(dev / name, 0o020666, os.makedev(major, minor))
    os.mkfifo(dev / "kmsg", 0o600)
    os.umask(0o022)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=0620,gid=5", "devpts", str(dev / "pts"))
    (dev / "ptmx").symlink_to("pts/ptmx")
    for name, target in {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}.items():
        (dev / name).symlink_to("/proc/self/fd" + target)
    for number, terminal in enumerate([console, *terminals]):
        path = dev / (f"tty{number}" if number else "console")
        path.touch(0o600)
        mount("--bind", terminal, str(path))


def kernel_file_systems(root: Path) -> None:
    """/proc and /sys of the namespaces; read-only where a write would change the machine below."""
    proc = root / "proc"
    mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", str(proc))
    for name in ("sys", "sysrq-trigger"):
        if not (proc / name).exists():
            continue
        mount("--bind", str(proc / name), str(proc / name))
        mount("-o", "remount,bind,ro", str(proc / name))
    mount("-t", "sysfs", "-o", "nosuid,nodev,noexec,ro", "sysfs", str(root / "sys"))
    mount("-t", "cgroup2", "-o", "nosuid,nodev,noexec", "cgroup2", str(root / "sys/fs/cgroup"))


def dpkg(root: Path, package: Path) -> None:
    """Installs one .deb file; what dpkg said is shown only if it failed, which ends the boot."""
    copy = root / "tmp" / package.name
    copy.write_bytes(package.read_bytes())
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    command = ["chroot", str(root), "dpkg", "--install", f"/tmp/{package.name}"]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.exit(f"dpkg failed:\n{done.stdout.decode()}")
    copy.unlink()


def install(root: Path, packages: list[str], files: dict[str, str]) -> None:
    """Installs .deb files in the order given, then copies single files (source to path below the root)."""
    if packages:
        policy = root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        for package in packages:
            dpkg(root, Path(package))
        policy.unlink()
    for source, target in files.items():
        path = root / target.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            # It leads to where this machine has another file, or none.
            path.unlink()
        path.write_bytes(Path(source).read_bytes())
        path.chmod(os.stat(source).st_mode & 0o777)


def enter(root: Path) -> None:
    """Makes `root` the root directory and drops the old one from sight."""
    os.chdir(root)
    subprocess.run(["pivot_root", ".", "mnt"], check=True)
    os.chroot(".")
    subprocess.run(["/bin/umount", "-l", "/mnt"], check=True)


def drop_capabilities() -> None:
    for number in DROPPED_CAPABILITIES.values():
        if LIBC.prctl(PR_CAPBSET_DROP, number, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_CAPBSET_DROP)")


def main(argv: list[str]) -> int:
    plan = json.loads(argv[1])
    root = overlay(plan["root"], Path(plan["work"]), plan["layer"])
    kernel_file_systems(root)
    install(root, plan["packages"], plan["files"])
    devices(root, plan["console"], plan["terminals"])
    subprocess.run(["hostname", "container"], check=True)
    enter(root)
    drop_capabilities()
    control = os.dup(1)
    os.set_inheritable(control, False)
    os.write(control, b"prepared\n")
    sys.stdin.readline()
    os.setsid()
    terminal = os.open("/dev/console", os.O_RDWR | os.O_NOCTTY)
    for descriptor in (0, 1, 2):
        os.dup2(terminal, descriptor)
    os.write(control, f"{time.clock_gettime(time.CLOCK_MONOTONIC)}\n".encode())
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # the interpreter ignores them, and init would inherit that
        signal.signal(number, signal.SIG_DFL)
    os.execve(plan["init"][0], plan["init"], {"container": "upstart-test", "TERM": "linux", "PATH": os.defpath})


if __name__ == "__main__":
    sys.exit(main(sys.argv))
