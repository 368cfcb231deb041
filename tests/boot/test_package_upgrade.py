"""Upgrades of our packages, and of what they stand on, under a running init: it goes on, and jobs keep their processes.

A booted Debian of each release serves all tests, with two hundred jobs running; each test leaves it with our packages
installed as they were built. RELEASES, a variable of the environment, names the releases.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import archive
import pytest
import run
from container import Container, wait_for
from layer import Layer
from repack import NEWER, OLDER, repacked

RELEASES = os.environ.get("RELEASES", archive.host_release()).split()
JOBS = 200
JOB = "start on load\nexec sleep 1000000\n"
#: Notes that an event was acted upon, for each that is emitted.
TICK = "start on tick\ntask\ninstance $NUMBER\nexec sh -c 'echo $NUMBER >>/run/ticks'\n"
#: Emits events one after the other until /run/emit is removed, and notes those that were answered.
EMIT = """
number=0
while [ -e /run/emit ]; do
    number=$((number + 1))
    initctl emit tick NUMBER=$number && echo $number >>/run/answered
done
"""
MODULES = "/usr/lib/python3/dist-packages/upstart"
#: A file system for the daemon's modules that has no place for a second copy of them.
SMALL_DISK = f"""
size=$(du -sk --exclude=__pycache__ {MODULES} | cut -f 1)
mount -t tmpfs -o size=$((size + 300))k small /mnt
tar -C {MODULES} --exclude=__pycache__ -cf - . | tar -C /mnt -xf -
mount --move /mnt {MODULES}
"""
FAILING = "#!/bin/sh\nexit 1\n"
KILLING = "#!/bin/sh\nkill -KILL $PPID\n"
#: What init stands on; its interpreter has a version in its name.
GROUND = "libc6 libc-bin python3 python3-minimal python3-dbus $(dpkg-query -W -f '${Package} ' 'python3.*-minimal')"
FETCH = f"""
apt-get -q update
apt-get -q -y --download-only -o Dir::Cache::Archives=/out --reinstall install {GROUND}
"""


class Machine:
    """The booted system and its jobs."""

    def __init__(self, container: Container, release: str, directory: Path) -> None:
        self.container = container
        self.release = release
        self.directory = directory
        self.built = run.packages(release)

    def shell(self, text: str) -> tuple[int, str]:
        done = self.container.run("sh", "-c", f"export DEBIAN_FRONTEND=noninteractive\n{text}", seconds=180)
        return done.returncode, done.stdout

    def need(self, text: str) -> str:
        status, output = self.shell(text)
        assert status == 0, output
        return output

    def put(self, files: list[Path]) -> list[str]:
        """Copies .deb files into the system; their paths there."""
        for path in files:
            self.container.path(f"/run/{path.name}").write_bytes(path.read_bytes())
        return [f"/run/{path.name}" for path in files]

    def version(self, version: str, changed: str = "", scripts: dict[str, str] | None = None) -> list[str]:
        """Our packages as another version; the one called `changed` has these maintainer scripts."""
        directory = Path(tempfile.mkdtemp(dir=self.directory))
        made = [
            repacked(path, version, directory, scripts if path.name.startswith(changed + "_") else None)
            for path in self.built
        ]
        return self.put(made)

    def install(self, packages: list[str] | None = None) -> None:
        """Installs our packages, as they were built or others, after which init is a new program."""
        program = self.program()
        for package in packages or self.put(self.built):
            self.need(f"dpkg --install {package}")
        self.expect_restart(program)

    def program(self) -> bytes:
        """Where the kernel has put the program of PID 1, which is another place for each that is executed."""
        return self.container.path("/proc/1/auxv").read_bytes()

    def expect_restart(self, program: bytes) -> None:
        assert wait_for(lambda: self.program() != program, 60, 0.05)
        assert wait_for(lambda: self.shell("initctl version")[0] == 0, 30, 0.1)

    def pids(self) -> dict[str, str]:
        """Every job that runs, and its process."""
        return dict(re.findall(r"^(\S+) start/running, process (\d+)$", self.need("initctl list"), re.MULTILINE))

    def expect_life(self, before: dict[str, str]) -> None:
        """Every job has the process that it had, and init does what it is there for."""
        assert self.pids() == before
        assert self.need("stop load7 && start load7").startswith("load7 stop/waiting\nload7 start/running")
        self.need("initctl emit tick NUMBER=0")


@pytest.fixture(scope="module", params=RELEASES)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    release = request.param
    directory = tmp_path_factory.mktemp("upgrade")
    path, packages, files = run.prepare("upstart", release)
    for name, text in {**{f"load{number}": JOB for number in range(JOBS)}, "ticker": TICK}.items():
        (directory / f"{name}.conf").write_text(text)
        files[str(directory / f"{name}.conf")] = f"/etc/init/{name}.conf"
    shown = bytearray()
    with Container(path, ["/sbin/init"], packages, files, shown.extend) as container:
        container.boot()
        machine = Machine(container, release, directory)
        assert wait_for(lambda: container.run("runlevel").stdout == "N 2\n", 90, 0.1), shown.decode(errors="replace")
        assert wait_for(lambda: "stop/waiting" in machine.shell("status rc")[1], 90, 0.1)
        machine.need("initctl emit load")
        assert len([name for name in machine.pids() if name.startswith("load")]) == JOBS
        yield machine


def test_an_upgrade_under_load_loses_no_process_and_no_event(machine: Machine) -> None:
    before = machine.pids()
    machine.need("rm -f /run/ticks /run/answered; touch /run/emit /run/ticks /run/answered")
    (machine.container.path("/etc/init/emitter.conf")).write_text(f"script\n{EMIT}\nend script\n")
    machine.need("initctl reload-configuration; start emitter")
    # There and back again.
    machine.install(machine.version(OLDER))
    machine.install()
    ticks = machine.container.path("/run/ticks")
    seen = ticks.stat().st_size
    assert wait_for(lambda: ticks.stat().st_size > seen + 20, 30, 0.1)
    machine.need("rm /run/emit")
    assert wait_for(lambda: "stop/waiting" in machine.shell("status emitter")[1], 30, 0.1)
    machine.need("rm /etc/init/emitter.conf")
    acted = [int(line) for line in ticks.read_text().split()]
    answered = [int(line) for line in machine.container.path("/run/answered").read_text().split()]
    # One after the other, none twice, and none left out but perhaps one that did not reach init at each of the two.
    assert acted == sorted(set(acted)) and set(answered) <= set(acted)
    assert len(acted) >= acted[-1] - 2, [number for number in range(1, acted[-1]) if number not in acted]
    machine.expect_life(before)


@pytest.mark.parametrize(("changed", "script"), [("upstart-core", "preinst"), ("upstart-sysv", "postinst")])
@pytest.mark.parametrize("text", [FAILING, KILLING], ids=["fails", "is killed"])
def test_an_upgrade_that_does_not_get_to_its_end_leaves_the_jobs_alone(
    machine: Machine, changed: str, script: str, text: str
) -> None:
    before = machine.pids()
    packages = machine.version(NEWER, changed, {script: text})
    statuses = [machine.shell(f"dpkg --install {package}")[0] for package in packages]
    assert any(statuses)
    machine.expect_life(before)
    before = machine.pids()
    machine.install()
    assert machine.need("dpkg --audit") == ""
    machine.expect_life(before)


def test_an_upgrade_without_room_leaves_the_jobs_alone(machine: Machine) -> None:
    before = machine.pids()
    package = machine.version(NEWER)[0]
    machine.need(SMALL_DISK)
    try:
        status, output = machine.shell(f"dpkg --force-depends --unpack {package}")
        assert status != 0 and "No space left" in output
        machine.expect_life(before)
        before = machine.pids()
        # What is left on the disk is whole: another program starts from it.
        assert machine.need("dpkg --verify upstart-core") == "", output
        program = machine.program()
        machine.need("telinit u")
        machine.expect_restart(program)
        assert machine.pids() == before
    finally:
        machine.need(f"umount -l {MODULES}")
    machine.install()
    assert machine.need("dpkg --audit") == ""
    machine.expect_life(before)


def test_what_init_stands_on_is_upgraded_under_it(machine: Machine, tmp_path: Path) -> None:
    with Layer(run.prepare("upstart", machine.release)[0], tmp_path / "layer", []) as layer:
        status, output = layer.run(FETCH)
        assert status == 0, output
    fetched = machine.put(sorted((tmp_path / "layer/out").glob("*.deb")))
    before, program = machine.pids(), machine.program()
    assert any("/libc6_" in path for path in fetched) and any("/python3-dbus_" in path for path in fetched)
    machine.need(f"dpkg --install {' '.join(fetched)}")
    # libc6 has init execute itself, so that it uses the new one.
    machine.expect_restart(program)
    machine.expect_life(before)
    before = machine.pids()
    machine.install()
    machine.expect_life(before)


#: Replaces the libraries of init by copies, as an upgrade does.
REPLACE = r"""
for library in $(sed -n 's:.* \(/usr/lib/.*\.so[.0-9]*\)$:\1:p' /proc/1/maps | sort -u); do
    cp -p $library $library.dpkg-new && mv $library.dpkg-new $library
done
grep -q '(deleted)$' /proc/1/maps
"""
#: In the change of runlevel waits until init holds no deleted file any more, and says so.
PROBE = r"""
start on runlevel 6
script
    while grep -q '(deleted)$' /proc/1/maps; do sleep 0.1; done
    echo none >/probed
end script
"""


@pytest.mark.parametrize("release", RELEASES)
def test_at_the_end_init_holds_no_file_that_was_replaced(tmp_path: Path, release: str) -> None:
    # A root file system with such files could not be made read-only.
    path, packages, _ = run.prepare("upstart", release)
    (tmp_path / "probe.conf").write_text(PROBE)
    files = {str(tmp_path / "probe.conf"): "/etc/init/probe.conf"}
    (tmp_path / "layer").mkdir()
    with Container(path, ["/sbin/init"], packages, files, lambda _: None, tmp_path / "layer") as container:
        container.boot()
        machine = Machine(container, release, tmp_path)
        assert wait_for(lambda: container.run("runlevel").stdout == "N 2\n", 90, 0.1)
        assert wait_for(lambda: "stop/waiting" in machine.shell("status rc")[1], 90, 0.1)
        machine.need(REPLACE)
        machine.shell("telinit 6")
        assert container.wait(90) == signal.SIGHUP
    assert (tmp_path / "layer/upper/probed").read_text() == "none\n"
