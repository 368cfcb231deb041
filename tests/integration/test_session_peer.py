"""The original's monitor and dconf bridge beside ours, in a session of either init: each tells the same.

Runs where the variable PEER names the prefix of a built original (sbin/init and upstart-dconf-bridge, and
bin/upstart-monitor).
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, Client, SessionInit, wait_for
from test_daemon_bus import Bus
from test_dconf_bridge import PLACE, SCHEMA, WRITER, has_schema

PEER = os.environ.get("PEER", "")
pytestmark = pytest.mark.skipif(not PEER, reason="PEER names no original")

INITS = {"theirs": Path(PEER) / "sbin/init", "ours": PROGRAMS / "init"}
MONITORS = {"theirs": Path(PEER) / "bin/upstart-monitor", "ours": PROGRAMS / "upstart-monitor"}
BRIDGES = {"theirs": Path(PEER) / "sbin/upstart-dconf-bridge", "ours": PROGRAMS / "upstart-dconf-bridge"}


# The monitor


class Monitor:
    """One that writes into a file: the lines, without what stands above the first event and without their times."""

    def __init__(self, init: SessionInit, which: str, *words: str) -> None:
        self.file = init.directory / f"{which}.out"
        # Theirs flushes nothing by itself.
        environ = {**init.environ, "UPSTART_SESSION": init.address, "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8"}
        with open(self.file, "wb") as file:
            self.process = subprocess.Popen(
                [MONITORS[which], "--no-gui", *words], env=environ, stdout=file, stderr=subprocess.DEVNULL
            )
        self.separator = next((word for word in words if word == "|"), "\t")

    def lines(self) -> list[str]:
        text = [line for line in self.file.read_text().splitlines() if line and not line.startswith("#")]
        return [line.partition(self.separator)[2] for line in text]

    def hears(self, client: Client) -> bool:
        client.emit("is-there", wait=False)
        return "is-there" in self.lines()

    def until(self, last: str) -> list[str]:
        """What came behind the last that only asked whether it hears."""
        wait_for(lambda: last in self.lines())
        lines = self.lines()
        return lines[len(lines) - lines[::-1].index("is-there") :]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()


JOBS = {
    "web": "start on net-up\ninstance $NAME\nexport NAME\nexec sleep 1000\n",
    "task": "start on started web\ntask\nexec true\n",
    "fails": "start on go\ntask\nexec false\n",
}


def happen(client: Client) -> None:
    client.emit("plain")
    client.emit("net-up", "NAME=two words", "OTHER=", "UNICODE=ü")
    client.emit("go", "A=1", wait=False)
    client.stop("web", "NAME=two words")
    client.emit("last")


@pytest.mark.skipif(not MONITORS["theirs"].exists(), reason="the original's monitor is not there")
@pytest.mark.parametrize("words", [[], ["--separator", "|"], ["-s", "|", "-d", "session-socket"]], ids=" ".join)
@pytest.mark.parametrize("which", INITS)
def test_both_monitors_write_the_same_of_either_init(tmp_path: Path, which: str, words: list[str]) -> None:
    pytest.importorskip("gi")
    init = SessionInit(tmp_path, JOBS, program=INITS[which])
    monitors = [Monitor(init, whose, *words) for whose in MONITORS]
    try:
        client = init.client()
        for monitor in monitors:
            wait_for(lambda monitor=monitor: monitor.hears(client), 30)  # type: ignore[misc]
        # No more of these is on its way.
        client.emit("is-there")
        client.emit("begun")
        for monitor in monitors:
            monitor.until("begun")
        happen(client)
        theirs, ours = (monitor.until("last") for monitor in monitors)
        assert theirs == ours and len(ours) > 8
        assert "net-up NAME='two words' OTHER='' UNICODE='ü'" in ours
        # Where theirs loses what stands in a value, ours does not.
        client.emit("odd", "EQUAL=a=b")
        client.emit("odd-last")
        lost, kept = (monitor.until("odd-last") for monitor in monitors)
        assert "odd EQUAL='ab'" in lost and "odd EQUAL='a=b'" in kept
    finally:
        for monitor in monitors:
            monitor.close()
        init.close()


# The dconf bridge

#: What is set, by gsettings; the last is known by its value.
CHANGES = [
    ("clock-format", "12h"), ("clock-show-date", "false"), ("cursor-size", "31"), ("font-name", "A font's \"name\""),
    ("clock-format", "24h"), ("gtk-theme", "last"),
]  # fmt: skip


def told(directory: Path, init_of: str, bridge_of: str) -> list[str]:
    """The variables that a job is given for each of these, in their order."""
    directory.mkdir()
    bus = Bus(directory)
    noted = directory / "noted"
    noted.touch()
    jobs = {
        "hear": f"start on dconf TYPE=changed KEY={PLACE}/*\ntask\nconsole none\ninstance $KEY$VALUE\n"
        # In the order in which it was given: a shell has one of its own.
        f"script\n  text=$(tr '\\0' '\\n' </proc/$$/environ | grep -E '^(TYPE|KEY|VALUE)=')\n"
        f"  echo $text >>{noted}\nend script\n",
        "bridge": f"env GSETTINGS_BACKEND=dconf\nconsole none\nexec {BRIDGES[bridge_of]}\n",
    }
    init = SessionInit(directory, jobs, program=INITS[init_of], DBUS_SESSION_BUS_ADDRESS=bus.address)
    environ = {**init.environ, "GSETTINGS_BACKEND": "dconf"}
    writer = subprocess.Popen([WRITER], env=environ, stderr=subprocess.DEVNULL)

    def change(key: str, value: str) -> None:
        subprocess.run(["gsettings", "set", SCHEMA, key, value], env=environ, check=True, timeout=20)

    def heard() -> bool:
        # A key that is set to what it is is not told of.
        for value in ("true", "false"):
            change("clock-show-seconds", value)
        return "clock-show-seconds" in noted.read_text()

    try:
        init.client().start("bridge")
        wait_for(heard, 30)
        for key, value in CHANGES:
            change(key, value)
        wait_for(lambda: "VALUE='last'" in noted.read_text(), 20)
        wait_for(lambda: len([line for line in noted.read_text().splitlines() if "clock-show-sec" not in line]) >= 6)
        return sorted(line for line in noted.read_text().splitlines() if "clock-show-seconds" not in line)
    finally:
        init.close()
        writer.terminate()
        writer.wait()
        bus.close()


@pytest.mark.skipif(
    not BRIDGES["theirs"].exists() or not os.access(WRITER, os.X_OK) or not has_schema(),
    reason="needs the original's dconf bridge, dconf-service, gsettings and its desktop schemas",
)
def test_both_dconf_bridges_tell_the_same_to_either_init(tmp_path: Path) -> None:
    said = {(init, bridge): told(tmp_path / (init + bridge), init, bridge) for init in INITS for bridge in BRIDGES}
    expected = said["theirs", "theirs"]
    assert len(expected) == len(CHANGES) and all(line.startswith("TYPE=changed KEY=/org/") for line in expected)
    assert said == dict.fromkeys(said, expected)
