"""Object paths of jobs and instances."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.base.paths import escape, unescape
from upstart.daemon import paths
from upstart.dbus import wire


@pytest.mark.parametrize(
    ("name", "element"),
    [
        ("cron", "cron"),
        ("", "_"),
        ("_", "_5f"),
        ("a-b.c/d", "a_2db_2ec_2fd"),
        ("two words", "two_20words"),
        ("é", "_c3_a9"),
    ],
)
def test_escaping(name: str, element: str) -> None:
    assert escape(name) == element
    assert unescape(element) == name


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))
def test_every_name_comes_back(name: str) -> None:
    element = escape(name)
    assert unescape(element) == name
    assert wire.valid_path("/" + element)


@pytest.mark.parametrize("element", ["_2", "__", "_zz", "a_2D", "_61", "_ff_ff_"])
def test_elements_that_no_name_gives(element: str) -> None:
    assert unescape(element) is None


def test_what_a_path_may_mean() -> None:
    job = paths.job_path(None, "a/b")
    assert job == "/com/ubuntu/Upstart/jobs/a_2fb"
    assert paths.candidates(job) == [(None, "a/b", None)]
    instance = paths.instance_path(None, "a/b", "")
    assert paths.candidates(instance)[0] == (None, "a/b", "")
    in_chroot = paths.instance_path("/srv/root", "job", "1")
    assert paths.candidates(in_chroot) == [("/srv/root", "job", "1")]
    assert ("/srv/root", "job", None) in paths.candidates(paths.job_path("/srv/root", "job"))
    for nothing in (
        "/",
        "/com/ubuntu/Upstart/jobs",
        "/com/ubuntu/Upstart/jobs/a/b/c/d",
        "/com/ubuntu/Upstart/jobs/_zz",
    ):
        assert paths.candidates(nothing) == []
