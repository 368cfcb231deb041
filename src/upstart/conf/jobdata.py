"""A job class as plain data, for the state document and for telling whether two definitions say the same.

The layout is versioned with the document it goes into; a key that is missing means the stanza's default.
"""

from __future__ import annotations

from upstart.conf.jobclass import And, JobClass, Match, Or, ProcessDef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.conf.jobclass import Condition

_CONDITIONS = ("start_on", "stop_on")
_TUPLES = ("env", "export", "emits", "normal_exit")


def condition_to_data(condition: Condition) -> list[Any]:
    """``["match", name, arg…]``, ``["and", left, right]`` or ``["or", left, right]``."""
    if isinstance(condition, Match):
        return ["match", condition.name, *condition.args]
    kind = "and" if isinstance(condition, And) else "or"
    return [kind, condition_to_data(condition.left), condition_to_data(condition.right)]


def condition_from_data(data: list[Any]) -> Condition:
    """The inverse of `condition_to_data`."""
    if data[0] == "match":
        return Match(data[1], tuple(data[2:]))
    kind = And if data[0] == "and" else Or
    return kind(condition_from_data(data[1]), condition_from_data(data[2]))


def to_data(job_class: JobClass) -> dict[str, Any]:
    """What the file set, as values that JSON knows."""
    data: dict[str, Any] = dict(vars(job_class))
    for key in _CONDITIONS:
        if data.get(key) is not None:
            data[key] = condition_to_data(data[key])
    for key in _TUPLES:
        if key in data:
            data[key] = list(data[key])
    if "limits" in data:
        data["limits"] = {name: list(values) for name, values in data["limits"].items()}
    if "cgroups" in data:
        data["cgroups"] = [list(entry) for entry in data["cgroups"]]
    data["processes"] = {name: [process.command, process.script] for name, process in job_class.processes.items()}
    return data


def from_data(data: dict[str, Any]) -> JobClass:
    """The inverse of `to_data`; keys of a later version that this one does not know are kept and mean nothing."""
    job_class = JobClass(data["name"], data["source"], data.get("session"))
    for key, value in data.items():
        if key in _CONDITIONS and value is not None:
            value = condition_from_data(value)
        elif key in _TUPLES:
            value = tuple(value)
        elif key == "limits":
            value = {name: (soft, hard) for name, (soft, hard) in value.items()}
        elif key == "cgroups":
            value = tuple(tuple(entry) for entry in value)
        elif key == "processes":
            value = {name: ProcessDef(command, script) for name, (command, script) in value.items()}
        setattr(job_class, key, value)
    return job_class


def same_definition(one: JobClass, other: JobClass) -> bool:
    """Whether two classes were made by the same words."""
    return one is other or to_data(one) == to_data(other)
