"""Files and mounts come, change and go, and at each of fifty moments bridges are killed, or init re-executes itself.

MOMENTS in the environment says how many of the fifty are tried; `make bridge-moments` tries all.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bridge_system import Bridged
from daemon_init import PROGRAMS
from test_daemon_pid1 import pytestmark

__all__ = ["pytestmark"]

pytest.importorskip("pyinotify")

ALL = 50
MOMENTS = range(0, ALL, max(1, ALL // int(os.environ.get("MOMENTS", "5"))))
#: Seconds between two moments: they cover the whole of `happen`.
PACE = 0.006
#: Seconds between two things that happen.
STEP = 0.02
FILES = 40


class Moments(Bridged):
    names = ("file", "mount")

    def prepare(self) -> None:
        super().prepare()
        self.at = self.directory / "at"
        self.at.mkdir()
        self.noted = self.directory / "noted"
        self.noted.touch()
        self.initctl("emit", "filesystem")
        say = "task\nconsole none\nenv MOUNTPOINT=\nenv EVENT=\nenv MATCH=\ninstance $MOUNTPOINT$EVENT$MATCH\n"
        say += "exec sh -c 'echo $N$EVENT $MOUNTPOINT$MATCH >>$W/noted'\n"
        self.write("file", f"start on file FILE={self.at}/**/f*\n{say}env N=\n")
        for event in ("mounted", "unmounted"):
            self.write(event, f"start on {event} MOUNTPOINT={self.at}/*\nenv N={event}\n{say}")
        self.wait_running()

    def told(self, at: Path) -> set[str]:
        return {line.replace(f"{at}/", "") for line in self.noted.read_text().splitlines() if f"{at}" in line}


def happen(moments: Moments, at: Path) -> None:
    """What happens, in some 0.3 seconds; what it comes to is in `COME_TO`."""
    steps: list[Callable[[], object]] = [
        at.mkdir,
        lambda: (at / "f1").write_text("1"),
        lambda: (at / "f2").write_text("1"),
        lambda: (at / "mnt").mkdir(),
        lambda: moments.run("mount", "-t", "tmpfs", "x", str(at / "mnt")),
        lambda: (at / "deep" / "er").mkdir(parents=True),
        lambda: (at / "deep" / "er" / "f3").write_text("1"),
        lambda: (at / "f1").write_text("more"),
        lambda: (at / "new").write_text("2"),
        lambda: (at / "new").rename(at / "f2"),
        lambda: [os.mknod(at / f"f-{number}") for number in range(FILES)],  # type: ignore[func-returns-value]
        lambda: [os.unlink(at / f"f-{number}") for number in range(0, FILES, 2)],  # type: ignore[func-returns-value]
        lambda: (at / "deep" / "er").rename(at / "other"),
        lambda: moments.run("umount", str(at / "mnt")),
        lambda: (at / "f4").symlink_to("f1"),
    ]
    for step in steps:
        step()
        time.sleep(STEP)


def missing(told: set[str]) -> set[str]:
    """What has to be told by the end, and is not: what is there is created, what was told and has gone is deleted."""
    there = ["f1", "f2", "f4", "other/f3", *(f"f-{number}" for number in range(1, FILES, 2))]
    gone = ["deep/er/f3", *(f"f-{number}" for number in range(0, FILES, 2))]
    wanted = {f"create {name}" for name in there} | {f"delete {name}" for name in gone if f"create {name}" in told}
    if "mounted mnt" in told:
        wanted.add("unmounted mnt")
    return wanted - told


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moments]:
    moments = Moments(tmp_path_factory.mktemp("moments"))
    try:
        moments.prepare()
        yield moments
        assert "Internal error" not in moments.kmsg()
    finally:
        moments.close()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("what", ["kill", "reexec"])
def test_nothing_awaited_is_lost(moments: Moments, what: str, moment: int) -> None:
    at = moments.at / f"{what}{moment}"
    pid = moments.host() if what == "kill" else 0

    def disturb() -> None:
        if what == "kill":
            os.kill(pid, signal.SIGKILL)
        else:
            moments.run(str(PROGRAMS / "telinit"), "u")

    timer = threading.Timer(moment * PACE, disturb)
    timer.start()
    happen(moments, at)
    timer.join()
    try:
        moments.wait_for(lambda: not missing(moments.told(at)), 15)
    except AssertionError:
        raise AssertionError(f"{missing(moments.told(at))} of {moments.told(at)}") from None
    if what == "kill":
        # Not so often that init gives it up.
        assert moments.initctl("restart", "upstart-bridges").startswith("upstart-bridges start/running")
