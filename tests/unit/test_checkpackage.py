"""init-checkconf with a package in the place of a file: .deb, .dsc, a source tree, an unpacked package."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from manual import events
from upstart.tools.checkconf import main
from upstart.tools.checkpackage import check_package
from upstart.tools.knownevents import WELL_KNOWN_EVENTS

JOB = "start on runlevel [2345]\nstop on runlevel [!2345]\nexec sleep 1\n"
NO_SCRIPT = "service, invoke-rc.d and update-rc.d do not find the job (a link to /lib/init/upstart-job lets them)"
LSB_SCRIPT = "#!/bin/sh\n. /lib/lsb/init-functions\n"


class Package:
    """A tree that becomes a package, and the checking of it."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.capsys = capsys
        self.installed = root.parent / "installed"
        self.installed.mkdir()

    def put(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def link(self, name: str) -> None:
        path = self.root / "etc/init.d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to("/lib/init/upstart-job")

    def check(self, path: Path | None = None) -> tuple[int, list[str], list[str]]:
        """Status, lines of output and lines of errors, the package's path left out of them."""
        package = path or self.root
        status = check_package(str(package), True, "upstart:", str(self.installed))
        output, errors = self.capsys.readouterr()
        own = f"File {package}: "
        return status, output.replace(own, "").splitlines(), errors.replace(own, "").splitlines()

    def warnings(self) -> list[str]:
        status, _, errors = self.check()
        assert status == 0
        assert all(line.startswith("WARNING: ") for line in errors)
        return [line.removeprefix("WARNING: ") for line in errors]


@pytest.fixture
def package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Package:
    (tmp_path / "tree").mkdir()
    return Package(tmp_path / "tree", capsys)


def deb(package: Package) -> Path:
    package.put("DEBIAN/control", "Package: web\nVersion: 1\nArchitecture: all\nMaintainer: N <n@n>\nDescription: w\n")
    path = package.root.parent / "web.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", package.root, path], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return path


def source(package: Package, *build_depends: str) -> None:
    """Makes the tree that of a source package with the packages web and web-extra."""
    package.put(
        "debian/control",
        f"Source: web\nMaintainer: N <n@n>\nBuild-Depends: {', '.join(['debhelper', *build_depends])}\n\n"
        "Package: web\nArchitecture: all\nDescription: w\n w\n\nPackage: web-extra\nArchitecture: all\n"
        "Description: w\n w\n",
    )
    package.put(
        "debian/changelog",
        "web (1) unstable; urgency=low\n\n  * .\n\n -- N <n@n>  Mon, 23 Nov 2026 12:00:00 +0000\n",
    )
    package.put("debian/source/format", "3.0 (native)\n")


def test_every_job_of_a_deb_is_checked(package: Package) -> None:
    package.put("etc/init/web.conf", JOB)
    package.put("etc/init/sub/bad.conf", "exec true\nexpect nothing\n")
    package.put("usr/share/upstart/sessions/tray.conf", "start on desktop-start\nexec true\n")
    package.put("etc/init.d/web", LSB_SCRIPT)
    package.put("usr/share/doc/web/etc/init/example.conf", "nonsense\n")
    assert package.check(deb(package)) == (
        1,
        ["etc/init/web.conf: syntax ok", "usr/share/upstart/sessions/tray.conf: syntax ok"],
        [
            "ERROR: etc/init/sub/bad.conf: syntax invalid:",
            "upstart:bad.conf:2: Unknown stanza",
            "WARNING: usr/share/upstart/sessions/tray.conf:1: "
            "start on desktop-start: no job is known that emits this event",
        ],
    )


def test_scripts_in_jobs_are_read_by_the_shell(package: Package) -> None:
    package.put("etc/init/web.conf", "script\nif\nend script\n")
    package.link("web")
    status, _, errors = package.check(deb(package))
    assert status == 1
    assert errors[0] == "ERROR: etc/init/web.conf: shell syntax invalid in script section:"


def test_the_command_takes_packages_too(package: Package, capsys: pytest.CaptureFixture[str]) -> None:
    package.put("etc/init/web.conf", JOB)
    package.link("web")
    path = deb(package)
    assert main(["init-checkconf", str(path)]) == 0
    assert capsys.readouterr().out == f"File {path}: etc/init/web.conf: syntax ok\n"
    assert main(["init-checkconf", str(package.root)]) == 0


def test_what_is_no_package_is_told(package: Package) -> None:
    for name in ("no.deb", "no.dsc"):
        path = package.root / name
        path.write_text("Nothing")
        status, _, errors = package.check(path)
        assert status == 1
        assert errors[0].startswith("ERROR: no Debian ")


def test_a_package_without_jobs_is_fine(package: Package) -> None:
    assert package.check() == (0, ["no jobs"], [])


def test_a_service_without_a_script_or_link_cannot_be_found(package: Package) -> None:
    package.put("etc/init/web.conf", JOB)
    assert package.warnings() == [f"etc/init/web.conf: no /etc/init.d/web: {NO_SCRIPT}"]
    package.link("web")
    assert package.warnings() == []


@pytest.mark.parametrize("stanza", ["task", "instance $NAME"])
def test_what_is_no_service_needs_no_script(package: Package, stanza: str) -> None:
    package.put("etc/init/web.conf", JOB + stanza + "\n")
    assert package.warnings() == []


@pytest.mark.parametrize("job", ["web", "web.sh"])
@pytest.mark.parametrize("script", ["web", "web.sh"])
def test_the_script_is_found_as_it_would_find_the_job(package: Package, job: str, script: str) -> None:
    package.put(f"etc/init/{job}.conf", JOB)
    package.put(f"etc/init.d/{script}", "#!/bin/sh\nstart-web\n")
    assert package.warnings() == [
        f"etc/init/{job}.conf: /etc/init.d/{script} does not source /lib/lsb/init-functions:"
        " it starts the service beside the job"
    ]
    package.put(f"etc/init.d/{script}", "#!/usr/bin/env /lib/init/init-d-script\n")
    assert package.warnings() == []


def test_a_link_needs_its_job(package: Package) -> None:
    package.link("web")
    warning = "/etc/init.d/web is a link to /lib/init/upstart-job, but there is no job web"
    assert package.warnings() == [warning]
    package.put("etc/init/web.conf", JOB)
    assert package.warnings() == []
    package.link("upstart-job")
    assert package.warnings() == []


def test_events_are_declared_by_who_emits_them(package: Package) -> None:
    package.put("etc/init/web.conf", "task\nstart on (web-ready or net-device-up IFACE!=lo) and block-device-added\n")
    package.put("etc/init/db.conf", "task\nscript\n  initctl emit --no-wait web-ready A=b\nend script\n")
    assert package.warnings() == [
        "etc/init/db.conf:3: emits web-ready without declaring it (emits web-ready)",
        "etc/init/web.conf:2: start on web-ready: no job is known that emits this event",
    ]
    package.put("etc/init/db.conf", "task\nemits web-*\nscript\n  initctl emit --no-wait web-ready A=b\nend script\n")
    assert package.warnings() == []


def test_the_jobs_of_the_machine_are_known(package: Package) -> None:
    package.put("etc/init/web.conf", "task\nstart on started db or db-ready\nstop on stopping JOB=db or stopped [!x]\n")
    assert package.warnings() == [
        "etc/init/web.conf:2: start on started db: no job of that name is known",
        "etc/init/web.conf:2: start on db-ready: no job is known that emits this event",
        "etc/init/web.conf:3: stop on stopping db: no job of that name is known",
    ]
    (package.installed / "db.conf").write_text("emits db-ready\n")
    assert package.warnings() == []


def test_the_jobs_of_a_package_make_sense_each_and_together(package: Package) -> None:
    package.put("etc/init/web.conf", "task\nstart on started db and starting db\nstop on shutdown\n")
    package.put("etc/init/db.conf", "task\nrespawn limit 1 2\nexec db\nstart on started web\n")
    assert [warning.partition(": ")[0] for warning in package.warnings()] == [
        "etc/init/db.conf:2", "etc/init/db.conf:4", "etc/init/web.conf:2", "etc/init/web.conf:3",
    ]  # fmt: skip


def test_jobs_of_a_source_belong_to_its_packages(package: Package) -> None:
    source(package)
    for name in ("web.upstart-job", "web.more.upstart-job", "web-extra.upstart", "other.upstart-job"):
        package.put(f"debian/{name}", JOB)
    package.put("debian/web.init", LSB_SCRIPT)
    package.put("debian/web/etc/init/built.conf", "nonsense\n")
    package.put("etc/init/upstream.conf", JOB)
    status, output, errors = package.check()
    assert status == 0
    names = ["debian/web-extra.upstart", "debian/web.more.upstart-job", "debian/web.upstart-job"]
    assert output == [f"{name}: syntax ok" for name in [*names, "etc/init/upstream.conf"]]
    assert [re.sub(": service.*", "", line) for line in errors] == [
        "WARNING: debian/web-extra.upstart: no /etc/init.d/web-extra",
        "WARNING: debian/web.more.upstart-job: no /etc/init.d/more",
        "WARNING: etc/init/upstream.conf: no /etc/init.d/upstream",
    ]
    source(package, "dh-sequence-upstart")
    assert package.check()[2] == []


def test_a_source_package_is_unpacked_and_nothing_left(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    source(package, "dh-sequence-upstart")
    package.put("debian/web.upstart-job", JOB)
    subprocess.run(["dpkg-source", "--build", package.root], cwd=package.root.parent, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    temporary = package.root.parent / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    assert package.check(package.root.parent / "web_1.dsc") == (0, ["debian/web.upstart-job: syntax ok"], [])
    assert list(temporary.iterdir()) == []


def test_the_well_known_events_are_those_of_the_manual() -> None:
    assert [row.name for row in events()] == list(WELL_KNOWN_EVENTS)
