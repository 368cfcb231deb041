"""The socket bridge at a real init: each kind of socket, and what becomes of those who connect."""

from __future__ import annotations

import os
import re
import socket
import stat
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon_init import MANAGER, PROGRAMS, ROOT, UPSTART, SessionInit, wait_for

from manual import examples

BRIDGE = (ROOT / "etc/sessions/upstart-socket-bridge.conf").read_text()
BRIDGE = BRIDGE.replace("respawn", "respawn\nrespawn limit unlimited").replace("/usr/sbin/", f"{PROGRAMS}/")
JOB = "upstart-socket-bridge"
#: Says what it was given; then serves all its sockets, or one connection, or nothing.
SERVE = """\
import os, select, socket, sys
how = sys.argv[1]
e = os.environ
names = ("UPSTART_FDS", "LISTEN_FDS", "LISTEN_FDNAMES", "PROTO", "PORT", "ADDR", "SOCKET_PATH", "UPSTART_EVENTS")
print(*(f"{name}={e[name]}" for name in names if name in e),
      e.get("LISTEN_PID") == str(os.getpid()) and e["PATH"] == sys.argv[2], flush=True)
if how == "fail":
    raise SystemExit(1)
if how == "end":
    raise SystemExit(0)
sockets = {fd: name for fd, name in zip(range(3, 3 + int(e["LISTEN_FDS"])), e["LISTEN_FDNAMES"].split(":"))}
while True:
    for fd in select.select(list(sockets), [], [])[0]:
        if not os.path.exists(f"/proc/self/fd/{fd}") or "socket" not in os.readlink(f"/proc/self/fd/{fd}"):
            print("fifo", os.read(fd, 100), flush=True)
            continue
        listening = socket.socket(fileno=os.dup(fd))
        if listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            with listening.accept()[0] as connection:
                connection.sendall(f"{sockets[fd]} {os.getpid()}".encode())
        else:
            data, sender = listening.recvfrom(100)
            print("datagram", data, flush=True)
            if sender:
                listening.sendto(b"got " + data, sender)
        if how == "once":
            raise SystemExit(0)
"""


class Sockets(SessionInit):
    """A session with the bridge."""

    def __init__(self, directory: Path, jobs: dict[str, str]) -> None:
        (directory / "serve.py").write_text(SERVE)
        jobs = {name: self.expand(directory, text) for name, text in jobs.items()}
        super().__init__(directory, {JOB: BRIDGE, **jobs})
        self.talk = self.client()
        self.settle()

    @staticmethod
    def expand(directory: Path, text: str) -> str:
        serve = rf"exec /usr/bin/python3 -IS {directory}/serve.py \1 {os.environ['PATH']}"
        return re.sub(r"^SERVE (\w+)", serve, text, flags=re.M).replace("$W", str(directory))

    def settle(self) -> None:
        """Wait until the bridge watches what it found at its start."""
        self.talk.wait_status(JOB, "start/running")
        # On a machine with much to do the job counts as running before its process says that it is ready.
        wait_for(lambda: any(os.path.exists(f"/proc/{path.name.split('.')[1]}") for path in self.ready()))

    def ready(self) -> list[Path]:
        """The files of bridges that have been ready."""
        return list(self.directory.glob(f"{JOB}.*.pid"))

    def put(self, name: str, text: str) -> None:
        """Write a job, and wait until its sockets are there."""
        self.write(name, self.expand(self.directory, text))
        self.talk.call(MANAGER, UPSTART, "ReloadConfiguration")
        self.settle()

    def state(self, job: str) -> str:
        return self.talk.status(job)[0]

    def words(self, job: str) -> list[str]:
        """What a job has said at its start, last."""
        lines = [line for line in self.job_log(job).splitlines() if " True" in line or " False" in line]
        return lines[-1].split() if lines else []

    def again(self) -> None:
        self.restart()
        self.talk = self.client()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(family: int, address: object, seconds: float = 10, kind: int = socket.SOCK_STREAM) -> str:
    """What a server says to who connects; it has to listen within ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket(family, kind) as client:
            client.settimeout(10)
            try:
                client.connect(address)  # type: ignore[arg-type]
            except (ConnectionRefusedError, FileNotFoundError):
                assert time.monotonic() < deadline
                time.sleep(0.01)
                continue
            return client.recv(100).decode()


def on(port: int) -> str:
    return ask(socket.AF_INET, ("127.0.0.1", port))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Sockets]]:
    made: list[Sockets] = []

    def make(**jobs: str) -> Sockets:
        made.append(Sockets(tmp_path, jobs))
        return made[0]

    yield make
    for init in made:
        init.close()
        assert "Internal error" not in init.text()


Make = Callable[..., Sockets]


@pytest.mark.parametrize(
    "proto, address, said",
    [
        ("inet", "127.0.0.1", "ADDR=0.0.0.0"), ("inet6", "::1", "ADDR=::"), ("tcp", "127.0.0.1", "ADDR=::"),
        ("tcp", "::1", "ADDR=::"), ("inet ADDR=127.0.0.2", "127.0.0.2", "ADDR=127.0.0.2"),
        ("tcp DEVICE=lo REUSEPORT=y BACKLOG=7", "127.0.0.1", "ADDR=::"),
        ("tcp ADDR=::1 FREEBIND=n", "::1", "ADDR=::1"),
    ],
)  # fmt: skip
def test_a_service_starts_when_somebody_connects(make: Make, proto: str, address: str, said: str) -> None:
    port = free_port()
    init = make(server=f"start on socket PORT={port} PROTO={proto}\nSERVE serve\n")
    assert init.state("server") == "stop/waiting"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    name, pid = ask(family, (address, port)).split()
    assert name == "server" and int(pid) == init.talk.status("server")[1]["main"]
    # The same process serves the next.
    assert ask(family, (address, port)).split()[1] == pid
    wait_for(lambda: init.words("server"))
    word = proto.split()[0]
    assert init.words("server") == [
        "UPSTART_FDS=3", "LISTEN_FDS=1", "LISTEN_FDNAMES=server", f"PROTO={word}", f"PORT={port}", said,
        "UPSTART_EVENTS=socket", "True",
    ]  # fmt: skip


def test_one_family_leaves_the_other_alone(make: Make) -> None:
    port = free_port()
    init = make(
        four=f"start on socket PROTO=inet PORT={port}\nSERVE serve\n",
        six=f"start on socket PROTO=inet6 PORT={port}\nSERVE serve\n",
    )
    assert on(port).startswith("four ") and init.state("six") == "stop/waiting"
    assert ask(socket.AF_INET6, ("::1", port)).startswith("six ")


@pytest.mark.parametrize("word", ["PATH", "SOCKET_PATH"])
@pytest.mark.parametrize("abstract", [False, True])
def test_sockets_of_unix(make: Make, tmp_path: Path, word: str, abstract: bool) -> None:
    path = f"@{tmp_path}/abstract" if abstract else f"{tmp_path}/new/dir/socket"
    words = "" if abstract else "MODE=0620 DIRMODE=0750"
    init = make(server=f"start on socket PROTO=unix {word}={path} {words}\nSERVE serve\n")
    assert ask(socket.AF_UNIX, path.replace("@", "\0")).startswith("server ")
    wait_for(lambda: init.words("server"))
    assert f"SOCKET_PATH={path}" in init.words("server") and init.words("server")[-1] == "True"
    if not abstract:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o620
        assert stat.S_IMODE(os.stat(f"{tmp_path}/new/dir").st_mode) == 0o750
        assert "/proc" not in Path("/proc/net/unix").read_text().partition(str(tmp_path) + "/new")[0][-40:]


def test_packets_datagrams_and_fifos(make: Make, tmp_path: Path) -> None:
    port, port6 = free_port(), free_port()
    init = make(
        packets=f"start on socket PROTO=unix-seqpacket PATH={tmp_path}/packets\nSERVE serve\n",
        datagrams=f"start on socket PROTO=unix-dgram PATH={tmp_path}/datagrams\nSERVE serve\n",
        udp=f"start on socket PROTO=udp PORT={port}\nSERVE serve\n",
        udp6=f"start on socket PROTO=udp6 PORT={port6}\nSERVE serve\n",
        fifo=f"start on socket PROTO=fifo PATH={tmp_path}/fifo MODE=600\nSERVE serve\n",
    )
    assert ask(socket.AF_UNIX, f"{tmp_path}/packets", kind=socket.SOCK_SEQPACKET).startswith("packets ")
    for family, address, number in ((socket.AF_INET, "127.0.0.1", port), (socket.AF_INET6, "::1", port6)):
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.sendto(b"hello", (address, number))
            assert client.recv(100) == b"got hello"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", f"{tmp_path}/datagrams")
    with open(tmp_path / "fifo", "w") as fifo:
        fifo.write("hello")
    wait_for(lambda: "datagram b'hello'" in init.job_log("datagrams") and "fifo b'hello'" in init.job_log("fifo"))
    assert stat.S_IMODE(os.stat(tmp_path / "fifo").st_mode) == 0o600


def test_all_sockets_of_a_job_at_once_in_the_order_of_its_conditions(make: Make, tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    condition = f"socket PROTO=inet PORT={first} NAME=web or socket PROTO=tcp PORT={second} ADDR=127.0.0.1"
    init = make(server=f"start on {condition} or socket PROTO=unix PATH={tmp_path}/s NAME=local\nSERVE serve\n")
    assert on(second).startswith("server ")
    assert on(first).startswith("web ") and ask(socket.AF_UNIX, f"{tmp_path}/s").startswith("local ")
    wait_for(lambda: init.words("server"))
    assert init.words("server")[:5] == ["UPSTART_FDS=3", "4", "5", "LISTEN_FDS=3", "LISTEN_FDNAMES=web:server:local"]
    # Whatever starts it.
    init.talk.stop("server")
    init.talk.start("server")
    assert on(first).startswith("web ")


def test_and_with_something_else(make: Make) -> None:
    first, second = free_port(), free_port()
    one, two = f"socket PROTO=inet PORT={first}", f"socket PROTO=inet PORT={second}"
    init = make(both=f"start on {one} and {two}\nSERVE serve\n", later=f"start on {one} and go\nSERVE serve\n")
    with socket.create_connection(("127.0.0.1", first), 10) as client:
        client.settimeout(10)
        time.sleep(0.3)
        assert init.state("both") == init.state("later") == "stop/waiting"
        # What is half met holds its event, also where the bridge or init has begun anew.
        os.kill(init.talk.status(JOB)[1]["main"], 9)
        init.again()
        init.settle()
        init.talk.emit("go", wait=False)
        assert client.recv(100).startswith(b"later ")
    assert on(second).startswith("both ")


def test_stop_on_a_socket(make: Make) -> None:
    port, other = free_port(), free_port()
    init = make(server=f"start on socket PROTO=inet PORT={port}\nstop on socket PROTO=inet PORT={other}\nSERVE serve\n")
    for _ in range(2):
        assert on(port).startswith("server ")
        with socket.create_connection(("127.0.0.1", other)):
            init.talk.wait_status("server", "stop/waiting")


def test_what_waits_when_a_service_ends_starts_it_again(make: Make) -> None:
    port = free_port()
    make(server=f"start on socket PROTO=inet PORT={port}\nSERVE once\n")
    clients = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(8)]
    for client in clients:
        client.settimeout(10)
        assert client.recv(100).startswith(b"server ")
        client.close()


@pytest.mark.parametrize("how", ["fail", "end"])
@pytest.mark.parametrize("proto", ["inet", "unix", "udp"])
def test_a_job_that_takes_nothing_is_given_up(make: Make, tmp_path: Path, how: str, proto: str) -> None:
    port = free_port()
    place = f"PATH={tmp_path}/s" if proto == "unix" else f"PORT={port}"
    init = make(server=f"start on socket PROTO={proto} {place}\nSERVE {how}\n", log="exec sleep 1000\n")
    address = f"{tmp_path}/s" if proto == "unix" else ("127.0.0.1", port)
    family = socket.AF_UNIX if proto == "unix" else socket.AF_INET
    for starts in (5, 10):
        if proto == "udp":
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.sendto(b"x", address)
        else:
            # Of how many they are only the kernel knows; they are all closed.
            clients = [socket.socket(family) for _ in range(3)]
            for client in clients:
                client.settimeout(10)
                client.connect(address)
            for client in clients:
                try:
                    assert client.recv(100) == b""
                except ConnectionResetError:
                    pass
                client.close()
        wait_for(lambda starts=starts: init.job_log("server").count(" True") >= starts)  # type: ignore[misc]
        time.sleep(0.2)
        assert init.job_log("server").count(" True") == starts


def test_respawned_and_restarted_it_has_its_sockets(make: Make) -> None:
    port = free_port()
    init = make(server=f"start on socket PROTO=inet PORT={port}\nrespawn\nrespawn limit unlimited\nSERVE serve\n")
    pid = on(port).split()[1]
    for _ in range(12):
        os.kill(int(pid), 9)
        wait_for(lambda pid=pid: not os.path.exists(f"/proc/{pid}/fd/0"))  # type: ignore[misc]
        new = on(port).split()[1]
        assert new != pid
        pid = new
    init.talk.call(f"{MANAGER}/jobs/server", UPSTART + ".Job", "Restart", "asb", [], True)
    assert on(port).split()[1] != pid
    init.talk.stop("server")
    assert on(port)


SHUT = """\
import os, socket
server = socket.socket(fileno=3)
print("blocks" if os.get_blocking(3) else "does not block", flush=True)
server.accept()[0].sendall(b"once")
server.setblocking(False)
server.shutdown(socket.SHUT_RDWR)
"""


def test_what_a_service_has_done_to_its_socket_is_undone(make: Make, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "shut.py").write_text(SHUT)
    init = make(server=f"start on socket PROTO=inet PORT={port}\nexec /usr/bin/python3 -IS $W/shut.py\n")
    for number in range(1, 4):
        assert on(port) == "once"
        wait_for(lambda number=number: init.job_log("server") == "blocks\n" * number)  # type: ignore[misc]
        init.talk.wait_status("server", "stop/waiting")


def test_a_socket_is_there_while_a_job_wants_it(make: Make, tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    condition = f"start on socket PROTO=unix PATH={tmp_path}/s or socket PROTO=inet PORT="
    init = make(server=f"{condition}{port}\nSERVE serve\n", another=f"start on socket PROTO=inet PORT={other}\n")
    assert on(port)
    init.talk.stop("server")
    init.put("server", f"{condition}{other} NAME=moved\nSERVE serve\n")
    assert ask(socket.AF_INET, ("127.0.0.1", other)).startswith("moved ")
    wait_for(lambda: refused(port))
    init.talk.stop("another")
    (init.conf / "another.conf").unlink()
    init.talk.stop("server")
    (init.conf / "server.conf").unlink()
    init.put("more", f"start on socket PROTO=inet PORT={port}\nSERVE serve\n")
    wait_for(lambda: refused(other) and not (tmp_path / "s").exists())
    assert on(port)
    (init.conf / "more.conf").unlink()
    init.talk.stop("more")
    init.talk.wait_status(JOB, "stop/waiting")
    wait_for(lambda: refused(port))


def refused(port: int) -> bool:
    with socket.socket() as client:
        try:
            client.connect(("127.0.0.1", port))
        except ConnectionRefusedError:
            return True
        return False


def test_two_jobs_may_wait_at_one_socket(make: Make) -> None:
    port = free_port()
    condition = f"start on socket PROTO=inet PORT={port}"
    init = make(one=f"{condition}\nSERVE serve\n")
    init.put("two", f"{condition} NAME=x\nSERVE end\n")
    wait_for(lambda: on(port) and init.job_log("two"))
    (init.conf / "one.conf").unlink()
    init.put("two", f"{condition} NAME=x\nSERVE serve\n")
    init.talk.stop("one")
    assert wait_for(lambda: on(port)).startswith("x ")


def test_what_is_left_over_is_removed_and_what_somebody_has_is_not(make: Make, tmp_path: Path) -> None:
    for name in ("left", "taken"):
        with socket.socket(socket.AF_UNIX) as old:
            old.bind(f"{tmp_path}/{name}")
    (tmp_path / "taken").unlink()
    (tmp_path / "file").write_text("precious")
    port = free_port()
    with socket.socket(socket.AF_UNIX) as other, socket.socket() as there:
        other.bind(f"{tmp_path}/taken")
        other.listen()
        there.bind(("0.0.0.0", port))
        there.listen()
        init = make(
            left=f"start on socket PROTO=unix PATH={tmp_path}/left\nSERVE serve\n",
            taken=f"start on socket PROTO=unix PATH={tmp_path}/taken or socket PROTO=inet PORT={port}\nSERVE serve\n",
            file=f"start on socket PROTO=unix PATH={tmp_path}/file\nSERVE serve\n",
        )
        assert ask(socket.AF_UNIX, f"{tmp_path}/left").startswith("left ")
        time.sleep(1.2)
        assert init.state("taken") == "stop/waiting"
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
    assert (tmp_path / "file").read_text() == "precious"
    # Tried again for as long as it takes.
    assert ask(socket.AF_UNIX, f"{tmp_path}/taken").startswith("taken ") and on(port).startswith("taken ")


def test_wrong_words_are_told_of_and_spoil_nothing_else(make: Make) -> None:
    port = free_port()
    init = make(
        wrong=f"start on socket PROTO=inet PORT=99999 or socket PROTO=inet PORT={port}\nSERVE serve\n",
        other="start on socket PROTO=carrier-pigeon PORT=1\n",
    )
    assert on(port).startswith("wrong ")
    assert init.state(JOB) == "start/running"


# Connections of their own

ECHO = "instance $CONNECTION\nconsole none\nexec sh -c 'echo $PROTO $REMOTE_ADDR $REMOTE_PORT$REMOTE_UID; exec cat'\n"


def greeting(client: socket.socket) -> list[str]:
    """The first line that an instance says, after which it gives back what it gets."""
    client.settimeout(10)
    line = b""
    while not line.endswith(b"\n"):
        data = client.recv(1)
        if not data:
            break
        line += data
    return line.decode().split()


def echoes(client: socket.socket) -> bool:
    client.sendall(b"x")
    return client.recv(1) == b"x"


def test_each_connection_has_an_instance_with_it_as_standard_input_and_output(make: Make, tmp_path: Path) -> None:
    port = free_port()
    init = make(
        inet=f"start on socket PROTO=tcp PORT={port} ACCEPT=y\n{ECHO}",
        unix=f"start on socket PROTO=unix PATH={tmp_path}/s ACCEPT=y\n{ECHO}",
    )
    clients = [socket.create_connection((address, port), 10) for address in ("127.0.0.1", "::1", "127.0.0.1")]
    clients += [socket.socket(socket.AF_UNIX)]
    clients[3].connect(f"{tmp_path}/s")
    for client in clients[:3]:
        address, number = client.getsockname()[:2]
        assert greeting(client) == ["tcp", address, str(number)]
    assert greeting(clients[3]) == ["unix", str(os.getuid())]
    assert all(map(echoes, clients))
    assert len(init.talk.call(f"{MANAGER}/jobs/inet", UPSTART + ".Job", "GetAllInstances")[0]) == 3
    # Neither init's re-exec nor the bridge's death concerns them.
    os.kill(init.talk.status(JOB)[1]["main"], 9)
    init.again()
    init.settle()
    assert all(map(echoes, clients))
    with socket.create_connection(("127.0.0.1", port), 10) as another:
        assert greeting(another)[1] == "127.0.0.1" and echoes(another)
    for client in clients:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        client.close()
    jobs = [f"{MANAGER}/jobs/{name}" for name in ("inet", "unix")]
    wait_for(lambda: not any(init.talk.call(job, UPSTART + ".Job", "GetAllInstances")[0] for job in jobs))


def test_no_more_connections_than_are_wanted(make: Make) -> None:
    port, other = free_port(), free_port()
    init = make(
        two=f"start on socket PROTO=inet PORT={port} ACCEPT=y MAXCONN=2\n{ECHO}",
        few=f"start on socket PROTO=inet PORT={other} ACCEPT=y MAXPERSOURCE=1\n{ECHO}",
    )
    clients = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(3)]
    assert greeting(clients[0]) and greeting(clients[1])
    os.kill(init.talk.status(JOB)[1]["main"], 9)
    init.settle()
    clients[2].settimeout(0.3)
    with pytest.raises(TimeoutError):
        clients[2].recv(1)
    clients[0].close()
    assert greeting(clients[2])
    clients[1].close()
    clients[2].close()
    first, second = [socket.create_connection(("127.0.0.1", other), 10) for _ in range(2)]
    assert greeting(first) and second.recv(1) == b""
    with socket.create_connection(("127.0.0.1", other), 10, source_address=("127.0.0.2", 0)) as elsewhere:
        assert greeting(elsewhere)
    first.close()
    second.close()


def test_conditions_may_ask_whence_a_connection_is(make: Make) -> None:
    port = free_port()
    make(
        near=f"start on socket PROTO=inet PORT={port} ACCEPT=y REMOTE_ADDR=127.0.0.[1-4]\n{ECHO}",
        far=f"start on socket PROTO=inet PORT={port} ACCEPT=y REMOTE_ADDR=127.0.0.5\n{ECHO.replace('$PROTO', 'far')}",
    )
    for number, word in ((2, ["inet"]), (5, ["far"]), (6, [])):
        with socket.create_connection(("127.0.0.1", port), 10, source_address=(f"127.0.0.{number}", 0)) as client:
            assert greeting(client)[:1] == word


def test_a_server_of_pythons_takes_its_socket_as_the_manual_shows(make: Make, tmp_path: Path) -> None:
    (example,) = [example for example in examples("socket-event.7") if example.kind == "python"]
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "page").write_text("a page")
    (tmp_path / "server").write_text(example.text)
    (tmp_path / "server").chmod(0o755)
    port = free_port()
    init = make(web=f"start on socket PROTO=tcp PORT={port}\nrespawn\nchdir $W/served\nexec $W/server\n")
    for _ in range(2):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/page", timeout=10) as answer:
            assert answer.read() == b"a page"
        init.talk.stop("web")


# Nothing is refused

#: How many moments of the scenario are tried.
MOMENTS = int(os.environ.get("SOCKET_MOMENTS", "5"))


def scenario(init: Sockets, port: int, path: Path) -> None:
    """What happens to a service in its life; whoever connects has an answer all the time."""

    def told() -> str:
        # Not `ask`, which tries again.
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            return client.recv(100).decode()

    def command(name: str, state: str) -> None:
        """Whose answer may be lost with the init that it was for; what it asked for is not."""
        while True:
            result = init.initctl(name, "server")
            if "disconnected" not in result.stderr:
                break
        wait_for(lambda: init.initctl("status", "server").stdout.startswith(f"server {state}"))

    assert told().startswith("server ")
    pid = int(told().split()[1])
    os.kill(pid, 9)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}/fd/0"))
    assert told().startswith("server ")
    command("restart", "start/running")
    assert told().startswith("server ")
    command("stop", "stop/waiting")
    for _ in range(2):
        assert ask(socket.AF_UNIX, str(path)).startswith("once ")
    assert told().startswith("server ")
    command("stop", "stop/waiting")


@pytest.mark.parametrize("what", ["bridge", "init", "both"])
def test_no_connection_is_refused_whoever_is_killed_or_begins_anew(make: Make, tmp_path: Path, what: str) -> None:
    port = free_port()
    init = make(
        server=f"start on socket PROTO=inet PORT={port}\nrespawn\nSERVE serve\n",
        once=f"start on socket PROTO=unix PATH={tmp_path}/s\nSERVE once\n",
    )
    began = time.monotonic()
    scenario(init, port, tmp_path / "s")
    lasts = time.monotonic() - began
    for moment in range(MOMENTS):
        thread = Thread(lambda: scenario(init, port, tmp_path / "s"))
        thread.start()
        time.sleep(lasts * moment / MOMENTS)
        if what != "init":
            pids = init.initctl("status", JOB).stdout.split()
            if pids[-1].isdigit():
                os.kill(int(pids[-1]), 9)
        if what != "bridge":
            init.again()
        thread.join()
        init.settle()


class Thread(threading.Thread):
    """One whose fault is that of who waits for its end."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work = work
        self._fault: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._fault = error

    def join(self, timeout: float | None = None) -> None:
        super().join(timeout)
        if self._fault is not None:
            raise self._fault
