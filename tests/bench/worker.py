"""The client that measures: runs in the namespaces of an init, does what it is told line by line, answers in seconds.

A line on standard input is a JSON array, the name of one of the functions below and its arguments; the answer is one
JSON value on a line of standard output, or an object {"error": text}. The same program serves every init measured.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable

import troubles
from dbus_client import INTERFACE, MANAGER, CallError, Client

IN_OPEN = 0x20
#: Seconds after which there is no answer.
LONGEST = 30.0
#: Seconds for which a task that has not run may still do so, though no job of its kind has an instance.
LATE = 3.0
CLEAN_ENVIRONMENT = {"PATH": os.defpath, "TERM": "linux"}
JOB_INTERFACE, INSTANCE_INTERFACE = f"{INTERFACE}.Job", f"{INTERFACE}.Instance"


class Worker:
    """The connection to the one init, and all that can be asked."""

    def __init__(self) -> None:
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = Client()
        return self._client

    def answering(self, seconds: float) -> tuple[float, float, int]:
        """Monotonic times at which init, not yet started, says its version and lists its jobs, and how many these are.

        Tries every half a millisecond, for `seconds` at most.
        """
        end = time.monotonic() + seconds
        while True:
            try:
                self.client.get(MANAGER, INTERFACE, "version")
                first = time.monotonic()
                jobs = self.client.call(MANAGER, INTERFACE, "GetAllJobs")[0]
                return first, time.monotonic(), len(jobs)
            except ConnectionResetError:
                self.disconnect()
            except OSError:
                pass
            if time.monotonic() > end:
                raise TimeoutError(f"no answer within {seconds:.0f} s")
            time.sleep(0.0005)

    def disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def emit(self, name: str) -> float:
        """From an event's emission to its end."""
        start = time.monotonic()
        self.client.emit(name)
        return time.monotonic() - start

    def emit_many(self, name: str, count: int) -> float:
        """As many events as `count`, from the first emission to the end of the last."""
        start = time.monotonic()
        self.client.emit_many(name, count - 1)
        self.client.emit(name)
        return time.monotonic() - start

    def respawn(self, job: str, program: str) -> float:
        """From the death of a running job's process, killed here, to the next exec of its program."""
        path = self.client.call(MANAGER, INTERFACE, "GetJobByName", "s", job)[0]
        instance = self.client.call(path, JOB_INTERFACE, "GetInstance", "as", [])[0]
        pid = self._main_process(instance)
        opened = _watch_opening(program)
        try:
            start = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            if not select.select([opened], [], [], 30)[0]:
                raise TimeoutError(f"{job} was not respawned within 30 s")
            took = time.monotonic() - start
        finally:
            os.close(opened)
        while self._main_process(instance) in (0, pid):
            time.sleep(0.001)
        return took

    def _main_process(self, instance: str) -> int:
        """Process id of an instance's main process, 0 while there is none."""
        processes = self.client.get(instance, INSTANCE_INTERFACE, "processes")
        return int(dict(processes).get("main", 0))

    def restart(self, event: str, delay: float) -> float:
        """From a call of Restart, `delay` seconds after an event that is not waited for, to the new program's answer.

        RuntimeError where init says no.
        """
        if event:
            self.client.call(MANAGER, INTERFACE, "EmitEvent", "sasb", event, [], False)
            time.sleep(delay)
        start = time.monotonic()
        try:
            self.client.call(MANAGER, INTERFACE, "Restart")
        except CallError as error:
            raise RuntimeError(str(error)) from None
        except ConnectionResetError:
            pass
        while True:
            # The old program has answered before it went: only a new connection is the new one's.
            self.disconnect()
            try:
                self.client.get(MANAGER, INTERFACE, "version")
                return time.monotonic() - start
            except OSError:
                if time.monotonic() > start + 60:
                    raise
            time.sleep(0.001)

    def at_rest(self, job: str) -> float:
        """Waits until no job of this beginning has an instance; how many seconds that took."""
        start = time.monotonic()
        paths = [path for path in self.client.call(MANAGER, INTERFACE, "GetAllJobs")[0] if f"/jobs/{job}" in path]
        for path in paths:
            while self.client.call(path, JOB_INTERFACE, "GetAllInstances")[0]:
                if time.monotonic() > start + 60:
                    raise TimeoutError(f"{path} does not come to rest")
                time.sleep(0.005)
        return time.monotonic() - start

    def has_run(self, prefix: str, expected: int) -> int:
        """How many files there are whose path begins so, which are taken away: each was made by a task that has run.

        Waits a while for as many as expected: what an event is still to start has no instance yet.
        """
        end = time.monotonic() + LATE
        while len(found := glob.glob(glob.escape(prefix) + "*")) < expected and time.monotonic() < end:
            time.sleep(0.02)
        for path in found:
            os.unlink(path)
        return len(found)

    def worst_answer(self, what: str, *arguments: object) -> float:
        """The longest that another client waited for the version, asked for all the time while one of the functions of
        `troubles` was at work, and for half a second after it.

        Whoever is answered by nobody gives up after `LONGEST`.
        """
        self.disconnect()
        self._client = Client(LONGEST)
        worst = 0.0
        over = threading.Event()

        def ask() -> None:
            nonlocal worst
            client = Client(LONGEST)
            while not over.is_set():
                start = time.monotonic()
                try:
                    client.get(MANAGER, INTERFACE, "version")
                except OSError:
                    # No answer at all, or hung up on.
                    worst = LONGEST
                    break
                worst = max(worst, time.monotonic() - start)
                time.sleep(0.0005)
            client.close()

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            getattr(troubles, what)(self.client, *arguments)
            time.sleep(0.5)
        except TimeoutError:
            asking.join(LONGEST)
            if worst < LONGEST:
                raise
        finally:
            over.set()
            asking.join()
        return worst

    def command(self, argv: list[str]) -> float:
        """From the spawn of a program, its output thrown away, to its end; RuntimeError if that is no success."""
        actions = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
        start = time.monotonic()
        pid = os.posix_spawn(argv[0], argv, CLEAN_ENVIRONMENT, file_actions=actions)
        status = os.waitpid(pid, 0)[1]
        took = time.monotonic() - start
        if status:
            raise RuntimeError(f"{' '.join(argv)}: wait status {status:#x}")
        return took


def _watch_opening(path: str) -> int:
    """A descriptor that becomes readable when a file is opened, as exec does first."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0 or libc.inotify_add_watch(descriptor, path.encode(), IN_OPEN) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return int(descriptor)


def main() -> int:
    worker = Worker()
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        function: Callable[..., object] = getattr(worker, name)
        try:
            answer = function(*arguments)
        except (OSError, CallError, RuntimeError) as error:
            answer = {"error": f"{name}: {error}"}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
