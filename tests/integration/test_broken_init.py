"""An init whose modules cannot be loaded, as PID 1 of a namespace: the shell that root gets to mend it in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from daemon_init import PROGRAMS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making namespaces needs root")

SULOGIN = """#!/bin/sh
{ env; sed -n 's/^SigIgn:/ignored=/p' /proc/self/status; } | tr -d '\\t' >/told.new
mv /told.new /told
exit 0
"""

ENTER = r"""
mount -t tmpfs tmpfs "$W"
mkdir "$W/upper" "$W/work"
cp "$W.sulogin" "$W/upper/sulogin"
mount -t overlay -o "lowerdir=/usr/sbin,upperdir=$W/upper,workdir=$W/work" overlay /usr/sbin
exec env -i A=b "$W.init"
"""


def test_its_shell_has_what_the_kernel_gave_and_ignores_nothing(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    told = tmp_path / "told"
    text = (PROGRAMS / "init").read_text().replace("sys.path +=", "sys.path += [];")
    for name, script in (("init", text), ("sulogin", SULOGIN.replace("/told", str(told)))):
        (tmp_path / f"work.{name}").write_text(script)
        (tmp_path / f"work.{name}").chmod(0o755)
    enter = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "/bin/sh", "-ec", ENTER]
    init = subprocess.Popen(enter, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "W": str(work)})
    assert init.stderr is not None
    try:
        assert "init: Unable to start: " in init.stderr.readline()
        # It is tried again and again: the second time shows that the first shell has ended.
        assert "init: Unable to start: " in init.stderr.readline()
    finally:
        init.kill()
        init.wait()
        init.stderr.close()
    variables = dict(line.split("=", 1) for line in told.read_text().splitlines())
    assert variables["A"] == "b" and "LC_CTYPE" not in variables
    assert not int(variables["ignored"], 16) & (1 << 12 | 1 << 24)


def test_an_init_with_jobs_that_lacks_even_the_memory_to_look_at_its_environment_tries_again(tmp_path: Path) -> None:
    text = (PROGRAMS / "init").read_text().replace("sys.path +=", "sys.path += [];")
    lacking = "def lacking(*_):\n    raise MemoryError\nos._Environ.__getitem__ = lacking\ntry:\n"
    script = tmp_path / "init"
    script.write_text(text.replace("try:\n", lacking, 1))
    script.chmod(0o755)
    init = subprocess.Popen([script, "--user", "--restart"], stderr=subprocess.PIPE, text=True)
    assert init.stderr is not None
    try:
        for _ in range(2):
            assert "init: Unable to start: " in init.stderr.readline()
        assert init.poll() is None
    finally:
        init.kill()
        init.wait()
        init.stderr.close()
