"""The dconf bridge's pure part: which keys it hears of, and what it tells of them."""

from __future__ import annotations

import json

import pytest

from upstart.base.buswords import is_key
from upstart.bridges.dconfkeys import Keys

RULE = "type='signal',interface='ca.desrt.dconf.Writer',member='Notify'"


class Database:
    """What keys hold; the user has set those in ``user``."""

    def __init__(self) -> None:
        self.user: dict[str, str] = {}
        self.below = {"/a/x": "'default'"}
        self.keys = Keys(self.read)

    def read(self, key: str) -> tuple[bool, str]:
        return (True, self.user[key]) if key in self.user else (False, self.below.get(key, ""))

    def want(self, *conditions: str) -> None:
        self.keys.want([("dconf", condition.split()) for condition in conditions])

    def heard(self, prefix: str, *changes: str) -> list[str]:
        return [" ".join(env.values()) for _, env in self.keys.heard(prefix, changes)]

    def compare(self) -> list[str]:
        return [" ".join(env.values()) for _, env in self.keys.compare()]


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.mark.parametrize(
    ("condition", "place"),
    [
        ("KEY=/a/b/c", "/a/b/c"), ("changed /a/b", "/a/b"), ("KEY=/a/b* VALUE=1", "/a/"), ("KEY=/a/b/*", "/a/b/"),
        ("KEY=/a/$X", "/a/"), ("KEY!=/a", ""), ("VALUE=1", ""), ("KEY=*", ""),
    ],
)  # fmt: skip
def test_a_rule_asks_for_a_key_or_the_directory_that_it_may_be_in(
    database: Database, condition: str, place: str
) -> None:
    database.want(condition)
    assert database.keys.rules() == {f"{RULE},arg0path='{place}'" if place else RULE}


def test_a_change_is_told_with_the_value_and_a_reset_with_the_default(database: Database) -> None:
    database.want("KEY=/a/x", "TYPE=changed KEY=/a/y VALUE=5")
    database.user = {"/a/x": "'set'", "/a/y": "5", "/a/z": "1"}
    assert database.heard("/a/", "x", "y", "z") == ["changed /a/x 'set'", "changed /a/y 5"]
    assert database.heard("/a/x", "") == ["changed /a/x 'set'"]
    del database.user["/a/x"], database.user["/a/y"]
    assert database.heard("/a/", "x", "y") == ["reset /a/x 'default'"]
    database.user["/a/y"] = "6\n"
    assert database.heard("/a/y", "") == []
    database.want("KEY=/a/y")
    assert database.heard("/a/y", "") == ["changed /a/y 6\\x0a"]


def test_a_directory_that_is_reset_resets_what_was_known_below_it(database: Database) -> None:
    database.want("KEY=/a/x", "KEY=/a/b/*", "KEY=/c")
    database.user = {"/a/x": "1", "/a/b/y": "2", "/c": "3"}
    assert len(database.heard("/", "a/x", "a/b/y", "c")) == 3
    database.user = {"/c": "3"}
    assert database.heard("/a/", "") == ["reset /a/b/y ", "reset /a/x 'default'"] and database.heard("/a/", "") == []


def test_what_changed_while_nothing_was_heard_is_told(database: Database) -> None:
    database.want("KEY=/a/x", "KEY=/a/b/*")
    database.user = {"/a/x": "1"}
    # What a key held before is no event.
    assert database.compare() == [] == database.compare()
    database.heard("/a/b/y", "")
    again = Database()
    again.keys.known = {
        key: (bool(held[0]), held[1]) for key, held in json.loads(json.dumps(database.keys.known)).items()
    }
    again.want("KEY=/a/x", "KEY=/a/b/*")
    again.user = {"/a/b/y": "7"}
    assert again.compare() == ["changed /a/b/y 7", "reset /a/x 'default'"] and again.compare() == []
    again.want("KEY=/c")
    assert list(again.keys.known) == []


def test_a_key_of_which_it_is_in_doubt_what_was_told_is_told_again(database: Database) -> None:
    database.want("KEY=/a/x", "KEY=/a/b/*")
    database.user = {"/a/x": "1", "/a/b/y": "2"}
    database.keys.known = {"/a/x": (True, "1")}
    database.keys.unsure = {"/a/x", "/a/b/y", "/other"}
    assert database.compare() == ["changed /a/b/y 2", "changed /a/x 1"] and database.compare() == []


def test_everything_is_told_where_that_is_wanted(database: Database) -> None:
    database.keys.want(None)
    assert database.keys.rules() == {RULE} and database.heard("/q/", "r") == ["reset /q/r "]


@pytest.mark.parametrize("text", ["", "a", "/a/", "/a//b", "/a\0", "/"])
def test_what_is_no_key_is_not_asked_of_the_library(database: Database, text: str) -> None:
    assert not is_key(text)
    database.want("KEY=" + text.replace("\0", ""), "KEY=*")
    database.keys._read = lambda key: pytest.fail(key)
    assert database.heard(text, "") == []
