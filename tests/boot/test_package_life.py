"""The life of our packages on a Debian whose init was systemd: installed, upgraded, failing to be, removed, purged.

Nothing is booted: what happens to a running init is in test_package_upgrade.py. One root of each release serves all
tests; each begins and ends with our packages installed as they were built. RELEASES, a variable of the environment,
names the releases.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import archive
import pytest
import root
import run
from layer import Layer
from repack import NEWER, OLDER, repacked

RELEASES = os.environ.get("RELEASES", archive.host_release()).split()
SYSTEM = "systemd-sysv init udev dbus libpam-systemd dbus-user-session ifupdown iproute2 netbase procps kmod login cron"
#: All that the way in may take away.
REMOVED = {"dbus-user-session", "libpam-systemd", "systemd-sysv"}
APT = "apt-get -q -y -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=true"
#: Words that let apt remove the init of a release: trixie's is protected.
NAMED = {"bookworm": "", "trixie": "--allow-remove-essential systemd-sysv-"}
#: Prints every path with its kind, mode, owner and link; what dpkg and apt themselves keep is left out.
STATE = r"""
find / -xdev \( -path /in -o -path /out -o -path /proc -o -path /dev -o -path /run -o -path /tmp -o -path /var/cache \
    -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/log/dpkg.log -o -path /var/log/apt \) -prune \
    -o -printf '%p %y %m %u:%g %l\n'
cat /var/lib/dpkg/diversions /var/lib/dpkg/statoverride /etc/passwd /etc/group
ls /var/lib/dpkg/alternatives
"""
INFO = "/var/lib/dpkg/info"
FAILING = "#!/bin/sh\nexit 1\n"
#: Kills the dpkg that runs it.
KILLING = "#!/bin/sh\nkill -KILL $PPID\n"


MODULES = "/usr/lib/python3/dist-packages/upstart"
#: Prints the bundles that there are; and how many modules init takes from one.
BUNDLES = f"find {MODULES} -name '*.bundle*' -printf '%u:%g %m %f\\n'"
BUNDLED = "python3 -ISv $(command -v init) --version 2>&1 | grep -c '^import .* # <upstart.base.bundle.Bundle '"
#: A package that changes the modules of the interpreter.
LIBRARY = r"""
directory=/tmp/library$(python3 -c 'import os; print(os.path.dirname(os.__file__))')
mkdir -p $directory /tmp/library/DEBIAN
touch $directory/library.py
printf 'Package: library\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: a test\n' \
    >/tmp/library/DEBIAN/control
dpkg-deb --build /tmp/library /in/library.deb
rm -r /tmp/library
"""
KEPT = ("rc.conf", "tty4.conf", "tty4.override", "tty5.conf", "tty5.conf.dpkg-dist", "tty6.conf.dpkg-dist")
#: Makes the root's file system full but for that many KiB, and the other way round.
FILL = "fallocate -l $(($(df --output=avail -k / | tail -n 1) - {}))K /filler"
FREE = "rm /filler"


Contents = dict[str, str]


def name_of(package: Path) -> str:
    return package.name.partition("_")[0]


class System:
    """A root and our .deb files to install there, in /in."""

    def __init__(self, layer: Layer, release: str, directory: Path) -> None:
        self.layer = layer
        self.release = release
        self.directory = directory
        #: In the order in which dpkg can install them.
        self.built = run.recommended(release)
        self.names = " ".join(map(name_of, self.built))
        self.own_version = self.built[0].name.split("_")[1]

    def need(self, text: str) -> str:
        """Runs shell text, which must succeed; what it printed."""
        status, output = self.layer.run(text)
        assert status == 0, output
        return output

    def fails(self, text: str) -> str:
        """Runs shell text, which must not succeed; what it printed."""
        status, output = self.layer.run(text)
        assert status != 0, output
        return output

    def offer(self, path: Path) -> str:
        """Copies a file into the root; its path there."""
        (self.layer.path("/in") / path.name).write_bytes(path.read_bytes())
        return f"/in/{path.name}"

    def try_install(self, packages: str, options: str = "") -> tuple[int, str]:
        """Has dpkg install them one by one, as apt does where one is a Pre-Depends of the next."""
        return self.layer.run(f"for package in {packages}; do dpkg {options} --install $package; done")

    def install(self, packages: str = "", options: str = "") -> None:
        """Installs our packages as they were built, or others."""
        status, output = self.try_install(packages or self.current(), options)
        assert status == 0, output

    def current(self) -> str:
        """Paths of our packages as they were built."""
        return " ".join(map(self.offer, self.built))

    def version(
        self, version: str, changed: str = "", scripts: Contents | None = None, files: Contents | None = None
    ) -> str:
        """Paths of our packages as another version; the one called `changed` has these scripts and files."""
        directory = Path(tempfile.mkdtemp(dir=self.directory))
        made = []
        for package in self.built:
            mine = name_of(package) == changed
            made.append(repacked(package, version, directory, scripts if mine else None, files if mine else None))
        return " ".join(map(self.offer, made))

    def installed(self) -> set[str]:
        listed = self.need("dpkg-query -W -f '${db:Status-Status} ${Package}\\n'").splitlines()
        return {name for status, _, name in (line.partition(" ") for line in listed) if status == "installed"}

    def state(self) -> set[str]:
        return set(self.need(STATE).splitlines())

    def expect_sound(self) -> None:
        """All of ours is installed as it was built, and neither dpkg nor apt has a complaint."""
        assert self.need(f"dpkg --verify {self.names}; dpkg --audit; apt-get -qq check") == ""
        shown = self.need(f"dpkg-query -W -f '${{db:Status-Abbrev}}${{Version}}\\n' {self.names}")
        assert shown.splitlines() == [f"ii {self.own_version}"] * len(self.built)


class Way(System):
    """A Debian that ran systemd, with our packages installed by apt as README.Debian says; and what that took."""

    def __init__(self, layer: Layer, release: str, directory: Path) -> None:
        super().__init__(layer, release, directory)
        self.need("apt-get update")
        before = self.installed()
        started = time.monotonic()
        said = self.need(f"{APT} install {NAMED[release]} {self.current()}")
        took = time.monotonic() - started
        after = self.installed()
        self.removed, self.added = before - after, after - before
        (fetched,) = re.findall(r"^Need to get ([^/\n]*)", said, re.MULTILINE)
        self.figures = f"{release}: {took:.0f} s, {fetched} fetched, {len(self.added)} new, removed {self.removed}"


@pytest.fixture(scope="module", params=RELEASES)
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    release = request.param
    base = root.build("systemd-root", release, SYSTEM.split(), "\n", ["--skip=cleanup/apt/lists"])
    directory = tmp_path_factory.mktemp("life")
    with Layer(base, directory / "layer", [], size="1g") as layer:
        yield Way(layer, release, directory)


def test_apt_removes_no_more_than_the_other_init(system: Way) -> None:
    print(system.figures)
    assert system.removed == REMOVED
    assert system.added >= {"upstart-core", "upstart-sysv", "upstart-service"}
    system.expect_sound()


def test_installed_again_newer_or_older_the_files_are_the_same(system: Way) -> None:
    before = system.state()
    for other in (OLDER, NEWER):
        packages = system.version(other)
        # The second time it is the same version again.
        for _ in range(2):
            system.install(packages)
            assert system.state() == before
        system.need(f"{APT} install --allow-downgrades {system.current()}")
        assert system.state() == before
    system.need(f"{APT} install --reinstall {system.current()}")
    assert system.state() == before
    system.expect_sound()


def test_maintainer_scripts_may_run_again(system: Way) -> None:
    before = system.state()
    ran = 0
    for name in system.names.split():
        for script, arguments in (
            ("preinst", f"upgrade {system.own_version}"),
            ("prerm", "upgrade 1000"),
            ("prerm", "failed-upgrade 1000"),
            ("postrm", "upgrade 1000"),
            ("postrm", "failed-upgrade 1000"),
            ("postinst", f"configure {system.own_version}"),
            ("postinst", "abort-upgrade 1000"),
            ("postinst", "abort-remove"),
        ):
            path = f"{INFO}/{name}.{script}"
            if system.layer.path(path).exists():
                for _ in range(2):
                    system.need(f"DPKG_MAINTSCRIPT_PACKAGE={name} DPKG_MAINTSCRIPT_NAME={script} {path} {arguments}")
                ran += 1
    assert ran > len(system.names.split())
    assert system.state() == before
    system.expect_sound()


@pytest.mark.parametrize("changed", ["upstart-core", "upstart-sysv", "upstart-service"])
def test_an_upgrade_that_is_refused_leaves_the_old_version(system: Way, changed: str) -> None:
    before = system.state()
    path = {name_of(Path(word)): word for word in system.version(NEWER, changed, {"preinst": FAILING}).split()}[changed]
    # By itself, so that no other of ours is half way to the new version.
    system.fails(f"dpkg --force-depends --unpack {path}")
    assert system.state() == before
    system.expect_sound()


def test_an_upgrade_whose_disk_is_full_leaves_the_old_version(system: Way) -> None:
    before = system.state()
    big = {f"{MODULES}/big": "x" * 8000000}
    path = system.version(NEWER, "upstart-core", None, big).split()[0]
    system.need(FILL.format(3000))
    try:
        assert "No space left" in system.fails(f"dpkg --force-depends --unpack {path}")
    finally:
        system.need(FREE)
    assert system.state() == before
    system.expect_sound()


def test_compiled_modules_that_a_full_disk_has_cut_short_do_no_harm(system: Way) -> None:
    system.need(f"find {MODULES} -name '*.pyc' -exec truncate -s 200 {{}} + -o -name '*.bundle' -delete")
    for program in ("init", "upstart", "initctl", "telinit", "runlevel", "shutdown", "reboot"):
        assert "upstart" in system.need(f"{program} --version")
    assert "syntax ok" in system.need("init-checkconf /etc/init/rc.conf")
    system.install()
    system.expect_sound()


def test_init_loads_its_modules_from_a_file_that_comes_and_goes_with_them(system: Way) -> None:
    before = system.need(BUNDLES)
    assert before.startswith("root:root 644 main.cpython-3") and before.count("\n") == 1
    modules = int(system.need(BUNDLED))
    assert modules > 100
    # Whatever is done to it, it is no more than a file that is not used, and the next version has its own.
    for damage in ("truncate -s 100000", "truncate -s 100", "truncate -s 0", "rm"):
        system.need(f"find {MODULES} -name '*.bundle' -exec {damage} {{}} +")
        assert "upstart" in system.need("init --version")
        assert int(system.need(f"{BUNDLED} || :")) < modules
        system.install()
        assert (system.need(BUNDLES), int(system.need(BUNDLED))) == (before, modules)
    core = system.version(NEWER, "upstart-core").split()[0]
    system.need(f"dpkg --force-depends --unpack {core}")
    assert system.need(BUNDLES) == ""
    assert "upstart" in system.need("init --version")
    system.install()
    assert (system.need(BUNDLES), int(system.need(BUNDLED))) == (before, modules)


def test_another_interpreter_and_other_modules_of_its_own_have_it_made_anew(system: Way) -> None:
    before = system.need(BUNDLES)
    forget = f"find {MODULES} -name '*.bundle' -delete"
    system.need(f"{forget}; dpkg-trigger --by-package=bare /usr/bin/python3 && dpkg --triggers-only -a")
    assert system.need(BUNDLES) == before
    system.need(LIBRARY)
    for command in ("dpkg --install /in/library.deb", "dpkg --purge library"):
        system.need(forget)
        system.need(command)
        assert system.need(BUNDLES) == before
    system.expect_sound()


@pytest.mark.parametrize("script", ["preinst", "postinst"])
def test_an_upgrade_whose_dpkg_was_killed_can_be_completed(system: Way, script: str) -> None:
    before = system.state()
    broken = system.version(NEWER, "upstart-sysv", {script: KILLING})
    assert system.try_install(broken)[0] != 0
    assert system.need("dpkg --audit") != ""
    if script == "postinst":
        # All is unpacked; without that script dpkg gets to the end.
        system.need(f"rm {INFO}/upstart-sysv.postinst && dpkg --configure --pending")
        assert system.need("dpkg --audit") == ""
    system.install()
    assert system.state() == before
    system.expect_sound()


def test_an_upgrade_that_cannot_be_configured_is_completed_by_the_next_version(system: Way) -> None:
    before = system.state()
    for changed in ("upstart-core", "upstart-sysv"):
        assert system.try_install(system.version(NEWER, changed, {"postinst": FAILING}))[0] != 0
        assert system.need("dpkg --audit") != ""
        system.install()
        assert system.state() == before
        system.expect_sound()


def test_a_job_that_was_changed_or_removed_stays_so(system: Way) -> None:
    # Both versions differ from what the administrator made of it.
    jobs = {f"/etc/init/{name}.conf": "exec older\n" for name in ("tty5", "tty6", "rc")}
    system.install(system.version(OLDER, "upstart-core", None, jobs))
    system.need("echo exec mine >/etc/init/tty5.conf; echo nice 5 >/etc/init/tty4.override; rm /etc/init/tty6.conf")
    system.install(options="--force-confdef --force-confold")
    kept = system.need("cat /etc/init/tty5.conf /etc/init/tty4.override; ls /etc/init | grep -E 'tty[456]|rc.conf'")
    assert kept.split() == ["exec", "mine", "nice", "5", *KEPT]
    assert "older" not in system.need("cat /etc/init/rc.conf")  # nobody had changed that one
    # The same version again has no question to ask, and brings nothing back.
    system.install()
    assert not system.layer.path("/etc/init/tty6.conf").exists()
    system.need("rm /etc/init/tty4.override /etc/init/tty[56].conf.dpkg-dist")
    system.install(options="--force-confask --force-confnew")
    system.expect_sound()


@pytest.mark.parametrize("release", RELEASES)
def test_a_purge_leaves_no_trace(tmp_path: Path, release: str) -> None:
    # A root in which what they depend on is installed, so that all that is new is theirs.
    lower, _, _ = run.prepare("upstart", release)
    with Layer(lower, tmp_path / "work", [], network=False) as layer:
        system = System(layer, release, tmp_path)
        before = system.state()
        assert system.try_install(system.version(OLDER, "upstart-sysv", {"preinst": FAILING}))[0] != 0
        system.need(f"dpkg --force-remove-protected --purge {system.names}")
        assert system.state() == before
        # A life without incidents, and one with traces of everything.
        system.install(system.version(OLDER))
        system.install()
        system.expect_sound()
        installed = system.state()
        system.need(f"dpkg --purge {system.names}")
        assert system.state() == before
        system.install()
        assert system.state() == installed
        system.need("echo kept >/var/log/upstart/rc.log; echo kept >/var/log/upstart/rc.log.1.gz")
        system.need("cp /etc/init/tty1.conf /etc/init/tty1.conf.dpkg-dist; echo '# mine' >>/etc/init/tty1.conf")
        system.need(f"dpkg --remove {system.names}")
        # Configuration and logs, nothing that would run.
        left = system.state() - before
        assert left and all(line.startswith(("/etc/", "/var/log/upstart")) for line in left)
        assert not any(line.startswith(("/etc/rc", "/etc/init.d")) for line in left)
        system.need(f"dpkg --purge {system.names}")
        assert system.state() == before
