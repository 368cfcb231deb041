"""The recipes of docs/cookbook.md, each run as it stands there but for the places of files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bridge_system import Bridged, shipped
from daemon_init import PROGRAMS, ROOT, wait_for
from test_daemon_bus import POLICY
from test_daemon_pid1 import pytestmark
from test_dconf_bridge import Session
from test_dconf_bridge import pytestmark as needs_dconf
from test_udev_bridge import Udev

__all__ = ["pytestmark"]

TEXT = (ROOT / "docs/cookbook.md").read_text()
#: The files that the page has, by the path in the first line, or the second where that says who runs it.
BLOCKS = {
    line.removeprefix("# "): block
    for block in TEXT.split("```\n")[1::2]
    for line in block.splitlines()[:2]
    if re.fullmatch(r"# [~/]\S+", line)
}


class Kitchen(Bridged):
    """A system with the bridges that share a process, after its boot."""

    names = ("socket", "file", "mount")

    def prepare(self) -> None:
        super().prepare()
        self.initctl("emit", "filesystem")
        self.noted = self.directory / "noted"
        self.noted.touch()

    def note(self, name: str, words: str = '"$@"') -> Path:
        """A program that writes down what it is told."""
        path = self.directory / name
        path.write_text(f"#!/bin/sh\necho {words} >>{self.noted}\n")
        path.chmod(0o755)
        return path

    def expect(self, *lines: str) -> None:
        wait_for(lambda: self.noted.read_text().splitlines() == list(lines), 20)


@pytest.fixture
def kitchen(tmp_path: Path) -> Iterator[Kitchen]:
    kitchen = Kitchen(tmp_path)
    try:
        kitchen.prepare()
        yield kitchen
        assert "Internal error" not in kitchen.kmsg()
    finally:
        kitchen.close()


def test_all_jobs_of_the_page_are_looked_at_and_sound(tmp_path: Path) -> None:
    jobs = [path for path in BLOCKS if path.endswith(".conf")]
    assert len(jobs) == 7
    for path in jobs:
        file = tmp_path / os.path.basename(path)
        file.write_text(BLOCKS[path])
        done = subprocess.run([PROGRAMS / "init-checkconf", file], capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, ""), path
        assert "WARNING" not in done.stdout, done.stdout


def test_a_service_that_starts_with_its_first_client(kitchen: Kitchen) -> None:
    server, srv = kitchen.directory / "serve", kitchen.directory / "srv"
    srv.mkdir()
    (srv / "hello").write_text("served\n")
    server.write_text(BLOCKS["/usr/local/bin/serve-files"])
    server.chmod(0o755)
    kitchen.run("ip", "link", "set", "lo", "up")
    text = (
        BLOCKS["/etc/init/files.conf"]
        .replace("/usr/local/bin/serve-files", str(server))
        .replace("chdir /srv", f"chdir {srv}")
    )
    # Directories of tests are not open to www-data.
    kitchen.write("files", text.replace("setuid www-data\n", ""))
    kitchen.wait_running("socket")
    get = (
        "from urllib.request import *; print(urlopen('http://127.0.0.1:8080/hello', None, 20).read().decode(), end='')"
    )
    assert kitchen.status("files") == "files stop/waiting\n"
    assert kitchen.run(sys.executable, "-c", get).stdout == "served\n"
    before = kitchen.status("files")
    assert "start/running" in before
    kitchen.restart_init()
    kitchen.initctl("restart", "files")
    assert kitchen.run(sys.executable, "-c", get.replace("127.0.0.1", "[::1]")).stdout == "served\n"
    assert kitchen.status("files") != before


def test_a_process_for_each_connection(kitchen: Kitchen) -> None:
    kitchen.run("ip", "link", "set", "lo", "up")
    kitchen.write("today", BLOCKS["/etc/init/today.conf"])
    kitchen.wait_running("socket")
    ask = "import socket; print(socket.create_connection(('127.0.0.1', 13), 20).recv(100).decode())"
    year = subprocess.run(["date", "+%Y"], capture_output=True, text=True, check=True).stdout.strip()
    assert year in kitchen.run(sys.executable, "-c", ask).stdout


def test_a_service_is_restarted_when_its_configuration_changes(kitchen: Kitchen) -> None:
    pytest.importorskip("pyinotify")
    conf = kitchen.directory / "app.conf"
    conf.write_text("old\n")
    kitchen.place("app", "exec sleep 1000\n")
    text = BLOCKS["/etc/init/app-changed.conf"].replace("/etc/app/app.conf", str(conf))
    # These are commands of the checkout here.
    text = text.replace("'status", f"'PATH={PROGRAMS}:$PATH; status")
    kitchen.write("app-changed", text)
    kitchen.wait_running("file")
    conf.write_text("of one that does not run\n")
    wait_for(lambda: "app-changed state changed from post-stop to waiting" in kitchen.kmsg(), 20)
    assert "stop/waiting" in kitchen.status("app")
    kitchen.initctl("start", "app")
    for moved in (False, True):
        before = kitchen.status("app")
        new = kitchen.directory / "new" if moved else conf
        new.write_text("new\n")
        new.replace(conf)
        wait_for(lambda before=before: kitchen.status("app") not in (before, "app stop/waiting\n"), 20)  # type: ignore[misc]
        wait_for(lambda: "start/running" in kitchen.status("app"), 20)


def test_a_service_runs_while_something_is_mounted(kitchen: Kitchen) -> None:
    place = kitchen.directory / "shares"
    place.mkdir()
    program = kitchen.note("share")
    program.write_text(f'#!/bin/sh\necho "$1" >>{kitchen.noted}\nexec sleep 1000\n')
    text = BLOCKS["/etc/init/shares.conf"].replace("/usr/local/sbin/share", str(program))
    kitchen.write("shares", text.replace("/srv/shares", str(place)))
    kitchen.wait_running("mount")
    assert kitchen.status("shares") == "shares stop/waiting\n"
    kitchen.run("mount", "-t", "tmpfs", "some", str(place))
    kitchen.expect(str(place))
    wait_for(lambda: "start/running" in kitchen.status("shares"))
    kitchen.restart_init()
    kitchen.run("umount", str(place))
    wait_for(lambda: kitchen.status("shares") == "shares stop/waiting\n", 20)


def test_a_job_runs_when_a_usb_disk_appears(tmp_path: Path) -> None:
    pytest.importorskip("pyudev")
    system = Udev(tmp_path)
    noted = tmp_path / "noted"
    noted.touch()
    try:
        system.prepare()
        program = tmp_path / "backup-to"
        program.write_text(f'#!/bin/sh\necho "$1" >>{noted}\n')
        program.chmod(0o755)
        system.write("backup", BLOCKS["/etc/init/backup-disk.conf"].replace("/usr/local/sbin/backup-to", str(program)))
        system.wait_running()
        of_disk = ["ID_BUS=usb", "DEVTYPE=partition", "ID_FS_LABEL=backup"]
        place = "/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host0/target0:0:0/0:0:0:0/block/sdz"
        system.tell(
            ["add", place, "block", "DEVNAME=/dev/sdz", "ID_BUS=usb", "DEVTYPE=disk"],
            ["add", f"{place}/sdz1", "block", "DEVNAME=/dev/sdz1", *of_disk[:2], "ID_FS_LABEL=other"],
            ["add", f"{place}/sdz2", "block", "DEVNAME=/dev/sdz2", *of_disk],
        )
        wait_for(lambda: noted.read_text() == "/dev/sdz2\n", 20)
    finally:
        system.close()


#: One that has NetworkManager's name, and one that has not, say that there is a connection.
NETWORK_MANAGER = """\
import sys
from dbus.bus import BusConnection
from dbus.lowlevel import SignalMessage
bus = BusConnection(sys.argv[1])
if sys.argv[2] == "own":
    bus.request_name("org.freedesktop.NetworkManager")
for state in (40, 70):
    message = SignalMessage("/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager", "StateChanged")
    message.append(state, signature="u")
    bus.send_message(message)
bus.flush()
bus.get_name_owner("org.freedesktop.DBus")
"""


@pytest.mark.skipif(not shutil.which("dbus-daemon"), reason="needs dbus")
def test_a_job_reacts_to_a_signal_of_networkmanager(kitchen: Kitchen) -> None:
    pytest.importorskip("dbus")
    address = f"unix:path={kitchen.directory}/bus"
    (kitchen.directory / "bus.conf").write_text(POLICY.format(address=address))
    job = shipped("upstart-dbus-bridge", kitchen.directory)
    kitchen.place("upstart-dbus-bridge", f"env DBUS_SYSTEM_BUS_ADDRESS={address}\n{job}")
    kitchen.place(
        "online", BLOCKS["/etc/init/online.conf"].replace("/usr/local/bin/online", f"{kitchen.note('online', 'up')}")
    )
    kitchen.write("dbus", "exec dbus-daemon --config-file=$W/bus.conf --nofork --nopidfile\n")
    kitchen.initctl("start", "dbus")
    wait_for(lambda: "start/running" in kitchen.status("upstart-dbus-bridge"), 20)
    for owns in ("no", "own"):
        done = kitchen.run("/usr/bin/python3", "-c", NETWORK_MANAGER, address, owns)
        assert done.returncode == 0, done.stderr
    kitchen.expect("up")


@needs_dconf
def test_a_job_of_a_session_reacts_to_a_dconf_key(tmp_path: Path) -> None:
    session = Session(tmp_path)
    try:
        program = tmp_path / "colours"
        program.write_text(f'#!/bin/sh\necho "$1" >>{session.noted}\n')
        program.chmod(0o755)
        session.init.write("dark", BLOCKS["~/.config/upstart/dark.conf"].replace("exec colours", f"exec {program}"))
        session.wait_for_keys()
        session.gsettings("set", "org.gnome.desktop.interface", "color-scheme", "prefer-dark")
        session.expect("'prefer-dark'")
    finally:
        session.close()
