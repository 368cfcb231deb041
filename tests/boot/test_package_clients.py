"""What clients of old call and look at, on a machine that has our packages as README.md installs them.

One boot of each release serves all tests; RELEASES, a variable of the environment, names the releases. A test makes the
services that it needs, and takes them away again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import archive
import pytest
import run
from container import Container, wait_for
from layer import Layer

RELEASES = os.environ.get("RELEASES", archive.host_release()).split()
JOB = """\
start on go
stop on halt-it
exec sleep 1000031
"""
MANY = "instance $NUMBER\nexec sleep 100003$NUMBER\n"
BROKEN = "exec /no/such/program\n"
SCRIPT = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides:          NAME
# Required-Start:
# Required-Stop:
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: a service that has a job too
### END INIT INFO
set -e
. /lib/lsb/init-functions
echo script reached
"""
#: Contents of an administrator's override; some without an end of line, and some that say it already.
OVERRIDES = ["", "env WHO=me\n", "env WHO=me", "# Switched off by hand\nmanual\n", "start on other\n", "\nmanual"]


class Machine:
    """The booted system."""

    def __init__(self, container: Container) -> None:
        self.container = container

    def __call__(self, *argv: str) -> tuple[int, str]:
        """Runs a command: its status, and its output without the process ids."""
        done = self.container.run(*argv, seconds=60)
        return done.returncode, re.sub(r"process \d+", "process N", done.stdout)

    def shell(self, text: str) -> tuple[int, str]:
        return self("/bin/sh", "-c", text)

    def need(self, text: str) -> str:
        """Runs shell text, which must succeed; what it printed."""
        status, output = self.shell(text)
        assert status == 0, output
        return output

    def text(self, path: str) -> str | None:
        """A file inside; None if there is none."""
        try:
            return self.container.path(path).read_text()
        except FileNotFoundError:
            return None

    def starts(self, name: str) -> bool:
        """Whether the event that starts the job does so; it is stopped again."""
        assert self("initctl", "emit", "go")[0] == 0
        started = "start/running" in self("status", name)[1]
        assert self("initctl", "emit", "halt-it")[0] == 0
        assert wait_for(lambda: "stop/waiting" in self("status", name)[1], 20)
        return started

    @contextmanager
    def service(self, name: str, job: str = JOB, script: str | None = None, override: str = "") -> Iterator[str]:
        """A job with its link in init.d, or beside a script, registered as a package does: the path of its override."""
        path = self.container.path
        path(f"/etc/init/{name}.conf").write_text(job)
        written = path(f"/etc/init/{name}.override")
        if override:
            written.write_text(override)
        link = path(f"/etc/init.d/{name}")
        if script is None:
            link.symlink_to("/lib/init/upstart-job")
        else:
            link.write_text(script.replace("NAME", name))
            link.chmod(0o755)
        try:
            assert self("initctl", "reload-configuration") == (0, "")
            # As in a maintainer script.
            assert self("env", f"DPKG_MAINTSCRIPT_PACKAGE={name}", "update-rc.d", name, "defaults")[0] == 0
            yield f"/etc/init/{name}.override"
        finally:
            self("update-rc.d", name, "remove")
            self("stop", name)
            for made in (link, written, path(f"/etc/init/{name}.conf")):
                made.unlink(missing_ok=True)
            self("initctl", "reload-configuration")


@pytest.fixture(scope="module", params=RELEASES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    path, _, _ = run.prepare("upstart", request.param)
    shown = bytearray()
    with Container(path, ["/sbin/init"], run.recommended(request.param), {}, shown.extend) as container:
        container.boot()
        machine = Machine(container)
        booted = wait_for(lambda: machine("runlevel") == (0, "N 2\n"), 60, 0.1)
        assert booted and wait_for(lambda: "stop/waiting" in machine("status", "rc")[1], 60, 0.1), bytes(shown)
        yield machine


@pytest.mark.parametrize("script", [None, SCRIPT], ids=["link", "script"])
@pytest.mark.parametrize("before", OVERRIDES)
def test_disabled_no_event_starts_a_job_and_enabled_one_does_again(
    machine: Machine, script: str | None, before: str
) -> None:
    with machine.service("toggled", script=script, override=before) as override:
        own = before or None
        at_first = machine.starts("toggled")
        assert at_first == ("manual" not in before and "start on" not in before)
        for _ in range(2):
            machine.need("update-rc.d toggled disable")
            said = machine.text(override)
            assert said is not None and said.startswith(before) and said.endswith("\nmanual\n")
            # As configuration managers look for it.
            assert re.search(r"^\s*manual\s*$", said, re.MULTILINE)
            assert not machine.starts("toggled") and "start on" not in machine("initctl", "show-config", "toggled")[1]
        assert machine("start", "toggled") == (0, "toggled start/running, process N\n")
        assert machine("service", "toggled", "restart")[0] == 0
        assert machine("stop", "toggled")[0] == 0
        for _ in range(2):
            status, output = machine("update-rc.d", "toggled", "enable")
            assert (status, "override says manual" in output) == (0, "manual" in before)
            # An end of line may have come to the last one.
            said = machine.text(override)
            assert said == own or (own is not None and said == own + "\n")
            assert machine.starts("toggled") == at_first


@pytest.mark.parametrize("script", [None, SCRIPT], ids=["link", "script"])
def test_what_packages_do_neither_disables_a_job_nor_enables_it(machine: Machine, script: str | None) -> None:
    upgrade = "DPKG_MAINTSCRIPT_PACKAGE=toggled update-rc.d toggled defaults"
    with machine.service("toggled", script=script) as override:
        machine.need("update-rc.d toggled remove; insserv")
        machine.need("DPKG_MAINTSCRIPT_PACKAGE=toggled update-rc.d toggled defaults-disabled; insserv; insserv")
        assert machine.text(override) is None and machine.starts("toggled")
        machine.need("update-rc.d toggled enable")
        # As the packages before this one left it: the links say no, and there is no override.
        machine.need("for link in /etc/rc[2-5].d/S??toggled; do mv $link $(dirname $link)/K01toggled; done")
        machine.need(f"insserv; {upgrade}; update-rc.d cron defaults")
        assert machine.text(override) is None and machine.starts("toggled")
        # Switched off, it stays so.
        machine.need("update-rc.d toggled disable")
        off = machine.text(override)
        for text in (upgrade, "insserv", "update-rc.d toggled remove", upgrade):
            machine.need(text)
            assert machine.text(override) == off and not machine.starts("toggled")
        machine.need("update-rc.d toggled enable")
        assert machine.text(override) is None and machine.starts("toggled")


def test_disabled_in_one_runlevel_a_job_is_not_switched_off(machine: Machine) -> None:
    with machine.service("toggled") as override:
        status, output = machine("update-rc.d", "toggled", "disable", "3")
        assert (status, machine.text(override)) == (0, None) and "toggled is not switched off" in output
        machine.need("update-rc.d toggled disable")
        assert not machine.starts("toggled")
        machine.need("update-rc.d toggled enable 3")
        assert machine.starts("toggled")


def test_a_configuration_manager_that_registers_a_service_anew_enables_it(machine: Machine) -> None:
    """As the debian provider of Puppet and the debian_service module of Salt do it."""
    with machine.service("toggled") as override:
        for enable in ("update-rc.d -f toggled remove; update-rc.d toggled defaults",
                       "insserv toggled && update-rc.d toggled enable"):  # fmt: skip
            machine.need("update-rc.d toggled disable")
            assert not machine.starts("toggled")
            assert machine("invoke-rc.d", "--quiet", "--query", "toggled", "start")[0] == 101
            machine.need(enable)
            assert machine("invoke-rc.d", "--quiet", "--query", "toggled", "start")[0] == 104
            assert machine.text(override) is None and machine.starts("toggled")


def test_the_link_that_tells_of_registrations_is_no_service(machine: Machine) -> None:
    machine.need("insserv")
    assert list(machine.container.path("/etc").glob("rc?.d/*upstart-job")) == []
    assert machine("service", "upstart-job", "start")[0] != 0
    assert machine.container.path("/etc/init.d/.depend.start").read_text().find("upstart-job") == -1


def test_errors_begin_with_the_name_of_the_command_that_clients_know(machine: Machine) -> None:
    with machine.service("broken", BROKEN):
        for command in (("service", "broken"), ("/etc/init.d/broken",)):
            for action in ("start", "restart"):
                status, output = machine(*command, action)
                assert (status, output.splitlines()[0]) == (1, "start: Job failed to start")


def test_variables_behind_the_action_name_an_instance(machine: Machine) -> None:
    with machine.service("many", MANY):
        for command in (("service", "many"), ("/etc/init.d/many",)):
            assert machine(*command, "start", "NUMBER=2") == (0, "many (2) start/running, process N\n")
            assert machine(*command, "start", "NUMBER=2") == (0, "")
            assert machine(*command, "status", "NUMBER=2") == (0, "many (2) start/running, process N\n")
            assert machine(*command, "restart", "NUMBER=2") == (
                0, "many stop/waiting\nmany (2) start/running, process N\n"
            )  # fmt: skip
            assert machine(*command, "status", "NUMBER=3") == (3, "many stop/waiting\n")
            assert machine(*command, "stop", "NUMBER=3") == (0, "")
            assert machine(*command, "stop", "NUMBER=2") == (0, "many stop/waiting\n")
            assert machine(*command, "start") == (5, "start: Unknown parameter: NUMBER\n")


def test_variables_go_past_a_script_to_its_job_and_other_words_do_not(machine: Machine) -> None:
    with machine.service("talking", "task\nexec echo heard=$HEARD\n", SCRIPT):
        log = "/var/log/upstart/talking.log"
        assert machine("service", "talking", "start", "HEARD=this")[0] == 0
        assert machine("service", "talking", "start", "some", "words", "HEARD=that")[0] == 0
        assert machine.text(log) == "heard=this\nheard=\n"


@pytest.mark.parametrize("release", RELEASES)
def test_what_replaces_initctl_replaces_the_commands_that_are_links_to_it(tmp_path: Path, release: str) -> None:
    lower, _, _ = run.prepare("upstart", release)
    with Layer(lower, tmp_path / "work", run.recommended(release), network=False) as layer:
        status, output = layer.run("for name in core jobs sysv; do dpkg --install /in/upstart-${name}_*.deb; done")
        assert status == 0, output
        commands = "start stop restart reload status"
        for name in commands.split():
            assert os.readlink(layer.path(f"/sbin/{name}")) == "initctl"
            assert layer.run(f"{name} --version")[1].startswith(f"{name} (upstart ")
        # As in the files that container images are made from.
        status, output = layer.run("dpkg-divert --local --rename --add /sbin/initctl && ln -s /bin/true /sbin/initctl")
        assert status == 0, output
        silent = layer.run(f"for name in initctl {commands}; do $name cron; /sbin/$name cron; done")
        assert silent == (0, "")


@pytest.mark.parametrize("release", RELEASES)
def test_users_of_group_adm_read_the_logs_and_all_users_find_initctl(tmp_path: Path, release: str) -> None:
    lower, _, _ = run.prepare("upstart", release)
    with Layer(lower, tmp_path / "work", run.recommended(release), network=False) as layer:
        show = "stat -c '%U:%G %a' /var/log/upstart"
        # What the packages before this one have left.
        status, output = layer.run(f"""
            mkdir /var/log/upstart && echo old >/var/log/upstart/old.log && chmod 640 /var/log/upstart/old.log
            for name in core jobs sysv; do dpkg --install /in/upstart-${{name}}_*.deb; done >/dev/null
            {show}; echo new >/var/log/upstart/new.log; stat -c '%U:%G %a' /var/log/upstart/old.log
            useradd --create-home --groups adm reader; useradd --create-home other
            setpriv --reuid reader --init-groups cat /var/log/upstart/old.log /var/log/upstart/new.log
            ! setpriv --reuid other --init-groups ls /var/log/upstart 2>/dev/null
            env PATH=/usr/local/bin:/usr/bin:/bin setpriv --reuid other --init-groups initctl --version
        """)
        assert status == 0, output
        assert output.splitlines()[:4] == ["root:adm 2750", "root:adm 640", "old", "new"]
        assert output.splitlines()[4].startswith("initctl (upstart ")
        # An administrator's own mode outlasts the next configuration.
        status, output = layer.run(f"""
            chmod 711 /var/log/upstart; chgrp root /var/log/upstart
            dpkg --install /in/upstart-core_*.deb >/dev/null; {show}
        """)
        assert (status, output) == (0, "root:root 2711\n")


def test_what_init_writes_is_for_group_adm(machine: Machine) -> None:
    with machine.service("saying", "exec echo said\n"):
        machine.need("start saying")
        log = "/var/log/upstart/saying.log"
        assert wait_for(lambda: machine.text(log) == "said\n", 10)
        assert machine.need(f"stat -c '%U:%G %a' {log}") == "root:adm 640\n"


def test_without_a_job_the_second_line_points_at_the_script(machine: Machine) -> None:
    script = machine.container.path("/etc/init.d/lonely")
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    try:
        assert machine("status", "lonely") == (
            1, "status: Unknown job: lonely\nstatus: There is no job, but a script /etc/init.d/lonely, for service(8)\n"
        )  # fmt: skip
        assert machine("start", "lonely")[1].splitlines()[0] == "start: Unknown job: lonely"
    finally:
        script.unlink()


def test_no_condition_of_our_own_jobs_is_unknown(machine: Machine) -> None:
    with machine.service("networked", "start on net-device-up IFACE=lo and static-network-up\nexec sleep 1\n"):
        assert machine("initctl", "check-config") == (0, "")
