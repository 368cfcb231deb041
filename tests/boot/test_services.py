"""service(8), invoke-rc.d(8), update-rc.d(8) and the scripts themselves, in a booted Debian: for a job, a script, both.

One boot serves all tests of this file. Each test finds the services it names running, and leaves them so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import archive
import pytest
import root
import run
from container import Container, wait_for

#: A service of both kinds: what its script does is recorded, for it must never be reached.
BOTH_JOB = """\
start on runlevel [2345]
stop on runlevel [!2345]
exec sleep 1000001
"""
BOTH_SCRIPT = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides:          both
# Required-Start:    $remote_fs
# Required-Stop:     $remote_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: a service that has a job too
### END INIT INFO
set -eu
. /lib/lsb/init-functions
echo "$1" >>/run/both.reached
if init_is_upstart; then echo left to the job; fi
"""
#: A service that has a job only, with its link in init.d.
ALONE_JOB = """\
start on runlevel [2345]
stop on runlevel [!2345]
respawn
exec sleep 1000002
"""
#: One that no event starts.
HELD_JOB = """\
start on runlevel [2345]
stop on runlevel [!2345]
manual
exec sleep 1000003
"""
#: A script without a job that goes the way of seven of Debian's: it leaves its service to Upstart where that runs.
SCRIPT = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides:          script
# Required-Start:    $remote_fs
# Required-Stop:     $remote_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: a service without a job
### END INIT INFO
. /lib/lsb/init-functions
case $1 in
    start)
        init_is_upstart && exit 1
        touch /run/script.up
        ;;
    stop)
        init_is_upstart && exit 0
        rm -f /run/script.up
        ;;
    status)
        [ -e /run/script.up ] || exit 3
        echo up
        ;;
esac
"""
#: Counts the events of the network.
NETWORK_JOB = """\
start on net-device-up or net-device-down or static-network-up
task
instance $UPSTART_EVENTS${IFACE:-}
exec echo $UPSTART_EVENTS $IFACE $ADDRFAM $METHOD >>/run/network.events
"""
FILES = {
    "/etc/init/both.conf": BOTH_JOB,
    "/etc/init.d/both": BOTH_SCRIPT,
    "/etc/init/alone.conf": ALONE_JOB,
    "/etc/init/held.conf": HELD_JOB,
    "/etc/init.d/script": SCRIPT,
    "/etc/init/network-events.conf": NETWORK_JOB,
}


class Machine:
    """The booted system, as its administrator sees it."""

    def __init__(self, container: Container) -> None:
        self.container = container

    def __call__(self, *argv: str) -> tuple[int, str]:
        """Runs a command: its status, and its output without the process ids."""
        done = self.container.run(*argv, seconds=30)
        return done.returncode, re.sub(r"process \d+", "process N", done.stdout)

    def shell(self, text: str) -> tuple[int, str]:
        return self("/bin/sh", "-c", text)

    def text(self, path: str) -> str:
        """A file inside; "" if there is none."""
        try:
            return self.container.path(path).read_text()
        except FileNotFoundError:
            return ""

    def pids(self, mark: str) -> list[str]:
        """Processes that run `sleep MARK`."""
        return self.container.run("pgrep", "-xf", f"sleep {mark}").stdout.split()

    def put(self, path: str, text: str) -> None:
        file = self.container.path(path)
        file.write_text(text)
        file.chmod(0o755)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    sources = tmp_path_factory.mktemp("services")
    files = {}
    for target, text in FILES.items():
        source = sources / target.replace("/", "-")
        source.write_text(text)
        source.chmod(0o755 if "init.d" in target else 0o644)
        files[str(source)] = target
    path, packages, native = run.prepare("upstart", archive.host_release())
    shown = bytearray()
    with Container(path, ["/sbin/init"], packages, files | native, shown.extend) as container:
        link_services(container)
        container.boot()
        machine = Machine(container)
        booted = wait_for(lambda: machine("runlevel") == (0, "N 2\n"), 60, 0.1)
        ended = booted and wait_for(lambda: "stop/waiting" in machine("status", "rc")[1], 60, 0.1)
        assert ended, shown.decode(errors="replace")
        yield machine


def link_services(container: Container) -> None:
    """Makes the links that packages ship, and has them registered as their maintainer scripts do, before the boot."""
    for name in ("alone", "held"):
        container.path(f"/etc/init.d/{name}").symlink_to("/lib/init/upstart-job")
    for name in ("both", "script", "alone", "held"):
        done = container.run("update-rc.d", name, "defaults")
        assert done.returncode == 0, done.stdout


def test_a_service_with_both_is_started_by_its_job_alone(machine: Machine) -> None:
    assert machine("status", "both") == (0, "both start/running, process N\n")
    assert machine.container.path("/etc/rc2.d/S01both").is_symlink()
    assert len(machine.pids("1000001")) == 1
    assert machine.text("/run/both.reached") == ""


def test_a_script_without_a_job_is_no_business_of_the_init(machine: Machine) -> None:
    assert machine("service", "script", "status") == (0, "up\n")
    assert machine("service", "script", "stop")[0] == 0
    assert machine("service", "script", "status")[0] == 3
    assert machine("invoke-rc.d", "script", "start")[0] == 0
    assert machine("service", "script", "status")[0] == 0


@pytest.mark.parametrize(("name", "mark"), [("both", "1000001"), ("alone", "1000002")])
def test_service_acts_on_the_job(machine: Machine, name: str, mark: str) -> None:
    running = f"{name} start/running, process N\n"
    stopped = f"{name} stop/waiting\n"
    [before] = machine.pids(mark)
    assert machine("service", name, "status") == (0, running)
    assert machine("service", name, "start") == (0, "")
    assert machine.pids(mark) == [before]
    assert machine("service", name, "restart") == (0, stopped + running)
    [after] = machine.pids(mark)
    assert after != before
    assert machine("service", name, "stop") == (0, stopped)
    assert machine.pids(mark) == []
    assert machine("service", name, "stop") == (0, "")
    assert machine("service", name, "status") == (3, stopped)
    assert machine("service", name, "try-restart") == (0, "")
    assert machine("service", name, "reload")[0] == 7
    assert machine("service", name, "restart") == (0, running)
    assert len(machine.pids(mark)) == 1
    assert machine.text("/run/both.reached") == ""


@pytest.mark.parametrize("path", ["/etc/init.d/both", "/etc/rc2.d/S01both", "/etc/init.d/alone", "/etc/rc2.d/S01alone"])
def test_scripts_and_their_links_act_on_the_job(machine: Machine, path: str) -> None:
    name = path.removeprefix("/etc/rc2.d/S01").removeprefix("/etc/init.d/")
    assert machine(path, "stop") == (0, f"{name} stop/waiting\n")
    assert machine(path, "start") == (0, f"{name} start/running, process N\n")


def test_reload_signals_the_job(machine: Machine) -> None:
    [before] = machine.pids("1000002")
    assert machine("service", "alone", "reload") == (0, "")
    # The signal ends a sleep, and the job is respawned.
    assert wait_for(lambda: machine.pids("1000002") not in ([], [before]), 10)


def test_an_action_of_the_script_itself_reaches_it(machine: Machine) -> None:
    assert machine("service", "both", "rotate") == (0, "left to the job\n")
    assert machine.text("/run/both.reached") == "rotate\n"
    machine.container.path("/run/both.reached").unlink()


def test_invoke_rc_d_acts_on_the_job(machine: Machine) -> None:
    for name in ("both", "alone"):
        assert machine("invoke-rc.d", name, "stop") == (0, f"{name} stop/waiting\n")
        assert machine("invoke-rc.d", name, "start") == (0, f"{name} start/running, process N\n")
        assert machine("invoke-rc.d", "--query", name, "start") == (104, "")


def test_policy_rc_d_is_honoured(machine: Machine) -> None:
    machine.put("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
    try:
        for name, mark in (("both", "1000001"), ("alone", "1000002")):
            before = machine.pids(mark)
            assert machine("invoke-rc.d", "--disclose-deny", name, "restart")[0] == 101
            assert machine("invoke-rc.d", "--disclose-deny", name, "stop")[0] == 101
            assert machine.pids(mark) == before
    finally:
        machine.container.path("/usr/sbin/policy-rc.d").unlink()


def test_a_disabled_service_is_not_started_by_packages(machine: Machine) -> None:
    assert machine("update-rc.d", "alone", "disable")[0] == 0
    try:
        assert machine("invoke-rc.d", "--disclose-deny", "alone", "restart")[0] == 101
    finally:
        assert machine("update-rc.d", "alone", "enable")[0] == 0
    assert machine("invoke-rc.d", "--query", "alone", "restart") == (104, "")


def test_packages_leave_a_stopped_job_alone_that_no_event_starts(machine: Machine) -> None:
    assert machine.shell("DPKG_MAINTSCRIPT_PACKAGE=held invoke-rc.d held restart") == (0, "")
    assert machine("status", "held") == (0, "held stop/waiting\n")
    assert machine("service", "held", "start") == (0, "held start/running, process N\n")
    restarted = machine.shell("DPKG_MAINTSCRIPT_PACKAGE=held invoke-rc.d held restart")
    assert restarted == (0, "held stop/waiting\nheld start/running, process N\n")
    assert machine("service", "held", "stop") == (0, "held stop/waiting\n")


def test_what_a_change_of_runlevel_started_may_call_scripts(machine: Machine) -> None:
    # A daemon that rc has started hands this on to all that it runs.
    assert machine.shell("UPSTART_JOB=rc /etc/init.d/both stop") == (0, "both stop/waiting\n")
    assert machine.shell("UPSTART_JOB=rc /etc/init.d/both start") == (0, "both start/running, process N\n")


def test_a_job_may_run_the_script_of_its_name(machine: Machine) -> None:
    assert machine.shell("UPSTART_JOB=both /etc/init.d/both start") == (0, "")
    assert machine.text("/run/both.reached") == "start\n"
    machine.container.path("/run/both.reached").unlink()


def test_in_a_chroot_the_jobs_outside_are_out_of_reach(machine: Machine) -> None:
    enter = """
        mount -t tmpfs chroot /mnt
        for name in bin sbin lib lib64 usr etc run proc; do
            if [ -L /$name ]; then cp -P /$name /mnt; elif [ -d /$name ]; then
                mkdir /mnt/$name
                mount --rbind /$name /mnt/$name
            fi
        done
        exec chroot /mnt /etc/init.d/alone stop
    """
    status, output = machine("unshare", "-m", "sh", "-c", enter)
    assert status == 0
    assert "Upstart is not running here" in output
    assert len(machine.pids("1000002")) == 1


def test_services_keep_their_processes_from_one_runlevel_to_the_next(machine: Machine) -> None:
    before = machine.pids("1000001"), machine.pids("1000002")
    for runlevel, answer in (("3", "2 3\n"), ("2", "3 2\n")):
        assert machine("telinit", runlevel) == (0, "")
        assert wait_for(lambda answer=answer: machine("runlevel") == (0, answer), 20, 0.05)  # type: ignore[misc]
        assert wait_for(lambda: "stop/waiting" in machine("status", "rc")[1], 20, 0.05)
    assert (machine.pids("1000001"), machine.pids("1000002")) == before
    assert machine("service", "script", "status")[0] == 0
    assert machine.text("/run/both.reached") == ""


def test_every_service_is_listed(machine: Machine) -> None:
    status, output = machine("service", "--status-all")
    assert status == 0
    for name in ("both", "alone", "script", "cron", "memcached"):
        assert f" [ + ]  {name}\n" in output
    assert " [ - ]  held\n" in output


def test_interfaces_are_events_and_the_network_is_complete_once(machine: Machine) -> None:
    up, down, complete = "net-device-up lo inet loopback", "net-device-down lo inet loopback", "static-network-up"

    def seen() -> list[str]:
        return [line.strip() for line in machine.text("/run/network.events").splitlines()]

    assert wait_for(lambda: complete in seen(), 10)
    assert machine.shell("ifdown lo && ifup lo")[0] == 0
    assert wait_for(lambda: seen().count(up) == 2 and down in seen(), 10)
    assert seen().count(complete) == 1


def test_a_link_without_its_job_says_so(machine: Machine) -> None:
    link = machine.container.path("/etc/init.d/nothing")
    link.symlink_to("/lib/init/upstart-job")
    try:
        assert machine("service", "nothing", "start") == (
            5, "/etc/init.d/nothing: there is no job nothing (/etc/init/nothing.conf)\n"
        )  # fmt: skip
        assert machine("service", "nothing", "stop")[0] == 0
    finally:
        link.unlink()


def package(directory: Path, version: str) -> Path:
    """A package with a job and nothing else, built with the tools of this checkout."""
    debian = directory / version / "debian"
    debian.mkdir(parents=True)
    (debian / "control").write_text(
        "Source: packaged\nSection: misc\nPriority: optional\nMaintainer: Nobody <nobody@example.org>\n"
        "Build-Depends: debhelper-compat (= 13), dh-sequence-upstart\n\n"
        "Package: packaged\nArchitecture: all\nDescription: job\n It is there to be installed.\n"
    )
    (debian / "changelog").write_text(
        f"packaged ({version}) unstable; urgency=low\n\n  * .\n\n"
        " -- Nobody <nobody@example.org>  Mon, 23 Nov 2026 12:00:00 +0000\n"
    )
    (debian / "rules").write_text("#!/usr/bin/make -f\n%:\n\tdh $@\n")
    (debian / "packaged.upstart-job").write_text(ALONE_JOB.replace("1000002", f"100000{version}"))
    perl = debian.parent / "perl/Debian/Debhelper"
    perl.mkdir(parents=True)
    (perl / "Sequence").symlink_to(root.TREE / "debian/debhelper/Sequence")
    programs = debian.parent / "bin"
    programs.mkdir()
    (programs / "dh_installupstart").symlink_to(root.TREE / "debian/debhelper/dh_installupstart")
    (programs / "init-checkconf").symlink_to(root.TREE / "build/sbin/init-checkconf")
    done = subprocess.run(
        ["dh", "binary"],
        cwd=debian.parent,
        env=dict(
            os.environ,
            PATH=f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin",
            PERL5LIB=str(debian.parent / "perl"),
            DH_AUTOSCRIPTDIR=str(root.TREE / "debian/debhelper/autoscripts"),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return directory / f"packaged_{version}_all.deb"


@pytest.mark.skipif(shutil.which("dh") is None, reason="debhelper is not installed")
def test_a_package_with_a_job_is_started_upgraded_stopped_and_gone(machine: Machine, tmp_path: Path) -> None:
    def install(version: str) -> None:
        built = package(tmp_path, version)
        machine.container.path("/run/packaged.deb").write_bytes(built.read_bytes())
        status, output = machine("dpkg", "--install", "/run/packaged.deb")
        assert status == 0, output

    def running() -> list[int]:
        return [len(machine.pids(f"100000{version}")) for version in ("7", "8")]

    machine.put("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
    install("7")
    assert running() == [0, 0]
    machine.container.path("/usr/sbin/policy-rc.d").unlink()
    assert machine("dpkg", "--purge", "packaged")[0] == 0
    shutil.rmtree(tmp_path)

    install("7")
    assert running() == [1, 0]
    install("8")
    assert running() == [0, 1]
    assert machine("dpkg", "--remove", "packaged")[0] == 0
    assert running() == [0, 0]
    assert machine("initctl", "emit", "runlevel", "RUNLEVEL=2")[0] == 0
    assert running() == [0, 0]
    assert machine("dpkg", "--install", "/run/packaged.deb")[0] == 0
    assert running() == [0, 1]
    assert machine("dpkg", "--purge", "packaged")[0] == 0
    assert running() == [0, 0]
    left = machine.shell("find / -xdev -name '*packaged*' -not -path '/proc/*' -not -path '/run/*'")
    assert left == (0, "")
    assert machine("status", "packaged")[0] == 1


def test_completion_offers_the_jobs_that_make_sense(machine: Machine) -> None:
    completion = Path(root.TREE) / "etc/bash-completion/initctl"
    program = f"""
    {completion.read_text()}
    complete_words() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _initctl; echo "${{COMPREPLY[*]}}"; }}
    complete_words start he
    complete_words stop al
    complete_words stop he
    complete_words initctl emit static-n
    complete_words initctl reload-c
    """
    done = subprocess.run(
        machine.container.enter("bash", "-c", program), stdout=subprocess.PIPE, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines() == ["held", "alone", "", "static-network-up", "reload-configuration"]
