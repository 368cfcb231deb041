"""Six services of different kinds, from the archive as they are, on a system whose init is ours; see services/.

All of them, and many more, are the business of `make check-services`.
"""

from __future__ import annotations

import archive
import pytest
from services import catalogue, trial


@pytest.fixture(scope="module")
def results() -> trial.Results:
    return trial.Trial(archive.host_release(), "sample", catalogue.sample(), print).run()


@pytest.mark.parametrize("package", catalogue.SAMPLE)
def test_a_service_is_installed_stopped_restarted_rebooted_and_purged(results: trial.Results, package: str) -> None:
    assert results[package] == dict.fromkeys(trial.STEPS, "")
