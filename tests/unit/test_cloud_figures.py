"""What `make bench-cloud` makes of what cloud-init says of its stages."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / "bench"), str(TESTS / "boot")]

from boot_tables import Timed  # noqa: E402
from cloud_tables import EFFORT, STAGES, TIMES, report, stages  # noqa: E402


def status(since: float = 0.0, **changed: float | None) -> str:
    """status.json, in which the stage at place n lasts from 10 n to 10 n + 5 after `since`."""
    edges = {key: {"start": since + 10.0 * number, "finished": since + 10.0 * number + 5, "errors": []}
             for number, key in enumerate(STAGES, 1)}
    return json.dumps({"v1": {"stage": None, **edges, **{
        key.replace("_", "-"): {"start": 1.0, "finished": value} for key, value in changed.items()}}})


@pytest.mark.parametrize("since", [0.0, 1e9])
def test_stages_begin_and_end(since: float) -> None:
    """Told as the machine's age or as the time of day."""
    found = stages(status(since), 1e9)
    assert found == {"local": (10, 15), "network": (20, 25), "config": (30, 35), "final": (40, 45)}


@pytest.mark.parametrize("value", [None, 0.0])
def test_a_stage_that_has_no_end_is_no_figure(value: float | None) -> None:
    with pytest.raises(ValueError, match="config stage"):
        stages(status(modules_config=value), 1e9)


def test_each_boot_is_compared_with_systemds() -> None:
    keys = [key for key, _ in (*TIMES, *EFFORT)]
    samples = {
        name: {init: [Timed(dict.fromkeys(keys, seconds))] for init, seconds in of_boot.items()}
        for name, of_boot in {"first": {"upstart": 30.0, "systemd": 60.0}, "second": {"upstart": 20.0}}.items()
    }
    text = report(samples)
    assert text.count("1 rounds") == 1
    first, second = text.split("Second boot")
    assert first.count("\n| upstart | ") == 2 and first.count("\n| systemd | 60.0 (60.0) | ") == 2
    assert [line.split("|")[-2] for line in first.splitlines() if line.startswith("| upstart")] == [" 0.50 "] * 2
    assert "seconds, multiple of systemd" in first
    assert "all stages, multiple of systemd" in first and "multiple" not in second
