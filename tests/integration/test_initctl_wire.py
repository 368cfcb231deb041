"""initctl as programs and people meet it: processes, descriptors, signals, and a D-Bus peer that may misbehave."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SBIN = ROOT / "build" / "sbin"
JOB = "/com/ubuntu/Upstart/jobs/web"
STATUS = ("a(ssssa(si))", [("web", "", "start", "running", [("main", 42)])])


class Init:
    """A running stand-in; `calls` reads what it was asked, up to the call named."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process = process
        self.address = address

    def calls(self, last: str) -> list[list[Any]]:
        found: list[list[Any]] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found.append(ast.literal_eval(line))
            if found[-1][2] == last:
                return found
        raise AssertionError(f"{last} was never called: {found}")


StartInit = Callable[[dict[str, Any]], Init]


@pytest.fixture
def start_init() -> Iterator[StartInit]:
    running: list[subprocess.Popen[str]] = []

    def start(answers: dict[str, Any]) -> Init:
        address = f"unix:abstract=/initctl-test-{os.getpid()}-{len(running)}"
        script = str(Path(__file__).with_name("fake_init.py"))
        command = ["/usr/bin/python3", script, address, repr(answers)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return Init(process, address)

    yield start
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def environment(address: str | None, **more: str) -> dict[str, str]:
    kept = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **more}
    return kept if address is None else {**kept, "UPSTART_SESSION": address}


def initctl(
    address: str | None, *words: str | bytes, program: str = "initctl", stdout: Any = subprocess.PIPE, **more: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(SBIN / program), *words],
        env=environment(address, **more),
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=20,
    )


def test_each_name_is_its_command(start_init: StartInit) -> None:
    init = start_init(
        {
            "GetJobByName": ("o", JOB),
            "GetInstance": ("o", JOB + "/_"),
            "Start": ("o", JOB + "/_"),
            "Restart": ("o", JOB + "/_"),
            "Stop": ("",),
            "Reload": ("",),
            "Get name": ("v", "web"),
            "GetStatus": STATUS,
        }
    )
    for program in ("start", "stop", "restart", "status"):
        result = initctl(init.address, "web", program=program)
        # GetAll is not answered: the instance is gone.
        text = b"web start/running, process 42\n" if program == "status" else b"web stop/waiting\n"
        assert (result.returncode, result.stdout, result.stderr) == (0, text, b"")
    assert initctl(init.address, "web", program="reload").returncode == 0
    errors = initctl(init.address, "-n", program="start").stderr
    assert errors == b"start: missing job name\nTry `start --help' for more information.\n"


def test_a_call_that_may_take_long_is_preceded_by_the_wish_for_no_signals(start_init: StartInit) -> None:
    init = start_init({"EmitEvent": ("",)})
    assert initctl(init.address, "emit", "ev", "A=é").returncode == 0
    calls = init.calls("EmitEvent")
    assert [call[1:] for call in calls] == [
        ["com.ubuntu.Upstart0_6.Extension", "Quiet"],
        ["com.ubuntu.Upstart0_6", "EmitEvent", "ev", ["A=é"], True],
    ]


def test_an_interrupt_ends_a_command_that_waits(start_init: StartInit) -> None:
    init = start_init({"EmitEvent": ("silence",)})
    process = subprocess.Popen([str(SBIN / "initctl"), "emit", "ev"], env=environment(init.address))
    init.calls("EmitEvent")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT


def test_an_init_that_goes_away_while_a_command_waits_is_an_error(start_init: StartInit) -> None:
    init = start_init({"EmitEvent": ("hang up",)})
    result = initctl(init.address, "emit", "ev")
    assert result.returncode == 1
    assert result.stderr.startswith(b"initctl: ")


@pytest.mark.parametrize("answer", [("",), ("i", 3), ("as", ["x"]), ("o", "/x")])
def test_a_reply_of_the_wrong_type_is_an_error(start_init: StartInit, answer: tuple[Any, ...]) -> None:
    init = start_init({"GetEnv": answer, "Get version": answer})
    for words in (["get-env", "X"], ["version"]):
        result = initctl(init.address, *words)
        assert (result.returncode, result.stderr) == (1, b"initctl: Invalid arguments received in reply\n")


def test_an_error_is_told_as_init_told_it(start_init: StartInit) -> None:
    init = start_init({"GetStatus": ("error", "com.ubuntu.Upstart0_6.Error.UnknownJob", "Unknown job: é")})
    result = initctl(init.address, "é", program="status")
    assert (result.returncode, result.stderr.decode()) == (1, "status: Unknown job: é\n")


@pytest.mark.parametrize("word", [b"A=\xff", b"\xc3"])
def test_text_that_d_bus_cannot_carry_is_refused_without_harm(start_init: StartInit, word: bytes) -> None:
    init = start_init({"EmitEvent": ("",)})
    result = initctl(init.address, "emit", "ev", word)
    assert result.returncode == 1
    assert result.stderr.startswith(b"initctl: Not valid UTF-8: ")


def test_in_the_locale_of_a_booting_system_text_stays_utf_8(start_init: StartInit) -> None:
    init = start_init({"GetEnv": ("s", "é")})
    result = initctl(init.address, "get-env", "é".encode(), LC_ALL="C")
    assert result.stdout == "é\n".encode()
    assert init.calls("GetEnv")[-1][-1] == "é"


def test_nobody_listening_is_an_error() -> None:
    for words in (["version"], ["list"], ["--user", "emit", "x"]):
        result = initctl("unix:abstract=/initctl-test-nobody", *words)
        assert result.returncode == 1
        assert result.stderr == (
            b"initctl: Unable to connect to Upstart: "
            b"Failed to connect to socket /initctl-test-nobody: Connection refused\n"
        )


def test_a_session_must_be_known_to_be_meant() -> None:
    result = initctl(None, "--user", "version")
    assert (result.returncode, result.stderr) == (
        1,
        b"initctl: UPSTART_SESSION isn't set in the environment. Unable to locate the Upstart instance.\n",
    )


def test_a_destination_needs_a_bus(start_init: StartInit) -> None:
    init = start_init({"Get version": ("v", "init (upstart 1.13.2)")})
    if os.getuid() == 0:
        result = initctl(None, "--dest", "com.example", "version")
        assert result.stderr.startswith(b"initctl: --dest given without --system\nTry ")
    result = initctl(init.address, "--dest", "com.example", "version")
    assert (result.returncode, result.stdout) == (1, b"")
    assert b'Method "AddMatch"' in result.stderr


@pytest.mark.parametrize("option", ["--system", "--session"])
def test_a_bus_that_is_asked_for_is_preferred_to_the_session(option: str) -> None:
    nowhere = "unix:path=/nonexistent/bus"
    result = initctl(
        "unix:abstract=/x", option, "version", DBUS_SYSTEM_BUS_ADDRESS=nowhere, DBUS_SESSION_BUS_ADDRESS=nowhere
    )
    assert result.returncode == 1
    assert result.stderr.decode() == (
        f"initctl: Unable to connect to {option[2:]} bus: "
        "Failed to connect to socket /nonexistent/bus: No such file or directory\n"
    )


def test_output_that_cannot_be_written_is_no_failure(start_init: StartInit) -> None:
    init = start_init({"Get version": ("v", "init (upstart 1.13.2)")})
    with open("/dev/full", "wb") as full:
        assert initctl(init.address, "version", stdout=full).returncode == 0
        # Half a document is good for nothing.
        lost = initctl(init.address, "version", "--json", stdout=full)
        assert (lost.returncode, lost.stderr) == (1, b"initctl: Unable to write: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert initctl(init.address, "version", stdout=writer).returncode == 0
        assert initctl(init.address, "version", "--json", stdout=writer).returncode == 0
    finally:
        os.close(writer)


def test_closed_descriptors_do_no_harm(start_init: StartInit) -> None:
    init = start_init({"Get version": ("v", "init (upstart 1.13.2)")})
    command = f"{SBIN}/initctl version <&- >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", command], env=environment(init.address), timeout=20).returncode == 0


def test_a_command_loads_nothing_it_does_not_need(start_init: StartInit) -> None:
    init = start_init({"Get version": ("v", "init (upstart 1.13.2)"), "GetStatusAll": STATUS})
    for command in ("version", "list"):
        result = subprocess.run(
            ["/usr/bin/python3", "-ISX", "importtime", str(SBIN / "initctl"), command],
            env=environment(init.address),
            capture_output=True,
            text=True,
            timeout=20,
        )
        modules = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
        assert result.returncode == 0 and "upstart.client.connection" in modules
        assert not modules & {"os", "re", "enum", "typing", "dbus", "argparse", "logging", "dataclasses", "signal"}


def test_a_thousand_jobs_are_listed_completely(start_init: StartInit) -> None:
    entries = [(f"job{number}", "", "start", "running", [("main", number)]) for number in range(1000)]
    init = start_init({"GetStatusAll": ("a(ssssa(si))", entries)})
    lines = initctl(init.address, "list").stdout.decode().splitlines()
    assert lines == [f"job{number} start/running, process {number}" for number in range(1000)]


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    """The scripts of the build directory, also where the tests are run alone."""
    subprocess.run([sys.executable, str(ROOT / "build-aux" / "programs.py"), "checkout", str(SBIN)], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    ("name", "uid", "trusted"),
    [
        ("upstart", 0, True),
        ("upstart", 65534, False),
        ("upstart-session/0/99", 65534, False),
        ("upstart-session/65534/99", 65534, True),
        ("upstart-session/65534/99", 0, True),
    ],
)
def test_who_has_taken_the_name_of_an_inits_socket_must_be_its_user_or_root(
    name: str, uid: int, trusted: bool
) -> None:
    # The name belongs to the network namespace.
    drop = ["unshare", "--net", "setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
    script = Path(__file__).with_name("fake_init.py").read_text()
    address = f"unix:abstract=/com/ubuntu/{name}"
    command = [*drop, "/usr/bin/python3", "-c", script, address, "{'Get version': ('v', 'it')}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd="/")
    try:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        into = ["nsenter", "-t", str(server.pid), "-n", str(SBIN / "initctl"), "version"]
        session = {"UPSTART_SESSION": address} if "session" in name else {}
        done = subprocess.run(into, capture_output=True, text=True, timeout=20, env={**os.environ, **session})
        assert (done.returncode, done.stdout) == ((0, "it\n") if trusted else (1, ""))
        assert trusted == ("Its server is another user's" not in done.stderr)
    finally:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()
