"""A user who is not root, in a session: all that the commands for administrators do, without any rights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, wait_for

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")

USER = 65534
AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"]


class User:
    """The user's home directory, and the init of a session, which finds all by itself."""

    def __init__(self, home: Path) -> None:
        self.home = home
        os.chown(home, USER, USER)
        run = home / "run"
        self.write("run/here", "")
        self.environ = {"PATH": f"{PROGRAMS}:{os.defpath}", "HOME": str(home), "XDG_RUNTIME_DIR": str(run)}
        self.environ["XDG_CONFIG_DIRS"] = str(home / "system")
        self.write(".config/upstart/web.conf", "start on go\nscript\n  echo hello\n  exec sleep 1000\nend script\n")
        self.write("system/upstart/theirs.conf", "start on go\nexec sleep 1000\n", 0)
        command = [*AS_USER, str(PROGRAMS / "upstart"), "--user", "--no-dbus", "--no-startup-event"]
        self.init = subprocess.Popen(command, env=self.environ, stderr=subprocess.DEVNULL)
        session = run / "upstart/sessions" / f"{self.init.pid}.session"
        wait_for(lambda: session.exists() and session.read_text().endswith("\n"))
        self.environ["UPSTART_SESSION"] = session.read_text().strip().partition("=")[2]

    def write(self, name: str, text: str, uid: int = USER) -> None:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for each in (path, *path.parents):
            if each != self.home and self.home in each.parents:
                os.chown(each, uid, uid)

    def run(self, *words: str, **environ: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [*AS_USER, str(PROGRAMS / "initctl"), *words], env={**self.environ, **environ}, cwd=self.home,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def close(self) -> None:
        self.init.terminate()
        self.init.wait(30)


@pytest.fixture
def user() -> Iterator[User]:
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    running = User(directory)
    yield running
    running.close()
    shutil.rmtree(directory)


def test_a_user_has_all_of_it(user: User) -> None:
    own = user.home / ".config/upstart"
    assert user.run("emit", "go") == (0, "", "")
    log = user.home / ".cache/upstart/web.log"
    wait_for(lambda: log.exists() and log.read_text() == "hello\n")
    status, out, err = user.run("log", "web", "--json")
    assert (status, err, json.loads(out)["text"]) == (0, "", "hello") and json.loads(out)["time"] is not None
    status, out, err = user.run("log")
    assert (status, err) == (0, "") and out.endswith(" web: hello\n")
    status, out, err = user.run("status", "--verbose", "web")
    assert (status, err) == (0, "")
    assert f"  Job file:    {own}/web.conf\n" in out and out.endswith("    hello\n")
    assert user.run("list", "--running")[1].count("start/running") == 2

    # A job of the system's is changed in the user's own directory.
    status, out, err = user.run("disable", "theirs", "web")
    assert (status, err) == (0, "") and out.count(" is switched off: ") == 2
    assert sorted(path.name for path in own.iterdir()) == ["theirs.override", "web.conf", "web.override"]
    assert (own / "theirs.override").stat().st_uid == USER
    for job in ("theirs", "web"):
        user.run("stop", job)
    user.run("emit", "go")
    assert user.run("list", "--running")[0] == 3
    assert user.run("edit", "theirs", EDITOR="sed -i 's/^manual/env A=1/'")[1].endswith("theirs.override: changed\n")
    assert user.run("enable", "web") == (0, "web is switched on: events start it again\n", "")
    user.run("emit", "go")
    assert user.run("list", "--running")[1].count("start/running") == 2
    assert f"{own}/theirs.override:2: env A=1" in " ".join(user.run("cat", "theirs")[1].split())


def test_a_user_changes_nothing_of_the_system(user: User) -> None:
    environ = {"UPSTART_SESSION": ""}
    path = Path("/etc/init/nothing-of-ours.conf")
    status, _, err = user.run("edit", path.stem, EDITOR="true", **environ)
    assert status == 4 and err.startswith(f"initctl: Unknown job: {path.stem}, ")
