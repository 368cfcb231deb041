"""What holds for every suite: no test sees the session it is started from, none is timed by a busy machine, and none
leaves a process behind, not even when it fails."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.append(str(Path(__file__).parent / "boot"))
from groups import remove_groups, unified_hierarchy

# On a landing check the examples are the same each time; new ones are for those who can look at what they find.
settings.register_profile("suite", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("suite")

for name in [name for name in os.environ if name.startswith("UPSTART_")]:
    del os.environ[name]

# A shell without job control has what it runs in the background ignore these, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# A test that runs away ends with a MemoryError of its own, not with the machine. In bytes.
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _control_groups() -> set[Path]:
    """The control groups that inits have made below our own group."""
    hierarchy = unified_hierarchy()
    return set(hierarchy.glob("upstart*")) if hierarchy is not None else set()


@pytest.fixture(scope="session", autouse=True)
def no_control_groups_left() -> Iterator[None]:
    """An init that a test had to kill could not remove its control groups: those without processes go at the end."""
    before = _control_groups()
    yield
    for group in _control_groups() - before:
        # What has processes is that of an init that runs beside the tests.
        remove_groups(group)


def _children() -> dict[int, str]:
    """The processes that this one has started and that have not ended: command lines by pid."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            children = (task / "children").read_text()
        except FileNotFoundError:
            continue  # a thread that has ended meanwhile
        for pid in map(int, children.split()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """What a test has started ends with it. Processes of wider fixtures were there before, and stay."""
    before = _children()
    yield
    left = {pid: command for pid, command in _children().items() if pid not in before}
    for pid in left:
        os.kill(pid, signal.SIGTERM)
    patience = time.monotonic() + 10
    for pid in left:
        # They are our children and nobody waits for them, so each pid stays theirs.
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > patience:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
    assert not left, f"left running: {'; '.join(left.values())}"


@pytest.fixture(autouse=True)
def broken_pipes_stay_errors() -> Iterator[None]:
    """No test leaves us to be ended by the next pipe or socket whose other end has gone."""
    yield
    now = signal.getsignal(signal.SIGPIPE)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    assert now == signal.SIG_IGN, "SIGPIPE is not ignored any more"


@pytest.fixture(autouse=True)
def no_signal_left_blocked() -> Iterator[None]:
    """All that is started after it would have it blocked, too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    after = signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert after == before, "signals are left blocked"
