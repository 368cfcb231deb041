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
#: By openat2(2): what is not in the kernel's memory is not waited for.
CACHED = "RESOLVE_CACHED"
#: A path as strace(1) shows it with -y, after the descriptor that it begins at if it does at one: the name of that
#: stands behind its number.  Structures, and what has been sent, are no paths.
PATH = re.compile(r'(?:\b(?P<from>AT_FDCWD|\d+)(?:<(?P<at>(?:[^<>]|<[^>]*>)*)>)?, )?"(?P<path>(?:[^"\\]|\\.)*)"')
CALL = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(?P<call>\w+)\((?P<arguments>.*)")
#: Calls whose first arguments are the paths, however many words follow: of a program's words none is looked up.
FIRST = {"execve": 1, "execveat": 1, "mount": 2, "readlink": 1, "readlinkat": 1, "getxattr": 1, "lgetxattr": 1,
         "setxattr": 1, "lsetxattr": 1, "getcwd": 0}  # fmt: skip
#: Descriptors that no path begins at, as that of inotify_add_watch(2).
NO_DIRECTORY = ("anon_inode:", "pipe:", "socket:")


def paths(trace: str, home: str = "/") -> set[str]:
    """The paths of a trace that may be waited for, wherever they begin; ``home`` is the working directory."""
    found = set()
    for line in trace.splitlines():
        match = CALL.match(line)
        if match is None or CACHED in line:
            continue
        arguments = match["arguments"]
        named = list(PATH.finditer(arguments))[: FIRST.get(match["call"], 2)]
        for each in named:
            if not each["path"]:
                continue  # the descriptor itself
            where = (each["at"] or home).removesuffix(" (deleted)")
            path = os.path.normpath(os.path.join(home if where.startswith(NO_DIRECTORY) else where, each["path"]))
            if path != "/" and not f"{path}/".startswith(OURS):
                found.add(path)
    return found


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ('openat(AT_FDCWD, "/etc/x", O_RDONLY) = 3', "/etc/x"),
        ('openat(AT_FDCWD</>, "etc/x", O_RDONLY) = 3', "/etc/x"),
        ('openat(7</etc>, "x", O_RDONLY) = 3', "/etc/x"),
        ('openat(7</srv/a b>, "../x", O_RDONLY) = 3', "/srv/x"),
        ('newfstatat(7</run/x>, "../../home/u", 0x7ffe, 0) = 0', "/home/u"),
        ('stat("etc/x", 0x7ffe) = 0', "/etc/x"),
        ('chdir("home") = 0', "/home"),
        ('inotify_add_watch(9<anon_inode:inotify>, "/etc/init", IN_CREATE) = 1', "/etc/init"),
        ('rename("/run/new", "/etc/old") = 0', "/etc/old"),
        ('renameat(AT_FDCWD</>, "run/new", 7</etc>, "old") = 0', "/etc/old"),
        ('openat2(9</bin>, "true", {flags=O_RDONLY, resolve=RESOLVE_NO_SYMLINKS}, 24) = 4', "/bin/true"),
        ('mount("tmpfs", "/home", "tmpfs", 0, NULL) = 0', "/home"),
        ('[pid    12] unlink("/var/x") = 0', "/var/x"),
        ('openat(7</etc/old (deleted)>, "x", O_RDONLY) = -1 ENOENT', "/etc/old/x"),
        ('stat("/proc/../etc/x", 0x7ffe) = 0', "/etc/x"),
        ('readlink("/etc/x", "/proc/self", 99) = 10', "/etc/x"),
    ],
)
def test_a_path_that_may_be_waited_for_is_found(line: str, path: str) -> None:
    assert path in paths(line)


@pytest.mark.parametrize(
    "line",
    [
        'stat("/run/x", 0) = 0',
        'openat2(9</bin>, "true", {flags=O_RDONLY, resolve=RESOLVE_CACHED}, 24) = 4',
        'openat(AT_FDCWD</>, "proc/7/stat", O_RDONLY) = 3',
        'openat(7</proc/7>, "stat", O_RDONLY) = 3',
        'readlink("/proc/7/exe", "/usr/bin/sleep", 4095) = 14',
        'newfstatat(7</etc/x>, "", 0x7ffe, AT_EMPTY_PATH) = 0',
        "--- SIGCHLD {si_signo=SIGCHLD} ---",
    ],
)
def test_what_is_no_such_path_is_not(line: str) -> None:
    assert not paths(line)


def test_pid_1_looks_at_no_path_that_may_not_answer(tmp_path: Path) -> None:
    system = System(tmp_path)
    trace = tmp_path / "trace"
    tracer = None
    try:
        wait_for(lambda: "start/running" in system.initctl("status", "service"))
        # The names of directories say where a path begins that is none from the root on.
        command = ["strace", "-y", "-e", "trace=%file,inotify_add_watch", "-o", str(trace), "-p", str(system.pid)]
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
        assert "/dev/" in trace.read_text() and 'AT_FDCWD</>, "' in trace.read_text()
        home = os.readlink(f"/proc/{system.pid}/cwd")
        assert paths(trace.read_text(), home) <= LOOKED_AT
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
