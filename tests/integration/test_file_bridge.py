"""The file bridge at a real init: what happens to files arrives, killed or restarted in between, whatever the name."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bridge_system import STATES, Bridged, Noting, resident, switches
from daemon_init import PROGRAMS, ROOT, SessionInit, wait_for
from test_daemon_pid1 import pytestmark

__all__ = ["pytestmark"]

pytest.importorskip("pyinotify")

STATE = f"{STATES}/file.json"
BRIDGE = "upstart-file-bridge"


class Files(Noting):
    names = ("file",)

    def note(self, name: str, tests: str) -> None:
        """A job that notes each event of ``file`` that passes these tests, in which ``$AT`` is our directory."""
        text = f"start on file {tests.replace('$AT', str(self.at))}\nenv MATCH=\ntask\nconsole none\n"
        say = """exec sh -c 'echo "$UPSTART_JOB $EVENT $MATCH" >>$W/noted'"""
        self.write(name, f"{text}instance $EVENT-$MATCH-$FILE\n{say}\n")


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    files = Files(tmp_path)
    try:
        files.prepare()
        yield files
        assert "Internal error" not in files.kmsg()
    finally:
        files.close()


def test_it_waits_for_the_file_systems_and_for_somebody_who_waits(tmp_path: Path) -> None:
    files = Files(tmp_path)
    try:
        Bridged.prepare(files)
        files.begin(tmp_path)
        files.note("one", "FILE=$AT/f")
        assert files.status(BRIDGE) == f"{BRIDGE} stop/waiting\n"
        files.initctl("emit", "filesystem")
        files.host()
        for _ in range(2):
            files.remove("one")
            files.wait_stopped("file")
            files.note("one", "FILE=$AT/f")
            files.host()
        # It watches by the time when it is running.
        (tmp_path / "f").touch()
        files.expect("one create")
    finally:
        files.close()


def test_what_happens_to_a_file_is_told_in_its_order(files: Files) -> None:
    files.note("f", "FILE=$AT/f")
    files.note("m", "FILE=$AT/f EVENT=modify")
    files.host()
    path = files.at / "f"
    path.write_text("1")
    files.expect("f create")
    path.write_text("2")
    files.expect("f modify", "m modify")
    (files.at / "new").write_text("3")
    (files.at / "new").rename(path)
    files.expect("f create", "f modify", "m modify")
    path.rename(files.at / "away")
    files.expect("f delete")

    def end() -> None:
        (path.rmdir if path.is_dir() and not path.is_symlink() else path.unlink)()

    makers: list[Callable[[], object]] = [
        lambda: path.symlink_to("nowhere"), lambda: os.mkfifo(path), path.mkdir,
        lambda: path.hardlink_to(files.at / "away"),
    ]  # fmt: skip
    for make in makers:
        make()
        wait_for(lambda: "f create" in [line.strip() for line in files.told()])
        end()
        wait_for(lambda: "f delete" in [line.strip() for line in files.told()])
        files.noted.write_text("")


def test_a_socket_is_told_of_when_it_can_be_connected_to(files: Files) -> None:
    files.note("s", "FILE=$AT/s EVENT=create")
    files.host()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(files.at / "s"))
        time.sleep(0.2)
        assert files.told() == []
        sock.listen()
        files.expect("s create")


def test_directories_patterns_and_what_is_there_already(files: Files) -> None:
    for name in ("a", "b"):
        (files.at / f"{name}.x").touch()
    files.note("dir", "FILE=$AT/d/")
    files.note("glob", "FILE=$AT/*.x")
    files.note("deep", "FILE=$AT/d/*/deep/**/f EVENT=create")
    files.expect("glob create a.x", "glob create b.x")
    (files.at / "d" / "1" / "deep" / "er").mkdir(parents=True)
    (files.at / "d" / "1" / "deep" / "er" / "f").touch()
    files.expect("dir create", "dir modify d/1", "deep create d/1/deep/er/f")
    (files.at / "d" / "1" / "deep" / "f").touch()
    (files.at / "d" / "x").touch()
    files.expect("dir modify d/x", "deep create d/1/deep/f")
    shutil.rmtree(files.at / "d")
    files.expect("dir modify d/1", "dir modify d/x", "dir delete")
    (files.at / "d").mkdir()
    files.expect("dir create")
    # A directory that came again is watched again.
    (files.at / "d" / "y").touch()
    files.expect("dir modify d/y")


def test_names_that_are_no_text_and_links_of_users_do_no_harm(files: Files) -> None:
    files.note("all", "FILE=$AT/* EVENT=create")
    files.note("passwd", "FILE=$AT/mine/passwd")
    pid = files.host()
    at = os.fsencode(files.at)
    for name in (b"\xff", b"a b", b"new\nline", b"-rf", "ä€".encode(), b"\xed\xa0\x80", b"x" * 255, b"$(reboot)"):
        os.close(os.open(at + b"/" + name, os.O_CREAT | os.O_WRONLY))
    wait_for(lambda: {"all create \\xff", "all create $(reboot)", "all create \\xed\\xa0\\x80"} <= set(files.told()))
    # A user's link to where only root may look, and root's own.
    os.symlink("/etc", files.at / "mine")
    wait_for(lambda: "passwd create" in [line.strip() for line in files.told()])
    os.unlink(files.at / "mine")
    wait_for(lambda: "passwd delete" in [line.strip() for line in files.told()])
    files.noted.write_text("")
    os.symlink("/etc", files.at / "theirs")
    os.lchown(files.at / "theirs", 65534, 65534)
    os.rename(files.at / "theirs", files.at / "mine")
    files.expect("all create theirs", "all create mine")
    assert os.path.exists(f"/proc/{pid}")


def test_a_mount_over_what_is_watched_is_seen(files: Files) -> None:
    # That it was replaced depends on how soon.
    files.note("f", "FILE=$AT/d/f EVENT!=modify")
    files.host()
    (files.at / "d").mkdir()
    (files.at / "d" / "f").touch()
    wait_for(lambda: "f create" in [line.strip() for line in files.told()])
    files.noted.write_text("")
    files.run("mount", "-t", "tmpfs", "tmpfs", str(files.at / "d"))
    files.expect("f delete")
    files.run("touch", str(files.at / "d" / "f"))
    wait_for(lambda: "f create" in [line.strip() for line in files.told()])
    files.noted.write_text("")
    files.run("umount", str(files.at / "d"))
    files.expect("f delete", "f create")


def test_where_inotify_has_no_room_that_is_said_and_it_looks_by_itself(files: Files) -> None:
    # The limit is of users, and namespaces of theirs have their own.
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    before = limit.read_text()
    files.run("sh", "-c", "mount -t tmpfs -o size=1m tmpfs /dev/shm 2>/dev/null; ln -s $(mktemp -u) /dev/log; true")
    try:
        limit.write_text("1")
        files.note("f", "FILE=$AT/f")
        files.wait_running("file")
        (files.at / "f").touch()
        files.expect("f create")
    finally:
        limit.write_text(before)
    assert "every 5 seconds" in files.run(str(PROGRAMS / "upstart-bridges"), "--status").stdout


def test_what_happens_while_it_is_away_is_told_by_the_next_and_nothing_twice(files: Files) -> None:
    files.note("all", "FILE=$AT/*")
    pid = files.host()
    for name in ("stays", "changes", "goes"):
        (files.at / name).touch()
    files.expect(*(f"all create {name}" for name in ("stays", "changes", "goes")))
    wait_for(lambda: "goes" in files.run("cat", STATE).stdout and files.run("cat", STATE).stdout.endswith("true\n"))
    assert files.run("stat", "-c", "%a", STATE).stdout == "600\n"
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    (files.at / "changes").write_text("changed")
    (files.at / "goes").unlink()
    (files.at / "comes").touch()
    files.expect("all modify changes", "all delete goes", "all create comes")
    assert files.host() != pid
    files.initctl("stop", BRIDGE)
    (files.at / "comes").unlink()
    files.initctl("start", BRIDGE)
    files.expect("all delete comes")


def test_a_flood_of_files_is_told_whole_and_leaves_it_small_and_init_answering(files: Files) -> None:
    (files.at / "many").mkdir()
    files.write("many", f"start on file FILE={files.at}/many/* MATCH=*/none\ntask\nexec true\n")
    files.write("last", f"start on file FILE={files.at}/many/* EVENT=create\nenv MATCH=\ntask\nconsole none\n"
                        "instance $MATCH\nexec true\n")  # fmt: skip
    files.write("last", "manual\n", "override")
    # Who waits is no job with a process: it is the events that are counted.
    files.write("count", f"start on file FILE={files.at}/many/* EVENT=create and never\nexec true\n")
    pid = files.host()
    before = resident(pid)
    began = time.monotonic()
    for number in range(10_000):
        os.close(os.open(files.at / "many" / f"file{number}", os.O_CREAT | os.O_WRONLY))
    made = time.monotonic() - began
    longest = 0.0
    while files.count("file") < 10_000 and time.monotonic() - began < 60:
        asked = time.monotonic()
        assert files.initctl("version").startswith("init (")
        longest = max(longest, time.monotonic() - asked)
        time.sleep(0.05)
    assert files.count("file") == 10_000, (files.count("file"), made)
    assert "bridge-overrun" not in files.kmsg()
    assert longest < 2
    wait_for(lambda: "file9999" in files.run("cat", STATE).stdout)
    assert resident(pid) < 24000, (before, resident(pid))


def test_it_sleeps_while_nothing_happens(files: Files) -> None:
    files.note("f", "FILE=$AT/d/f")
    (files.directory / "quiet").mkdir()
    files.note("g", f"FILE={files.directory}/quiet/none/*/g")
    (files.at / "d").mkdir()
    pid = files.host()
    time.sleep(1.5)
    before = switches(pid)
    for number in range(5):
        files.initctl("emit", "unheard")
        # Beside the way to what is watched.
        (files.at / f"other{number}").touch()
    time.sleep(1)
    assert switches(pid) == before


def test_a_session_has_its_own_with_paths_from_home(tmp_path: Path) -> None:
    job = (ROOT / "etc/sessions/upstart-file-bridge.conf").read_text().replace("/usr/sbin", str(PROGRAMS))
    awaited = {"tilde": "~/a EVENT=create", "dot": "./a EVENT=create", "glob": "d/*"}
    say = "env MATCH=\ntask\nexec echo $FILE $EVENT $MATCH\n"
    notes = {name: f"start on file FILE={text}\n{say}" for name, text in awaited.items()}
    init = SessionInit(tmp_path, {BRIDGE: job, **notes})
    try:
        client = init.client()
        client.wait_status(BRIDGE, "start/running")
        wait_for(lambda: len(list(tmp_path.glob(f"{BRIDGE}.*.pid"))) == 1)
        (tmp_path / "a").touch()
        (tmp_path / "d").mkdir()
        wait_for(lambda: init.job_log("tilde") == "~/a create\n" and init.job_log("dot") == "./a create\n")
        (tmp_path / "d" / "\udcff").touch()
        wait_for(lambda: init.job_log("glob") == f"d/* create {tmp_path}/d/\\xff\n")
        show = [str(PROGRAMS / "upstart-bridges"), "--status", "--user"]
        environ = {**init.environ, "UPSTART_SESSION": init.address}
        shown = subprocess.run(show, env=environ, capture_output=True, text=True, timeout=20)
        assert "awaits file FILE=~/a EVENT=create for tilde" in shown.stdout, shown
        client = init.restart()
        (tmp_path / "d" / "later").touch()
        wait_for(lambda: f"{tmp_path}/d/later" in init.job_log("glob"))
        client.stop(BRIDGE)
        assert list(tmp_path.glob(f"{BRIDGE}.*.pid")) == []
    finally:
        init.close()


def test_without_an_init_it_fails_and_says_so() -> None:
    result = subprocess.run(["unshare", "-n", str(PROGRAMS / BRIDGE)], capture_output=True, text=True, timeout=20)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"{BRIDGE}: Could not connect to Upstart: Connection refused\n"
