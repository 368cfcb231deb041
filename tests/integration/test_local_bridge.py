"""The local bridge at a real init: what programs say to its socket arrives as events, with who has said it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from bridge_system import switches
from daemon_init import PROGRAMS, SessionInit, wait_for
from passable import let_pass

from upstart.bridges.localsocket import MOST_OF_USER

BRIDGE = "upstart-local-bridge"
NOBODY = 65534
#: What a client has whose connection is closed at once.
REFUSED = (
    "b''\n", "BrokenPipeError: [Errno 32] Broken pipe", "ConnectionResetError: [Errno 104] Connection reset by peer",
)  # fmt: skip
JOB = "expect daemon\nrespawn\nexec {command} --daemon --user --event=said --path={path} {words}\n"
#: What it was told, a line each.
NOTE = (
    "start on said\ntask\ninstance $A$CLIENT_PID$N\nenv N=\nenv B=\nconsole none\n"
    "exec sh -c '"
    "echo $UPSTART_EVENTS $SOCKET_TYPE $SOCKET_VARIANT $CLIENT_UID $CLIENT_GID $SOCKET_PATH $A $B >>{noted}'\n"
)


class Local:
    """A session with a bridge that has the options ``words``."""

    def __init__(self, directory: Path, *words: str, path: str = "") -> None:
        # Everybody may come this far.
        directory.chmod(0o711)
        let_pass(directory)
        self.path = path or str(directory / "s")
        self.noted = directory / "noted"
        self.noted.touch()
        command = PROGRAMS / BRIDGE
        job = JOB.format(command=command, path=self.path, words=" ".join(words))
        self.init = SessionInit(directory, {BRIDGE: job, "note": NOTE.format(noted=self.noted)})
        self.client = self.init.client()
        self.client.start(BRIDGE)
        self.address = "\0" + self.path[1:] if self.path.startswith("@") else self.path

    def connect(self, kind: int = socket.SOCK_STREAM) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.settimeout(10)
        sock.connect(self.address)
        return sock

    def expect(self, *lines: str) -> None:
        uid, gid = os.getuid(), os.getgid()
        variant = "abstract" if self.path.startswith("@") else "named"
        wanted = sorted(f"said unix {variant} {uid} {gid} {self.path} {line}" for line in lines)
        try:
            wait_for(lambda: sorted(self.noted.read_text().splitlines()) == wanted)
        except AssertionError:
            raise AssertionError(f"{self.noted.read_text()} instead of {wanted}") from None

    def as_other(self, code: str, groups: Sequence[int] = (50,)) -> str:
        """What a program of another user prints; ``s`` is a socket of its own."""
        ids = f"os.setgroups({list(groups)}); os.setgid({NOBODY}); os.setuid({NOBODY})"
        head = f"import os, socket; {ids}; a = {self.address!r}\n"
        command = [sys.executable, "-ISc", f"{head}s = socket.socket(socket.AF_UNIX); s.settimeout(10)\n{code}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.stdout + done.stderr.rpartition("\n")[0].rpartition("\n")[2]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Callable[..., Local]]:
    made: list[Local] = []

    def make(*words: str, path: str = "") -> Local:
        directory = tmp_path / str(len(made))
        directory.mkdir()
        made.append(Local(directory, *words, path=path))
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.init.close()
            assert "Internal error" not in each.init.text()


@pytest.mark.parametrize("path", ["", "@/upstart/test-{}"])
def test_each_line_is_an_event_of_who_says_it(local: Callable[..., Local], path: str) -> None:
    own = local(path=path.format(os.getpid()))
    with own.connect() as first, own.connect() as second:
        first.sendall(b"A=1\nA=")
        second.sendall(b"A=2\r\nCLIENT_UID=5\nno\n")
        first.sendall(b"3\nA=4")
        first.shutdown(socket.SHUT_WR)
        own.expect("1", "2", "3", "4")
    if not path:
        assert Path(own.path).stat().st_mode & 0o777 == 0o600
    own.client.stop(BRIDGE)
    assert path or not Path(own.path).exists()


def test_answers_come_in_order_and_say_what_is_wrong(local: Callable[..., Local]) -> None:
    own = local("--reply", "--several", "--allow=A", "--allow=B")
    with own.connect() as sock:
        sock.sendall(b"A=1\nB=x\n\nSOCKET_PATH=/y\n\nA=2\n\nC=3\n\nA=4")
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile() as answers:
            assert answers.read().splitlines() == [
                "ok", "error: Not to be set: SOCKET_PATH", "ok", "error: Not to be set: C", "ok",
            ]  # fmt: skip
    own.expect("1 x", "2", "4")
    # Who does not read its answers is not read from, and nobody else has to wait for that.
    with own.connect() as deaf:
        deaf.setblocking(False)
        try:
            while True:
                deaf.sendall(b"D=1\n\n" * 1000)
        except OSError:
            pass
        with own.connect() as sock:
            sock.sendall(b"C=1\n\n")
            assert sock.recv(100) == b"error: Not to be set: C\n"


def test_a_packet_is_an_event(local: Callable[..., Local]) -> None:
    own = local("--type=seqpacket", "--reply")
    with own.connect(socket.SOCK_SEQPACKET) as sock:
        for text, answer in ((b"A=1\nB=x", b"ok\n"), (b"A=2", b"ok\n"), (b"A=" + b"x" * 70000, b"error: Longer than")):
            sock.sendall(text)
            assert sock.recv(100).startswith(answer)
    own.expect("1 x", "2")


def test_datagrams_are_answered_to_who_has_an_address(local: Callable[..., Local], tmp_path: Path) -> None:
    own = local("--type=datagram", "--reply")
    with own.connect(socket.SOCK_DGRAM) as sock:
        sock.send(b"A=1\nB=x")
        own.expect("1 x")
        sock.bind(str(tmp_path / "mine"))
        for text, answer in ((b"A=2", b"ok\n"), (b"CLIENT_PID=1", b"error: Not to be set: CLIENT_PID\n")):
            sock.send(text)
            assert sock.recv(100) == answer
    own.expect("1 x", "2")


def test_others_are_not_heard_unless_they_may(local: Callable[..., Local]) -> None:
    own = local(path=f"@/upstart/test-{os.getpid()}")
    own.as_other("s.connect(a); s.sendall(b'A=1\\n'); s.recv(1)")
    with own.connect() as sock:
        sock.sendall(b"A=2\n")
        own.expect("2")


def test_any_user_sets_nothing_that_leads_a_program_elsewhere(local: Callable[..., Local]) -> None:
    own = local("--any-user", "--reply")
    said = own.as_other("s.connect(a); s.sendall(b'A=1\\nLD_PRELOAD=/x\\n'); s.shutdown(1); print(s.makefile().read())")
    assert said.split("\n")[:2] == ["ok", "error: Not to be set: LD_PRELOAD"]
    wait_for(lambda: f"{NOBODY} {NOBODY} {own.path} 1" in own.noted.read_text())
    # One user does not keep out the others.
    held = own.as_other(
        f"held = [socket.socket(socket.AF_UNIX) for _ in range({MOST_OF_USER + 1})]\n"
        "for each in held: each.settimeout(10); each.connect(a); each.send(b'A=9')\nprint(held[-1].recv(1))"
    )
    assert held in REFUSED


def test_a_group_may_speak_and_nobody_else(local: Callable[..., Local]) -> None:
    own = local("--group=50", "--reply")
    assert Path(own.path).stat().st_mode & 0o777 == 0o660 and Path(own.path).stat().st_gid == 50
    code = "s.connect(a); s.sendall(b'A=1\\n'); print(s.recv(9))"
    assert own.as_other(code) == "b'ok\\n'\n"
    assert own.as_other(code, groups=[]).startswith("PermissionError")
    # An abstract one has no mode: its group is the bridge's to know.
    abstract = local("--group=50", "--reply", path=f"@/upstart/test-{os.getpid()}")
    assert abstract.as_other(code) == "b'ok\\n'\n"
    assert abstract.as_other(code, groups=[]) in REFUSED


def test_a_flood_loses_nothing_and_init_goes_on_answering(local: Callable[..., Local]) -> None:
    own = local("--event=flood", "--reply")
    with own.connect() as sock:
        longest, count, answers, sent = 0.0, 10000, b"", 0
        lines = b"".join(b"N=%d\n" % number for number in range(count))
        sock.setblocking(False)
        while answers.count(b"\n") < count:
            try:
                sent += sock.send(lines[sent : sent + 4096])
            except BlockingIOError:
                pass
            try:
                answers += sock.recv(65536)
            except BlockingIOError:
                began = time.monotonic()
                own.client.status(BRIDGE)
                longest = max(longest, time.monotonic() - began)
        assert answers == b"ok\n" * count and longest < 1


def test_it_sleeps_while_nobody_says_anything(local: Callable[..., Local]) -> None:
    own = local()
    pid = own.client.status(BRIDGE)[1]["main"]
    with own.connect() as sock:
        sock.sendall(b"A=")
        time.sleep(0.5)
        before = switches(pid)
        own.client.emit("unheard")
        time.sleep(1)
        assert switches(pid) == before


def test_one_that_was_killed_is_followed_by_one_with_the_same_socket(local: Callable[..., Local]) -> None:
    own = local()
    pid = own.client.status(BRIDGE)[1]["main"]
    os.kill(pid, 9)
    wait_for(lambda: own.client.status(BRIDGE)[1].get("main", pid) != pid)
    own.client.wait_status(BRIDGE, "start/running")
    with own.connect() as sock:
        sock.sendall(b"A=1\n")
        own.expect("1")
        own.client = own.init.restart()
        sock.sendall(b"A=2\n")
        own.expect("1", "2")


def test_a_place_that_is_taken_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("kept")
    words = [str(PROGRAMS / BRIDGE), "--event=e", f"--path={path}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and path.read_text() == "kept"
    assert done.stderr == f"{BRIDGE}: Failed to create socket unix:{path}: Address already in use\n"
