"""A machine to mount things on: a session's init, and a namespace of mounts with an fstab and a /run of its own."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

from daemon_init import PROGRAMS, SessionInit

#: What has a device, a place, a type and options, and what has not.
ABOUT_ONE = ("mounting", "mounted", "device-not-ready")
ABOUT_ALL = ("virtual-filesystems", "local-filesystems", "remote-filesystems", "filesystem", "all-swaps")

NOTE = """
start on {event}
task
instance $MOUNTPOINT.$OPTIONS.$DEVICE
exec sh -c 'echo {event} $MOUNTPOINT >>$HOME/noted'
"""
NOTE_ALL = "start on {event}\ntask\nexec sh -c 'echo {event} >>$HOME/noted'\n"
RECORDERS = {f"note-{event}": NOTE.format(event=event) for event in ABOUT_ONE} | {
    f"note-{event}": NOTE_ALL.format(event=event) for event in ABOUT_ALL
}


class Machine:
    """All file systems are mounted below ``directory``, which is what ``{}`` stands for in ``fstab``.

    ``MISSING`` stands there for ``device``, which is nobody else's: /dev is everybody's.
    """

    def __init__(self, directory: Path, fstab: str, jobs: dict[str, str] | None = None, before: str = ":") -> None:
        self.directory = directory
        self.device = f"/dev/upstart-test-{os.getpid()}"
        self.init = SessionInit(directory, {**RECORDERS, **(jobs or {})})
        self.fstab = directory / "fstab"
        self.write(fstab)
        self.master, self.console = pty.openpty()
        script = f"""
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mount --bind {self.fstab} /etc/fstab
mount --bind {os.ttyname(self.console)} /dev/console
cd {directory}
echo root=/dev/none >words
mount --bind words /proc/cmdline
{before}
echo up
exec sleep 1000
"""
        self.holder = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-euc", script], stdout=subprocess.PIPE, text=True
        )
        assert self.holder.stdout is not None
        self.said = ""
        assert self.holder.stdout.readline() == "up\n"
        self.processes: list[subprocess.Popen[str]] = []

    def write(self, fstab: str) -> None:
        self.fstab.write_text(fstab.replace("{}", str(self.directory)).replace("MISSING", self.device))

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.run(f"cd /; umount -q -l $(awk '{{ print $5 }}' /proc/self/mountinfo | grep ^{self.directory}/) || :")
        self.holder.kill()
        self.holder.communicate()
        self.init.close()
        os.close(self.master)
        os.close(self.console)

    # Inside

    def inside(self, *words: str) -> list[str]:
        return ["nsenter", "-t", str(self.holder.pid), "-m", "--", *words]

    def run(self, script: str, check: bool = True) -> str:
        """What a script says there, on both channels."""
        result = subprocess.run(
            self.inside("sh", "-c", f"cd {self.directory}; {script}"), text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=self.environ(), timeout=60, check=False,
        )  # fmt: skip
        assert not check or result.returncode == 0, result.stdout
        return result.stdout

    def environ(self) -> dict[str, str]:
        return {**os.environ, "UPSTART_SESSION": self.init.address}

    def start(self, *options: str) -> subprocess.Popen[str]:
        """A mountall that has begun; it is killed at the end, if it is still there."""
        process = subprocess.Popen(
            self.inside(str(PROGRAMS / "mountall"), *options), text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=self.environ(),
        )  # fmt: skip
        self.processes.append(process)
        return process

    def mountall(self, *options: str) -> tuple[int, str]:
        """The exit status of a mountall, and what it said."""
        process = self.start(*options)
        said = process.communicate(timeout=60)[0]
        return process.returncode, said

    def table(self) -> dict[str, int]:
        """How often something is mounted at each place below the directory, by the place's name there."""
        places = self.run("awk '{ print $5 }' /proc/self/mountinfo").split()
        own = [place.removeprefix(f"{self.directory}/") for place in places if place.startswith(f"{self.directory}/")]
        return {place: own.count(place) for place in own if place != "fstab"}

    def noted(self) -> list[str]:
        """The events so far that are about all, or about a place below the directory, by the place's name there."""
        path = self.directory / "noted"
        found = []
        for line in path.read_text().splitlines() if path.exists() else ():
            name, _, place = line.partition(" ")
            if not place or place == "none" or place.startswith(f"{self.directory}/"):
                found.append(f"{name} {place.removeprefix(f'{self.directory}/')}".rstrip())
        return found

    # The console

    def shown(self, wanted: str, seconds: float = 20) -> str:
        """All that the console has shown, once that contains something."""
        end = time.monotonic() + seconds
        while wanted not in self.said:
            assert time.monotonic() < end, self.said
            if select.select([self.master], [], [], 0.1)[0]:
                self.said += os.read(self.master, 4096).decode().replace("\r", "")
        return self.said

    def press(self, key: str) -> None:
        os.write(self.master, key.encode())
