"""What must be true of an init after a trial: it lives, it answers, what it says of its jobs is so, all that was
started is known to it, it is idle when there is nothing to do, and it does all of its work: jobs start, stop, respawn
and are killed, their output is in their logs, events start jobs and are told of, and files that are new are read.

Whether it would notice an init of which one of these is not so, `test_judgement.py` tries.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from client import MANAGER, UPSTART, Client, Dead, Untrue, wait_for
from subject import ANSWER, PATIENCE, PROBES, Subject

#: Seconds until all has come to rest.
REST = 30.0
#: Bytes that init may log about one trial.
LOG_BYTES = 64 << 10
#: Seconds for which it is looked whether init is idle, and for what part of them it may have had something to do.
IDLE, MOST = 0.3, 0.5

_numbers = itertools.count()


class Judgement:
    """The judgement of one init."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def verify(self, logged: int, last: bool = False) -> None:
        """Raise Dead, Deaf or Untrue where it is so; ``logged`` is how long its log was before.

        ``last``: it is re-executed, too, and has to be right after that.
        """
        self._subject.answers(PATIENCE)
        self._subject.answers(ANSWER)
        if self._subject.started(self._subject.own) != self._subject.began:
            raise Dead("another process")
        client = self._subject.client()
        try:
            self._comes_to_rest(client)
            self._works(client)
            self._comes_to_rest(client)
        except (OSError, EOFError):
            # It begins anew: what was true has to be true then.
            client.close()
            self._subject.answers(PATIENCE)
            client = self._subject.client()
            self._comes_to_rest(client)
            self._works(client)
        finally:
            client.close()
        if last:
            self._begins_anew(self._subject.client())
        more = self._subject.log.stat().st_size - logged
        if more > LOG_BYTES:
            raise Untrue(f"{more} bytes were logged")

    def _comes_to_rest(self, client: Client) -> None:
        wrong: list[str] = []

        def right() -> bool:
            wrong[:] = self._wrong(client)
            return not wrong

        if not wait_for(right, REST):
            raise Untrue("; ".join(wrong))
        if not wait_for(self._is_idle, PATIENCE):
            raise Untrue("it is busy with nothing to do")

    def _is_idle(self) -> bool:
        before, began = self._subject.busy(), time.monotonic()
        time.sleep(IDLE)
        return self._subject.busy() - before <= MOST * (time.monotonic() - began)

    def _wrong(self, client: Client) -> Iterator[str]:
        self._subject.alive()
        known: set[int] = set()
        for entry in self._subject.status(client):
            job, name, goal, state, pids = entry[:5]
            shown = f"{job} ({name}) {goal}/{state} {pids}"
            known.update(pid for _, pid in pids)
            for _, pid in pids:
                fields = self._subject.stat(pid)
                if not fields:
                    yield f"{shown}: no process {pid}"
                elif fields[0] == "Z":
                    yield f"{shown}: {pid} is a zombie"
                elif not self._belongs(pid, job):
                    yield f"{shown}: {pid} is a stranger"
            if (goal, state) == ("stop", "waiting"):
                continue
            if (goal, state) != ("start", "running"):
                yield f"{shown}: not at rest"
            elif "main" not in dict(pids):
                yield f"{shown}: no process"
        for pid, state in self._subject.children().items():
            # The helpers that watch the start of processes and write logs are init's own.
            if pid not in known and not self._helps(pid):
                yield f"child {pid} ({self._subject.command(pid)}, {state}) of {self._job(pid)} is known to nobody"

    def _helps(self, pid: int) -> bool:
        """Whether it is called as init's helpers are; one that lacked a system call may not show that to ps(1)."""
        try:
            name = (self._subject.proc / str(pid) / "comm").read_text()
        except OSError:
            name = ""
        return name.startswith("upstart-") or "upstart-" in self._subject.command(pid)

    def _belongs(self, pid: int, job: str) -> bool:
        try:
            return f"UPSTART_JOB={job}\0".encode() in (self._subject.proc / str(pid) / "environ").read_bytes()
        except OSError:
            return True

    def _job(self, pid: int) -> str:
        """The job that its environment names."""
        try:
            words = (self._subject.proc / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            return "?"
        return next((word[12:].decode() for word in words if word.startswith(b"UPSTART_JOB=")), "no job")

    def _works(self, client: Client) -> None:
        def call(member: str, job: str) -> None:
            answer = client.answer(client.job(member, job, [], True), PATIENCE)
            if answer and "Error" in str(answer[0]):
                raise Untrue(f"{member} {job}: {answer}")

        def main_of(job: str) -> int:
            for entry in self._subject.status(client):
                if entry[0] == job and entry[3] == "running":
                    return int(dict(entry[4]).get("main", 0))
            return 0

        for job in PROBES:
            if job != "probed" and main_of(job):
                call("Stop", job)
        for job in ("probe", "keeper"):
            call("Start", job)
            if not main_of(job):
                raise Untrue(f"{job} was started and does not run")
        number = f"{next(_numbers)}"
        answer = client.answer(client.emit("probing", [f"N={number}"], True), PATIENCE)
        if answer:
            raise Untrue(f"emit: {answer}")

        def told() -> bool:
            while client.read(0.0) is not None:
                pass
            return "probing" in client.events

        if not wait_for(told, PATIENCE):
            raise Untrue("an event was emitted, and nobody told of it")
        log = self._subject.logs / "probed.log"
        if not wait_for(lambda: log.exists() and f"probed {number}\n" in log.read_text().replace("\r", ""), PATIENCE):
            raise Untrue("what a job that an event starts has said is not in its log")
        self._reads_files(client, number, call)
        before = main_of("keeper")
        self._subject.kill(before)
        if not wait_for(lambda: main_of("keeper") not in (0, before), PATIENCE):
            raise Untrue("keeper was not respawned")
        call("Start", "stubborn")
        for job in ("probe", "keeper", "stubborn"):
            pid = main_of(job)
            call("Stop", job)
            if self._subject.stat(pid)[:1] not in ([], ["Z"]):
                raise Untrue(f"{job} was stopped and process {pid} lives")

    def _reads_files(self, client: Client, number: str, call: Callable[[str, str], None]) -> None:
        """A job whose file is new is known, as that of a file that is gone is not."""
        job = f"fresh-{number}"
        path = self._subject.conf / f"{job}.conf"

        def known() -> bool:
            answer = client.answer(client.send(MANAGER, UPSTART, "GetJobByName", "s", job), PATIENCE)
            return str(answer[0]).startswith(MANAGER)

        path.with_suffix(".new").write_text("exec sleep 1000\n")
        path.with_suffix(".new").rename(path)
        if not wait_for(known, PATIENCE):
            raise Untrue(f"{path} is not read")
        call("Start", job)
        call("Stop", job)
        path.unlink()
        if not wait_for(lambda: not known(), PATIENCE):
            raise Untrue(f"{path} is gone, and {job} is not")

    def _begins_anew(self, client: Client) -> None:
        """It re-executes itself, and all that runs is known to the new program."""
        before = {tuple(entry[:2]): dict(entry[4]).get("main") for entry in self._subject.status(client)}
        program = self._program()
        try:
            answer = client.answer(client.send(MANAGER, UPSTART, "Restart"), PATIENCE)
            if answer:
                raise Untrue(f"Restart: {answer}")
            while client.read(PATIENCE) is not None:
                pass
        except (OSError, EOFError):
            pass
        client.close()
        self._subject.answers(PATIENCE)
        if self._program() == program:
            raise Untrue("Restart: no other program has begun")
        client = self._subject.client()
        try:
            self._comes_to_rest(client)
            after = {tuple(entry[:2]): dict(entry[4]).get("main") for entry in self._subject.status(client)}
            lost = [key for key, pid in before.items() if pid and self._subject.stat(pid) and after.get(key) != pid]
            if lost:
                raise Untrue(f"not known after a re-exec: {lost}")
            self._works(client)
        finally:
            client.close()

    def _program(self) -> bytes:
        """What the kernel has told the program that runs: where its memory is, which is by chance for each exec."""
        return Path(f"/proc/{self._subject.pid}/auxv").read_bytes()
