"""What init has for the moment of a posix_spawn it has no longer than that, whatever fails; and what it could not have
back is not changed."""

from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from upstart.conf.parse import parse_job
from upstart.process import bequest, child, limits
from upstart.process.bequest import Bequest
from upstart.process.members import Members
from upstart.process.request import SpawnRequest

UNLIMITED = resource.RLIM_INFINITY
KINDS = (resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)


class Kernel:
    """The limits, the oom score and the priority of a process, which may have CAP_SYS_RESOURCE and CAP_SYS_NICE; the
    umask is the tests' own."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limits = dict.fromkeys((*KINDS, resource.RLIMIT_RTPRIO), (100, 1000))
        self.limits[resource.RLIMIT_CORE] = (0, UNLIMITED)
        self.privileged = True
        self.nr_open = 1 << 20
        self.nice = 0
        #: All limits that were asked for.
        self.asked: list[tuple[int, tuple[int, int]]] = []
        self.score = directory / "oom_score_adj"
        self.score.write_text("0\n")
        monkeypatch.setattr(bequest, "_SCORE", str(self.score))
        monkeypatch.setattr(resource, "getrlimit", lambda number: self.limits[number])
        monkeypatch.setattr(resource, "setrlimit", self.set)
        monkeypatch.setattr(limits, "_original", (100, 1000))
        monkeypatch.setattr(os, "getpriority", lambda which, who: self.nice)
        monkeypatch.setattr(os, "setpriority", self.set_priority)

    def set(self, number: int, limit: tuple[int, int]) -> None:
        self.asked.append((number, limit))
        soft, hard = (each & (1 << 64) - 1 for each in limit)
        if soft > hard:
            raise ValueError("current limit exceeds maximum limit")
        if number == resource.RLIMIT_NOFILE and hard > self.nr_open:
            raise ValueError("not allowed to raise maximum limit")
        if hard > self.limits[number][1] & (1 << 64) - 1 and not self.privileged:
            raise ValueError("not allowed to raise maximum limit")
        self.limits[number] = limit

    def set_priority(self, which: int, who: int, nice: int) -> None:
        assert (which, who) == (os.PRIO_PROCESS, 0)
        if nice < self.nice and not self.privileged:
            raise PermissionError(errno.EACCES, "Permission denied")
        self.nice = nice

    def state(self) -> tuple[object, ...]:
        umask = os.umask(0o22)
        os.umask(umask)
        return dict(self.limits), int(self.score.read_text().split()[0]), umask, self.nice


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    before = os.umask(0o27)
    yield Kernel(tmp_path, monkeypatch)
    os.umask(before)


def made(text: str, process: str = "main") -> child.Setup:
    job = parse_job("job", f"{text}exec true\n", "")
    return child.Setup(SpawnRequest(job, "job", process, "", {}), ["true"], -1, Members(0, 0, "job", "", None))


def serves(bequest: Bequest, text: str) -> bool:
    return bequest.serves(made(text).request.job_class)


LIMITS = "limit core 1 unlimited\nlimit nofile 20 30\nlimit nproc 1 2\nlimit memlock 3 4\n"
ALL = f"umask 077\nnice -3\noom score -5\n{LIMITS}"


def test_what_is_given_is_put_back(kernel: Kernel) -> None:
    before = kernel.state()
    mine = Bequest()
    assert serves(mine, ALL) and kernel.state() == before
    mine.give(made(ALL))
    given = {resource.RLIMIT_CORE: (1, UNLIMITED), resource.RLIMIT_NOFILE: (20, 30), resource.RLIMIT_NPROC: (1, 2),
             resource.RLIMIT_MEMLOCK: (3, 4), resource.RLIMIT_RTPRIO: (100, 1000)}  # fmt: skip
    assert kernel.state() == (given, -5, 0o77, -3)
    mine.put_back()
    assert kernel.state() == before


def test_the_security_process_has_what_init_was_given(kernel: Kernel) -> None:
    before = kernel.state()
    kernel.limits[resource.RLIMIT_NOFILE] = (1000, 1000)
    mine = Bequest()
    mine.give(made(ALL, "security"))
    assert kernel.state() == before
    assert bequest.descriptors(made(ALL, "security").request) == 100
    assert bequest.descriptors(made(ALL).request) == 20
    mine.put_back()
    assert kernel.limits[resource.RLIMIT_NOFILE] == (1000, 1000)


@pytest.mark.parametrize(
    "kind", ["as", "cpu", "data", "fsize", "msgqueue", "nice", "rss", "rtprio", "rttime", "sigpending", "stack"]
)
def test_no_limit_is_set_that_init_might_meet(kernel: Kernel, kind: str) -> None:
    assert not serves(Bequest(), f"limit {kind} unlimited unlimited\n")


@pytest.mark.parametrize(("own", "nice"), [(0, 1), (0, 19), (-5, -4), (5, 6)])
def test_a_lower_priority_than_its_own_is_left_to_a_fork(kernel: Kernel, own: int, nice: int) -> None:
    kernel.nice = own
    assert not serves(Bequest(), f"nice {nice}\n")
    assert serves(Bequest(), f"nice {own}\n") and serves(Bequest(), f"nice {own - 1}\n")


def test_a_priority_that_the_kernel_refuses_is_asked_for_once(kernel: Kernel) -> None:
    kernel.privileged = False
    before = kernel.state()
    mine = Bequest()
    with pytest.raises(PermissionError):
        mine.give(made("nice -1\n"))
    mine.put_back()
    assert kernel.state() == before and not serves(mine, "nice -1\n") and serves(mine, "umask 077\n")


def test_without_the_privilege_only_limits_are_set_that_can_be_had_back(kernel: Kernel) -> None:
    kernel.privileged = False
    mine = Bequest()
    assert serves(mine, "limit nofile 20 1000\nlimit core unlimited unlimited\n") and not kernel.asked
    for text in ("limit nofile 20 999\n", "limit core 0 1000\n", f"limit core 0 {2**64 - 5}\n"):
        assert not serves(mine, text)
    assert kernel.limits[resource.RLIMIT_RTPRIO] == (100, 1000)
    # That was found out once.
    assert kernel.asked.count((resource.RLIMIT_RTPRIO, (100, 1001))) == 1
    assert {number for number, _ in kernel.asked} == {resource.RLIMIT_RTPRIO}


def test_the_privilege_is_found_out_once_and_leaves_no_trace(kernel: Kernel) -> None:
    mine = Bequest()
    for _ in range(3):
        assert serves(mine, "limit nofile 20 999\n")
    assert kernel.asked == [(resource.RLIMIT_RTPRIO, (100, 1001)), (resource.RLIMIT_RTPRIO, (100, 1000))]


def test_where_the_privilege_cannot_be_tried_it_is_not_had(kernel: Kernel) -> None:
    kernel.limits[resource.RLIMIT_RTPRIO] = (100, UNLIMITED)
    assert not serves(Bequest(), "limit nofile 20 999\n")


def test_a_limit_that_the_kernel_would_not_give_again_is_not_changed(kernel: Kernel) -> None:
    before = kernel.state()
    kernel.nr_open = 500
    mine = Bequest()
    with pytest.raises(ValueError, match="maximum"):
        mine.give(made("limit core 0 0\nlimit nofile 20 30\n"))
    mine.put_back()
    assert kernel.state() == before


def test_a_higher_oom_score_than_inits_is_left_to_a_fork(kernel: Kernel) -> None:
    kernel.score.write_text("-300\n")
    before = kernel.state()
    mine = Bequest()
    with pytest.raises(OSError, match="higher"):
        mine.give(made("oom score -299\n"))
    mine.put_back()
    assert kernel.state() == before and serves(mine, "oom score -299\n")
    mine.give(made("oom score never\n"))
    assert kernel.state()[1] == -1000
    mine.put_back()
    assert kernel.state() == before


def test_once_a_lower_oom_score_was_refused_it_is_left_to_a_fork(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(fd: int, text: bytes, at: int) -> int:
        if text == b"-5":
            raise PermissionError(13, "as without the privilege")
        return len(text)

    monkeypatch.setattr(os, "pwrite", refused)
    mine = Bequest()
    assert serves(mine, "oom score -5\n")
    with pytest.raises(PermissionError):
        mine.give(made("oom score -5\n"))
    mine.put_back()
    assert not serves(mine, "oom score -5\n") and serves(mine, "limit nofile 20 30\n")


def each_line_fails(act: Callable[[], None], failed: Callable[[], None]) -> int:
    """Do it again and again, and have another of the lines in the module fail each time; how many there are."""
    line = 0
    while True:
        line += 1
        left = line

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename != bequest.__file__:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    raise MemoryError
            return trace

        sys.settrace(trace)
        try:
            act()
        except MemoryError:
            pass
        finally:
            sys.settrace(None)
        if left > 0:
            return line - 1
        failed()


def test_whichever_line_lacks_memory_all_is_put_back(kernel: Kernel) -> None:
    before = kernel.state()
    mine = Bequest()

    def act() -> None:
        nonlocal mine
        mine = Bequest()
        assert serves(mine, ALL)
        try:
            mine.give(made(ALL))
        finally:
            mine.put_back()

    def failed() -> None:
        # As before the next process, should the line have been one that says what is to be done.
        mine.put_back()
        assert kernel.state() == before

    assert each_line_fails(act, failed) > 50


@pytest.mark.parametrize("number", range(1, 20))
def test_whichever_call_fails_all_is_put_back(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    before = kernel.state()
    mine = Bequest()
    assert serves(mine, ALL)
    left = number

    def failing(call: Callable[..., object]) -> Callable[..., object]:
        def called(*args: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(5, "no reason")
            return call(*args)

        return called

    with monkeypatch.context() as patch:
        patch.setattr(resource, "setrlimit", failing(resource.setrlimit))
        patch.setattr(resource, "getrlimit", failing(resource.getrlimit))
        for name in ("open", "pread", "pwrite"):
            patch.setattr(os, name, failing(getattr(os, name)))
        try:
            mine.give(made(ALL))
        except OSError:
            pass
        finally:
            mine.put_back()
    assert kernel.state() == before


def test_what_is_not_back_is_given_to_no_other(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kernel.state()
    mine = Bequest()
    mine.give(made("oom score -5\nlimit core 0 unlimited\nlimit nofile 20 1000\nlimit nproc 10 1000\n"))
    with monkeypatch.context() as patch:
        kernel.nr_open = 10
        patch.setattr(kernel, "privileged", False)
        mine.put_back()
        assert kernel.limits[resource.RLIMIT_NOFILE] == (20, 1000)
        # The rest is.
        kernel.limits[resource.RLIMIT_NOFILE] = (100, 1000)
        assert kernel.state() == before
        with pytest.raises(OSError, match="not back"):
            mine.give(made(""))
    kernel.nr_open = 1 << 20
    mine.put_back()
    mine.give(made(""))
    mine.put_back()
    assert kernel.state() == before
