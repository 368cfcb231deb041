"""What holds for every suite: no test sees the session it is started from, and none is timed by a busy machine."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# On a landing check the examples are the same each time; new ones are for those who can look at what they find.
settings.register_profile("suite", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("suite")

for name in [name for name in os.environ if name.startswith("UPSTART_")]:
    del os.environ[name]

# A test that runs away ends with a MemoryError of its own, not with the machine. In bytes.
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _control_groups() -> set[Path]:
    """The control groups that inits have made below our own group."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
            return set(Path(fields[4] + (own or ["/"])[0]).glob("upstart-*"))
    return set()


@pytest.fixture(scope="session", autouse=True)
def no_control_groups_left() -> Iterator[None]:
    """An init that a test had to kill could not remove its control groups: those without processes go at the end."""
    before = _control_groups()
    yield
    for group in _control_groups() - before:
        for directory, _, _ in os.walk(group, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                # It has processes: it is that of an init that runs beside the tests.
                break
