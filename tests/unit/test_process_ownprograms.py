"""Which programs are ours, and may be run by a fork of init without an exec."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import upstart
from upstart.conf.parse import parse_job
from upstart.process import ownprograms
from upstart.process.ownprograms import OwnPrograms
from upstart.process.request import SpawnRequest

BEGINNING = "#!/usr/bin/python3 -IS\nimport sys\nsys.path += ['/usr/lib/python3/dist-packages']\n"


class Places:
    """Directories with programs, ``ours`` and ``others``."""

    def __init__(self, directory: Path) -> None:
        self.ours, self.others = directory / "ours", directory / "others"
        for place, text in ((self.ours, BEGINNING), (self.others, BEGINNING.replace("dist-packages", "elsewhere"))):
            place.mkdir()
            for name in ("init", "mountall", "telinit", "with-s-bit"):
                (place / name).write_text(text + f"from upstart.{name} import main\n")
                (place / name).chmod(0o755)
        (self.ours / "with-s-bit").chmod(0o4755)
        (self.ours / "telinit").chmod(0o644)
        (self.others / "binary").write_bytes(b"\x7fELF\xff\xfe")
        (self.others / "binary").chmod(0o755)
        (self.others / "dangling").symlink_to("nothing")
        (self.ours / "dangling").write_text(BEGINNING)
        (self.ours / "dangling").chmod(0o755)
        os.mkfifo(self.others / "fifo", 0o755)

    def find(self, argv: list[str], text: str = "", path: str = "", **env: str) -> str | None:
        """The path of the script that is found for a job with these further stanzas and ``path`` as its PATH."""
        job = parse_job("job", f"exec {' '.join(argv)}\n{text}\n", "job.conf")
        env["PATH"] = path or f"{self.others}:{self.ours}"
        found = OwnPrograms(str(self.ours / "init")).find(SpawnRequest(job, "job", "main", "", env), argv)
        return found.path if found is not None else None


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    return Places(tmp_path)


def test_ours_is_found_where_the_exec_would_find_it(places: Places) -> None:
    mountall = str(places.ours / "mountall")
    assert places.find([mountall, "--daemon"]) == mountall
    assert places.find(["mountall"], path=f"/nowhere:{places.ours}:{places.others}") == mountall
    assert places.find(["mountall"]) is None  # the others' comes first
    assert places.find(["nonsense"]) is None and places.find(["ours/mountall"]) is None
    assert places.find(["mountall"], path=f":{places.ours}") is None


@pytest.mark.parametrize("name", ["with-s-bit", "telinit", "dangling", "binary", "fifo"])
def test_what_only_an_exec_can_tell_is_left_to_it(places: Places, name: str) -> None:
    place = places.others if name in ("binary", "fifo") else places.ours
    assert places.find([str(place / name)]) == (str(place / name) if name == "dangling" else None)
    assert places.find([name]) is None


@pytest.mark.parametrize(
    "text",
    ["setuid nobody", "setgid nogroup", "chroot /srv", "apparmor switch profile", "expect fork", "debug"],
)
def test_a_job_that_needs_an_exec_has_one(places: Places, text: str) -> None:
    assert places.find([str(places.ours / "mountall")], text) is None


@pytest.mark.parametrize("text", ["limit nofile 100 200", "nice 5", "console output", "oom score 100", "umask 077"])
def test_other_stanzas_need_none(places: Places, text: str) -> None:
    assert places.find([str(places.ours / "mountall")], text) is not None


def test_what_the_interpreter_looks_at_only_once_must_be_what_init_was_given(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    mountall = [str(places.ours / "mountall")]
    assert places.find(mountall, LANG="de_DE.UTF-8") is None and places.find(mountall, LC_ALL="C") is None
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    assert places.find(mountall) is None and places.find(mountall, LANG="de_DE.UTF-8") is not None


def test_what_is_longer_than_any_of_ours_is_none(places: Places) -> None:
    path = places.ours / "mountall"
    path.write_text(BEGINNING + "#" * 9000 + "\nprint()\n")
    assert places.find([str(path)]) is None


@pytest.mark.parametrize("replaced", ["init", "modules"])
def test_once_packages_are_unpacked_all_is_executed(
    places: Places, replaced: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(upstart, "__file__", str(places.ours / "modules"))
    (places.ours / "modules").write_text("")
    own = OwnPrograms(str(places.ours / "init"))
    request = SpawnRequest(parse_job("job", "exec true\n", "job.conf"), "job", "main", "", {})
    assert own.find(request, [str(places.ours / "mountall")]) is not None
    assert own.find(request, ["mountall"], str(places.ours / "mountall")) is not None
    new = tmp_path / "new"
    new.write_text((places.ours / replaced).read_text())
    new.rename(places.ours / replaced)
    assert own.find(request, [str(places.ours / "mountall")]) is None


def test_nothing_is_ours_to_an_init_that_is_no_script(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    request: Any = SpawnRequest(parse_job("job", "exec true\n", "job.conf"), "job", "main", "", {"PATH": "/bin"})
    for program in ("/bin/true", "/nowhere", str(places.others / "binary")):
        assert OwnPrograms(program).find(request, ["/bin/true"]) is None
    # Nor where an exec changes what a process may do.
    monkeypatch.setattr(ownprograms, "_LABELS", "/")
    assert places.find([str(places.ours / "mountall")]) is None
