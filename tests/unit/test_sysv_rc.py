"""The program around sysv-rc: what the scripts of a runlevel say, and one that does not end."""

from __future__ import annotations

import os
import re
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

    def run(self, level: str = "2", limit: float = 300.0) -> int:
        run = rc.Runlevel(level, limit, self.said.append)
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
    monkeypatch.setattr(scripts, "_SCRIPT", re.compile(rb".*/etc/init\.d/([^/]+)\Z"))
    monkeypatch.setattr(patience, "FIRST", 0.1)
    monkeypatch.setattr(rc, "LOOK", 0.05)
    monkeypatch.setattr(rc, "MERCY", 0.3)
    return made


def test_what_scripts_say_is_shown_and_kept(level: Level, capfd: Output) -> None:
    level.scripts(a="echo one; [ -t 1 ] && [ -t 2 ] && echo terminal; echo two >&2; exit 3")
    assert level.run() == 0
    assert level.log == "one\nterminal\ntwo\nafter all\n" == capfd.readouterr().out


def test_the_end_of_the_machine_keeps_nothing_and_has_the_console_itself(level: Level, capfd: Output) -> None:
    level.scripts(a="[ -t 1 ] || echo console")
    assert level.run("0") == 0
    assert level.log == "" and capfd.readouterr().out == "console\nafter all\n"


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


@pytest.mark.parametrize("stubborn", ["", "trap '' TERM; "])
def test_a_script_that_does_not_stop_is_ended_and_the_shutdown_goes_on(
    level: Level, stubborn: str, capfd: Output
) -> None:
    level.scripts(hangs=f"{stubborn}sleep 1000", other="echo stopped")
    assert level.run("0", 1.0) == 0
    assert capfd.readouterr().out.endswith("stopped\nafter all\n")
    assert "the shutdown waits for it until it has taken 1 seconds (" in level.said[0]
    ends = [line.rpartition("is ")[2] for line in level.said if line.startswith("hangs") and ", and is " in line]
    assert ends == ["told to end", "killed"][: 2 if stubborn else 1]
    assert not level.told


def test_the_limit_is_each_scripts_own_and_none_counts_for_other_runlevels(level: Level) -> None:
    level.scripts(a="sleep 0.4", b="sleep 0.4", c="sleep 0.4")
    assert level.run("6", 0.9) == 0
    assert not [line for line in level.said if ", and is " in line]
    assert level.run("6", 0) == 0 and level.run("3", 0.1) == 0
    assert not [line for line in level.said if ", and is " in line]


def test_what_no_signal_ends_is_given_up(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    level.scripts(hangs="sleep 1000")
    kill = scripts.signal_all
    # As of a process that waits for a disk which is gone.
    monkeypatch.setattr(
        scripts, "signal_all", lambda pids, number: kill(pids, number) if "cannot" in level.said[-1] else None
    )
    assert level.run("0", 0.3) == rc.GIVEN_UP
    assert level.said[-1] == "hangs cannot be ended: the rest of the scripts is given up"
    for pid in Path("/proc/thread-self/children").read_text().split():
        kill(scripts.family(int(pid)), 9)
        os.waitpid(int(pid), 0)


@pytest.mark.parametrize(("given", "limit"), [
    ({}, 300.0), ({b"STOP_TIMEOUT": b"60"}, 60.0), ({b"STOP_TIMEOUT": b"0"}, 0.0), ({b"STOP_TIMEOUT": b"x"}, 300.0)])
def test_the_jobs_variable_says_how_long_a_script_may_take(given: dict[bytes, bytes], limit: float) -> None:
    assert rc.limit_of(given) == limit
    assert given == {}


@pytest.mark.parametrize("words", [[], ["7"], ["S"], ["2", "3"], [""]])
def test_a_wrong_command_line_runs_nothing(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rc, "need_root", lambda context: None)
    assert rc.main(["rc", *words]) == 1
