"""Services of /etc/init.d that have no job: which count, where links start them, and what their scripts say."""

from __future__ import annotations

from pathlib import Path

import pytest

from upstart.initctl import services


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A directory of scripts, with runlevels beside it."""
    directory = tmp_path / "init.d"
    directory.mkdir()
    for name, code in (("running", 0), ("dead", 1), ("stopped", 3), ("odd", 42)):
        write(directory / name, f"case $1 in\n  start|stop) exit 9 ;;\n  status) exit {code} ;;\nesac")
    write(directory / "mute", "touch $0.called")
    write(directory / "helpful", "case $1 in x) ;; *status*) echo Usage: $0 start; exit 0 ;; status) ;; esac")
    write(directory / "hangs", "case $1 in status) sleep 1000 ;; esac")
    for name in ("README", "skeleton", "rc", ".hidden", "web.dpkg-new", "web~", "cron", "hwclock.sh"):
        write(directory / name, "exit 0")
    (directory / "data").write_text("exit 0")
    (directory / "link").symlink_to("/lib/init/upstart-job")
    for name in ("halt", "of-the-boot"):
        write(directory / name, "case $1 in status) ;; esac")
    links = "rc2.d/S01running rc3.d/S20running rcS.d/S05dead rc3.d/K05dead rc0.d/K01running rc2.d/S01gone rc0.d/K01halt"
    for link in [*links.split(), "rcS.d/S01of-the-boot", "rc6.d/K01of-the-boot", "rc2.d/K01stopped"]:
        path = tmp_path / link
        path.parent.mkdir(exist_ok=True)
        path.symlink_to("../init.d/" + link[link.index("d/") + 5 :])
    return directory


def write(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_services_are_scripts_that_have_no_job(scripts: Path) -> None:
    found = services.without_jobs({"cron", "hwclock"}, str(scripts))
    assert [each.name for each in found] == ["dead", "hangs", "helpful", "mute", "odd", "running", "stopped"]
    assert {each.name: each.runlevels for each in found if each.runlevels} == {"running": "23", "dead": "S"}
    assert services.find("link", str(scripts)) is None and services.find("../init.d/odd", str(scripts)) is None
    assert services.without_jobs((), str(scripts / "nowhere")) == []


@pytest.mark.parametrize(
    ("name", "state"),
    [("running", "running"), ("dead", "dead"), ("stopped", "stopped"), ("odd", "unknown"), ("mute", "unknown"),
     ("helpful", "unknown"), ("hangs", "unknown")],
)  # fmt: skip
def test_how_a_service_stands_its_script_says(
    scripts: Path, name: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "PATIENCE", 0.5)
    service = services.find(name, str(scripts))
    assert service is not None
    service.ask()
    assert service.state == state
    assert service.describe() == f"{name} script/{state}, {scripts}/{name}"
    # A script that does not know the word is not run at all.
    assert not (scripts / "mute.called").exists()
