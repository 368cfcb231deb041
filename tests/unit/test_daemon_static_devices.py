"""The nodes by which modules are loaded that nothing else asks for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from upstart.daemon import boot

TEXT = """# Device nodes to trigger on-demand module loading.
fuse fuse c10:229
tun net/tun c10:200
btrfs btrfs-control c10:234
loop loop-control b7:237
there there c1:3
deep a/b/c c10:1
half
wrong wrong x10:1
wrong wrong cten:1
wrong wrong c10
big big c99999999999999999999:1
"""


def test_are_those_that_the_modules_of_the_kernel_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, tuple[int, int]] = {}

    def mknod(path: str, mode: int, device: int) -> None:
        if path in made or path.endswith("/there"):
            raise FileExistsError
        assert Path(path).parent.is_dir()
        made[path] = mode, device

    monkeypatch.setattr(os, "mknod", mknod)
    monkeypatch.setattr(boot, "DEVICES", str(tmp_path / "dev"))
    monkeypatch.setattr(boot, "MODULES", str(tmp_path))
    (tmp_path / "dev").mkdir()
    boot.prepare_static_devices()
    assert not made
    modules = tmp_path / os.uname().release
    modules.mkdir()
    (modules / "modules.devname").write_text(TEXT)
    before = os.umask(0)
    try:
        boot.prepare_static_devices()
    finally:
        os.umask(before)
    c, b = stat.S_IFCHR | 0o600, stat.S_IFBLK | 0o600
    assert {Path(path).relative_to(tmp_path / "dev").as_posix(): node for path, node in made.items()} == {
        "fuse": (c, os.makedev(10, 229)), "net/tun": (c, os.makedev(10, 200)),
        "btrfs-control": (c, os.makedev(10, 234)), "loop-control": (b, os.makedev(7, 237)),
        "a/b/c": (c, os.makedev(10, 1)),
    }  # fmt: skip
    assert {stat.S_IMODE((tmp_path / "dev" / name).stat().st_mode) for name in ("net", "a", "a/b")} == {0o755}
    (modules / "modules.devname").write_bytes(b"fuse \xff c10:229\n")
    boot.prepare_static_devices()
