"""When init moves itself into a cgroup to start a process there, and when it forks."""

from __future__ import annotations

from upstart.process.pace import BURST, COLD, SLOW, WARM, Pace

QUICK = SLOW / 100
GRACE = SLOW * 5


def costly() -> Pace:
    """A pace that has seen a slow move at second 0."""
    pace = Pace()
    pace.moved(0.0, GRACE, True)
    return pace


def test_init_moves_while_no_move_was_slow() -> None:
    pace = Pace()
    for second in range(1, 5):
        assert pace.worth_moving(float(second))
        pace.moved(float(second), second + QUICK, True)


def test_a_busy_machine_makes_no_move_slow() -> None:
    pace = Pace()
    pace.moved(0.0, GRACE, False)
    assert pace.worth_moving(1.0)


def test_a_lone_start_does_without_a_move_where_moves_are_slow() -> None:
    pace = costly()
    assert not any(pace.worth_moving(float(second)) for second in range(1, 20))


def test_a_move_right_after_another_is_quick() -> None:
    pace = costly()
    assert pace.worth_moving(GRACE + WARM / 2)


def test_a_burst_of_starts_is_worth_a_slow_move() -> None:
    pace = costly()
    answers = [pace.worth_moving(1 + number * WARM / 2) for number in range(BURST + 1)]
    assert answers == [False] * BURST + [True]


def test_a_quick_move_after_a_rest_means_that_moves_are_quick() -> None:
    pace = costly()
    pace.moved(1.0, 1.0 + QUICK, False)
    assert pace.worth_moving(2.0 + COLD)


def test_a_slow_move_soon_after_another_shortens_what_counts_as_soon() -> None:
    pace = costly()
    late = GRACE + WARM * 0.9
    pace.moved(late, late + GRACE, True)
    assert pace.worth_moving(late + GRACE + WARM * 0.4)
    assert not pace.worth_moving(late + GRACE + WARM * 0.9)
