"""The logs of jobs: where they are written, what is kept when they cannot be, and what they never do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from direct_writer import DirectWriter
from upstart.process import log as log_module
from upstart.process.log import JobLog, LogFile, LogStore, log_path


class Output:
    """A log with the writing end of its pipe."""

    def __init__(self, path: Path, store: LogStore | None = None, root: str | None = None) -> None:
        self.warnings: list[str] = []
        self.store = LogStore(self.warnings.append, DirectWriter()) if store is None else store
        read, self.end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read, False)
        self.log = JobLog(self.store, str(path), read, root)

    def say(self, text: str) -> bool:
        os.write(self.end, text.encode())
        return self.log.on_readable()

    def end_process(self) -> None:
        os.close(self.end)
        self.log.ended()


@pytest.mark.parametrize(
    ("job", "instance", "chroot", "path"),
    [
        ("cron", "", None, "/var/log/upstart/cron.log"),
        ("net/if", "", None, "/var/log/upstart/net_if.log"),
        ("getty", "/dev/tty1", None, "/var/log/upstart/getty-_dev_tty1.log"),
        ("cron", "", "/srv/root", "/srv/root/var/log/upstart/cron.log"),
    ],
)
def test_path_of_a_log(job: str, instance: str, chroot: str | None, path: str) -> None:
    assert log_path("/var/log/upstart", job, instance, chroot) == path


@given(st.text(min_size=1), st.text())
def test_no_name_leads_out_of_the_log_directory(job: str, instance: str) -> None:
    path = log_path("/d", job, instance, None)
    assert os.path.dirname(path) == "/d" and path.endswith(".log")


def test_output_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    path.write_text("before\n")
    output = Output(path)
    assert output.say("one\n") and output.say("two\n")
    assert path.read_text() == "before\none\ntwo\n"
    output.end_process()


def test_a_new_log_is_for_root_and_adm_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        output = Output(tmp_path / "job.log")
        output.say("x")
    finally:
        assert os.umask(before) == 0
    assert (tmp_path / "job.log").stat().st_mode & 0o777 == 0o640
    output.end_process()


def test_no_output_makes_no_file(tmp_path: Path) -> None:
    Output(tmp_path / "job.log").end_process()
    assert not os.listdir(tmp_path)


def test_the_end_of_the_pipe_is_told_and_the_descriptor_left_to_be_closed(tmp_path: Path) -> None:
    output = Output(tmp_path / "job.log")
    os.write(output.end, b"last words")
    os.close(output.end)
    assert not output.log.on_readable()
    os.fstat(output.log.fd)  # as long as it is watched
    output.log.close()
    assert output.log.fd == -1 and not output.log.take_rest()
    assert (tmp_path / "job.log").read_text() == "last words"


def test_a_rotated_log_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    output = Output(path)
    output.say("one\n")
    path.rename(tmp_path / "job.log.1")
    output.say("two\n")
    path.unlink()
    output.say("three\n")
    os.truncate(path, 0)
    output.say("four\n")
    assert path.read_text() == "four\n"
    assert (tmp_path / "job.log.1").read_text() == "one\n"
    output.end_process()


def test_no_file_stays_open_between_writes(tmp_path: Path) -> None:
    output = Output(tmp_path / "job.log")
    before = len(os.listdir("/proc/self/fd"))
    output.say("x")
    assert len(os.listdir("/proc/self/fd")) == before
    output.end_process()


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious\n")
    (tmp_path / "job.log").symlink_to(target)
    output = Output(tmp_path / "job.log")
    assert output.say("evil\n") and output.say("more\n")
    assert target.read_text() == "precious\n"
    assert output.warnings == [
        f"Failed to write to log file {tmp_path}/job.log: Too many levels of symbolic links"
    ]
    (tmp_path / "job.log").unlink()
    output.say("now\n")
    assert (tmp_path / "job.log").read_text() == "evil\nmore\nnow\n"
    output.end_process()


def test_a_fifo_or_directory_is_not_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.log")
    reader = os.open(tmp_path / "fifo.log", os.O_RDONLY | os.O_NONBLOCK)
    output = Output(tmp_path / "fifo.log")
    assert output.say("x")
    assert os.read(reader, 10) == b""
    os.close(reader)
    output.end_process()
    (tmp_path / "dir.log").mkdir()
    output = Output(tmp_path / "dir.log")
    assert output.say("x")
    output.end_process()
    assert len(output.store.unflushed) == 1


def test_the_log_of_a_chroot_session_cannot_lead_out(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (root / "var").mkdir(parents=True)
    (root / "var/log").symlink_to(outside)
    output = Output(root / "var/log/job.log", root=str(root))
    output.say("x")
    assert not os.listdir(outside)
    (root / "var/log").unlink()
    (root / "inside").mkdir()
    (root / "var/log").symlink_to("/inside")
    output.say("y")
    assert (root / "inside/job.log").read_text() == "xy"
    output.end_process()


def test_output_waits_for_its_directory(tmp_path: Path) -> None:
    directory = tmp_path / "not-yet-mounted"
    output = Output(directory / "job.log")
    output.say("early\n")
    output.end_process()
    assert not output.store.flush_all()
    directory.mkdir()
    assert output.store.flush_all()
    assert (directory / "job.log").read_text() == "early\n"
    assert output.store.kept == 0 and not output.warnings


def test_a_later_run_writes_after_what_an_earlier_one_has_left(tmp_path: Path) -> None:
    directory = tmp_path / "later"
    first = Output(directory / "job.log")
    first.say("first\n")
    first.end_process()
    second = Output(directory / "job.log", first.store)
    second.say("second\n")
    second.end_process()
    third = Output(directory / "job.log", first.store)
    assert first.store.kept == len("first\nsecond\n")
    directory.mkdir()
    third.say("third\n")
    assert (directory / "job.log").read_text() == "first\nsecond\nthird\n"
    assert first.store.kept == 0 and not first.store.unflushed
    third.end_process()


def test_what_is_kept_is_bounded_and_the_loss_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "KEPT", 10)
    directory = tmp_path / "later"
    output = Output(directory / "job.log")
    output.say("01234567")
    output.say("89abcdef")
    output.say("ghi")
    assert output.store.kept == 10
    directory.mkdir()
    output.say("and on\n")
    text = (directory / "job.log").read_text()
    assert text == "0123456789(9 bytes of output are missing here)\nand on\n"
    assert output.store.kept == 0
    output.end_process()


def test_all_logs_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "KEPT_IN_ALL", 15)
    store = LogStore(lambda text: None, DirectWriter())
    outputs = [Output(tmp_path / "later" / f"{n}.log", store) for n in range(3)]
    for output in outputs:
        output.say("0123456789")
    # And the line of what was all lost.
    assert 15 <= store.kept < 15 + 50
    assert not store.flush_all()
    (tmp_path / "later").mkdir()
    assert store.flush_all() and store.kept == 0
    for output in outputs:
        output.end_process()


def test_a_log_grows_to_its_cap_and_is_renamed(tmp_path: Path) -> None:
    store = LogStore(lambda text: None, DirectWriter(cap=1000))
    output = Output(tmp_path / "job.log", store)
    for n in range(30):
        output.say(f"{n:099d}\n")
    sizes = {name: (tmp_path / name).stat().st_size for name in os.listdir(tmp_path)}
    assert sizes == {"job.log": 1000, "job.log.old": 1000}
    assert (tmp_path / "job.log").read_text().splitlines()[-1] == f"{29:099d}"
    output.end_process()


def test_one_call_reads_a_bounded_amount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "READ", 100)
    output = Output(tmp_path / "job.log")
    os.write(output.end, b"x" * 1000)
    assert output.log.on_readable()
    assert (tmp_path / "job.log").stat().st_size == 100
    output.end_process()
    assert (tmp_path / "job.log").stat().st_size == 1000


def test_the_end_of_a_process_does_not_wait_for_what_it_left_behind(tmp_path: Path) -> None:
    output = Output(tmp_path / "job.log")
    os.write(output.end, b"said\n")
    output.log.ended()
    assert output.log.fd == -1
    assert (tmp_path / "job.log").read_text() == "said\n"
    os.close(output.end)


def test_the_state_of_a_log_survives_a_restart_of_init(tmp_path: Path) -> None:
    directory = tmp_path / "later"
    output = Output(directory / "job.log")
    output.say("b\x00y\u00e9\n")
    state, unflushed = output.log.dump(), output.store.dump()
    store = LogStore(lambda text: None, DirectWriter())
    store.load(unflushed)
    again = JobLog.load(store, state)
    assert not os.get_inheritable(again.fd) and store.kept == 6
    directory.mkdir()
    os.write(output.end, b"after\n")
    os.close(output.end)
    assert not again.on_readable()
    again.close()
    assert (directory / "job.log").read_bytes() == "b\x00y\u00e9\nafter\n".encode()
    output.log.fd = -1


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.booleans()), max_size=30), st.integers(0, 100))
def test_nothing_is_lost_or_reordered_while_the_disk_comes_and_goes(
    steps: list[tuple[bytes, bool]], room: int
) -> None:
    written = bytearray()
    disk = {"there": False}

    class Flaky:
        def submit(self, file: LogFile) -> None:
            if not disk["there"]:
                file.written(0, errno.ENOENT)
                return
            taken = file.piece() if len(written) % 3 else file.piece()[: max(room, 1)]
            written.extend(taken)
            file.written(len(taken), 0)

    read, end = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    store = LogStore(lambda text: None, Flaky())
    log = JobLog(store, "/nowhere", read)
    for data, there in steps:
        disk["there"] = there
        os.write(end, data)
        log.on_readable()
    os.close(end)
    log.ended()
    disk["there"] = True
    for _ in range(2000):
        if store.flush_all():
            break
    assert bytes(written) == b"".join(data for data, _ in steps)
    assert store.kept == 0
