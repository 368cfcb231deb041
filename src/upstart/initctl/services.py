"""The services of /etc/init.d that have no job: which there are, in which runlevels they run, and how they stand.

What is always true here: nothing is started. A script that has a part in the beginning or the end of the machine alone
is no service. How a service stands only its script knows; one that knows the word
``status`` is asked, as service(8) does it, and given a few seconds. What it does not say is unknown.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess

from upstart.base.inherited import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

DIRECTORY = "/etc/init.d"
#: What init's own link there leads to: the place of a job, and no script.
JOB_LINK = "upstart-job"
#: Seconds that a script may take.
PATIENCE = 5.0
RUNLEVELS = "S0123456"
WORKING = "2345"

#: What is in the directory, and is no service.
_NONE = frozenset(("README", "functions", "rc", "rcS", "skeleton"))
_LEFT = (".bak", ".old", ".orig", "~")
_STATUS = re.compile(r"(?:^|[^\w-])status\)|status\s*\|[^)\n]*\)", re.M)
#: By the exit status, as the Linux Standard Base has it; anything else is none of these.
_STATES = {0: "running", 1: "dead", 2: "dead", 3: "stopped"}


class Service:
    """A script: its ``name``, the ``runlevels`` in which links start it, and its ``state`` once it was asked.

    A state is ``running``, ``stopped``, ``dead`` (it should run, and does not) or ``unknown``.
    """

    __slots__ = ("name", "path", "runlevels", "state")

    def __init__(self, name: str, directory: str = DIRECTORY) -> None:
        self.name = name
        self.path = f"{directory}/{name}"
        self.runlevels = ""
        self.state = "unknown"

    def ask(self) -> None:
        """Have the script say how its service stands."""
        try:
            with open(self.path, errors="replace") as file:
                if _STATUS.search(file.read(1 << 20)) is None:
                    return
            given = environment()
            kept = {b"PATH": b"/sbin:/usr/sbin:/bin:/usr/bin"}
            kept.update({name: given[name] for name in (b"LANG", b"TERM") if name in given})
            script = subprocess.Popen(
                [self.path, "status"], env=kept, cwd="/", start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except OSError:
            return
        try:
            said, _ = script.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(script.pid, signal.SIGKILL)
            script.communicate()
            return
        if b"usage:" not in said.lower():
            self.state = _STATES.get(script.returncode, "unknown")

    def describe(self) -> str:
        """The line that stands for it where jobs have their status."""
        return f"{self.name} script/{self.state}, {self.path}"


def find(name: str, directory: str = DIRECTORY) -> Service | None:
    """The service of that name; ``None`` if there is no script, or it is a job's."""
    path = f"{directory}/{name}"
    if "/" in name or name in _NONE or name.startswith(".") or ".dpkg-" in name or name.endswith(_LEFT):
        return None
    if os.path.islink(path) and os.path.basename(os.readlink(path)) == JOB_LINK:
        return None
    if name == JOB_LINK or not os.path.isfile(path) or not os.access(path, os.X_OK):
        return None
    return Service(name, directory)


def without_jobs(jobs: Collection[str], directory: str = DIRECTORY) -> list[Service]:
    """The services that have none of these jobs, in the order of their names, with the runlevels in which they run.

    A link in one of the runlevels in which a machine works makes a service of a script, also one that stops it there;
    and so do no links at all.
    """
    found: dict[str, Service] = {}
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    for name in names:
        if not any(job in jobs for job in (name, name.removesuffix(".sh"), name + ".sh")):
            service = find(name, directory)
            if service is not None:
                found[name] = service
    linked: dict[str, str] = {}
    for runlevel, kind, name in _links(directory):
        linked[name] = linked.get(name, "") + runlevel
        if name in found and kind == "S":
            found[name].runlevels += runlevel
    return [each for each in found.values() if not set(linked.get(each.name, WORKING)).isdisjoint(WORKING)]


def _links(directory: str) -> Iterator[tuple[str, str, str]]:
    """Each runlevel with the kind of each link, S or K, and the name of what it starts or stops there."""
    for runlevel in RUNLEVELS:
        try:
            links = os.listdir(f"{os.path.dirname(directory)}/rc{runlevel}.d")
        except OSError:
            continue
        for link in links:
            if link[:1] in ("S", "K") and link[1:3].isdecimal():
                yield runlevel, link[0], link[3:]
