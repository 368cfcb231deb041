"""What must be true of an init after a trial: it lives, it answers, what it says of its jobs is so, all that was
started is known to it, and jobs can be started and stopped.
"""

from __future__ import annotations

from collections.abc import Iterator

from client import Client, Dead, Untrue, wait_for
from subject import ANSWER, PATIENCE, PROBES, Subject

#: Seconds until all has come to rest.
REST = 30.0
#: Bytes that init may log about one trial.
LOG_BYTES = 64 << 10


class Judgement:
    """The judgement of one init."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def verify(self, logged: int) -> None:
        """Raise Dead, Deaf or Untrue where it is so; ``logged`` is how long its log was before."""
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
        answer = client.answer(client.emit("probing", [], True), PATIENCE)
        if answer:
            raise Untrue(f"emit: {answer}")
        before = main_of("keeper")
        self._subject.kill(before)
        if not wait_for(lambda: main_of("keeper") not in (0, before), PATIENCE):
            raise Untrue("keeper was not respawned")
        for job in ("probe", "keeper"):
            pid = main_of(job)
            call("Stop", job)
            if self._subject.stat(pid)[:1] not in ([], ["Z"]):
                raise Untrue(f"{job} was stopped and process {pid} lives")
