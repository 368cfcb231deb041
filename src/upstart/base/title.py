"""What ps(1) shows of this process.

What is always true here: where the kernel does not let us, it shows what it would anyway, and that is no error.
"""

from __future__ import annotations

import os


def show_as(words: str, name: str = "") -> None:
    """Show ``words`` alone in place of the command line, with the interpreter and its options; and what runs as
    ``name`` (at most 15 letters) if there is one.

    The kernel tells the words of a process from its memory, and if what ends them is overwritten, only the first.
    """
    try:
        if name:
            with open("/proc/self/comm", "wb", buffering=0) as comm:
                comm.write(os.fsencode(name))
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        # A wrong address is an error here, not a fault of the processor.
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            shown = os.fsencode(words)[: end - start - 2].ljust(end - start - 1, b"\0") + b" "
            os.pwrite(memory.fileno(), shown, start)
    except (OSError, ValueError, IndexError):
        pass
