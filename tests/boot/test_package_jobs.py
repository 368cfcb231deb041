"""The package upstart-jobs in a booted Debian: a service has its job where it is installed, and is never run twice.

One boot serves the tests of services that have their jobs from the beginning; those of a service that scripts run have
boots of their own, over a layer that is kept from one to the next.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import archive
import pytest
import root
import run
from container import Container, wait_for

#: Those of the root whose jobs are ours, and their processes.
SERVICES = {"cron": "cron", "ssh": "sshd", "rsyslog": "rsyslogd", "dbus": "dbus-daemon"}
DEFAULTS = "/etc/default/upstart-jobs"
LINK_JOBS = "/usr/libexec/upstart/link-jobs"
#: A service of a package of the tests' own, in the table's place of atd: it runs in the background, as scripts have it.
SCRIPT = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides:          atd
# Required-Start:    $remote_fs
# Required-Stop:     $remote_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: a service of the tests
### END INIT INFO
. /lib/lsb/init-functions
case $1 in
    start) start-stop-daemon --start --quiet --oknodo --pidfile /run/atd.pid --name atd --startas /usr/sbin/atd ;;
    stop) start-stop-daemon --stop --quiet --oknodo --retry 5 --pidfile /run/atd.pid --name atd ;;
    restart) "$0" stop; "$0" start ;;
    status) status_of_proc -p /run/atd.pid /usr/sbin/atd atd ;;
esac
"""
#: A program that goes to the background unless it is told -f, as the real one does.
PROGRAM = """\
#!/usr/bin/perl
use POSIX;
unless (grep { $_ eq "-f" } @ARGV) {
    exit 0 if fork;
    setsid;
    open(STDOUT, ">", "/dev/null");
    open(STDERR, ">&", "STDOUT");
}
open(my $file, ">", "/run/atd.pid");
print $file "$$\\n";
close $file;
$SIG{TERM} = sub { unlink "/run/atd.pid"; exit 0 };
sleep 1 while 1;
"""
CONTROL = """\
Package: at
Version: 1
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: a service of the tests
"""
#: What debhelper writes into them.
POSTINST = """\
#!/bin/sh
set -e
update-rc.d atd defaults >/dev/null
invoke-rc.d atd start || exit 1
"""
PRERM = """\
#!/bin/sh
set -e
invoke-rc.d atd stop || exit 1
"""
POSTRM = """\
#!/bin/sh
set -e
[ "$1" != purge ] || update-rc.d atd remove >/dev/null
"""

#: Those without a script, in the places of others: a service, one that containers do not have, and a step of the boot.
BARE = ("usr/sbin/avahi-daemon", "lib/systemd/systemd-timesyncd", "usr/sbin/ufw")
#: Each becomes a program of its package.
FOREGROUND = "#!/bin/sh\nexec /usr/lib/bare/serve 1000011\n"


def packages(directory: Path) -> dict[str, str]:
    """Builds at.deb, and two without a script, of which broken.deb has a program that cannot be executed.

    Gives where each is to be.
    """
    at = {
        "etc/init.d/atd": SCRIPT,
        "usr/sbin/atd": PROGRAM,
        "DEBIAN/postinst": POSTINST,
        "DEBIAN/prerm": PRERM,
        "DEBIAN/postrm": POSTRM,
        "DEBIAN/conffiles": "/etc/init.d/atd\n",
    }
    bare = dict.fromkeys(BARE, FOREGROUND) | {"usr/lib/bare/serve": ""}
    built = {}
    for name, files in {"at": at, "bare": bare, "broken": {BARE[0]: FOREGROUND}}.items():
        tree = directory / f"tree-{name}"
        files["DEBIAN/control"] = CONTROL.replace("Package: at", f"Package: {name}")
        for file, text in files.items():
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            (tree / file).write_bytes(text.encode() or Path("/bin/sleep").read_bytes())
            (tree / file).chmod(0o644 if name == "broken" or file.startswith("DEBIAN/con") else 0o755)
        deb = directory / f"{name}.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, deb], check=True, stdout=subprocess.DEVNULL)
        built[str(deb)] = f"/srv/{name}.deb"
    return built


class Machine:
    """A booted system."""

    def __init__(self, container: Container) -> None:
        self.container = container

    def __call__(self, text: str) -> tuple[int, str]:
        """Runs a line of shell: its status and what it says."""
        done = self.container.run("/bin/sh", "-c", text, seconds=60)
        return done.returncode, done.stdout

    def boot(self) -> None:
        self.container.boot()
        assert wait_for(lambda: self("runlevel")[1] == "N 2\n", 60, 0.1)
        assert wait_for(lambda: "stop/waiting" in self("status rc")[1], 60, 0.1)

    def end(self) -> None:
        self("telinit 0")
        assert self.container.wait(60) == 2

    def link(self, name: str) -> str:
        """Where the file of a job leads to; "" if it is none of ours."""
        try:
            return os.readlink(self.container.path(f"/etc/init/{name}.conf"))
        except OSError:
            return ""

    def pids(self, name: str) -> list[str]:
        """The processes of this name that init, or a script, has started."""
        return self(f"pgrep -P 1 -x {name}")[1].split()

    def goes(self, name: str) -> bool:
        return " start/running, process " in self(f"status {name}")[1]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with container(tmp_path, {}) as booted:
        machine = Machine(booted)
        machine.boot()
        yield machine


def container(directory: Path, files: dict[str, str], layer: Path | None = None) -> Container:
    """A system of which nothing but the package of the tests is special."""
    path, ours, native = run.prepare("upstart", archive.host_release())
    inside = packages(directory) | native
    inside |= {str(deb): f"/srv/{deb.name.partition('_')[0]}.deb" for deb in ours}
    for target, text in files.items():
        source = directory / target.replace("/", "-")
        source.write_text(text)
        inside[str(source)] = target
    return Container(path, ["/sbin/init"], ours, inside, lambda data: None, layer)


def test_services_are_run_by_their_jobs_from_the_first_boot_on(machine: Machine) -> None:
    for name, program in SERVICES.items():
        assert machine.link(name) == f"/usr/share/upstart/jobs/{name}.conf"
        assert machine.goes(name)
        [before] = machine.pids(program)
        assert machine(f"service {name} status") == (0, f"{name} start/running, process {before}\n")
        assert machine(f"service {name} restart")[0] == 0
        assert machine(f"invoke-rc.d {name} start") == (0, "")
        [after] = machine.pids(program)
        assert after != before
    # The bus has told init of itself.
    asked = "dbus-send --system --print-reply --dest=com.ubuntu.Upstart /com/ubuntu/Upstart "
    assert "jobs/ssh" in machine(asked + "com.ubuntu.Upstart0_6.GetJobByName string:ssh")[1]
    assert machine("ls /etc/init | grep -c '^chrony\\|^ufw\\|^nfs'")[1] == "0\n"
    assert machine("update-rc.d ssh disable && grep -x manual /etc/init/ssh.override")[0] == 0
    assert machine("update-rc.d ssh enable; ls /etc/init/ssh.override")[0] != 0
    machine.end()


def test_a_service_has_its_job_from_its_installation_on_until_it_is_removed(machine: Machine) -> None:
    assert machine("dpkg -i /srv/at.deb")[0] == 0
    assert machine.goes("atd")
    [before] = machine.pids("atd")
    assert machine("service atd restart")[0] == 0
    [after] = machine.pids("atd")
    assert before != after
    # An upgrade.
    assert machine("dpkg -i /srv/at.deb")[0] == 0
    assert machine.goes("atd") and len(machine.pids("atd")) == 1
    assert machine("dpkg -r at")[0] == 0
    assert machine.pids("atd") == []
    assert machine.link("atd") == ""
    assert machine("dpkg -P at; status atd")[0] != 0


def test_a_service_without_a_script_is_started_by_its_installation(machine: Machine) -> None:
    def process() -> str:
        return machine("status avahi-daemon")[1].partition("process ")[2].strip()

    assert machine("dpkg -i /srv/bare.deb")[0] == 0
    assert machine.goes("avahi-daemon")
    # A container has no use for the one, and the other belongs to the boot.
    for name in ("systemd-timesyncd", "ufw"):
        assert machine.link(name) != ""
    assert machine("status systemd-timesyncd") == (0, "systemd-timesyncd stop/waiting\n")
    assert machine("initctl list | grep -c '^ufw.*start/'")[1] == "0\n"
    # No trigger but that of an upgrade concerns it, which starts it again; what was stopped stays so.
    before = process()
    assert machine("dpkg-trigger --by-package=bare /usr/sbin/avahi-daemon && dpkg --triggers-only -a")[0] == 0
    assert before and process() == before
    assert machine("dpkg -i /srv/bare.deb")[0] == 0
    assert machine.goes("avahi-daemon") and process() != before
    assert machine(f"test -e /proc/{before}")[0] == 1
    # upstart-jobs may be upgraded in the same run, or the trigger may come before the package is configured.
    for command in ("dpkg --unpack /srv/upstart-jobs.deb && dpkg -i /srv/bare.deb && dpkg --configure upstart-jobs",
                    "dpkg --unpack /srv/bare.deb && dpkg --triggers-only -a && dpkg --configure bare"):  # fmt: skip
        before = process()
        assert machine(command)[0] == 0
        assert machine.goes("avahi-daemon") and process() != before
    assert machine("stop avahi-daemon && dpkg -i /srv/bare.deb")[0] == 0
    assert machine("status avahi-daemon") == (0, "avahi-daemon stop/waiting\n")
    # Switched off.
    assert machine("dpkg -P bare && echo manual >/etc/init/avahi-daemon.override && dpkg -i /srv/bare.deb")[0] == 0
    assert machine.link("avahi-daemon") != ""
    assert machine("status avahi-daemon") == (0, "avahi-daemon stop/waiting\n")
    # Forbidden.
    policy = machine.container.path("/usr/sbin/policy-rc.d")
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    assert machine("dpkg -P bare && rm /etc/init/avahi-daemon.override")[0] == 0
    status, said = machine("dpkg -i /srv/bare.deb 2>&1")
    assert status == 0 and "policy-rc.d forbids the start of avahi-daemon" in said
    assert machine("status avahi-daemon") == (0, "avahi-daemon stop/waiting\n")
    policy.unlink()
    # A failure is told, and none of dpkg's.
    assert machine("dpkg -P bare")[0] == 0
    status, said = machine("dpkg -i /srv/broken.deb 2>&1")
    assert status == 0 and "avahi-daemon has been installed, but not started: " in said
    assert machine("dpkg-query -W -f '${db:Status-Status}' upstart-jobs") == (0, "installed")
    # The trigger may come before the package is configured.
    assert machine("dpkg -P broken && dpkg --unpack /srv/bare.deb && dpkg --triggers-only -a")[0] == 0
    assert machine.link("avahi-daemon") != ""
    assert machine("status avahi-daemon") == (0, "avahi-daemon stop/waiting\n")
    assert machine("dpkg --configure bare")[0] == 0
    assert machine.goes("avahi-daemon")
    # It does not outlive its program.
    running = process()
    assert running and machine("dpkg -P bare")[0] == 0
    assert machine.link("avahi-daemon") == "" and machine(f"test -e /proc/{running}")[0] == 1
    # What needs the bus waits for it.
    assert machine("stop dbus && dpkg -i /srv/bare.deb")[0] == 0
    assert machine("status avahi-daemon") == (0, "avahi-daemon stop/waiting\n")
    assert machine("start dbus")[0] == 0
    assert wait_for(lambda: machine.goes("avahi-daemon"), 20, 0.1)


def test_the_bus_starts_services_when_our_packages_have_gone(machine: Machine) -> None:
    start = "dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus."
    call = start + "StartServiceByName string:{} uint32:0 2>/dev/null; cat /run/called; rm /run/called"
    # It fails, so that the bus waits for no name.
    service = "[D-BUS Service]\nName={}\nExec=/bin/sh -c 'cp /etc/hostname /run/called; exit 1'\nUser=root\n"

    def offer(name: str) -> None:
        machine.container.path(f"/usr/share/dbus-1/system-services/{name}.service").write_text(service.format(name))
        assert machine(start + "ReloadConfig")[0] == 0

    offer("org.example.Before")
    [bus] = machine.pids("dbus-daemon")
    hostname = machine("cat /etc/hostname")[1]
    assert hostname and machine(call.format("org.example.Before")) == (0, hostname)
    # A service of a job.
    machine.container.path("/etc/init/called.conf").write_text(
        "start on dbus-activation SERVICE=org.example.Job\nexec sleep 1000013\n"
    )
    files = "/run/dbus-1/system-services/*"
    assert wait_for(lambda: machine(f"ls {files}")[0] == 0, 20)
    status, said = machine("dpkg -r upstart-sysv upstart-jobs upstart-core 2>&1")
    assert status == 0, said
    assert machine(f"ls {files}")[0] != 0
    offer("org.example.After")
    for name in ("org.example.Before", "org.example.After"):
        assert machine(call.format(name)) == (0, hostname)
    assert machine.pids("dbus-daemon") == [bus]
    # And when they have come again.
    status, said = machine("dpkg -i /srv/upstart-core.deb 2>&1")
    assert status == 0, said
    assert machine("readlink /run/upstart/system-bus.conf") == (0, "/usr/share/upstart/system-bus.conf\n")
    assert machine(call.format("org.example.After")) == (0, hostname)


def test_a_service_that_must_not_be_started_has_its_job_all_the_same(machine: Machine) -> None:
    policy = machine.container.path("/usr/sbin/policy-rc.d")
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    assert machine("dpkg -i /srv/at.deb")[0] == 0
    assert machine.link("atd") != ""
    assert machine.pids("atd") == []
    assert machine("status atd") == (0, "atd stop/waiting\n")


def test_a_file_that_is_there_stays(machine: Machine) -> None:
    own = machine.container.path("/etc/init/atd.conf")
    own.write_text("exec sleep 1000007\n")
    assert machine("dpkg -i /srv/at.deb")[0] == 0
    assert machine(f"{LINK_JOBS}; dpkg -P at")[0] == 0
    assert own.read_text() == "exec sleep 1000007\n"


def test_what_a_script_runs_is_left_to_it_until_it_starts_it_anew(tmp_path: Path) -> None:
    with container(tmp_path, {DEFAULTS: 'SCRIPTS="atd cron"\n'}) as booted:
        machine = Machine(booted)
        machine(LINK_JOBS)
        assert machine.link("cron") == ""
        machine.boot()
        assert machine("dpkg -i /srv/at.deb")[0] == 0
        machine.container.path(DEFAULTS).write_text("")
        assert machine(LINK_JOBS) == (0, "")
        for name in ("atd", "cron"):
            assert machine.link(name) == ""
            [before] = machine.pids(name)
            assert machine(f"service {name} status")[0] == 0
            assert machine(f"service {name} start")[0] == 0
            assert machine.pids(name) == [before]
            assert machine.link(name) == ""
            assert machine(f"service {name} restart")[0] == 0
            assert machine.goes(name)
            [after] = machine.pids(name)
            assert after != before


def test_what_a_script_runs_until_the_end_is_run_by_its_job_after_the_next_boot(tmp_path: Path) -> None:
    layer = root.BUILD / f"layer-{tmp_path.parent.name}-{tmp_path.name}"
    layer.mkdir()
    try:
        with container(tmp_path, {DEFAULTS: 'SCRIPTS="atd ssh rsyslog"\n'}, layer) as booted:
            machine = Machine(booted)
            machine(LINK_JOBS)
            machine.boot()
            assert machine("dpkg -i /srv/at.deb")[0] == 0
            assert machine("update-rc.d ssh disable")[0] == 0
            machine.container.path(DEFAULTS).write_text("")
            assert machine(LINK_JOBS) == (0, "")
            assert (machine.link("atd"), machine.link("ssh"), machine.link("rsyslog")) == ("", "", "")
            machine.end()
        path, _, _ = run.prepare("upstart", archive.host_release())
        with Container(path, ["/sbin/init"], [], {}, lambda data: None, layer) as booted:
            machine = Machine(booted)
            machine.boot()
            for name, program in (("atd", "atd"), ("rsyslog", "rsyslogd")):
                assert machine.link(name) and machine.goes(name)
                assert len(machine.pids(program)) == 1
            # Switched off before it had a job.
            assert machine("status ssh") == (0, "ssh stop/waiting\n")
            assert machine.pids("sshd") == []
            assert machine("update-rc.d ssh enable && service ssh start")[0] == 0
            assert machine.goes("ssh")
            assert machine("ls -A /etc/init | grep link-later")[1] == ""
    finally:
        subprocess.run(["rm", "-rf", layer], check=True)
