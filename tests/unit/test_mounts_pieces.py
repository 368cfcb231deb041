"""The parts of mountall's performing half by themselves: processes, checks, console, plymouth, devices, its file."""

from __future__ import annotations

import json
import os
import pty
import select
import socket
import stat
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.base.loop import Loop
from upstart.mounts import checking, devices, plymouth, statefile
from upstart.mounts.checking import Checker, percent
from upstart.mounts.console import Console, is_controlling, terminal_of
from upstart.mounts.mounter import available
from upstart.mounts.processes import NOT_FOUND, Processes, start_time
from upstart.mounts.values import (
    Action,
    Calm,
    Cancel,
    Check,
    Device,
    Emit,
    End,
    Ended,
    Gone,
    Input,
    Mount,
    Progress,
    Prompt,
    Ready,
    Swap,
    Tell,
    Wake,
    Watch,
)  # fmt: skip


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def turn_until(loop: Loop, condition: Callable[[], object]) -> None:
    """Turn the loop until the condition holds, five seconds at most."""
    for _ in range(100):
        if condition():
            return
        loop.turn(0.05)
    raise AssertionError("not in time")


# Processes


def test_a_program_is_told_by_its_status_and_its_words(loop: Loop) -> None:
    told: list[tuple[int, str]] = []
    processes = Processes(loop)
    processes.start(["/bin/sh", "-c", "echo one; echo two >&2; exit 3"], lambda *what: told.append(what))
    processes.start(["/bin/sh", "-c", "kill -9 $$"], lambda *what: told.append(what))
    turn_until(loop, lambda: len(told) == 2)
    assert sorted(told) == [(3, "one\ntwo\n"), (137, "")]


def test_a_program_has_no_descriptor_of_ours_and_leaves_us_none(loop: Loop) -> None:
    before = os.listdir("/proc/self/fd")
    told: list[str] = []
    processes = Processes(loop)
    more = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    show = ["/bin/ls", "-l", "/proc/self/fd"]
    processes.start(show, lambda status, words: told.append(words), {9: more})
    os.close(more)
    turn_until(loop, lambda: told)
    names = [line.partition(" -> ")[::2] for line in told[0].splitlines()[1:]]
    links = {name.split()[-1]: target for name, target in names}
    assert links["0"] == links["9"] == "/dev/null" and str(more) not in links and links["1"] == links["2"]
    with pytest.raises(FileNotFoundError):
        processes.start(["/no/such/program"], lambda status, words: None)
    assert os.listdir("/proc/self/fd") == before


def test_a_program_that_says_much_is_not_held_up(loop: Loop) -> None:
    told: list[tuple[int, str]] = []
    Processes(loop).start(["/bin/sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo end"],
                          lambda *what: told.append(what))  # fmt: skip
    turn_until(loop, lambda: told)
    assert told[0][0] == 0
    assert told[0][1].endswith("xxend\n")


def test_what_is_cancelled_ends_with_all_that_it_started(loop: Loop) -> None:
    told: list[int] = []
    process = Processes(loop).start(["/bin/sh", "-c", "sleep 60 & wait"], lambda status, words: told.append(status))
    process.cancel()
    turn_until(loop, lambda: told)
    assert told == [143]


def test_a_process_of_another_is_waited_for_only_if_it_is_still_that_one(loop: Loop) -> None:
    told: list[int] = []
    processes = Processes(loop)
    # A child of a child, as one is that a mountall which was killed has left.
    script = "sleep 0.2 >/dev/null 2>&1 & echo $!"
    pid = int(subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True).stdout)
    assert processes.adopt(pid, "1", lambda status, words: told.append(status)) is None
    assert processes.adopt(pid, start_time(pid), lambda status, words: told.append(status)) is not None
    turn_until(loop, lambda: told)
    assert told == [NOT_FOUND]


# Checks


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"1 0 100 /dev/sda1", 0),
        (b"1 100 100 x", 70),
        (b"2 1 2 x", 80),
        (b"3 2 2", 92),
        (b"4 1 1", 95),
        (b"5 3 3", 100),
    ],
)
def test_progress_is_percent_of_all_passes(line: bytes, expected: int) -> None:
    assert percent(line) == expected


@given(st.binary(max_size=40))
def test_no_line_of_progress_is_an_error(line: bytes) -> None:
    value = percent(line)
    assert value is None or 0 <= value <= 100


def check_with(loop: Loop, directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> list[Input]:
    """What a check tells whose program is this script; the words that it is called with are in its output."""
    program = directory / "fsck.ext4"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    monkeypatch.setattr(checking, "program", lambda name: str(directory / name))
    told: list[Input] = []
    checker = Checker(loop, Processes(loop), told.append)
    process = checker.start(Check(7, "/dev/x", "ext4", "yes", force=True), told.append)
    assert process is not None
    if "sleep" in script:
        process.cancel()
    turn_until(loop, lambda: told and isinstance(told[-1], Ended))
    return told


def test_a_check_is_called_as_fsck_calls_it_and_tells_of_its_progress(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = check_with(loop, tmp_path, "echo 1 1 2 x >&3\necho $*\nexit 1\n", monkeypatch)
    assert told == [Progress(7, 35), Ended(7, 1, "-y -f -C3 /dev/x")]


def test_a_check_that_is_cancelled_says_so_by_its_status(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_with(loop, tmp_path, "sleep 60\n", monkeypatch) == [Ended(7, 32)]


def test_progress_is_told_ten_times_a_second_at_most(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo 1 $i 10 >&3; sleep 0.01; done\n"
    program = tmp_path / "fsck.ext4"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    monkeypatch.setattr(checking, "program", lambda name: str(tmp_path / name))
    told: list[Input] = []
    Checker(loop, Processes(loop), told.append).start(Check(1, "/dev/x", "ext4"), told.append)
    turn_until(loop, lambda: told and isinstance(told[-1], Ended))
    assert 1 <= len(told) - 1 <= 3


def test_a_missing_checker_is_told(loop: Loop) -> None:
    told: list[Input] = []
    assert Checker(loop, Processes(loop), told.append).start(Check(1, "/dev/x", "nosuchtype"), told.append) is None
    assert told == [Ended(1, NOT_FOUND, "fsck.nosuchtype: command not found")]


def test_the_log_of_checks_is_written_once_there_is_a_place_for_it(tmp_path: Path) -> None:
    path = tmp_path / "log" / "fsck" / "mountall"
    log = checking.Log(str(path), str(tmp_path / "none"))
    log.add(["fsck.ext4", "-a", "/dev/x"], "clean\n")
    log.write()
    assert not (tmp_path / "log").exists()
    (tmp_path / "log").mkdir()
    log.write()
    log.add(["fsck.ext4", "-a", "/dev/y"], "also\n")
    log.write()
    text = path.read_text()
    assert text.startswith("Log of fsck.ext4 -a /dev/x\n")
    assert text.count("----------------\n") == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_the_initrd_said_of_its_checks_comes_first_and_once(tmp_path: Path) -> None:
    initrd = tmp_path / "fsck.log"
    initrd.write_bytes(b"Log of fsck -a /dev/root\nroot: clean \xff\n----------------\n")
    path = tmp_path / "mountall"
    log = checking.Log(str(path), str(initrd))
    log.write()
    assert path.read_text() == "Log of fsck -a /dev/root\nroot: clean \ufffd\n----------------\n"
    log.add(["fsck.ext4", "-a", "/dev/x"], "clean\n")
    log.write()
    log.write()
    text = path.read_text()
    assert text.startswith("Log of fsck -a /dev/root\n")
    assert text.count("----------------\n") == 2
    # Where nobody has checked anything, nothing is begun.
    checking.Log(str(tmp_path / "other"), str(tmp_path / "none")).write()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("blocks", "inodes", "of", "room"),
    [(255, 10, 20, 1020), (255, 0, 20, 0), (0, 10, 20, 0), (255, 0, 0, 1020)],
)
def test_room_is_what_an_ordinary_user_has(
    monkeypatch: pytest.MonkeyPatch, blocks: int, inodes: int, of: int, room: int
) -> None:
    # Block size, size of a fragment, blocks, free, available; inodes, free, available; flags, length of names.
    told = os.statvfs_result((1 << 20, 4096, 1000, 500, blocks, of, inodes + 5, inodes, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda directory: told)
    assert available("/tmp") == room


# The file


ACTIONS = [
    Emit(1, "mounted", ("DEVICE=/dev/\udcff", "MOUNTPOINT=/ä"), "key", wait=False),
    Check(2, "/dev/x", "ext4", "yes", idle=True),
    Calm(2), Mount(3, "a", "/b", "tmpfs", "x", beside=True), Swap(4, "/s", "pri=1"), Cancel(2), Watch(),
    Tell("text", urgent=True), Prompt("text", "SM", ("filesystem",)), Wake(1.5), Wake(None), End(5),
]  # fmt: skip


def test_every_action_can_be_written_and_read() -> None:
    assert {type(action) for action in ACTIONS} == set(Action.__subclasses__())
    packed = json.loads(json.dumps([statefile.pack_action(action) for action in ACTIONS]))
    assert [statefile.unpack_action(each) for each in packed] == ACTIONS


@pytest.mark.parametrize("packed", [["Answered", {"number": 1}], ["Entry", {}], ["Emit", {"x": 1}], ["no", {}], [], 3])
def test_what_is_no_action_is_refused(packed: Any) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        statefile.unpack_action(packed)


def test_the_state_is_whole_and_roots_alone(tmp_path: Path) -> None:
    path = tmp_path / "upstart" / "mountall.json"
    assert statefile.read(str(path)) is None
    assert statefile.write({"version": statefile.VERSION, "a": 1}, str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert statefile.read(str(path)) == {"version": statefile.VERSION, "a": 1}
    assert os.listdir(path.parent) == ["mountall.json"]
    assert not statefile.write({}, str(tmp_path / "none" / "below" / "x"))
    for text in ("", "{", "[]", '{"version": 99}', "\0"):
        path.write_text(text)
        assert statefile.read(str(path)) is None


SOURCE = str(Path(__file__).resolve().parents[2] / "src")

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), VALUES))
def test_the_state_is_written_as_json_writes_it(document: dict[str, Any]) -> None:
    assert statefile._text(document) == json.dumps(document, separators=(",", ":"))


def test_nothing_is_mounted_later_for_modules_that_read_text() -> None:
    program = (
        f"import sys; sys.path.insert(0, {SOURCE!r})\n"
        "from upstart.mounts import console, devices, events, files, main, perform, reducer, statefile\n"
        "statefile.write({}, '/dev/null/x'); statefile.read('/dev/null/x')\n"
        "print(*sys.modules.keys() & {'re', 'json', 'enum', 'collections', 'subprocess', 'logging'})"
    )
    ran = subprocess.run(["/usr/bin/python3", "-IS", "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "\n"


# Console


class Terminal:
    """A pseudo-terminal that stands for the console."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.path = os.ttyname(self.slave)
        os.set_blocking(self.master, False)

    def text(self) -> str:
        """What has been written since the last time; the kernel takes a moment to bring it."""
        text = ""
        while select.select([self.master], [], [], 0.1)[0]:
            text += os.read(self.master, 1 << 16).decode()
        return text

    def modes(self) -> int:
        return int(termios.tcgetattr(self.slave)[3])

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_keys_are_read_only_while_a_prompt_offers_them(loop: Loop, terminal: Terminal) -> None:
    keys: list[str] = []
    logged: list[str] = []
    console = Console(loop, keys.append, lambda text, urgent: logged.append(text), path=terminal.path)
    before = terminal.modes()
    os.write(terminal.master, b"s\n")
    console.prompt("The disk drive for /a is not there\nPress S to skip it", "SM")
    assert not terminal.modes() & (termios.ICANON | termios.ECHO)
    assert "is not there\r\nPress S" in terminal.text().replace("\r\r", "\r")
    os.write(terminal.master, b"xs")
    turn_until(loop, lambda: keys)
    assert keys == ["S"]
    console.prompt("", "")
    assert terminal.modes() == before
    os.write(terminal.master, b"m")
    loop.turn(0.05)
    assert keys == ["S"]
    assert logged == ["The disk drive for /a is not there\nPress S to skip it"]
    console.close()


def test_keys_are_left_to_who_has_the_console_for_a_terminal(loop: Loop, terminal: Terminal) -> None:
    keys: list[str] = []
    console = Console(loop, keys.append, lambda text, urgent: None, path=terminal.path)
    console.prompt("Press S", "S")
    assert not terminal.modes() & termios.ICANON
    # The owner of the session gets what is typed, from the next time that something is shown.
    shell = subprocess.Popen(["setsid", "-w", "-c", "sleep", "60"], stdin=terminal.slave)
    try:
        turn_until(loop, lambda: is_controlling(terminal_of(terminal.path)))
        # He may have switched off the echo.
        modes = terminal.modes()
        console.prompt("Press S again", "S")
        assert terminal.modes() == modes
        os.write(terminal.master, b"s")
        loop.turn(0.05)
        assert keys == []
    finally:
        shell.kill()
        shell.wait()
    console.close()


def test_what_is_typed_for_who_has_just_taken_the_console_is_left_to_him(loop: Loop, terminal: Terminal) -> None:
    """Before anything else is shown: a passphrase may have letters that are keys."""
    keys: list[str] = []
    console = Console(loop, keys.append, lambda text, urgent: None, path=terminal.path)
    console.prompt("Press S", "S")
    owner = subprocess.Popen(["setsid", "-w", "-c", "sleep", "60"], stdin=terminal.slave)
    try:
        turn_until(loop, lambda: is_controlling(terminal_of(terminal.path)))
        modes = terminal.modes()
        os.write(terminal.master, b"s")
        turn_until(loop, lambda: console._fd < 0)
        assert keys == [] and terminal.modes() == modes
        os.set_blocking(terminal.slave, False)
        assert os.read(terminal.slave, 10) == b"s"
    finally:
        owner.kill()
        owner.wait()
    # Once he has gone, they are read again.
    console.prompt("Press S again", "S")
    os.write(terminal.master, b"s")
    turn_until(loop, lambda: keys)
    console.close()


def test_lines_in_which_numbers_change_are_painted_in_one_place(
    loop: Loop, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    logged: list[str] = []
    console = Console(loop, lambda key: None, lambda text, urgent: logged.append(text), path=terminal.path)
    console.prompt("Checking\n/a: 5 %\n/b: 100 %\nPress C", "C")
    terminal.text()
    # Not each of ten a second.
    console.prompt("Checking\n/a: 6 %\n/b: 100 %\nPress C", "C")
    assert terminal.text() == ""
    now += 1
    console.prompt("Checking\n/a: 17 %\n/b: 99 %\nPress C", "C")
    assert terminal.text() == "\r/a: 17 %, /b: 99 %"
    now += 1
    console.prompt("Checking\n/a: 8 %\n/b: 99 %\nPress C", "C")
    assert terminal.text() == "\r/a: 8 %".ljust(19)
    console.tell("Something else")
    assert terminal.text().replace("\r", "") == "\nmountall: Something else\n"
    assert len(logged) == 2
    # After a while people may want to see it all.
    now += 30
    console.prompt("Checking\n/a: 9 %\n/b: 99 %\nPress C", "C")
    assert "Press C" in terminal.text()
    console.close()


def test_a_quiet_boot_shows_what_is_urgent(loop: Loop, terminal: Terminal) -> None:
    logged: list[str] = []
    console = Console(loop, lambda key: None, lambda text, urgent: logged.append(text), quiet=True, path=terminal.path)
    console.tell("of no account")
    assert terminal.text() == ""
    console.tell("lost", urgent=True)
    assert terminal.text().replace("\r", "") == "mountall: lost\n"
    assert logged == ["of no account", "lost"]


def test_a_console_that_is_not_there_is_no_error(loop: Loop) -> None:
    console = Console(loop, lambda key: None, lambda text, urgent: None, path="/dev/there-is-none")
    console.tell("heard by nobody", urgent=True)
    console.prompt("asked nobody", "S")
    console.close()


def test_plymouth_shows_prompts_and_reads_keys_where_it_runs(loop: Loop, terminal: Terminal) -> None:
    address = f"\0upstart-test-plymouth-{os.getpid()}".encode()
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen()
    keys: list[str] = []
    console = Console(loop, keys.append, lambda text, urgent: None, path=terminal.path)
    console._plymouth.address = address
    console.prompt("Press S", "S")
    peer, _ = server.accept()
    assert peer.recv(100) == b"K\2\x03Ss\0M\2\x08Press S\0"
    assert terminal.modes() & termios.ICANON
    peer.sendall(b"\6\2\1\0")
    loop.turn(0.05)
    peer.sendall(b"\0\0s")
    turn_until(loop, lambda: keys)
    assert keys == ["S"]
    assert peer.recv(100) == b"K\2\x03Ss\0"
    console.prompt("", "")
    assert peer.recv(100) == b"L\2\x03Ss\0m\2\x08Press S\0"
    console.close()
    assert peer.recv(100) == b""
    peer.close()
    server.close()


def test_a_plymouth_that_goes_away_is_as_none(loop: Loop) -> None:
    client = plymouth.Plymouth(loop, lambda key: None, b"\0upstart-test-no-plymouth")
    assert not client.read_keys("S")
    client.message("nothing")
    client.close()


# Devices


def test_readiness_is_udevs_word_and_what_is_on_a_mapping() -> None:
    assert devices.is_ready("sda1", {})
    assert not devices.is_ready("sda1", {"SYSTEMD_READY": "0", "ID_FS_TYPE": "btrfs"})
    assert not devices.is_ready("dm-0", {})
    assert not devices.is_ready("md127", {"ID_FS_TYPE": ""})
    assert devices.is_ready("dm-0", {"ID_FS_TYPE": "ext4"})
    assert not devices.is_ready("dm-0", {"ID_FS_TYPE": "ext4", "DM_SUSPENDED": "1"})


def test_a_device_is_called_by_all_its_names() -> None:
    links = ["/dev/disk/by-uuid/1-2", "/dev/disk/by-label/my\\x20disk", "/dev/disk/by-id/ata-x", "/dev/root-disk"]
    properties = {"ID_FS_UUID": "1-2", "ID_FS_LABEL_ENC": "my\\x20disk", "ID_FS_TYPE": "ext4",
                  "ID_PART_ENTRY_UUID": "aa", "ID_PART_ENTRY_NAME": "a\\x2fb"}  # fmt: skip
    device = devices.describe("/dev/sda1", links, properties, ("sda",))
    assert device.names[0] == "/dev/sda1"
    assert {"UUID=1-2", "LABEL=my disk", "PARTUUID=aa", "PARTLABEL=a/b", "ID=ata-x", *links} <= set(device.names)
    assert len(set(device.names)) == len(device.names)
    assert (device.link, device.type, device.disks) == ("/dev/disk/by-uuid/1-2", "ext4", ("sda",))
    assert devices.describe("/dev/sdb", [], {}, ()).link == "/dev/sdb"


def test_disks_are_found_through_partitions_and_slaves(tmp_path: Path) -> None:
    for path in ("block/sda/sda1", "block/sdb/sdb1", "block/dm-0/slaves", "block/dm-1/slaves"):
        (tmp_path / path).mkdir(parents=True)
    for disk in ("sda", "sdb"):
        (tmp_path / f"block/{disk}/{disk}1/partition").write_text("1\n")
    classes = tmp_path / "class"
    classes.mkdir()
    for name, place in (("sda", "sda"), ("sda1", "sda/sda1"), ("sdb", "sdb"), ("sdb1", "sdb/sdb1"), ("dm-0", "dm-0"),
                        ("dm-1", "dm-1")):  # fmt: skip
        (classes / name).symlink_to(tmp_path / "block" / place)
    for mapping, parts in (("dm-0", ("sda1", "sdb1")), ("dm-1", ("dm-0",))):
        for part in parts:
            (tmp_path / f"block/{mapping}/slaves/{part}").symlink_to(classes / part)
    assert devices.disks_of("dm-1", str(classes)) == ("sda", "sdb")
    assert devices.disks_of("sda1", str(classes)) == ("sda",)
    assert devices.disks_of("sdb", str(classes)) == ("sdb",)


def test_each_change_of_a_device_is_told_once() -> None:
    told: list[Input] = []
    known = devices.Known(told.append)
    plain, tagged = Device(("/dev/x",)), Device(("/dev/x", "UUID=1"))
    for device in (plain, plain, tagged):
        known.ready(device)
    known.only(["/dev/x"])
    known.only([])
    known.gone("/dev/x")
    assert told == [Ready(plain), Ready(tagged), Gone("/dev/x")]


def test_what_blkid_says_is_read() -> None:
    words = "DEVNAME=/dev/loop0\nLABEL=my\\ disk\nUUID=1-2\nTYPE=ext4\n\nDEVNAME=/dev/x\nPARTUUID=3\n"
    assert devices.read_blkid(words) == {
        "/dev/loop0": {"ID_FS_LABEL_ENC": "my disk", "ID_FS_UUID": "1-2", "ID_FS_TYPE": "ext4"},
        "/dev/x": {"ID_PART_ENTRY_UUID": "3"},
    }
    assert devices.read_blkid("") == {}


@given(st.text(alphabet=st.characters(blacklist_characters="\\", blacklist_categories=("Cs",)), max_size=20))
def test_a_label_is_read_as_udev_wrote_it(label: str) -> None:
    from upstart.mounts.mounting import link_name

    assert devices.unescape(link_name(label)) == label


def test_nothing_of_the_library_is_loaded_before_devices_are_waited_for() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import upstart.mounts.devices; print('pyudev' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-IS", "-c", program, SOURCE], capture_output=True, text=True, check=True)
    assert output.stdout == "False\n"
