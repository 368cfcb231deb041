"""Files that clients hand over, and that cannot be closed at once: their server does not answer, or a peer lingers."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

from daemon_init import EXTENSION, DBusError, SessionInit, wait_for
from hanging import AT_MOST, Unflushed, in_private_mounts, needs_mounts, slowest

from upstart.base.closing import close_given, is_closing

pytestmark = needs_mounts


def keeps_nobody_waiting(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {"takes": "start on go\nexec sleep 1000\n", "task": "start on go\ntask\nexec true\n"})
    fuse = Unflushed(tmp_path / "mnt")
    try:
        fd = os.open(fuse.path / "file", os.O_CREAT | os.O_WRONLY)
        client = init.client()
        client.answer(client.send_with_fds([fd], "Record", "shbt", "dead", 0, True, 0, interface=EXTENSION))
        wait_for(lambda: fuse.flushes >= 1)
        # A refused one, one that goes with an event, and one that nobody has asked for.
        for member, signature, *values in (
            ("Record", "shbt", "another", 0, True, 0),
            ("KeepDescriptor", "sssh", "nothing", "key", "name", 0),
        ):
            try:
                client.answer(client.send_with_fds([fd], member, signature, *values, interface=EXTENSION))
            except DBusError:
                pass
        client.answer(client.send_with_fds([fd], "EmitEventWithFile", "sasbh", "unheard", [], True, 0))
        client.answer(client.send_with_fds([fd], "GetAllJobs", ""))
        wait_for(lambda: fuse.flushes >= 5)
        assert slowest(client, 1) < AT_MOST
        client.start("task")
        init.restart()
        assert slowest(init.client(), 1) < AT_MOST
    finally:
        fuse.go()
        init.close()


def test_init_does_not_wait_for_the_server_of_a_file_that_it_closes(tmp_path: Path) -> None:
    in_private_mounts(lambda: keeps_nobody_waiting(tmp_path))


def test_a_descriptor_that_is_not_open_is_left_to_who_gets_its_number(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    os.close(fd)
    close_given(fd)
    assert not is_closing()
    assert os.open(tmp_path, os.O_RDONLY) == fd
    os.close(fd)


def lingers() -> None:
    """Close a connection whose peer takes nothing, and that is to be waited for 100 s."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 100))
        ours.setblocking(False)
        try:
            while ours.send(b"x" * 65536):
                pass
        except BlockingIOError:
            pass
        close_given(ours.detach())
        peer, _ = server.accept()
        peer.close()


def test_a_socket_that_lingers_keeps_nobody_waiting() -> None:
    # Its child holds the descriptor until the peer has gone, and is waited for here.
    def body() -> None:
        lingers()
        os.waitpid(-1, 0)

    in_private_mounts(body)
