"""Directories of job files: precedence, overrides, and what a change on disk does to jobs."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstart.conf.files import MAX_SIZE, is_ignored_directory, is_job_file, read_file, stamp_of
from upstart.conf.known import Change
from upstart.conf.sources import Sources


class Whole:
    """Sources whose steps are all taken at once."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.steps = Sources(warn)
        self.add_dir, self.add_file = self.steps.add_dir, self.steps.add_file
        self.job_class, self.remove_session = self.steps.job_class, self.steps.remove_session
        self.error, self.standing, self.paths = self.steps.error, self.steps.standing, self.steps.paths

    def load(self) -> list[Change]:
        return [change for change in self.steps.load() if change is not None]

    def reload(self) -> list[Change]:
        return [change for change in self.steps.reload() if change is not None]

    def changed(self, paths: Iterable[str]) -> list[Change]:
        return [change for change in self.steps.changed(paths) if change is not None]


class World:
    """Sources over directories a and b, and the messages they gave."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.messages: list[str] = []
        self.sources = Whole(self.messages.append)
        for name in ("a", "b"):
            (root / name).mkdir()
            self.sources.add_dir(str(root / name))

    def write(self, path: str, text: str | bytes) -> str:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(file)

    def remove(self, path: str) -> str:
        (self.root / path).unlink()
        return str(self.root / path)

    def description(self, name: str) -> str | None:
        job = self.sources.job_class(name)
        return None if job is None else job.description


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def names(changes: list[Change]) -> list[str]:
    return sorted(change.name for change in changes)


def test_every_job_file_defines_a_job_named_after_its_path(world: World) -> None:
    for path in ("cron.conf", "net/apache.conf", "a/b/c.conf", "with.dots.conf", ".hidden.conf", "sp ace.conf"):
        world.write("a/" + path, "task\n")
    world.write("a/not-a-job", "bad")
    world.write("a/job.conf~", "bad")
    world.write("a/job.conf.dpkg-new", "bad")
    changes = world.sources.load()
    assert names(changes) == [".hidden", "a/b/c", "cron", "net/apache", "sp ace", "with.dots"]
    assert all(change.job_class is not None and change.job_class.task for change in changes)
    job = world.sources.job_class("net/apache")
    assert job is not None and job.source == str(world.root / "a/net/apache.conf")
    assert world.messages == []


def test_the_first_directory_takes_precedence(world: World) -> None:
    world.write("a/x.conf", "description a")
    path = world.write("b/x.conf", "description b")
    assert names(world.sources.load()) == ["x"]
    assert world.description("x") == "a"
    world.write("b/x.conf", "description other")
    assert world.sources.changed([path]) == []
    assert names(world.sources.changed([world.remove("a/x.conf")])) == ["x"]
    assert world.description("x") == "other"
    world.write("a/x.conf", "description again")
    assert names(world.sources.reload()) == ["x"]
    assert world.description("x") == "again"


def test_an_invalid_file_is_reported_and_gives_way(world: World) -> None:
    path = world.write("a/x.conf", "task\ndescription one two\n")
    world.write("b/x.conf", "description b")
    [change] = world.sources.load()
    assert world.messages == [f"{path}:2: Unexpected token"]
    assert change.error == f"{path}:2: Unexpected token"
    assert world.description("x") == "b"


def test_a_file_that_becomes_invalid_no_longer_defines_its_job(world: World) -> None:
    path = world.write("a/x.conf", "description good")
    world.sources.load()
    world.write("a/x.conf", "exec\n")
    [change] = world.sources.changed([path])
    assert change.job_class is None
    assert change.error == f"{path}:1: Expected token"
    world.write("a/x.conf", "description better")
    [change] = world.sources.changed([path])
    assert change.error is None
    assert world.description("x") == "better"


def test_an_invalid_file_that_is_removed_has_no_error_any_more(world: World) -> None:
    path = world.write("a/x.conf", "exec\n")
    world.sources.load()
    assert world.sources.error("x") and world.sources.standing()
    world.sources.changed([world.remove("a/x.conf")])
    assert not world.sources.error("x") and not world.sources.standing()
    world.write("a/x.conf", "exec\n")
    world.sources.changed([path])
    world.remove("a/x.conf")
    world.sources.reload()
    assert not world.sources.error("x") and not world.sources.standing()


def test_a_file_that_was_just_written_has_no_stamp_yet(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.write("a/x.conf", "task")
    now = os.stat(path).st_ctime_ns
    monkeypatch.setattr(time, "time_ns", lambda: now + 1_000_000)
    assert read_file(path) == (b"task", None)
    monkeypatch.setattr(time, "time_ns", lambda: now + 1_000_000_000)
    assert read_file(path) == (b"task", stamp_of(os.stat(path)))


def test_a_reload_repeats_what_is_still_wrong_and_parses_nothing_else(world: World) -> None:
    path = world.write("a/bad.conf", "bad")
    world.write("a/good.conf", "task")
    for file in world.root.glob("a/*"):
        os.utime(file, (1, 1))
    world.sources.load()
    wait_until_old(world)
    world.sources.reload()
    good = world.sources.job_class("good")
    world.messages.clear()
    assert world.sources.reload() == []
    assert world.messages == [f"{path}:1: Unknown stanza"]
    assert world.sources.job_class("good") is good


def wait_until_old(world: World) -> None:
    """Wait until time stamps tell every change from what was loaded."""
    import time

    newest = max(file.stat().st_ctime_ns for file in world.root.rglob("*"))
    while time.time_ns() - newest < 25_000_000:
        time.sleep(0.005)


def test_overrides_come_and_go(world: World) -> None:
    world.write("a/x.conf", "start on foo\ndescription conf\nenv A=1\nexec one\npre-start exec two")
    world.sources.load()
    path = world.write("a/x.override", "manual\ndescription override\nenv B=2\nexec three")
    [change] = world.sources.changed([path])
    job = change.job_class
    assert job is not None
    assert job.start_on is None
    assert job.description == "override"
    assert job.env == ("A=1", "B=2")
    assert job.processes["main"].command == "three"
    assert job.processes["pre-start"].command == "two"
    assert job.override == path and job.source == str(world.root / "a/x.conf")
    [change] = world.sources.changed([world.remove("a/x.override")])
    assert change.job_class is not None and change.job_class.start_on is not None
    assert change.job_class.override is None


def test_an_override_is_noticed_without_being_told(world: World) -> None:
    world.write("a/x.conf", "start on foo")
    world.sources.load()
    world.write("a/x.override", "manual")
    [change] = world.sources.reload()
    assert change.job_class is not None and change.job_class.start_on is None


def test_the_first_override_up_to_the_directory_of_the_file_counts(world: World) -> None:
    world.write("b/x.conf", "description conf")
    world.write("b/x.override", "description b")
    world.sources.load()
    assert world.description("x") == "b"
    path = world.write("a/x.override", "description a")
    assert names(world.sources.changed([path])) == ["x"]
    assert world.description("x") == "a"
    world.sources.changed([world.remove("a/x.override")])
    assert world.description("x") == "b"


def test_an_override_counts_for_the_file_behind_it_where_only_its_directory_is_looked_at(world: World) -> None:
    world.write("b/x.conf", "description conf")
    world.sources.load()
    world.write("a/x.override", "description a")
    directory = str(world.root / "a")
    assert names(world.sources.changed([directory])) == ["x"] and world.description("x") == "a"
    world.remove("a/x.override")
    assert names(world.sources.changed([directory])) == ["x"] and world.description("x") == "conf"


def test_an_override_behind_the_file_does_not_count(world: World) -> None:
    world.write("a/x.conf", "description conf")
    world.write("b/x.override", "description b")
    world.sources.load()
    assert world.description("x") == "conf"


def test_an_override_alone_defines_nothing(world: World) -> None:
    world.write("a/x.override", "manual")
    assert world.sources.load() == []
    world.write("a/y.conf", "bad")
    world.write("a/y.override", "manual")
    [change] = world.sources.reload()
    assert change.job_class is None


def test_of_an_invalid_override_what_is_before_the_error_counts(world: World) -> None:
    world.write("a/x.conf", "start on foo\ndescription conf")
    path = world.write("a/x.override", "manual\nbad\ndescription override")
    [change] = world.sources.load()
    assert change.error == f"{path}:2: Unknown stanza"
    assert change.job_class is not None and change.job_class.start_on is None
    assert change.job_class.description == "conf"


def test_a_symbolic_link_is_a_job_but_no_override(world: World) -> None:
    target = world.write("elsewhere", "task")
    (world.root / "a/x.conf").symlink_to(target)
    (world.root / "a/x.override").symlink_to(world.write("other", "manual\nbad"))
    assert names(world.sources.load()) == ["x"]
    assert world.messages == []


def test_what_is_no_regular_file_is_left_alone(world: World) -> None:
    os.mkfifo(world.root / "a/fifo.conf")
    os.mkfifo(world.root / "a/fifo.override")
    (world.root / "a/null.conf").symlink_to("/dev/null")
    dangling = world.root / "a/dangling.conf"
    dangling.symlink_to("nowhere")
    (world.root / "a/dir.conf").mkdir()
    world.write("a/dir.conf/inside.conf", "task")
    (world.root / "a/loop.conf").symlink_to(world.root / "a")
    (world.root / "a/self.conf").symlink_to("self.conf")
    assert names(world.sources.load()) == ["dir.conf/inside"]
    assert f"{dangling}: No such file or directory" in world.messages
    assert f"{world.root}/a/loop.conf: Directory loop detected" in world.messages
    world.sources.changed([str(world.root / "a/fifo.conf"), str(world.root / "a/null.conf")])
    assert world.sources.job_class("fifo") is None


def test_a_file_that_is_too_big_is_refused(world: World) -> None:
    path = world.write("a/big.conf", b"#" * (MAX_SIZE + 1))
    world.write("a/fits.conf", b"task\n" + b"#" * (MAX_SIZE - 5))
    changes = {change.name: change for change in world.sources.load()}
    assert changes["big"].error == f"{path}: Error while loading configuration file: File too large"
    assert changes["fits"].job_class is not None


def test_an_unreadable_file_is_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.write("a/x.conf", "task")

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        [change] = world.sources.load()
    assert change.error == f"{path}: Error while loading configuration file: Permission denied"
    assert names(world.sources.reload()) == ["x"]


def test_a_lack_of_descriptors_does_not_undefine_jobs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.write("a/x.conf", "description one")
    world.sources.load()
    world.write("a/x.conf", "description two")

    def fail(*args: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        [change] = world.sources.changed([path])
        assert change.job_class is not None and change.job_class.description == "one"
        patch.setattr(os, "scandir", fail)
        assert all(change.job_class is not None for change in world.sources.reload())
    world.sources.reload()
    assert world.description("x") == "two"


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.ENOMEM, errno.EINVAL, errno.EPERM, errno.ENOSPC, errno.EACCES, errno.ENOTDIR]
)
def test_a_directory_takes_its_jobs_away_only_where_it_is_gone_or_not_for_us(
    world: World, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    world.write("a/x.conf", "task")
    world.sources.load()

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", fail)
        world.sources.reload()
    gone = number in (errno.EACCES, errno.ENOTDIR)
    assert (world.sources.job_class("x") is None) is gone
    assert world.messages[0] == f"{world.root}/a: Unable to load configuration: {os.strerror(number)}"
    world.sources.reload()
    assert world.sources.job_class("x") is not None


def test_directories_in_directories_end_somewhere(world: World) -> None:
    deep = "a/" + "d/" * 60
    world.write(deep + "x.conf", "task")
    world.write("a/d/d/y.conf", "task")
    assert names(world.sources.load()) == ["d/d/y"]
    [message] = world.messages
    assert message.endswith(": Directories nested too deeply")


def test_directories_come_and_go(world: World) -> None:
    world.write("a/net/x.conf", "task")
    world.sources.load()
    (world.root / "a").rename(world.root / "gone")
    [change] = world.sources.changed([str(world.root / "a")])
    assert (change.name, change.job_class) == ("net/x", None)
    assert world.messages == [f"{world.root}/a: Configuration directory deleted"]
    assert world.sources.reload() == []
    (world.root / "gone").rename(world.root / "a")
    assert names(world.sources.changed([str(world.root / "a")])) == ["net/x"]
    (world.root / "a/net").rename(world.root / "a/.net")
    [change] = world.sources.changed([str(world.root / "a/net")])
    assert change.job_class is None


def test_a_directory_that_does_not_exist_is_no_error(tmp_path: Path) -> None:
    messages: list[str] = []
    sources = Whole(messages.append)
    sources.add_dir(str(tmp_path / "missing"))
    sources.add_file(str(tmp_path / "init.conf"))
    assert sources.load() == []
    assert messages == []
    (tmp_path / "missing").write_text("")
    sources.reload()
    assert messages == [f"{tmp_path}/missing: Unable to load configuration: Not a directory"]


def test_no_stanza_is_valid_in_the_file_of_general_configuration(tmp_path: Path) -> None:
    messages: list[str] = []
    sources = Whole(messages.append)
    sources.add_file(str(tmp_path / "init.conf"))
    (tmp_path / "init.conf").write_text("# comment\n\nlog-priority debug\n")
    (tmp_path / "init.override").write_text("manual")
    sources.load()
    expected = [f"{tmp_path}/init.conf:3: Unknown stanza", f"{tmp_path}/init.override:1: Unknown stanza"]
    assert messages == expected
    sources.changed([str(tmp_path / "init.conf")])
    assert messages == expected * 2
    (tmp_path / "init.conf").write_text("# comment\n")
    (tmp_path / "init.override").unlink()
    sources.reload()
    assert messages == expected * 2


def test_sessions_have_jobs_of_their_own(world: World, tmp_path: Path) -> None:
    root = tmp_path / "chroot"
    world.write("a/x.conf", "description system")
    world.write("a/x.override", "description override")
    world.sources.load()
    world.write("chroot/etc/init/x.conf", "description inside")
    world.sources.add_dir(f"{root}/etc/init", session=str(root))
    [change] = world.sources.load()
    assert (change.session, change.name) == (str(root), "x")
    assert change.job_class is not None and change.job_class.session == str(root)
    assert change.job_class.description == "inside"
    assert world.description("x") == "override"
    [change] = world.sources.remove_session(str(root))
    assert (change.session, change.name, change.job_class) == (str(root), "x", None)
    assert world.description("x") == "override"
    assert world.sources.reload() == []


def test_names_that_are_no_utf8_survive(world: World) -> None:
    with open(os.fsencode(world.root) + b"/a/caf\xe9.conf", "wb") as file:
        file.write(b"description \xff\n")
    [change] = world.sources.load()
    assert os.fsencode(change.name) == b"caf\xe9"
    assert change.job_class is not None and os.fsencode(change.job_class.description or "") == b"\xff"


@pytest.mark.parametrize(
    ("name", "ignored"),
    [
        ("net", False),
        (".git", True),
        ("x~", True),
        ("x.bak", True),
        ("CVS", True),
        ("#x#", True),
        ("x.dpkg-old", True),
        ("x.rpmsave", True),
        ("x;0123abcd", True),
        ("x;0123abcg", False),
        ("x,v", True),
        ("{arch}", True),
        ("dpkg-old", False),
    ],
)
def test_backups_and_the_like_are_no_directories_of_jobs(name: str, ignored: bool) -> None:
    assert is_ignored_directory(name) is ignored


@pytest.mark.parametrize("name", [".conf", ".override", "conf", "x.conf~", "x.Conf", "x.conf.swp", "x"])
def test_other_files_are_no_job_files(name: str) -> None:
    assert not is_job_file("/etc/init/" + name)


NAMES = ["x", "net/y"]
TEXTS = ["description one", "description two", "manual", "bad stanza", ""]
STEPS = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from(NAMES),
    st.sampled_from([".conf", ".override"]),
    st.none() | st.sampled_from(TEXTS),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_following_changes_ends_where_a_fresh_start_would(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str, str | None, bool]]
) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    world.sources.load()
    for directory, name, extension, text, told in steps:
        path = world.root / directory / (name + extension)
        if text is not None:
            world.write(f"{directory}/{name}{extension}", text)
        else:
            path.unlink(missing_ok=True)
        if told:
            world.sources.changed([str(path)])
    world.sources.reload()
    fresh = Whole(lambda message: None)
    for directory in ("a", "b"):
        fresh.add_dir(str(world.root / directory))
    fresh.load()
    for name in NAMES:
        ours, theirs = world.sources.job_class(name), fresh.job_class(name)
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert {**vars(ours), "processes": None} == {**vars(theirs), "processes": None}


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=8), st.lists(STEPS, max_size=8))
def test_who_goes_on_from_what_another_has_read_ends_where_a_fresh_start_would(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[tuple[str, str, str, str | None, bool]],
    after: list[tuple[str, str, str, str | None, bool]],
) -> None:
    world = World(tmp_path_factory.mktemp("world"))

    def act(steps: list[tuple[str, str, str, str | None, bool]]) -> None:
        for directory, name, extension, text, _ in steps:
            if text is not None:
                world.write(f"{directory}/{name}{extension}", text)
            else:
                (world.root / directory / (name + extension)).unlink(missing_ok=True)

    act(before)
    world.sources.load()
    known = {name: job for name in NAMES if (job := world.sources.job_class(name)) is not None}
    follower, fresh = World.__new__(World), Whole(lambda message: None)
    follower.messages = []
    follower.sources = Whole(follower.messages.append)
    for directory in ("a", "b"):
        for each in (fresh, follower.sources):
            each.add_dir(str(world.root / directory))
    for job in known.values():
        follower.sources.steps.know(job)
    assert {name: follower.sources.job_class(name) for name in known} == known
    act(after)
    told = {change.name: change.job_class for change in follower.sources.reload()}
    fresh.load()
    for name in NAMES:
        ours, theirs = follower.sources.job_class(name), fresh.job_class(name)
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert {**vars(ours), "processes": None} == {**vars(theirs), "processes": None}
        # What says the same as before is the same, and nothing is told of it but an error.
        assert told.get(name, known.get(name)) is ours
        if not after and theirs is not None:
            assert ours is known[name]
        assert follower.sources.error(name) == fresh.error(name)


def test_what_was_known_stays_where_the_disk_does_not_tell(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("a/x.conf", "description one\n")
    world.write("b/y.conf", "description two\n")
    world.write("a/y.override", "author me\n")
    world.sources.load()
    known = [world.sources.job_class(name) for name in ("x", "y")]
    again = Whole(world.messages.append)
    for name in ("a", "b"):
        again.add_dir(str(world.root / name))
    for job in known:
        assert job is not None
        again.steps.know(job)
    elsewhere = Sources(world.messages.append)
    for job in known:
        assert job is not None
        elsewhere.know(job)
    real = os.scandir

    def failing(path: str) -> object:
        if path.endswith("/a"):
            raise OSError(errno.ETIMEDOUT, "Does not answer")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing)
        assert again.reload() == []
    assert [again.job_class(name) for name in ("x", "y")] == known
    assert again.reload() == []
    (world.root / "a/x.conf").unlink()
    (world.root / "a/y.override").unlink()
    changes = {change.name: change.job_class for change in again.reload()}
    assert changes["x"] is None and changes["y"] is not None and changes["y"].author is None
    # A directory that is none of ours any more has nothing.
    assert [(each.name, each.job_class) for each in elsewhere.reload() if each] == [("x", None), ("y", None)]
