"""Random conditions and random events start and stop the jobs that 1.13.2 started and stopped, with its environments.

`dropin_conditions.json` holds job files of made-up conditions (nested, with values, globs, negations and variables),
the names of those that parse, and for each of a row of events the instances that came and went, in the original.
One thing is left out: a job whose instance name cannot be expanded keeps the event from all jobs after it there.
"""

from __future__ import annotations

import json
from pathlib import Path

from dropin import INSTANCE, JOB, MANAGER, PROPERTIES, UPSTART, Session, job_path

FACTS = json.loads(Path(__file__).with_name("dropin_conditions.json").read_text(encoding="utf-8"))


def instances(session: Session, jobs: list[str]) -> set[str]:
    found = set()
    for job in jobs:
        for path in session.call(job_path(job), JOB, "GetAllInstances")[1][0]:
            error, values = session.call(path, PROPERTIES, "GetAll", "s", INSTANCE)
            if error:
                continue
            name = values[0]["name"]
            words = session.call(MANAGER, UPSTART, "ListEnv", "as", [job, name])[1][0]
            own = [word for word in words if not word.startswith(("PATH=", "TERM=", "HOME=", "XDG_"))]
            found.add(" ".join([f"{job}({name}) {values[0]['goal']}/{values[0]['state']}", *own]))
    return found


def test_conditions_meet_events_as_they_did(tmp_path: Path) -> None:
    session = Session(tmp_path, FACTS["jobs"], "", "--no-cgroups")
    try:
        jobs = [path.rpartition("/")[2] for path in session.call(MANAGER, UPSTART, "GetAllJobs")[1][0]]
        assert sorted(jobs) == FACTS["parsed"]
        there: set[str] = set()
        for step in FACTS["steps"]:
            session.call(MANAGER, UPSTART, "EmitEvent", "sasb", step["event"], step["env"], False)
            there = (there - set(step["gone"])) | set(step["new"])
            assert instances(session, jobs) == there, step
    finally:
        session.close()
