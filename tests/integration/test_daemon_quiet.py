"""What changes beside the configuration: init notices, and forks for none of it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon_init import MANAGER, PROGRAMS, PROPERTIES, UPSTART, Client, DBusError, SessionInit, wait_for
from test_daemon_pid1 import System

#: Put before the last line of init's script: each child that reads is a byte of a file.
COUNT = """
from upstart.daemon import reading
class Counted(reading.Reader):
    __slots__ = ()
    def __init__(self, *arguments):
        fd = os.open({path!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
        os.write(fd, b"x")
        os.close(fd)
        super().__init__(*arguments)
reading.Reader = Counted
"""


def counting(directory: Path) -> tuple[Path, Callable[[], int]]:
    """An init that says when it has a child read, and how often it has."""
    programs = directory / "sbin"
    shutil.copytree(PROGRAMS, programs)
    counted = directory / "count" / "readers"
    counted.parent.mkdir()
    counted.touch()
    script = (programs / "init").read_text()
    last = "sys.exit(main(sys.argv))"
    assert script.count(last) == 1
    (programs / "init").write_text(script.replace(last, COUNT.format(path=str(counted)) + last))
    return programs / "init", lambda: counted.stat().st_size


def settle(count: Callable[[], int], client: Client) -> int:
    """How many there have been when there come no more; ``client`` has init look."""
    while True:
        before = count()
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            client.call(MANAGER, UPSTART, "GetAllJobs")
            time.sleep(0.02)
        if count() == before:
            return before


def write_beside(directory: Path, number: int) -> None:
    """As a DHCP client, adduser and a mount do in /etc."""
    (directory / "adjtime").write_text(f"{number}\n")
    (directory / "resolv.conf.dhclient-new").write_text(f"nameserver ::{number}\n")
    os.rename(directory / "resolv.conf.dhclient-new", directory / "resolv.conf")
    (directory / "passwd.lock").symlink_to(f"{number}")
    (directory / "passwd.lock").unlink()
    (directory / f"made{number}.d").mkdir()


def description(client: Client, job: str) -> str | None:
    try:
        path = client.call(MANAGER, UPSTART, "GetJobByName", "s", job)[0]
    except DBusError:
        return None
    text: str = client.call(path, PROPERTIES, "Get", "ss", UPSTART + ".Job", "description")[0]
    return text


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[tuple[SessionInit, Callable[[], int]]]:
    """An init that watches the directory where all lies, since one of its own is still missing there."""
    program, count = counting(tmp_path)
    init = SessionInit(
        tmp_path, {"x": "description one\nexec sleep 1000\n"}, "--append-confdir", str(tmp_path / "later/init"),
        program=program,
    )  # fmt: skip
    yield init, count
    assert "Internal error" not in init.text()
    init.close()


def test_what_is_written_beside_forks_nothing(quiet: tuple[SessionInit, Callable[[], int]]) -> None:
    init, count = quiet
    client = init.client()
    before = settle(count, client)
    for number in range(20):
        write_beside(init.directory, number)
        assert description(client, "x") == "one"
        time.sleep(0.02)
    assert settle(count, client) == before
    init.write("x", "description two\nexec sleep 1000\n")
    assert description(client, "x") == "two"
    assert count() > before


def test_what_concerns_a_job_is_found_at_once_beside_all_that_does_not(
    quiet: tuple[SessionInit, Callable[[], int]],
) -> None:
    init, _ = quiet
    client = init.client()
    number = 0

    def beside() -> None:
        nonlocal number
        number += 1
        write_beside(init.directory, number)

    for text in ("two", "three"):
        beside()
        (init.conf / "x.conf").write_text(f"description {text}\nexec sleep 1000\n")
        beside()
        assert description(client, "x") == text
    beside()
    (init.conf / "new.conf").write_text("exec sleep 1000\n")
    client.start("new")
    assert client.status("new")[0] == "start/running"
    beside()
    (init.conf / "x.override").write_text("description override\n")
    assert description(client, "x") == "override"
    (init.conf / "x.override").unlink()
    (init.directory / "target").write_text("description linked\n")
    beside()
    (init.conf / "link.conf").symlink_to(init.directory / "target")
    assert description(client, "link") == "linked"
    beside()
    # Away and back, with what has changed meanwhile.
    away = init.directory / "away"
    init.conf.rename(away)
    wait_for(lambda: description(client, "x") is None)
    beside()
    (away / "x.conf").write_text("description back\n")
    away.rename(init.conf)
    wait_for(lambda: description(client, "x") == "back")
    init.write("x", "description again\n")
    assert description(client, "x") == "again"
    # What was missing.
    (init.directory / "later").mkdir()
    beside()
    (init.directory / "later/init").mkdir()
    (init.directory / "later/init/late.conf").write_text("description late\n")
    wait_for(lambda: description(client, "late") == "late")
    (init.directory / "later/init/late.conf").write_text("description later\n")
    assert description(client, "late") == "later"
    # What was heard right before a re-exec is read after it.
    (init.conf / "x.conf").write_text("description last\n")
    beside()
    client = init.restart()
    assert description(client, "x") == "last"


@pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("unshare") or not shutil.which("nsenter"), reason="needs root and namespaces"
)
def test_the_directory_of_init_conf_is_watched_for_that_alone(tmp_path: Path) -> None:
    program, count = counting(tmp_path)
    etc = tmp_path / "etc"
    shutil.copytree("/etc", etc, symlinks=True)
    bind = ("sh", "-ec", f'mount --bind {etc} /etc; exec "$@"', "sh")
    system = System(tmp_path, program=program, by=bind)

    def settled() -> int:
        while True:
            before = count()
            time.sleep(0.3)
            assert "start/running" in system.initctl("status", "service")
            if count() == before:
                return before

    try:
        wait_for(lambda: "start/running" in system.initctl("status", "service"))
        before = settled()
        for number in range(10):
            write_beside(etc, number)
            time.sleep(0.02)
        assert settled() == before
        (etc / "init.conf").write_text("nonsense\n")
        wait_for(lambda: "/etc/init.conf:1: Unknown stanza" in system.kmsg())
        assert count() > before
        assert "Internal error" not in system.kmsg()
    finally:
        system.close()
