"""Which paths PID 1 itself looks at while it runs: none that a server may keep from answering."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from daemon_init import wait_for
from test_daemon_pid1 import System, request

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or not all(map(shutil.which, ("strace", "unshare", "nsenter"))), reason="needs root and strace"
)

#: File systems that are the kernel's own, or that init itself has mounted from memory.
OURS = ("/dev/", "/proc/", "/run/", "/sys/")
#: On init's own file system, and not opened: whether the groups of a user have changed.
LOOKED_AT = {"/etc/group"}
#: By openat2(2), with RESOLVE_CACHED: what is not in the kernel's memory is not waited for.
CACHED = "openat2"
CALL = re.compile(r'^(?P<call>\w+)\((?P<from>\w+, )?"(?P<path>/[^"]*)"')


def paths(trace: str) -> set[str]:
    """The absolute paths of a trace that may be waited for."""
    found = set()
    for line in trace.splitlines():
        match = CALL.match(line)
        if match and match["call"] != CACHED and not f"{match['path']}/".startswith(("//", *OURS)):
            found.add(match["path"])
    return found


def test_a_path_that_may_be_waited_for_is_found() -> None:
    lines = ('openat(AT_FDCWD, "/etc/x", O_RDONLY) = 3', 'stat("/run/x", 0) = 0', 'openat2(9, "/bin/true", {}) = 4')
    trace = "\n".join(lines)
    assert paths(trace) == {"/etc/x"}


def test_pid_1_looks_at_no_path_that_may_not_answer(tmp_path: Path) -> None:
    system = System(tmp_path)
    trace = tmp_path / "trace"
    tracer = None
    try:
        wait_for(lambda: "start/running" in system.initctl("status", "service"))
        command = ["strace", "-e", "trace=%file,inotify_add_watch", "-o", str(trace), "-p", str(system.pid)]
        tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for(lambda: "TracerPid:\t0" not in Path(f"/proc/{system.pid}/status").read_text())
        conf = tmp_path / "conf"
        (conf / "below").mkdir()
        (conf / "below/new.conf").write_text("task\nexec true\n")
        (conf / "user.conf").write_text("setuid nobody\nlimit nofile 100 100\ntask\nscript\ntrue\nend script\n")
        (conf / "user.override").write_text("author me\n")
        for words in (("start", "below/new"), ("start", "user"), ("reload-configuration",), ("stop", "service"),
                      ("start", "service"), ("start", "orphans"), ("list",), ("emit", "never")):  # fmt: skip
            assert "rror" not in system.initctl(*words)
        with open(f"/proc/{system.pid}/root/run/initctl", "wb", buffering=0) as file:
            file.write(request(1, "4"))
        wait_for(lambda: system.job_log("rc").startswith("4 "))
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGINT):
            os.kill(system.pid, number)
        wait_for(lambda: system.job_log("cad") == "cad\n")
        shutil.rmtree(conf / "below")
        wait_for(lambda: "Unknown job" in system.initctl("status", "below/new"))
        tracer.send_signal(signal.SIGINT)
        tracer.wait(20)
        assert "/dev/" in trace.read_text()
        assert paths(trace.read_text()) <= LOOKED_AT
    finally:
        if tracer is not None:
            tracer.kill()
            tracer.wait()
        system.close()


def test_no_path_of_the_configuration_is_looked_at_around_a_re_exec_but_by_a_reader(tmp_path: Path) -> None:
    system = System(tmp_path)
    trace = tmp_path / "trace"
    tracer = None
    try:
        wait_for(lambda: "start/running" in system.initctl("status", "service"))
        conf = tmp_path / "conf"
        (conf / "new.conf").write_text("task\nexec true\n")
        assert "stop/waiting" in system.initctl("status", "new")
        calls = "trace=%file,inotify_add_watch,write"
        command = ["strace", "-ff", "-e", calls, "-o", str(trace), "-p", str(system.pid)]
        tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for(lambda: "TracerPid:\t0" not in Path(f"/proc/{system.pid}/status").read_text())
        # From inside: out here it would be the end of the system.
        assert system.run("kill", "-TERM", "1").returncode == 0
        own = Path(f"{trace}.{system.pid}")
        # Each call of the trial is traced, too, which takes long on a busy machine.
        wait_for(lambda: "--state-fd" in own.read_text(), 60)
        (conf / "new.conf").unlink()
        (conf / "other.conf").write_text("task\nexec true\n")
        wait_for(lambda: "stop/waiting" in system.initctl("status", "other"))
        assert "Unknown job" in system.initctl("status", "new")
        assert "start/running" in system.initctl("status", "service")
        tracer.send_signal(signal.SIGINT)
        tracer.wait(20)
        looked, tried = {}, 0
        for each in tmp_path.glob("trace.*"):
            text = each.read_text()
            tried += "--state-fd" in text
            if f'"{conf}' in re.sub("execve.*", "", text) or '"/etc/init.conf' in text:
                looked[each.suffix] = "upstart-reader" in text
        assert tried == 2, "the trial and the new program"
        assert looked and all(looked.values()), looked
    finally:
        if tracer is not None:
            tracer.kill()
            tracer.wait()
        system.close()
