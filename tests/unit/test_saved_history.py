"""Saved histories: what is none, and one that was cut short, is told as that."""

from __future__ import annotations

from pathlib import Path

import pytest

from upstart.base.errors import ClientError
from upstart.client.history import load, saved
from upstart.initctl import commands_boot
from upstart.initctl import saved as saved_module
from upstart.initctl.context import Context

TEXT = saved([(0, '[[1.5,"begin","boot"]]'), (1, '[[2.5,"begin","boot"]]')], [2.0, 0.0, 3.0], 2, [])


def test_what_was_saved_is_loaded() -> None:
    history = load(TEXT)
    assert [number for number, _ in history.entries] == [0, 1]
    assert history.following == 2


@pytest.mark.parametrize("length", [0, 1, 20, 60, len(TEXT) // 2, len(TEXT) - 3])
def test_one_that_was_cut_short_is_told_as_none(length: int) -> None:
    with pytest.raises(ValueError, match="it is no saved history"):
        load(TEXT[:length])


@pytest.mark.parametrize("text", ["[]", "{}", '{"kind": "other"}', "init: a line of text\n", '{"a": 1}\n{"b": 2}\n'])
def test_other_texts_are_told_as_none(text: str) -> None:
    with pytest.raises(ValueError, match="it is no saved history"):
        load(text)


def test_one_of_a_later_version_or_without_its_parts_is_told() -> None:
    with pytest.raises(ValueError, match="a later version"):
        load(TEXT.replace('"version":1', '"version":99'))
    with pytest.raises(ValueError, match="it is damaged"):
        load(TEXT.replace('"following"', '"followed"'))


def test_where_no_last_boot_was_saved_it_is_said_how_to_have_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (commands_boot, saved_module):
        monkeypatch.setattr(module, "SAVED", str(tmp_path / "last"))
    with pytest.raises(ClientError) as caught:
        commands_boot.compare(Context("initctl"))
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}/last: No such file or directory. ") and "a session has no last boot" in text
    assert "'initctl history --save=FILE'" in text
    context = Context("initctl")
    context.args = [str(tmp_path / "mine")]
    with pytest.raises(ClientError, match=r"mine: No such file or directory$"):
        commands_boot.compare(context)
