"""The figures of bridges: from what happens to the job's process, beside the original's bridge, and what they cost.

A side's bridges stand beside its initctl; one without that bridge there has no value.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from cell import Cell, CellError
from figures import Figure, Reported, Side, Sizes

#: All that the system's bridges wait for, for the memory of the process that hosts them.
WAITED_FOR = (
    "foo-device-added", "file FILE=/srv/*", "mounted MOUNTPOINT=/srv/x", "socket PROTO=unix PATH=/run/bench.sock",
)  # fmt: skip
HOSTED = ("udev", "file", "mount", "socket")
#: A bus on which everybody may do everything.
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>{address}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/></policy></busconfig>
"""
#: Seconds in which a job must have been started.
PATIENCE = 10.0


def bridges(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    """From what happens to the process of a task that waits for it, as that says; memory; wake-ups."""
    for kind in (FileWay, LocalWay, DeviceWay, SignalWay):
        with tempfile.TemporaryDirectory(prefix="upstart-bench-") as directory:
            yield _change(kind, sides, sizes, directory)
    yield from _cost(sides[:1], sizes)


def _change(kind: type[Way], sides: list[Side], sizes: Sizes, directory: str) -> Figure:
    figure = Figure(f"{kind.title} to its job's process", "ms", "5 ms")
    ways: dict[str, Way] = {}
    with ExitStack() as stack:
        for side in sides:
            program = Path(side.initctl).with_name(f"upstart-{kind.bridge}-bridge")
            if program.exists():
                with Reported():
                    way = kind(f"{directory}/{side.name}")
                    stack.callback(way.close)
                    job = way.job()
                    bridge = f"start on bench-up\nexpect daemon\n{way.env}exec {program} --daemon {way.options}\n"
                    cell = stack.enter_context(Cell(side.init, {"bridge.conf": bridge, "hear.conf": job}))
                    way.begin(cell.pid)
                    cell.ask("emit", "bench-up")
                    ways[side.name] = way
        time.sleep(1)
        for number in range(4 * sizes.starts):
            for name in list(ways):
                with Reported() as attempt:
                    took = ways[name].sample()
                    if number:
                        figure.add(name, took * 1000)
                if attempt.failed:
                    del ways[name]
    return figure


class Way:
    """How something happens, in a directory of its own, and how the task that waits for it says that it runs."""

    title = bridge = options = env = ""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        os.mkdir(directory)
        self._fifo = f"{directory}/told"
        os.mkfifo(self._fifo)
        self._told = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK)

    def condition(self) -> str:
        """What the task waits for."""
        raise NotImplementedError

    def job(self) -> str:
        """The task."""
        say = f"exec /bin/dd if=/dev/zero of={self._fifo} count=1\n"
        return f"start on {self.condition()}\ntask\nconsole none\n{say}"

    def begin(self, init: int) -> None:
        """There is the init of this side, whose bridge is next."""

    def happen(self) -> None:
        """Have it happen once."""
        raise NotImplementedError

    def prepare(self) -> None:
        """What comes before it, and takes its time."""

    def sample(self) -> float:
        """Seconds until the process says so."""
        self.prepare()
        began = time.monotonic()
        self.happen()
        return self.heard() - began

    def heard(self) -> float:
        """When a process has said so."""
        if not select.select([self._told], [], [], PATIENCE)[0]:
            raise CellError(f"the {self.bridge} bridge told nothing")
        at = time.monotonic()
        # Until the task has ended, and all that it said was read.
        time.sleep(0.03)
        os.read(self._told, 65536)
        return at

    def close(self) -> None:
        """Give back what was opened."""
        os.close(self._told)


class FileWay(Way):
    """A file is moved into place."""

    title, bridge = "a file's change", "file"

    def condition(self) -> str:
        # For every event, since the original's bridge goes deaf where only `create` is waited for.
        os.mkdir(f"{self._directory}/here")
        return f"file FILE={self._directory}/here/f"

    def prepare(self) -> None:
        path = Path(self._directory, "here", "f")
        if path.exists():
            path.unlink()
            self.heard()
        Path(self._directory, "new").touch()

    def happen(self) -> None:
        os.rename(f"{self._directory}/new", f"{self._directory}/here/f")


class LocalWay(Way):
    """A program says something."""

    title, bridge = "a line on a socket", "local"

    def condition(self) -> str:
        self.options = f"--event said --path {self._directory}/s"
        return "said A=1"

    def happen(self) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"{self._directory}/s")
            sock.sendall(b"A=1\n")


class DeviceWay(Way):
    """Udev tells of a device."""

    title, bridge = "a device's change", "udev"
    _udev: subprocess.Popen[bytes] | None = None

    def condition(self) -> str:
        return "foo-device-changed"

    def begin(self, init: int) -> None:
        # It says that udev runs: else nobody listens to it.
        udev = "mkdir -p /run/udev; : >/run/udev/control"
        subprocess.run(["nsenter", "-t", str(init), "-m", "--", "sh", "-ec", udev], check=True)
        sender = Path(__file__).parents[1] / "integration" / "udev_sender.py"
        command = ["nsenter", "-t", str(init), "-n", "--", sys.executable, "-ISu", str(sender)]
        self._udev = subprocess.Popen(command, stdin=subprocess.PIPE)

    def happen(self) -> None:
        assert self._udev is not None and self._udev.stdin is not None
        self._udev.stdin.write(b"['change', '/devices/virtual/foo/foo1', 'foo', 'N=1']\n")
        self._udev.stdin.flush()

    def close(self) -> None:
        super().close()
        if self._udev is not None and self._udev.stdin is not None:
            self._udev.stdin.close()
            self._udev.wait()


class SignalWay(Way):
    """A signal is sent on a bus."""

    title, bridge, options = "a signal", "dbus", "--system"
    _bus: subprocess.Popen[bytes] | None = None

    def condition(self) -> str:
        # Beside others, for whoever cannot be reached by an abstract name.
        address = f"unix:path={self._directory}/bus"
        self.env = f"env DBUS_SYSTEM_BUS_ADDRESS={address}\n"
        Path(self._directory, "bus.conf").write_text(BUS.format(address=address))
        command = ["dbus-daemon", f"--config-file={self._directory}/bus.conf", "--nofork", "--nopidfile"]
        self._bus = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while not os.path.exists(f"{self._directory}/bus"):
            time.sleep(0.01)
        self._address = address
        return "dbus SIGNAL=Rang INTERFACE=org.example.Bench"

    def begin(self, init: int) -> None:
        from dbus.bus import BusConnection
        from dbus.lowlevel import SignalMessage

        self._connection = BusConnection(self._address)
        self._message = SignalMessage("/a", "org.example.Bench", "Rang")

    def happen(self) -> None:
        self._connection.send_message(self._message)
        self._connection.flush()

    def close(self) -> None:
        super().close()
        if self._bus is not None:
            self._bus.terminate()
            self._bus.wait()


def _cost(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    memory = Figure(f"bridges {', '.join(HOSTED)} in one process, proportional", "MB", "18 MB")
    seconds = 10 if sizes.starts < 10 else 60
    waking = Figure(f"the same: wake-ups in {seconds} s", "", "0")
    for side in sides:
        program = Path(side.initctl).with_name("upstart-bridges")
        jobs = {f"wait{number}.conf": f"start on {words}\nexec true\n" for number, words in enumerate(WAITED_FOR)}
        jobs["host.conf"] = f"start on bench-up\nexpect daemon\nexec {program} --daemon {' '.join(HOSTED)}\n"
        with Reported(), Cell(side.init, jobs) as cell:
            cell.ask("emit", "bench-up")
            # That it is a daemon, and has told what there is to tell.
            time.sleep(4)
            pid = _child(cell.pid, "upstart-bridges")
            if not pid:
                raise CellError("the bridges did not start")
            memory.add(side.name, _proportional(pid))
            before = _sleeps(pid)
            time.sleep(seconds)
            waking.add(side.name, _sleeps(pid) - before)
    yield memory
    yield waking


def _child(init: int, name: str) -> int:
    for pid in Path(f"/proc/{init}/task/{init}/children").read_text().split():
        if Path(f"/proc/{pid}/comm").read_text().rstrip() == name[:15]:
            return int(pid)
    return 0


def _proportional(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1000
    return 0.0


def _sleeps(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("voluntary_ctxt_switches:")[2].split()[0])
