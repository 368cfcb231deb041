"""Which helpers init starts."""

from __future__ import annotations

from typing import Any

import pytest

from upstart.process import helper


def note_helpers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of those that are started from now on."""
    started: list[str] = []
    start = helper.start

    def noted(name: str, *arguments: Any) -> int:
        started.append(name)
        return start(name, *arguments)

    monkeypatch.setattr(helper, "start", noted)
    return started
