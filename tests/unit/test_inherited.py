"""What a program that we execute inherits: nothing of what the interpreter has changed for itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = str(Path(__file__).resolve().parents[2] / "src")

#: Children by all the ways in which one gets an environment; each shows its own, and the signals that it ignores.
SHOW = r"""
import sys
sys.path[:0] = [SOURCE]
import posix
from upstart.base import inherited
if LOADED:
    import os
assert b"LC_CTYPE" in posix.environ  # the interpreter's own
environment = inherited.environment()
words = ["sh", "-c", 'echo "${LC_CTYPE-none}" ${OWN-none} $DBUS_FATAL_WARNINGS']
def child(env):
    posix.waitpid(posix.posix_spawn("/bin/sh", words, env), 0)
child(environment)
child(posix.environ)
import os
child(os.environ)
if posix.fork() == 0:
    os.execv("/bin/sh", words)
os.wait()
"""


def children(loaded: bool, **given: str) -> list[str]:
    code = SHOW.replace("SOURCE", repr(SOURCE)).replace("LOADED", repr(loaded))
    return subprocess.run(
        [sys.executable, "-IS", "-c", code], env=given, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()


@pytest.mark.parametrize("loaded", [True, False])
def test_the_locale_is_the_one_that_we_were_given(loaded: bool) -> None:
    assert children(loaded) == ["none none"] * 4
    assert children(loaded, LC_CTYPE="xx", OWN="y") == ["xx y"] * 4
    assert children(loaded, LC_CTYPE="C") == ["C none"] * 4
    assert children(loaded, LC_CTYPE="") == [" none"] * 4


EXECUTE = r"""
import sys
sys.path[:0] = [SOURCE]
from upstart.client import connection  # libdbus is told something by a variable
from upstart.sysv import machine
try:
    machine.execute("/no/such/program", ["program"])
except OSError:
    pass
import _signal
assert _signal.getsignal(_signal.SIGPIPE) == _signal.SIG_IGN  # this goes on, and writes
machine.execute("/bin/sh", ["sh", "-c", 'env; sed -n "s/^SigIgn://p" /proc/self/status'])
"""


def test_a_program_in_place_of_ours_has_our_environment_and_ignores_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-IS", "-c", EXECUTE.replace("SOURCE", repr(SOURCE)).replace(
            "from upstart.client", "sys.path += ['/usr/lib/python3/dist-packages']\nfrom upstart.client")],
        env={"A": "b"}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    *variables, ignored = done.stdout.split()
    assert sorted(name for name in variables if not name.startswith(("PWD=", "SHLVL=", "_="))) == ["A=b"]
    assert not int(ignored, 16) & (1 << 12 | 1 << 24)
