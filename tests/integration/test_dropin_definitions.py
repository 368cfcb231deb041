"""Job files that come, change, break and go while init runs: what is announced and what counts, as in 1.13.2.

Ours differs on purpose in three things.  A file that says the same as before is not announced as removed and added
again, nor is each job at every reload.  InstanceRemoved comes for an instance whose definition has gone too, before
JobRemoved; the original left it out.  And a restart that keeps the old definition says so in the log.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from dropin import JOB, MANAGER, PROPERTIES, UPSTART, Session, job_path

OLD, NEW = 'description "old"\nexec sleep 1000\n', 'description "new"\nexec sleep 1000\n'


class Files:
    """The job files of a session, and what is announced of its jobs."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.directory = session.directory / "conf"
        self.marks = itertools.count()

    def write(self, name: str, text: str) -> None:
        """Replace a file in one step, as editors do."""
        (self.directory / "new").write_text(text)
        (self.directory / "new").rename(self.directory / name)

    def announced(self) -> list[str]:
        """What was announced of jobs and instances since the last time, once init has seen all that was done."""
        mark = f"mark{next(self.marks)}"
        self.write(mark + ".conf", "")
        self.session.wait(lambda: any(heard.args == [job_path(mark)] for heard in self.session.heard))
        said = [
            f"{heard.member} {heard.args[0].removeprefix(MANAGER + '/jobs/')}"
            for heard in self.session.heard
            if heard.member in ("JobAdded", "JobRemoved", "InstanceAdded", "InstanceRemoved")
            and heard.args != [job_path(mark)]
        ]
        self.session.heard.clear()
        return said

    def command(self, method: str) -> tuple[str, object]:
        return self.session.call(job_path("web"), JOB, method, "asb", [], True)

    def property(self, name: str) -> object:
        error, values = self.session.call(job_path("web"), PROPERTIES, "Get", "ss", JOB, name)
        return error or values[0]


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    session = Session(tmp_path, {"web": OLD}, "", "--no-cgroups")
    yield Files(session)
    session.close()


def test_a_new_file_is_a_job_and_a_removed_one_none(files: Files) -> None:
    files.write("other.conf", OLD)
    assert files.announced() == ["JobAdded other"]
    (files.directory / "other.conf").unlink()
    assert files.announced() == ["JobRemoved other"]


def test_a_change_counts_at_once_where_nothing_runs(files: Files) -> None:
    files.write("web.conf", NEW)
    assert files.announced() == ["JobRemoved web", "JobAdded web"]
    assert files.property("description") == "new"


def test_what_runs_keeps_its_definition_until_it_stops(files: Files) -> None:
    assert files.command("Start")[0] == ""
    files.write("web.conf", NEW)
    assert files.announced() == ["InstanceAdded web/_"]
    assert files.command("Restart") == ("", [job_path("web", "")])
    assert files.property("description") == "old"
    assert files.command("Stop") == ("", [])
    assert files.announced() == ["InstanceRemoved web/_", "JobRemoved web", "JobAdded web"]
    assert files.property("description") == "new"


def test_a_job_without_its_file_lives_until_it_stops(files: Files) -> None:
    assert files.command("Start")[0] == ""
    (files.directory / "web.conf").unlink()
    assert files.announced() == ["InstanceAdded web/_"]
    assert files.session.call(MANAGER, UPSTART, "GetJobByName", "s", "web") == ("", [job_path("web")])
    assert files.command("Stop") == ("", [])
    assert files.announced() == ["InstanceRemoved web/_", "JobRemoved web"]
    assert files.property("description") == "UnknownMethod"


def test_a_file_that_breaks_hides_the_job_once_it_has_stopped(files: Files) -> None:
    assert files.command("Start")[0] == ""
    files.write("web.conf", "bogus\n")
    assert files.announced() == ["InstanceAdded web/_"]
    assert files.property("description") == "old"
    assert files.session.log()[-1] == f"init:{files.directory}/web.conf:1: Unknown stanza"
    assert files.command("Stop") == ("", [])
    assert files.announced() == ["InstanceRemoved web/_", "JobRemoved web"]
    files.write("web.conf", NEW)
    assert files.announced() == ["JobAdded web"]


def test_an_override_comes_and_goes(files: Files) -> None:
    files.write("web.conf", "start on go\n")
    assert files.announced() == ["JobRemoved web", "JobAdded web"]
    for text, start_on in (("manual\n", []), ("start on other", [["other"]]), ("bogus\n", [["go"]])):
        files.write("web.override", text)
        assert files.announced() == ["JobRemoved web", "JobAdded web"]
        assert files.property("start_on") == start_on
    files.write("web.override", "manual\n")
    files.announced()
    (files.directory / "web.override").unlink()
    assert files.announced() == ["JobRemoved web", "JobAdded web"]
    assert files.property("start_on") == [["go"]]


def test_what_a_condition_has_seen_the_next_need_not_see_again(files: Files) -> None:
    files.write("web.conf", "start on x and y\nexec sleep 1000\n")
    files.announced()
    files.session.send("waits", MANAGER, UPSTART, "EmitEvent", "sasb", "x", ["A=1"], True)
    files.write("web.conf", "start on x and z\nexec sleep 1000\n")
    assert files.announced() == ["JobRemoved web", "JobAdded web"]
    assert files.session.call(MANAGER, UPSTART, "EmitEvent", "sasb", "z", [], True) == ("", [])
    assert files.session.status("web")[:2] == ("start", "running")


def test_who_waits_for_a_condition_that_goes_is_answered(files: Files) -> None:
    files.write("web.conf", "start on x and y\n")
    files.announced()
    files.session.send("waits", MANAGER, UPSTART, "EmitEvent", "sasb", "x", [], True)
    (files.directory / "web.conf").unlink()
    files.session.wait(lambda: any(heard.member == "waits" and not heard.error for heard in files.session.heard))
