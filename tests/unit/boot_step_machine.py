"""A directory in the place of the machine, for boot-step."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "src/libexec/boot-step"
PARTS = PROGRAM.parent / "boot-steps"
#: Each of these writes down how it was called, and does nothing.
FAKES = (
    "hwclock", "sulogin", "start", "stop", "initctl", "mount", "umount", "reboot", "modprobe", "ifquery", "ifup",
    "ifdown", "dmesg", "udevadm", "mknod", "sleep", "chgrp", "fsck", "swapon",
    "ps", "renice",
)  # fmt: skip
#: These are the real ones; there are no others.
TOOLS = ("cat", "dd", "find", "head", "install", "ln", "mkdir", "mv", "rm", "stat")
DAY = 86400.0


class Machine:
    """Its root, and what the program has done there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = root / "calls"
        self.said = ""
        self.status = 0
        for name in (
            "bin",
            "dev",
            "etc/default",
            "proc",
            "run/upstart",
            "run/network",
            "sys/class/net",
            "tmp",
            "var/log",
        ):
            (root / name).mkdir(parents=True)
        for name in ("null", "urandom"):
            (root / "dev" / name).symlink_to(f"/dev/{name}")
        for name in TOOLS:
            path = shutil.which(name, path="/usr/bin:/bin")
            assert path
            (root / "bin" / name).symlink_to(path)
        for name in FAKES:
            self.program(name)
        for part in PARTS.iterdir():
            self.write(f"boot-steps/{part.name}", self.within(part.read_text()))
        self.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro quiet\n")
        os.mkfifo(root / "run/upstart/events")
        self.fifo = os.open(root / "run/upstart/events", os.O_RDWR | os.O_NONBLOCK)

    def program(self, name: str, text: str = "") -> None:
        path = self.root / "bin" / name
        path.write_text(f'#!/bin/sh\necho {name} "$@" >>{self.calls}\n{text}\n')
        path.chmod(0o755)

    def write(self, path: str, text: str = "") -> Path:
        made = self.root / path
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(text)
        return made

    def within(self, text: str) -> str:
        """A shell program as it is for this machine."""
        text = re.sub(
            r"(?<![\w/.+-])/(etc|proc|run|dev|sys|var|tmp|lib|usr/lib|usr/local/lib|sbin)\b",
            lambda found: f"{self.root}{found[0]}",
            text.replace("PATH=/sbin:/usr/sbin:/bin:/usr/bin", "PATH=P"),
        )
        text = text.replace("/usr/libexec/upstart/boot-steps", f"{self.root}/boot-steps")
        return text.replace("PATH=P", f"PATH={self.root}/bin")

    def step(self, *words: str, **env: str) -> list[str]:
        """Take a step; the commands that it has called."""
        self.calls.write_text("")
        result = subprocess.run(
            ["/bin/sh", "-c", self.within(PROGRAM.read_text()), "boot-step", *words],
            env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL,
            cwd=self.root,
        )  # fmt: skip
        self.said, self.status = result.stderr, result.returncode
        return self.calls.read_text().splitlines()

    def events(self) -> list[str]:
        """The lines that init has been written since the last look."""
        try:
            return os.read(self.fifo, 65536).decode().splitlines()
        except BlockingIOError:
            return []


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    os.close(made.fifo)
