"""Many connections: none is lost, nothing grows, and init answers others meanwhile."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from bridge_system import resident
from call_times import CallTimes
from test_socket_bridge import JOB, Make, Thread, free_port, make

__all__ = ["make"]

#: How many connections there are; seconds within which calls are answered meanwhile, and any call on a machine that
#: has other things to do as well.
FLOOD = int(os.environ.get("SOCKET_FLOOD", "400"))
SECONDS, LONGEST = 0.05, 0.5
#: Kilobytes that a process may grow by after the first quarter.
GROWTH = 4000
CLIENTS = 8


def flood(count: int, connect: Callable[[], bytes], wanted: Callable[[bytes], bool]) -> None:
    """Connect so often, several at a time."""

    def some(number: int) -> None:
        for _ in range(count * number // CLIENTS, count * (number + 1) // CLIENTS):
            answer = connect()
            assert wanted(answer), answer

    threads = [Thread(lambda number=number: some(number)) for number in range(CLIENTS)]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_flood_of_connections_is_served_and_leaves_init_answering(make: Make, tmp_path: Path) -> None:
    port = free_port()
    init = make(
        each=f"start on socket PROTO=inet PORT={port} ACCEPT=y\ninstance $CONNECTION\nconsole none\nexec echo served\n",
        server=f"start on socket PROTO=unix PATH={tmp_path}/s\nSERVE serve\n",
    )

    def connect() -> bytes:
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            return client.recv(100)

    def connect_local() -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(f"{tmp_path}/s")
            return client.recv(100)

    bridge = init.talk.status(JOB)[1]["main"]
    flood(FLOOD // 4, connect, b"served\n".__eq__)
    before = resident(init.pid), resident(bridge)
    calls = CallTimes(init.address, init.pid, JOB)
    flood(FLOOD - FLOOD // 4, connect, b"served\n".__eq__)
    flood(FLOOD, connect_local, lambda answer: answer.startswith(b"server "))
    calls.end()
    after = resident(init.pid), resident(bridge)
    print(f"{FLOOD} connections: init {before[0]} to {after[0]} kB, bridge {before[1]} to {after[1]} kB")
    print(calls.text)
    ordered = calls.all
    assert after[0] - before[0] < GROWTH and after[1] - before[1] < GROWTH
    assert ordered[len(ordered) * 95 // 100] <= SECONDS and ordered[-1] <= LONGEST
    # The client from before has not read all the signals, and is hung up on.
    assert init.client().status(JOB)[1]["main"] == bridge
