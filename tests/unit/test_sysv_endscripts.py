"""The scripts of other packages at the end of a machine: which run, where, and one that does not end."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from upstart.sysv import bootorder, endscripts, patience, rc, scripts, standins
from upstart.sysv.endscripts import LAST, LOCAL, NETWORK, PROCESSES, REMOTE, ROOT, EndScripts, stages

Output = pytest.CaptureFixture[str]


class Level:
    """A runlevel's scripts, each of which writes down that it has run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said: list[str] = []
        for name in ("init.d", "rc0.d", "init"):
            (root / name).mkdir()

    def script(self, link: str, text: str = "") -> None:
        name = link[3:]
        path = self.root / "init.d" / name
        path.write_text(f'#!/bin/sh\necho "${{0##*/}} $* $RUNLEVEL $previous" >>{self.root}/ran\n{text}\n')
        path.chmod(0o755)
        (self.root / "rc0.d" / link).symlink_to(path)

    def made(self, limit: float = 300.0) -> EndScripts:
        env = {b"PATH": b"/bin:/usr/bin", b"RUNLEVEL": b"0", b"PREVLEVEL": b"2"}
        return EndScripts("0", limit, env, self.said.append)

    @property
    def ran(self) -> list[str]:
        path = self.root / "ran"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Level:
    made = Level(tmp_path)
    monkeypatch.setattr(bootorder, "SCRIPTS", str(tmp_path / "init.d"))
    monkeypatch.setattr(endscripts, "LINKS", str(tmp_path / "rc{}.d"))
    monkeypatch.setattr(standins, "JOBS", str(tmp_path / "init"))
    monkeypatch.setattr(patience, "FIRST", 0.1)
    monkeypatch.setattr(endscripts, "LOOK", 0.05)
    monkeypatch.setattr(endscripts, "MERCY", 0.3)
    return made


LINKS = [
    "K01apache2", "K02live", "K03sendsigs", "K03same", "K04rsyslog", "K05umountnfs.sh", "K05hwclock.sh",
    "K06networking", "K07iscsi", "K08umountfs", "K09cryptdisks", "K10umountroot", "K11mdadm-waitidle", "K12halt",
    "S01old", "README", "K1short",
]  # fmt: skip


def test_each_has_its_place_by_its_number() -> None:
    found = stages(LINKS)
    assert found[PROCESSES] == ["K01apache2", "S01old", "K02live", "K03same", "K03sendsigs"]
    assert found[REMOTE] == ["K04rsyslog", "K05hwclock.sh", "K05umountnfs.sh"]
    assert found[NETWORK] == ["K06networking"] and found[LOCAL] == ["K07iscsi", "K08umountfs"]
    assert found[ROOT] == ["K09cryptdisks", "K10umountroot"] and found[LAST] == ["K11mdadm-waitidle", "K12halt"]


def test_a_place_that_has_no_script_has_none_before_it() -> None:
    found = stages(["K01apache2", "K03sendsigs", "K05umountfs", "K04between", "K09kexec"])
    assert found == [["K01apache2", "K03sendsigs"], [], [], ["K04between", "K05umountfs"], [], ["K09kexec"]]
    assert stages(["K01apache2"])[LAST] == ["K01apache2"]


def test_those_that_a_job_or_we_stand_for_do_not_run(level: Level) -> None:
    for link in ("K01apache2", "K01udev", "K01hwclock.sh", "K02sendsigs", "S02old", "K03umountroot", "K04late"):
        level.script(link)
    for job in ("udev", "hwclock"):
        (level.root / f"init/{job}.conf").touch()
    made = level.made()
    made.run(PROCESSES)
    assert sorted(level.ran) == ["apache2 stop 0 2", "old stop 0 2"]
    made.run(ROOT)
    made.run(LAST)
    assert level.ran[2:] == ["late stop 0 2"] and not level.said


def test_a_script_among_the_links_runs_too(level: Level) -> None:
    path = level.root / "rc0.d/K01alone"
    path.write_text(f"#!/bin/sh\necho alone $1 >>{level.root}/ran\n")
    path.chmod(0o755)
    level.made().run(LAST)
    assert level.ran == ["alone stop"]


def test_without_links_nothing_runs(level: Level) -> None:
    (level.root / "rc0.d").rmdir()
    level.made().run(PROCESSES)


def test_they_run_in_order_and_beside_each_other_where_that_may_be(level: Level, capfd: Output) -> None:
    (level.root / "init.d/.depend.stop").write_text("TARGETS = a b c\nc: a b\n")
    fifo = level.root / "fifo"
    os.mkfifo(fifo)
    # Each waits for the other.
    level.script("K01a", f"echo begin; echo >{fifo}; echo a ends")
    level.script("K01b", f"read line <{fifo}; echo b; exit 3")
    level.script("K02c", "echo c")
    level.made(30.0).run(LAST)
    assert capfd.readouterr().out == "begin\na ends\nb\nc\n"
    assert level.said == ["b failed with exit status 3"] and level.ran[2] == "c stop 0 2"


def test_what_a_job_does_stands_between_those_that_run(level: Level) -> None:
    (level.root / "init.d/.depend.stop").write_text("TARGETS = a job c\njob: a\nc: job\n")
    (level.root / "init/job.conf").touch()
    level.script("K01a", "sleep 0.2; echo a ended >>" + str(level.root / "ran"))
    level.script("K02job")
    level.script("K03c")
    level.made().run(LAST)
    assert level.ran == ["a stop 0 2", "a ended", "c stop 0 2"]


def test_what_is_left_running_holds_nothing(level: Level) -> None:
    level.script("K01a", "sleep 1000 & echo $! >" + str(level.root / "pid"))
    level.made().run(LAST)
    os.kill(int((level.root / "pid").read_text()), 9)


@pytest.mark.parametrize("stubborn", ["", "trap '' TERM; "])
def test_one_that_does_not_stop_is_ended_and_the_shutdown_goes_on(level: Level, stubborn: str) -> None:
    level.script("K01hangs", f"{stubborn}sleep 1000; sleep 1000")
    level.script("K02other")
    level.made(0.8).run(LAST)
    assert level.ran[1:] == ["other stop 0 2"]
    named = r"hangs has been at it for 0 seconds, and the shutdown waits for it until it has taken 1 seconds \(to end"
    assert re.match(named, level.said[0])
    ends = [line.rpartition("is ")[2] for line in level.said if line.startswith("hangs") and ", and is " in line]
    assert ends == ["told to end", "killed"][: 2 if stubborn else 1]


def test_what_no_signal_ends_is_given_up(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    level.script("K01hangs", f"echo $$ >{level.root}/pid; exec sleep 1000")
    level.script("K02other")
    # As of a process that waits for a disk which is gone.
    monkeypatch.setattr(scripts, "signal_all", lambda pids, number: None)
    level.made(0.3).run(LAST)
    assert level.said[-1] == "hangs cannot be ended, and is given up" and level.ran[1:] == ["other stop 0 2"]
    pid = int((level.root / "pid").read_text())
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def test_an_upgrade_under_way_is_not_cut_off(level: Level) -> None:
    level.script("K01unattended-upgrades", "sleep 0.6")
    level.script("K01a", "sleep 0.6")
    level.made(0.3).run(LAST)
    ended = [line for line in level.said if "told to end" in line]
    assert ended == ["a has been at it for 0 seconds, and is told to end"]


def test_without_a_limit_none_is_ended(level: Level) -> None:
    level.script("K01a", "sleep 0.5")
    level.made(0.0).run(LAST)
    assert not [line for line in level.said if ", and is " in line]


@pytest.mark.parametrize(("given", "limit"), [
    ({}, 300.0), ({b"STOP_TIMEOUT": b"60"}, 60.0), ({b"STOP_TIMEOUT": b"0"}, 0.0), ({b"STOP_TIMEOUT": b"x"}, 300.0)])
def test_the_jobs_variable_says_how_long_a_script_may_take(given: dict[bytes, bytes], limit: float) -> None:
    assert endscripts.limit_of(given) == limit
    assert given == {}


def test_rc_runs_those_before_processes_are_ended(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rc, "need_root", lambda context: None)
    for link in ("K01apache2", "K02sendsigs", "K03late"):
        level.script(link)
    assert rc.main(["rc", "0"]) == 0
    assert [line.split()[0] for line in level.ran] == ["apache2"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"/etc/init.d/ssh", b"ssh"),
        (b"/etc/rc2.d/S01cron", b"cron"),
        (b"/etc/rcS.d/S10udev", b"udev"),
        (b"/etc/rc6.d/K99x.sh", b"x.sh"),
        (b"/etc/rc7.d/S01x", b""),
        (b"/etc/rc2.d/X01x", b""),
        (b"/etc/rc2.d/S1xy", b""),
        (b"/etc/rc2.d/S01", b""),
        (b"/etc/init.d/sub/x", b""),
        (b"/etc/init.d/", b""),
        (b"/usr/sbin/sshd", b""),
        (b"ssh", b""),
    ],
)
def test_a_script_is_known_by_its_path(path: bytes, name: bytes) -> None:
    assert scripts._name_of(path) == name
