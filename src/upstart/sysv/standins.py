"""Jobs in the place of scripts of /etc/init.d: which stands in for which, by their files alone.

What is always true here: nothing is asked of init, and next to nothing is loaded, since who mounts the file systems
asks for it, too.
"""

from __future__ import annotations

import posix

JOBS = "/etc/init"
#: The script that checks the root, in whose place mountall is.
ROOT_CHECK = "checkroot.sh"
#: The event that takes the place of a script.
SCRIPT_EVENT = "boot-script"


def job_of(name: str) -> str | None:
    """The job that stands in for a script, by the names of its file: those that the hook of lsb's functions knows."""
    for job in (name, name.removesuffix(".sh"), name + ".sh"):
        if posix.access(f"{JOBS}/{job}.conf", posix.F_OK):
            return job
    return None


def waits_for_turn(name: str) -> bool:
    """Whether the boot has to come to a script's turn: it has no job, or one that waits for boot-script(7)."""
    job = job_of(name)
    return job is None or any(SCRIPT_EVENT in text for text in _texts(job))


def is_task(job: str) -> bool:
    """Whether a job's files say that it is a task, for init has no property that does."""
    return any(line.split()[:1] == ["task"] for text in _texts(job) for line in text.splitlines())


def _texts(job: str) -> list[str]:
    """What is in the file of a job, and in its override."""
    texts = []
    for ending in ("conf", "override"):
        try:
            with open(f"{JOBS}/{job}.{ending}", encoding="utf-8", errors="replace") as file:
                texts.append(file.read())
        except OSError:
            pass
    return texts
