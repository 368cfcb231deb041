"""Scripts of the boot and the console: what startpar gives them, and what they may leave running."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_for

from upstart.base.syscalls import reset_reserved_signals

SOURCE = str(Path(__file__).resolve().parents[2] / "src")

#: rcS without init, and with directories of the test's own.
RUN = r"""
import sys
sys.path[:0] = [SOURCE, "/usr/lib/python3/dist-packages"]
from upstart.base.errors import DBusError
from upstart.sysv import bootorder, bootscripts, keeping, rcs, standins
bootorder.SCRIPTS, bootscripts.LINKS, standins.JOBS = [ROOT + name for name in ("/init.d", "/rcS.d", "/init")]
keeping.LOGS = ROOT + "/log"
rcs.need_root = lambda *words: None
class Init:
    @staticmethod
    def open():
        raise DBusError("NoServer", "nobody listens")
bootscripts.Init = Init
sys.exit(rcs.main(["rcS"]))
"""

#: What a script sees of itself: a line each.
PROBE = r"""
read -r pid comm state parent group session terminal foreground rest </proc/$$/stat
[ $pid = $group ] && echo leads its group
[ $session = $RCS_SESSION ] && echo session of rcS
[ $foreground = $group ] && echo foreground
(: >/dev/tty) 2>/dev/null && echo has /dev/tty
for fd in 0 1 2; do [ $(readlink /proc/$$/fd/$fd) = $CONSOLE ] && echo $fd is the console; done
echo "${LINES-no} lines, ${COLUMNS-no} columns"
echo $(ulimit -Sn) descriptors, umask $(umask), in $(pwd)
sed -n 's/^Sig\(Ign\|Blk\):[[:space:]]*/\1 /p' /proc/$$/status
"""


class Boot:
    """rcS at a console of the test's own, in a session that has no controlling terminal, as init starts it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("init.d", "rcS.d", "init", "log"):
            (root / name).mkdir()
        self.master, self.console = pty.openpty()
        self.process: subprocess.Popen[bytes] | None = None
        self.said = b""

    def script(self, link: str, text: str) -> None:
        path = self.root / "init.d" / link[3:]
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        (self.root / "rcS.d" / link).symlink_to(path)

    def start(self, interactive: str = "") -> None:
        names = sorted(os.listdir(self.root / "init.d"))
        order = "".join(f"{name}: {' '.join(names[:number])}\n" for number, name in enumerate(names))
        (self.root / "init.d/.depend.boot").write_text(
            f"TARGETS = {' '.join(names)}\nINTERACTIVE = {interactive}\n{order}")
        code = RUN.replace("SOURCE", repr(SOURCE)).replace("ROOT", repr(str(self.root)))
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", 'export RCS_SESSION=$$; "$@"; exit $?', "sh", sys.executable, "-IS", "-c", code],
            stdin=self.console, stdout=self.console, stderr=self.console, start_new_session=True, cwd="/",
            env={"CONSOLE": os.ttyname(self.console)}, preexec_fn=reset_reserved_signals,
        )  # fmt: skip

    def hears(self, text: bytes, seconds: float = 20) -> bool:
        """Whether the console shows this."""
        def shown() -> bool:
            while select.select([self.master], [], [], 0)[0]:
                self.said += os.read(self.master, 4096)
            return text in self.said

        return wait_for(shown, seconds)

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def finish(self) -> int:
        assert self.process is not None
        assert wait_for(lambda: self.hears(b"\0", 0) or self.process is None or self.process.poll() is not None)
        return self.process.returncode

    def left(self) -> dict[int, str]:
        """Processes with the console of this boot or its directory in their command line."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                group = (path / "environ").read_bytes()
            except OSError:
                continue
            if f"CONSOLE={os.ttyname(self.console)}\0".encode() in group:
                found[int(path.name)] = words
        return found

    def close(self) -> None:
        for pid in self.left():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.process is not None:
            self.process.wait()
        assert wait_for(lambda: not self.left())
        os.close(self.master)
        os.close(self.console)


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Boot]:
    made = Boot(tmp_path)
    yield made
    made.close()


def test_a_script_has_what_startpar_gives_it(boot: Boot) -> None:
    boot.script("S01a", f"{{ {PROBE} }} >{boot.root}/a")
    boot.script("S02b", f"{{ {PROBE} }} >{boot.root}/b")
    boot.start(interactive="b")
    assert boot.finish() == 0
    seen, interactive = ((boot.root / name).read_text().splitlines() for name in "ab")
    limit = f"{os.sysconf('SC_OPEN_MAX')} descriptors, umask {os.umask(0o022):04o}, in /"
    os.umask(0o022)
    assert [line for line in seen if not line.startswith(("Ign", "Blk"))] == [
        "leads its group", "session of rcS", "0 is the console", "24 lines, 80 columns", limit]
    assert [int(line.split()[1], 16) for line in seen if line.startswith("Ign")] == [1 << 1]
    assert [line for line in interactive if not line.startswith(("Ign", "Blk"))] == [
        "foreground", "has /dev/tty", "0 is the console", "2 is the console",
        "no lines, no columns", limit]
    assert [int(line.split()[1], 16) for line in interactive if line.startswith("Ign")] == [0]


def test_a_script_reads_what_is_typed_at_the_console(boot: Boot) -> None:
    boot.script("S01a", "stty -echo; printf 'Passphrase: '; read -r word; stty echo; echo; echo got $word.")
    boot.start()
    assert boot.hears(b"Passphrase: ")
    boot.type(b"secret\n")
    assert boot.hears(b"got secret.")
    assert boot.finish() == 0
    assert b"secret\r\n" not in boot.said


def test_an_interactive_script_asks_at_its_terminal_and_can_be_interrupted(boot: Boot) -> None:
    boot.script("S01a", "exec </dev/tty >/dev/tty 2>&1; echo Name:; read -r word; echo got $word.")
    boot.script("S02b", "echo waiting; sleep 1000")
    boot.script("S03c", "echo last")
    boot.start(interactive="a b")
    assert boot.hears(b"Name:")
    boot.type(b"me\n")
    assert boot.hears(b"got me.")
    # The shell that is about to start it may lose the signal.
    assert wait_for(lambda: "sleep 1000 " in boot.left().values())
    boot.type(b"\3")
    assert boot.hears(b"b was killed by signal 2")
    assert boot.hears(b"last")
    assert boot.finish() == 0
    # Somebody else can have the console now.
    assert b"S02" not in b"".join(Path(f"/proc/{pid}/comm").read_bytes() for pid in boot.left())


def test_an_interactive_script_is_not_stopped_from_the_keyboard(boot: Boot) -> None:
    boot.script("S01a", f"echo waiting; until [ -e {boot.root}/go ]; do sleep 0.05; done; echo done")
    boot.start(interactive="a")
    assert boot.hears(b"waiting")
    boot.type(b"\x1a")
    assert boot.hears(b"^Z")
    (boot.root / "go").touch()
    assert boot.hears(b"done")
    assert boot.finish() == 0


def test_no_other_script_is_interrupted_from_the_keyboard(boot: Boot) -> None:
    boot.script("S01a", f"echo waiting; until [ -e {boot.root}/go ]; do sleep 0.05; done; echo done")
    boot.start()
    assert boot.hears(b"waiting")
    boot.type(b"\3")
    assert boot.hears(b"^C")
    (boot.root / "go").touch()
    assert boot.hears(b"done")
    assert boot.finish() == 0


LOOP = "(while :; do echo x; sleep 0.05; done >{log} 2>&1) & "


@pytest.mark.parametrize("interactive", ["", "a"])
def test_what_scripts_leave_running_lives_on_when_the_boot_is_over(boot: Boot, interactive: str) -> None:
    log = boot.root / "loop"
    boot.script("S01a", LOOP.format(log=log))
    boot.start(interactive)
    assert boot.finish() == 0
    assert boot.process is not None
    # As init ends a job: its group, which is that of its session.
    try:
        os.killpg(boot.process.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    size = log.stat().st_size
    assert wait_for(lambda: log.stat().st_size > size + 4)


@pytest.mark.parametrize("interactive", ["", "b"])
def test_a_boot_that_is_stopped_ends_the_script_that_runs_and_what_it_waits_for(boot: Boot, interactive: str) -> None:
    log = boot.root / "loop"
    boot.script("S01a", "setsid " + LOOP.format(log=log).replace("(", "sh -c '").replace(") ", "' </dev/null "))
    boot.script("S02b", "trap 'echo ended; exit 1' TERM; sleep 1111; echo too late")
    boot.script("S03c", f"touch {boot.root}/late")
    boot.start(interactive)
    assert wait_for(lambda: any("sleep 1111" in words for words in boot.left().values()))
    assert boot.process is not None
    os.killpg(boot.process.pid, signal.SIGTERM)
    boot.finish()
    assert boot.process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert wait_for(lambda: not any("sleep 1111" in words for words in boot.left().values()))
    assert not (boot.root / "late").exists()
    size = log.stat().st_size
    assert wait_for(lambda: log.stat().st_size > size + 4)
    # The process that listens on has what was said at the end.
    assert interactive or wait_for(lambda: "ended" in (boot.root / "log/rcS-b.log").read_text())
