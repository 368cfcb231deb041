"""What a re-exec must not end: the end of a session, and that init can be spoken to, and asked for another one."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import socket
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest
from daemon_init import EXTENSION, MANAGER, PROGRAMS, UPSTART, DBusError, SessionInit, lose_state, wait_for

from upstart.daemon import options

STUBBORN = "kill timeout 2\nexpect stop\nscript\ntrap '' TERM\nkill -STOP $$\nexec sleep 1000\nend script\n"


def with_code(directory: Path, code: str) -> Path:
    """A copy of init that runs ``code`` before its main function."""
    programs = directory / "sbin"
    shutil.copytree(PROGRAMS, programs)
    begin, call, rest = (programs / "init").read_text().rpartition("sys.exit(")
    (programs / "init").write_text(begin + code + call + rest)
    return programs / "init"


def test_a_session_that_is_ending_ends_after_a_re_exec(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {"stubborn": STUBBORN, "respawns": "respawn\nexec sleep 1000\n"}, "--verbose")
    try:
        client = init.client()
        client.start("stubborn")
        client.start("respawns")
        os.kill(init.pid, signal.SIGTERM)
        wait_for(lambda: "Quiescing" in init.text())
        client = init.restart()
        assert client.status("stubborn")[0] == "stop/killed"
        wait_for(lambda: init.process.poll() is not None)
        assert init.process.returncode == 0
        assert "Quiesce shutdown sequence took" in init.text()
        assert init.text().count("Quiescing") == 1
        assert not init.session_file.exists()
    finally:
        init.close()


def test_a_timer_that_runs_for_weeks_crosses_a_re_exec(tmp_path: Path) -> None:
    jobs = {"stubborn": STUBBORN.replace("kill timeout 2\n", "kill timeout 2592000\n")}
    init = SessionInit(tmp_path, jobs)
    pid = 0
    try:
        client = init.client()
        client.start("stubborn")
        pid = client.status("stubborn")[1]["main"]
        client.stop("stubborn", wait=False)
        for _ in range(2):
            client = init.restart()
            assert client.status("stubborn") == ("stop/killed", {"main": pid})
        assert "Internal error" not in init.text()
        os.kill(pid, signal.SIGKILL)
        client.wait_status("stubborn", "stop/waiting")
    finally:
        if pid and init.client_at_last().status("stubborn")[1]:
            os.kill(pid, signal.SIGKILL)
        init.close()


def refuse(init: SessionInit, turn: int) -> None:
    """Ask for a re-exec that fails, as ``turn - 1`` did before; init goes on starting what it is asked to start."""
    client = init.client()
    client.call(MANAGER, UPSTART, "Restart")
    wait_for(lambda: init.text().count("RuntimeError: too late") == turn)
    client.start("task")
    client.close()


def test_a_re_exec_after_a_fault_between_trial_and_exec_can_be_asked_for_again(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "from upstart.daemon.restart import Restarter\n"
        "execute = Restarter._execute\n"
        "def broken(self):\n"
        f"    if not os.path.exists('{tmp_path}/better'):\n"
        "        raise RuntimeError('too late')\n"
        "    execute(self)\n"
        "Restarter._execute = broken\n"
    )
    init = SessionInit(tmp_path, {"task": "task\nexec true\n"}, program=with_code(tmp_path, code))
    try:
        refuse(init, 1)
        descriptors = init.descriptors()
        for turn in (2, 3):
            refuse(init, turn)
        wait_for(lambda: init.descriptors() <= descriptors)
        (tmp_path / "better").touch()
        init.restart()
    finally:
        init.close()


def test_a_session_whose_address_is_taken_has_another_and_says_so(tmp_path: Path) -> None:
    programs = lose_state(tmp_path)
    code = (
        "import os, socket, time\n"
        "if '--restart' not in sys.argv:\n"
        "    taken = socket.socket(socket.AF_UNIX)\n"
        "    taken.bind(f'\\0/com/ubuntu/upstart-session/{os.getuid()}/{os.getpid()}')\n"
        "    if os.fork() == 0:\n"
        f"        while not os.path.exists('{tmp_path}/free'):\n"
        "            time.sleep(0.01)\n"
        "        os._exit(0)\n"
        "    taken.close()\n"
    )
    begin, call, rest = (programs / "init").read_text().rpartition("sys.exit(")
    (programs / "init").write_text(begin + code + call + rest)
    jobs = {"say": "task\nexec echo $UPSTART_SESSION\n", "stays": "exec sleep 1000\n"}
    init = SessionInit(tmp_path, jobs, program=programs / "init")
    try:
        own = f"unix:abstract=/com/ubuntu/upstart-session/{os.getuid()}/{init.pid}"
        assert init.address.startswith(own + "/")
        assert init.text().count("the address is another's") == 1
        client = init.client()
        client.start("say")
        client.start("stays")
        stays = client.status("stays")
        assert init.job_log("say").strip() == init.address
        assert init.initctl("status", "say").stdout == "say stop/waiting\n"
        assert init.initctl("list-sessions").stdout == f"{init.pid} {init.address}\n"
        # Without a state, as with one, it is found again, and so are the processes that were told of it.
        client = init.restart()
        assert "reverting to stateless re-exec" in init.text()
        assert client.status("stays") == stays
        client.start("say")
        assert init.job_log("say") == f"{init.address}\n" * 2
    finally:
        (tmp_path / "free").touch()
        init.close()


def test_an_init_that_cannot_listen_tries_again_until_it_can(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "from upstart.daemon import listening\n"
        "listen = listening.listen\n"
        "def lacking(address):\n"
        f"    if not os.path.exists('{tmp_path}/room'):\n"
        "        raise OSError(105, os.strerror(105))\n"
        "    return listen(address)\n"
        "listening.listen = lacking\n"
    )
    init = SessionInit(tmp_path, {}, program=with_code(tmp_path, code))
    try:
        wait_for(lambda: "Unable to listen for private connections: No buffer space available" in init.text())
        (tmp_path / "room").touch()
        wait_for(lambda: "Listening for private connections at last" in init.text())
        init.client().call(MANAGER, UPSTART, "GetAllJobs")
        assert init.text().count("Unable to listen") == 1
    finally:
        init.close()


class Taking:
    """Somebody who takes the name of an init's socket as soon as it is free, and a client who comes all the time."""

    def __init__(self, init: SessionInit) -> None:
        self._name = "\0" + init.address.removeprefix("unix:abstract=")
        self._ended = threading.Event()
        #: The name could be taken; a client was refused.
        self.taken = False
        self.refused = False
        self._threads = [threading.Thread(target=each) for each in (self._take, self._connect)]

    def _take(self) -> None:
        while not self._ended.is_set():
            with socket.socket(socket.AF_UNIX) as mine:
                try:
                    mine.bind(self._name)
                except OSError:
                    continue
                self.taken = True
                self._ended.wait()

    def _connect(self) -> None:
        while not self._ended.wait(0.01):
            with socket.socket(socket.AF_UNIX) as mine:
                mine.setblocking(False)
                try:
                    mine.connect(self._name)
                except BlockingIOError:
                    pass
                except OSError:
                    self.refused = True

    def __enter__(self) -> Taking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def test_nobody_can_take_the_address_while_init_begins_anew_without_a_state(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {}, program=lose_state(tmp_path) / "init")
    try:
        with Taking(init) as taking:
            for turn in range(1, 4):
                init.restart()
                assert init.text().count("reverting to stateless re-exec") == turn
        assert not taking.taken and not taking.refused
    finally:
        init.close()


def falling(directory: Path, error: str) -> Path:
    """A copy of init whose loop ends with ``error`` after a re-exec, once there is a file ``fall``: once only."""
    code = (
        "import os\n"
        "from upstart.base.loop import Loop\n"
        "def run(self):\n"
        "    self._running = True\n"
        f"    while not os.path.exists('{directory}/fall'):\n"
        "        self.turn(0.01)\n"
        f"    raise {error}\n"
        "if '--state-fd' in sys.argv and 'UPSTART_INIT_FAULTS' not in os.environ:\n"
        "    Loop.run = run\n"
    )
    return with_code(directory, code)


def test_nobody_can_take_the_address_while_init_begins_anew_after_a_fault_that_ended_its_loop(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {"stays": "exec sleep 1000\n"}, program=falling(tmp_path, "RuntimeError('it fell')"))
    try:
        client = init.restart()
        client.start("stays")
        before = client.status("stays")
        with Taking(init) as taking:
            (tmp_path / "fall").touch()
            wait_for(lambda: "it fell" in init.text() and "stateless re-exec requested" in init.text())
            assert init.client_at_last().status("stays") == before
        assert not taking.taken and not taking.refused
    finally:
        init.close()


def test_a_variable_alone_does_not_make_a_trial_of_an_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("1", "x", ""):
        init = SessionInit(tmp_path, {}, UPSTART_RESTART_CHECK=value)
        init.client().call(MANAGER, UPSTART, "GetAllJobs")
        init.close()
    read, write = os.pipe()
    argv = ["init", "--restart", "--state-fd", "5"]
    assert options.trial_answer(argv, str(write)) == write
    for number in (errno.EIO, errno.ENOMEM, errno.EAGAIN, errno.EPERM):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fstat", Mock(side_effect=OSError(number, os.strerror(number))))
            assert options.trial_answer(argv, str(write)) == write
    assert options.trial_answer(argv[:2], str(write)) == -1
    with open(os.devnull) as file:
        assert options.trial_answer(argv, str(file.fileno())) == -1
    assert options.trial_answer(argv, str(1 << 20)) == -1
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert options.trial_answer(argv, str(write)) == -1
    os.close(read)
    os.close(write)


def size(init: SessionInit) -> int:
    """Bytes of address space."""
    (line,) = (x for x in Path(f"/proc/{init.pid}/status").read_text().splitlines() if x.startswith("VmSize:"))
    return int(line.split()[1]) << 10


def limit(init: SessionInit, value: int) -> None:
    resource.prlimit(init.pid, resource.RLIMIT_AS, (value, resource.RLIM_INFINITY))


def test_a_program_that_was_tried_with_more_memory_than_there_now_is_is_not_executed(tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "if 'UPSTART_RESTART_CHECK' in os.environ:\n"
        f"    open('{tmp_path}/tries', 'w').close()\n"
        f"    while os.path.exists('{tmp_path}/tries'): time.sleep(0.01)\n"
    )
    init = SessionInit(tmp_path, {"stays": "exec sleep 1000\n"}, program=with_code(tmp_path, code))
    try:
        client = init.client()
        client.start("stays")
        before = client.status("stays")
        serial = client.send(MANAGER, UPSTART, "Restart")
        wait_for((tmp_path / "tries").exists)
        limit(init, size(init) + 60_000)
        (tmp_path / "tries").unlink()
        with pytest.raises(DBusError, match="may use less memory than the new program was tried with"):
            client.answer(serial)
        assert client.status("stays") == before
        limit(init, resource.RLIM_INFINITY)
        serial = client.send(MANAGER, UPSTART, "Restart")
        wait_for((tmp_path / "tries").exists)
        limit(init, 1 << 40)
        limit(init, resource.RLIM_INFINITY)
        (tmp_path / "tries").unlink()
        assert client.answer(serial) == ()
        assert init.client_at_last().status("stays") == before
    finally:
        init.close()


def test_an_init_that_cannot_begin_anew_for_want_of_memory_waits_until_it_can(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {"stays": "exec sleep 1000\n"}, program=falling(tmp_path, "MemoryError"))
    try:
        client = init.restart()
        client.start("stays")
        before = client.status("stays")
        limit(init, 8 << 20)
        (tmp_path / "fall").touch()
        wait_for(lambda: init.text().count("Internal error") > 2)
        assert "stateless re-exec requested" not in init.text()
        assert init.process.poll() is None
        limit(init, resource.RLIM_INFINITY)
        assert init.client_at_last().status("stays") == before
        assert "stateless re-exec requested" in init.text()
    finally:
        init.close()


def test_files_with_errors_are_named_right_after_a_re_exec(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {"broken": "no such stanza\n", "good": "task\nexec true\n"})
    try:
        init.client().call(MANAGER, UPSTART, "Restart")
        wait_for(lambda: "--restart" in Path(f"/proc/{init.pid}/cmdline").read_text())
        client = init.client()
        (found,) = client.call(MANAGER, EXTENSION, "ConfigurationErrors")
        assert found == [f"{init.conf}/broken.conf:1: Unknown stanza"]
    finally:
        init.close()
