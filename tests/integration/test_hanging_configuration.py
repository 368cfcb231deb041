"""Job files and directories that do not answer: init serves on, and afterwards everything is as the files say."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from daemon_init import MANAGER, PROPERTIES, UPSTART, Client, DBusError, SessionInit, lose_state, wait_for
from hanging import Fuse, Permission, in_private_mounts, needs_mounts

pytestmark = needs_mounts

#: Seconds: an answer that waits for nothing, and one that may wait for the files of jobs.
AT_ONCE = 0.1
IN_TIME = 0.7
JOBS = {
    "x": "description before\nexec sleep 1000\n",
    "other": "description before\nexec sleep 1000\n",
    "hears": "start on shout\ntask\nexec true\n",
}


class States:
    """Whether a process is ever seen to wait for a file server or a permission, in state D, until `end`.

    For a moment it may wait for the kernel itself, as for another's turn to change a cgroup.
    """

    def __init__(self, pid: int) -> None:
        self._directory = Path(f"/proc/{pid}")
        #: Where in the kernel.
        self.waited: list[str] = []
        self._ended = False
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended:
            if (self._directory / "stat").read_text().rpartition(")")[2].split()[0] == "D":
                stack = (self._directory / "stack").read_text()
                if "fuse" in stack or "fanotify" in stack:
                    self.waited.append(stack)
            time.sleep(0.02)

    def end(self) -> list[str]:
        self._ended = True
        self._thread.join()
        return self.waited


def readers(init: SessionInit) -> list[int]:
    """The children of init that read configuration."""
    found = []
    for pid in Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text().split():
        try:
            if Path(f"/proc/{pid}/comm").read_text() == "upstart-reader\n":
                found.append(int(pid))
        except OSError:
            pass
    return found


def description(client: Client, job: str) -> str | None:
    try:
        path = client.call(MANAGER, UPSTART, "GetJobByName", "s", job)[0]
        text: str = client.call(path, PROPERTIES, "Get", "ss", UPSTART + ".Job", "description")[0]
    except DBusError:
        return None
    return text


def took(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def serves(client: Client) -> float:
    """What a client does all day; the longest that an answer to it took."""
    return max(
        took(lambda: client.call(MANAGER, PROPERTIES, "Get", "ss", UPSTART, "version")),
        took(lambda: client.call(MANAGER, UPSTART, "GetAllJobs")),
        took(lambda: client.start("other")),
        took(lambda: client.stop("other")),
        took(lambda: client.emit("shout")),
    )


def move_in(init: SessionInit, path: str, text: str) -> None:
    """Put a file where nothing may be opened."""
    new = init.directory / "new"
    new.write_text(text)
    os.rename(new, init.conf / path)


Hang = Callable[[SessionInit], "Fuse | Permission"]


def directory(init: SessionInit) -> Permission:
    """Nobody may open the directory of the jobs or what is in it; a job is new there."""
    side = Permission(init.conf)
    move_in(init, "x.conf", JOBS["x"].replace("before", "after"))
    return side


def file(init: SessionInit) -> Permission:
    """Nobody may open one job's file, which is new."""
    new = init.directory / "new"
    new.write_text(JOBS["x"].replace("before", "after"))
    side = Permission(new)
    os.rename(new, init.conf / "x.conf")
    return side


def linked(init: SessionInit) -> Fuse:
    """A job's file is a link to where no server answers."""
    side = Fuse(init.directory / "far")
    os.symlink(init.directory / "far" / "x", init.directory / "link")
    os.rename(init.directory / "link", init.conf / "x.conf")
    return side


def subdirectory(init: SessionInit) -> Fuse:
    """A directory of jobs is mounted from a server that does not answer, and another job changes."""
    side = Fuse(init.conf / "sub")
    move_in(init, "x.conf", JOBS["x"].replace("before", "after"))
    return side


def override(init: SessionInit) -> Permission:
    """Nobody may open a job's new override."""
    new = init.directory / "new"
    new.write_text("description after\n")
    side = Permission(new)
    os.rename(new, init.conf / "x.override")
    return side


def configuration_hangs(tmp_path: Path, hang: Hang) -> None:
    init = SessionInit(tmp_path, JOBS)
    side = None
    states = States(init.pid)
    try:
        client = init.client()
        (init.conf / "other.override").write_text("author me\n")
        assert description(client, "x") == "before"
        side = hang(init)
        # From the first moment on: what needs no job file waits for none, all else for half a second.
        began = time.monotonic()
        reload = init.client()
        serial = reload.send(MANAGER, UPSTART, "ReloadConfiguration")
        assert took(lambda: client.call(MANAGER, PROPERTIES, "Get", "ss", UPSTART, "version")) < AT_ONCE
        assert took(lambda: client.start("other")) < IN_TIME
        client.stop("other")
        slow = []
        while time.monotonic() < began + 3.0:
            slow.append(serves(client))
            time.sleep(0.02)
        # A machine that does other things may keep it from the processor now and then, but what hangs is seconds.
        assert sorted(slow)[len(slow) * 9 // 10] < AT_ONCE and max(slow) < IN_TIME, slow
        assert 1 <= len(readers(init)) <= 2
        with pytest.raises(DBusError, match=r"does not answer: .*/") as raised:
            reload.answer(serial)
        assert time.monotonic() - began < 6.0
        path = raised.value.text.rpartition(": ")[2]
        assert path.startswith(str(init.conf))
        assert init.text().count(f"{path}: Does not answer: what is there stays") == 1
        # What another directory has changes meanwhile, too; but where the whole of it is what does not answer.
        if hang is not directory:
            move_in(init, "later.conf", "description later\n")
            assert took(lambda: description(client, "later")) < IN_TIME
            assert description(client, "later") == "later"
            assert description(client, "x") == ("after" if hang is subdirectory else "before")
        assert sorted(serves(client) for _ in range(10))[4] < AT_ONCE
        side.go()
        wait_for(lambda: not readers(init))
        expected = None if hang is linked else "after"
        wait_for(lambda: description(client, "x") == expected)
        assert client.call(MANAGER, UPSTART, "ReloadConfiguration") == ()
        assert states.end() == []
        assert "Internal error" not in init.text()
    finally:
        states.end()
        if side is not None:
            side.go()
        init.close()


@pytest.mark.parametrize("hang", [directory, file, linked, subdirectory, override])
def test_configuration_that_does_not_answer_holds_nobody(tmp_path: Path, hang: Hang) -> None:
    in_private_mounts(lambda: configuration_hangs(tmp_path, hang))


def restart_meanwhile(tmp_path: Path, hang: Hang) -> None:
    init = SessionInit(tmp_path, JOBS)
    side = None
    states = States(init.pid)
    try:
        init.client().start("other")
        side = hang(init)
        if hang is not directory:
            move_in(init, "later.conf", "description later\n")
        if hang is subdirectory:
            (init.conf / "hears.conf").unlink()
        held = wait_for(lambda: readers(init))
        # Neither the trial of the new program nor that program itself waits for it.
        began = time.monotonic()
        last = init.restart()
        assert time.monotonic() - began < 3.0
        assert "Failed to re-execute" not in init.text()
        assert last.status("other")[0] == "start/running"
        assert description(last, "x") is not None
        wait_for(lambda: init.text().count("Does not answer: what is there stays"))
        if hang is not directory:
            # What has changed meanwhile is known as soon as what hangs is told apart.
            wait_for(lambda: description(last, "later") == "later")
            wait_for(lambda: (description(last, "hears") is None) == (hang is subdirectory))
        assert description(last, "x") == ("after" if hang is subdirectory else "before")
        assert sorted(serves_without_start(last) for _ in range(20))[9] < AT_ONCE
        assert not set(held).intersection(readers(init)), "left by the program before"
        # And once more, with what was found out by then.
        last = init.restart()
        assert last.status("other")[0] == "start/running"
        assert description(last, "x") == ("after" if hang is subdirectory else "before")
        assert states.end() == []
        side.go()
        expected = None if hang is linked else "after"
        wait_for(lambda: description(last, "x") == expected)
        assert last.call(MANAGER, UPSTART, "ReloadConfiguration") == ()
        wait_for(lambda: not readers(init))
        assert "Internal error" not in init.text()
    finally:
        states.end()
        if side is not None:
            side.go()
        init.close()


def serves_without_start(client: Client) -> float:
    return took(lambda: client.call(MANAGER, UPSTART, "GetAllJobs"))


@pytest.mark.parametrize("hang", [directory, file, linked, subdirectory, override])
def test_a_restart_does_not_wait_for_configuration_that_does_not_answer(tmp_path: Path, hang: Hang) -> None:
    in_private_mounts(lambda: restart_meanwhile(tmp_path, hang))


def without_state(tmp_path: Path) -> None:
    """What ``x`` is, and that it runs, is known by its file alone, which answers late."""
    program = lose_state(tmp_path) / "init"
    init = SessionInit(tmp_path, JOBS, program=program)
    side = None
    try:
        client = init.client()
        client.start("other")
        client.start("x")
        pids = {name: client.status(name)[1]["main"] for name in ("x", "other")}
        side = file(init)
        client.call(MANAGER, UPSTART, "Restart")
        wait_for(lambda: "reverting to stateless re-exec" in init.text())
        last = init.client_at_last()
        assert last.status("other") == ("start/running", {"main": pids["other"]})
        assert description(last, "x") is None
        side.go()
        wait_for(lambda: description(last, "x") == "after")
        assert last.status("x") == ("start/running", {"main": pids["x"]})
        last.stop("x")
        last.stop("other")
        assert "Internal error" not in init.text()
    finally:
        if side is not None:
            side.go()
        init.close()


def test_a_restart_without_state_adopts_what_it_can_read_and_the_rest_later(tmp_path: Path) -> None:
    in_private_mounts(lambda: without_state(tmp_path))


def start_beside(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    side = Fuse(tmp_path / "conf/sub")
    init = None
    try:
        began = time.monotonic()
        init = SessionInit(tmp_path, JOBS)
        client = init.client()
        assert description(client, "x") == "before"
        assert time.monotonic() - began < 5.0
        assert f"{init.conf}/sub: Does not answer" in init.text()
        client.start("other")
        move_in(init, "later.conf", "description later\n")
        wait_for(lambda: description(client, "later") == "later")
        side.go()
        (init.conf / "sub/last.conf").write_text("description last\n")
        wait_for(lambda: description(client, "sub/last") == "last")
        wait_for(lambda: not readers(init))
        assert "Internal error" not in init.text()
    finally:
        side.go()
        if init is not None:
            init.close()


def test_a_file_system_that_does_not_answer_at_the_start_keeps_nothing_else_from_being_read(tmp_path: Path) -> None:
    in_private_mounts(lambda: start_beside(tmp_path))


def test_what_was_written_is_what_the_next_start_takes(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS)
    try:
        client = init.client()
        for number in range(30):
            (init.conf / "new.conf").write_text(f"description n{number}\ntask\nexec echo n{number}\n")
            client.start("new")
            assert init.job_log("new").endswith(f"n{number}\n")
            assert description(client, "new") == f"n{number}"
            (init.conf / "new.conf").unlink()
            assert description(client, "new") is None
        # In the order in which they were called, also where only the first has to wait.
        (init.conf / "new.conf").write_text("description changed\n")
        start = client.send(MANAGER, UPSTART, "GetJobByName", "s", "new")
        version = client.send(MANAGER, PROPERTIES, "Get", "ss", UPSTART, "version")
        answers: list[int] = []
        while len(answers) < 2:
            answers += [number for number in [client.read().header.reply_serial] if number]
        assert answers == [start, version]
    finally:
        init.close()


def test_a_caller_who_waits_and_goes_costs_nothing(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS)
    try:
        (init.conf / "sub").mkdir()
        side = Permission(init.conf / "sub")
        try:
            (init.conf / "x.conf").write_text(JOBS["x"])
            client = init.client()
            client.send(f"{MANAGER}/jobs/x", UPSTART + ".Job", "Start", "asb", [], False)
            client.close()
            before = ticks(init.pid)
            began = time.monotonic()
            other = init.client()
            wait_for(lambda: other.status("x")[0] == "start/running")
            assert time.monotonic() - began < 2.0
            assert ticks(init.pid) - before < 20
        finally:
            side.go()
    finally:
        init.close()


def ticks(pid: int) -> int:
    """Processor time, in 100ths of a second."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def test_children_that_are_killed_are_replaced(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS)
    ended = threading.Event()

    def kill() -> None:
        while not ended.is_set():
            for pid in readers(init):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.003)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        for number in range(100):
            (init.conf / f"j{number % 10}.conf").write_text(f"description n{number}\n")
            if number % 7 == 0:
                (init.conf / f"j{number % 10}.conf").unlink()
            (init.conf / f"d{number}").mkdir()
            time.sleep(0.01)
        ended.set()
        thread.join()
        (init.conf / "d99/last.conf").write_text("description last\n")
        client = init.client()
        names = {path.stem for path in init.conf.glob("*.conf")} | {"d99/last"}
        wait_for(lambda: {name for name in names if description(client, name) is not None} == names)
        for path in init.conf.glob("j*.conf"):
            assert description(client, path.stem) == path.read_text().split()[1]
        assert "Internal error" not in init.text()
    finally:
        ended.set()
        thread.join()
        init.close()
