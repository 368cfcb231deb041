"""A virtual machine that boots the root, driven through its serial line.

QEMU emulates (`-accel tcg`), so it runs wherever a process may; the cloud kernel of Debian has NVMe and ext4 built in,
so there is no initrd and the kernel executes the root's own /sbin/init. `Machine` is a context manager: on the way out
QEMU is ended if it has not ended by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import select
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import root
from machine_monitor import Monitor, MonitorError

HERE = Path(__file__).resolve().parent
TICKS = os.sysconf("SC_CLK_TCK")
PASSWORD = "upstart"
KERNEL_COMMAND_LINE = "console=ttyS0 root=/dev/nvme0n1 rw panic=-1"
#: A password to log in with, the file system that is root, and a login on the serial line for sysvinit too.
COMMANDS = f"""
echo root:{PASSWORD} | chpasswd
echo '/dev/nvme0n1 / ext4 errors=remount-ro 0 1' >/etc/fstab
if [ -e /etc/inittab ]; then echo 'S0:2345:respawn:/sbin/getty -L 115200 ttyS0 vt100' >>/etc/inittab; fi
"""


class MachineError(Exception):
    """The machine did not do what was waited for; the text holds the last it said."""


def kernel(base: Path) -> Path:
    """The kernel image out of the package in the root's /opt; extracted once."""
    (package,) = (base / "opt").glob("linux-image-*.deb")
    target = root.BUILD / f"vmlinuz-{package.name.split('_')[0]}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=root.BUILD) as directory:
            subprocess.run(["dpkg-deb", "-x", str(package), directory], check=True)
            (image,) = Path(directory).glob("boot/vmlinuz-*")
            image.rename(target)
    return target


def disk(base: Path, packages: list[Path], files: dict[str, str], name: str, commands: str = COMMANDS) -> Path:
    """A disk image of `base` with `packages` and `files`, on which `commands` ran; kept until one of them changes."""
    digest = hashlib.sha256(f"{base} {commands}".encode())
    for path in [*packages, *map(Path, sorted(files))]:
        digest.update(path.read_bytes())
    image = root.BUILD / f"disk-{name}-{digest.hexdigest()[:12]}.img"
    if image.exists():
        return image
    for old in root.BUILD.glob(f"disk-{name}-*"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="upstart-image-") as work:
        plan = {
            "root": str(base),
            "work": work,
            "packages": [str(path) for path in packages],
            "files": files,
            "commands": commands,
            "image": str(image),
            "size": 1500,
        }
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation=private"]
        subprocess.run([*command, sys.executable, str(HERE / "image.py"), json.dumps(plan)], check=True)
    return image


class Machine:
    """One QEMU. What it says goes to `show` as it comes, and is kept for `expect`.

    `image` is an NVMe's, or with an initrd, which has the modules for it, virtio's. `more_disks` are always virtio's,
    found by udev: which of several NVMes the kernel calls the first, and so the root, is a matter of chance. Each of
    these has the name of its image as its serial number (/dev/disk/by-id/virtio-NAME). What is written to the disks is
    dropped at the end, unless `keep`. With `resumed`, what `suspend` wrote of a machine with the same parts, and with
    its disks as they were then, it goes on from there. With `network` it has an interface, or those of `nic`, which
    are what -nic takes. A machine that resets itself ends as one that switches itself off does; `ending` of the monitor
    tells them apart.
    """

    def __init__(
        self,
        kernel_image: Path,
        image: Path,
        show: Callable[[bytes], object],
        append: str = "",
        *,
        initrd: Path | None = None,
        more_disks: Sequence[Path] = (),
        keep: bool = False,
        command_line: str = KERNEL_COMMAND_LINE,
        resumed: Path | None = None,
        network: bool = False,
        nic: Sequence[str] = (),
        processors: int = 1,
    ) -> None:
        """``processors``: with several, an emulated kernel that changes its own code, as when a controller of cgroups
        is switched on, may have one of them go round in what it was before, for ever."""
        self.show = show
        self.said = b""
        self._read = 0
        self.monitor = Monitor()
        command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-display", "none"]
        command += ["-smp", str(processors)]
        command += ["-serial", "stdio", "-no-reboot", *self.monitor.options]
        # QEMU's own network, which gives addresses away by DHCP and leads nowhere.
        own = "user,model=virtio-net-pci,restrict=on" if network else "none"
        command += [word for each in nic or (own,) for word in ("-nic", each)]
        command += ["-kernel", str(kernel_image), "-append", f"{command_line} {append}".strip()]
        if initrd is not None:
            command += ["-initrd", str(initrd)]
        if resumed is not None:
            command += ["-incoming", f"exec:cat {shlex.quote(str(resumed))}"]
        for number, path in enumerate([image, *more_disks]):
            snapshot = "off" if keep else "on"
            command += ["-drive", f"file={path},if=none,id=d{number},format=raw,snapshot={snapshot},cache=unsafe"]
            kind = "nvme,serial=1" if initrd is None and not number else f"virtio-blk-pci,serial={path.stem[:20]}"
            command += ["-device", f"{kind},drive=d{number}"]
        self.started = time.monotonic()
        self._qemu = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[self.monitor.qemu_end],
        )
        try:
            self.monitor.connect()
            if resumed is not None:
                self.monitor.resume()
        except MonitorError as error:
            said, _ = self._qemu.communicate(timeout=10)
            self.monitor.close()
            raise MachineError(f"QEMU did not start: {error}\n{said.decode(errors='replace')}") from error

    def __enter__(self) -> Machine:
        return self

    def _receive(self, seconds: float) -> bool:
        """Takes in what came within `seconds`; False at the end of the machine."""
        assert self._qemu.stdout is not None
        if select.select([self._qemu.stdout], [], [], max(seconds, 0))[0]:
            data = os.read(self._qemu.stdout.fileno(), 65536)
            self.show(data)
            self.said += data
            return bool(data)
        return True

    def _tail(self) -> str:
        return self.said[-2000:].decode(errors="replace")

    def expect(self, pattern: bytes, seconds: float) -> re.Match[bytes]:
        """Waits for a regular expression in what was said since the last one; MachineError if it does not come."""
        end = time.monotonic() + seconds
        while True:
            found = re.compile(pattern).search(self.said, self._read)
            if found:
                self._read = found.end()
                return found
            if time.monotonic() >= end:
                raise MachineError(f"{pattern!r} did not come within {seconds:.0f} s:\n{self._tail()}")
            if not self._receive(end - time.monotonic()):
                raise MachineError(f"the machine ended before {pattern!r} came:\n{self._tail()}")

    def fall_silent(self, seconds: float, patience: float) -> None:
        """Waits until the machine has said nothing for `seconds`; MachineError if that takes longer than `patience`."""
        end = time.monotonic() + patience
        quiet = time.monotonic() + seconds
        while time.monotonic() < quiet:
            before = len(self.said)
            self._receive(quiet - time.monotonic())
            if len(self.said) != before:
                quiet = time.monotonic() + seconds
            if time.monotonic() > end:
                raise MachineError(f"the machine was to fall silent:\n{self._tail()}")

    def stay(self, seconds: float) -> None:
        """Lets so much time pass; MachineError if the machine ends meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not self._receive(end - time.monotonic()):
                raise MachineError(f"the machine ended:\n{self._tail()}")

    def press(self, keys: str) -> None:
        """Presses keys on the serial line."""
        assert self._qemu.stdin is not None
        self._qemu.stdin.write(keys.encode())
        self._qemu.stdin.flush()

    def type(self, text: str) -> None:
        """Types a line on the serial line."""
        self.press(f"{text}\n")

    def log_in(self, seconds: float) -> None:
        """Waits for the login prompt, and logs in as root."""
        self.expect(rb" login: ", seconds)
        self.type("root")
        self.expect(rb"Password: ", 60)
        self.type(PASSWORD)
        self.take_shell(60)

    def take_shell(self, seconds: float) -> None:
        """Waits for the prompt of a root shell, and sets one that `command` knows."""
        self.expect(rb"# ", seconds)
        self.type("dmesg -n 1; stty -echo; exec env PS1='ready''> ' sh")
        self.expect(rb"ready> ", 60)

    def command(self, text: str, seconds: float = 60) -> str:
        """Output of a shell command; MachineError if its exit status is not 0."""
        self.type(f"{text}; echo \"status=$?\"")
        begin = self._read
        status = self.expect(rb"status=(\d+)\r?\n", seconds)
        output = self.said[begin : status.start()].decode(errors="replace").replace("\r\n", "\n")
        self.expect(rb"ready> ", seconds)
        if status[1] != b"0":
            raise MachineError(f"{text!r} exited with {status[1].decode()}:\n{output}")
        return output

    def plug(self, path: Path, kind: str = "virtio-blk-pci") -> None:
        """Puts a further disk in while the machine is on; the kernel itself knows those of the kind nvme."""
        name = path.stem[:20]
        file = {"driver": "file", "filename": str(path), "cache": {"no-flush": True}}
        self.monitor.command("blockdev-add", **{"driver": "raw", "node-name": name, "file": file})
        self.monitor.command("device_add", driver=kind, drive=name, serial=name, id=f"plugged-{name}")

    def suspend(self, state: Path) -> None:
        """Writes what the machine is to a file, and ends QEMU; an NVMe disk cannot be suspended."""
        self.monitor.migrate(f"exec:cat >{shlex.quote(str(state))}")
        self.monitor.command("quit")
        self._qemu.wait(60)

    def look_again(self) -> None:
        """Has `expect` see once more what it has passed."""
        self._read = 0

    def processor(self) -> float:
        """Seconds of the host's processors so far."""
        fields = Path(f"/proc/{self._qemu.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def age(self) -> float:
        """Seconds since the power came, without those for which the host kept its busiest processor waiting."""
        return time.monotonic() - self.started - self.withheld()

    def withheld(self) -> float:
        """Seconds for which the host has kept its busiest processor waiting so far."""
        tasks = []
        for task in Path(f"/proc/{self._qemu.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                ran, waited, _ = map(int, task.read_text().split())
                tasks.append((ran, waited / 1e9))
        return max(tasks, default=(0, 0.0))[1]

    def wait(self, seconds: float) -> int:
        """Waits for QEMU to end by itself, as it does when the machine switches off; its exit status."""
        end = time.monotonic() + seconds
        while self._receive(end - time.monotonic()):
            if time.monotonic() >= end:
                raise MachineError(f"the machine did not switch off within {seconds:.0f} s:\n{self._tail()}")
        return self._qemu.wait(10)

    def __exit__(self, *_: object) -> None:
        if self._qemu.poll() is None:
            self._qemu.kill()
            self._qemu.wait()
        for stream in (self._qemu.stdin, self._qemu.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # what was typed after the end
                    stream.close()
        self.monitor.close()
