"""Descriptor limits, AppArmor and ptys: what the process room takes from the system."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from upstart.base.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_XDEV, openat2
from upstart.process import apparmor, limits
from upstart.process.kernel import open_pty, read_file, write_file

SOURCE = str(Path(__file__).resolve().parents[2] / "src")


def test_init_raises_its_descriptor_limit_and_remembers_the_one_jobs_get() -> None:
    code = f"""
import resource, sys
sys.path[:0] = [{SOURCE!r}]
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 600))
from upstart.process import limits
assert limits.raise_descriptors(500) == 500
assert limits.raise_descriptors(50) == 500
assert limits.raise_descriptors(10000) == 600
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (600, 600)
assert limits.original_descriptors() == (100, 600)
limits.restore(limits.dump())
assert limits.original_descriptors() == (100, 600)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_limits_are_refused_with_the_systems_error_number() -> None:
    with pytest.raises(OSError) as caught:
        limits.set_limit(resource.RLIMIT_CORE, 200, 100)
    assert caught.value.errno == errno.EINVAL


class Kernel:
    """An AppArmor of files."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.written: list[tuple[str, bytes]] = []
        monkeypatch.setattr(apparmor, "_ENABLED", str(directory / "enabled"))
        monkeypatch.setattr(apparmor, "PARSER", str(directory / "parser"))
        monkeypatch.setattr(apparmor, "_ELSEWHERE", (str(directory / "container"),))
        monkeypatch.setattr(apparmor, "write_file", lambda path, text: self.written.append((path, text)))
        (directory / "enabled").write_text("Y\n")
        (directory / "parser").touch(0o755)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, monkeypatch)


def test_a_profile_is_switched_to_at_the_next_exec(kernel: Kernel) -> None:
    assert apparmor.available()
    apparmor.switch_at_exec("/usr/sbin/cupsd")
    assert kernel.written == [("/proc/self/attr/apparmor/exec", b"exec /usr/sbin/cupsd")]


@pytest.mark.parametrize("lacking", ["module", "disabled", "parser", "plain parser", "container"])
def test_without_apparmor_nothing_is_switched(kernel: Kernel, lacking: str) -> None:
    directory = kernel.directory
    if lacking == "module":
        (directory / "enabled").unlink()
    elif lacking == "disabled":
        (directory / "enabled").write_text("N\n")
    elif lacking == "parser":
        (directory / "parser").unlink()
    elif lacking == "plain parser":
        (directory / "parser").chmod(0o644)
    else:
        (directory / "container").touch()
    assert not apparmor.available()
    apparmor.switch_at_exec("profile")
    assert not kernel.written


def test_an_older_kernels_file_is_used(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: str, text: bytes) -> None:
        if "apparmor" in path:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        kernel.written.append((path, text))

    monkeypatch.setattr(apparmor, "write_file", write)
    if os.path.exists("/proc/self/attr/apparmor"):
        pytest.skip("a newer kernel")
    apparmor.switch_at_exec("profile")
    assert kernel.written == [("/proc/self/attr/exec", b"exec profile")]


def test_a_pty_is_a_terminal_that_does_not_block_us() -> None:
    master, slave = open_pty()
    try:
        assert os.isatty(slave) and not os.get_blocking(master) and os.get_blocking(slave)
        assert not os.get_inheritable(master) and not os.get_inheritable(slave)
        with pytest.raises(BlockingIOError):
            os.read(master, 1)
        os.write(slave, b"x\n")
        assert os.read(master, 10) == b"x\r\n"
    finally:
        os.close(slave)
    with pytest.raises(OSError) as caught:
        os.read(master, 1)
    assert caught.value.errno == errno.EIO
    os.close(master)


def test_openat2_confines(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with pytest.raises(FileNotFoundError):
            openat2(root, b"link", os.O_RDONLY, RESOLVE_IN_ROOT)
        slash = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with pytest.raises(OSError) as caught:
                openat2(slash, b"proc/self", os.O_RDONLY, RESOLVE_NO_XDEV)
            assert caught.value.errno == errno.EXDEV
        finally:
            os.close(slash)
        fd = openat2(root, b"new", os.O_WRONLY | os.O_CREAT, RESOLVE_IN_ROOT, 0o600)
        assert not os.get_inheritable(fd)
        os.close(fd)
    finally:
        os.close(root)
    write_file(str(tmp_path / "new"), b"12345")
    assert read_file(str(tmp_path / "new")) == b"12345" and read_file(str(tmp_path / "new"), 3) == b"123"
