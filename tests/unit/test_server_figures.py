"""How `make bench-server` finds out when ssh answers."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "bench"), str(TESTS / "boot")]

import server_race  # noqa: E402


def test_ssh_has_answered_once_it_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_race, "PAUSE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        caller = server_race.Caller(server.getsockname()[1])
        assert not caller.answered()
        server.accept()[0].close()  # a kernel with nobody who listens
        silent, other = None, None
        for greeting in (b"", b"nonsense\r\n", b"SSH-2.0-OpenSSH\r\n"):
            deadline = time.monotonic() + 5
            server.setblocking(False)
            while time.monotonic() < deadline:
                assert not caller.answered()
                try:
                    connection, _ = server.accept()
                    break
                except BlockingIOError:
                    time.sleep(0.01)
            connection.sendall(greeting)
            silent, other = other, connection
        deadline = time.monotonic() + 5
        while not caller.answered():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for left in (silent, other):
            assert left is not None
            left.close()
        caller.close()


def test_a_connection_that_nobody_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_race, "PAUSE", 0.0)
    monkeypatch.setattr(server_race, "KEPT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        caller = server_race.Caller(server.getsockname()[1])
        for _ in range(3):
            caller.answered()
        with server.accept()[0] as first:
            first.settimeout(5)
            time.sleep(0.06)
            caller.answered()
            assert first.recv(1) == b""
        caller.close()
