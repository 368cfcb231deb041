"""The figures of a whole boot: the root of `make run` with our init, and with sysvinit-core, taking turns."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import archive
import root
import run
from container import Container, ContainerError
from figures import Figure

ROUNDS = 3
SECONDS = 60.0


def cached() -> bool:
    """Whether a root and our packages are there already, so that a boot takes seconds and not minutes."""
    release = archive.host_release()
    return any(root.BUILD.glob(f"root-{release}-*[0-9a-f]")) and any((root.BUILD / "deb" / release).glob("*.deb"))


def figures() -> Iterator[Figure]:
    """From the exec of init to every daemon's answer, and from the request of runlevel 0 to the end of PID 1."""
    up = Figure("the root of make run, exec to every daemon answering", "s", "0.6 times")
    down = Figure("runlevel 0 to the end of PID 1", "s", "1.5 s")
    for _ in range(ROUNDS):
        for name, init in (("ours", "upstart"), ("peer", "sysvinit")):
            try:
                path, packages, files = run.prepare(init, archive.host_release())
                with Container(path, ["/sbin/init"], packages, files, lambda _: None) as container:
                    boot = run.Boot(container, SECONDS)
                    boot.start()
                    boot.stop()
            except (run.BootError, ContainerError, RuntimeError) as error:
                print(f"bench: {init}: {error}", file=sys.stderr, flush=True)
                continue
            up.add(name, boot.milestones["every daemon answers"])
            down.add(name, boot.milestones["runlevel 0 to the end of PID 1"])
    yield from (up, down)
