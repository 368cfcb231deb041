#!/usr/bin/python3
"""Trials of an init that lacks something: memory, processes, descriptors, disk, or a system call's success.

    faults.py [--trials N] [--seed S] [--kinds A,B] [--workers N] [--root CHECKOUT] [--life SEED:KIND]

A life is an init that is started, and tried `ROUNDS` times while jobs start, respawn, stop and log, and clients call.
After each trial nothing lacks any more, and `judgement.Judgement.verify` says whether the init has died, is deaf, or
untrue.  What fails is shown with the life that repeats it.  Exit status 1 if anything did.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "boot")]

from client import MANAGER, UPSTART, Client, Dead, Deaf, Untrue  # noqa: E402
from groups import remove_groups, unified_hierarchy  # noqa: E402
from injected import CALLS, ERRORS, LINES  # noqa: E402
from judgement import Judgement  # noqa: E402
from subject import JOBS, Subject  # noqa: E402

from upstart.dbus.wire import WireError  # noqa: E402

#: Trials in the life of one init.
ROUNDS = 5
KINDS = ("as", "data", "line", "call", "nofile", "pids", "fsize", "disk", "1-as", "1-data", "1-line", "1-call")
SECONDS = 20.0


class Load:
    """What goes on meanwhile: calls, events, deaths, files."""

    def __init__(self, subject: Subject, chance: random.Random) -> None:
        self._subject = subject
        self._chance = chance
        self._clients: list[Client] = []
        self._mains: list[int] = []

    def step(self) -> None:
        chance = self._chance
        client = self._client()
        if client is None:
            return
        what = chance.random()
        job = chance.choice(list(JOBS))
        env = [f"N={chance.randrange(4)}"] if job in ("many", "ticks") else []
        wait = chance.random() < 0.5
        try:
            if what < 0.40:
                client.job("Start", job, env, wait)
            elif what < 0.55:
                client.job("Stop", job, env, wait)
            elif what < 0.62:
                client.job("Restart", job, env, wait)
            elif what < 0.80:
                client.emit(chance.choice(("tick", "tick", "tock", "nothing")), [f"N={chance.randrange(4)}"], wait)
            elif what < 0.90:
                self._kill_one()
            elif what < 0.95:
                self._edit(job)
            elif what < 0.97:
                client.send(MANAGER, UPSTART, "Restart")
            else:
                client.emit("big", ["X=" + "x" * chance.randrange(1 << 19)], False)
        except OSError:
            self._drop(client)

    def _client(self) -> Client | None:
        if len(self._clients) < 3 or self._chance.random() < 0.05:
            try:
                self._clients.append(self._subject.client())
            except OSError:
                return None
        return self._chance.choice(self._clients)

    def _drop(self, client: Client) -> None:
        client.close()
        self._clients.remove(client)

    def _kill_one(self) -> None:
        # What a daemon's first process has forked stays where that is killed, as it does with the original.
        children = sorted(pid for pid in self._subject.children() if "sleep 1000 &" not in self._subject.command(pid))
        if children:
            try:
                self._subject.kill(self._chance.choice(children))
            except OSError:
                pass

    def _edit(self, job: str) -> None:
        path = self._subject.conf / f"{job}.conf"
        new = path.with_suffix(".new")
        try:
            new.write_text(f"description {self._chance.random()}\n{JOBS[job]}")
            new.rename(path)
        except OSError:
            pass

    def finish(self) -> None:
        """Every call is answered, or its client is told that it will not be; Deaf where neither happens."""
        deadline = time.monotonic() + SECONDS
        while self._clients and self._waiting() and time.monotonic() < deadline:
            for client in list(self._clients):
                try:
                    while client.read(0.02) is not None:
                        pass
                except (OSError, EOFError, ValueError, WireError):
                    self._drop(client)
        hangs = self._waiting()
        for client in list(self._clients):
            self._drop(client)
        if hangs:
            raise Deaf(f"no answer in {SECONDS:g} s: {'; '.join(hangs[:3])}")

    def _waiting(self) -> list[str]:
        """The calls not answered yet; what waits for an event that a half-met condition holds may wait."""
        calls = [call for client in self._clients for call in client.pending.values()]
        return [call for call in calls if not call.startswith("EmitEvent")]


def begin(kind: str, subject: Subject, chance: random.Random) -> str:
    """Let something lack from now on; gives what, in words."""
    kind = kind.removeprefix("1-")
    if kind in ("as", "data"):
        number, key = (resource.RLIMIT_AS, "VmSize") if kind == "as" else (resource.RLIMIT_DATA, "VmData")
        room = chance.choice((0, chance.randrange(300_000), chance.randrange(3_000_000)))
        # Not what one has that is only coming up: no program could.
        subject.limit(number, max(subject.memory(key), subject.least[key]) + room)
        return f"{room} bytes left of {resource.prlimit(subject.pid, number)[0]}"
    if kind == "nofile":
        room = chance.randrange(8)
        subject.few_descriptors(subject.descriptors() + room)
        return f"{room} descriptors left"
    if kind == "fsize":
        room = chance.choice((0, 10, 1000))
        subject.limit(resource.RLIMIT_FSIZE, room)
        return f"files of {room} bytes"
    if kind == "pids":
        room = chance.randrange(3)
        group = pids_group(subject)
        now = int((group / "pids.current").read_text())
        (group / "pids.max").write_text(str(now + room))
        return f"{room} processes left"
    if kind == "disk":
        try:
            with open(subject.logs / "filler", "ab", buffering=0) as file:
                while file.write(b"x" * 4096):
                    pass
        except OSError:
            pass
        return "disk full"
    times, every = chance.choice(((1, 1), (1, 1), (3, chance.randrange(1, 40)), (30, chance.randrange(1, 60))))
    if kind == "call":
        left, number = chance.randrange(1, 150), chance.choice(ERRORS)
        subject.control.fail(CALLS, left, times, every, number)
        return f"call {left} and each {every} to {times} times fails: {os.strerror(number)}"
    left, every = chance.randrange(1, 4000), every * 10
    subject.control.fail(LINES, left, times, every, 0)
    return f"line {left} and each {every} to {times} times lacks memory"


def lift(kind: str, subject: Subject) -> None:
    """Nothing lacks any more."""
    kind = kind.removeprefix("1-")
    infinite = resource.RLIM_INFINITY
    if kind in ("as", "data", "fsize"):
        number = {"as": resource.RLIMIT_AS, "data": resource.RLIMIT_DATA, "fsize": resource.RLIMIT_FSIZE}[kind]
        subject.limit(number, infinite)
    elif kind == "nofile":
        subject.enough_descriptors()
    elif kind == "pids":
        (pids_group(subject) / "pids.max").write_text("max")
    elif kind == "disk":
        (subject.logs / "filler").unlink(missing_ok=True)
    subject.control.off()


def pids_group(subject: Subject) -> Path:
    return Path(f"/sys/fs/cgroup/pids/faults-{subject.process.pid}")


def prepare(kind: str, subject: Subject) -> None:
    """What a kind of trial needs once in a life."""
    if kind == "pids":
        group = pids_group(subject)
        group.mkdir()
        (group / "cgroup.procs").write_text(str(subject.pid))


def clean(kind: str, subject: Subject) -> None:
    hierarchy = unified_hierarchy()
    groups = [hierarchy / name for name in subject.groups] if hierarchy is not None else []
    subject.end()
    deadline = time.monotonic() + 5
    while any(group.exists() and not remove_groups(group) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.05)
    if kind == "disk":
        subprocess.run(["umount", "-l", str(subject.logs)], check=False)
    if kind == "pids":
        for _ in range(100):
            try:
                pids_group(subject).rmdir()
                return
            except OSError:
                time.sleep(0.05)


def small_disk(directory: Path) -> None:
    """Logs go to a disk that is soon full."""
    (directory / "log").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(directory / "log")], check=True)


def live(seed: int, kind: str, root: Path, rounds: int = ROUNDS) -> list[dict[str, object]]:
    """One life; a result for each trial."""
    results: list[dict[str, object]] = []
    directory = Path(tempfile.mkdtemp(prefix="faults."))
    subject = None
    try:
        if kind == "disk":
            small_disk(directory)
        chance = random.Random(f"{seed} {kind}")
        # Half of all lives are without control groups.
        cgroups = random.Random(f"{seed} {kind} groups").random() < 0.5
        subject = Subject(directory, root, kind.startswith("1-"), cgroups=cgroups)
        prepare(kind, subject)
        for number in range(rounds):
            result = one_trial(kind, subject, random.Random(chance.random()), number == rounds - 1)
            results.append({"life": f"{seed}:{kind}", "round": number, "kind": kind, **result})
            if result["verdict"] != "true":
                break
    finally:
        if subject is not None:
            if os.environ.get("KEEP") and results and results[-1]["verdict"] != "true":
                shutil.copy(subject.log, os.environ["KEEP"] + f"/{seed}-{kind}.log")
            clean(kind, subject)
        shutil.rmtree(directory, ignore_errors=True)
    return results


def one_trial(kind: str, subject: Subject, chance: random.Random, last: bool) -> dict[str, object]:
    began = time.monotonic()
    logged = subject.log.stat().st_size
    load = Load(subject, chance)
    what = ""
    try:
        for _ in range(chance.randrange(3, 12)):
            load.step()
        time.sleep(chance.random() * 0.1)
        what = begin(kind, subject, chance)
        for _ in range(chance.randrange(8, 25)):
            load.step()
            time.sleep(chance.random() * 0.04)
        subject.alive()
        lift(kind, subject)
        load.finish()
        Judgement(subject).verify(logged, last)
        verdict, text = "true", ""
    except (Dead, Deaf, Untrue) as error:
        verdict, text = type(error).__name__.lower(), f"{error}; {subject.waited()}"
    finally:
        subject.control.off()
    return {"verdict": verdict, "text": text, "what": what, "seconds": round(time.monotonic() - began, 2)}


def work(lives: list[str], root: Path) -> None:
    """In a worker: live these, a line of JSON for each trial."""
    # Orphans of inits that died come to us, and end with us.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    for life in lives:
        seed, _, kind = life.partition(":")
        for result in live(int(seed), kind, root):
            print(json.dumps(result), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=int(os.environ.get("TRIALS") or 1000))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or 1))
    parser.add_argument("--kinds", default=os.environ.get("KINDS") or ",".join(KINDS))
    parser.add_argument("--workers", type=int, default=int(os.environ.get("WORKERS") or os.cpu_count() or 1))
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--life", action="append", default=[])
    parser.add_argument("--work", nargs="*")
    arguments = parser.parse_args()
    if arguments.work is not None:
        work(arguments.work, arguments.root)
        return 0
    kinds = arguments.kinds.split(",")
    count = max(1, arguments.trials // ROUNDS)
    lives = arguments.life or [f"{arguments.seed + n // len(kinds)}:{kinds[n % len(kinds)]}" for n in range(count)]
    counts: Counter[tuple[str, str]] = Counter()
    command = ["unshare", "-m", "-n", "--propagation", "private", sys.executable, __file__]
    command += ["--root", str(arguments.root)]
    workers = [
        subprocess.Popen([*command, "--work", *lives[n :: arguments.workers]], stdout=subprocess.PIPE, text=True)
        for n in range(min(arguments.workers, len(lives)))
    ]
    waiting = selectors.DefaultSelector()
    for worker in workers:
        assert worker.stdout is not None
        waiting.register(worker.stdout, selectors.EVENT_READ)
    failed = 0
    while waiting.get_map():
        for key, _ in waiting.select():
            line = key.fileobj.readline()  # type: ignore[union-attr]
            if not line:
                waiting.unregister(key.fileobj)
                continue
            result = json.loads(line)
            counts[result["kind"], result["verdict"]] += 1
            if result["verdict"] != "true":
                failed += 1
                said = f"{result['what']}: {result['verdict']}: {result['text']}"
                print(f"--life {result['life']} round {result['round']}: {said}", flush=True)
    broken = [worker.returncode for worker in workers if worker.wait()]
    print(f"{'kind':8} {'trials':>6} {'died':>5} {'deaf':>5} {'untrue':>6}")
    for kind in kinds:
        row = [counts[kind, verdict] for verdict in ("true", "dead", "deaf", "untrue")]
        print(f"{kind:8} {sum(row):6} {row[1]:5} {row[2]:5} {row[3]:6}")
    print(f"{'all':8} {sum(counts.values()):6} {failed} failed")
    return 1 if failed or broken else 0


if __name__ == "__main__":
    sys.exit(main())
