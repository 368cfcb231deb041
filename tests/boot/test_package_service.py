"""upstart-service in a booted Debian: service(8) acts on jobs without a script, and is as before without the package.

One boot of each release serves all tests; RELEASES, a variable of the environment, names the releases.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import archive
import pytest
import root
import run
from container import Container, wait_for

RELEASES = os.environ.get("RELEASES", archive.host_release()).split()
ALONE = "exec sleep 1000021\n"
MANY = "instance $NUMBER\nexec sleep 100002$NUMBER\n"
BROKEN = "pre-start exec false\nexec sleep 1000029\n"
#: As the file of a package that knows nothing of the job.
SCRIPT = "#!/bin/sh\necho script $1\n"


class Machine:
    """The booted system with the package installed; `before` is the program that it puts itself in front of."""

    def __init__(self, container: Container, package: Path) -> None:
        self.container = container
        self.package = package
        self.before = self.program()

    def __call__(self, *argv: str) -> tuple[int, str]:
        """Runs a command: its status, and its output without the process ids."""
        done = self.container.run(*argv, seconds=60)
        return done.returncode, re.sub(r"process \d+", "process N", done.stdout)

    def unknown(self, name: str) -> bool:
        """Whether service(8) does not know `name`; on trixie another message comes before that."""
        status, output = self("service", name, "start")
        return (status, output.splitlines()[-1]) == (1, f"{name}: unrecognized service")

    def program(self) -> bytes:
        return self.container.path("/usr/sbin/service").read_bytes()

    def diversions(self) -> str:
        return self("dpkg-divert", "--list", "/usr/sbin/service")[1]

    def pids(self, mark: str) -> list[str]:
        """Processes that run `sleep MARK`."""
        return self.container.run("pgrep", "-xf", f"sleep {mark}").stdout.split()

    def install(self) -> None:
        self.container.path("/run/service.deb").write_bytes(self.package.read_bytes())
        status, output = self("dpkg", "--install", "/run/service.deb")
        assert status == 0, output


@pytest.fixture(scope="module", params=RELEASES)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    sources = tmp_path_factory.mktemp("service")
    files = {}
    for target, text in {
        "/etc/init/only.conf": ALONE,
        "/etc/init/many.conf": MANY,
        "/etc/init/broken.conf": BROKEN,
        "/etc/init.d/scripted": SCRIPT,
    }.items():
        source = sources / target.replace("/", "-")
        source.write_text(text)
        source.chmod(0o755 if "init.d" in target else 0o644)
        files[str(source)] = target
    path, packages, _ = run.prepare("upstart", request.param)
    (package,) = (root.BUILD / "deb" / request.param).glob("upstart-service_*.deb")
    shown = bytearray()
    with Container(path, ["/sbin/init"], packages, files, shown.extend) as container:
        container.boot()
        assert wait_for(lambda: container.run("runlevel").stdout == "N 2\n", 60, 0.1), shown.decode(errors="replace")
        assert wait_for(lambda: "stop/waiting" in container.run("status", "rc").stdout, 60, 0.1)
        machine = Machine(container, package)
        assert machine.unknown("only")
        machine.install()
        yield machine


def test_a_job_without_a_script_is_a_service(machine: Machine) -> None:
    running, stopped = (0, "only start/running, process N\n"), "only stop/waiting\n"
    assert machine("service", "only", "status") == (3, stopped)
    assert machine("service", "only", "reload")[0] == 7
    assert machine("service", "only", "start") == running
    assert machine("service", "only", "start") == (0, "")
    [before] = machine.pids("1000021")
    assert machine("service", "only", "status") == running
    assert machine("service", "only", "restart") == (0, stopped + running[1])
    assert machine("service", "only", "--full-restart") == (0, stopped + running[1])
    [after] = machine.pids("1000021")
    assert before != after
    assert machine("service", "only", "reload") == (0, "")
    assert wait_for(lambda: machine.pids("1000021") == [], 10)  # what the signal does to a sleep
    assert machine("service", "only", "stop") == (0, "")
    assert machine("service", "only", "polish")[0] == 3
    assert machine("service", "only")[0] == 2


def test_a_job_that_does_not_start_says_so(machine: Machine) -> None:
    status, output = machine("service", "broken", "start")
    assert (status, output.splitlines()[0]) == (1, "start: Job failed to start")


def test_variables_name_an_instance(machine: Machine) -> None:
    assert machine("service", "many", "start", "NUMBER=2") == (0, "many (2) start/running, process N\n")
    assert len(machine.pids("1000022")) == 1
    assert machine("service", "many", "stop", "NUMBER=3") == (1, "stop: Unknown instance: 3\n")
    assert machine("service", "many", "stop", "NUMBER=2") == (0, "many stop/waiting\n")
    assert machine.pids("1000022") == []


def test_all_else_is_left_to_the_program_of_the_distribution(machine: Machine) -> None:
    assert machine("service", "scripted", "polish") == (0, "script polish\n")
    assert machine.unknown("nothing")
    assert machine.unknown("../rc")
    assert machine("service") == machine("service.distrib")
    assert machine("service", "--help")[1].endswith(machine("service.distrib", "--help")[1].partition("<")[2])


def test_status_all_lists_scripts_and_jobs_once(machine: Machine) -> None:
    assert machine("service", "only", "start")[0] == 0
    before, after = machine("service.distrib", "--status-all")[1], machine("service", "--status-all")[1]
    assert set(before.splitlines()) < set(after.splitlines())
    added = after.splitlines()[len(before.splitlines()) :]
    assert " [ + ]  only" in added and " [ - ]  broken" in added
    names = [line.split("]")[1].strip() for line in after.splitlines()]
    assert len(names) == len(set(names)) and "scripted" in names
    assert machine("service", "only", "stop")[0] == 0


def test_under_another_init_the_job_is_not_touched(machine: Machine) -> None:
    hidden = ("unshare", "-m", "sh", "-c", "mkdir -p /run/systemd/system && exec service only start")
    try:
        assert machine(*hidden)[0] != 0
    finally:
        machine("rmdir", "/run/systemd/system", "/run/systemd")
    assert machine("status", "only") == (0, "only stop/waiting\n")


def test_the_packages_scripts_may_run_twice_and_its_removal_brings_the_old_program_back(machine: Machine) -> None:
    diverted = machine.diversions()
    assert diverted == "diversion of /usr/sbin/service to /usr/sbin/service.distrib by upstart-service\n"
    machine.install()
    info = "/var/lib/dpkg/info/upstart-service"
    assert machine(f"{info}.preinst", "upgrade", "0")[0] == 0
    assert machine.diversions() == diverted
    assert machine("service", "only", "status")[0] == 3
    assert machine("dpkg", "--verify", "upstart-service", "init-system-helpers") == (0, "")
    for way in ("--remove", "--purge"):
        assert machine("dpkg", way, "upstart-service")[0] == 0
        assert (machine.diversions(), machine.program()) == ("", machine.before)
        assert not machine.container.path("/usr/sbin/service.distrib").exists()
        assert machine.unknown("only")
        machine.install()


def test_a_link_makes_the_job_known_to_what_packages_call(machine: Machine) -> None:
    def links() -> str:
        found = machine.container.path("/etc").glob("rc[0-6].d/[SK]??only")
        return " ".join(sorted(path.name[0] + path.parent.name[2] for path in found))

    enabled, disabled = "K0 K1 K6 S2 S3 S4 S5", "K0 K1 K2 K3 K4 K5 K6"
    assert machine("update-rc.d", "only", "defaults")[0] != 0
    status, output = machine("invoke-rc.d", "only", "start")
    assert status == 0 and "not found" in output and machine.pids("1000021") == []
    link = machine.container.path("/etc/init.d/only")
    link.symlink_to("/lib/init/upstart-job")
    try:
        for action, state in (("defaults", enabled), ("disable", disabled), ("enable", enabled)):
            assert machine("update-rc.d", "only", action)[0] == 0
            assert links() == state
            # What is disabled is not started by packages.
            assert machine("invoke-rc.d", "only", "start")[0] == 0
            assert (machine.pids("1000021") != []) == (state == enabled)
            assert machine("service", "only", "stop")[0] == 0
        assert machine("update-rc.d", "only", "remove")[0] == 0
        assert links() == ""
    finally:
        link.unlink()


def test_the_manual_page_formats() -> None:
    page = root.TREE / "debian/service/upstart-service.8"
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=dict(os.environ, MANROFFSEQ=""),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
