"""What PID 1 does about control groups in a container that has none mounted and sees those of the machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from upstart.base import syscalls
from upstart.daemon import boot

#: As PID 1 of new namespaces, which see the machine's control groups: unmount these, prepare, and tell of it.
PREPARE = f"""
import json, os, subprocess, sys
sys.path[:0] = [{str(Path(boot.__file__).parents[2])!r}]
from upstart.daemon import boot

def mounted():
    lines = [line.split() for line in open("/proc/self/mounts")]
    return [(place, options) for _, place, kind, options, *_ in lines if kind == "cgroup2"]

before = mounted()
subprocess.run(["umount", "-lR", "/sys/fs/cgroup"], check=True)
for place, _ in mounted():
    subprocess.run(["umount", "-l", place], check=True)
problems = []
boot.prepare_kernel_filesystems(problems.append)
group = open("/proc/self/cgroup").read().split("0::")[1].strip()
print(json.dumps([before, mounted(), problems, os.readlink("/proc/self/ns/cgroup"), group]))
"""


@pytest.mark.skipif(
    os.getuid() != 0
    or not shutil.which("unshare")
    or os.readlink("/proc/self/ns/cgroup") != boot.FIRST_CGROUPS
    or "cgroup2" not in Path("/proc/self/mounts").read_text(),
    reason="needs root, and the control groups of a machine",
)
def test_the_options_of_the_machines_groups_are_the_machines() -> None:
    command = ["unshare", "-p", "-f", "-m", "--mount-proc", "--propagation", "private", sys.executable, "-IS"]
    done = subprocess.run([*command, "-c", PREPARE], capture_output=True, text=True, timeout=30)
    assert not done.stderr
    before, after, problems, namespace, group = json.loads(done.stdout)
    ((place, options),) = after
    assert place == "/sys/fs/cgroup" and not problems
    # It has a view of its own now, where the kernel changes no options.
    assert namespace != boot.FIRST_CGROUPS and group == "/"
    own = {"rw", "ro", "nosuid", "nodev", "noexec", "relatime"}
    assert set(options.split(",")) - own == set(before[0][1].split(",")) - own


def namespaces(monkeypatch: pytest.MonkeyPatch, cgroups: str, pids: str) -> list[str]:
    """What is done where these are the namespaces, in its order."""
    done: list[str] = []
    links = {"/proc/self/ns/cgroup": cgroups, "/proc/self/ns/pid": pids}
    monkeypatch.setattr(os, "readlink", links.__getitem__)
    monkeypatch.setattr(syscalls, "unshare_cgroups", lambda: done.append("unshare"))
    monkeypatch.setattr(boot, "mount_missing", lambda kind, path, flags, data: done.append(str(data)))
    boot._mount_groups(0)
    return done


def test_only_a_container_that_sees_the_machines_groups_gets_a_view_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    options = str(boot.CGROUP_OPTIONS[0])
    other = "x:[4026532000]"
    assert namespaces(monkeypatch, boot.FIRST_CGROUPS, boot.FIRST_PIDS) == [options]
    assert namespaces(monkeypatch, other, other) == [options]
    assert namespaces(monkeypatch, boot.FIRST_CGROUPS, other) == ["unshare", options]
