"""A re-exec while jobs are being started: it is not refused, nothing is lost or done twice, and it does not wait."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from daemon_init import EXTENSION, MANAGER, UPSTART, Client, Gone, SessionInit, wait_for

TASKS = 120
#: From the call to the first answer of the new program it takes at most so many times as long as at rest, for the
#: machine has tasks to run beside, and so many seconds more.
TIMES = 5.0
SECONDS = 3.0


def tasks(directory: Path) -> dict[str, str]:
    """Tasks that each write a line with their name, on one event."""
    out = directory / "out"
    return {
        f"task{number}": f"start on go\ntask\nexec sh -c 'echo {number} >>{out}'\n" for number in range(TASKS)
    } | {"slow": f"start on go\ntask\nnice 1\nexec sh -c 'sleep 0.3; echo slow >>{out}'\n"}


def executed(init: SessionInit) -> int:
    """How often the program has re-executed itself without being refused."""
    return init.text().count("Stateful re-exec completed")


def ran(directory: Path) -> Counter[str]:
    out = directory / "out"
    return Counter(out.read_text().split()) if out.exists() else Counter()


def wait_for_rest(init: SessionInit, client: Client, turns: int) -> None:
    """Wait until all that this many events have started has ended; init has re-executed itself after each, and once
    before."""
    wait_for(lambda: executed(init) == turns + 1)
    wait_for(lambda: sum(ran(init.directory).values()) >= turns * (TASKS + 1), 30)
    wait_for(lambda: all(entry[3] == "waiting" for entry in client.call(MANAGER, EXTENSION, "GetStatusAll")[0]), 30)


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1, 0.2])
def test_a_restart_while_tasks_start_is_executed_and_loses_none(tmp_path: Path, delay: float) -> None:
    init = SessionInit(tmp_path, tasks(tmp_path), "--verbose")
    try:
        rounds = 3
        began = time.monotonic()
        init.restart()
        at_rest = time.monotonic() - began
        for turn in range(1, rounds + 1):
            client = init.client()
            client.emit("go", wait=False)
            time.sleep(delay)
            began = time.monotonic()
            client.call(MANAGER, UPSTART, "Restart")
            with pytest.raises(Gone):
                while True:
                    client.read()
            client = init.client_at_last()
            assert time.monotonic() - began < TIMES * at_rest + SECONDS
            wait_for_rest(init, client, turn)
        assert ran(tmp_path) == Counter({str(number): rounds for number in range(TASKS)} | {"slow": rounds})
        assert "Failed to re-execute" not in init.text()
    finally:
        init.close()
