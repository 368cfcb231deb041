"""Job files and logs that are not what they should be, and an init that stays what it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hostile import MANAGER, PROPERTIES, UPSTART, Session, wait_for

from direct_writer import DirectWriter
from upstart.process import log

UNKNOWN = UPSTART + ".Error.UnknownInstance"


def test_logs_that_cannot_be_written_take_a_bounded_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(log, "UNFLUSHED", 8)
    store = log.LogStore(lambda text: None, DirectWriter())
    for number in range(20):
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.write(write, b"output\n")
        os.close(write)
        log.JobLog(store, str(tmp_path / "missing" / f"{number}.log"), read).ended()
    assert (len(store.unflushed), store.kept) == (8, 8 * len("output\n"))
    (tmp_path / "missing").mkdir()
    assert store.flush_all()
    assert (store.kept, len(os.listdir(tmp_path / "missing"))) == (0, 8)


def test_what_is_in_the_place_of_a_log_is_left_alone(tmp_path: Path) -> None:
    names = ("symlink", "dangling", "fifo", "directory")
    session = Session(tmp_path / "session", {name: "task\nexec echo text\n" for name in names}, "--no-dbus")
    try:
        victim = tmp_path / "victim"
        victim.write_text("mine\n")
        session.logs.mkdir(parents=True, exist_ok=True)
        (session.logs / "symlink.log").symlink_to(victim)
        (session.logs / "dangling.log").symlink_to(tmp_path / "none")
        os.mkfifo(session.logs / "fifo.log")
        (session.logs / "directory.log").mkdir()
        for name in names:
            assert session.run("start", name).returncode == 0
            assert f"Failed to write to log file {session.logs}/{name}.log" in session.said()
        # What writes the logs is there by now.
        before = session.descriptors()
        for name in names:
            assert session.run("start", name).returncode == 0
        assert victim.read_text() == "mine\n" and not (tmp_path / "none").exists()
        # The last client may not have been seen to leave yet.
        wait_for(lambda: session.descriptors() <= before)
    finally:
        session.end()


def test_files_of_every_kind_and_name_do_not_keep_jobs_from_being_read(tmp_path: Path) -> None:
    session = Session(tmp_path / "session", {"web": "exec sleep 1000\n"}, "--no-dbus")
    try:
        conf = session.conf
        os.mkfifo(conf / "fifo.conf")
        os.mkfifo(conf / "web.override")
        (conf / "zero.conf").symlink_to("/dev/zero")
        (conf / "loop.conf").symlink_to("loop.conf")
        (conf / "self.conf").symlink_to(".")
        (conf / "alone.override").write_text("manual\n")
        (conf / "deep.conf").write_text("start on " + "(" * 100_000 + "a" + ")" * 100_000 + "\nexec true\n")
        (conf / "wide.conf").write_text("start on " + " or ".join(f"e{n}" for n in range(20_000)) + "\nexec true\n")
        (conf / "big.conf").write_text("exec true " + "x" * (2 << 20) + "\n")
        for name in (b"new\nline", b"\xff\xfe", b"a" * 250, b"..", b"-dash", b"$(x)", b"%s%n"):
            Path(os.fsdecode(os.fsencode(conf) + b"/" + name + b".conf")).write_text("exec sleep 1000\n")
        session.run("reload-configuration")
        client = session.client(quiet=True)
        for path in client.call(MANAGER, UPSTART, "GetAllJobs")[0]:
            assert client.call(path, UPSTART + ".Job", "Start", "asb", [], True)[0].startswith(path)
            assert client.call(path, UPSTART + ".Job", "Stop", "asb", [], True)[:1] in ((), (UNKNOWN,))
        assert client.delay() < 1
        assert "more than" in session.said() and "File too large" in session.said()
    finally:
        session.end()


@pytest.mark.parametrize("name", ["../../../etc/passwd", "..", "/", "a\nb", "%s", "x" * 300, "y" * 100_000])
def test_no_name_of_an_instance_leads_anywhere(tmp_path: Path, name: str) -> None:
    session = Session(tmp_path / "session", {"job": "instance $N\nexec sh -c 'echo out; sleep 1000'\n"}, "--no-dbus")
    try:
        before = {path for path in tmp_path.rglob("*") if session.logs not in path.parents}
        client = session.client(quiet=True)
        path = client.call(f"{MANAGER}/jobs/job", UPSTART + ".Job", "Start", "asb", [f"N={name}"], True)[0]
        assert client.call(path, PROPERTIES, "Get", "ss", UPSTART + ".Instance", "name") == (name,)
        if len(name) < 200:
            wait_for(lambda: len(set(os.listdir(session.logs)) - {".times"}) == 1, "the log")
        client.call(path, UPSTART + ".Instance", "Stop", "b", True)
        after = {path for path in tmp_path.rglob("*") if session.logs not in path.parents}
        assert after - before <= {session.logs, session.logs.parent}
    finally:
        session.end()
