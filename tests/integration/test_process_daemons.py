"""Real daemons of every shape, followed without tracing: which process the job ends up with."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_support import Host, alive, left, make_host, needs_root, until

from upstart.process import warden
from upstart.process.follow import Decision, Failed, Forked, Wait
from upstart.process.following import Following
from upstart.process.kill import signal_job

pytestmark = needs_root

#: A daemon whose shape is its first argument; whoever is to be found writes its pid into the second.
DAEMON = """
import os, sys, time
shape, path = sys.argv[1:]
def note():
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".new", path)
def stay():
    time.sleep(600)
    os._exit(0)
def leave_when_noted():
    while not os.path.exists(path):
        time.sleep(0.001)
    os._exit(0)
if shape == "fork":
    if os.fork(): os._exit(0)
    os.setsid(); note(); stay()
if shape == "fork-slow":
    time.sleep(0.3)
    if os.fork(): leave_when_noted()
    os.setsid(); note(); stay()
if shape == "fork-without-session":
    if os.fork(): os._exit(0)
    note(); stay()
if shape == "double":
    if os.fork(): os._exit(0)
    os.setsid()
    if os.fork(): os._exit(0)
    note(); stay()
if shape == "double-slow-middle":
    if os.fork(): os._exit(0)
    os.setsid(); time.sleep(0.03)
    if os.fork(): os._exit(0)
    note(); stay()
if shape == "double-session-last":
    if os.fork(): os._exit(0)
    if os.fork(): os._exit(0)
    os.setsid(); note(); stay()
if shape == "double-parent-waits":
    child = os.fork()
    if child: os.waitpid(child, 0); os._exit(0)
    os.setsid()
    if os.fork(): leave_when_noted()
    note(); stay()
if shape == "workers":
    if os.fork(): leave_when_noted()
    os.setsid()
    for _ in range(3):
        if not os.fork(): stay()
    note(); stay()
if shape == "two":
    if not os.fork(): os.setsid(); note(); stay()
    while not os.path.exists(path): time.sleep(0.001)
    if not os.fork(): os.setsid(); stay()
    os._exit(0)
if shape == "parent-stays":
    if os.fork(): stay()
    os.setsid(); note(); stay()
if shape == "parent-stays-with-worker":
    if os.fork(): note(); stay()
    stay()
if shape == "double-lingering-middle":
    if os.fork(): os._exit(0)
    os.setsid()
    if os.fork(): time.sleep(0.3); os._exit(0)
    note(); stay()
if shape == "one-worker":
    if os.fork(): time.sleep(0.05); os._exit(0)
    os.setsid()
    if os.fork(): note(); stay()
    stay()
if shape == "parent-stays-double":
    child = os.fork()
    if child: os.waitpid(child, 0); stay()
    os.setsid()
    if os.fork(): os._exit(0)
    note(); stay()
if shape == "never":
    note(); stay()
if shape == "dies":
    os._exit(3)
if shape == "child-dies":
    if os.fork(): os.wait(); os._exit(4)
    os._exit(5)
"""


@pytest.fixture(params=["cgroup", "session"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    """With a cgroup for each job, and without any."""
    (tmp_path / "daemon.py").write_text(DAEMON)
    for made in make_host(tmp_path, cgroups=request.param == "cgroup"):
        if request.param == "cgroup" and (made.cgroups is None or not made.cgroups.available):
            pytest.skip("no writable cgroup v2 hierarchy")
        yield made


def command(host: Host, shape: str) -> str:
    return f"/usr/bin/python3 -IS {host.directory}/daemon.py {shape} {host.directory}/pid"


def noted(host: Host) -> int:
    path = host.directory / "pid"
    until(path.exists)
    return int(path.read_text())


class Followed:
    """Drives a `Following` as the daemon does."""

    def __init__(self, host: Host, expect: str, line: str, script: bool = False) -> None:
        self.host = host
        result = host.spawn(host.job(line, script=script, expect=expect))
        self.spawned = self.pid = result.pid
        self.members = result.members
        self.following = Following(expect, "test-job", result.members, time.monotonic())
        self.decision: Decision = Wait(0.005, self.pid)
        self.due = time.monotonic()
        self.judged: set[int] = set()
        self.told: set[int] = set()

    def turn(self) -> None:
        """One turn of the loop."""
        self.host.turn()
        if self.pid not in self.told and not alive(self.pid) and warden.has(self.members, self.pid):
            # As the daemon learns by a pidfd; how it ended is told when the warden is dismissed.
            self.told.add(self.pid)
            if self.following.undecided:
                self._decide(self.following.main_ended(time.monotonic(), None))
            else:
                self._dismiss()
        elif isinstance(self.decision, Failed) and self.members.warden:
            self._dismiss()
        for pid in list(self.host.statuses):
            if pid in self.judged:
                continue
            self.judged.add(pid)
            now = time.monotonic()
            if pid == self.pid:
                self._decide(self.following.main_ended(now, self.host.statuses[pid]))
            elif isinstance(self.decision, Wait):
                decision = self.following.orphan_ended(pid, now)
                if decision is not None:
                    self._decide(decision)
        if isinstance(self.decision, Wait) and time.monotonic() >= self.due:
            self._decide(self.following.look(time.monotonic()))

    def _dismiss(self) -> None:
        self.members.processes(fresh=True)
        warden.dismiss(self.members)

    def _decide(self, decision: Decision) -> None:
        self.decision = decision
        if isinstance(decision, Wait):
            self.due = time.monotonic() + decision.seconds
        elif isinstance(decision, Forked):
            self.pid = decision.pid

    def decided(self, seconds: float = 5.0) -> Decision:
        """The first decision that is no `Wait`."""

        def done() -> bool:
            self.turn()
            return not isinstance(self.decision, Wait)

        until(done, seconds)
        return self.decision

    def settled_on(self, pid: int) -> None:
        """Until the job is with ``pid``, which lives."""

        def done() -> bool:
            self.turn()
            return self.pid == pid and isinstance(self.decision, Forked)

        until(done)
        assert alive(pid)


@pytest.mark.parametrize(
    ("expect", "shape"),
    [
        ("fork", "fork"),
        ("fork", "fork-slow"),
        ("fork", "fork-without-session"),
        ("fork", "workers"),
        ("fork", "two"),
        ("fork", "parent-stays"),
        ("daemon", "double"),
        ("daemon", "double-slow-middle"),
        ("daemon", "double-session-last"),
        ("daemon", "double-parent-waits"),
        ("daemon", "parent-stays-double"),
        ("daemon", "double-lingering-middle"),
    ],
)
def test_a_correct_stanza_gives_the_daemon_and_no_note(host: Host, expect: str, shape: str) -> None:
    followed = Followed(host, expect, command(host, shape))
    followed.settled_on(noted(host))
    assert isinstance(followed.decision, Forked) and followed.decision.note is None


@pytest.mark.parametrize(
    ("expect", "shape", "fits"),
    [
        ("daemon", "fork", "fork"),
        ("daemon", "workers", "fork"),
        ("daemon", "one-worker", "fork"),
        ("daemon", "parent-stays", "fork"),
        ("daemon", "fork-without-session", None),
        ("fork", "double", "daemon"),
        ("fork", "double-slow-middle", "daemon"),
        ("fork", "double-session-last", None),
        ("fork", "double-parent-waits", "daemon"),
    ],
)
def test_a_wrong_stanza_gives_the_daemon_all_the_same(host: Host, expect: str, shape: str, fits: str | None) -> None:
    followed = Followed(host, expect, command(host, shape))
    followed.settled_on(noted(host))
    assert isinstance(followed.decision, Forked)
    if fits is not None:
        assert followed.decision.note is not None and f'"expect {fits}" would fit' in followed.decision.note


@pytest.mark.parametrize("expect", ["fork", "daemon"])
@pytest.mark.parametrize("shape", ["dies", "child-dies"])
def test_a_daemon_that_dies_early_has_failed(host: Host, expect: str, shape: str) -> None:
    followed = Followed(host, expect, command(host, shape))
    assert isinstance(followed.decided(), Failed)

    def reaped() -> bool:
        followed.turn()
        return followed.spawned in host.statuses

    until(reaped)
    assert host.statuses[followed.spawned] in (3, 4)


@pytest.mark.parametrize("expect", ["fork", "daemon"])
def test_a_daemon_that_never_forks_is_waited_for(host: Host, expect: str) -> None:
    followed = Followed(host, expect, command(host, "never"))
    pid = noted(host)
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        followed.turn()
        time.sleep(0.01)
    assert isinstance(followed.decision, Wait) and pid == followed.spawned


@pytest.mark.parametrize("expect", ["fork", "daemon"])
def test_a_program_that_stays_with_a_worker_is_the_service(host: Host, expect: str) -> None:
    followed = Followed(host, expect, command(host, "parent-stays-with-worker"))
    assert noted(host) == followed.spawned

    def running() -> bool:
        followed.turn()
        return isinstance(followed.decision, Wait) and followed.decision.running

    began = time.monotonic()
    until(running)
    assert time.monotonic() - began < 1.5 and followed.pid == followed.spawned


@pytest.mark.parametrize("expect", ["fork", "daemon"])
def test_a_shell_script_is_followed_to_what_it_starts(host: Host, expect: str) -> None:
    shape = "fork" if expect == "fork" else "double"
    script = f"sleep 0.2\nx=$(sleep 0.1; echo y)\n(sleep 0.1)\n{command(host, shape)}\nsleep 0.1\n"
    followed = Followed(host, expect, script, script=True)
    if expect == "fork":
        decision = followed.decided()
        assert isinstance(decision, Forked) and decision.pid == noted(host)
    else:
        followed.settled_on(noted(host))


def test_a_shell_script_that_becomes_the_daemon_is_followed(host: Host) -> None:
    followed = Followed(host, "fork", f"sleep 0.1\n:\nexec {command(host, 'fork')}\n", script=True)
    decision = followed.decided()
    assert isinstance(decision, Forked) and decision.pid == noted(host)


def test_a_shell_that_stays_with_a_background_command_gives_that(host: Host) -> None:
    script = f"F={host.directory}/pid\nsleep 600 &\necho $! >$F.new; mv $F.new $F\nwait\n"
    followed = Followed(host, "fork", script, script=True)
    decision = followed.decided()
    assert isinstance(decision, Forked) and decision.pid == noted(host)


def test_processes_of_an_earlier_run_are_not_taken(host: Host) -> None:
    earlier = Followed(host, "fork", command(host, "fork"))
    earlier.settled_on(noted(host))
    os.unlink(host.directory / "pid")
    time.sleep(0.02)  # the start time of a process has a resolution of 10 ms
    later = Followed(host, "fork", command(host, "dies"))
    assert isinstance(later.decided(), Failed)
    assert alive(earlier.pid)


def test_killing_a_followed_job_leaves_nothing(host: Host) -> None:
    followed = Followed(host, "fork", command(host, "workers"))
    followed.settled_on(noted(host))
    assert len(left(followed.members)) >= 4
    assert signal_job(followed.pid, signal.SIGKILL, followed.members)
    host.until(lambda: not left(followed.members))
    warden.dismiss(followed.members)
    assert host.wait(followed.pid) == signal.SIGKILL << 8


def test_following_goes_on_after_a_restart_of_init(host: Host) -> None:
    followed = Followed(host, "fork", command(host, "fork-slow"))
    followed.turn()
    state = followed.following.dump()
    followed.following = Following.load(state, time.monotonic())
    followed.settled_on(noted(host))
