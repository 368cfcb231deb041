"""Why a process could not be started, in the words of the original.

A child that fails between fork and exec reports the step and the error number through its error pipe; before that, in
lines of their own, the steps that it does without.  `decode_failure` turns them into the text that stands behind
``Failed to spawn JOB PROCESS process: `` in the log and in the client's answer.
"""

from __future__ import annotations

import os

#: What a report is limited to, well below what a pipe takes in one write (PIPE_BUF).
MAX_REPORT = 1024
#: What the report of a step begins with that the process does without.
_LACK = b"+"

#: Step to text; ``%s`` is the error's description, or the detail where there is one.
TEXTS = {
    "dup": "unable to move script fd: %s",
    "console": "unable to open console: %s",
    "priority": "unable to set priority: %s",
    "oom": "unable to set oom adjustment: %s",
    "chroot": "unable to change root directory: %s",
    "chdir": "unable to change working directory: %s",
    "exec": "unable to execute: %s",
    "bad-setuid": "unable to find setuid user",
    "bad-setgid": "unable to find setgid group",
    "setuid": "unable to setuid: %s",
    "setgid": "unable to setgid: %s",
    "chown": "unable to chown: %s",
    "alloc": "unable to allocate memory: %s",
    "initgroups": "unable to initgroups: %s",
    "security": "unable to switch security profile: %s",
    "cgroup-setup": "unable to setup cgroup: %s",
}


class SpawnError(Exception):
    """A process that could not be started; ``str()`` is the reason as `TEXTS` words it.

    ``temporary``: for lack of processes, memory or descriptors; the same request may succeed later.
    """

    def __init__(self, text: str, temporary: bool = False) -> None:
        super().__init__(text)
        self.temporary = temporary


def describe(step: str, number: int, detail: str = "") -> str:
    """The text for a failed ``step``, an error ``number`` and the limit, group or key it is about, if any."""
    reason = os.strerror(number) if number else "Unknown error"
    if step == "rlimit":
        return f'unable to set "{detail}" resource limit: {reason}'
    text = TEXTS.get(step, "unable to execute: %s")
    return text % (detail or reason) if "%s" in text else text


def encode(step: str, number: int, detail: str = "") -> bytes:
    """What the child writes into its error pipe."""
    return f"{step} {number} {detail}".encode("utf-8", "surrogateescape")[:MAX_REPORT]


def encode_lack(step: str, number: int, detail: str = "") -> bytes:
    """What the child writes of a step that failed and that it does without."""
    return _LACK + encode(step, number, detail) + b"\n"


def split_report(data: bytes) -> tuple[list[str], bytes]:
    """The texts for what a child does without, and what else it has written: of its failure, or nothing."""
    lacks = []
    while data.startswith(_LACK):
        line, _, data = data.partition(b"\n")
        lacks.append(decode_failure(line[len(_LACK) :]))
    return lacks, data


def decode_failure(data: bytes) -> str:
    """The text for what a child has written into its error pipe."""
    step, _, rest = data.decode("utf-8", "replace").partition(" ")
    number, _, detail = rest.partition(" ")
    return describe(step, int(number) if number.isdecimal() else 0, detail)
