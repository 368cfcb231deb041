"""The file bridge: what jobs say, and what becomes of files, on a disk in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from file_disk import MemoryDisk, deal
from hypothesis import given, settings
from hypothesis import strategies as st

from upstart.base.glob import match
from upstart.bridges import filenews as of
from upstart.bridges import filetree
from upstart.bridges.filespec import Spec, read
from upstart.bridges.filestate import Journal
from upstart.bridges.filetree import Tree

if TYPE_CHECKING:
    from upstart.bridges.filenews import Told

# What jobs say


def specs(*conditions: str, home: str = "") -> dict[str, Spec]:
    """Each condition is the tests of one, with blanks between them."""
    complaints: list[str] = []
    found = read([("file", text.split(" ")) for text in conditions], home, complaints.append)
    assert complaints == []
    return found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("FILE=a", "Path must be absolute"), ("FILE=./a", "Path must be absolute"), ("FILE=/a/../b", "'..'"),
        ("EVENT=create", "without FILE="), ("FILE!=/a", "without FILE="), ("FILE=/run/$NAME.pid", "instance"),
        ("FILE=/", "always there"), ("FILE=~/a", "Path must be absolute"),
    ],
)  # fmt: skip
def test_what_cannot_be_watched_is_said(text: str, problem: str) -> None:
    complaints: list[str] = []
    assert read([("file", [text]), ("other", ["FILE=/x"])], "", complaints.append) == {}
    assert len(complaints) == 1 and problem in complaints[0]


def test_paths_of_a_session_may_begin_at_home() -> None:
    found = specs("FILE=~/a", "FILE=./b", "FILE=c/d", "FILE=/e", home="/home/me")
    assert [spec.parts for spec in found.values()] == [
        ("home", "me", "a"), ("home", "me", "b"), ("home", "me", "c", "d"), ("e",),
    ]  # fmt: skip
    assert found["~/a"].event("create", "/home/me/a", False) == {"FILE": "~/a", "EVENT": "create"}


def test_conditions_of_one_path_are_one_and_each_takes_what_it_takes() -> None:
    found = specs(
        "FILE=/a/*.x EVENT=create MATCH=*/b.x", "FILE=/a/*.x EVENT=delete", "/a/*.y modify", "FILE=/c EVENT!=modify"
    )  # fmt: skip
    first = found["/a/*.x"]
    assert first.kinds == {"create", "delete"}
    assert first.event("create", "/a/b.x", True) == {"FILE": "/a/*.x", "EVENT": "create", "MATCH": "/a/b.x"}
    assert first.event("create", "/a/c.x", True) is None
    assert first.event("delete", "/a/c.x", True) is not None
    assert found["/a/*.y"].kinds == {"modify"} and found["/c"].kinds == {"create", "delete"}
    assert specs("FILE=/a X=y")["/a"].event("create", "/a", False) is None


def test_what_is_not_usual_is_told_to_who_names_it() -> None:
    assert specs("FILE=/a")["/a"].kinds == {"create", "modify", "delete"}
    assert specs("FILE=/a EVENT=*")["/a"].kinds == {"create", "modify", "delete"}
    assert specs("FILE=/a EVENT=attrib", "FILE=/a EVENT=open")["/a"].kinds == {"attrib", "open"}


def test_a_pattern_that_does_not_match_itself_is_told_as_what_matched() -> None:
    spec = specs("FILE=/a/[xy]")["/a/[xy]"]
    env = spec.event("create", "/a/x", True)
    assert env is not None and match("/a/[xy]", env["FILE"]) and env["MATCH"] == "/a/x"


def test_bytes_that_are_no_text_are_written_so_that_everybody_can_read_them() -> None:
    env = specs("FILE=/a/*")["/a/*"].event("create", "/a/\udcffä", True)
    assert env == {"FILE": "/a/*", "EVENT": "create", "MATCH": "/a/\\xffä"}


# What becomes of files


class World:
    """A disk, a tree over it, and what that has told."""

    def __init__(self, *conditions: str, room: int = 1000, limit: int = 1000) -> None:
        self.disk = MemoryDisk(room, limit)
        self.said: list[str] = []
        self.tree = Tree(self.disk, self.said.append)
        self.conditions = conditions

    def begin(self) -> list[str]:
        return self.told(self.tree.want(specs(*self.conditions)))

    def told(self, events: Iterable[Told]) -> list[str]:
        return [f"{env['EVENT']} {env.get('MATCH', env['FILE'])}" for _, _, env, _ in events]

    def deal(self) -> list[str]:
        return self.told(deal(self.disk, self.tree))

    def later(self, seconds: float = 1.01) -> list[str]:
        self.disk.clock += seconds
        return self.told(self.tree.due())


def world(*conditions: str, room: int = 1000, limit: int = 1000) -> World:
    """A disk with some directories, on which that is awaited."""
    world = World(*conditions, room=room, limit=limit)
    for path in ("/run", "/etc", "/etc/app", "/srv"):
        world.disk.make(path, "d")
    assert world.begin() == []
    return world


def test_a_file_is_there_when_who_writes_it_has_closed_it() -> None:
    it = world("FILE=/etc/f")
    it.disk.make("/etc/f")
    assert it.deal() == []
    it.disk.close("/etc/f")
    assert it.deal() == ["create /etc/f"]
    for _ in range(2):
        it.disk.close("/etc/f")
    assert it.deal() == ["modify /etc/f"] * 2
    it.disk.remove("/etc/f")
    assert it.deal() == ["delete /etc/f"]


def test_one_that_stays_open_is_there_after_a_second() -> None:
    it = world("FILE=/etc/f")
    it.disk.make("/etc/f")
    assert it.deal() == [] and it.later(0.5) == [] and it.later(0.51) == ["create /etc/f"]
    it.disk.close("/etc/f")
    assert it.deal() == ["modify /etc/f"]


@pytest.mark.parametrize("kind", ["l", "p", "d", "s"])
def test_whatever_appears_is_created(kind: str) -> None:
    it = world("FILE=/etc/f")
    it.disk.make("/etc/f", kind, "/nowhere")
    assert it.deal() + it.later(0.02) == ["create /etc/f"]
    it.disk.remove("/etc/f")
    assert it.deal() == ["delete /etc/f"]


def test_a_hard_link_is_there_at_once() -> None:
    it = world("FILE=/etc/f")
    it.disk.make("/etc/f").links = 2
    assert it.deal() == ["create /etc/f"]


def test_a_socket_is_there_when_it_can_be_connected_to() -> None:
    it = world("FILE=/run/s")
    socket = it.disk.make("/run/s", "s")
    socket.listens = False
    assert it.deal() == [] and it.later(0.02) == [] and it.later(3.0) == [] and it.tree.pending
    socket.listens = True
    assert it.later(10.0) == ["create /run/s"]


def test_a_socket_that_nobody_has_is_not_looked_at_for_ever() -> None:
    it = world()
    it.disk.make("/run/s", "s").listens = None  # type: ignore[assignment]
    it.conditions = ("FILE=/run/s",)
    assert it.begin() == []
    for _ in range(8):
        assert it.later(0.5) == []
    assert not it.tree.pending
    it.disk.remove("/run/s")
    assert it.deal() == []


def test_a_rename_into_place_has_made_it_and_changed_it() -> None:
    it = world("FILE=/etc/f")
    it.disk.write("/etc/new")
    it.disk.move("/etc/new", "/etc/f")
    assert it.deal() == ["create /etc/f"]
    it.disk.write("/etc/new")
    it.disk.move("/etc/new", "/etc/f")
    assert it.deal() == ["create /etc/f", "modify /etc/f"]
    it.disk.move("/etc/f", "/etc/away")
    assert it.deal() == ["delete /etc/f"]


def test_an_editor_that_moves_the_old_one_away_has_changed_it() -> None:
    it = world("FILE=/etc/f EVENT=modify")
    it.disk.write("/etc/f")
    it.deal()
    it.disk.move("/etc/f", "/etc/f~")
    it.disk.write("/etc/f")
    assert it.deal() == ["modify /etc/f"]
    it.disk.remove("/etc/f")
    it.deal()
    it.disk.clock += 2
    it.disk.write("/etc/f")
    assert it.deal() == []


def test_what_comes_and_goes_at_once_is_told_in_its_order() -> None:
    it = world("FILE=/etc/f")
    it.disk.write("/etc/f")
    it.disk.close("/etc/f")
    it.disk.remove("/etc/f")
    it.disk.make("/etc/f")
    it.disk.remove("/etc/f")
    once = ["create /etc/f", "modify /etc/f", "delete /etc/f"]
    assert it.deal() == once * 2


def test_what_is_there_already_is_created_for_who_comes() -> None:
    it = World()
    it.disk.make("/etc", "d")
    for name in ("a.x", "b.x", "c"):
        it.disk.write(f"/etc/{name}")
    it.disk.clock += 5
    it.conditions = ("FILE=/etc/*.x", "FILE=/etc/", "FILE=/etc/c EVENT=modify")
    assert sorted(it.begin()) == ["create /etc/", "create /etc/a.x", "create /etc/b.x"]
    # Only for who comes.
    it.conditions = (*it.conditions, "FILE=/etc/c", "FILE=/etc/a.*")
    assert sorted(it.begin()) == ["create /etc/a.x", "create /etc/c"]
    it.disk.close("/etc/c")
    assert it.deal() == ["modify /etc/c", "modify /etc/c"]
    it.conditions = ("FILE=/etc/c",)
    assert it.begin() == []
    it.disk.close("/etc/c")
    it.disk.close("/etc/a.x")
    assert it.deal() == ["modify /etc/c"]


def test_a_directory_is_modified_by_whatever_happens_in_it() -> None:
    it = world("FILE=/etc/d/")
    it.disk.make("/etc/d", "d")
    assert it.deal() == ["create /etc/d/"]
    it.disk.write("/etc/d/x")
    it.disk.make("/etc/d/sub", "d")
    it.disk.write("/etc/d/sub/y")
    it.disk.close("/etc/d/x")
    it.disk.remove("/etc/d/x")
    assert it.deal() == ["modify /etc/d/x", "modify /etc/d/sub", "modify /etc/d/x", "modify /etc/d/x"]
    it.disk.remove("/etc/d")
    assert it.deal() == ["modify /etc/d/sub", "delete /etc/d/"]


def test_directories_that_are_made_with_what_is_in_them_lose_nothing() -> None:
    it = world("FILE=/srv/a/b/c/f", "FILE=/srv/a/")
    for path in ("/srv/a", "/srv/a/b", "/srv/a/b/c"):
        it.disk.make(path, "d")
    it.disk.write("/srv/a/b/c/f")
    assert sorted(it.deal() + it.later()) == ["create /srv/a/", "create /srv/a/b/c/f", "modify /srv/a/b"]
    it.disk.close("/srv/a/b/c/f")
    assert it.deal() == ["modify /srv/a/b/c/f"]


def test_no_end_of_a_directory_makes_the_watch_over_others_deaf() -> None:
    it = world(*(f"FILE=/srv/{name}/f" for name in "abc"), "FILE=/srv/f")
    for name in "abc":
        it.disk.make(f"/srv/{name}", "d")
        it.disk.write(f"/srv/{name}/f")
    it.deal(), it.later()
    it.disk.remove("/srv/a")
    assert it.deal() == ["delete /srv/a/f"]
    it.disk.close("/srv/b/f")
    it.disk.write("/srv/f")
    assert it.deal() == ["modify /srv/b/f", "create /srv/f"]
    # A directory that is made again is watched again; one with another name is gone, however deep.
    it.disk.make("/srv/a", "d")
    it.disk.write("/srv/a/f")
    assert sorted(it.deal() + it.later()) == ["create /srv/a/f", "modify /srv/a/f"]
    it.disk.move("/srv", "/away")
    assert sorted(it.deal()) == ["delete /srv/a/f", "delete /srv/b/f", "delete /srv/c/f", "delete /srv/f"]
    it.disk.move("/away", "/srv")
    it.disk.clock += 5
    assert sorted(it.deal()) == ["create /srv/a/f", "create /srv/b/f", "create /srv/c/f", "create /srv/f"]


def test_patterns_may_stand_for_directories_and_for_any_number_of_them() -> None:
    it = world("FILE=/srv/*/conf/*.yml", "FILE=/etc/**/f", "FILE=/run/**")
    for path in ("/srv/a", "/srv/a/conf", "/srv/b", "/etc/x", "/etc/x/y"):
        it.disk.make(path, "d")
    it.deal()
    for path in ("/srv/a/conf/1.yml", "/srv/a/conf/1.txt", "/etc/f", "/etc/x/f", "/etc/x/y/f", "/run/1"):
        it.disk.write(path)
    made = ("/srv/a/conf/1.yml", "/etc/f", "/etc/x/f", "/etc/x/y/f", "/run/1")
    assert it.deal() == [f"create {path}" for path in made]
    it.disk.make("/srv/b/conf", "d")
    it.disk.write("/srv/b/conf/2.yml")
    it.disk.make("/run/d", "d")
    it.disk.write("/run/d/2")
    assert sorted(it.deal() + it.later()) == ["create /run/d", "create /run/d/2", "create /srv/b/conf/2.yml"]


def test_links_in_circles_end_nothing() -> None:
    it = world("FILE=/srv/**/f", "FILE=/srv/*/*/f")
    it.disk.make("/srv/a", "d")
    it.disk.make("/srv/a/b", "l", "/srv")
    it.disk.write("/srv/f")
    it.disk.write("/srv/a/f")
    assert sorted(it.deal() + it.later()) == ["create /srv/a/b/f", "create /srv/a/f", "create /srv/f"]


def test_no_more_directories_are_watched_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filetree, "MOST", 10)
    it = world("FILE=/srv/**/f")
    for number in range(20):
        it.disk.make(f"/srv/{number}", "d")
    it.deal()
    assert len(it.tree.nodes) == 10 and len(it.said) == 1 and "more than 10 directories" in it.said[0]
    it.disk.write("/srv/1/f")
    assert it.deal() == ["create /srv/1/f"]


def test_where_there_is_no_room_it_is_looked_for() -> None:
    it = world("FILE=/srv/f", "FILE=/etc/f", room=2)
    it.disk.write("/etc/f")
    it.disk.write("/srv/f")
    it.disk.clock += 5
    told = it.deal()
    assert sorted(told + it.told(it.tree.poll())) == ["create /etc/f", "create /srv/f"]
    it.disk.room = 100
    it.told(it.tree.poll())
    it.disk.close("/etc/f")
    it.disk.close("/srv/f")
    assert it.deal() == ["modify /etc/f", "modify /srv/f"]


def test_what_the_kernel_has_dropped_is_found_by_comparing() -> None:
    it = world("FILE=/srv/*", limit=10)
    for number in range(100):
        it.disk.write(f"/srv/{number}")
    it.disk.clock += 5
    assert sorted(it.deal()) == sorted(f"create /srv/{number}" for number in range(100))
    for number in range(100):
        (it.disk.close if number % 2 else it.disk.remove)(f"/srv/{number}")
    assert sorted(it.deal()) == sorted(f"{'modify' if number % 2 else 'delete'} /srv/{number}" for number in range(100))


def test_a_mount_over_a_directory_is_another_one() -> None:
    it = world("FILE=/srv/f")
    it.disk.write("/srv/f")
    assert it.deal() == ["create /srv/f"]
    it.disk.mount("/srv")
    assert it.told(it.tree.recheck_all()) == ["delete /srv/f"]
    it.disk.write("/srv/f")
    assert it.deal() == ["create /srv/f", "modify /srv/f"]
    it.disk.umount("/srv")
    it.disk.clock += 5
    assert it.told(it.tree.recheck_all()) == ["delete /srv/f", "create /srv/f", "modify /srv/f"]


def test_a_link_of_a_stranger_leads_nowhere() -> None:
    it = world("FILE=/srv/d/passwd", "FILE=/run/e/passwd")
    it.disk.foreign.add("/srv/d")
    it.disk.write("/etc/passwd")
    it.disk.clock += 5
    it.disk.make("/srv/d", "l", "/etc")
    it.disk.make("/run/e", "l", "/etc")
    assert it.deal() == ["create /run/e/passwd"]
    it.disk.close("/etc/passwd")
    assert it.deal() == ["modify /run/e/passwd"]
    it.disk.remove("/run/e")
    it.disk.clock += 5
    it.disk.make("/run/e", "l", "/srv")
    assert it.deal() == ["delete /run/e/passwd"]


def test_kinds_that_are_not_usual() -> None:
    it = world(*(f"FILE=/etc/f EVENT={kind}" for kind in ("open", "close", "attrib", "moved")))
    it.disk.write("/etc/f")
    assert it.deal() == ["close /etc/f"]
    directory = it.disk.find("/etc")
    assert directory is not None
    for bits in (of.IN_OPEN, of.IN_CLOSE_NOWRITE, of.IN_ATTRIB):
        it.disk._note(directory, "f", bits)
    it.disk.move("/etc/f", "/etc/g")
    assert it.deal() == ["open /etc/f", "close /etc/f", "attrib /etc/f", "moved /etc/f"]


def test_another_life_tells_what_has_changed_and_nothing_else() -> None:
    it = world("FILE=/srv/*", "FILE=/etc/d/", "FILE=/run/s")
    it.disk.make("/etc/d", "d")
    for path in ("/srv/a", "/srv/b", "/srv/c", "/srv/d", "/etc/d/x"):
        it.disk.write(path)
    it.disk.make("/run/s", "s")
    it.deal(), it.later()
    saved = {path: {name: tuple(stamp) for name, stamp in names.items()}
             for path, names in json.loads(json.dumps(dict(it.tree.dump()))).items()}  # fmt: skip

    def again(*conditions: str) -> list[str]:
        it.tree = Tree(it.disk, it.said.append)
        it.disk.watched.clear()
        it.disk.queue.clear()
        old = list(specs(*it.conditions))
        return sorted(it.told(it.tree.want(specs(*it.conditions, *conditions), saved, old)))

    it.disk.clock += 5
    assert again() == []
    assert again("FILE=/run/*", "FILE=/srv/a EVENT=create") == ["create /run/s", "create /srv/a"]
    it.disk.close("/srv/a")
    it.disk.remove("/srv/b")
    it.disk.write("/srv/new")
    it.disk.move("/srv/c", "/srv/d")
    it.disk.remove("/etc/d")
    it.disk.clock += 5
    assert again() == ["create /srv/d", "create /srv/new", "delete /etc/d/", "delete /srv/b", "delete /srv/c",
                       "modify /etc/d/x", "modify /srv/a", "modify /srv/d"]  # fmt: skip
    it.disk.remove("/srv")
    assert "delete /srv/d" in again()


class Life:
    """Takes the place of a host."""

    def __init__(self, path: Path, epoch: str = "1") -> None:
        self.state_path = str(path / "deep" / "file.json")
        self.epoch = epoch
        self.said: list[str] = []

    def log(self, priority: int, text: str) -> None:
        self.said.append(text)


def journal(path: Path, epoch: str = "1") -> Journal:
    return Journal(Life(path, epoch))  # type: ignore[arg-type]


def test_what_was_told_and_what_may_have_been_told_are_two_things(tmp_path: Path) -> None:
    first = journal(tmp_path)
    assert first.load() is None
    first.begin(None)
    first.note([("/a", "x", (1, 2, 3)), ("/a", "y", (2, 2, 3))])
    first.confirm(["/a/*"], [("/a", {"x": (1, 2, 3), "y": (2, 2, 3)})], 2)
    first.note([("/a", "x", None), ("/a", "y", (2, 5, 3)), ("/a", "\udcff", (4, 4, 4))])
    second = journal(tmp_path)
    saved = second.load()
    assert saved is not None and saved.known == {"/a": {"x": (1, 2, 3), "y": (2, 2, 3)}} and saved.wanted == ["/a/*"]
    assert saved.unsure == {("/a", "\udcff")}
    # One that is killed at once leaves as much.
    second.begin(saved)
    again = journal(tmp_path).load()
    assert again is not None and (again.known, again.wanted, again.unsure) == (saved.known, saved.wanted, saved.unsure)
    second.confirm(["/b"], [], 0)
    with open(second._host.state_path, "a") as file:
        file.write('["/a", "torn')
    torn = journal(tmp_path).load()
    assert torn is not None and torn.wanted == ["/b"] and not torn.unsure
    assert journal(tmp_path, "2").load() is None
    Path(second._host.state_path).write_text("{")
    assert journal(tmp_path).load() is None


def test_the_journal_does_not_grow_for_ever(tmp_path: Path) -> None:
    it = journal(tmp_path)
    it.begin(None)
    for number in range(20_000):
        it.note([("/a", "x", (1, number, 3))])
        it.confirm(["/a/*"], [("/a", {"x": (1, number, 3)})], 1)
    assert os.stat(it._host.state_path).st_size < 500_000
    saved = journal(tmp_path).load()
    assert saved is not None and saved.known == {"/a": {"x": (1, 19_999, 3)}}


def test_what_may_have_been_told_and_has_gone_is_told(tmp_path: Path) -> None:
    it = World("FILE=/srv/*")
    it.disk.make("/srv", "d")
    it.disk.write("/srv/there")
    it.disk.clock += 5
    told = it.told(it.tree.want(specs("FILE=/srv/*"), {}, [], [("/srv", "there"), ("/srv", "gone"), ("/no", "x")]))
    assert told == ["create /srv/there", "delete /srv/gone"]


# Whatever happens

NAMES = ("a", "b", "c")
PATHS = [f"/{one}" for one in NAMES] + [f"/{one}/{two}" for one in NAMES for two in NAMES] + [
    f"/{one}/{two}/{three}" for one in NAMES for two in NAMES for three in NAMES
]
moves = st.tuples(
    st.sampled_from(["file", "dir", "close", "remove", "move", "link", "mount", "deal", "later", "lose"]),
    st.sampled_from(PATHS), st.sampled_from(PATHS),
)  # fmt: skip


def act(disk: MemoryDisk, move: str, path: str, other: str) -> None:
    directory, _, name = path.rpartition("/")
    parent = disk.find(directory)
    entry = parent.names.get(name) if parent is not None else None
    if parent is None:
        return
    if move == "file" and entry is None:
        disk.make(path)
    elif move == "dir" and entry is None:
        disk.make(path, "d")
    elif move == "link" and entry is None:
        disk.make(path, "l", other)
    elif move == "close" and entry is not None and entry.kind == "f":
        disk.close(path)
    elif move == "remove" and entry is not None:
        disk.remove(path)
    elif move == "mount" and entry is not None and entry.kind == "d":
        disk.mounts.pop(entry.number, None) or disk.mount(path)  # type: ignore[func-returns-value]
    elif move == "move" and entry is not None and not other.startswith(f"{path}/") and path != other:
        target = disk.find(other.rpartition("/")[0])
        over = target.names.get(other.rpartition("/")[2]) if target is not None else None
        if target is None or below(entry, target) or (over is not None and below(over, parent)):
            return
        if over is not None and ((over.kind == "d") != (entry.kind == "d") or over.names or over is entry):
            return
        disk.move(path, other)


def below(inode: object, target: object) -> bool:
    return inode is target or any(below(child, target) for child in getattr(inode, "names", {}).values())


def present(disk: MemoryDisk, spec: Spec) -> set[str]:
    """The paths at which something is that a spec means, by looking everywhere."""

    def entry(names: list[str]) -> object:
        return disk.look("/" + "/".join(names[:-1]), names[-1])

    def fits(parts: tuple[str, ...], names: list[str], at: int) -> bool:
        rest = names[at:]
        if not parts:
            return not rest
        if parts[0] == "**":
            # Through no link.
            deeper = len(rest) > 1 and getattr(entry(names[: at + 1]), "kind", "") == "d" and fits(parts, names, at + 1)
            return deeper or (len(rest) == 1 if len(parts) == 1 else fits(parts[1:], names, at))
        return bool(rest) and match(parts[0], rest[0]) and fits(parts[1:], names, at + 1)

    found = [path[1:].split("/") for path in PATHS]
    return {"/" + "/".join(names) for names in found if entry(names) is not None and fits(spec.parts, names, 0)}


CONDITIONS = ("FILE=/a", "FILE=/a/b", "FILE=/a/b/c", "FILE=/*/b", "FILE=/b/*/c", "FILE=/**/c", "FILE=/c/**")


@settings(max_examples=300, deadline=None)
@given(st.lists(moves, max_size=40), st.sampled_from([3, 1000]))
def test_in_the_end_what_was_told_is_what_there_is(moves: list[tuple[str, str, str]], limit: int) -> None:
    it = World(*CONDITIONS, limit=limit)
    there: dict[str, set[str]] = {text: set() for text in specs(*CONDITIONS)}

    def hear(events: Iterable[Told]) -> None:
        for _, _, env, _ in events:
            path = env.get("MATCH", env["FILE"])
            if env["EVENT"] == "create":
                there[env["FILE"]].add(path)
            elif env["EVENT"] == "delete":
                assert path in there[env["FILE"]], env
                there[env["FILE"]].discard(path)
            else:
                assert path in there[env["FILE"]], env

    hear(it.tree.want(specs(*CONDITIONS)))
    for move, path, other in moves:
        if move == "deal":
            hear(deal(it.disk, it.tree))
        elif move == "later":
            it.disk.clock += 0.6
            hear(it.tree.due())
        elif move == "lose":
            hear(it.tree.rescan_all())
        else:
            act(it.disk, move, path, other)
            if move == "mount":
                hear(it.tree.recheck_all())
    hear(deal(it.disk, it.tree))
    it.disk.clock += 5
    hear(it.tree.due())
    hear(deal(it.disk, it.tree))
    for text, spec in specs(*CONDITIONS).items():
        assert there[text] == present(it.disk, spec), text
    assert not it.tree.pending
