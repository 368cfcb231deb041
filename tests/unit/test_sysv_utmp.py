"""Records of utmp and wtmp: what the commands write, what they read back, and what PID 1 may touch."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.base import utmp
from upstart.base.utmp import BOOT_TIME, DEAD_PROCESS, LOGIN_PROCESS, RUN_LVL, USER_PROCESS, Record


def kinds(path: Path) -> list[tuple[int, int, bytes]]:
    return [(record.kind, record.pid, record.user) for record in utmp.read(str(path))]


def level(runlevel: str, previous: str = "") -> int:
    return ord(runlevel) + 256 * (ord(previous) if previous else 0)


def fill(path: Path, *records: Record) -> None:
    path.write_bytes(b"".join(record.pack() for record in records))


def runlevel_record(pid: int) -> Record:
    return Record(RUN_LVL, pid, b"~", b"~~", b"runlevel")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "utmp", tmp_path / "wtmp"
    for path in paths:
        path.touch()
    return paths


def write(files: tuple[Path, Path], runlevel: str, previous: str) -> None:
    utmp.write_runlevel(runlevel, previous, str(files[0]), str(files[1]))


def test_a_record_has_the_layout_of_the_c_library() -> None:
    record = Record(USER_PROCESS, 4711, b"tty1", b"1", b"frodo", b"shire", 1_700_000_000, 5)
    data = record.pack()
    assert len(data) == utmp.SIZE
    if os.uname().machine == "x86_64":
        assert utmp.SIZE == 384
        assert struct.unpack_from("=i", data, 4) == (4711,)
        assert data[8:12] == b"tty1" and data[44:49] == b"frodo"
        assert struct.unpack_from("=II", data, 340) == (1_700_000_000, 5)


@given(st.integers(0, 9), st.integers(-(2**31), 2**31 - 1), st.binary(max_size=40), st.binary(max_size=300))
def test_a_record_survives_packing_up_to_its_fields_length(kind: int, pid: int, user: bytes, host: bytes) -> None:
    back = utmp.unpack(Record(kind, pid, b"~", b"~~", user, host, 1, 2).pack())
    assert (back.kind, back.pid, back.line, back.id, back.seconds, back.microseconds) == (kind, pid, b"~", b"~~", 1, 2)
    assert back.user == user[:32].partition(b"\0")[0]
    assert back.host == host[:256].partition(b"\0")[0]


@pytest.mark.skipif(not os.access("/usr/bin/who", os.X_OK), reason="needs who")
def test_who_understands_the_runlevel_record(files: tuple[Path, Path]) -> None:
    write(files, "2", "N")
    done = subprocess.run(["/usr/bin/who", "-r", str(files[0])], capture_output=True, text=True, check=True)
    assert "run-level 2" in done.stdout


class TestReadingTheRunlevel:
    @pytest.mark.parametrize(
        ("pid", "levels"),
        [
            (level("2", "S"), ("2", "S")),
            (level("2"), ("2", "N")),
            (0, ("N", "N")),
            (-14 - 12 * 256, ("N", "N")),
            (256 * ord("2"), ("N", "2")),
        ],
    )
    def test_the_pid_field_holds_both_levels(self, files: tuple[Path, Path], pid: int, levels: tuple[str, str]) -> None:
        fill(files[0], runlevel_record(pid))
        assert utmp.read_runlevel(str(files[0])) == levels

    def test_a_file_without_a_record_tells_nothing(self, files: tuple[Path, Path]) -> None:
        assert utmp.read_runlevel(str(files[0])) is None

    def test_a_torn_record_is_no_record(self, files: tuple[Path, Path]) -> None:
        files[0].write_bytes(runlevel_record(level("2")).pack()[:-1])
        assert utmp.read_runlevel(str(files[0])) is None

    def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            utmp.read_runlevel(str(tmp_path / "none"))

    def test_the_most_recent_record_of_a_history_counts(self, files: tuple[Path, Path],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
        login = Record(USER_PROCESS, 1, b"tty1", b"1", b"frodo")
        fill(files[1], runlevel_record(level("2")), runlevel_record(level("3", "2")), *[login] * 7)
        assert utmp.read_runlevel(str(files[1])) == ("3", "2")
        monkeypatch.setattr(utmp, "READ_LIMIT", 3 * utmp.SIZE)
        assert utmp.read_runlevel(str(files[1])) == ("3", "2")

    def test_the_environment_comes_before_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        missing = str(tmp_path / "none")
        monkeypatch.setenv("RUNLEVEL", "3")
        monkeypatch.setenv("PREVLEVEL", "2")
        assert utmp.get_runlevel(missing) == ("3", "2")
        monkeypatch.delenv("PREVLEVEL")
        assert utmp.get_runlevel(missing) == ("3", "N")
        monkeypatch.setenv("RUNLEVEL", "")
        assert utmp.get_runlevel(missing) == ("N", "N")
        monkeypatch.delenv("RUNLEVEL")
        with pytest.raises(FileNotFoundError):
            utmp.get_runlevel(missing)

    def test_a_reader_is_not_held_up_by_a_lock(self, files: tuple[Path, Path]) -> None:
        fill(files[0], runlevel_record(level("2")))
        with Locked(files[0]):
            assert utmp.read_runlevel(str(files[0])) == ("2", "N")


class Locked:
    """Another process that holds the locks of files; those for reading may be any user's."""

    def __init__(self, *paths: Path, reading: bool = False) -> None:
        program = (
            "import fcntl,sys; files=[open(p,sys.argv[1]) for p in sys.argv[3:]]; "
            "[fcntl.lockf(f,int(sys.argv[2])) for f in files]; print(flush=True); input()"
        )
        mode, kind = ("rb", fcntl.LOCK_SH) if reading else ("r+b", fcntl.LOCK_EX)
        self.process = subprocess.Popen([sys.executable, "-c", program, mode, str(int(kind)), *map(str, paths)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def __exit__(self, *exception: object) -> None:
        self.process.communicate(b"\n")


class TestWritingTheRunlevel:
    @pytest.mark.parametrize("previous", ["N", "S"])
    def test_the_first_change_is_preceded_by_the_boot(self, files: tuple[Path, Path], previous: str) -> None:
        write(files, "2", previous)
        for path in files:
            change = level("2", previous.strip("N"))
            assert kinds(path) == [(BOOT_TIME, 0, b"reboot"), (RUN_LVL, change, b"runlevel")]
        record = utmp.read(str(files[0]))[1]
        assert (record.line, record.id, record.host) == (b"~", b"~~", os.uname().release.encode())
        assert abs(record.seconds - time.time()) < 60

    def test_the_boot_is_dated_when_process_1_was_started(self, files: tuple[Path, Path],
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(utmp, "_seconds_up", lambda: 7200.5)
        write(files, "2", "N")
        boot, change = utmp.read(str(files[1]))
        assert 7200 <= change.seconds - boot.seconds <= 7205

    def test_the_age_of_process_1_is_known_here(self) -> None:
        own = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        assert now - own < utmp._seconds_up() <= now

    def test_a_later_change_replaces_in_utmp_and_is_added_to_wtmp(self, files: tuple[Path, Path]) -> None:
        for path in files:
            fill(path, runlevel_record(level("2", "S")))
        write(files, "5", "2")
        assert kinds(files[0]) == [(RUN_LVL, level("5", "2"), b"runlevel")]
        assert [pid for _, pid, _ in kinds(files[1])] == [level("2", "S"), level("5", "2")]

    def test_a_boot_that_only_one_file_missed_is_written_there(self, files: tuple[Path, Path]) -> None:
        fill(files[0], runlevel_record(level("0", "2")))
        fill(files[1], runlevel_record(level("S")))
        write(files, "2", "S")
        assert [kind for kind, _, _ in kinds(files[0])] == [RUN_LVL, BOOT_TIME]
        assert [kind for kind, _, _ in kinds(files[1])] == [RUN_LVL, RUN_LVL]

    def test_no_boot_is_invented_over_several_boots(self, files: tuple[Path, Path]) -> None:
        for _ in range(2):
            files[0].write_bytes(b"")
            write(files, "2", "N")
            write(files, "0", "2")
            utmp.write_shutdown(str(files[0]), str(files[1]))
        boot = [(BOOT_TIME, b"reboot"), (RUN_LVL, b"runlevel"), (RUN_LVL, b"runlevel"), (RUN_LVL, b"shutdown")]
        assert [(kind, user) for kind, _, user in kinds(files[1])] == boot * 2

    def test_a_missing_wtmp_is_not_made_and_no_error(self, files: tuple[Path, Path]) -> None:
        files[1].unlink()
        write(files, "2", "N")
        assert not files[1].exists()
        assert utmp.read_runlevel(str(files[0])) == ("2", "N")

    def test_a_missing_utmp_is_an_error_after_wtmp_was_written(self, files: tuple[Path, Path]) -> None:
        files[0].unlink()
        with pytest.raises(FileNotFoundError):
            write(files, "2", "N")
        assert len(kinds(files[1])) == 2

    def test_a_torn_record_at_the_end_is_overwritten(self, files: tuple[Path, Path]) -> None:
        for path in files:
            path.write_bytes(runlevel_record(level("2")).pack() + b"torn")
        write(files, "3", "2")
        assert len(kinds(files[0])) == 1 and len(kinds(files[1])) == 2
        assert files[1].stat().st_size == 2 * utmp.SIZE

    def test_a_lock_that_is_never_given_up_does_not_keep_the_record_out(self, files: tuple[Path, Path],
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(utmp, "LOCK_PATIENCE", 0.05)
        with Locked(files[0]):
            write(files, "0", "N")
        assert utmp.read_runlevel(str(files[0])) == ("0", "N")

    def test_whoever_locks_both_files_for_good_is_waited_for_once(self, files: tuple[Path, Path],
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(utmp, "LOCK_PATIENCE", 0.5)
        with Locked(*files):
            began = time.monotonic()
            utmp.write_runlevel("2", "N", str(files[0]), str(files[1]), 0.5)
            utmp.write_shutdown(str(files[0]), str(files[1]))
            assert 1.0 <= time.monotonic() - began < 1.9
        assert [kind for kind, *_ in kinds(files[1])] == [BOOT_TIME, RUN_LVL, RUN_LVL]

    def test_a_lock_for_reading_is_not_waited_for(self, files: tuple[Path, Path]) -> None:
        with Locked(*files, reading=True):
            began = time.monotonic()
            write(files, "2", "N")
            utmp.write_shutdown(str(files[0]), str(files[1]))
            assert time.monotonic() - began < 0.5
        assert [kind for kind, *_ in kinds(files[1])] == [BOOT_TIME, RUN_LVL, RUN_LVL]
        assert kinds(files[0])[1:] == [(RUN_LVL, 0, b"shutdown")]

    def test_a_shutdown_replaces_the_runlevel_in_utmp(self, files: tuple[Path, Path]) -> None:
        write(files, "0", "N")
        utmp.write_shutdown(str(files[0]), str(files[1]))
        assert kinds(files[0])[1:] == [(RUN_LVL, 0, b"shutdown")]
        assert kinds(files[1])[2:] == [(RUN_LVL, 0, b"shutdown")]


def test_terminal_records_are_told_apart_by_id_and_else_by_line(files: tuple[Path, Path]) -> None:
    fill(files[0], Record(LOGIN_PROCESS, 1, b"tty1", b"1", b"LOGIN"), Record(LOGIN_PROCESS, 2, b"tty2", b"", b"LOGIN"),
         runlevel_record(level("2")))
    utmp.put(str(files[0]), Record(USER_PROCESS, 3, b"tty9", b"1", b"frodo"))
    utmp.put(str(files[0]), Record(USER_PROCESS, 4, b"tty2", b"x", b"sam"))
    utmp.put(str(files[0]), Record(USER_PROCESS, 5, b"tty3", b"3", b"pippin"))
    assert [pid for _, pid, _ in kinds(files[0])] == [3, 4, level("2"), 5]


class TestMarkingAProcessDead:
    def records(self, files: tuple[Path, Path]) -> None:
        fill(files[0], runlevel_record(50), Record(USER_PROCESS, 4711, b"tty1", b"1", b"frodo", b"shire", 9, 9))

    def mark(self, files: tuple[Path, Path], pid: int) -> bool:
        record = utmp.mark_dead(pid, str(files[0]))
        if record is not None:
            utmp.append_dead(record, str(files[1]))
        return record is not None

    def test_the_history_is_left_to_another_process(self, files: tuple[Path, Path]) -> None:
        self.records(files)
        before = files[1].read_bytes()
        assert utmp.mark_dead(4711, str(files[0])) is not None
        assert files[1].read_bytes() == before

    def test_its_terminal_is_free_and_the_history_says_when(self, files: tuple[Path, Path]) -> None:
        self.records(files)
        assert self.mark(files, 4711)
        record = utmp.read(str(files[0]))[1]
        assert (record.kind, record.pid, record.line, record.id) == (DEAD_PROCESS, 4711, b"tty1", b"1")
        assert (record.user, record.host, record.seconds, record.microseconds) == (b"", b"", 0, 0)
        (logged,) = utmp.read(str(files[1]))
        assert logged.kind == DEAD_PROCESS and abs(logged.seconds - time.time()) < 60
        assert not self.mark(files, 4711)

    def test_a_runlevel_is_not_taken_for_a_pid(self, files: tuple[Path, Path]) -> None:
        self.records(files)
        assert not self.mark(files, 50)
        assert utmp.read_runlevel(str(files[0])) == ("2", "N")

    def test_nothing_is_raised_and_nothing_made_without_files(self, files: tuple[Path, Path]) -> None:
        self.records(files)
        files[1].unlink()
        assert self.mark(files, 4711)
        assert not files[1].exists()
        files[0].unlink()
        assert not self.mark(files, 4711)

    def test_a_fifo_or_a_directory_in_its_place_does_not_block(self, files: tuple[Path, Path], tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        assert not utmp.mark_dead(4711, str(tmp_path / "fifo"))
        assert not utmp.mark_dead(4711, str(tmp_path))

    def test_a_locked_file_is_left_alone_at_once(self, files: tuple[Path, Path]) -> None:
        self.records(files)
        with Locked(files[0]):
            before = time.monotonic()
            assert not self.mark(files, 4711)
            assert time.monotonic() - before < 0.5
        assert utmp.read(str(files[0]))[1].kind == USER_PROCESS

    def test_a_lock_for_reading_does_not_keep_it_out(self, files: tuple[Path, Path]) -> None:
        self.records(files)
        with Locked(*files, reading=True):
            assert self.mark(files, 4711)
        assert utmp.read(str(files[0]))[1].kind == DEAD_PROCESS

    @given(st.binary(max_size=1500), st.integers(1, 300))
    def test_a_damaged_file_does_no_harm(self, tmp_path_factory: pytest.TempPathFactory, data: bytes, pid: int) -> None:
        path = tmp_path_factory.getbasetemp() / "damaged"
        path.write_bytes(data)
        utmp.mark_dead(pid, str(path))
        assert path.stat().st_size == len(data)


def test_locks_end_with_the_call(files: tuple[Path, Path]) -> None:
    write(files, "2", "N")
    with open(files[0], "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class TestHolders:
    def test_who_holds_a_terminal_is_known_as_the_file_changes(self, files: tuple[Path, Path]) -> None:
        holders = utmp.Holders(str(files[0]))
        fill(files[0], runlevel_record(50), Record(USER_PROCESS, 4711, b"tty1", b"1", b"frodo"))
        assert 4711 in holders and 50 not in holders
        fill(files[0], runlevel_record(50), Record(USER_PROCESS, 4712, b"tty1", b"1", b"frodo"))
        assert 4712 in holders and 4711 not in holders
        assert utmp.mark_dead(4712, str(files[0]))
        assert 4712 not in holders
        files[0].unlink()
        assert 4712 not in holders

    def test_an_old_file_is_read_once(self, files: tuple[Path, Path]) -> None:
        fill(files[0], Record(USER_PROCESS, 4711, b"tty1", b"1", b"frodo"))
        os.utime(files[0], (1, 1))
        holders = utmp.Holders(str(files[0]))
        assert 4711 in holders
        fill(files[0], Record(USER_PROCESS, 4712, b"tty1", b"1", b"frodo"))
        os.utime(files[0], (1, 1))
        assert 4711 in holders
