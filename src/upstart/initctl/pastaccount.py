"""The account of a job as a saved history tells it, for who explains: of what init has besides, that it is not known.

What is always true here: nothing is asked of an init.  ``start_on`` is None, which init's own account never has.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.client.story import Life, Story


def account_of(job: str, story: Story) -> dict[str, Any] | None:
    """What `upstart.engine.account` would tell of a job; None where the history has none of that name."""
    every = [of for of in {**story.goals, **story.lives, **story.failures} if of[:2] == (None, job)]
    if not every:
        return None
    last = [story.lives[of][-1] for of in every if of in story.lives]
    history = story.history
    return {
        "job": job, "file": "", "override": "", "start_on": None, "stop_on": [], "met": [], "task": False,
        "respawn": None, "expect": "none", "console": "log", "instance_name": "", "pending": False, "removed": False,
        "ending": False, "more": 0, "emitters": [], "held_by_it": [], "events": {},
        "clocks": [history.clock, history.suspended, history.wall],
        "instances": [_instance(life, story) for life in last if life.ended is None],
    }  # fmt: skip


def _instance(life: Life, story: Story) -> dict[str, Any]:
    """One that had not come to rest."""
    since, state = life.states[-1] if life.states else (0.0, "starting")
    goals = story.goals.get(life.of, [])
    goal = goals[-1] if goals else None
    running = [process for process in life.processes if process.ended is None]
    return {
        "name": life.of[2] or "",
        "goal": "stop" if life.stop is not None else "start",
        "goal_since": goal.at if goal is not None else 0.0,
        "cause": goal.cause if goal is not None else None,
        "state": state,
        "since": since,
        "pids": {process.name: process.pid for process in running},
        "began": {process.name: process.began for process in running if process.began is not None},
        "unready": [],
        "timers": {},
        "blocker": None,
        "met": [],
        "failed": bool(life.failure),
        "failure": life.failure,
        "respawns": len(life.respawns),
        "forced": False,
        "start_events": "",
        "stop_events": "",
    }
