"""Noticing that job files change."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from upstart.base import syscalls
from upstart.conf import watch as module
from upstart.conf.disk import Direct
from upstart.conf.watch import Watch


@pytest.fixture
def watch() -> Iterator[Watch]:
    instance = Watch()
    yield instance
    instance.close()


def read(watch: Watch) -> set[str] | None:
    """What the watch reports when it has looked once."""
    for _ in watch.look():
        pass
    return watch.take()


def settled(watch: Watch) -> set[str]:
    """What the watch reports of everything that was done before; inotify queues it at once."""
    changed: set[str] = set()
    while watch.busy or select.select([watch.fd], [], [], 0)[0]:
        changed |= read(watch) or set()
    return changed


def test_written_renamed_and_removed_job_files_are_reported(watch: Watch, tmp_path: Path) -> None:
    watch.add_tree(str(tmp_path))
    file = tmp_path / "x.conf"
    file.write_text("task")
    assert settled(watch) == {str(file)}
    file.write_text("task")
    assert settled(watch) == {str(file)}
    (tmp_path / "x.override").write_text("manual")
    assert settled(watch) == {str(tmp_path / "x.override")}
    (tmp_path / ".tmp").write_text("task")
    (tmp_path / ".tmp").rename(tmp_path / "y.conf")
    assert settled(watch) == {str(tmp_path / "y.conf")}
    (tmp_path / "y.conf").rename(tmp_path / "z.conf.dpkg-old")
    assert settled(watch) == {str(tmp_path / "y.conf")}
    file.unlink()
    assert settled(watch) == {str(file)}


def test_a_file_is_reported_when_it_has_been_written_not_before(watch: Watch, tmp_path: Path) -> None:
    watch.add_tree(str(tmp_path))
    with open(tmp_path / "x.conf", "w") as file:
        file.write("ta")
        file.flush()
        assert settled(watch) == set()
        file.write("sk")
    assert settled(watch) == {str(tmp_path / "x.conf")}


def test_links_are_reported_when_they_are_made(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("task")
    watch.add_tree(str(tmp_path))
    (tmp_path / "soft.conf").symlink_to("target")
    (tmp_path / "hard.conf").hardlink_to(tmp_path / "target")
    assert settled(watch) == {str(tmp_path / "soft.conf"), str(tmp_path / "hard.conf")}


def test_what_is_no_job_file_is_not_reported(watch: Watch, tmp_path: Path) -> None:
    watch.add_tree(str(tmp_path))
    (tmp_path / "README").write_text("")
    (tmp_path / "x.conf.swp").write_text("")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/x.conf").write_text("")
    assert settled(watch) == set()


def test_directories_made_later_are_watched_too(watch: Watch, tmp_path: Path) -> None:
    watch.add_tree(str(tmp_path))
    (tmp_path / "a/b").mkdir(parents=True)
    assert str(tmp_path / "a") in settled(watch)
    (tmp_path / "a/b/x.conf").write_text("task")
    assert settled(watch) == {str(tmp_path / "a/b/x.conf")}
    (tmp_path / "a").rename(tmp_path / "c")
    assert {str(tmp_path / "a"), str(tmp_path / "c")} <= settled(watch)
    (tmp_path / "c/b/x.conf").write_text("task")
    assert settled(watch) == {str(tmp_path / "c/b/x.conf")}


def test_a_directory_that_does_not_exist_is_waited_for(watch: Watch, tmp_path: Path) -> None:
    root = tmp_path / "one/two/init"
    watch.add_tree(str(root))
    (tmp_path / "one").mkdir()
    settled(watch)
    root.mkdir(parents=True)
    assert str(root) in settled(watch)
    (root / "x.conf").write_text("task")
    assert settled(watch) == {str(root / "x.conf")}


def test_a_directory_that_goes_and_comes_back_is_watched_again(watch: Watch, tmp_path: Path) -> None:
    root = tmp_path / "init"
    root.mkdir()
    watch.add_tree(str(root))
    root.rmdir()
    assert str(root) in settled(watch)
    root.mkdir()
    assert str(root) in settled(watch)
    root.rename(tmp_path / "old")
    assert str(root) in settled(watch)
    root.mkdir()
    settled(watch)
    (tmp_path / "old/x.conf").write_text("task")
    (root / "y.conf").write_text("task")
    assert settled(watch) == {str(root / "y.conf")}


def test_a_single_file_is_watched_by_way_of_its_directory(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "init").mkdir()
    watch.add_tree(str(tmp_path / "init"))
    watch.add_file(str(tmp_path / "init.conf"))
    (tmp_path / "other.conf").write_text("")
    assert settled(watch) == set()
    (tmp_path / "init.conf").write_text("")
    (tmp_path / "init/x.conf").write_text("")
    assert settled(watch) == {str(tmp_path / "init.conf"), str(tmp_path / "init/x.conf")}


def test_two_paths_to_one_directory_are_both_reported(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to("real")
    watch.add_tree(str(tmp_path / "real"))
    watch.add_tree(str(tmp_path / "alias"))
    (tmp_path / "real/x.conf").write_text("")
    assert settled(watch) == {str(tmp_path / "real/x.conf"), str(tmp_path / "alias/x.conf")}


@pytest.mark.parametrize("end", ["", "/"])
def test_a_tree_that_was_removed_is_silent(watch: Watch, tmp_path: Path, end: str) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        watch.add_tree(str(tmp_path / name))
    watch.remove_tree(str(tmp_path / "a") + end)
    (tmp_path / "a/sub/x.conf").write_text("")
    (tmp_path / "b/sub/x.conf").write_text("")
    assert settled(watch) == {str(tmp_path / "b/sub/x.conf")}


def test_an_overflow_means_everything(watch: Watch, tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 20_000:
        pytest.skip("the queue of this kernel is too long to fill quickly")
    watch.add_tree(str(tmp_path))
    one, other = tmp_path / "x.conf", tmp_path / "y.conf"
    one.write_text("")
    for _ in range(limit // 4 + 10):
        os.rename(one, other)
        os.rename(other, one)
    told = []
    while watch.busy or select.select([watch.fd], [], [], 0)[0]:
        told.append(read(watch))
    assert None in told
    assert read(watch) == set()


def test_links_between_directories_are_not_followed(watch: Watch, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/up").symlink_to("..")
    watch.add_tree(str(tmp_path))
    (tmp_path / "sub/x.conf").write_text("")
    assert settled(watch) == {str(tmp_path / "sub/x.conf")}


def test_what_is_expected_is_watched_by_the_next_look_and_not_before(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "init/sub").mkdir(parents=True)
    with monkeypatch.context() as patch:
        for name in ("stat", "scandir", "lstat"):
            patch.setattr(os, name, None)
        patch.setattr(syscalls, "inotify_add_watch", None)
        watch.expect_tree(f"{tmp_path}/init/")
        watch.expect_tree(f"{tmp_path}/init")
        watch.expect_file(f"{tmp_path}/init.conf")
        watch.look_again()
    assert read(watch) is None
    for path in ("init/x.conf", "init/sub/x.conf", "init.conf"):
        (tmp_path / path).write_text("task")
    assert settled(watch) == {f"{tmp_path}/{path}" for path in ("init/x.conf", "init/sub/x.conf", "init.conf")}


def test_what_has_happened_is_learned_in_short_steps(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.add_tree(str(tmp_path))
    for number in range(100):
        (tmp_path / f"{number}.conf").write_text("task")
    handled = [0]
    real = Watch._handle

    def counted(self: Watch, *arguments: Any) -> None:
        handled[-1] += 1
        real(self, *arguments)

    monkeypatch.setattr(Watch, "_handle", counted)
    for _ in watch.look():
        handled.append(0)
    # Of each file that it has come into being, and that it was written.
    assert sum(handled) == 200 and max(handled) == module._EVENTS
    assert watch.take() == {f"{tmp_path}/{number}.conf" for number in range(100)}


def beside(at: Path) -> None:
    """What programs do in the directory of a single file, and in one that only leads to another."""
    (at / "resolv.conf").write_text("nameserver ::1\n")
    (at / "resolv.conf.dhclient-new").write_text("nameserver ::1\n")
    (at / "resolv.conf.dhclient-new").rename(at / "resolv.conf")
    (at / "passwd.lock").hardlink_to(at / "resolv.conf")
    (at / "passwd.lock").unlink()
    (at / "mtab").symlink_to("/proc/mounts")
    (at / "network").mkdir()
    (at / "network/init.conf").write_text("")
    (at / "network").rename(at / "init.d")
    (at / "one.conf").mkdir()
    (at / "one.conf").rmdir()


def in_vain(at: Path) -> None:
    """What editors and packages do in a directory of jobs that makes none."""
    (at / "init/README").write_text("")
    (at / "init/.x.conf.swp").write_text("")
    (at / "init/x.conf~").write_text("")
    (at / "init/x.conf.dpkg-new").write_text("")
    (at / "init/.git").mkdir()


@pytest.fixture
def places(watch: Watch, tmp_path: Path) -> Path:
    """A directory with a single file, one of jobs, and one on the way to a directory that does not exist."""
    (tmp_path / "init/sub").mkdir(parents=True)
    (tmp_path / "init/x.conf").write_text("task")
    (tmp_path / "init.conf").write_text("")
    (tmp_path / "target").write_text("task")
    watch.add_tree(str(tmp_path / "init"))
    watch.add_file(str(tmp_path / "init.conf"))
    watch.add_tree(str(tmp_path / "one/two/init"))
    assert watch.hear() is False
    return tmp_path


@pytest.mark.parametrize("act", [beside, in_vain])
def test_what_concerns_nobody_is_heard_and_forgotten(
    watch: Watch, places: Path, monkeypatch: pytest.MonkeyPatch, act: Any
) -> None:
    act(places)
    with monkeypatch.context() as patch:
        for name in ("stat", "scandir", "lstat"):
            patch.setattr(os, name, None)
        patch.setattr(syscalls, "inotify_add_watch", None)
        assert watch.hear() is False
    assert not select.select([watch.fd], [], [], 0)[0]
    assert read(watch) == set()


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "job": (lambda at: (at / "init/x.conf").write_text("exec true"), "init/x.conf"),
    "new job": (lambda at: (at / "init/sub/y.conf").write_text("task"), "init/sub/y.conf"),
    "renamed": (lambda at: (at / "target").rename(at / "init/y.conf"), "init/y.conf"),
    "link": (lambda at: (at / "init/y.conf").symlink_to("../target"), "init/y.conf"),
    "removed": (lambda at: (at / "init/x.conf").unlink(), "init/x.conf"),
    "override": (lambda at: (at / "init/x.override").write_text("manual"), "init/x.override"),
    "directory": (lambda at: (at / "init/new").mkdir(), "init/new"),
    "removed directory": (lambda at: (at / "init/sub").rmdir(), "init/sub"),
    "single file": (lambda at: (at / "init.conf").write_text(""), "init.conf"),
    "single file renamed": (lambda at: (at / "target").rename(at / "init.conf"), "init.conf"),
    "moved away": (lambda at: (at / "init").rename(at / "old"), "init"),
    "missing": (lambda at: (at / "one/two/init").mkdir(parents=True), "one/two/init"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_heard_is_kept_for_the_next_look_in_its_order(watch: Watch, places: Path, name: str) -> None:
    act, path = CHANGES[name]
    beside(places)
    act(places)
    assert watch.hear() is True
    # Once and for all: what comes later stays with the kernel.
    (places / "init.conf").write_text("")
    assert watch.hear() is True
    changed = read(watch)
    assert changed is not None and changed >= {f"{places}/{path}", f"{places}/init.conf"}
    assert watch.hear() is False and read(watch) == set()


def test_a_directory_that_comes_back_is_heard(watch: Watch, places: Path) -> None:
    (places / "init").rename(places / "old")
    assert watch.hear() is True and f"{places}/init" in (read(watch) or ())
    (places / "old/x.conf").write_text("task")
    assert watch.hear() is False
    (places / "old").rename(places / "init")
    assert watch.hear() is True and f"{places}/init" in (read(watch) or ())
    (places / "init/x.conf").write_text("task")
    assert watch.hear() is True and read(watch) == {f"{places}/init/x.conf"}
    # So is one that was missing.
    (places / "one/two/init").mkdir(parents=True)
    assert watch.hear() is True and f"{places}/one/two/init" in (read(watch) or ())
    (places / "one/two/init/x.conf").write_text("task")
    assert watch.hear() is True and read(watch) == {f"{places}/one/two/init/x.conf"}


def test_what_was_heard_of_another_instance_is_forgotten(watch: Watch, places: Path) -> None:
    (places / "init/x.conf").write_text("")
    assert watch.hear() is True
    watch.renew()
    assert watch.hear() is False
    assert read(watch) is None
    (places / "init/x.conf").write_text("")
    assert settled(watch) == {f"{places}/init/x.conf"}


def test_a_lost_count_concerns_everybody(watch: Watch, places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [module._event.pack(-1, module._OVERFLOW, 0, 0), b""]
    with monkeypatch.context() as patch:
        patch.setattr(Direct, "read_events", lambda self, fd: told.pop(0))
        assert watch.hear() is True and len(told) == 1
    assert read(watch) is None


def test_a_flood_is_heard_in_pieces(watch: Watch, places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    real = Direct.read_events

    def counted(self: Direct, fd: int) -> bytes:
        reads.append(len(real_data := real(self, fd)))
        return real_data

    monkeypatch.setattr(Direct, "read_events", counted)
    one, other = places / f"a{'x' * 200}", places / f"b{'x' * 200}"
    one.write_text("")
    for _ in range(200):
        one.rename(other)
        other.rename(one)
    (places / "init/x.conf").write_text("")
    assert watch.hear() is None and len(reads) == module._READS
    while (heard := watch.hear()) is None:
        pass
    assert heard is True and read(watch) == {f"{places}/init/x.conf"}


def test_what_cannot_be_looked_through_is_kept(watch: Watch, places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (places / "init/x.conf").write_text("")

    def lacking(self: Watch, *arguments: Any) -> bool:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "_concerns", lacking)
        assert watch.hear() is True
    assert read(watch) == {f"{places}/init/x.conf"}
