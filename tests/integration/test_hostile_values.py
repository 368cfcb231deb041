"""Values from job files that reach a system call: none of them, however far out, keeps init from serving."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile import EXTENSION, MANAGER, UPSTART, Session, wait_for
from process_support import ignore_the_signals_of_the_c_library

NUMBERS = ("0", "-1", "1", "2147483647", "2147483648", "4294967295", str(2**63 - 1), str(2**63), str(2**64), "9" * 5000)
WORDS = ("''", '"a\nb"', "a\0b", "\udcff", "x" * 100_000)
STANZAS = (
    "nice", "oom score", "oom", "umask", "kill timeout", "kill signal", "reload signal", "normal exit",
    "respawn limit 5", "expect", "console", "env", "env A=", "export", "chdir", "chroot", "setuid", "setgid", "usage",
    "instance", "description", "emits", "start on", "stop on a A=", "limit nofile 1", "limit core 0", "limit nice 0",
    "limit rtprio unlimited", "cgroup", "cgroup cpu a b", "apparmor switch",
)  # fmt: skip
STUBBORN = "script\n  trap '' TERM\n  exec sleep 1000\nend script\n"
TIMEOUTS = ("0", "2592000", "2147484", str(2**63 - 1))
SIGNALS = ("0", "32", "64", "65", "2147483647")


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    jobs = {f"timeout{value}": f"kill timeout {value}\n{STUBBORN}" for value in TIMEOUTS}
    jobs |= {f"signal{value}": f"kill signal {value}\nkill timeout 1\nexec sleep 1000\n" for value in SIGNALS}
    session = Session(tmp_path, jobs, "--no-dbus")
    yield session
    for line in session.run("list").stdout.splitlines():
        if ", process " in line:
            os.kill(int(line.split()[-1]), signal.SIGKILL)
    session.end()


def test_whatever_a_job_says_of_its_end_init_goes_on_and_across_a_restart(session: Session) -> None:
    client = session.client(quiet=True)
    jobs = [status[0] for status in client.call(MANAGER, EXTENSION, "GetStatusAll")[0]]
    assert len(jobs) == len(TIMEOUTS) + len(SIGNALS)
    for member in ("Start", "Stop"):
        for job in jobs:
            client.call(f"{MANAGER}/jobs/{job}", "com.ubuntu.Upstart0_6.Job", member, "asb", [], False)
    wait_for(lambda: not any(", process" in session.status(f"signal{value}") for value in SIGNALS), "signals sent")
    for _ in range(2):
        used, began = processor_seconds(session.process.pid), time.monotonic()
        asker = session.client(quiet=True)
        while time.monotonic() - began < 1:
            assert asker.delay() < 0.5
            time.sleep(0.05)
        assert processor_seconds(session.process.pid) - used < 0.5
        assert "stop/killed" in session.status("timeout2592000")
        assert "stop/waiting" in session.status("timeout0")
        client = session.client(quiet=True)
        client.call(MANAGER, UPSTART, "Restart")
        wait_for(lambda: session.run("version").returncode == 0, "the new program")
    assert "Internal error" not in session.said()


def test_no_value_of_any_stanza_disturbs_init(session: Session, tmp_path: Path) -> None:
    names: list[str] = []
    for stanza in STANZAS:
        for value in (*NUMBERS, *WORDS):
            names.append(f"job{len(names)}")
            text = f"{stanza} {value}\nexec true\n"
            (session.conf / f"{names[-1]}.conf").write_bytes(text.encode(errors="surrogateescape"))
    (session.conf / "last.conf").write_text("exec sleep 1000\n")
    wait_for(lambda: "last stop" in session.status("last"), "the jobs")
    client = session.client(quiet=True)
    for name in names:
        client.call(f"{MANAGER}/jobs/{name}", "com.ubuntu.Upstart0_6.Job", "Start", "asb", ["A=1"], False)
    wait_for(lambda: client.delay() < 0.5, "an answer")
    assert client.call(MANAGER, EXTENSION, "GetStatusAll")
    assert session.run("show-config").returncode == 0
    assert "Internal error" not in session.said()


@pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64"), reason="the system call's number")
@pytest.mark.parametrize("options", [(), ("--restart",)], ids=["started", "executed anew"])
@pytest.mark.parametrize("stanza", ["", "umask 077\nnice 1\n"], ids=["quick", "fork"])
def test_no_signal_is_ignored_in_a_job(tmp_path: Path, stanza: str, options: tuple[str, ...]) -> None:
    jobs = {"show": f"{stanza}task\nexec cp /proc/self/status {tmp_path}/status\n"}
    session = Session(tmp_path, jobs, "--no-dbus", *options, preexec_fn=ignore_the_signals_of_the_c_library)
    try:
        # The first may come before the guard does, and be started by a fork whatever it asks for.
        for _ in range(5):
            assert session.run("start", "show").returncode == 0
            (ignored,) = [line for line in (tmp_path / "status").read_text().splitlines() if line.startswith("SigIgn:")]
            assert int(ignored.split()[1], 16) == 0, ignored
            time.sleep(0.1)
    finally:
        session.end()


def test_a_session_whose_terminal_nobody_reads_goes_on(tmp_path: Path) -> None:
    ours, terminal = os.openpty()
    session = Session(tmp_path, {"web": "exec sleep 1000\n"}, "--no-dbus", "--debug", stdout=terminal, stderr=terminal)
    try:
        client = session.client(quiet=True)
        for _ in range(100):
            for member in ("Start", "Stop"):
                client.call(f"{MANAGER}/jobs/web", "com.ubuntu.Upstart0_6.Job", member, "asb", [], True)
        assert client.delay() < 1
        assert os.read(ours, 8) == b"Loading "
    finally:
        os.close(ours)
        os.close(terminal)
        session.end()
