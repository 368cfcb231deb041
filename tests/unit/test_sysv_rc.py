"""The program around sysv-rc: what the scripts of a runlevel say, and one that does not end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from waiting import wait_for

from upstart.sysv import keeping, patience, rc, scripts

Output = pytest.CaptureFixture[str]


class Level:
    """A sysv-rc that runs scripts of the test's, one after another."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said: list[str] = []
        self.told: list[str] = []
        for name in ("log", "etc/init.d"):
            (root / name).mkdir(parents=True)
        self.rc = root / "etc/init.d/rc"

    def scripts(self, **texts: str) -> None:
        lines = []
        for name, text in texts.items():
            path = self.root / "etc/init.d" / name
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)
            lines.append(f"{path} start || failed={name}")
        self.rc.write_text("\n".join(["#!/bin/sh", *lines, "echo after all", "exit 0"]))
        self.rc.chmod(0o755)

    def run(self, level: str = "2") -> int:
        run = rc.Runlevel(level, self.said.append)
        run.start(str(self.rc), {b"PATH": b"/bin:/usr/bin"})
        return run.wait()

    @property
    def log(self) -> str:
        path = self.root / "log/rc.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Level:
    made = Level(tmp_path)
    monkeypatch.setattr(keeping, "LOGS", str(tmp_path / "log"))
    monkeypatch.setattr(scripts, "tell_init", made.told.append)
    monkeypatch.setattr(scripts, "_SCRIPTS", str(tmp_path / "etc/init.d").encode())
    monkeypatch.setattr(patience, "FIRST", 0.1)
    monkeypatch.setattr(rc, "LOOK", 0.05)
    return made


def test_what_scripts_say_is_shown_and_kept(level: Level, capfd: Output) -> None:
    level.scripts(a="echo one; [ -t 1 ] && [ -t 2 ] && echo terminal; echo two >&2; exit 3")
    assert level.run() == 0
    assert level.log == "one\nterminal\ntwo\nafter all\n" == capfd.readouterr().out


def test_what_is_left_running_goes_on_and_is_kept(level: Level, capfd: Output) -> None:
    level.scripts(a=f"""setsid sh -c 'until [ -e {level.root}/go ]; do sleep 0.02; done
                        echo later || touch {level.root}/cut-off; touch {level.root}/gone' </dev/null &""")
    assert level.run() == 0
    assert capfd.readouterr().out == "after all\n"
    (level.root / "go").touch()
    assert wait_for((level.root / "gone").exists)
    (pid,) = Path("/proc/thread-self/children").read_text().split()
    assert wait_for(lambda: os.waitid(os.P_PID, int(pid), os.WEXITED | os.WNOHANG))
    assert level.log == "after all\nlater\n" and not (level.root / "cut-off").exists()


def test_a_script_that_takes_long_is_named_and_init_is_told(level: Level) -> None:
    level.scripts(slow=f"echo $$ >{level.root}/pid; sleep 0.8")
    assert level.run() == 0
    pid = (level.root / "pid").read_text().strip()
    line = f"slow has been at it for 0 seconds, and runlevel 2 waits for it (to end it: kill {pid})"
    assert level.said and set(level.said) == {line}
    assert set(level.told) == {"slow"}
    assert f"rc: {line}\n" in level.log


@pytest.mark.parametrize("words", [[], ["7"], ["S"], ["2", "3"], [""]])
def test_a_wrong_command_line_runs_nothing(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rc, "need_root", lambda context: None)
    assert rc.main(["rc", *words]) == 1
