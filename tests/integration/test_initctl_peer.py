"""Every command line gives what the original's initctl gives for it, byte for byte, from the same original daemon.

Runs where the variable PEER names the prefix of a built original (sbin/init, sbin/initctl), and is skipped elsewhere.
Two session inits with the same jobs are driven through the same commands, one by the original's initctl, one by ours.
What differs by nature (pids, addresses, directories) is made equal before comparing.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PEER = os.environ.get("PEER", "")
pytestmark = pytest.mark.skipif(not PEER, reason="PEER names no original to compare with")

JOBS = {
    "plain": "exec sleep 100\n",
    "task": "task\nexec true\n",
    "fail": "exec /nonexistent\n",
    "failtask": "task\nexec false\n",
    "pre": "pre-start exec sleep 0.1\nexec sleep 100\n",
    "multi": 'instance $X\nenv X\nusage "X=NAME - the name"\nexec sleep 100\n',
    "prestop": "pre-stop exec sleep 1\nexec sleep 100\n",
    "use": 'usage "how to use"\nemits foo\nemits *-bar\nstart on (a and b) or c X=1 Y!=2\n'
    "stop on stopped plain RESULT=ok or starting JOB=task or runlevel [016]\nexec sleep 100\n",
    "sub/dir": "start on started multi X=3\nstop on stopping nojob\n",
    "cond": "start on (foo and (zed or x-bar)) or (started task and stopped nope)\nstop on $THING or starting $JOB\n",
    "cond2": "start on foo and zed\nstop on one or two\n",
    "ok": "start on startup\nstop on session-end\n",
    "dot.ted": "start on foo-bar\nexec sleep 100\n",
    "reload": "exec sleep 100\n",
    "ev": "task\nstart on failing\nexec false\n",
    "ev2": "task\nstart on good\nexec true\n",
    "pf": "pre-start exec false\nexec sleep 100\n",
}

#: One command line after the other, on inits that keep what the former did.
LIVES = {
    "a job": "start plain;status plain;start plain;restart plain;list;reload plain A=1;stop plain;stop plain;"
    "restart plain;reload plain;start -n plain;stop -n plain;start plain -q;-q stop plain",
    "failures": "start task;start fail;status fail;start failtask;status failtask;start pf;start nope;stop nope;"
    "status nope A=1;reload nope;restart nope;usage nope",
    "instances": "start multi;status multi;start multi X=1;start multi X=1;start multi X=2;start multi Y=3;"
    "status multi X=1;status multi X=3;status multi X=1 Y=2;status multi A;start multi A;start multi =x;list;"
    "stop multi;stop multi X=9;stop multi X=1;reload multi X=2;restart multi X=2;usage multi;stop multi X=2",
    "processes beside the main one": "start pre;stop pre;start prestop;stop -n prestop;status prestop;list",
    "show-config": "show-config;show-config -e;show-config use;show-config -e use;show-config nope;"
    "show-config sub/dir -e;show-config ok use;usage use;usage plain",
    "check-config": "check-config;check-config -w;check-config use;check-config nope;check-config -i zed cond2;"
    "check-config -i zed,one cond2;check-config -i a -i b,c;check-config --warn cond2;check-config -i ,,zed,, -w",
    "events": "emit;emit good;emit failing;emit -n failing;emit nobody A=1;emit bad =x;emit bad nokey;emit bad A=1 B",
    "the daemon": "reload-configuration;version;version -q;log-priority;log-priority info;log-priority nope;"
    "log-priority message;notify-disk-writeable;notify-dbus-address;notify-cgroup-manager-address;list-sessions -v",
    "environment": "get-env TERM;get-env NOPE;get-env;set-env;set-env FOO=bar;get-env FOO;list-env;set-env -r FOO=baz;"
    "set-env --retain FOO=q NEW=1 EMPTY=;list-env;unset-env FOO;unset-env;unset-env NOPE;get-env FOO;set-env FOO;"
    "set-env =x;set-env a_b=1 A=2 b=3;list-env;reset-env;list-env;set-env -g G=1;list-env -g;unset-env -g G",
    "command lines": ";--;-;-x;-qx;--dest;--dest=;--dest x;--dest=x list;--user --dest=x version;--user version;"
    "-- version;-qv version;--debug version;version --;-- -x;version extra;--vers;--version=3;--help=3;"
    "emit --nope --help;emit --help --nope;-q=3 version;--=3;nope;version nope -q;version -x;version --dest;"
    "--dest -q a version;version --dest -- -q;-n start;start -nq;-nz;start -q -n -x;check-config -i;-h;- list",
    "names": "sub/dir;start sub/dir;status sub/dir;start dot.ted;stop dot.ted;start reload;reload reload;status reload",
}
INSIDE = "status;restart;reload;list-env;set-env Q=1;get-env Q;get-env -g Q;unset-env Q;get-env NOPE;usage;stop;status"


class Init:
    def __init__(self, prefix: str, directory: Path) -> None:
        for name, text in JOBS.items():
            path = directory / "conf" / f"{name}.conf"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.directory = directory
        variables = {f"XDG_{name}": str(directory / name) for name in ("CONFIG_HOME", "CACHE_HOME")}
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": str(directory), "TERM": "dumb", **variables}
        self.environment["XDG_RUNTIME_DIR"] = str(directory)
        command = [f"{prefix}/sbin/init", "--user", "--confdir", str(directory / "conf"), "--no-startup-event"]
        self.process = subprocess.Popen([*command, "--no-dbus"], env=self.environment, stderr=subprocess.DEVNULL)
        session = directory / "upstart" / "sessions" / f"{self.process.pid}.session"
        deadline = time.monotonic() + 10
        while not (session.exists() and session.read_text().endswith("\n")):
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        self.environment["UPSTART_SESSION"] = session.read_text().strip().partition("=")[2]

    def run(self, program: str, words: list[str], more: dict[str, str]) -> tuple[int, str, str]:
        result = subprocess.run(
            [program, *words], env={**self.environment, **more}, capture_output=True, text=True, timeout=20
        )
        return result.returncode, self.equal(result.stdout), self.equal(result.stderr)

    def equal(self, text: str) -> str:
        text = text.replace(str(self.directory), "DIRECTORY").replace(str(self.process.pid), "PID")
        return re.sub(r"process \d+", "process N", text)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Init, Init]]:
    inits = [Init(PEER, tmp_path_factory.mktemp(name)) for name in ("theirs", "ours")]
    yield inits[0], inits[1]
    for init in inits:
        init.close()


def compare(pair: tuple[Init, Init], words: list[str], **more: str) -> None:
    theirs = pair[0].run(f"{PEER}/sbin/initctl", words, more)
    ours = pair[1].run(str(ROOT / "build" / "sbin" / "initctl"), words, more)
    if "-n" in words or "UPSTART_JOB" in more:
        # How far a job has come that was not waited for is a matter of luck.
        theirs, ours = ((status, re.sub(r"(start|stop)/.*", r"\1", out), err) for status, out, err in (theirs, ours))
    assert ours == theirs, words


@pytest.mark.parametrize("life", LIVES)
def test_commands(pair: tuple[Init, Init], life: str) -> None:
    for line in LIVES[life].split(";"):
        compare(pair, line.split())


def test_commands_inside_a_job(pair: tuple[Init, Init]) -> None:
    for line in ("start multi X=z", *INSIDE.split(";")):
        compare(pair, line.split(), UPSTART_JOB="multi", UPSTART_INSTANCE="z")
    for line in ("status", "get-env X", "list-env"):
        compare(pair, line.split(), UPSTART_JOB="nope", UPSTART_INSTANCE="")


def grows(pair: tuple[Init, Init], words: list[str], columns: str) -> None:
    """Compare a help text to which ours adds entries: the original's are all there, in their order."""
    more = {"COLUMNS": columns}
    theirs = pair[0].run(f"{PEER}/sbin/initctl", words, more)
    ours = pair[1].run(str(ROOT / "build" / "sbin" / "initctl"), words, more)
    assert (ours[0], ours[2]) == (theirs[0], theirs[2])
    # list takes patterns besides, which its first line says.
    lines = iter(ours[1].splitlines()[1:])
    assert [line for line in theirs[1].splitlines()[1:] if line not in lines] == [], words


@pytest.mark.parametrize("columns", ["80", "40", "132", "20", "", "-3", "60 "])
def test_help_at_every_width(pair: tuple[Init, Init], columns: str) -> None:
    from upstart.initctl.main import COMMANDS

    for words in (["--help"], ["--version"]):
        compare(pair, words, COLUMNS=columns)
    grows(pair, ["help"], columns)
    theirs = pair[0].run(f"{PEER}/sbin/initctl", ["help"], {})[1]
    for command, (_, _, own) in COMMANDS.items():
        if f"\n  {command} " not in theirs and f"\n  {command}\n" not in theirs:
            continue  # the original has no such command
        if {"json", "force"} & {option.long for option in own}:
            grows(pair, [command, "--help"], columns)
        else:
            compare(pair, [command, "--help"], COLUMNS=columns)


@pytest.mark.parametrize("address", ["", "garbage", "unix:abstract=/nobody", "unix:path=/nobody", "unix:foo=3"])
def test_wrong_addresses(pair: tuple[Init, Init], address: str) -> None:
    nowhere = "unix:path=/nonexistent"
    buses = {"DBUS_SYSTEM_BUS_ADDRESS": nowhere, "DBUS_SESSION_BUS_ADDRESS": nowhere}
    for line in ("--user version", "--system version", "--session list", "--user --dest x list", "--user check-config"):
        compare(pair, line.split(), UPSTART_SESSION=address, **buses)
