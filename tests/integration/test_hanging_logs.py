"""Logs whose files do not answer: init serves on, the other logs too, and nothing is missing or twice afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from daemon_init import JOB, MANAGER, UPSTART, Gone, SessionInit, wait_for
from hanging import AT_MOST, Frozen, Fuse, Permission, in_private_mounts, needs_mounts, slowest

pytestmark = needs_mounts

JOBS = {
    "once": "task\nscript\necho $TEXT\nend script\n",
    "other": "task\nexec echo other\n",
    "quiet": "task\nexec true\n",
    "flood": "task\nscript\ni=0\nwhile [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done\nend script\n",
}
Hang = Callable[[Path], Fuse | Permission | Frozen]


def log_of(init: SessionInit, job: str) -> Path:
    return init.directory / "CACHE_HOME" / "upstart" / f"{job}.log"


def writers(init: SessionInit) -> list[int]:
    """The helpers of init that write."""
    children = Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text().split()
    found = []
    for pid in children:
        try:
            if Path(f"/proc/{pid}/comm").read_text() == "upstart-writer\n":
                found.append(int(pid))
        except OSError:
            pass
    return found


def logs_hang(tmp_path: Path, hang: Callable[[Path], Fuse | Permission]) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    init = SessionInit(tmp_path, JOBS, "--logdir", str(logs))
    side = None
    try:
        client = init.client()
        client.start("once", "TEXT=before")
        assert (logs / "once.log").read_text() == "before\n"
        side = hang(logs)
        serial = client.send(f"{MANAGER}/jobs/once", JOB, "Start", "asb", ["TEXT=a"], True)
        assert slowest(init.client(), 3) < AT_MOST
        client.answer(serial)
        # Nothing is waited for any more.
        for text in ("b", "c"):
            client.start("once", f"TEXT={text}")
        client.start("quiet")
        assert slowest(init.client(), 1) < AT_MOST
        assert len(writers(init)) <= 3
        side.go()
        client.start("once", "TEXT=after")
        wait_for(lambda: (logs / "once.log").read_text() == "before\na\nb\nc\nafter\n")
        assert init.text().count("does not answer") == 1
    finally:
        if side is not None:
            side.go()
        init.close()


@pytest.mark.parametrize("hang", [Fuse, Permission])
def test_a_log_directory_that_does_not_answer_holds_nobody(tmp_path: Path, hang: type[Fuse | Permission]) -> None:
    in_private_mounts(lambda: logs_hang(tmp_path, hang))


def test_one_log_that_does_not_answer_does_not_stop_the_others(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS)
    side = None
    try:
        client = init.client()
        client.start("once", "TEXT=before")
        client.start("other")
        side = Permission(log_of(init, "once"))
        client.start("once", "TEXT=held")
        assert slowest(client, 2.5) < AT_MOST
        client.start("other")
        client.start("flood")
        assert init.job_log("other") == "other\n" * 2
        assert init.job_log("flood") == "".join(f"line {n}\n" for n in range(20000))
        side.go()
        wait_for(lambda: init.job_log("once") == "before\nheld\n")
    finally:
        if side is not None:
            side.go()
        init.close()


def frozen_disk(tmp_path: Path) -> None:
    disk = Frozen(tmp_path / "disk", tmp_path / "image")
    init = SessionInit(tmp_path, JOBS, "--logdir", str(tmp_path / "disk"))
    try:
        client = init.client()
        client.start("once", "TEXT=before")
        disk.freeze()
        client.start("once", "TEXT=held")
        client.start("other")
        assert slowest(client, 3) < AT_MOST
        client.start("once", "TEXT=more")
        disk.go()
        path = tmp_path / "disk" / "once.log"
        wait_for(lambda: path.read_text() == "before\nheld\nmore\n")
        other = tmp_path / "disk" / "other.log"
        wait_for(lambda: other.exists() and other.read_text() == "other\n")
    finally:
        disk.go()
        init.close()
        disk.unmount()


def test_a_frozen_disk_below_the_logs_holds_nobody(tmp_path: Path) -> None:
    in_private_mounts(lambda: frozen_disk(tmp_path))


def test_output_is_in_the_log_when_the_end_of_a_job_is_known(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS)
    try:
        client = init.client()
        for number in range(30):
            client.start("once", f"TEXT={number}")
            assert init.job_log("once").split() == [str(each) for each in range(number + 1)]
    finally:
        init.close()


def test_who_says_that_the_disk_is_writable_finds_the_logs_written(tmp_path: Path) -> None:
    logs = tmp_path / "later"
    init = SessionInit(tmp_path, JOBS, "--logdir", str(logs))
    try:
        client = init.client()
        for number in range(5):
            client.start("once", f"TEXT={number}")
        logs.mkdir()
        client.call(MANAGER, UPSTART, "NotifyDiskWriteable")
        assert (logs / "once.log").read_text() == "0\n1\n2\n3\n4\n"
    finally:
        init.close()


def test_a_writer_that_is_killed_loses_and_repeats_nothing(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS)
    try:
        client = init.client()
        client.start("flood", wait=False)
        killed: set[int] = set()
        while client.status("flood")[0] != "stop/waiting":
            for pid in set(writers(init)) - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        assert killed
        wait_for(lambda: init.job_log("flood").endswith("line 19999\n"))
        assert init.job_log("flood") == "".join(f"line {n}\n" for n in range(20000))
    finally:
        init.close()


def test_a_writer_told_to_end_ends_and_comes_again(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS)
    try:
        client = init.client()
        client.start("other")
        (pid,) = writers(init)
        assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] == b"upstart-writer"
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not writers(init))
        client.start("other")
        assert init.job_log("other") == "other\n" * 2
        # As the system goes down, one that has nothing to do does not stay.
        wait_for(lambda: not writers(init), 2)
    finally:
        init.close()


def test_what_a_re_exec_finds_unwritten_is_written_by_the_next_program(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS)
    side = None
    try:
        client = init.client()
        client.start("once", "TEXT=before")
        side = Permission(log_of(init, "once"))
        client.start("once", "TEXT=held")
        client = init.restart()
        client.start("once", "TEXT=more")
        assert slowest(client, 2) < AT_MOST
        side.go()
        wait_for(lambda: init.job_log("once") == "before\nheld\nmore\n")
    finally:
        if side is not None:
            side.go()
        init.close()


def test_output_that_never_stops_crosses_a_re_exec_whole(tmp_path: Path) -> None:
    jobs = {"flood": "task\nscript\ni=0\nwhile [ $i -lt 60000 ]; do echo line $i; i=$((i+1)); done\nend script\n"}
    init = SessionInit(tmp_path, jobs)
    try:
        init.client().start("flood", wait=False)
        wait_for(lambda: len(init.job_log("flood")) > 10000)
        client = init.restart()
        client.wait_status("flood", "stop/waiting")
        whole = "".join(f"line {n}\n" for n in range(60000))
        # What is not written half a second after the job's end is written later, on a busy host.
        wait_for(lambda: len(init.job_log("flood")) >= len(whole))
        assert init.job_log("flood") == whole
    finally:
        init.close()


def busy(init: SessionInit) -> float:
    """Seconds of the processor that init has had."""
    fields = Path(f"/proc/{init.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_output_that_ends_while_a_child_hangs_before_its_exec_costs_nothing_and_nobody(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    def body() -> None:
        fuse = Fuse(tmp_path / "hang")
        jobs = {
            "speaks": f"task\nscript\nread x <{gate}\necho $x\nend script\n",
            "hangs": f"chdir {tmp_path}/hang/below\nexec true\n",
            "tick": "task\nexec sleep 1\n",
        }
        init = SessionInit(tmp_path, jobs)
        try:
            client = init.client()
            # The child that hangs has the other's pty open, which ends before it.
            client.start("speaks", wait=False)
            wait_for(lambda: client.status("speaks")[1])
            client.start("hangs", wait=False)
            pid = client.wait_status("hangs", "start/spawned")["main"]
            wait_for(lambda: is_waiting(pid))
            gate.write_text("said\n")
            client.wait_status("speaks", "stop/waiting")
            # Who gets its number now is not taken for it.
            others = [init.client() for _ in range(3)]
            before = busy(init)
            client.start("tick")
            assert busy(init) - before < 0.5
            for other in others:
                other.call(MANAGER, UPSTART, "GetAllJobs")
            assert init.job_log("speaks") == "said\n"
        finally:
            fuse.go()
            init.close()

    in_private_mounts(body)


def is_waiting(pid: int) -> bool:
    """Whether it waits in the kernel for what cannot be interrupted, or for a server of files."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "DS"


def test_a_child_that_hangs_before_its_exec_keeps_nothing_open_that_init_has_closed(tmp_path: Path) -> None:
    def body() -> None:
        fuse = Fuse(tmp_path / "hang")
        init = SessionInit(tmp_path, {"hangs": f"chdir {tmp_path}/hang/below\nexec true\n"})
        try:
            client = init.client()
            client.start("hangs", wait=False)
            pid = client.wait_status("hangs", "start/spawned")["main"]
            wait_for(lambda: is_waiting(pid))
            assert init.restart().status("hangs") == ("start/spawned", {"main": pid})
            # Who was there before the child sees that the connection has ended.
            with pytest.raises(Gone):
                while True:
                    client.read()
            fuse.go()
            init.client().wait_status("hangs", "stop/waiting")
        finally:
            fuse.go()
            init.close()

    in_private_mounts(body)
