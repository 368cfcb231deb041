"""Programs that end together with whoever started them, and with all that they started.

A program here is a process group in a session of its own: the keys of a terminal reach only its starter, which then
asks the whole group to end, and sees to it. What it then has not tidied up itself is its starter's affair.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import IO

#: What a terminal, a person or a supervisor ends a program with.
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
#: How long a program may take to end by itself when it is asked to; and the kernel, when it is not asked.
SECONDS = 5


def end_by_signals() -> None:
    """From here on each of `SIGNALS` ends this program by an exception, so that it lets go of what it holds.

    One that is ignored already, as nohup(1) has it, stays so; of several only the first counts.
    """

    def end(number: int, _: object) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for each in SIGNALS:
        if signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, end)


@contextlib.contextmanager
def program(
    command: Sequence[str], stdout: IO[bytes] | int, stdin: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """A program, its errors among its output, of which nothing runs any more on the way out, however that is taken."""
    # A signal that comes between the fork and the block that ends the group waits until it is in it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        unblock = partial(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=unblock
        )
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield process
        finally:
            _end_group(process)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_group(leader: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.killpg(leader.pid, number)
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                leader.poll()
                os.killpg(leader.pid, 0)
                time.sleep(0.05)
