"""What bridges watch, and have told: asked of each process that runs some, by a socket beside their state.

What is always true here: who asks costs a bridge no wait, and nothing is prepared for who may ask. The answer is a
file in memory whose descriptor goes through the socket: it fits, whether or not anybody reads.  Only the bridges' own
user gets to the socket.
"""

from __future__ import annotations

import _socket
import json
import os

from upstart.base.loop import READ
from upstart.base.priority import WARN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from upstart.base.loop import Loop
    from upstart.bridges.host import Host

    #: A job, and one of its conditions as init tells it.
    Condition = tuple[str, list[list[str]]]

ENDING = ".status"
_SECONDS = 10.0


class Server:
    """Answers who asks this process of ``hosts`` ()."""

    def __init__(
        self, loop: Loop, directory: str, hosts: Callable[[], Iterable[Host]], log: Callable[[int, str], object]
    ) -> None:
        self._loop = loop
        self._path = f"{directory}/{os.getpid()}{ENDING}"
        self._hosts = hosts
        self._log = log
        self._socket: _socket.socket | None = None

    def begin(self) -> None:
        """Be there to be asked."""
        try:
            self._listen()
        except OSError as error:
            self._log(WARN, f"{self._path}: {error.strerror}")

    def _listen(self) -> None:
        directory = os.path.dirname(self._path)
        os.makedirs(directory, mode=0o755, exist_ok=True)
        for name in os.listdir(directory):
            # Who was killed has left one.
            if name.endswith(ENDING) and not os.path.exists(f"/proc/{name.removesuffix(ENDING)}"):
                os.unlink(f"{directory}/{name}")
        if os.path.lexists(self._path):
            os.unlink(self._path)
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:
            sock.bind(self._path)
        finally:
            os.umask(before)
        sock.listen(4)
        self._socket = sock
        self._loop.add_fd(sock.fileno(), READ, self._asked)

    def _asked(self, _events: int) -> None:
        if self._socket is None:
            return
        try:
            fd, _ = self._socket._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        client = _socket.socket(fileno=fd)
        try:
            state = {"process": os.getpid(), "bridges": [host.state() for host in self._hosts()]}
            file = os.memfd_create("status")
            try:
                os.write(file, json.dumps(state).encode())
                client.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, file.to_bytes(4, "little"))])
            finally:
                os.close(file)
        except OSError as error:
            self._log(WARN, f"{self._path}: {error.strerror}")
        finally:
            client.close()

    def end(self) -> None:
        """Be there no more."""
        if self._socket is None:
            return
        self._socket.close()
        try:
            os.unlink(self._path)
        except OSError:
            pass


def ask(directory: str) -> list[dict[str, Any]]:
    """The answers of all processes that leave their state in this directory.  Raises OSError where it is not ours."""
    answers = []
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    for name in names:
        if name.endswith(ENDING):
            answer = _ask_one(f"{directory}/{name}")
            if answer is not None:
                answers.append(answer)
    return answers


def _ask_one(path: str) -> dict[str, Any] | None:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(_SECONDS)
        sock.connect(path)
        _, ancillary, _, _ = sock.recvmsg(1, _socket.CMSG_SPACE(4))
    except (ConnectionRefusedError, FileNotFoundError, ConnectionResetError):
        return None
    finally:
        sock.close()
    for _, _, data in ancillary:
        with os.fdopen(int.from_bytes(data[:4], "little"), "rb") as file:
            file.seek(0)
            answer: dict[str, Any] = json.load(file)
            return answer
    return None


def waiting_for(leaf: Sequence[str], conditions: Sequence[Condition]) -> list[str]:
    """The jobs among ``conditions`` that wait for this.  The value of ``$VAR`` in a job's test only init knows: where
    nobody waits for it literally, these are all whose tests may come to it."""
    exact = [job for job, items in conditions if list(leaf) in items]
    found = exact or [job for job, items in conditions if any(_may_be(item, leaf) for item in items)]
    return list(dict.fromkeys(found))


def _may_be(item: Sequence[str], leaf: Sequence[str]) -> bool:
    if len(item) != len(leaf):
        return False
    return all(
        one == other or ("$" in one and other.startswith(one.partition("$")[0]))
        for one, other in zip(item, leaf, strict=True)
    )


def lines(
    answers: Iterable[dict[str, Any]], conditions: Sequence[tuple[str, list[list[str]]]], now: float
) -> list[str]:
    """The answers, for people."""
    found = []
    for answer in answers:
        for bridge in answer["bridges"]:
            text = f"{bridge['name']}: process {answer['process']}"
            if not bridge["connected"]:
                text += ", not connected to init"
            elif not bridge["ready"]:
                text += ", not ready"
            text += f", {bridge['events']} events"
            if bridge["last"] is not None:
                text += f", the last {max(0, round(now - bridge['last']))} s ago"
            for word in ("waiting", "dropped"):
                if bridge[word]:
                    text += f", {bridge[word]} {word}"
            found.append(text)
            for leaf in bridge["awaited"] or ():
                jobs = ", ".join(waiting_for(leaf, conditions))
                found.append(f"    awaits {' '.join(leaf)}" + (f" for {jobs}" if jobs else ""))
            if bridge["awaited"] is None:
                found.append("    awaits everything")
            found += [f"    watches {each}" for each in bridge["watches"]]
    return found
