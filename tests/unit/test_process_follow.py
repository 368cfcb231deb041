"""Which process is taken for the daemon, decided from what is seen of a job's processes at chosen moments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.process.follow import PATIENCE, Decision, Failed, Follower, Forked, GaveUp, Wait
from upstart.process.procfs import ProcInfo
from upstart.process.sight import Sight

MAIN = 100


def proc(
    pid: int, ppid: int, sid: int | None = None, start: int | None = None, forked: bool = True, state: str = "S"
) -> ProcInfo:
    sid = MAIN if sid is None else sid
    return ProcInfo(pid, ppid, sid, sid, pid if start is None else start, state, "", forked)


def follower(expect: str) -> Follower:
    return Follower(expect, "job", MAIN, 0.0)


def pid_of(decision: object) -> int:
    assert isinstance(decision, Forked)
    return decision.pid


def test_fork_whose_parent_exits_is_the_child() -> None:
    f = follower("fork")
    decision = f.main_ended(0.01, 0, Sight([proc(101, 1, 101)]))
    assert pid_of(decision) == 101
    assert isinstance(decision, Forked) and decision.note is None


def test_fork_without_a_session_of_its_own_is_the_child() -> None:
    decision = follower("fork").main_ended(0.01, 0, Sight([proc(101, 1)]))
    assert pid_of(decision) == 101
    assert isinstance(decision, Forked) and decision.note is None


def test_daemon_in_the_session_of_an_ended_child_is_taken_at_once() -> None:
    decision = follower("daemon").main_ended(0.01, 0, Sight([proc(102, 1, 101)]))
    assert pid_of(decision) == 102
    assert isinstance(decision, Forked) and decision.note is None


def test_daemon_waits_for_a_child_that_is_about_to_fork_again() -> None:
    f = follower("daemon")
    assert isinstance(f.main_ended(0.01, 0, Sight([proc(101, 1, 101)])), Wait)
    assert isinstance(f.look(0.02, Sight([proc(101, 1, 101), proc(102, 101, 101)])), Wait)
    decision = f.look(0.03, Sight([proc(102, 1, 101)]))
    assert pid_of(decision) == 102
    assert isinstance(decision, Forked) and decision.note is None


@pytest.mark.parametrize("expect", ["fork", "daemon"])
def test_an_orphan_that_is_on_its_way_out_is_waited_for(expect: str) -> None:
    f = follower(expect)
    assert isinstance(f.main_ended(0.01, 0, Sight([], dying=True)), Wait)
    assert pid_of(f.look(0.02, Sight([proc(102, 1, 101)]))) == 102
    f = follower(expect)
    now, decision = 0.01, f.main_ended(0.01, 0, Sight([], dying=True))
    while isinstance(decision, Wait):
        now += decision.seconds
        decision = f.look(now, Sight([], dying=True))
    assert isinstance(decision, Failed) and now < 0.5


def test_second_fork_that_makes_its_own_session_is_known_by_having_come_later() -> None:
    f = follower("daemon")
    f.main_ended(0.01, 0, Sight([proc(101, 1)]))
    decision = f.look(0.02, Sight([proc(102, 1, 102)]))
    assert pid_of(decision) == 102
    assert isinstance(decision, Forked) and decision.note is None


def test_wrong_daemon_stanza_takes_the_child_and_names_fork() -> None:
    f = follower("daemon")
    now, decision = 0.01, f.main_ended(0.01, 0, Sight([proc(101, 1, 101)]))
    while isinstance(decision, Wait):
        now += decision.seconds
        decision = f.look(now, Sight([proc(101, 1, 101)]))
    assert pid_of(decision) == 101 and now < 0.2
    assert isinstance(decision, Forked) and decision.note is not None and '"expect fork" would fit' in decision.note


def test_wrong_fork_stanza_takes_the_grandchild_and_names_daemon() -> None:
    decision = follower("fork").main_ended(0.01, 0, Sight([proc(102, 1, 101)]))
    assert pid_of(decision) == 102
    assert isinstance(decision, Forked) and decision.note is not None and '"expect daemon" would fit' in decision.note


def test_child_taken_too_early_is_replaced_when_it_ends() -> None:
    f = follower("fork")
    assert pid_of(f.main_ended(0.01, 0, Sight([proc(101, 1, 101)]))) == 101
    assert pid_of(f.main_ended(0.02, 0, Sight([proc(102, 1, 101)]))) == 102


def test_daemon_that_ends_later_is_not_replaced_by_its_workers() -> None:
    f = follower("fork")
    f.main_ended(0.01, 0, Sight([proc(101, 1, 101)]))
    assert isinstance(f.main_ended(PATIENCE + 5, 0, Sight([proc(105, 1, 101)])), Failed)


def test_daemon_that_crashes_early_is_not_replaced_by_its_workers() -> None:
    f = follower("fork")
    f.main_ended(0.01, 0, Sight([proc(101, 1, 101)]))
    assert isinstance(f.main_ended(0.5, 11 << 8, Sight([proc(105, 1, 101)])), Failed)


def test_nothing_left_is_a_failure() -> None:
    for expect in ("fork", "daemon"):
        assert isinstance(follower(expect).main_ended(0.01, 1, Sight([])), Failed)


def test_daemon_that_dies_while_settling_is_a_failure() -> None:
    f = follower("daemon")
    assert isinstance(f.main_ended(0.01, 0, Sight([proc(101, 1, 101)])), Wait)
    assert isinstance(f.look(0.02, Sight([])), Failed)


def test_of_several_left_the_oldest_orphan_is_taken() -> None:
    workers = [proc(103, 102, 102), proc(104, 102, 102)]
    assert pid_of(follower("fork").main_ended(0.01, 0, Sight([proc(102, 1, 102), *workers]))) == 102
    assert pid_of(follower("fork").main_ended(0.01, 0, Sight([proc(101, 1), proc(102, 1, 102)]))) == 101


def drive(f: Follower, sight: Sight, until: float, now: float = 0.0) -> tuple[float, Decision]:
    """Look as often as is asked for, until there is a decision or the job is running, or ``until``."""
    decision = f.look(now, sight)
    while isinstance(decision, Wait) and not decision.running and now < until:
        now += decision.seconds
        decision = f.look(now, sight)
    return now, decision


@pytest.mark.parametrize("expect", ["fork", "daemon"])
def test_job_of_a_program_that_stays_with_workers_is_running_with_the_program(expect: str) -> None:
    for workers in ([proc(101, MAIN)], [proc(101, MAIN), proc(102, MAIN)], [proc(101, MAIN, forked=False)]):
        f = follower(expect)
        now, decision = drive(f, Sight(workers), 2.0)
        assert isinstance(decision, Wait) and decision.running and decision.pid == MAIN and 0.5 < now <= 1.0
        assert isinstance(f.main_ended(3.0, 9 << 8, Sight([proc(101, 1)])), Failed)


@pytest.mark.parametrize("expect", ["fork", "daemon"])
def test_workers_that_each_lead_a_session_are_no_daemon(expect: str) -> None:
    f = follower(expect)
    drive(f, Sight([proc(101, MAIN, 101)]), 0.2)
    now, decision = drive(f, Sight([proc(101, MAIN, 101), proc(102, MAIN, 102)]), 2.0, 0.3)
    assert isinstance(decision, Wait) and decision.running and now <= 1.1


def test_job_of_a_program_that_stays_with_a_worker_is_followed_when_the_program_ends() -> None:
    f = follower("fork")
    drive(f, Sight([proc(101, MAIN)]), 2.0)
    assert pid_of(f.main_ended(3.0, 0, Sight([proc(101, 1)]))) == 101


def test_child_in_a_session_of_a_program_that_stays_is_the_daemon() -> None:
    for expect, forked, longest in (("fork", False, 0.2), ("fork", True, 1.0), ("daemon", False, 1.0)):
        now, decision = drive(follower(expect), Sight([proc(101, MAIN, 101, forked=forked)]), 2.0)
        assert pid_of(decision) == 101 and now <= longest
        assert isinstance(decision, Forked) and (decision.note is None) == (expect == "fork")


def test_what_a_launcher_was_told_to_run_is_the_daemon() -> None:
    chain = [proc(101, MAIN, forked=False), proc(102, 101, forked=False)]
    for expect, shell, longest in (("fork", False, 1.0), ("daemon", False, 1.0), ("fork", True, 2.5)):
        f = follower(expect)
        now, decision = drive(f, Sight(chain, shell, launched={102}), 3.0)
        assert pid_of(decision) == 102 and now <= longest
        # The launcher ends in its turn, with the status.
        assert pid_of(f.main_ended(20.0, None, Sight([proc(MAIN, 1, forked=False)], shell))) == MAIN
        assert isinstance(f.main_ended(20.1, 3, Sight([])), Failed)


def test_grandchild_of_a_parent_that_lives_on_is_the_daemon() -> None:
    f = follower("daemon")
    f.look(0.01, Sight([proc(101, MAIN, 101), proc(102, 101, 101)]))
    f.look(0.02, Sight([proc(102, 1, 101)]))
    assert pid_of(f.look(0.08, Sight([proc(102, 1, 101)]))) == 102


def test_commands_of_a_shell_script_are_no_daemons() -> None:
    f = follower("fork")
    now = 0.0
    for pid in (101, 102, 103):
        for _ in range(10):
            now += 0.1
            assert isinstance(f.look(now, Sight([proc(pid, MAIN)], shell=True)), Wait)
    decision = f.main_ended(now, 0, Sight([proc(110, 1, 110)]))
    assert pid_of(decision) == 110


def test_background_command_of_a_shell_is_the_daemon() -> None:
    f = follower("fork")
    sight = Sight([proc(101, MAIN), proc(102, MAIN)], shell=True, background={101})
    f.look(0.01, sight)
    assert pid_of(f.look(0.07, sight)) == 101


def test_helper_program_of_a_daemon_is_not_the_daemon() -> None:
    f = follower("fork")
    for step in range(5):
        assert isinstance(f.look(0.1 * step, Sight([proc(101, MAIN)])), Wait)


def test_process_with_a_reused_number_starts_its_time_anew() -> None:
    f = follower("fork")
    f.look(0.01, Sight([proc(101, MAIN, 101, start=5)]))
    assert isinstance(f.look(0.07, Sight([proc(101, MAIN, 101, start=9)])), Wait)


def give_up(f: Follower, sight: Sight) -> object:
    now, decision = 0.0, f.look(0.0, sight)
    looks = 0
    while isinstance(decision, Wait):
        now += decision.seconds
        decision = f.look(now, sight)
        looks += 1
    assert PATIENCE <= now < PATIENCE + 1 and looks < 60
    return decision


def test_daemon_that_never_forks_counts_as_running() -> None:
    for expect in ("fork", "daemon"):
        decision = give_up(follower(expect), Sight([]))
        assert isinstance(decision, GaveUp)
        assert decision.text.startswith(f'job main process (100) has not forked within 10 seconds as "expect {expect}"')
        assert "without expect" in decision.text


def test_what_waits_for_a_processor_is_given_more_time() -> None:
    for expect in ("fork", "daemon"):
        f = follower(expect)
        for now in (5.0, 12.0, 20.0, 39.0):
            assert isinstance(f.look(now, Sight([], lag=now - 9)), Wait)
        assert isinstance(f.look(41.0, Sight([], lag=30.5)), GaveUp)
        # Within a bound: it may be one that never forks, and never gets enough.
        f = follower(expect)
        assert isinstance(f.look(59.0, Sight([], lag=58.0)), Wait)
        assert isinstance(f.look(60.5, Sight([], lag=60.0)), GaveUp)


@pytest.mark.parametrize("expect", ["fork", "daemon"])
def test_a_child_that_waits_for_a_processor_makes_no_server_of_its_parent(expect: str) -> None:
    f = follower(expect)
    for step in range(1, 40):
        decision = f.look(0.1 * step, Sight([proc(101, MAIN)], lag=0.08 * step))
        assert isinstance(decision, Wait) and not decision.running
    for step in range(1, 8):
        decision = f.look(4.0 + 0.1 * step, Sight([proc(101, MAIN)], lag=3.1))
    assert isinstance(decision, Wait) and decision.running


def test_text_names_the_stanza_that_fits_a_parent_that_lives_on() -> None:
    decision = give_up(follower("fork"), Sight([proc(102, 1, 101)], shell=True))
    assert isinstance(decision, GaveUp) and '"expect daemon" would fit' in decision.text
    for expect in ("fork", "daemon"):
        decision = give_up(follower(expect), Sight([proc(101, MAIN)]))
        assert isinstance(decision, GaveUp) and "a job without expect would fit" in decision.text
        assert "has not ended within 10 seconds" in decision.text


def test_late_fork_is_still_followed() -> None:
    f = follower("fork")
    give_up(f, Sight([]))
    assert pid_of(f.main_ended(60.0, 0, Sight([proc(101, 1, 101)]))) == 101


def test_main_process_that_crashes_after_giving_up_has_failed() -> None:
    f = follower("fork")
    give_up(f, Sight([]))
    assert isinstance(f.main_ended(60.0, 11 << 8, Sight([proc(101, 1, 101)])), Failed)


def test_main_process_that_was_told_to_end_is_not_replaced() -> None:
    f = follower("fork")
    give_up(f, Sight([]))
    assert isinstance(f.main_ended(60.0, 0, Sight([proc(101, 1, 101)]), stopping=True), Failed)


SHAPES = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 6), st.booleans(), st.booleans()), max_size=6, unique_by=lambda t: t[0]
)


@given(st.sampled_from(["fork", "daemon"]), st.lists(SHAPES, min_size=1, max_size=6), st.lists(SHAPES, max_size=200))
def test_following_always_comes_to_an_end_and_takes_only_what_lives(
    expect: str, before: list[list[tuple[int, int, bool, bool]]], after: list[list[tuple[int, int, bool, bool]]]
) -> None:
    def sight(shape: list[tuple[int, int, bool, bool]], main: bool) -> Sight:
        processes = [
            proc(MAIN + pid, MAIN + parent if parent < pid and (parent or main) else 1, MAIN + pid if leads else None)
            for pid, parent, leads, _background in sorted(shape)
        ]
        return Sight(processes, background={MAIN + pid for pid, _, _, background in shape if background})

    f = follower(expect)
    now = 0.0
    decision: object = Wait(0, MAIN)
    last = Sight([])
    for shape in before:
        last = sight(shape, True)
        decision = f.look(now, last)
        if not isinstance(decision, Wait):
            break
        now += decision.seconds
    if isinstance(decision, Wait):
        ended = now
        last = sight(after[0] if after else [], False)
        decision = f.main_ended(now, 0, last)
        for shape in after[1:]:
            if not isinstance(decision, Wait):
                break
            now += decision.seconds
            last = sight(shape, False)
            decision = f.look(now, last)
        assert not isinstance(decision, Wait) or now - ended < 1.2
    if isinstance(decision, Forked):
        assert decision.pid in {info.pid for info in last.processes}
    if isinstance(decision, Failed):
        assert not last.processes


def test_no_stanza_is_named_where_a_process_in_between_may_have_ended() -> None:
    for ended, named in ((101, False), (99, True), (103, True)):
        f = follower("daemon")
        f.orphan_ended(ended)
        f.main_ended(0.01, 0, Sight([proc(102, 1, 102)]))
        decision = f.look(0.3, Sight([proc(102, 1, 102)]))
        assert isinstance(decision, Forked) and (decision.note is not None) == named


def test_workers_of_a_child_are_not_taken_for_a_second_fork() -> None:
    f = follower("daemon")
    sight = Sight([proc(101, MAIN, 101), proc(102, 101, 101), proc(103, 101, 101)])
    for step in range(5):
        assert isinstance(f.look(0.1 * step, sight), Wait)
    left = [proc(101, 1, 101), proc(102, 101, 101), proc(103, 101, 101)]
    f.main_ended(0.5, 0, Sight(left))
    decision = f.look(0.8, Sight(left))
    assert pid_of(decision) == 101
    assert isinstance(decision, Forked) and decision.note is not None and '"expect fork" would fit' in decision.note


@pytest.mark.parametrize("seconds", [0.08, 0.3, 0.8])
def test_a_middle_that_lingers_is_not_the_daemon(seconds: float) -> None:
    f = follower("daemon")
    f.look(0.01, Sight([proc(101, MAIN, 101)]))
    left = Sight([proc(101, 1, 101), proc(102, 101, 101)])
    now, decision = 0.02, f.main_ended(0.02, 0, left)
    while now < seconds:
        assert isinstance(decision, Wait) and decision.pid == 101
        now += decision.seconds
        decision = f.look(now, left)
    decision = f.main_ended(now, 0, Sight([proc(102, 1, 101)]))
    assert pid_of(decision) == 102
    assert isinstance(decision, Forked) and decision.note is None


def test_a_middle_that_lingers_for_long_is_replaced_when_it_ends() -> None:
    f = follower("daemon")
    left = Sight([proc(101, 1, 101), proc(102, 101, 101)])
    now, decision = 0.02, f.main_ended(0.02, 0, left)
    while isinstance(decision, Wait):
        now += decision.seconds
        decision = f.look(now, left)
    assert pid_of(decision) == 101 and now <= 1.0
    assert pid_of(f.main_ended(1.5, 0, Sight([proc(102, 1, 101)]))) == 102


def test_a_middle_that_still_works_is_about_to_fork() -> None:
    f = follower("daemon")
    busy = Sight([proc(101, 1, 101, state="R")])
    now, decision = 0.02, f.main_ended(0.02, 0, busy)
    while now < 0.5:
        assert isinstance(decision, Wait)
        now += decision.seconds
        decision = f.look(now, busy)


def test_a_manager_that_was_executed_is_final_whatever_it_keeps() -> None:
    f = follower("daemon")
    f.look(0.01, Sight([proc(101, MAIN, 101, forked=False), proc(102, 101, 101, forked=False)], shell=True))
    left = Sight([proc(101, 1, 101, forked=False), proc(102, 101, 101, forked=False)])
    now, decision = 0.3, f.main_ended(0.3, 0, left)
    while isinstance(decision, Wait):
        now += decision.seconds
        decision = f.look(now, left)
    assert pid_of(decision) == 101 and now < 0.6


def test_unknown_end_beside_a_main_process_that_waits_is_the_jobs() -> None:
    f = follower("fork")
    main = proc(MAIN, 1, forked=False)
    drive(f, Sight([proc(101, MAIN, 101, forked=False)]), 2.0)
    assert isinstance(f.main_ended(0.5, None, Sight([main])), Failed)


def test_unknown_end_beside_a_main_process_with_workers_gives_the_main_process() -> None:
    f = follower("fork")
    main = proc(MAIN, 1, forked=False)
    drive(f, Sight([proc(101, MAIN, 101)]), 2.0)
    assert pid_of(f.main_ended(1.5, None, Sight([main, proc(105, MAIN, 105)]))) == MAIN


def test_unknown_end_that_leaves_an_orphan_gives_the_orphan() -> None:
    f = follower("fork")
    main = proc(MAIN, 1, forked=False)
    drive(f, Sight([proc(101, MAIN, 101, forked=False)]), 2.0)
    assert pid_of(f.main_ended(0.5, None, Sight([main, proc(105, 1, 101)]))) == 105


def test_child_in_a_session_whose_parents_live_on_is_the_daemon_with_the_wrong_stanza_too() -> None:
    decision = drive(follower("daemon"), Sight([proc(101, MAIN, 101), proc(102, 101, 101)]), 2.0)[1]
    assert pid_of(decision) == 101
    assert isinstance(decision, Forked) and decision.note is not None and '"expect fork" would fit' in decision.note
