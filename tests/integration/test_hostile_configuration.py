"""However many job files there are, and however many change at once: whoever asks init something has an answer soon."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile import MANAGER, UPSTART, Session, wait_for

#: Seconds; it is a fifth of this where nothing else runs.
SOON = 0.25
MANY = 2000
TEXT = "description x{0}\nstart on a{0} or b\nstop on c\nrespawn\nexec /bin/sleep {0}\n"


def worst_delay(session: Session, work: Callable[[], object]) -> float:
    """How long an answer took at most while ``work`` was done."""
    client = session.client(quiet=True)
    thread = threading.Thread(target=work)
    thread.start()
    worst = 0.0
    while thread.is_alive():
        worst = max(worst, client.delay())
    thread.join()
    client.close()
    return worst


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    directory = tmp_path_factory.mktemp("many")
    jobs = {f"j{number}": TEXT.format(number) for number in range(MANY)}
    session = Session(directory / "session", jobs, "--no-dbus")
    yield session
    session.end()


def knows(session: Session, job: str) -> bool:
    return session.status(job).startswith(job.partition("/")[0])


def reload(session: Session) -> None:
    client = session.client(quiet=True)
    client.sock.settimeout(120)
    assert client.call(MANAGER, UPSTART, "ReloadConfiguration") == ()
    client.close()


def test_a_reload_lets_others_ask_and_is_answered_when_it_is_done(session: Session) -> None:
    assert worst_delay(session, lambda: reload(session)) < SOON

    def change_all() -> None:
        for number in range(MANY):
            path = session.conf / f"j{number}.conf"
            # Not by a name that is watched, so that the reload is what finds it.
            other = session.directory / "new"
            other.write_text(TEXT.format(number).replace("description x", "description changed"))
            os.rename(other, path)
        reload(session)
        usage = session.run("show-config", f"j{MANY - 1}")
        assert usage.returncode == 0

    assert worst_delay(session, change_all) < SOON
    client = session.client(quiet=True)
    properties = ("org.freedesktop.DBus.Properties", "Get", "ss", "com.ubuntu.Upstart0_6.Job", "description")
    assert client.call(f"{MANAGER}/jobs/j{MANY - 1}", *properties) == (f"changed{MANY - 1}",)
    client.close()


def test_a_thousand_directories_at_once_are_watched_and_read(session: Session, tmp_path: Path) -> None:
    below = [session.conf / "many" / f"d{number}" for number in range(1000)]

    def make() -> None:
        for directory in below:
            directory.mkdir(parents=True)
            (directory / "a.conf").write_text("exec true\n")
        wait_for(lambda: knows(session, "many/d999/a"), "the last of them", 60)

    assert worst_delay(session, make) < SOON
    (below[500] / "late.conf").write_text("exec true\n")
    wait_for(lambda: knows(session, "many/d500/late"), "a job that came later")

    def remove() -> None:
        shutil.rmtree(session.conf / "many")
        wait_for(lambda: not knows(session, "many/d500/late"), "the end of the jobs", 60)

    assert worst_delay(session, remove) < SOON

    def move_in() -> None:
        for number in range(1000):
            (tmp_path / "many" / f"d{number}").mkdir(parents=True)
            (tmp_path / "many" / f"d{number}" / "a.conf").write_text("exec true\n")
        os.rename(tmp_path / "many", session.conf / "many")
        wait_for(lambda: knows(session, "many/d0/a") and knows(session, "many/d999/a"), "all of them", 60)

    assert worst_delay(session, move_in) < SOON
    (below[7] / "late.conf").write_text("exec true\n")
    wait_for(lambda: knows(session, "many/d7/late"), "a job that came later")
