"""The mount bridge at a real init: what somebody mounts and unmounts arrives, and what mountall tells of does not."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from bridge_system import Noting
from daemon_init import wait_for
from test_daemon_pid1 import pytestmark

__all__ = ["pytestmark"]

STATE = "/run/upstart/mountall.json"


class Mounts(Noting):
    names = ("mount",)

    def prepare(self) -> None:
        super().prepare()
        for event in ("mounted", "unmounted"):
            text = f"start on {event} MOUNTPOINT={self.at}/*\ntask\nconsole none\ninstance $DEVICE$MOUNTPOINT\n"
            say = f"echo {event} $DEVICE $MOUNTPOINT $TYPE $OPTIONS >>$W/noted"
            self.write(event, f"{text}exec sh -c '{say}'\n")

    def mount(self, name: str, *words: str) -> None:
        (self.at / name).mkdir(exist_ok=True)
        assert self.run("mount", *(words or ("-t", "tmpfs", "some")), str(self.at / name)).returncode == 0

    def umount(self, name: str) -> None:
        assert self.run("umount", str(self.at / name)).returncode == 0

    def told(self) -> list[str]:
        return [" ".join(line.split()[:4]) for line in super().told()]


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    mounts = Mounts(tmp_path)
    try:
        mounts.prepare()
        yield mounts
        assert "Internal error" not in mounts.kmsg()
    finally:
        mounts.close()


def test_mounts_of_anybody_are_told(mounts: Mounts) -> None:
    mounts.host()
    mounts.mount("a")
    mounts.mount("b c")
    mounts.expect("mounted some a tmpfs", "mounted some b c")
    mounts.mount("bound", "--bind", str(mounts.at / "a"))
    mounts.umount("a")
    mounts.expect("mounted some bound tmpfs", "unmounted some a tmpfs")
    # One over another is two.
    mounts.mount("a")
    mounts.mount("a", "-t", "tmpfs", "other")
    wait_for(lambda: "mounted other a tmpfs" in mounts.told())
    mounts.umount("a")
    wait_for(lambda: "unmounted other a tmpfs" in mounts.told())
    assert mounts.count("mounted") >= 3
    mounts.mount("\udcff")
    wait_for(lambda: "mounted some \\xff tmpfs" in mounts.told())


def test_what_changes_while_it_is_away_is_told_by_the_next(mounts: Mounts) -> None:
    pid = mounts.host()
    mounts.mount("a")
    mounts.mount("b")
    mounts.expect("mounted some a tmpfs", "mounted some b tmpfs")
    wait_for(lambda: f"{mounts.at}/b" in mounts.run("cat", "/run/upstart/bridges/mount.json").stdout)
    os.kill(pid, signal.SIGSTOP)
    mounts.umount("a")
    mounts.mount("c")
    os.kill(pid, signal.SIGKILL)
    mounts.expect("mounted some c tmpfs", "unmounted some a tmpfs")
    mounts.restart_init()
    mounts.umount("b")
    mounts.expect("unmounted some b tmpfs")


def test_what_mountall_is_still_to_tell_of_is_its_own(mounts: Mounts) -> None:
    mounts.host()
    started = mounts.run("sh", "-c", "cut -d' ' -f22 /proc/1/stat").stdout.strip()
    entries = [{"mountpoint": str(mounts.at / name)} for name in ("waits", "done")]
    state = {"entries": entries, "items": [{"phase": "busy"}, {"phase": "done"}]}
    document = {"version": 1, "ended": False, "pid": 1, "started": started, "state": state}

    def write() -> None:
        command = f"umask 077; cat >{STATE}.new; mv {STATE}.new {STATE}"
        mounts.inside("sh", "-c", command, text=json.dumps(document).encode())

    write()
    mounts.mount("waits")
    mounts.mount("done")
    mounts.expect("mounted some done tmpfs")
    # When it has told of that, what becomes of it is anybody's.
    state["items"] = [{"phase": "done"}, {"phase": "done"}]
    write()
    mounts.umount("waits")
    mounts.expect("unmounted some waits tmpfs")
    mounts.mount("waits")
    mounts.expect("mounted some waits tmpfs")


def test_who_waits_for_what_every_boot_mounts_needs_no_bridge(mounts: Mounts) -> None:
    for event in ("mounted", "unmounted"):
        mounts.remove(event)
    mounts.wait_stopped("mount")
    mounts.write("tmp", "start on mounted MOUNTPOINT=/var or mounted MOUNTPOINT=/run TYPE=tmpfs\ntask\nexec echo x\n")
    assert mounts.status("upstart-mount-bridge") == "upstart-mount-bridge stop/waiting\n"
    mounts.write("other", f"start on mounted MOUNTPOINT={mounts.at}/x\ntask\nexec echo x\n")
    mounts.host()
    assert mounts.run("mount", "-t", "tmpfs", "tmpfs", "/var").returncode == 0
    mounts.mount("x")
    wait_for(lambda: mounts.job_log("other") == "x\n")
    assert mounts.job_log("tmp") == ""
