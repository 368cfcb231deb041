"""The test that stands for those of debian/tests: a machine of systemd installs our packages, and reboots with them."""

from __future__ import annotations

import archive
import root

import autopkgtest


def test_a_machine_of_systemd_reboots_into_upstart_and_keeps_its_services() -> None:
    assert autopkgtest.run_all(archive.host_release(), ["install"], show=False)


def test_every_test_of_the_package_is_a_program_and_none_is_forgotten() -> None:
    directory = root.TREE / "tests/autopkgtest"
    programs = {path.name for path in directory.iterdir() if path.stat().st_mode & 0o111}
    assert programs == set(autopkgtest.tests())
