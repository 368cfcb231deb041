"""The controllers that a system's init enables for whoever makes groups of its own: Docker, libvirt, cgroup stanzas."""

from __future__ import annotations

from pathlib import Path

import pytest

from upstart.process import group
from upstart.process.cgroup import Cgroups


class Kernel:
    """A group's directory whose files are read and written as the kernel's are: what is enabled adds up."""

    def __init__(self, directory: Path, controllers: str, enabled: str = "") -> None:
        self.control = directory / "cgroup.subtree_control"
        (directory / "cgroup.controllers").write_text(controllers + "\n")
        self.control.write_text(enabled + "\n")
        self.refused: set[str] = set()

    def write(self, path: str, data: bytes) -> None:
        assert path == str(self.control)
        words = data.decode().split()
        if self.refused.intersection(words):
            raise OSError(16, "Device or resource busy", path)
        known = self.control.read_text().split()
        self.control.write_text(" ".join([*known, *(word.removeprefix("+") for word in words)]) + "\n")

    def enabled(self) -> list[str]:
        return self.control.read_text().split()


def offered(directory: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    cgroups = Cgroups(str(directory))
    monkeypatch.setattr(group, "write_file", kernel.write)
    cgroups.offer_controllers()
    cgroups.close()
    return kernel.enabled()


def test_what_container_runtimes_need_is_enabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(tmp_path, "cpuset cpu io memory hugetlb pids rdma misc", "hugetlb")
    assert sorted(offered(tmp_path, kernel, monkeypatch)) == ["cpu", "hugetlb", "io", "memory", "pids"]


def test_what_the_kernel_lacks_or_refuses_keeps_nothing_else_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(tmp_path, "cpu memory pids")
    kernel.refused.add("+cpu")
    assert sorted(offered(tmp_path, kernel, monkeypatch)) == ["memory", "pids"]


def test_where_there_is_no_hierarchy_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroups = Cgroups(str(tmp_path / "none"))
    cgroups.offer_controllers()
    cgroups.close()
    monkeypatch.setattr("upstart.process.cgroup.find_own", lambda: None)
    Cgroups().offer_controllers()
