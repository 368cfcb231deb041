"""Records of a real init: whole, without secrets, replayed to the same states, and no burden to it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from daemon_init import EXTENSION, MANAGER, PROGRAMS, UPSTART, DBusError, SessionInit, wait_for

from upstart.engine.recorded import Record, read
from upstart.engine.replaying import Replay

SECRET = "geheim"
JOBS = {
    "service": f"respawn\nenv TOKEN={SECRET}1\nexec sleep 1000\n",
    "task": f"start on go N=?*\ninstance $N\ntask\nexec sh -c 'exit $CODE # {SECRET}2'\n",
    "chain": "start on stopped task\ntask\nexec true\n",
    "forks": "start on daemon\nstop on done ID=$ID\ninstance $ID\nexpect fork\nexec sh -c 'sleep 1000 & exit 0'\n",
    "held": f"start on starting service and never\ndescription '{SECRET}3'\nexec true\n",
    "fails": f"start on go\nexec /{SECRET}/not/there\n",
}


@pytest.fixture
def init(tmp_path: Path) -> Iterator[SessionInit]:
    init = SessionInit(tmp_path, JOBS, SECRET_TOKEN=SECRET + "0")
    yield init
    init.close()


def recorded(path: Path) -> Record:
    with open(path, "rb") as file:
        return read(file)


def replayed(path: Path, checks: int) -> Replay:
    """The replay of a record that is whole, and has so many states to compare at least."""
    record = recorded(path)
    assert not record.cut
    replay = Replay(record)
    while replay.step():
        pass
    assert not replay.differences and replay.checks >= checks
    return replay


def states(replay: Replay) -> set[tuple[str, str, str, str]]:
    return {(i.job.name, i.name, i.goal, i.state) for i in replay.engine.instances()}


def asked(init: SessionInit) -> set[tuple[str, str, str, str]]:
    """The same of the running init."""
    found = init.client().call(MANAGER, EXTENSION, "GetStatusAll")[0]
    return {(job, name, goal, state) for job, name, goal, state, _ in found if (goal, state) != ("stop", "waiting")}


def recorders(init: SessionInit) -> list[int]:
    """The processes that write the record of an init."""
    found = []
    for pid in Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text().split():
        try:
            if b"upstart-record" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
        except OSError:
            continue
    return found


def start(init: SessionInit, path: Path, *options: str) -> None:
    done = init.initctl("record", *options, str(path))
    assert done.returncode == 0, done.stderr


def stop(init: SessionInit) -> None:
    done = init.initctl("record", "--stop")
    assert done.returncode == 0, done.stderr


class Load:
    """Clients that emit events and start and stop jobs, whatever becomes of their connections."""

    def __init__(self, init: SessionInit, clients: int) -> None:
        self._init = init
        self._over = False
        self.calls = 0
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def _work(self, number: int) -> None:
        chance = random.Random(number)
        client = None
        while not self._over:
            try:
                client = client or self._init.client()
                choice = chance.randrange(5)
                if choice < 2:
                    words = [f"N={chance.randrange(30)}", f"PASSWORD={SECRET}{number}", f"CODE={choice}"]
                    client.emit("go", *words, wait=False)
                elif choice == 2:
                    client.emit("daemon", f"ID={chance.randrange(4)}", wait=False)
                elif choice == 3:
                    client.emit("done", f"ID={chance.randrange(4)}", f"WHY={SECRET}", wait=False)
                elif chance.randrange(2):
                    client.start("service", f"KEY={SECRET}", wait=False)
                else:
                    client.stop("service", wait=False)
                self.calls += 1
            except DBusError:
                self.calls += 1
            except Exception:
                client = None
                time.sleep(0.02)

    def goes_on(self) -> None:
        """Wait for some more calls."""
        wanted = self.calls + 40
        wait_for(lambda: self.calls > wanted, 30)

    def end(self) -> None:
        self._over = True
        for thread in self._threads:
            thread.join()


def test_a_record_under_load_with_re_execs_in_it_leads_to_the_states_of_init(init: SessionInit, tmp_path: Path) -> None:
    path = tmp_path / "record"
    init.initctl("emit", "--no-wait", "daemon", "ID=9")
    start(init, path)
    load = Load(init, 3)
    try:
        for _ in range(2):
            load.goes_on()
            init.restart()
        load.goes_on()
        init.write("new", f"start on go\ntask\nenv PIN={SECRET}\nexec true\n")
        wait_for(lambda: "new" in init.initctl("list").stdout)
    finally:
        load.end()
    stop(init)
    wait_for(lambda: not recorders(init))
    replay = replayed(path, checks=3)
    assert [note.partition(": ")[2] for note in replay.notes] == ["init went on after a re-exec"] * 2
    assert replay.record.inputs > 200
    assert SECRET not in path.read_text()
    wait_for(lambda: "task" not in {each[0] for each in asked(init)})


def test_what_stands_in_the_end_is_what_init_has(init: SessionInit, tmp_path: Path) -> None:
    path = tmp_path / "record"
    start(init, path)
    for name in ("4", "5"):
        init.initctl("emit", "daemon", f"ID={name}")
    init.initctl("start", "--no-wait", "service")
    wait_for(lambda: ("service", "", "start", "starting") in asked(init))
    stop(init)
    replay = replayed(path, checks=1)
    assert states(replay) == asked(init) >= {("forks", "4", "start", "running"), ("service", "", "start", "starting")}
    assert {job.name for _, job in replay.engine.jobs.items()} == set(JOBS)
    done = subprocess.run([PROGRAMS / "init-replay", path], capture_output=True, text=True, env={})
    assert done.returncode == 0, done.stderr
    ours = {line.strip() for line in done.stdout.partition("\nAt ")[2].splitlines()[1:]}
    assert ours == set(init.initctl("list").stdout.splitlines())


def test_with_values_all_is_there_and_else_nothing(init: SessionInit, tmp_path: Path) -> None:
    for options, found in (((), False), (("--with-values",), True)):
        path = tmp_path / f"record{found}"
        start(init, path, *options)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        init.initctl("emit", "go", f"PASSWORD={SECRET}", "N=1", "CODE=0")
        init.initctl("emit", "go", f"PASSWORD={SECRET}", "N=2", "CODE=1")
        stop(init)
        replayed(path, checks=1)
        text = path.read_text()
        assert (SECRET in text) is found and '"go"' in text


def test_a_file_that_is_there_is_left_alone_and_a_refused_record_leaves_none(
    init: SessionInit, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for path in (there, tmp_path / "link"):
        done = init.initctl("record", str(path))
        assert (done.returncode, done.stderr) == (1, f"initctl: Unable to make {path}: File exists\n")
    assert there.read_text() == "mine" and not (tmp_path / "target").exists()
    start(init, tmp_path / "record")
    done = init.initctl("record", str(tmp_path / "other"))
    assert done.stderr == f"initctl: Already recording to {tmp_path / 'record'}\n"
    assert not (tmp_path / "other").exists()
    stop(init)
    done = init.initctl("record", "--stop")
    assert (done.returncode, done.stderr) == (1, "initctl: There is no record\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["record"], "missing file name"),
        (["record", "--stop", "x"], "--stop takes no file"),
        (["record", "--limit=much", "x"], "not a number of megabytes: much"),
        (["record", "--limit=0", "x"], "not a number of megabytes: 0"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_told(init: SessionInit, words: list[str], text: str) -> None:
    done = init.initctl(*words)
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, f"initctl: {text}")


def grown_or_ended(init: SessionInit, path: Path, size: int) -> bool:
    return path.stat().st_size > size or "has ended" in init.text()


def test_a_record_ends_at_its_limit_and_says_so(init: SessionInit, tmp_path: Path) -> None:
    path = tmp_path / "record"
    start(init, path, "--limit=1")
    # Once the program is there that writes it, which takes its time on a busy machine.
    wait_for(lambda: path.stat().st_size)
    client = init.client()
    while "has ended" not in init.text():
        before = path.stat().st_size
        for number in range(50):
            client.emit("x", *(f"V{each}={number}{'x' * 50}" for each in range(40)), wait=False)
        wait_for(partial(grown_or_ended, init, path, before))
    assert path.stat().st_size <= 1 << 20
    assert "has ended: it has reached its limit" in init.text()
    record = recorded(path)
    assert not record.cut and record.entries[-1][2] == "it has reached its limit"
    replay = Replay(record)
    while replay.step():
        pass
    assert not replay.differences
    # Another can begin.
    start(init, tmp_path / "second")
    stop(init)


#: What is put before the call of init's program to have it be one of before there were records; the second tells which
#: parts of the state it knows, as later ones do.
OLDER = {
    "silent": "os.environ.pop('UPSTART_RESTART_PARTS', None)\n",
    "telling": "",
}


@pytest.mark.parametrize("kind", OLDER)
def test_an_older_program_is_left_no_record_and_hands_none_to_jobs(tmp_path: Path, kind: str) -> None:
    programs = tmp_path / "sbin"
    shutil.copytree(PROGRAMS, programs)
    init = SessionInit(tmp_path, JOBS | {"look": "task\nexec ls /proc/self/fd\n"}, program=programs / "init")
    try:
        path = tmp_path / "record"
        start(init, path)
        init.initctl("emit", "go", "N=1", "CODE=0")
        begin, call, _ = (programs / "init").read_text().rpartition("sys.exit(")
        older = (
            "import os\nfrom upstart.daemon.document import Document\nregister = Document.register\n"
            "Document.register = lambda self, name, *rest: name == 'record' or register(self, name, *rest)\n"
        )
        (programs / "init").write_text(begin + older + OLDER[kind] + call + "main(sys.argv))\n")
        client = init.restart()
        assert "The new program does not know of the record, which ends here" in init.text()
        client.start("look")
        assert init.job_log("look").split() == ["0", "1", "2", "3"]
        wait_for(lambda: not recorders(init))
        record = recorded(path)
        assert not record.cut and record.entries[-1][2].startswith("init has ended")
        start(init, tmp_path / "another")
        stop(init)
    finally:
        init.close()


def test_a_record_that_is_being_stopped_comes_to_its_end_across_a_re_exec(init: SessionInit, tmp_path: Path) -> None:
    path = tmp_path / "record"
    start(init, path)
    client = init.client()
    for number in range(40):
        client.emit("go", f"N={number}", "CODE=0", "VALUE=" + "x" * 10000, wait=False)
    (writer,) = wait_for(lambda: recorders(init))
    # What it has yet to be told is more than a socket takes.
    os.kill(writer, signal.SIGSTOP)
    try:
        for number in range(100):
            client.emit("go", f"N={number}", "CODE=0", "VALUE=" + "x" * 10000, wait=False)
        stopping = init.client()
        serial = stopping.send(MANAGER, EXTENSION, "StopRecord")
        wait_for(lambda: json.loads(client.call(MANAGER, UPSTART, "GetState")[0])["record"]["stopping"])
        del serial
        init.restart()
    finally:
        os.kill(writer, signal.SIGCONT)
    wait_for(lambda: not recorders(init))
    replay = replayed(path, checks=1)
    assert replay.record.entries[-1][2] == "it was stopped"
    assert "has ended" not in init.text()
    # That is over: there can be another.
    start(init, tmp_path / "another")
    stop(init)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_init_goes_on_without_who_writes_the_record(init: SessionInit, tmp_path: Path, number: int) -> None:
    path = tmp_path / "record"
    start(init, path)
    init.initctl("emit", "go", "N=1", "CODE=0")
    (pid,) = wait_for(lambda: recorders(init))
    wait_for(lambda: path.stat().st_size)
    os.kill(pid, number)
    wait_for(lambda: "Recording to" in init.text())
    init.initctl("emit", "go", "N=2", "CODE=0")
    assert init.initctl("record", "--stop").stderr == "initctl: There is no record\n"
    record = recorded(path)
    assert bool(record.cut) == (number == signal.SIGKILL)
    assert record.cut or record.entries[-1][2] == "the program that writes it was told to end"


def test_init_does_not_wait_for_a_file_that_takes_nothing(init: SessionInit, tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    client = init.client()
    try:
        client.answer(
            client.send_with_fds([write_end], "Record", "shbt", "slow", 0, True, 0, interface=EXTENSION)
        )
        slowest = 0.0
        deadline = time.monotonic() + 60
        while "does not keep up" not in init.text():
            began = time.monotonic()
            for number in range(20):
                client.emit("x", f"A={number}{'x' * 20000}", wait=False)
            slowest = max(slowest, (time.monotonic() - began) / 20)
            assert began < deadline
        assert slowest < 0.5
        assert init.initctl("list").returncode == 0
    finally:
        os.close(read_end)
        os.close(write_end)


def test_a_full_disk_ends_the_record_and_nothing_else(init: SessionInit) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        client = init.client()
        client.answer(client.send_with_fds([fd], "Record", "shbt", "full", 0, False, 0, interface=EXTENSION))
    finally:
        os.close(fd)
    wait_for(lambda: "Recording to full has ended: No space left on device" in init.text())
    assert init.initctl("list").returncode == 0


def test_a_call_without_a_file_is_refused(init: SessionInit) -> None:
    client = init.client()
    with pytest.raises(DBusError) as caught:
        client.call(MANAGER, EXTENSION, "Record", "shbt", "x", 0, False, 0)
    assert caught.value.name == "org.freedesktop.DBus.Error.InvalidArgs"
    with pytest.raises(DBusError):
        client.answer(client.send_with_fds([1], "Record", "shbt", "x", 0, False, 10, interface=EXTENSION))
    with pytest.raises(DBusError):
        client.call(MANAGER, EXTENSION, "StopRecord")


def test_no_descriptor_and_no_process_is_left(init: SessionInit, tmp_path: Path) -> None:
    init.client().call(MANAGER, UPSTART, "GetAllJobs")
    before = init.descriptors()
    for number in range(3):
        start(init, tmp_path / f"record{number}")
        init.initctl("emit", "go", "N=1", "CODE=0")
        stop(init)
    wait_for(lambda: init.descriptors() <= before and not recorders(init))


def test_from_the_start_everything_is_recorded_and_a_session_ends_its_record(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_text("of before")
    init = SessionInit(tmp_path, JOBS, "--record", str(path))
    try:
        init.initctl("emit", "go", "N=1", "CODE=0")
    finally:
        init.close()
    replay = replayed(path, checks=1)
    record: Any = replay.record.entries
    assert record[0][0] == "from" and not record[0][3]["state"]["jobs"]
    names = [entry[1].name for entry in record if entry[0] == "in"]
    assert names.count("define") == len(JOBS) and "end_session" in names
    assert record[-1][2] == "init ended"
    assert (tmp_path / "record.old").read_text() == "of before"


def test_a_record_waits_for_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "later" / "record"
    init = SessionInit(tmp_path, JOBS, "--record", str(path))
    try:
        init.initctl("emit", "go", "N=1", "CODE=0")
        path.parent.mkdir()
        wait_for(path.exists)
        stop(init)
    finally:
        init.close()
    assert '"define"' in path.read_text()
    replayed(path, checks=1)


def test_where_there_can_be_no_record_init_says_so_and_goes_on(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS, "--record", str(tmp_path))
    try:
        wait_for(lambda: f"Recording to {tmp_path} has ended: {tmp_path}: File exists" in init.text())
        assert init.initctl("list").returncode == 0
        assert json.loads(init.client().call(MANAGER, UPSTART, "GetState")[0])["record"] is None
    finally:
        init.close()
