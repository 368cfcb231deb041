"""The tables of `make bench-cloud` in Markdown."""

from __future__ import annotations

import json

import boot_tables
from boot_tables import Timed

#: The stages as cloud-init calls them, and as we do.
STAGES = {"init-local": "local", "init": "network", "modules-config": "config", "modules-final": "final"}
#: Key of a figure, and what it is.
TIMES = (
    *((f"{name} {edge}", f"{name} stage {edge}s") for name in STAGES.values() for edge in ("begin", "end")),
    ("login", "login prompt"),
)
#: What was done for it.
EFFORT = (
    ("through own", "seconds but for what the host withheld"),
    ("through cpu", "seconds of the host's processors"),
    ("idle", "idle seconds"),
    ("processes", "processes"),
)


def stages(status: str, booted: float) -> dict[str, tuple[float, float]]:
    """When each stage began and ended, in seconds since the machine started at ``booted`` (seconds since 1970), by the
    text of status.json; ValueError if one did not.

    That of bookworm tells the time of day there, that of trixie the machine's age.
    """
    told = json.loads(status)["v1"]
    found = {name: (told[key]["start"], told[key]["finished"]) for key, name in STAGES.items()}
    for name, edges in found.items():
        if not all(edges):
            raise ValueError(f"the {name} stage has no end: {status}")

    def age(moment: float) -> float:
        return moment - booted if moment > booted else moment

    return {name: (age(begin), age(end)) for name, (begin, end) in found.items()}


def report(samples: dict[str, dict[str, list[Timed]]]) -> str:
    """All of it, by boot and init."""
    rounds = max((len(taken) for of_boot in samples.values() for taken in of_boot.values()), default=0)
    text = boot_tables.circumstances(rounds)
    for name, of_boot in samples.items():
        text += f"\n\n{name.capitalize()} boot, seconds after the exec of init, median (best):\n\n"
        text += boot_tables.times(of_boot, TIMES, ("final end", "all stages"))
        text += f"\nWhat was done in the {name} boot until the last stage was through, median (best):\n\n"
        effort = boot_tables.times(of_boot, EFFORT, ("through own", "seconds"), ("through cpu", "processors"))
        text += effort.rstrip("\n")
    return text + "\n"
