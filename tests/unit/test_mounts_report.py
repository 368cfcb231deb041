"""What mountall says of its plan and of what it waits for."""

from __future__ import annotations

import json
from typing import Any

from mounts_world import ROOT, World, make

from upstart.mounts import report
from upstart.mounts.values import Check, Emit, Mounted, Progress

FSTAB = """\
/dev/sda1 / ext4 errors=remount-ro 0 1
UUID=u /usr ext4 defaults 0 2
none /usr/t tmpfs size=1m
/dev/b /b\\040c ext4 nofail,timeout=7
h:/x /x nfs bootwait
/dev/s none swap
"""


def parts(text: str) -> dict[str, list[str]]:
    """By first word, the lines of a report up to the next that is not set in."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.startswith(" "):
            key = line.split("  ")[0].split(": ")[0]
            found[key] = []
        found[key].append(line.strip())
    return found


def test_the_plan_says_of_each_entry_what_it_is_and_waits_for() -> None:
    made = make(FSTAB, (Mounted("/dev/sda1", "/", "ext4", "ro"),))
    found = parts(report.plan_text(made))
    assert list(found) == ["/", "/usr", "/usr/t", "/b c", "/x", "/dev/s"]
    assert found["/"][0].split() == ["/", "local", "ext4", "/dev/sda1", "errors=remount-ro"]
    assert found["/"][1] == (
        "/etc/fstab:1, is mounted, and will be mounted again with these options, is essential, is checked"
    )
    assert found["/usr"][1:] == ["/etc/fstab:2, is essential, is checked", "after UUID=u and /"]
    assert found["/b c"][2:] == ["after /dev/b and /", "is waited for 7 seconds"]


def test_the_plan_as_json_has_the_same() -> None:
    document: dict[str, Any] = json.loads(report.plan_json(make(FSTAB, (ROOT,))))
    assert document["problems"] == []
    usr = document["entries"][1]
    assert (usr["mountpoint"], usr["kind"], usr["needs_device"], usr["after"]) == ("/usr", "local", "UUID=u", ["/"])
    assert document["entries"][3]["limit"] == 7


def test_names_that_are_no_text_can_be_shown() -> None:
    made = make("/dev/\udcff /a\\012b ext4")
    assert "/a\\012b" in report.plan_text(made) and "/dev/\\377" in report.plan_text(made)
    report.plan_text(made).encode()
    assert json.loads(report.plan_json(made))["entries"][0]["device"] == "/dev/\udcff"


def test_the_status_says_what_waits_for_what_and_why() -> None:
    given = World(make(FSTAB, (ROOT,)), (ROOT,)).begin()
    given.device("/dev/u", "UUID=u")
    check = given.asked(Check)
    given.tell(Progress(check.number, 12))  # type: ignore[attr-defined]
    given.answer(given.asked(Emit, "/x"))
    found = parts(report.status_text(given.reducer.dump(), given.now + 5, True))
    assert "mountall is running" in found
    assert found["virtual-filesystems"] == ["virtual-filesystems: emitted"]
    assert found["local-filesystems"] == ["local-filesystems: waits for /usr and /usr/t"]
    assert found["filesystem"] == ["filesystem: waits for local-filesystems and remote-filesystems"]
    assert found["all-swaps"] == ["all-swaps: waits for /dev/s"]
    assert found["/usr (/etc/fstab:2)"] == ["/usr (/etc/fstab:2): is being checked, 12 %"]
    assert found["/usr/t (/etc/fstab:3)"] == ["/usr/t (/etc/fstab:3): waits for /usr"]
    assert found["/b c (/etc/fstab:4)"] == ["/b c (/etc/fstab:4): /dev/b is missing"]
    assert found["/x (/etc/fstab:5)"] == ["/x (/etc/fstab:5): is being mounted; in 55 seconds it is left out"]
    assert found["/dev/s (/etc/fstab:6)"] == [
        "/dev/s (/etc/fstab:6): /dev/s is missing; in 55 seconds it is left out"
    ]
    document = json.loads(report.status_json(given.reducer.dump(), given.now + 5, True))
    assert document["running"] and document["events"]["all-swaps"] is False
    assert document["entries"][2]["waits_for"] == ["/usr"]
    assert document["entries"][5]["seconds_left"] == 55


def test_the_status_of_each_way_to_wait() -> None:
    given = World(make("none /a tmpfs\n/dev/b /b ext4 ro 0 2\nh:/x /x nfs\n/dev/c /c ext4", (ROOT,)), (ROOT,)).begin()

    def says(place: str) -> str:
        text = report.status_text(given.reducer.dump(), given.now, True)
        return next((line.split(": ", 1)[1] for line in text.splitlines() if line.startswith(f"{place} (")), "")

    assert says("/a") == "waits for the jobs that its event mounting has started"
    given.answer(given.asked(Emit, "MOUNTPOINT=/a"))
    assert says("/a") == "is being mounted"
    given.answer(next(action for action in given.open.values() if type(action).__name__ == "Mount"))
    assert says("/a") == "is mounted; waits for the jobs that its event mounted has started"
    given.device("/dev/b")
    given.answer(given.asked(Check), 4, "bad")
    assert says("/b") == (
        "Errors were found while checking the disk drive for /b. bad; in 60 seconds it is left out"
    )
    given.run(mount=32)
    assert says("/x") == "it failed; is tried again in 1 seconds"
    assert says("/a") == ""
    given.wait(61)
    given.run(mount=32)
    assert says("/c") == "/dev/c is missing; nothing waits for it any more"


def test_a_mountall_that_is_no_more_is_told_from_one_that_was_killed() -> None:
    given = World(make("none /a tmpfs", (ROOT,)), (ROOT,)).begin()
    assert report.status_text(given.reducer.dump(), given.now, False).startswith("mountall was killed\n")
    given.run()
    assert report.status_text(given.reducer.dump(), given.now, False).startswith("mountall has ended\n")
