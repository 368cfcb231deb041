"""Devices as udev tells of them, in namespaces of their own, with a stand-in for udevd and the real libudev."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from upstart.mounts.statefile import pack_action
from upstart.mounts.values import Watch

pytest.importorskip("pyudev")
HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may make namespaces")
SECONDS = 20.0


class Lines:
    """A process whose lines are read as they come."""

    def __init__(self, command: list[str], **environ: str) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environ}
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def next(self, wanted: Callable[[str], object] = lambda line: True) -> str:
        """The next line of which this holds; those before are passed over."""
        while not wanted(line := self.lines.get(timeout=SECONDS)):
            pass
        return line

    def tell(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class Lab:
    """Namespaces with a /run of their own, and a udevd in them that says what it is told to."""

    def __init__(self) -> None:
        # Their own processes, too: with the first all others end.
        script = "mount -t tmpfs tmpfs /run; echo up; exec sleep 1000"
        self.holder = Lines(["unshare", "-mn", "--propagation", "private", "sh", "-c", script])
        self.holder.next()
        self.enter = ["nsenter", "-t", str(self.holder.process.pid), "-m", "-n"]
        self.udevd = Lines([*self.enter, sys.executable, "-IS", str(HERE / "udev_stand_in.py")])
        self.watchers: list[Lines] = []

    def say(self, *words: str) -> None:
        self.udevd.tell("\t".join(words))
        self.udevd.next()

    def watch(self, **environ: str) -> Lines:
        """A mountall that waits for devices; its first line is ``Settled``."""
        script = str(HERE / "mounts_scripted.py")
        command = [*self.enter, sys.executable, "-IS", script, "-", "-", json.dumps([pack_action(Watch())])]
        self.watchers.append(Lines(command, UNTIL="never", **environ))
        return self.watchers[-1]

    def end(self) -> None:
        for each in (*self.watchers, self.udevd, self.holder):
            each.end()


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.end()


@pytest.fixture
def loops(tmp_path: Path) -> Iterator[list[str]]:
    """The names of two loop devices."""
    found = []
    for name in ("one", "two"):
        image = tmp_path / name
        with open(image, "wb") as file:
            file.truncate(1 << 20)
        command = ["losetup", "-f", "--show", str(image)]
        path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        found.append(path.removeprefix("/dev/"))
    yield found
    for name in found:
        subprocess.run(["losetup", "-d", f"/dev/{name}"], check=True)


def test_devices_that_are_there_and_those_that_come_are_told_once_they_can_be_used(lab: Lab, loops: list[str]) -> None:
    one, two = loops
    tags = ("ID_FS_TYPE=ext4", "ID_FS_UUID=1-2", "ID_FS_UUID_ENC=1-2", "ID_FS_LABEL_ENC=my\\x20disk",
            "DEVLINKS=/dev/disk/by-uuid/1-2 /dev/disk/by-id/some-disk")  # fmt: skip
    lab.say("add", one, *tags)
    lab.say("add", two)
    watcher = lab.watch()
    first = watcher.next(lambda line: line.startswith("Device("))
    for text in (f"'/dev/{one}'", "'UUID=1-2'", "'LABEL=my disk'", "'ID=some-disk'", "type='ext4'",
                 "link='/dev/disk/by-uuid/1-2'", f"disks=('{one}',)"):  # fmt: skip
        assert text in first
    assert watcher.next() == "Settled(settled=True)"
    # Without content a loop device is none; nor is it while a rule says so.
    lab.say("change", two, "ID_FS_TYPE=btrfs", "SYSTEMD_READY=0")
    lab.say("change", two, "ID_FS_TYPE=btrfs", "SYSTEMD_READY=1")
    second = watcher.next()
    assert second.startswith("Device(")
    assert f"'/dev/{two}'" in second
    lab.say("change", two, "ID_FS_TYPE=btrfs", "SYSTEMD_READY=1")
    lab.say("change", two, "ID_FS_TYPE=btrfs", "SYSTEMD_READY=0")
    assert watcher.next() == f"Gone(path='/dev/{two}')"
    lab.say("remove", one)
    assert watcher.next() == f"Gone(path='/dev/{one}')"


def test_work_of_udev_virtio_and_directories_of_the_kernel_are_told(lab: Lab) -> None:
    lab.say("busy")
    watcher = lab.watch()
    assert watcher.next() == "Settled(settled=False)"
    lab.say("idle")
    assert watcher.next() == "Settled(settled=True)"
    lab.say("add", "/devices/virtual/bdi", "SUBSYSTEM=virtio")
    assert watcher.next() == "Appeared(path='/sys/devices/virtual/bdi')"


@pytest.mark.parametrize("environ", [{}, {"BUFFER": "4096"}], ids=["large buffer", "small buffer"])
def test_a_flood_of_events_loses_no_device(lab: Lab, loops: list[str], environ: dict[str, str]) -> None:
    one, two = loops
    lab.say("add", one, "ID_FS_TYPE=ext4")
    lab.say("add", two, "ID_FS_TYPE=ext4")
    watcher = lab.watch(**environ)
    assert watcher.next(lambda line: f"'/dev/{two}'" in line)
    watcher.process.send_signal(signal.SIGSTOP)
    try:
        # More than what a buffer holds that was not made larger.
        for number in range(600):
            lab.say("change", one, "ID_FS_TYPE=ext4", f"FILLING={number:01000}")
        # Both the one that still is and the one that is no more are seen.
        lab.say("change", one, "ID_FS_TYPE=xfs")
        lab.say("change", two, "SYSTEMD_READY=0")
    finally:
        watcher.process.send_signal(signal.SIGCONT)
    seen = [watcher.next(lambda line: not line.startswith("Settled")) for _ in range(2)]
    assert any(f"'/dev/{one}'" in line and "type='xfs'" in line for line in seen)
    assert f"Gone(path='/dev/{two}')" in seen
