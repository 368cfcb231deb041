"""cat, edit, enable and disable with a real session init: what becomes of files, and of the jobs."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, SessionInit, wait_for

from upstart.initctl.overrides import MARK, switched_by

ROOT = Path(__file__).resolve().parents[2]
WEB = """\
# The web server.
description "web"

start on go
# Its port.
env PORT=80
env HOST=here
script
  # not a stanza: manual
  exec sleep 1000
end script
"""


class Session(SessionInit):
    """An init whose user's directory comes before one of the system."""

    def __init__(self, directory: Path) -> None:
        self.system = directory / "system"
        self.system.mkdir()
        (self.system / "theirs.conf").write_text("start on go\nexec sleep 1000\n")
        super().__init__(directory, {"web": WEB}, "--append-confdir", str(self.system))
        self.environ["UPSTART_SESSION"] = self.address
        self.override = self.conf / "web.override"

    def run(self, *words: str, **environ: str) -> tuple[int, str, str]:
        result = subprocess.run(
            [str(PROGRAMS / "initctl"), *words], env={**self.environ, **environ}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        return result.returncode, result.stdout, result.stderr

    def edit(self, script: str, job: str = "web") -> tuple[int, str, str]:
        """Edit by a shell script that is given the file."""
        editor = self.directory / "an editor"
        editor.write_text(f"#!/bin/sh\n{script}\n")
        editor.chmod(0o755)
        return self.run("edit", job, VISUAL=f"'{editor}' -x", EDITOR="false")

    def starts(self, job: str = "web") -> bool:
        """Whether the event starts the job, which is stopped again."""
        self.run("emit", "go")
        running = "start/running" in self.run("status", job)[1]
        self.run("stop", job)
        return running


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    running = Session(tmp_path)
    yield running
    running.close()


def test_cat_shows_what_counts_and_where_it_is_from(session: Session) -> None:
    session.override.write_text("env PORT=8080\nexec sleep 2000\n\n# By hand.\nmanual\n")
    status, out, err = session.run("cat", "web")
    assert (status, err) == (0, "")
    parts = [line.partition(": ") for line in out.splitlines()]
    shown = [(label.rpartition("/")[2], text.strip()) for label, _, text in parts]
    assert shown == [
        ("web.conf:1", "# The web server."), ("web.conf:2", 'description "web"'), ("web.conf:7", "env HOST=here"),
        ("web.override:1", "env PORT=8080"), ("web.override:2", "exec sleep 2000"), ("web.override:3:", ""),
        ("web.override:4", "# By hand."), ("web.override:5", "manual"),
    ]  # fmt: skip
    status, out, _ = session.run("cat", "--json", "theirs")
    assert json.loads(out) == {
        "job": "theirs", "errors": [],
        "lines": [
            {"file": f"{session.system}/theirs.conf", "line": 1, "text": "start on go"},
            {"file": f"{session.system}/theirs.conf", "line": 2, "text": "exec sleep 1000"},
        ],
    }  # fmt: skip


def test_cat_tells_what_is_wrong(session: Session) -> None:
    session.override.write_text("env PORT=1\nnonsense\nmanual\n")
    status, out, err = session.run("cat", "web")
    assert status == 1 and "web.override:1: env PORT=1\n" in " ".join(out.split(" ")).replace("  ", " ")
    assert err == f"initctl:{session.override}:2: Unknown stanza\n"
    assert session.run("cat", "nothing")[0] == 4
    assert session.run("cat")[0] == 1


def test_a_job_that_is_switched_off_no_event_starts(session: Session) -> None:
    assert session.starts()
    status, out, err = session.run("disable", "web")
    assert (status, err) == (0, "") and str(session.override) in out
    assert session.override.read_text() == f"{MARK}\nmanual\n"
    assert not session.starts()
    off = f"by initctl disable ({session.override}:2); 'initctl enable web' takes that back\n"
    assert session.run("disable", "web")[1] == f"web is switched off already, {off}"
    assert session.run("enable", "web") == (0, "web is switched on: events start it again\n", "")
    assert not session.override.exists() and session.starts()
    assert session.run("enable", "web")[1] == "web is switched on already\n"


def test_who_has_switched_a_job_off_is_told_as_far_as_it_is_known(session: Session) -> None:
    session.override.write_text("manual\n")
    assert session.run("disable", "web")[1] == f"web is switched off already, by {session.override}:1\n"
    session.override.write_text(
        "env A=1\n# Switched off in recovery mode; the menu takes this line and the next one away again.\nmanual\n"
    )
    assert session.run("disable", "web")[1] == (
        f"web is switched off already, in recovery mode ({session.override}:3); 'initctl enable web' takes that back\n"
    )


@pytest.mark.parametrize(
    ("before", "off", "on"),
    [
        ("env A=1", f"env A=1\n{MARK}\nmanual\n", "env A=1\n"),
        ("env A=1\n", f"env A=1\n{MARK}\nmanual\n", "env A=1\n"),
        ("manual\nenv A=1\n", None, "env A=1\n"),
        ("# mine\n  manual  # for now\nenv A=1\n", None, "# mine\nenv A=1\n"),
        ("manual env A=1\n", None, "env A=1\n"),
        ("pre-start script\n  manual\nend script\n", f"pre-start script\n  manual\nend script\n{MARK}\nmanual\n",
         "pre-start script\n  manual\nend script\n"),
        ("# Switched off in recovery mode; the menu takes this line and the next one away again.\nmanual\n", None, ""),
        ("manual\nstart on other\n", f"manual\nstart on other\n{MARK}\nmanual\n", "manual\nstart on other\n"),
    ],
)  # fmt: skip
def test_what_else_an_override_says_stays(session: Session, before: str, off: str | None, on: str) -> None:
    session.override.write_text(before)
    assert session.run("disable", "web")[0] == 0
    assert session.override.read_text() == (before if off is None else off)
    assert session.run("enable", "web")[0] == 0
    assert (session.override.read_text() if session.override.exists() else "") == on


def test_the_words_are_those_of_update_rc_d() -> None:
    assert f"mark='{MARK}'" in (ROOT / "debian/lsb/registration").read_text()
    assert f"mark='{MARK}'" in (ROOT / "src/libexec/link-jobs").read_text()


def test_of_the_system_it_may_have_been_update_rc_d() -> None:
    assert switched_by(MARK, session=False) == "by update-rc.d or initctl disable"
    assert switched_by("# Switched off by hand", session=False) == ""


def test_what_cannot_be_switched(session: Session) -> None:
    status, out, err = session.run("disable", "nothing", "web")
    assert (status, session.override.exists()) == (4, True)
    assert out.startswith("web is switched off") and err.startswith("initctl: Unknown job: nothing, of which ")
    session.write("web", "manual\nexec sleep 1000\n")
    status, _, err = session.run("enable", "web")
    assert status == 1 and err.startswith(f"initctl:{session.conf}/web.conf:1 says manual: ")
    session.write("web", "exec sleep 1000\n")
    assert session.run("enable", "web") == (0, "web has no start on: no event starts it\n", "")


def test_a_user_changes_jobs_of_the_system_in_a_directory_of_the_user(session: Session) -> None:
    own, system = session.conf / "theirs.override", session.system / "theirs.override"
    system.write_text("env A=1\n")
    assert session.run("disable", "theirs")[0] == 0
    # Only the first override counts, so it has what the other said.
    assert own.read_text() == f"env A=1\n{MARK}\nmanual\n" and system.read_text() == "env A=1\n"
    assert not session.starts("theirs")
    own.unlink()
    system.write_text("manual\n")
    assert session.run("enable", "theirs")[0] == 0
    assert system.read_text() == "manual\n" and own.read_text().startswith("# The job is what its own file says")
    assert session.starts("theirs")


def test_an_override_that_is_a_link_stays_one(session: Session, tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles"
    kept.write_text("env A=1\n")
    kept.chmod(0o600)
    session.override.symlink_to(kept)
    assert session.run("disable", "web")[0] == 0
    assert session.override.is_symlink() and kept.read_text().endswith("manual\n")
    assert kept.stat().st_mode & 0o777 == 0o600


def test_what_is_edited_is_taken(session: Session) -> None:
    status, out, err = session.edit('[ "$1" = -x ]; grep -q "web.conf:4: start on go" "$2"; echo "env PORT=1" >"$2"')
    assert (status, out, err) == (0, f"{session.override}: changed\n", "")
    assert session.override.read_text() == "env PORT=1\n"
    session.run("start", "web")
    pid = int(session.run("status", "web")[1].split()[-1])
    assert b"PORT=1\0" in Path(f"/proc/{pid}/environ").read_bytes()
    # What is only to be read is left out, and an override of nothing goes.
    status, out, _ = session.edit('sed -i "1d" "$2"')
    assert (status, out, session.override.exists()) == (0, f"{session.override}: removed\n", False)
    assert session.edit("true")[1] == f"{session.override}: not changed\n"
    # Who writes at the end of the file is not forgotten either.
    assert session.edit('echo "env A=1" >>"$2"')[1] == f"{session.override}: changed\n"
    assert session.override.read_text().strip() == "env A=1"
    session.override.unlink()
    assert [path.name for path in session.conf.iterdir()] == ["web.conf"]


def test_what_init_would_not_take_is_not_taken(session: Session) -> None:
    session.override.write_text("env A=1\n")
    status, out, err = session.edit('printf "env A=2\\nstrat on x\\n" >"$2"')
    assert (status, out) == (1, "")
    assert err == f"initctl:{session.override}:2: Unknown stanza\ninitctl: {session.override} is as it was\n"
    status, _, err = session.edit('printf "script\\n  if true\\nend script\\n" >"$2"')
    assert status == 1 and "Syntax error" in err
    status, _, err = session.edit("exit 3")
    assert status == 1 and "status 3); nothing was changed" in err
    status, _, err = session.edit('rm "$2"')
    assert status == 1 and "nothing was changed" in err
    assert session.override.read_text() == "env A=1\n"
    assert session.run("edit", "nothing", VISUAL="true")[0] == 4


def test_what_makes_no_sense_is_told_and_taken(session: Session) -> None:
    status, out, err = session.edit('echo "stop on shutdown" >"$2"')
    assert (status, out) == (0, f"{session.override}: changed\n")
    assert err.startswith(f"initctl:{session.override}:1: stop on shutdown: ")


def test_what_somebody_else_has_written_meanwhile_stays(session: Session) -> None:
    status, _, err = session.edit(f'echo "env A=2" >"$2"; echo "env A=3" >{session.override}')
    assert status == 1 and "somebody else has changed the file meanwhile" in err
    assert session.override.read_text() == "env A=3\n"


def test_what_was_edited_in_vain_can_be_edited_again(session: Session) -> None:
    editor = session.directory / "editor"
    script = 'if grep -q "^nonsense" "$1"; then echo "env A=9" >"$1"; else echo nonsense >"$1"; fi'
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o755)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(PROGRAMS / "initctl", ["initctl", "edit", "web"], {**session.environ, "EDITOR": str(editor)})
    shown, end = b"", time.monotonic() + 20
    while b"Edit again? [Y/n]" not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 4096)
    os.write(terminal, b"\n")
    wait_for(lambda: session.override.exists())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert b":1: Unknown stanza" in shown and session.override.read_text() == "env A=9\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_who_may_not_write_is_told_before_the_editor() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        session = Session(Path(directory))
        try:
            words = ["setpriv", "--reuid=65534", "--clear-groups", str(PROGRAMS / "initctl"), "edit", "web"]
            environ = {**session.environ, "EDITOR": "touch /nonexistent/called;"}
            done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=20)
        finally:
            session.close()
    assert (done.returncode, done.stderr) == (1, f"initctl:{session.override}: You may not write this file\n")
