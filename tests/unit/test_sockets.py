"""The parts of the socket bridge: words of conditions, who is told of what, and where sockets are and what waits."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.base.socketwords import Wanted, WordError, port_of, read
from upstart.bridges import socketmaker, unixdiag
from upstart.bridges.socketpath import find, is_left_over
from upstart.bridges.socketqueue import empty, pending
from upstart.bridges.sockets import MOST, SECONDS, TRIES, Job, Pending, Sockets, name_of, place_of

# Words


def wanted(text: str) -> Wanted:
    return read(text.split(), port_of)


@pytest.mark.parametrize(
    "text, key, env",
    [
        ("PROTO=inet PORT=80", "inet 0.0.0.0 80", "PROTO=inet PORT=80 ADDR=0.0.0.0"),
        ("PROTO=inet6 PORT=80", "inet6 :: 80", "PROTO=inet6 PORT=80 ADDR=::"),
        ("PORT=65535 ADDR=::1 PROTO=tcp", "tcp ::1 65535", "PROTO=tcp PORT=65535 ADDR=::1"),
        ("PROTO=tcp PORT=ssh ADDR=127.0.0.1", "tcp 127.0.0.1 22", "PROTO=tcp PORT=22 ADDR=127.0.0.1"),
        ("PROTO=udp PORT=domain DEVICE=eth0", "udp 0.0.0.0 53 eth0", "PROTO=udp PORT=53 ADDR=0.0.0.0"),
        ("PROTO=udp6 PORT=53 ADDR=fe80::1%eth0", "udp6 fe80::1%eth0 53", "PROTO=udp6 PORT=53 ADDR=fe80::1%eth0"),
        ("PROTO=unix PATH=/run/x", "unix /run/x", "PROTO=unix SOCKET_PATH=/run/x"),
        ("PROTO=unix-dgram SOCKET_PATH=@x/..", "unix-dgram @x/..", "PROTO=unix-dgram SOCKET_PATH=@x/.."),
        ("PROTO=fifo PATH=/run/x MODE=0600 OWNER=a", "fifo /run/x", "PROTO=fifo SOCKET_PATH=/run/x"),
    ],
)
def test_words_that_ask_for_a_socket(text: str, key: str, env: str) -> None:
    found = wanted(text)
    assert found.key == key and [f"{name}={value}" for name, value in found.env.items()] == env.split()
    assert found.tested == dict(word.split("=", 1) for word in text.split())


def test_what_words_say() -> None:
    found = wanted("PROTO=unix PATH=/x MODE=640 DIRMODE=0700 OWNER=a GROUP=b BACKLOG=5 ACCEPT=y MAXCONN=7 NAME=n")
    assert (found.mode, found.dirmode, found.owner, found.group) == (0o640, 0o700, "a", "b")
    assert (found.backlog, found.accept, found.maxconn, found.maxpersource, found.name) == (5, True, 7, 0, "n")
    found = wanted("PROTO=tcp PORT=1 ADDR=::1 FREEBIND=n REUSEPORT=y ACCEPT=y MAXPERSOURCE=2 REMOTE_ADDR!=10.*")
    assert (found.freebind, found.reuseport, found.maxpersource) == (False, True, 2)
    assert "REMOTE_ADDR" not in found.tested and wanted("PROTO=tcp PORT=1").freebind is None


@pytest.mark.parametrize(
    "text, said",
    [
        ("PORT=80", "PROTO is missing"), ("PROTO=sctp PORT=1", "PROTO=sctp: unknown"),
        ("PROTO=inet", "PORT is missing"),
        ("PROTO=inet PORT=99999", "PORT=99999: not from 1"), ("PROTO=inet PORT=0", "PORT=0: not"),
        ("PROTO=inet PORT=-1", "PORT=-1: no such service"), ("PROTO=udp PORT=nonsense", "PORT=nonsense: no such"),
        ("PROTO=inet PORT=1 ADDR=::1", "ADDR=::1: no address"), ("PROTO=inet6 PORT=1 ADDR=1.2.3.4", "ADDR=1.2.3.4: no"),
        ("PROTO=inet PORT=1 ADDR=1.2.3", "ADDR=1.2.3: no"), ("PROTO=tcp PORT=1 ADDR=host", "ADDR=host: no address"),
        ("PROTO=unix", "PATH is missing"), ("PROTO=unix PATH=x", "PATH=x: not absolute"),
        ("PROTO=unix PATH=/x/", "PATH=/x/: not absolute"), ("PROTO=fifo PATH=@x", "PATH=@x: not absolute"),
        ("PROTO=unix PATH=/run/../x", "PATH=/run/../x: . and .."), ("PROTO=unix PATH=/" + "x" * 107, "longer than"),
        ("PROTO=unix PATH=/a SOCKET_PATH=/b", "not the same"), ("PROTO=unix PATH=@x MODE=600", "MODE: an abstract"),
        ("PROTO=unix PATH=/x MODE=9", "MODE=9: not three"), ("PROTO=unix PATH=/x MODE=1777", "MODE=1777: not three"),
        ("PROTO=unix PATH=/x PORT=1", "PORT: not for PROTO=unix"), ("PROTO=inet PORT=1 PATH=/x", "PATH: not for"),
        ("PROTO=udp PORT=1 BACKLOG=1", "BACKLOG: not for"), ("PROTO=udp PORT=1 ACCEPT=y", "ACCEPT: not for"),
        ("PROTO=tcp PORT=1 MAXCONN=1", "MAXCONN: not for PROTO=tcp without ACCEPT=y"),
        ("PROTO=tcp PORT=1 ACCEPT=maybe", "ACCEPT=maybe: y or n"), ("PROTO=tcp PORT=1 BACKLOG=0", "BACKLOG=0: not"),
        ("PROTO=tcp PORT=1 PORT=2", "PORT: given twice"), ("PROTO=tcp 80", "80: a variable's name"),
        ("PROTO=tcp PORT=1 COLOUR=red", "COLOUR: unknown"), ("PROTO=tcp PORT!=1", "PORT!=1: a socket"),
        ("PROTO=tcp PORT=8*", "PORT=8*: a socket"), ("PROTO=tcp PORT=$PORT", "PORT=$PORT: a socket"),
        ("PROTO=tcp PORT=", "PORT: has no value"), ("PROTO=tcp PORT=1 NAME=a:b", "NAME=a:b: printable"),
        ("PROTO=tcp PORT=1 DEVICE=" + "e" * 16, "no name of an interface"),
    ],
)  # fmt: skip
def test_words_that_ask_for_none(text: str, said: str) -> None:
    with pytest.raises(WordError) as error:
        wanted(text)
    assert str(error.value).startswith(said) or said in str(error.value)


KEYS = ("PROTO", "PORT", "ADDR", "PATH", "SOCKET_PATH", "MODE", "BACKLOG", "ACCEPT", "NAME", "REMOTE_ADDR", "X")
VALUES = ("inet", "tcp", "unix", "fifo", "y", "n", "80", "0600", "/x", "@x", "1.2.3.4", "::1")
words = st.tuples(
    st.sampled_from(KEYS), st.sampled_from(["=", "!=", ""]), st.one_of(st.text(max_size=8), st.sampled_from(VALUES))
).map("".join)


@given(st.lists(words, max_size=6))
def test_whatever_the_words_are_they_ask_for_a_socket_or_are_told_to_be_wrong(text: list[str]) -> None:
    try:
        found = read(text, port_of)
    except WordError:
        return
    assert found.key and found.env["PROTO"] == found.proto and "PATH" not in found.env


# Who is told


class Told:
    """Sockets at which made-up things wait, and a clock."""

    def __init__(self, *jobs: str) -> None:
        self.now = 100.0
        self.sockets = Sockets(lambda: self.now)
        self.waiting: dict[str, set[str]] = {}
        self.problems = self.want(*jobs)

    def want(self, *jobs: str) -> list[str]:
        """Each job as ``NAME start|stop WORDS``."""
        leaves = []
        for text in jobs:
            name, starts, rest = text.split(" ", 2)
            leaves.append((name, starts == "start", "socket", rest.split()))
        return self.sockets.want([*leaves, ("other", True, "file", ["X=1"])], port_of)

    def pending(self, key: str, closely: bool) -> Pending:
        waiting = self.waiting.get(key, set())
        return Pending(len(waiting), frozenset(waiting) if closely else None)

    def arrive(self, key: str, *which: str) -> list[str]:
        self.waiting.setdefault(key, set()).update(which)
        return [job.name for job, _ in self.sockets.readable(key, self.pending)] if key in self.watched() else []

    def watched(self) -> set[str]:
        return self.sockets.awaited()

    def job(self, name: str = "a") -> Job:
        return self.sockets.jobs[name]

    def ready(self) -> None:
        for job in self.sockets.jobs.values():
            self.sockets.known(job, False)

    def settled(self, key: str, busy: bool, name: str = "a") -> list[str]:
        return self.sockets.settled(self.job(name), key, busy, self.pending)

    def free(self, name: str = "a") -> list[str]:
        return self.sockets.free(name, self.pending)


WEB, TLS = "inet 0.0.0.0 80", "inet 0.0.0.0 443"
A = ("a start PROTO=inet PORT=80", "a start PROTO=inet PORT=443")


def test_nothing_is_watched_before_init_knows_what_jobs_are_given() -> None:
    told = Told(*A)
    assert told.watched() == set() and told.sockets.wanted().keys() == {WEB, TLS}
    told.ready()
    assert told.watched() == {WEB, TLS}
    # What is wanted now is not what the job has yet.
    told.want(A[0], "a start PROTO=inet PORT=25")
    assert told.watched() == set()
    told.ready()
    assert told.watched() == {WEB, "inet 0.0.0.0 25"}


def test_a_job_is_told_once_and_then_only_when_it_rests() -> None:
    told = Told(*A)
    told.ready()
    assert told.arrive(WEB, "1") == ["a"] and told.watched() == {TLS} and told.arrive(WEB, "2") == []
    # With "and" it may need both.
    assert told.arrive(TLS, "3") == ["a"] and told.watched() == set()
    assert told.settled(WEB, True) == told.settled(TLS, True) == [] and told.watched() == set()
    told.waiting[WEB].discard("1")
    assert told.free() == [] and told.watched() == {WEB, TLS}
    assert told.arrive(WEB) == ["a"]


def test_a_condition_that_is_not_met_by_it_is_not_told_again() -> None:
    told = Told(*A)
    told.ready()
    told.arrive(WEB, "1")
    assert told.settled(WEB, False) == [] and told.watched() == {TLS}
    assert told.arrive(TLS, "2") == ["a"] and told.settled(TLS, False) == [] and told.watched() == set()
    # Something else has started it, and it has ended.
    assert told.free() == [] and told.watched() == {WEB, TLS}


def test_what_was_under_way_when_init_went_is_told_again() -> None:
    told = Told(*A)
    told.ready()
    told.arrive(WEB, "1")
    told.want(*A)
    told.ready()
    assert told.watched() == {TLS}
    told.sockets.lost()
    told.ready()
    assert told.watched() == {WEB, TLS}


def fail(told: Told, seconds: float = 0.5) -> list[str]:
    """The job is told, ends, and has taken nothing."""
    told.arrive(WEB)
    told.now += seconds
    told.free()
    return told.settled(WEB, False)


def test_a_job_that_takes_nothing_is_given_up() -> None:
    told = Told(*A)
    told.ready()
    told.waiting[WEB] = {"1", "2"}
    assert [fail(told) for _ in range(TRIES)] == [[]] * (TRIES - 1) + [[WEB]]
    assert told.sockets.first_told(told.job()) and not told.sockets.first_told(told.job())
    # Slowly it may do so for ever.
    assert [fail(told, SECONDS) for _ in range(2 * TRIES)] == [[]] * (2 * TRIES)


def test_a_job_that_takes_what_waits_is_not_given_up_however_much_comes() -> None:
    told = Told(*A)
    told.ready()
    for number in range(3 * TRIES):
        told.waiting[WEB] = {str(number), str(number + 1)}
        told.arrive(WEB)
        told.waiting[WEB] = {str(number + 1), str(number + 2)}
        assert told.free() == told.settled(WEB, False) == []
        assert len(told.job().vain) <= 1
    told.waiting[WEB] = {"x"}
    assert [WEB] in [fail(told) for _ in range(TRIES + 1)] and told.sockets.first_told(told.job())


def test_amounts_tell_where_connections_have_no_names() -> None:
    assert Pending(2).taken_since(Pending(1)) and not Pending(2).taken_since(Pending(2))
    assert Pending(1, frozenset("a")).taken_since(Pending(2, frozenset("bc")))
    assert not Pending(1, frozenset("a")).taken_since(Pending(2, frozenset("ab")))


def test_sockets_of_stop_on_are_told_of_each_time_and_given_to_nobody() -> None:
    told = Told("a start PROTO=inet PORT=80", "a stop PROTO=inet PORT=443", "b stop PROTO=inet PORT=443")
    told.ready()
    assert told.watched() == {WEB} and told.sockets.told_of_once() == {TLS} and len(told.sockets.arrived(TLS)) == 2
    assert list(told.job().given) == [WEB] and told.job().others == [TLS]


def test_connections_are_counted_and_named_for_who_begins_anew() -> None:
    told = Told("a start PROTO=inet PORT=80 ACCEPT=y MAXCONN=2 MAXPERSOURCE=1")
    assert told.watched() == {WEB}
    names = [name_of(str(number), WEB, source) for number, source in enumerate(("here", "there"))]
    for name, source in zip(names, ("here", "there"), strict=True):
        accepted = told.sockets.accepts(WEB)
        assert accepted is not None and told.sockets.admits(accepted, source)
        told.sockets.connected(name, WEB, source)
        assert not told.sockets.admits(accepted, source)
    assert told.watched() == set() and told.sockets.accepts(WEB) is None
    again = Told("a start PROTO=inet PORT=80 ACCEPT=y MAXCONN=2")
    again.sockets.connections(names)
    assert again.watched() == set() and place_of(names[1]) == (WEB, "there")
    again.sockets.closed(names[0])
    assert again.watched() == {WEB}


def test_what_cannot_be_is_told_and_spoils_nothing_else() -> None:
    many = [f"a start PROTO=inet PORT={port}" for port in range(1, MOST + 2)]
    told = Told("b start PROTO=inet PORT=80", "c start PROTO=inet PORT=80 ACCEPT=y", "d stop PROTO=tcp PORT=1 ACCEPT=y",
                "b start PROTO=x", *many)  # fmt: skip
    assert [problem.rpartition(": ")[2] for problem in told.problems] == [
        "inet 0.0.0.0 80 is wanted with ACCEPT=y and without", "not for stop on",
        "unknown; it is one of inet, inet6, tcp, udp, udp6, unix, unix-dgram, unix-seqpacket, fifo",
        f"more than {MOST} sockets",
    ]  # fmt: skip
    assert told.problems[0].startswith("c: start on socket PROTO=inet PORT=80 ACCEPT=y: ")
    assert list(told.job("b").given) == [WEB] and len(told.job().given) == MOST


# Places


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


@pytest.fixture
def as_nobody() -> Iterator[Callable[[Callable[[], object]], None]]:
    def do(what: Callable[[], object]) -> None:
        pid = os.fork()
        if pid == 0:
            os.setgid(65534)
            os.setuid(65534)
            try:
                what()
            except OSError as error:
                print(error, file=sys.stderr)
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0

    yield do


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody gets to, with one, ``home``, that is another user's."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    (directory / "home").mkdir()
    os.chown(directory / "home", 65534, 65534)
    yield directory
    shutil.rmtree(directory)


@needs_root
def test_links_of_others_are_not_followed(
    place: Path, as_nobody: Callable[[Callable[[], object]], None]
) -> None:
    theirs = place / "home"
    (place / "secret").mkdir()
    as_nobody(lambda: os.symlink(place / "secret", theirs / "link"))
    os.symlink(place / "secret", place / "ours")
    os.symlink("secret/..", place / "relative")
    for proto in ("unix", "fifo"):
        with pytest.raises(OSError, match="Not following the symbolic link link"):
            socketmaker.make(wanted(f"PROTO={proto} PATH={theirs}/link/x"))
        os.close(socketmaker.make(wanted(f"PROTO={proto} PATH={place}/ours/{proto}")))
        assert (place / "secret" / proto).exists()
    os.close(socketmaker.make(wanted(f"PROTO=unix PATH={place}/relative/above")))
    assert (place / "above").exists()
    # Neither does one of root's count where others could have put it.
    os.symlink(place / "secret", theirs / "roots")
    with pytest.raises(OSError, match="Not following"):
        socketmaker.make(wanted(f"PROTO=unix PATH={theirs}/roots/x"))


@needs_root
def test_in_a_directory_of_others_what_is_found_is_used_and_nothing_else_changed(
    place: Path, as_nobody: Callable[[Callable[[], object]], None]
) -> None:
    theirs = place / "home"
    precious = place / "precious"
    precious.write_text("text")
    as_nobody(lambda: os.symlink(precious, theirs / "x"))
    for proto in ("unix", "fifo"):
        with pytest.raises(OSError):
            socketmaker.make(wanted(f"PROTO={proto} PATH={theirs}/x MODE=0666 OWNER=nobody"))
    (theirs / "x").unlink()
    found = wanted(f"PROTO=unix PATH={theirs}/x MODE=0666 OWNER=nobody")
    fd = socketmaker.make(found)
    with socket.socket(fileno=fd) as made, socket.socket(socket.AF_UNIX) as client:
        assert made.getsockname().startswith("/proc/self/fd/")
        client.connect(f"{theirs}/x")
        (theirs / "x").unlink()
        as_nobody(lambda: os.symlink(precious, theirs / "x"))
        assert not socketmaker.adapt(found, made.fileno())
    socketmaker.remove(found)
    assert (theirs / "x").is_symlink() and precious.read_text() == "text"
    assert stat.S_IMODE(precious.stat().st_mode) != 0o666 and precious.stat().st_uid == 0
    # A FIFO of theirs is none of root's.
    (theirs / "x").unlink()
    as_nobody(lambda: os.mkfifo(theirs / "x"))
    with pytest.raises(PermissionError):
        socketmaker.make(wanted(f"PROTO=fifo PATH={theirs}/x"))


@needs_root
def test_owner_and_mode_are_as_asked_and_follow_what_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "s"
    fd = socketmaker.make(wanted(f"PROTO=unix PATH={path} MODE=0640 OWNER=nobody DIRMODE=0711"))
    info = path.stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o640, 65534, 65534)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path.parent.parent)] == [0o711] * 2
    assert socketmaker.adapt(wanted(f"PROTO=unix PATH={path} MODE=0604 OWNER=0 GROUP=daemon"), fd)
    info = path.stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o604, 0, 1)
    for who in ("OWNER", "GROUP"):
        with pytest.raises(OSError, match="There is no"):
            socketmaker.make(wanted(f"PROTO=unix PATH={tmp_path}/none {who}=nonesuch"))
    assert not (tmp_path / "none").exists()
    os.close(fd)


def test_what_is_left_over_is_known_without_touching_what_is_not(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        server.setblocking(False)
        assert unixdiag.is_bound(os.stat(tmp_path / "s"))
        place = find(f"{tmp_path}/s")
        assert not is_left_over(place, socket.SOCK_STREAM)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert not unixdiag.is_bound(os.stat(tmp_path / "s"))
    assert is_left_over(place, socket.SOCK_STREAM)
    place.close()
    for name in ("file", "directory"):
        (tmp_path / name).mkdir() if name == "directory" else (tmp_path / name).write_text("")
        place = find(f"{tmp_path}/{name}")
        assert not is_left_over(place, socket.SOCK_STREAM)
        place.close()


@pytest.mark.parametrize("proto", ["tcp", "unix", "unix-seqpacket", "udp", "unix-dgram", "fifo"])
def test_what_waits_is_seen_and_can_be_dropped(tmp_path: Path, proto: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inet = proto in ("tcp", "udp")
    found = wanted(f"PROTO={proto} " + (f"PORT={port}" if inet else f"PATH={tmp_path}/s"))
    fd = socketmaker.make(found)
    assert pending(found, fd, True).amount == 0 and os.get_blocking(fd)
    kind = socketmaker.kind_of(found)
    clients = []
    for _ in range(2):
        if proto == "fifo":
            clients.append(open(tmp_path / "s", "w"))
            clients[-1].write("text")
            clients[-1].flush()
            continue
        client = socket.socket(socket.AF_INET if inet else socket.AF_UNIX, kind)
        client.connect(("127.0.0.1", port) if inet else f"{tmp_path}/s")
        if kind == socket.SOCK_DGRAM:
            client.send(b"text")
        clients.append(client)  # type: ignore[arg-type]
    was = pending(found, fd, True)
    assert was.amount >= 2 and not was.taken_since(pending(found, fd, True))
    if found.listens:
        assert was.which is not None and len(was.which) == was.amount == 2
        with socket.socket(fileno=os.dup(fd)) as listening:
            listening.accept()[0].close()
        assert was.taken_since(pending(found, fd, True))
    assert empty(found, fd) >= 1
    assert pending(found, fd, True).amount == 0 and os.get_blocking(fd)
    for each in clients:
        each.close()
    os.close(fd)
