"""Descriptors that a real init keeps for jobs, connections that come with events, and words for conditions only."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_init import EXTENSION, MANAGER, UPSTART, Client, DBusError, SessionInit, wait_for

#: Says what it was given, and serves one connection of its first socket after the other.
SERVE = """
import os, socket
e = os.environ
print(e.get("UPSTART_FDS"), e.get("LISTEN_FDS"), e.get("LISTEN_FDNAMES"), e.get("LISTEN_PID") == str(os.getpid()),
      e.get("PATH") == "$P", flush=True)
first = socket.socket(fileno=3)
while True:
    connection = first.accept()[0]
    connection.sendall(b"hello")
    connection.close()
""".replace("$P", os.environ["PATH"])
JOBS = {
    "server": "start on socket PORT=1 PATH=/x MODE=0600\nrespawn\nexec /usr/bin/python3 $W/serve.py\n",
    "many": "start on socket PORT=3\nscript\n: several lines\nexec ls -l /proc/self/fd\nend script\n",
    "each": "start on socket ACCEPT=y\ninstance $N\nconsole none\n"
    "exec sh -c 'read a; echo \"$a $N ${LISTEN_FDS-no}\"'\n",
    "pre": "start on socket PORT=2\npre-start exec sh -c 'echo ${LISTEN_FDS-none}'\nexec sleep 1000\n",
    "old": "start on file\nexec sh -c 'echo $UPSTART_FDS; ls /proc/self/fd; exec sleep 1000'\n",
}


class Sockets:
    def __init__(self, directory: Path) -> None:
        (directory / "serve.py").write_text(SERVE)
        self.init = SessionInit(directory, {name: text.replace("$W", str(directory)) for name, text in JOBS.items()})
        self.directory = directory
        self.client = self.init.client()
        self.number = 0

    def listen(self) -> socket.socket:
        self.number += 1
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.directory / f"s{self.number}"))
        listening.listen(50)
        return listening

    def keep(self, job: str, key: str, name: str, fd: int) -> None:
        self.client.answer(
            self.client.send_with_fds([fd], "KeepDescriptor", "sssh", job, key, name, 0, interface=EXTENSION)
        )

    def keep_new(self, job: str) -> None:
        with self.listen() as listening:
            self.keep(job, "a", "", listening.fileno())

    def call(self, member: str, signature: str = "", *values: Any) -> tuple[Any, ...]:
        return self.client.call(MANAGER, EXTENSION, member, signature, *values)

    def ask(self, number: int = 1) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(self.directory / f"s{number}"))
            return client.recv(100)

    def arrange(self, job: str, given: list[str], others: list[str] = []) -> bool:  # noqa: B006
        """Whether the job has an instance."""
        (busy,) = self.call("ArrangeDescriptors", "ssasas", job, "socket", given, others)
        return bool(busy)

    def kept(self, job: str) -> list[tuple[str, str]]:
        """Key and name of what is kept for a job, of which the descriptors are what they should be."""
        self.client.fds.clear()
        found = self.call("KeptDescriptors", "s", job)[0]
        assert [at for _, _, at in found] == list(range(len(found))) and len(self.client.fds) == len(found)
        for fd in self.client.fds:
            assert socket.socket(fileno=fd).getsockname()
        return [(key, name) for key, name, _ in found]

    def heard(self, member: str) -> list[str]:
        self.client.call(MANAGER, UPSTART, "GetAllJobs")
        return [message.args()[0] for message in self.client.signals if message.header.member == member]


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Sockets]:
    sockets = Sockets(tmp_path)
    try:
        yield sockets
        assert "Internal error" not in sockets.init.text()
    finally:
        sockets.init.close()


def test_a_job_gets_all_that_is_kept_for_it_whatever_starts_it(sockets: Sockets) -> None:
    with sockets.listen() as first, sockets.listen() as second:
        for key, each in (("b", second), ("a", first), ("gone", first)):
            sockets.keep("server", key, f"name-{key}", each.fileno())
    assert sockets.kept("server") == [("b", "name-b"), ("a", "name-a"), ("gone", "name-gone")]
    assert sockets.call("KeptFor") == (["server"], [])
    assert sockets.arrange("server", ["a", "b"]) is False
    assert sockets.kept("server") == [("a", "name-a"), ("b", "name-b")]
    sockets.client.start("server", wait=False)
    assert sockets.ask() == b"hello"
    wait_for(lambda: sockets.init.job_log("server") == "3 4 2 name-a:name-b True True\n")
    assert sockets.arrange("server", ["a", "b"]) is True
    # What comes while it is restarted, or respawned, waits.
    pid = sockets.client.status("server")[1]["main"]
    os.kill(pid, 9)
    # As long as it is there it may be the one to whom the kernel gives the connection.
    wait_for(lambda: not os.path.exists(f"/proc/{pid}/fd/0"))
    assert sockets.ask() == b"hello"
    sockets.client.call(f"{MANAGER}/jobs/server", UPSTART + ".Job", "Restart", "asb", [], True)
    assert sockets.ask() == b"hello"
    sockets.client.stop("server")
    assert sockets.heard("DescriptorsFree") == ["server"]


FORMS = {
    "plain": "exec $W/say one",
    "shell": "exec $W/say one $NOTHING",
    "line": "script\n    exec $W/say one\nend script",
    "script": "script\n    : more\n    exec $W/say one\nend script",
    # What has these is forked.
    "forked": "nice 1\nexec $W/say one",
    "odd": "env a.b=c\nexec $W/say one",
}
SAY = """#!/usr/bin/python3 -IS
import os, sys
right = os.environ.pop("LISTEN_PID", "") == str(os.getpid())
fds = [fd for fd in range(20) if os.path.exists(f"/proc/self/fd/{fd}")]
print(sys.argv[1:], right, fds, sorted(set(os.environ) - {"a.b", "PWD"}), os.environ.get("PWD"), flush=True)
"""


def test_the_environment_is_the_same_whichever_way_a_process_is_started(sockets: Sockets) -> None:
    program = sockets.directory / "say"
    program.write_text(SAY)
    program.chmod(0o755)
    said = set()
    for name, text in FORMS.items():
        sockets.init.write(name, f"start on socket\n{text}\n".replace("$W", str(sockets.directory)))
        sockets.client.call(MANAGER, UPSTART, "ReloadConfiguration")
        sockets.keep_new(name)
        sockets.arrange(name, ["a"])
        sockets.client.start(name, wait=False)
        line = wait_for(lambda name=name: sockets.init.job_log(name))  # type: ignore[misc]
        pwd = line.split()[-1]
        assert pwd == "None" or name in ("shell", "line", "script"), "as without sockets"
        said.add(line.rpartition(" ")[0])
    assert len(said) == 1, said
    (line,) = said
    assert line.startswith("['one'] True [0, 1, 2, 3] ['")
    assert "'LISTEN_FDNAMES', 'LISTEN_FDS', " in line and "'_'" not in line


def test_a_daemon_with_a_socket_is_followed(sockets: Sockets) -> None:
    text = "#!/usr/bin/python3 -IS\nimport os, time\nif os.fork():\n    os._exit(0)\ntime.sleep(1000)\n"
    (sockets.directory / "forks").write_text(text)
    (sockets.directory / "forks").chmod(0o755)
    sockets.init.write("forks", f"start on socket\nexpect fork\nexec {sockets.directory}/forks\n")
    sockets.client.call(MANAGER, UPSTART, "ReloadConfiguration")
    sockets.keep_new("forks")
    sockets.arrange("forks", ["a"])
    sockets.client.start("forks", wait=True)
    pid = sockets.client.status("forks")[1]["main"]
    assert os.readlink(f"/proc/{pid}/fd/3").startswith("socket:")
    assert "forks" in Path(f"/proc/{pid}/cmdline").read_text() and "expect" not in sockets.init.text()
    sockets.client.stop("forks")
    assert not os.path.exists(f"/proc/{pid}/fd/3")


def test_words_for_conditions_only_reach_no_job(sockets: Sockets) -> None:
    sockets.keep_new("server")
    sockets.arrange("server", ["a"])
    tested = ["PATH=/x", "MODE=0600"]
    for wrong in ([], ["PATH=/x"], ["PATH=/y", "MODE=0600"]):
        sockets.call("EmitTested", "sasasb", "socket", ["PORT=1"], wrong, True)
    assert sockets.client.status("server")[0] == "stop/waiting"
    sockets.call("EmitTested", "sasasb", "socket", ["PORT=1"], tested, True)
    assert sockets.ask() == b"hello"
    wait_for(lambda: sockets.init.job_log("server").endswith(" True True\n"))


def test_what_is_kept_outlives_re_execs_and_ends_with_its_job(sockets: Sockets) -> None:
    open_before = sockets.init.descriptors()
    with sockets.listen() as first, sockets.listen() as second:
        for number in range(8):
            sockets.keep("server", str(number), "x" * number, (first, second)[number % 2].fileno())
        sockets.keep("each", "own", "", second.fileno())
    sockets.arrange("each", [], ["own"])
    order = [str(number) for number in reversed(range(8))]
    sockets.arrange("server", order)
    for _ in range(3):
        sockets.client = sockets.init.restart()
    assert [key for key, _ in sockets.kept("server")] == order and sockets.kept("each") == [("own", "")]
    sockets.client.start("server", wait=False)
    sockets.client = sockets.init.restart()
    assert sockets.ask(2) == b"hello"
    sockets.client.stop("server")
    (sockets.init.conf / "server.conf").unlink()
    wait_for(lambda: sockets.call("KeptFor")[0] == ["each"])
    with pytest.raises(ConnectionRefusedError):
        sockets.ask(1)
    sockets.init.write("each", "start on other\nexec true\n")
    wait_for(lambda: sockets.init.descriptors() <= open_before)


def test_more_sockets_than_leave_room_for_a_script(sockets: Sockets) -> None:
    with sockets.listen() as listening:
        for number in range(16):
            sockets.keep("many", str(number), "", listening.fileno())
    sockets.arrange("many", [str(number) for number in range(16)])
    sockets.client.start("many", wait=False)
    wait_for(lambda: sockets.init.job_log("many").count("socket:") == 16)


def test_a_connection_is_the_standard_input_and_output_of_who_gets_it(sockets: Sockets) -> None:
    def connect(key: str, *env: str) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(10)
        with theirs:
            serial = sockets.client.send_with_fds(
                [theirs.fileno()], "EmitConnection", "sasassh", "socket", list(env), ["ACCEPT=y"], key, 0,
                interface=EXTENSION,
            )  # fmt: skip
        sockets.client.answer(serial)
        return ours

    first, second = connect("one", "N=1"), connect("two", "N=2")
    assert sockets.call("KeptFor") == ([], ["one", "two"])
    # Known already: it is no second event.
    assert connect("two", "N=3").recv(100) == b""
    second.sendall(b"2nd\n")
    assert second.recv(100) == b"2nd 2 no\n" and second.recv(100) == b""
    sockets.client = sockets.init.restart()
    assert sockets.call("KeptFor") == ([], ["one"])
    first.sendall(b"1st\n")
    assert first.recv(100) == b"1st 1 no\n" and first.recv(100) == b""
    # Nobody wants this one.
    assert connect("three").recv(100) == b""
    wait_for(lambda: sockets.heard("ConnectionClosed") == ["one", "three"])
    assert sockets.call("KeptFor") == ([], [])


def test_who_waits_is_told_by_job_and_in_order(sockets: Sockets) -> None:
    conditions = "start on socket A=1 or (socket A=2 and y)\nstop on socket B=$X C=$Y or socket\n"
    sockets.init.write("two", f"env X=1\n{conditions}")
    sockets.client.call(MANAGER, UPSTART, "ReloadConfiguration")
    found = sockets.call("AwaitedBy", "as", ["socket", "none"])[0]
    leaves = [tuple(leaf) for leaf in found if leaf[0] not in ("many", "pre")]
    assert leaves == [
        ("each", True, "socket", ["ACCEPT=y"]),
        ("server", True, "socket", ["PORT=1", "PATH=/x", "MODE=0600"]),
        ("two", True, "socket", ["A=1"]),
        ("two", True, "socket", ["A=2"]),
        ("two", False, "socket", ["B=1", "C=$Y"]),
        ("two", False, "socket", []),
    ]


def test_descriptors_of_events_are_kept_across_a_restart(sockets: Sockets) -> None:
    with sockets.listen() as listening:
        serial = sockets.client.send_with_fds([listening.fileno()], "EmitEventWithFile", "sasbh", "file", [], True, 0)
    sockets.client.answer(serial)

    def said() -> list[str]:
        lines: list[str] = wait_for(lambda: sockets.init.job_log("old")).split()
        return lines

    first = wait_for(lambda: said() if said().count("0") == 1 and len(said()) > 4 else None)
    number = first[0]
    assert number in first[1:]
    sockets.client.call(f"{MANAGER}/jobs/old", UPSTART + ".Job", "Restart", "asb", [], True)
    wait_for(lambda: said().count(number) == 4)


def test_what_cannot_be_kept_is_refused_and_closed(sockets: Sockets) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    before = sockets.init.descriptors()

    def refusal(job: str, key: str, name: str) -> str:
        with pytest.raises(DBusError) as error:
            sockets.keep(job, key, name, null)
        return error.value.name

    assert refusal("nothing", "a", "") == "UnknownJob"
    assert refusal("server", "", "") == refusal("server", "k" * 513, "") == "InvalidKey"
    for name in ("a:b", "a\nb", "n" * 513):
        assert refusal("server", "a", name).endswith("InvalidArgs")
    for number in range(16):
        sockets.keep("server", str(number), "", null)
    assert refusal("server", "more", "") == "LimitsExceeded"
    sockets.keep("server", "3", "again", null)
    assert sockets.init.descriptors() == before + 16
    with pytest.raises(DBusError, match="UnknownKey"):
        sockets.arrange("server", ["1", "none"])
    assert len(sockets.call("KeptDescriptors", "s", "server")[0]) == 16
    sockets.arrange("server", [])
    assert sockets.init.descriptors() == before
    os.close(null)


def test_processes_beside_the_main_one_are_given_none(sockets: Sockets) -> None:
    sockets.keep_new("pre")
    sockets.arrange("pre", ["a"])
    sockets.client.start("pre", wait=True)
    assert sockets.init.job_log("pre") == "none\n"


def test_a_client_that_does_not_read_has_none_of_our_descriptors(sockets: Sockets) -> None:
    sockets.keep_new("server")
    before = sockets.init.descriptors()
    other = Client(sockets.init.address)
    for _ in range(40):
        other.send(MANAGER, EXTENSION, "KeptDescriptors", "s", "server")
    other.close()
    wait_for(lambda: sockets.init.descriptors() == before)
