"""Puppet and Ansible as Debian has them, with our packages as README.md installs them: for a job, a link and a script.

The commands that Salt and others run, which Debian has no more, are tried in test_package_clients.py. One boot of each
release serves all tests; RELEASES, a variable of the environment, names the releases: without it, as in `make check`,
nothing is run here, for the two take minutes to be installed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial

import archive
import pytest
import root
import run
from container import Container, wait_for

RELEASES = os.environ.get("RELEASES", archive.host_release()).split()
pytestmark = pytest.mark.skipif("RELEASES" not in os.environ, reason="make check-packages runs it")
#: What upstart-sysv stands on, the two, and a service that has a script only.
NAMES = (
    "initscripts sysv-rc insserv startpar sysvinit-utils ifupdown iproute2 netbase procps psmisc kmod udev mount login"
    " util-linux-extra systemd-standalone-sysusers systemd-standalone-tmpfiles python3 python3-dbus python3-pyudev cron"
    " puppet-agent ansible-core"
)
CONFIGURE = root.named("upstart-test") + "\n: >etc/fstab\nchroot . insserv\n"
JOB = "start on go\nstop on halt-it\nexec sleep 1000041\n"
JOBS = ("job-only", "link-only")
#: Each of them takes its time to say so, on a busy machine.
SECONDS = 240
PLAY = """\
- hosts: localhost
  connection: local
  tasks:
"""


class Machine:
    """The booted system, with a job by itself, and one that has its link in init.d as a package registers it."""

    def __init__(self, container: Container) -> None:
        self.container = container
        for name in JOBS:
            container.path(f"/etc/init/{name}.conf").write_text(JOB)
        self.need("initctl reload-configuration; ln -s /lib/init/upstart-job /etc/init.d/link-only")
        self.need("DPKG_MAINTSCRIPT_PACKAGE=link-only update-rc.d link-only defaults")

    def shell(self, text: str) -> tuple[int, str]:
        done = self.container.run("/bin/sh", "-c", text, seconds=SECONDS)
        return done.returncode, done.stdout

    def need(self, text: str) -> str:
        """Runs shell text, which must succeed; what it printed."""
        status, output = self.shell(text)
        assert status == 0, output
        return output

    def puppet(self, names: tuple[str, ...], words: dict[str, str]) -> int:
        """Has Puppet bring services into a state, with its default provider; how many it had to change."""
        state = ", ".join(f"{word} => {value}" for word, value in words.items())
        manifest = "".join(f"service {{ '{name}': {state} }} " for name in names)
        status, output = self.shell(f'puppet apply --detailed-exitcodes --color=false -e "{manifest}"')
        assert status in (0, 2), output
        return len(set(re.findall(r"Service\[(.*?)\]/(?:ensure|enable): ", output)))

    def ansible(self, names: tuple[str, ...], words: dict[str, str]) -> int:
        """Has Ansible do the same, with its module service."""
        words = {{"ensure": "state", "enable": "enabled"}[word]: value for word, value in words.items()}
        words = {word: {"running": "started"}.get(value, value) for word, value in words.items()}
        task = " ".join(f"{word}={value}" for word, value in words.items())
        play = PLAY + "".join(f"    - service: name={name} {task}\n" for name in names)
        self.container.path("/run/play.yml").write_text(play)
        output = self.need("ANSIBLE_STDOUT_CALLBACK=minimal ansible-playbook /run/play.yml")
        return len(re.findall(r"^localhost \| CHANGED", output, re.MULTILINE))

    def has_cron(self, processes: int) -> bool:
        return len(self.shell("pgrep -x cron")[1].split()) == processes

    def running(self, name: str) -> bool:
        return "start/running" in self.need(f"status {name}")

    def starts(self, name: str) -> bool:
        """Whether the event that starts the job does so; it is stopped again."""
        self.need("initctl emit go")
        started = self.running(name)
        self.need("initctl emit halt-it")
        assert wait_for(lambda: not self.running(name), 20)
        return started


@pytest.fixture(scope="module", params=RELEASES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    release = request.param
    path = root.build("managers-root", release, root.called(release, NAMES.split()), CONFIGURE)
    packages = run.recommended(release)
    shown = bytearray()
    with Container(path, ["/sbin/init"], packages, {}, shown.extend) as container:
        container.boot()
        booted = wait_for(lambda: container.run("runlevel").stdout == "N 2\n", 60, 0.1)
        ended = booted and wait_for(lambda: "stop/waiting" in container.run("status", "rc").stdout, 60, 0.1)
        assert ended, bytes(shown)
        yield Machine(container)


@pytest.mark.parametrize("manager", ["puppet", "ansible"])
def test_services_are_started_stopped_disabled_and_enabled(machine: Machine, manager: str) -> None:
    act = getattr(machine, manager)
    # It knows what it has done: the second time there is nothing to change.
    for changes in (2, 0):
        assert act(JOBS, {"ensure": "running"}) == changes
        assert all(map(machine.running, JOBS))
    assert act(JOBS, {"ensure": "stopped", "enable": "false"}) == 2
    assert not any(map(machine.running, JOBS))
    assert not any(map(machine.starts, JOBS))
    for changes in (2, 0):
        assert act(JOBS, {"enable": "true"}) == changes
    assert all(map(machine.starts, JOBS))
    # A script goes its own way.
    for state, pids in (("stopped", 0), ("running", 1)):
        assert act(("cron",), {"ensure": state}) == 1
        assert wait_for(partial(machine.has_cron, pids), 20)


def test_puppet_lists_jobs_and_scripts(machine: Machine) -> None:
    listed = re.findall(r"service { '([^']*)'", machine.need("puppet resource service"))
    assert {*JOBS, "cron", "rc-sysinit"} <= set(listed)
