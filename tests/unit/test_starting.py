"""What a program finds that we start for somebody else, and what its starter is told."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from upstart.base import starting, syscalls

SOURCE = str(Path(__file__).resolve().parents[2] / "src")
#: SIGRTMIN of the kernel's, and the one after it, are those that glibc keeps for its threads.
SHOW = "exec sed -n 's/^Sig\\(Ign\\|Blk\\):[[:space:]]*//p' /proc/self/status"
PATH = {"PATH": "/usr/bin:/bin"}


def run(words: list[str], env: dict[str, str] = PATH, files: tuple[tuple[int, int], ...] = (), **more: object) -> str:
    reader, writer = os.pipe()
    with os.fdopen(reader) as said:
        try:
            pid = starting.start(words[0], words, env, ((writer, 1), *files), **more)  # type: ignore[arg-type]
        finally:
            os.close(writer)
        text = said.read()
    assert os.waitpid(pid, 0) == (pid, 0)
    return text


def inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def test_a_program_has_its_words_and_variables_and_no_descriptors_but_those_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    with open(tmp_path / "file") as file:
        words = ["/bin/sh", "-c", 'cat <&7; echo "$1" "$A"; exec ls /proc/self/fd', "sh", "é"]
        said = run(words, {**PATH, "A": "b c"}, ((file.fileno(), 7),))
    assert said.startswith("content\né b c\n")
    there = {int(fd) for fd in said.split()[4:]}
    # Whoever runs the tests may have left us some.
    left = {fd for fd in range(8, 1024) if inheritable(fd)}
    assert there - left - {3} == {0, 1, 2, 7}


def test_a_descriptor_may_keep_its_number_or_take_that_of_the_one_for_errors() -> None:
    kept = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    free = os.dup(kept)
    os.close(free)
    # The two that come next are the pipe's, by which an error would be told.
    files = tuple((kept, number) for number in (kept, free, free + 1, free + 2, free + 3))
    try:
        assert run(["/bin/sh", "-c", f"[ -e /proc/self/fd/{kept} ] && echo there"], files=files) == "there\n"
        with pytest.raises(FileNotFoundError):
            starting.start("/no/such/program", ["x"], PATH, files)
        assert not os.get_inheritable(kept)
    finally:
        os.close(kept)


def test_no_signal_is_blocked_or_ignored_that_need_not_be() -> None:
    ignored: dict[int, Any] = {signal.SIGUSR1: signal.SIG_IGN, signal.SIGWINCH: lambda *args: None}
    before = {number: signal.signal(number, how) for number, how in ignored.items()}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    # As a program does that is started by init: pytest may not have been.
    code = (f"import sys; sys.path[:0] = [{SOURCE!r}]\nfrom upstart.base import starting\nimport posix, _signal\n"
            "_signal.signal(1, _signal.SIG_DFL)\n"  # where the tests are run by nohup
            "_signal.signal(10, _signal.SIG_IGN); _signal.signal(12, _signal.SIG_IGN)\n"
            f"posix.waitpid(starting.start('/bin/sh', ['sh', '-c', {SHOW!r}], {PATH}, default=(13, 25, 10)), 0)")
    try:
        assert int(run(["/bin/sh", "-c", SHOW], default=(signal.SIGUSR1,)).split()[0], 16) == 0
        said = subprocess.run([sys.executable, "-IS", "-c", code], preexec_fn=syscalls.reset_reserved_signals,
                              stdout=subprocess.PIPE, text=True, check=True).stdout  # fmt: skip
        blocked, inherited = (int(line, 16) for line in said.split())
        assert (blocked, inherited) == (0, 1 << 11)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask | {signal.SIGTERM}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, how in before.items():
            signal.signal(number, how)


def test_it_leads_a_group_where_it_is_to() -> None:
    show = ["/bin/sh", "-c", "echo $$ $(cut -d' ' -f5 /proc/$$/stat)"]
    pid, group = run(show, group=True).split()
    assert pid == group
    assert run(show).split()[1] == str(os.getpgid(0))


def left() -> tuple[list[str], str]:
    """Our descriptors and children."""
    return os.listdir("/proc/self/fd"), Path(f"/proc/self/task/{os.getpid()}/children").read_text()


@pytest.mark.parametrize(
    "program, number", [("/no/such", errno.ENOENT), ("/etc/passwd", errno.EACCES), ("", errno.ENOENT)])
def test_why_it_is_not_executed_is_told_and_nothing_is_left(program: str, number: int) -> None:
    before = left()
    with pytest.raises(OSError) as caught:
        starting.start(program, ["x"], {})
    assert caught.value.errno == number and caught.value.filename == program
    with pytest.raises(OSError, match="Bad file descriptor"):
        starting.start("/bin/true", ["true"], {}, [(999, 1)])
    with pytest.raises(OSError, match="Invalid argument"):
        starting.start("/bin/true", ["a\0b"], {})
    assert left() == before
