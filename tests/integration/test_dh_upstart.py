"""dh-upstart: packages built with it, as a maintainer builds them, and what is in them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
JOB = "start on runlevel [2345]\nstop on runlevel [!2345]\nexec sleep 1000\n"
SCRIPT = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides:          zeta
# Required-Start:    $remote_fs
# Required-Stop:     $remote_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: a service
# Description:       A service with a script and a job.
### END INIT INFO
. /lib/lsb/init-functions
case "$1" in
    start | stop | restart | force-reload | status) ;;
esac
"""
CONTROL = """\
Source: zeta
Section: misc
Priority: optional
Maintainer: Nobody <nobody@example.org>
Build-Depends: debhelper-compat (= 13), dh-sequence-upstart
Standards-Version: 4.6.2
Rules-Requires-Root: no

Package: zeta
Architecture: all
Pre-Depends: ${misc:Pre-Depends}
Depends: ${misc:Depends}
Description: package with a job and a script
 This package is there to be built.

Package: zeta.more
Architecture: all
Pre-Depends: ${misc:Pre-Depends}
Depends: ${misc:Depends}
Description: package with jobs
 This package is there to be built.
"""
OVERRIDES = """\
# What the manual page says to override, and a unit that the test has no need of.
{0}: package-installs-deprecated-upstart-configuration *
{0}: {1}
"""
SOURCES = {
    "changelog": "zeta (1.0) unstable; urgency=medium\n\n  * First.\n\n"
    " -- Nobody <nobody@example.org>  Mon, 23 Nov 2026 12:00:00 +0000\n",
    "control": CONTROL,
    "copyright": "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\n"
    "Copyright: 2026 Nobody <nobody@example.org>\nLicense: public-domain\n Do as you like.\n",
    "rules": "#!/usr/bin/make -f\n%:\n\tdh $@\n",
    "source/format": "3.0 (native)\n",
    "zeta.init": SCRIPT,
    "zeta.upstart-job": JOB,
    "zeta.more.upstart-job": JOB,
    "zeta.more.other.upstart-job": JOB,
    "zeta.more.every.upstart-job": "instance $NAME\n" + JOB,
    "zeta.lintian-overrides": OVERRIDES.format("zeta", "missing-systemd-service-for-init.d-script *"),
    "zeta.more.lintian-overrides": OVERRIDES.format("zeta.more", "init-script-is-not-a-file *"),
}


class Source:
    """A source package, and the means to build it with the tools of this checkout."""

    def __init__(self, directory: Path, texts: dict[str, str] = SOURCES) -> None:
        self.directory = directory
        self.debian = directory / "source" / "debian"
        for name, text in texts.items():
            self.put(name, text)
        (self.debian / "rules").chmod(0o755)
        perl = directory / "perl" / "Debian" / "Debhelper"
        perl.mkdir(parents=True)
        (perl / "Sequence").symlink_to(TREE / "debian/debhelper/Sequence")
        programs = directory / "bin"
        programs.mkdir()
        (programs / "dh_installupstart").symlink_to(TREE / "debian/debhelper/dh_installupstart")
        (programs / "init-checkconf").symlink_to(TREE / "build/sbin/init-checkconf")
        self.environment = dict(
            os.environ,
            LC_ALL="C.UTF-8",
            PATH=f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin",
            PERL5LIB=str(directory / "perl"),
            DH_AUTOSCRIPTDIR=str(TREE / "debian/debhelper/autoscripts"),
        )

    def put(self, name: str, text: str) -> None:
        path = self.debian / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, cwd=self.debian.parent, env=self.environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def build(self) -> subprocess.CompletedProcess[str]:
        """Builds the binary packages; dh-upstart itself need not be installed."""
        return self.run("dpkg-buildpackage", "--no-check-builddeps", "--no-sign", "--build=binary")


def unpacked(package: Path) -> Path:
    """Files of a .deb, and its maintainer scripts below DEBIAN."""
    target = package.with_suffix("")
    subprocess.run(["dpkg-deb", "--raw-extract", package, target], check=True)
    return target


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    source = Source(tmp_path_factory.mktemp("dh-upstart"))
    done = source.build()
    assert done.returncode == 0, done.stdout
    yield source.directory


@pytest.fixture(scope="module")
def zeta(built: Path) -> Path:
    return unpacked(built / "zeta_1.0_all.deb")


@pytest.fixture(scope="module")
def more(built: Path) -> Path:
    return unpacked(built / "zeta.more_1.0_all.deb")


def test_every_job_goes_to_its_package_under_its_name(zeta: Path, more: Path) -> None:
    assert sorted(path.name for path in (zeta / "etc/init").iterdir()) == ["zeta.conf"]
    assert sorted(path.name for path in (more / "etc/init").iterdir()) == ["every.conf", "other.conf", "zeta.more.conf"]
    assert (zeta / "DEBIAN/conffiles").read_text() == "/etc/init.d/zeta\n/etc/init/zeta.conf\n"


def test_a_job_without_a_script_gets_the_link_for_init_d(zeta: Path, more: Path) -> None:
    assert not (zeta / "etc/init.d/zeta").is_symlink()
    for name in ("other", "zeta.more"):
        assert os.readlink(more / "etc/init.d" / name) == "/lib/init/upstart-job"
    assert not os.path.lexists(more / "etc/init.d/every")


def test_a_service_is_registered_started_and_stopped_once(zeta: Path, more: Path) -> None:
    for package, name in ((zeta, "zeta"), (more, "other"), (more, "zeta.more")):
        postinst = (package / "DEBIAN/postinst").read_text()
        assert postinst.count(f"update-rc.d {name} defaults ") == 1
        assert postinst.count(f"{name} $_dh_action ") == 1
        assert (package / "DEBIAN/prerm").read_text().count(f"{name} stop ") == 1
    assert "every" not in (more / "DEBIAN/postinst").read_text()


def test_lintian_finds_nothing(built: Path) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    done = subprocess.run(
        ["lintian", "--allow-root", *map(str, built.glob("*.deb"))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env=dict(os.environ, TMPDIR=str(built)),
    )  # fmt: skip
    assert [line for line in done.stdout.splitlines() if line[:3] in ("E: ", "W: ")] == []


def maintain(root: Path, script: Path, *arguments: str) -> None:
    """Runs a maintainer script as dpkg does from outside of an unpacked system, in which nothing may be started."""
    subprocess.run([script, *arguments], check=True, env={"DPKG_ROOT": str(root), "PATH": os.defpath})


def test_a_removal_switches_the_job_off_and_a_purge_takes_all_of_it(tmp_path: Path, more: Path) -> None:
    jobs = tmp_path / "etc/init"
    jobs.mkdir(parents=True)
    (jobs / "other.conf").write_text(JOB)
    (jobs / "other.override").write_text("nice 5\n")
    logs = tmp_path / "var/log/upstart"
    logs.mkdir(parents=True)
    (logs / "other.log.1.gz").touch()
    (logs / "another.log").touch()
    maintain(tmp_path, more / "DEBIAN/postrm", "remove")
    assert (jobs / "other.override").read_text() == "nice 5\nmanual # zeta.more was removed\n"
    maintain(tmp_path, more / "DEBIAN/preinst", "install", "1.0")
    assert (jobs / "other.override").read_text() == "nice 5\n"
    maintain(tmp_path, more / "DEBIAN/postrm", "remove")
    (jobs / "other.conf").unlink()  # which dpkg does before it calls this
    maintain(tmp_path, more / "DEBIAN/postrm", "purge")
    assert list(jobs.iterdir()) == []
    assert [path.name for path in logs.iterdir()] == ["another.log"]


def test_a_job_that_is_not_valid_ends_the_build(tmp_path: Path) -> None:
    source = Source(tmp_path)
    source.put("zeta.upstart-job", JOB + "expect nothing\n")
    done = source.run("dh", "binary")
    assert done.returncode != 0
    assert "zeta.conf:4: Unknown stanza" in done.stdout


def test_the_options_of_the_program_are_those_of_its_manual_page() -> None:
    text = (TREE / "debian/debhelper/dh_installupstart").read_text()
    known = {"-n", "--no-scripts", "--name", "--error-handler"}  # which debhelper reads for every program
    for names in re.findall(r"^\t'([\w|!-]+)' => ", text, re.M):
        for name in names.rstrip("!").split("|"):
            known.add(f"-{name}" if len(name) == 1 else f"--{name}")
            if names.endswith("!") and len(name) > 1:
                known.add(f"--no-{name}")
    entries = "".join(re.findall(r"^=item (B<-.*)", text, re.M))
    assert known == set(re.findall(r"B<(-[\w-]+)", entries))
    assert "--no-start" in known


def manual() -> list[str]:
    """What the manual page of dh_installupstart shows to be copied: its verbatim paragraphs."""
    pod = (TREE / "debian/debhelper/dh_installupstart").read_text()
    shown = re.findall(r"\n\n((?: {4}.*\n(?:\n(?= {4}))?)+)", "".join(re.findall(r"^=.*?^=cut$", pod, re.M | re.S)))
    return [re.sub(r"(?m)^ {4}", "", text) for text in shown]


def test_a_package_made_by_the_manual_page_is_what_the_page_says(tmp_path: Path) -> None:
    build_depends, overrides, job, rules = manual()
    assert build_depends.startswith("Build-Depends: ") and "PACKAGE: " in overrides
    control = re.sub(r"Build-Depends: .*\n", build_depends, CONTROL.partition("\n\nPackage: zeta.more")[0])
    texts = {
        "changelog": SOURCES["changelog"].replace("zeta", "web"),
        "control": control.replace("zeta", "web") + "\n",
        "copyright": SOURCES["copyright"],
        "rules": SOURCES["rules"] + "\n" + re.sub(r"(?m)^ {4}", "\t", rules),
        "source/format": SOURCES["source/format"],
        "web.upstart-job": job,
        "web.web-cleaner.upstart-job": JOB,
        "web.lintian-overrides": overrides.replace("PACKAGE", "web"),
    }
    source = Source(tmp_path, texts)
    (source.debian / "rules").chmod(0o755)
    done = source.build()
    assert done.returncode == 0, done.stdout
    web = unpacked(tmp_path / "web_1.0_all.deb")
    assert (web / "etc/init/web.conf").read_text() == job
    assert {path.name for path in (web / "etc/init.d").iterdir()} == {"web", "web-cleaner"}
    postinst = (web / "DEBIAN/postinst").read_text()
    assert "web $_dh_action" in postinst and "web-cleaner $_dh_action" not in postinst
    if shutil.which("lintian") is not None:
        found = subprocess.run(
            ["lintian", "--allow-root", str(tmp_path / "web_1.0_all.deb")], text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=dict(os.environ, TMPDIR=str(tmp_path)),
        )  # fmt: skip
        assert not re.search(r"^[EW]: ", found.stdout, re.M), found.stdout


def test_options_change_what_maintainer_scripts_do(tmp_path: Path) -> None:
    source = Source(tmp_path)
    source.put(
        "rules",
        "#!/usr/bin/make -f\n%:\n\tdh $@\n\n"
        "override_dh_installupstart:\n"
        "\tdh_installupstart --name=zeta\n"
        "\tdh_installupstart --name=other --no-start\n"
        "\tdh_installupstart --name=zeta.more --no-enable --no-restart-after-upgrade --error-handler=failed\n",
    )
    done = source.run("dh", "binary")
    assert done.returncode == 0, done.stdout
    more = unpacked(tmp_path / "zeta.more_1.0_all.deb")
    postinst, preinst, prerm = ((more / "DEBIAN" / name).read_text() for name in ("postinst", "preinst", "prerm"))
    assert "update-rc.d other defaults >" in postinst
    assert "other start" not in postinst and "other stop" not in preinst + prerm
    assert "update-rc.d zeta.more defaults-disabled " in postinst
    assert "zeta.more start || failed" in postinst
    assert "zeta.more stop || failed" in preinst
    assert not os.path.lexists(more / "etc/init/every.conf")
