"""Instances that are held in a state, told something, and then led on to their end: what init says meanwhile, in order.

A scenario is named VARIANT/VIA/STATE/COMMAND: the job of `VARIANTS`, started by a client's method (``job``) or by an
event (``event``), held in the state, and given the command of `Life.command`.  What init is heard to say from there
to the end becomes one line: goals as ``goal:stop``, states by their names, events as ``*stopping RESULT=ok``, replies
as ``C=...`` (A began the job, B ended it, C is the command, D the stop at the end), what was done to a process as
``(main exit 1)``, and what init logged after a bar.

Many scenarios run beside each other in one init, each a job of its own; a step is taken in all of them, then all are
waited for until every process waits at its gate and init has nothing left to do.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from dropin import INSTANCE, JOB, MANAGER, UPSTART, Heard, Session, job_path

#: The default limit, in an interval that no machine is too slow for: a start that is not ready after one is answered.
RESPAWN = "respawn\nrespawn limit 10 1000\n"
BESIDE = ("pre-start", "post-start", "pre-stop", "post-stop")
#: Name: (stanzas, processes beside the main one, whether there is a main one).
VARIANTS: dict[str, tuple[str, tuple[str, ...], bool]] = {
    "service": ("", BESIDE, True),
    "respawn": (RESPAWN, BESIDE, True),
    "limit": ("respawn\nrespawn limit 1 1000\n", BESIDE, True),
    "normal": (RESPAWN + "normal exit 0 3 TERM\n", BESIDE, True),
    "task": ("task\n", BESIDE, True),
    "deaf": ("kill timeout 1000\n", BESIDE, True),
    "direct": ("", ("pre-start", "post-start", "post-stop"), True),
    "directrespawn": (RESPAWN, ("pre-start", "post-start", "post-stop"), True),
    "directtask": ("task\n", ("pre-start", "post-start", "post-stop"), True),
    "bare": ("", (), True),
    "nomain": ("", BESIDE, False),
}
UNREACHABLE = "unreachable"


class Life:
    """One scenario; `steps` takes it a step further each time, and waits by yielding."""

    def __init__(self, session: Session, name: str, key: str) -> None:
        self.session = session
        self.name = name
        self.key = key
        self.variant, self.via, self.target, self.command = key.split("/")
        self.stanzas, self.beside, self.has_main = VARIANTS[self.variant]
        self.ended: set[int] = set()
        self.holders: set[str] = set()
        self.goal, self.state, self.pids = "", "", dict[str, int]()
        self.note = ""

    def write(self, directory: Path) -> None:
        """Write its job, and the tasks that hold its starting and stopping events."""
        gated, name = self.session.gated, self.name
        text = f"start on go-{name}\nstop on end-{name}\n{self.stanzas}"
        if self.has_main:
            ignored = "TERM HUP" if self.variant == "deaf" else "HUP"
            text += gated(name + ".main", f"trap '' {ignored}\n")
        for process in self.beside:
            text += process + " " + gated(f"{name}.{process}")
        (directory / f"{name}.conf").write_text(text)
        for event in ("starting", "stopping"):
            hold = f"hold-{event}-{name}"
            (directory / f"{hold}.conf").write_text(f"start on {event} {name}\ntask\n{gated(hold + '.main')}")

    def is_settled(self) -> bool:
        """Look, and tell whether nothing happens any more until the next step."""
        self.goal, self.state, self.pids = self.session.status(self.name)
        state, pids = self.state, self.pids
        if not self.ended.isdisjoint(pids.values()):
            return False
        for event in ("starting", "stopping"):
            if (state == event or event in self.holders) and not self._is_held(event):
                return False
        if not all(self.session.is_at_gate(pid) for pid in pids.values()):
            return False
        if state == "killed":
            return self.variant == "deaf"
        if state == "running" and self.has_main:
            return "main" in pids
        return state in ("", "running", "starting", "stopping") or state in pids

    def _is_held(self, event: str) -> bool:
        _, state, pids = self.session.status(f"hold-{event}-{self.name}")
        if not state:
            self.holders.discard(event)
            return self.state != event
        self.holders.add(event)
        pid = pids.get("main", 0)
        return state == "running" and pid not in self.ended and self.session.is_at_gate(pid)

    # Steps

    def _say(self, text: str) -> None:
        self.session.heard.append(Heard(job_path(self.name), text, "note", []))

    def _end(self, process: str, how: str) -> None:
        self.ended.add(self.pids[process])
        self._say(f"({process} {how})")
        self.session.open_gate(f"{self.name}.{process}", how)

    def _lead_on(self, how: str = "exit 0") -> None:
        """End what the instance waits for."""
        if self.state in ("starting", "stopping"):
            hold = f"hold-{self.state}-{self.name}"
            self.ended.add(self.session.status(hold)[2]["main"])
            self._say(f"(hold-{self.state} {how})")
            self.session.open_gate(hold + ".main", how)
        else:
            self._end("main" if self.state == "killed" else self.state, how)

    def _of_job(self, label: str, method: str, wait: bool = True) -> None:
        self.session.send(f"{label}:{self.name}", job_path(self.name), JOB, method, "asb", [], wait)

    def _of_instance(self, label: str, method: str, wait: bool = True) -> None:
        path = job_path(self.name, "")
        if method == "Reload":
            self.session.send(f"{label}:{self.name}", path, INSTANCE, method, "")
        else:
            self.session.send(f"{label}:{self.name}", path, INSTANCE, method, "b", wait)

    def _emit(self, label: str, event: str) -> None:
        name = f"{event}-{self.name}"
        self.session.send(f"{label}:{self.name}", MANAGER, UPSTART, "EmitEvent", "sasb", name, ["A=1"], True)

    def steps(self) -> Iterator[None]:
        """Reach the state, give the command, go on to the end."""
        yield from self._reach()
        if self.note:
            return
        self._say("<<")
        if not self._give_command():
            self.note = UNREACHABLE
            return
        yield
        for _ in range(20):
            if not self.state:
                return
            if self.state == "running":
                self._say(f"(rests {self.goal})")
                self._of_instance("D", "Stop")
            else:
                self._lead_on()
            yield
        self.note = "never ends"

    def _reach(self) -> Iterator[None]:
        if self.via == "job":
            self._of_job("A", "Start")
        else:
            self._emit("A", "go")
        yield
        how, _, target = self.target.rpartition(":")
        up = target if not how and target in ("starting", "pre-start", "post-start") else "running"
        yield from self._go_to(up)
        if up == target or self.note:
            return
        if how == "died":
            self._end("main", "exit 1")
        elif how == "restart":
            self._of_job("B", "Restart")
        elif self.via == "job":
            self._of_job("B", "Stop")
        else:
            self._emit("B", "end")
        yield
        yield from self._go_to(target)

    def _go_to(self, state: str) -> Iterator[None]:
        for _ in range(9):
            if self.state == state:
                return
            if self.state in ("", "running"):
                break
            self._lead_on()
            yield
        self.note = UNREACHABLE

    def _give_command(self) -> bool:
        command = self.command
        kind, _, method = command.rstrip("-").partition(".")
        if kind == "job":
            self._of_job("C", method, not command.endswith("-"))
        elif kind == "instance":
            self._of_instance("C", method, not command.endswith("-"))
        elif command in ("go", "end"):
            self._emit("C", command)
        elif kind == "main":
            if "main" not in self.pids:
                return False
            self._end("main", method)
        elif kind == "step":
            if self.state == "running":
                return False
            self._lead_on(method)
        return True

    # The result

    def line(self, log: list[str]) -> str:
        """What was heard from the command on."""
        if self.note == UNREACHABLE:
            return UNREACHABLE
        path = job_path(self.name)
        said: list[str] = []
        for heard in self.session.heard:
            of_us = heard.path == path or heard.path.startswith(path + "/")
            if heard.member[1:] == ":" + self.name:
                what = [heard.error.rpartition(".")[2], *heard.args]
                said.append(f"{heard.member[0]}={' '.join(each for each in what if each)}")
            elif of_us and heard.error == "note":
                if heard.member == "<<":
                    said.clear()
                else:
                    said.append(heard.member)
            elif of_us and heard.member == "GoalChanged":
                said.append(f"goal:{heard.args[0]}")
            elif of_us and heard.member == "StateChanged":
                said.append(heard.args[0])
            elif of_us:
                said.append(" ".join([heard.member, *map(str, heard.args)]))
            elif heard.member == "EventEmitted":
                name, words = heard.args
                if f"JOB={self.name}" in words or name.partition("/")[0][-len(self.name) - 1 :] == "-" + self.name:
                    kept = [word for word in words if word not in (f"JOB={self.name}", "INSTANCE=")]
                    said.append(" ".join(["*" + name, *kept]))
        if self.note:
            said.append(self.note)
        lines = [re.sub(r"^\w+: ", "", line) for line in log if self.name in line and "hold-" not in line]
        text = "; ".join(said) + " | " + "; ".join(re.sub(r"\(\d+\)", "(N)", line) for line in lines)
        return text.replace(path, "PATH").replace(self.name, "J")


def live(directory: Path, prefix: str, keys: list[str]) -> dict[str, str]:
    """Run the scenarios in one init, and give the line of each."""
    session = Session(directory, {}, prefix, "--no-cgroups")
    try:
        lives = [Life(session, f"j{number}x", key) for number, key in enumerate(keys)]
        for each in lives:
            each.write(directory / "conf")
        session.call(MANAGER, UPSTART, "ReloadConfiguration")
        session.wait(lambda: len(session.call(MANAGER, UPSTART, "GetAllJobs")[1][0]) >= 3 * len(lives))
        under_way = [(each, each.steps()) for each in lives]
        while under_way:
            under_way = [(each, steps) for each, steps in under_way if next(steps, steps) is None]
            settle([each for each, _ in under_way])
        log = session.log()
        return {each.key: each.line(log) for each in lives}
    finally:
        # The end of a session is the matter of other tests; this one must not wait for deaf jobs.
        session.process.send_signal(signal.SIGKILL)
        session.process.wait()
        for gate in (directory / "gates").iterdir():
            session.open_gate(gate.name, "exit 0")


def settle(lives: list[Life]) -> None:
    """Wait until all are settled, in two looks in a row."""
    deadline = time.monotonic() + 60
    once: set[Life] = set()
    while lives:
        settled = {each for each in lives if each.is_settled()}
        lives = [each for each in lives if each not in settled or each not in once]
        once = settled
        for each in lives if time.monotonic() > deadline else ():
            raise AssertionError(f"{each.key}: {each.goal}/{each.state} {each.pids} {each.holders}")
        time.sleep(0.002)
