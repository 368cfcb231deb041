"""The small parts of the daemon: where sessions look, the FIFO of other inits, the log, chroots, addresses."""

from __future__ import annotations

import errno
import os
import signal
import struct
import types
from pathlib import Path

import pytest

from upstart.base import xdg
from upstart.base.logger import Logger
from upstart.base.loop import Loop
from upstart.base.priority import DEBUG, ERROR, INFO, MESSAGE, WARN
from upstart.daemon import faults, sessionfile
from upstart.daemon.chroots import Chroots
from upstart.daemon.initreq import InitFifo
from upstart.daemon.interfaces import INSTANCE_OBJECT, JOB_OBJECT, MANAGER_OBJECT, introspect
from upstart.daemon.manager import Manager
from upstart.daemon.objects import InstanceObject, JobObject
from upstart.daemon.service import steps
from upstart.dbus.address import parse_address


def test_configuration_directories_of_a_user(tmp_path: Path) -> None:
    home = str(tmp_path)
    environ = {"HOME": home, "XDG_CONFIG_DIRS": "/one:relative:/two"}
    assert xdg.config_dirs(environ) == [
        f"{home}/.config/upstart", f"{home}/.init", "/one/upstart", "/two/upstart", "/usr/share/upstart/sessions",
    ]  # fmt: skip
    assert os.stat(tmp_path / ".config" / "upstart").st_mode & 0o777 == 0o700
    environ = {"HOME": home, "XDG_CONFIG_HOME": f"{home}/c", "UPSTART_NO_SYSTEM_USERCONFDIR": "1"}
    assert xdg.config_dirs(environ) == [f"{home}/c/upstart", f"{home}/.init", "/etc/xdg/upstart"]
    assert xdg.config_dirs({}) == []


def test_other_directories_of_a_user(tmp_path: Path) -> None:
    home = str(tmp_path)
    assert xdg.log_dir({"HOME": home}) == f"{home}/.cache/upstart"
    assert xdg.log_dir({"HOME": home, "XDG_CACHE_HOME": f"{home}/c"}) == f"{home}/c/upstart"
    assert xdg.log_dir({"HOME": home, "XDG_CACHE_HOME": "relative"}) == f"{home}/.cache/upstart"
    assert xdg.log_dir({}) is None
    assert xdg.session_dir({"XDG_RUNTIME_DIR": home}) == f"{home}/upstart/sessions"
    assert xdg.session_dir({"HOME": home}) is None
    assert (tmp_path / "upstart" / "sessions").is_dir()


def test_the_file_of_a_session_is_whole_whenever_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    path = tmp_path / "upstart" / "sessions" / f"{os.getpid()}.session"
    said: list[str] = []
    assert sessionfile.create(environ, "unix:abstract=one", said.append) == str(path)
    with monkeypatch.context() as patch:

        def full(fd: int, text: bytes) -> int:
            assert path.read_text() == "UPSTART_SESSION=unix:abstract=one\n"
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(os, "write", full)
        assert sessionfile.create(environ, "unix:abstract=two", said.append) is None
    assert said == [f"unable to write session file: {path}"]
    assert path.read_text() == "UPSTART_SESSION=unix:abstract=one\n"
    assert sessionfile.create(environ, "unix:abstract=two", said.append) == str(path)
    assert path.read_text() == "UPSTART_SESSION=unix:abstract=two\n" and os.listdir(path.parent) == [path.name]
    sessionfile.remove(str(path))
    path.mkdir()
    assert sessionfile.create(environ, "unix:abstract=three", said.append) is None
    assert len(said) == 2 and os.listdir(path.parent) == [path.name]


def request(command: int, level: str = "\0", data: bytes = b"", magic: int = 0x03091969) -> bytes:
    return struct.pack("=4i368s", magic, command, ord(level), 0, data)


def test_requests_on_the_fifo(tmp_path: Path) -> None:
    loop = Loop()
    changes: list[tuple[str, list[str]]] = []
    power: list[int] = []
    path = str(tmp_path / "initctl")
    fifo = InitFifo(loop, path, lambda level, words: changes.append((level, words)), lambda: power.append(1))
    fifo.open()
    fifo.open()
    write = os.open(path, os.O_WRONLY)
    os.write(write, request(1, "2"))
    os.write(write, request(1, "2", magic=5) + b"torn" + request(1, "x") + request(1, "Q"))
    os.write(write, request(6, data=b"INIT_HALT=HALT\0PATH=/evil\0INIT_X=1\0\0INIT_Y=2\0"))
    os.write(write, request(1, "0"))
    os.write(write, request(6, data=b"INIT_HALT\0") + request(1, "6") + request(2) + request(77))
    os.write(write, request(1, "1")[:200])
    loop.turn(0)
    os.write(write, request(1, "1")[200:])
    loop.turn(0)
    halt = ["INIT_HALT=HALT", "INIT_X=1"]
    assert changes == [("2", []), ("Q", []), ("0", halt), ("6", ["INIT_X=1"]), ("1", ["INIT_X=1"])]
    assert power == [1]
    fifo.close()
    os.close(write)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="not a FIFO"):
        InitFifo(loop, str(tmp_path / "file"), lambda *_: None, lambda: None).open()
    loop.close()


def test_log_lines(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = Logger("init", INFO)
    logger.write(DEBUG, "not this")
    logger.write(MESSAGE, "plain")
    logger.write(WARN, "a warning: of something")
    logger.write(ERROR, "/etc/init/x.conf:3: Unknown stanza")
    logger.write(WARN, "bytes \udcff and " + "x" * 5000)
    out, err = capfd.readouterr()
    assert out == "plain\n"
    lines = err.splitlines()
    assert lines[:2] == ["init: a warning: of something", "init:/etc/init/x.conf:3: Unknown stanza"]
    assert len(lines[2]) < 1100
    monkeypatch.setattr("upstart.base.logger.KMSG", str(tmp_path / "kmsg"))
    logger.to_kernel = True
    logger.write(WARN, "only here")
    (tmp_path / "kmsg").touch()
    logger.write(INFO, "one")
    logger.to_standard = False
    logger.write(ERROR, "two")
    assert capfd.readouterr() == ("one\n", "init: only here\n")
    assert (tmp_path / "kmsg").read_text() == "<6>init: one\n<3>init: two\n"


@pytest.mark.parametrize(
    ("device", "printk", "shown"),
    [
        (os.makedev(5, 1), "7 4 1 7\n", ""),  # the kernel shows it
        (os.makedev(5, 1), "4 4 1 7\n", ""),  # with the word quiet errors, too
        (os.makedev(5, 1), "3 4 1 7\n", "init: once\n"),
        (os.makedev(5, 1), "", "init: once\n"),
        (os.makedev(136, 0), "7 4 1 7\n", "init: once\n"),  # a container's
    ],
)
def test_the_console_shows_each_line_once(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: int,
    printk: str,
    shown: str,
) -> None:
    (tmp_path / "kmsg").touch()
    (tmp_path / "printk").write_text(printk)
    monkeypatch.setattr("upstart.base.logger.KMSG", str(tmp_path / "kmsg"))
    monkeypatch.setattr("upstart.base.logger.PRINTK", str(tmp_path / "printk"))
    real = os.fstat

    def fstat(fd: int) -> object:
        return types.SimpleNamespace(st_rdev=device, st_mode=real(fd).st_mode)

    monkeypatch.setattr("upstart.base.logger.os.fstat", fstat)
    logger = Logger("init")
    logger.to_kernel = True
    logger.write(ERROR, "once")
    monkeypatch.undo()
    assert capfd.readouterr().err == shown
    assert (tmp_path / "kmsg").read_text() == "<3>init: once\n"


def test_a_terminal_that_nobody_reads_blocks_nobody() -> None:
    ours, terminal = os.openpty()
    saved = os.dup(2)
    os.dup2(terminal, 2)
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.setitimer(signal.ITIMER_REAL, 20)
    try:
        logger = Logger("init")
        for length in (1, 10, 100, 900):
            for number in range(500):
                logger.write(ERROR, f"{number} {'x' * length}")
        assert os.get_blocking(2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.dup2(saved, 2)
        os.close(saved)
        os.close(terminal)
    assert os.read(ours, 13) == b"init: 0 x\r\nin"
    os.close(ours)


def test_a_log_that_nobody_reads_blocks_nobody() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(write, True)
    saved = os.dup(2)
    os.dup2(write, 2)
    try:
        Logger("init").write(ERROR, "lost")
    finally:
        os.dup2(saved, 2)
        for fd in (saved, read, write):
            os.close(fd)


def test_only_those_in_another_root_are_in_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[str] = []
    chroots = Chroots(enabled=True)
    chroots.wanted = wanted.append
    assert chroots.session_of(os.getpid()) is None
    assert chroots.session_of(0) is None and chroots.session_of(2**30) is None
    chroots.restore(["/srv/a", "/srv/a", "/srv/b"])
    assert chroots.roots == ["/srv/a", "/srv/b"] and wanted == []
    assert Chroots(enabled=False).session_of(os.getpid()) is None
    for root in ("/srv/b", "/srv/c"):
        monkeypatch.setattr(os, "readlink", lambda path: root)  # noqa: B023
        assert chroots.session_of(2) == root
    assert wanted == ["/srv/c"] and not chroots.full


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("unix:path=/run/bus", ["/run/bus"]),
        ("unix:abstract=/x,guid=12", [b"\0/x"]),
        ("tcp:host=x;unix:path=/a%20b;unix:path=/c", ["/a b", "/c"]),
        ("unix:dir=/tmp", []),
        ("nonsense", []),
        ("", []),
        ("unix:path=/a%zz", []),
    ],
)
def test_addresses(address: str, names: list[str | bytes]) -> None:
    assert parse_address(address) == names


@pytest.mark.parametrize(
    ("served", "interfaces"), [(Manager, MANAGER_OBJECT), (JobObject, JOB_OBJECT), (InstanceObject, INSTANCE_OBJECT)]
)
def test_everything_that_is_described_is_served(served: type, interfaces: tuple[object, ...]) -> None:
    for interface in interfaces:
        for method in interface.methods:  # type: ignore[attr-defined]
            assert hasattr(served, "do_" + method)
        for name, (_, access) in interface.properties.items():  # type: ignore[attr-defined]
            assert hasattr(served, "get_" + name)
            assert hasattr(served, "set_" + name) == (access == "readwrite")


def test_descriptions() -> None:
    text = introspect("/x", INSTANCE_OBJECT, ["child"])
    assert '<node name="/x">' in text and '  <node name="child"/>\n</node>\n' in text
    assert '    <property name="processes" type="a(si)" access="read"/>\n' in text
    assert introspect("/", (), ["com"]).endswith('<node>\n  <node name="com"/>\n</node>\n')
    assert steps("/", ["/a/b", "/a/c", "/d"]) == ["a", "d"]
    assert steps("/a", ["/a/b", "/a/c/e", "/d"]) == ["b", "c"]


def test_an_interpreter_that_does_not_begin_is_told_from_one_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text()
    assert faults.comes_up()
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 1000\n")
    slow.chmod(0o755)
    monkeypatch.setattr(faults, "BEGIN_SECONDS", 0.2)
    for program in ("/bin/false", str(slow)):
        monkeypatch.setattr(faults, "PYTHON", program)
        assert not faults.comes_up()
    monkeypatch.setattr(faults, "PYTHON", "/nonexistent")
    with pytest.raises(FileNotFoundError):
        faults.comes_up()
    assert children.read_text() == before
