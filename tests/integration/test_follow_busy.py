"""A daemon on a busy machine: its job is running when it is ready, and not when it merely has had no processor."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import SessionInit, wait_for

#: A daemon whose first processes stay until it is ready, which takes it so many seconds of a processor.
DAEMON = """\
import os, sys, time
path, seconds = sys.argv[1], float(sys.argv[2])
if middle := os.fork():
    os._exit(1 if os.waitpid(middle, 0)[1] else 0)
reader, writer = os.pipe()
if os.fork():
    os.close(writer)
    os._exit(0 if os.read(reader, 1) else 1)
os.setsid()
while time.process_time() < seconds:
    pass
open(path, "w").close()
os.write(writer, b".")
os.close(writer)
time.sleep(1000)
"""


@pytest.fixture
def busy() -> Iterator[int]:
    """A processor that others use as well: its number."""
    processor = max(os.sched_getaffinity(0))
    # Where the kernel shares it out among sessions each has one of its own.
    command = ["taskset", "-c", str(processor), "/bin/sh", "-c", "while :; do :; done"]
    others = [subprocess.Popen(command, start_new_session=True) for _ in range(5)]
    try:
        yield processor
    finally:
        for each in others:
            each.kill()
            each.wait()


def test_it_is_running_once_it_is_ready(tmp_path: Path, busy: int) -> None:
    (tmp_path / "daemon.py").write_text(DAEMON)
    ready = tmp_path / "ready"
    command = f"taskset -c {busy} /usr/bin/python3 -IS {tmp_path}/daemon.py {ready} 0.4"
    init = SessionInit(tmp_path, {"slow": f"expect daemon\nexec {command}\n"})
    try:
        client = init.client()
        client.start("slow", wait=False)

        def is_running() -> bool:
            state, _ = client.status("slow")
            # What is written is written before that is told.
            assert state != "start/running" or ready.exists(), init.text()
            return state == "start/running"

        assert not is_running()
        wait_for(is_running, 120)
        assert "has not" not in init.text()
        (pid,) = client.status("slow")[1].values()
        wait_for(lambda: os.getsid(pid) == pid and pid != os.getpid())
    finally:
        init.close()
