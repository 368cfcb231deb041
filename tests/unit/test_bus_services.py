"""Services of a bus that are jobs: the files by which it knows them, and what tells init which of them was called."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from waiting import wait_for

from manual import ROOT
from upstart.bridges.busservices import Services

FOREIGN = "[D-BUS Service]\nName=org.example.Theirs\nExec=/usr/bin/theirs\nUser=root\n"


def serve(directory: Path, *names: str) -> Services:
    services = Services(str(directory), "system", "")
    services.want([("dbus-activation", [f"SERVICE={name}"]) for name in names])
    services.arrange()
    return services


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "org.example.Theirs.service"
    theirs.write_text(FOREIGN)
    services = serve(tmp_path, "org.example.Theirs", "org.example.Ours")
    assert theirs.read_text() == FOREIGN and services.names == {"org.example.Ours"}
    assert services.others == [str(theirs)]
    assert (tmp_path / "org.example.Ours.service").exists() and not services.arrange()
    services.remove()
    assert list(tmp_path.iterdir()) == [theirs]
    theirs.unlink()
    services.want([("dbus-activation", ["SERVICE=org.example.Theirs"])])
    assert services.arrange() and services.others == [] and "dbus-activation" in theirs.read_text()


class Scripts:
    """The two scripts, with a helper of the bus that does as the real one: it becomes the service's program."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.calls = directory / "calls"
        self.services = directory / "services"
        self.calls.mkdir()
        self.services.mkdir()
        self.noted = directory / "noted"
        self.noted.touch()
        self._program("initctl", 'echo "$*" >>noted\ncase $* in *Fails*) exit 1 ;; esac')
        self._program(
            "helper", '[ -e broken ] && exit 1\n[ "$1" = com.ubuntu.Upstart ] || { echo "$1" >>noted; exit; }'
        )
        with (directory / "helper").open("a") as file:
            file.write("while [ -e wait ]; do sleep 0.02; done\nexec ./call-to-bus\n")
        for name in ("bus-helper", "call-to-bus"):
            text = (ROOT / "src/libexec" / name).read_text().replace("kill -USR1 1", "echo USR1 >>noted")
            for place, by in (
                ("/usr/lib/dbus-1.0/dbus-daemon-launch-helper", "helper"), ("/run/upstart/bus-calls", "calls"),
                ("/run/dbus-1/system-services", "services"), ("/sbin/initctl", "initctl"),
            ):  # fmt: skip
                text = text.replace(place, shlex.quote(str(directory / by)))
            self._program(name, text)

    def _program(self, name: str, text: str) -> None:
        (self.directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.directory / name).chmod(0o755)

    def start(self, name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["./bus-helper", name], cwd=self.directory)

    def call(self, name: str) -> int:
        return self.start(name).wait(10)

    def told(self) -> list[str]:
        lines = sorted(self.noted.read_text().splitlines())
        self.noted.write_text("")
        return lines


def event(name: str) -> str:
    return f"--quiet emit dbus-activation SERVICE={name} BUS=system"


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    made = Scripts(tmp_path)
    serve(made.services, "org.example.Starts", "org.example.Fails", "org.example.Starts.Too")
    return made


def test_services_that_are_called_at_once_have_each_its_own_result(scripts: Scripts) -> None:
    (scripts.directory / "wait").touch()
    names = ("org.example.Starts", "org.example.Fails", "org.example.Starts.Too")
    started = [scripts.start(name) for name in names]
    try:
        assert wait_for(lambda: len(list(scripts.calls.iterdir())) == 3)
    finally:
        (scripts.directory / "wait").unlink()
        results = [each.wait(10) for each in started]
    assert results == [0, 1, 0]
    assert scripts.told() == sorted(map(event, names))
    assert list(scripts.calls.iterdir()) == []


def test_a_call_that_came_to_nothing_is_not_taken_for_another(scripts: Scripts) -> None:
    (scripts.directory / "broken").touch()
    assert [scripts.call("org.example.Starts") for _ in range(3)] == [1, 1, 1]
    assert len(list(scripts.calls.iterdir())) == 1
    (scripts.directory / "broken").unlink()
    # Init itself is called: it is to come to the bus.
    assert scripts.call("com.ubuntu.Upstart") == 0
    assert scripts.told() == ["USR1", "version"]
    assert scripts.call("org.example.Starts") == 0
    assert scripts.told() == [event("org.example.Starts")]
    # Nor where that had the number which a process has now.
    left = ["sh", "-c", ": >calls/$$:org.example.Fails; exec ./bus-helper org.example.Starts"]
    assert subprocess.run(left, cwd=scripts.directory, timeout=10).returncode == 0
    assert scripts.told() == [event("org.example.Starts")]
    assert list(scripts.calls.iterdir()) == []


def test_a_service_of_somebody_else_is_the_buss_to_start(scripts: Scripts) -> None:
    (scripts.services / "org.example.Theirs.service").write_text(FOREIGN)
    (scripts.services / "org.example.Empty.service").touch()
    for name in ("org.example.Theirs", "org.example.Empty", "org.example.None"):
        assert scripts.call(name) == 0
        assert scripts.told() == [name]
    assert list(scripts.calls.iterdir()) == []


def test_a_job_that_has_gone_meanwhile_is_an_error(scripts: Scripts) -> None:
    (scripts.directory / "wait").touch()
    called = scripts.start("org.example.Starts")
    try:
        assert wait_for(lambda: len(list(scripts.calls.iterdir())) == 1)
        (scripts.services / "org.example.Starts.service").write_text(FOREIGN)
    finally:
        (scripts.directory / "wait").unlink()
        result = called.wait(10)
    assert result == 1 and scripts.told() == []
