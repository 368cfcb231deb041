"""What somebody can ask of init that costs much: each is done once, by `Worker.worst_answer`."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from dbus_client import INTERFACE, MANAGER, CallError, Client

JOB_INTERFACE = f"{INTERFACE}.Job"


def large_call(client: Client, job: str, words: int) -> None:
    """Asks for the instance that so many words select."""
    path = client.call(MANAGER, INTERFACE, "GetJobByName", "s", job)[0]
    try:
        client.call(path, JOB_INTERFACE, "GetInstance", "as", [f"X={number}" for number in range(words)])
    except (CallError, OSError):
        pass  # init may refuse it, or hang up


def pattern(client: Client, event: str) -> None:
    """Emits an event whose variable hardly matches the pattern of a job that waits for it."""
    client.call(MANAGER, INTERFACE, "EmitEvent", "sasb", event, ["X=" + "a" * 100], True)


def tasks(client: Client, event: str) -> None:
    """Emits an event that starts many tasks, and waits for them."""
    client.emit(event)


def large_state(client: Client, readers: int) -> None:
    """Several clients at once ask for the whole state."""

    def read() -> None:
        each = Client()
        each.call(MANAGER, INTERFACE, "GetState")
        each.close()

    threads = [threading.Thread(target=read) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def directories(client: Client, confdir: str, count: int) -> None:
    """Makes so many directories at once where job files are, and takes them away again."""
    top = Path(confdir, "many")
    top.mkdir()
    for number in range(count):
        (top / str(number)).mkdir()
    client.get(MANAGER, INTERFACE, "version")
    shutil.rmtree(top)


def reload(client: Client) -> None:
    """Has all job files looked at again."""
    client.call(MANAGER, INTERFACE, "ReloadConfiguration")


def kill_timeout(client: Client, job: str) -> None:
    """Stops a job that ignores TERM and has a kill timeout of years, without waiting."""
    path = client.call(MANAGER, INTERFACE, "GetJobByName", "s", job)[0]
    client.call(path, JOB_INTERFACE, "Start", "asb", [], True)
    client.call(path, JOB_INTERFACE, "Stop", "asb", [], False)
