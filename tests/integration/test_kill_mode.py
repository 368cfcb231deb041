"""What the kill mode of a job means for what the job has started: the agent that restarts its own service foremost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, SessionInit, wait_for

#: It does not obey, and has a command of a session of its own restart it, as Salt, Puppet and Monit do.
AGENT = f"""kill timeout 1
expect stop
script
trap '' TERM
if [ ! -e "$MARK" ]; then
    >"$MARK"
    setsid sh -c '{PROGRAMS}/initctl restart agent; echo "$?" >"$MARK"; exec sleep 1000' &
    echo $! >"$MARK.pid"
fi
kill -STOP $$
while :; do sleep 0.1; done
end script
"""
#: It obeys, and leaves something in a session of its own.
LEAVES = """{mode}
script
setsid sleep 1000 &
echo $! >"$MARK.pid"
while [ "$(cat /proc/$!/comm)" != sleep ]; do :; done
>"$MARK"
exec sleep 1000
end script
"""


@pytest.fixture
def init(tmp_path: Path) -> Iterator[SessionInit]:
    jobs = {
        "agent": AGENT,
        "agent-all": AGENT.replace("restart agent", "restart agent-all") + "kill mode all\n",
        "leaves": LEAVES.format(mode=""),
        "leaves-all": LEAVES.format(mode="kill mode all"),
        "respawns-all": LEAVES.format(mode="kill mode all\nrespawn"),
    }
    jobs = {name: f"env MARK={tmp_path}/{name}\n{text}" for name, text in jobs.items()}
    init = SessionInit(tmp_path, jobs)
    yield init
    for path in tmp_path.glob("*.pid"):
        with suppress(ProcessLookupError):
            os.kill(int(path.read_text()), signal.SIGKILL)
    init.close()
    assert "Internal error" not in init.text()


def started_by(init: SessionInit, job: str) -> int:
    """The process that the job has put into a session of its own."""
    wait_for((init.directory / job).exists)
    return int((init.directory / f"{job}.pid").read_text())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_agent_can_restart_its_own_service(init: SessionInit) -> None:
    client = init.client()
    client.start("agent")
    before = client.status("agent")[1]["main"]
    command = started_by(init, "agent")
    wait_for(lambda: (init.directory / "agent").read_text() == "0\n")
    state, pids = client.status("agent")
    assert state == "start/running" and pids["main"] != before
    assert alive(command) and not alive(before)
    client.stop("agent")
    assert alive(command) and not alive(pids["main"])


def test_with_the_mode_all_the_agent_takes_its_command_along(init: SessionInit) -> None:
    client = init.client()
    client.start("agent-all")
    command = started_by(init, "agent-all")
    client.wait_status("agent-all", "start/running")
    wait_for(lambda: not alive(command))
    assert (init.directory / "agent-all").read_text() == ""


@pytest.mark.parametrize(("job", "stays"), [("leaves", True), ("leaves-all", False)])
def test_what_outlives_a_main_process_that_obeys(init: SessionInit, job: str, stays: bool) -> None:
    client = init.client()
    client.start(job)
    other = started_by(init, job)
    client.stop(job)
    if stays:
        assert alive(other)
    else:
        wait_for(lambda: not alive(other))


def test_with_the_mode_all_nothing_outlives_a_main_process_that_is_respawned(init: SessionInit) -> None:
    client = init.client()
    client.start("respawns-all")
    other = started_by(init, "respawns-all")
    main = client.status("respawns-all")[1]["main"]
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: not alive(other))
    client.wait_status("respawns-all", "start/running")
    wait_for(lambda: client.status("respawns-all")[1].get("main", main) != main)


def test_the_mode_survives_a_restart_of_init(init: SessionInit) -> None:
    client = init.client()
    client.start("leaves-all")
    other = started_by(init, "leaves-all")
    client = init.restart()
    # The file is another now, the job's definition is not until it has stopped.
    client.stop("leaves-all")
    wait_for(lambda: not alive(other))
