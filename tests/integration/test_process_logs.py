"""Logs on real disks: full ones, read-only ones, and the ptys of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_support import Host, make_host, needs_root

from direct_writer import DirectWriter
from upstart.process.log import JobLog, LogStore

pytestmark = needs_root

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [str(ROOT / "src"), str(ROOT / "tests")]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    yield from make_host(tmp_path, cgroups=False)


def in_private_mounts(script: str, directory: Path) -> None:
    """Run Python code in a mount namespace of its own; an assertion there fails the test here."""
    prologue = f"import sys; sys.path[:0] = [*{SOURCES!r}, '/usr/lib/python3/dist-packages']; D = {str(directory)!r}\n"
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", prologue + script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


PREPARE = """
import os, subprocess
from direct_writer import DirectWriter
from upstart.process.log import JobLog, LogStore
def mount(*words): subprocess.run(["mount", *words], check=True)
warnings = []
store = LogStore(warnings.append, DirectWriter())
read, end = os.pipe2(os.O_CLOEXEC)
os.set_blocking(read, False)
log = JobLog(store, D + "/job.log", read)
def say(data):
    while data:
        data = data[os.write(end, data[:4096]):]
        assert log.on_readable()
"""


def test_a_full_disk_loses_nothing_that_fits_in_memory(tmp_path: Path) -> None:
    in_private_mounts(
        PREPARE
        + """
mount("-t", "tmpfs", "-o", "size=64k", "none", D)
data = b"".join(b"%06d\\n" % n for n in range(20000))
say(data[:100000])
assert 0 < os.stat(D + "/job.log").st_size <= 65536
assert len(warnings) == 1 and warnings[0].endswith("No space left on device"), warnings
mount("-o", "remount,size=1m", "none", D)
say(data[100000:])
with open(D + "/job.log", "rb") as file:
    assert file.read() == data
assert store.kept == 0
""",
        tmp_path,
    )


def test_a_read_only_disk_is_waited_for(tmp_path: Path) -> None:
    in_private_mounts(
        PREPARE
        + """
mount("-t", "tmpfs", "none", D)
mount("-o", "remount,ro", "none", D)
say(b"early\\n")
os.close(end)
log.ended()
assert not store.flush_all() and not warnings
mount("-o", "remount,rw", "none", D)
assert store.flush_all()
with open(D + "/job.log", "rb") as file:
    assert file.read() == b"early\\n"
""",
        tmp_path,
    )


def test_a_disk_can_be_unmounted_while_a_job_is_logged(tmp_path: Path) -> None:
    in_private_mounts(
        PREPARE
        + """
mount("-t", "tmpfs", "none", D)
say(b"one\\n")
subprocess.run(["umount", D], check=True)
say(b"two\\n")
with open(D + "/job.log", "rb") as file:
    assert file.read() == b"two\\n"
""",
        tmp_path,
    )


def test_the_output_of_a_terminal_is_logged_to_its_end(host: Host) -> None:
    lines = "".join(f"line {n}\r\n" for n in range(3000))
    result = host.spawn(host.job("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done", script=True))
    host.wait(result.pid)
    path = host.directory / f"{result.pid}.log"
    assert path.read_bytes().decode() == lines


def test_output_of_what_a_job_leaves_behind_is_logged_until_its_process_ends(host: Host) -> None:
    result = host.spawn(host.job("setsid sleep 60 & echo said", script=True))
    host.wait(result.pid)
    assert host.output(result) == "said\n"
    assert host.logs[result.pid].fd == -1


def test_a_log_is_read_on_by_the_next_image_of_init(host: Host, tmp_path: Path) -> None:
    result = host.spawn(host.job("read x </proc/$$/fd/57 || :; echo one; kill -STOP $$; echo two", script=True))
    host.until(lambda: (result.pid, "stopped", 19) in host.changes)
    log = host.logs.pop(result.pid)
    read, write = os.pipe()
    state = log.dump()
    child = os.fork()
    if child == 0:
        try:
            store = LogStore(lambda text: None, DirectWriter())
            again = JobLog.load(store, state)
            os.read(read, 1)
            while again.on_readable():
                pass
        finally:
            os._exit(0)
    log.close()
    os.kill(result.pid, 18)
    host.until(lambda: result.pid in host.statuses)
    os.write(write, b"x")
    host.wait(child)
    os.close(read)
    os.close(write)
    assert host.output(result).endswith("one\ntwo\n")
