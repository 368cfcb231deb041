"""What is done after a record of the disk is what is done with the disk itself; and nothing touches that by itself."""

from __future__ import annotations

import ast
import errno
import marshal
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upstart.conf import record
from upstart.conf.known import Change
from upstart.conf.record import Lost, Recorder, Replay
from upstart.conf.sources import Sources
from upstart.conf.watch import Watch

CONF = Path(record.__file__).parent

#: Steps, results, whether it is the last.
Piece = tuple[int, list[Any], bool]


class Pair:
    """Sources and a watch; ``messages`` are their warnings."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self.messages: list[str] = []
        self.sources = Sources(self.messages.append)
        self.watch = Watch(warn=self.messages.append)
        for root in roots:
            self.sources.add_dir(str(root))
            self.watch.add_tree(str(root))

    def use(self, disk: Any) -> None:
        self.sources.disk = self.watch.disk = disk

    def steps(self) -> Iterator[Change | None]:
        for _ in self.watch.look():
            yield None
        changed = self.watch.take()
        yield from self.sources.reload() if changed is None else self.sources.changed(changed)

    def told(self, changes: Iterable[Change | None]) -> list[tuple[Any, ...]]:
        return [(each.name, shown(each.job_class), each.error) for each in changes if each is not None]


def shown(job: Any) -> Any:
    return None if job is None else (job.name, job.description, job.start_on is None)


def recorded(pair: Pair, piece: int = 1, left_out: Iterable[str] = ()) -> tuple[list[Piece], list[tuple[Any, ...]]]:
    """Takes the steps of a pair with a record: the pieces of it, and what came of them."""
    pieces: list[Piece] = []

    def send(steps: int, results: list[Any], last: bool) -> None:
        # As it comes through a pipe.
        pieces.append(marshal.loads(marshal.dumps((steps, results, last))))

    recorder = Recorder(lambda path: None, send, piece, frozenset(left_out))
    pair.use(recorder)
    changes = []
    for change in pair.steps():
        changes.append(change)
        recorder.step()
    recorder.flush(True)
    return pieces, pair.told(changes)


def replayed(pair: Pair, pieces: list[Piece]) -> list[tuple[Any, ...]]:
    """Takes them by a record: what came of it."""
    replay = Replay()
    pair.use(replay)
    steps = pair.steps()
    changes: list[Change | None] = []
    for count, results, last in pieces:
        replay.feed(results)
        changes += list(steps) if last else [next(steps) for _ in range(count)]
    replay.finish()
    return pair.told(changes)


NAMES = ("a.conf", "b.conf", "a.override", "sub/a.conf", "sub/b.override", "sub/deep/c.conf", "loop", "d.conf")
TEXTS = ("description one\nstart on x\n", "description two\ntask\n", "manual\n", "no stanza\n")
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(("one", "two")), st.sampled_from(NAMES), st.integers(0, 7)), min_size=1, max_size=12
)


def act(root: Path, name: str, what: int) -> None:
    """Something that may happen to a path."""
    path = root / name
    try:
        if what < len(TEXTS):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(TEXTS[what])
        elif what == 4:
            path.unlink()
        elif what == 5:
            shutil.rmtree(path.parent if path.parent != root else path)
        elif what == 6:
            path.symlink_to(root / "target.conf" if name.endswith(".conf") else root)
        else:
            os.rename(path, root / "d.conf")
    except OSError:
        pass


@settings(max_examples=60, deadline=None)
@given(
    before=OPERATIONS, after=OPERATIONS, piece=st.sampled_from((1, 300, 1 << 20)), everything=st.booleans(),
    heard=st.integers(0, 12),
)  # fmt: skip
def test_a_replay_without_the_disk_is_what_the_disk_itself_gives(
    before: list[tuple[str, str, int]],
    after: list[tuple[str, str, int]],
    piece: int,
    everything: bool,
    heard: int,
) -> None:
    # No file is too young for a stamp, for all three are to know the same.
    later = time.time_ns() + 10**12
    with tempfile.TemporaryDirectory() as directory, mock.patch.object(time, "time_ns", lambda: later):
        roots = [Path(directory, name) for name in ("one", "two")]
        roots[0].mkdir()
        for where, name, what in before:
            act(Path(directory, where), name, what)
        recording, replaying, direct = Pair(roots), Pair(roots), Pair(roots)
        # Each has an inotify instance of its own, whose descriptors have the same numbers.
        for pair in (recording, replaying, direct):
            list(pair.sources.load())
        for number, (where, name, what) in enumerate(after):
            act(Path(directory, where), name, what)
            if number < heard:
                # What is forgotten then would have changed nothing.
                assert recording.watch.hear() == replaying.watch.hear()
        if everything:
            for pair in (recording, replaying, direct):
                pair.watch.look_again()
        loaded = len(replaying.messages)
        by_itself = direct.told(list(direct.steps()))
        pieces, by_record = recorded(recording, piece)
        assert by_record == by_itself
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory)
        assert replayed(replaying, pieces) == by_record
        assert replaying.messages[loaded:] == recording.messages[loaded:] == direct.messages[loaded:]
        for pair in (recording, replaying, direct):
            pair.watch.close()


def test_a_record_of_something_else_is_lost(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text(TEXTS[0])
    one = Pair([tmp_path])
    one.watch.look_again()
    pieces, _ = recorded(one)
    other = Pair([tmp_path / "elsewhere"])
    other.watch.look_again()
    with pytest.raises(Lost):
        replayed(other, pieces)
    same = Pair([tmp_path])
    same.watch.look_again()
    with pytest.raises(Lost):
        replayed(same, [(steps, results[:-1], last) for steps, results, last in pieces])
    again = Pair([tmp_path])
    again.watch.look_again()
    pieces[-1][1].append(("stat", "/", 0, (0, 0, 0, 0, 0)))
    with pytest.raises(Lost):
        replayed(again, pieces)
    for pair in (one, other, same, again):
        pair.watch.close()


@pytest.mark.parametrize("where", ["", "/sub", "/sub/x.conf", "/sub/x.override", "/link.conf", "/new.conf"])
def test_what_does_not_answer_stays_as_it_was(tmp_path: Path, where: str) -> None:
    conf = tmp_path / "init"
    (conf / "sub").mkdir(parents=True)
    (conf / "sub/x.conf").write_text("description old\nstart on x\n")
    (conf / "sub/x.override").write_text("manual\n")
    (tmp_path / "target").write_text("description linked\n")
    (conf / "link.conf").symlink_to(tmp_path / "target")
    (conf / "other.conf").write_text("description old\nstart on x\n")
    pair = Pair([conf])
    list(pair.sources.load())
    jobs = {name: pair.sources.job_class(name) for name in ("sub/x", "link", "other")}
    (conf / "sub/x.conf").write_text("description 'new and longer'\nstart on x\n")
    (conf / "other.conf").write_text("description 'new and longer'\nstart on x\n")
    (conf / "new.conf").write_text("description new\n")
    for _ in range(2):
        _, changes = recorded(pair, left_out=[f"{conf}{where}"])
        told = {name: description for name, description, _ in changes}
        assert ("other" in told) == (where != "")
        if where.startswith("/sub") or not where:
            assert pair.sources.job_class("sub/x") is jobs["sub/x"]
        else:
            job = pair.sources.job_class("sub/x")
            assert job is not None and job.description == "new and longer" and job.start_on is None
        assert pair.sources.job_class("link") is jobs["link"]
        assert (pair.sources.job_class("new") is not None) == (where not in ("", "/new.conf"))
        (conf / "other.conf").write_text("description 'newest of all'\nstart on x\n")
        pair.watch.look_again()
    recorded(pair)
    for name, description in (("sub/x", "new and longer"), ("other", "newest of all"), ("new", "new")):
        job = pair.sources.job_class(name)
        assert job is not None and job.description == description
    pair.watch.close()


def test_a_lack_below_a_directory_undefines_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/x.conf").write_text("start on x\n")
    (tmp_path / "sub/x.override").write_text("manual\n")
    sources = Sources(lambda text: None)
    sources.add_dir(str(tmp_path))
    list(sources.load())
    scandir = os.scandir

    def fail(path: str) -> Any:
        if path.endswith("sub"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", fail)
        assert [each for each in sources.reload() if each is not None] == []
    job = sources.job_class("sub/x")
    assert job is not None and job.start_on is None
    # Nor does an override that cannot be read for now.
    (tmp_path / "sub/x.override").write_text("manual\n# changed\n")
    real = os.open

    def refuse(path: str, *rest: Any) -> int:
        if path.endswith(".override"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        list(sources.reload())
    job = sources.job_class("sub/x")
    assert job is not None and job.start_on is None


#: What is used of `os`, and touches no path.
HARMLESS = {"fsdecode", "fsencode", "path.dirname", "close"}


def used_of_os(tree: ast.AST) -> Iterator[str]:
    """What a module uses of `os`, and whatever else opens files."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name.startswith(("os.", "shutil.", "syscalls.")) and name != "os.path":
                yield name.partition(".")[2] if name.startswith("os.") else name
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("open", "read_file"):
            yield node.func.id


@pytest.mark.parametrize("name", ["sources", "watch", "listing"])
def test_whoever_looks_for_jobs_touches_the_disk_by_its_operations_alone(name: str) -> None:
    used = set(used_of_os(ast.parse((CONF / f"{name}.py").read_text())))
    assert used <= HARMLESS | {"syscalls.inotify_init"}
    assert not set(used_of_os(ast.parse("os.stat(x); open(y); os.path.isdir(z)"))) <= HARMLESS


def test_a_record_says_where_it_is_before_it_waits(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("start on x\n")
    noted: list[str] = []
    send: Callable[..., None] = lambda *piece: None  # noqa: E731
    recorder = Recorder(noted.append, send, 1)
    recorder.scandir(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        recorder.read_file(f"{tmp_path}/b.conf")
    assert noted == [str(tmp_path), "", f"{tmp_path}/b.conf", ""]
