"""How mountall has file systems checked, and what it does with what a check finds."""

from __future__ import annotations

import pytest
from mounts_world import ALL, READ_ONLY, world

from upstart.mounts.values import (
    Calm,
    Cancel,
    Check,
    Emit,
    Mount,
    Progress,
)


def test_what_is_to_be_checked_is_so_before_there_is_a_place_for_it() -> None:
    given = world("/dev/a /a ext4\n/dev/b /a/b ext4 defaults 0 2").begin()
    given.device("/dev/b")
    assert given.is_asked(Check, "/dev/b") and not given.is_asked(Emit, "mounting")


def test_the_first_pass_comes_before_what_depends_on_it_and_other_passes_make_no_order() -> None:
    given = world("/dev/sda1 / ext4 defaults 0 1\n/dev/a /a ext4 ro 0 2\n/dev/b /b ext4 ro 0 3", READ_ONLY).begin()
    given.device("/dev/a")
    given.device("/dev/b")
    assert not given.is_asked(Check, "/dev/a")
    given.answer(given.asked(Check, "/dev/sda1"))
    assert given.is_asked(Check, "/dev/a") and given.is_asked(Check, "/dev/b")


@pytest.mark.parametrize(
    "line",
    [
        "/dev/b /b ext4 ro 0 0", "/dev/b /b btrfs ro 0 2", "h:/x /b nfs bootwait 0 2", "/dev/b /b iso9660 ro 0 2",
        "none /b tmpfs ro 0 2", "/b /c none bind 0 2",
    ],
)  # fmt: skip
def test_what_is_not_checked(line: str) -> None:
    given = world(line).begin()
    given.device("/dev/b")
    given.run()
    assert not any(isinstance(action, Check) for action in given.actions)
    assert given.status == 0


def test_no_check_where_that_is_said_or_an_initramfs_has_done_it() -> None:
    assert not world("/dev/sda1 / ext4 ro 0 1", READ_ONLY, check="skip").begin().is_asked(Check)
    assert not world("/dev/sda1 / ext4 ro 0 1", READ_ONLY, checked=("/",)).begin().is_asked(Check)


def test_a_forced_check_is_forced_also_of_a_root_without_pass() -> None:
    check = world("/dev/sda1 / ext4 defaults 0 0", READ_ONLY, check="force", repair="yes").begin().asked(Check)
    assert check.force and check.repair == "yes"  # type: ignore[attr-defined]


def test_of_the_checks_on_one_disk_one_has_the_usual_priority() -> None:
    given = world("/dev/a /a ext4 ro 0 2\n/dev/b /b ext4 ro 0 2\n/dev/c /c ext4 ro 0 2\n/dev/d /d ext4 ro 0 2").begin()
    given.device("/dev/a", disks=("8:0",))
    given.device("/dev/b", disks=("8:0", "8:16"))
    given.device("/dev/c", disks=("8:16",))
    given.device("/dev/d", disks=("8:0",))
    idle = {action.device: action.idle for action in given.open.values() if isinstance(action, Check)}
    assert idle == {"/dev/a": False, "/dev/b": True, "/dev/c": False, "/dev/d": True}
    given.answer(given.asked(Check, "/dev/a"))
    calmed = [action.number for action in given.actions if isinstance(action, Calm)]
    assert calmed == [given.asked(Check, "/dev/d").number]  # type: ignore[attr-defined]
    given.answer(given.asked(Check, "/dev/d"))
    given.answer(given.asked(Check, "/dev/c"))
    calmed = [action.number for action in given.actions if isinstance(action, Calm)]
    assert given.asked(Check, "/dev/b").number == calmed[-1]  # type: ignore[attr-defined]


def test_a_device_that_several_want_is_checked_once_and_mounted_by_nobody_meanwhile() -> None:
    text = "/dev/b /b ext4 ro 0 2\nLABEL=b /c ext4 ro 0 2\nUUID=1 /d ext4 ro 0 0"
    given = world(text).begin()
    given.device("/dev/b", "LABEL=b", "UUID=1")
    assert given.is_asked(Check, "/dev/b") and not given.is_asked(Emit, "mounting")
    given.answer(given.asked(Check))
    assert given.places("mounting") == ["/b", "/c", "/d"]
    assert given.run().status == 0
    assert len([action for action in given.actions if isinstance(action, Check)]) == 1


def test_a_device_that_is_mounted_by_one_entry_is_not_checked_for_another() -> None:
    given = world("/dev/b /b ext4 ro 0 0\nLABEL=b /c ext4 ro 0 2").begin()
    given.device("/dev/b", "LABEL=b")
    assert given.places("mounting") == ["/b", "/c"] and not given.is_asked(Check)
    assert given.run().status == 0


def test_damage_of_a_device_that_several_want_is_a_question_for_each() -> None:
    given = world("/dev/b /b ext4 ro 0 2\nLABEL=b /c ext4 ro 0 2").begin()
    given.device("/dev/b", "LABEL=b")
    given.answer(given.asked(Check), 4)
    given.answer(given.asked(Check), 4)
    given.press("f")
    given.answer(given.asked(Check, "yes"))
    assert given.places("mounting") == ["/b"]
    given.press("f")
    given.run()
    assert {"/b", "/c"} <= set(given.places("mounted")) and given.status == 0


@pytest.mark.parametrize("status", [0, 1, 32, 33, 128 + 15, 127])
def test_a_check_after_which_the_file_system_is_mounted(status: int) -> None:
    given = world("/dev/b /b ext4 ro 0 2").begin()
    given.device("/dev/b")
    given.answer(given.asked(Check), status)
    assert given.is_asked(Emit, "mounting")


def test_that_a_checker_is_missing_is_told_where_there_ought_to_be_one() -> None:
    for type, told in (("ext4", True), ("exfat", False)):
        given = world(f"/dev/b /b {type} ro 0 2").begin()
        given.device("/dev/b", type=type)
        given.answer(given.asked(Check), 127)
        assert any("there is no fsck" in text for text in given.told) is told


@pytest.mark.parametrize("asked", ["auto", "ext4,xfs"])
def test_a_file_system_of_any_type_is_checked_by_the_type_it_has(asked: str) -> None:
    given = world(f"/dev/b /b {asked} ro 0 2").begin()
    given.device("/dev/b", type="xfs")
    assert given.asked(Check).type == "xfs"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("status", "text", "keys"), [(4, "Errors", "FISM"), (5, "Errors", "FISM"), (8, "Serious errors", "ISM"),
                                 (16, "Serious errors", "ISM"), (12, "Serious errors", "ISM"),
                                 (139, "Serious errors", "ISM"), (130, "Serious errors", "ISM")]
)  # fmt: skip
def test_errors_that_a_check_finds_are_a_question(status: int, text: str, keys: str) -> None:
    given = world("/dev/b /b ext4 ro 0 2").begin()
    given.device("/dev/b")
    given.answer(given.asked(Check), status, "UNEXPECTED INCONSISTENCY")
    assert given.prompt.text.startswith(f"{text} were found while checking the disk drive for /b.")
    assert "UNEXPECTED INCONSISTENCY" in given.prompt.text
    assert given.prompt.keys == keys
    assert not given.is_asked(Emit, "mounting")


def test_fix_checks_again_and_mends_all() -> None:
    given = world("/dev/b /b ext4 ro 0 2").begin()
    given.device("/dev/b")
    given.answer(given.asked(Check), 4)
    given.press("f")
    assert given.asked(Check).repair == "yes"  # type: ignore[attr-defined]
    assert given.prompt.text == ""
    given.answer(given.asked(Check), 4)
    assert given.prompt.keys == "ISM"
    given.press("i")
    assert given.is_asked(Emit, "mounting")


def test_a_file_system_with_errors_is_left_out_after_a_while() -> None:
    given = world("/dev/b /b ext4 ro 0 2\nnone /b/c tmpfs").begin()
    given.device("/dev/b")
    given.answer(given.asked(Check), 4)
    given.run()
    given.wait(59)
    assert "filesystem" not in given.names()
    given.wait(2).run()
    assert given.sent() == set(ALL) and given.status == 5
    assert given.places("mounted") == ["/"]


def test_errors_of_the_root_end_in_a_shell_and_a_restart() -> None:
    given = world("/dev/sda1 / ext4 ro 0 1", READ_ONLY).begin()
    given.answer(given.asked(Check), 4)
    assert given.prompt.keys == "FISM" and "a shell follows" in given.prompt.text
    given.press("M")
    assert given.status == 3
    given = world("/dev/sda1 / ext4 ro 0 1", READ_ONLY).begin()
    given.answer(given.asked(Check), 4)
    given.run()
    given.wait(100)
    assert given.status == 3
    assert any("cannot start without / (/etc/fstab:1)" in text for text in given.told)


def test_where_nobody_reads_the_console_the_boot_goes_on_with_a_root_that_is_read_only() -> None:
    given = world("/dev/sda1 / ext4 rw 0 1\n/dev/b /b ext4", READ_ONLY, skip=True).begin()
    given.device("/dev/b")
    given.answer(given.asked(Check), 4)
    given.run()
    given.wait(100).run()
    assert given.sent() == set(ALL) and given.status == 5
    assert given.places("mounted") == ["/", "/b"]
    assert not any(isinstance(action, Mount) and action.mountpoint == "/" for action in given.actions)


def test_a_check_that_wants_a_restart_lets_the_others_end() -> None:
    """S11: the original cuts them off."""
    given = world("/dev/a /a ext4 ro 0 2\n/dev/b /b ext4 ro 0 2\n/dev/c /c ext4").begin()
    given.device("/dev/a")
    given.device("/dev/b")
    given.answer(given.asked(Check, "/dev/a"), 2)
    given.device("/dev/c")
    assert given.status is None and not given.is_asked(Emit, "mounting")
    given.wait(1000)
    given.answer(given.asked(Check, "/dev/b"))
    assert given.status == 4


def test_progress_is_shown_and_checks_that_make_some_can_be_cancelled() -> None:
    given = world("/dev/a /a ext4 ro 0 2\n/dev/b /b ext4 ro 0 2").begin()
    given.device("/dev/a")
    given.device("/dev/b")
    check = given.asked(Check, "/dev/a")
    assert given.prompt.text == ""
    given.tell(Progress(check.number, 40))  # type: ignore[attr-defined]
    assert given.prompt.keys == "C" and "/a: 40 %" in given.prompt.text
    given.tell(Progress(check.number, 41))  # type: ignore[attr-defined]
    assert "/a: 41 %" in given.prompt.text
    given.press("C")
    assert [action.number for action in given.actions if isinstance(action, Cancel)] == [check.number]  # type: ignore[attr-defined]
    given.answer(check, 32)
    assert given.is_asked(Emit, "/a") and given.prompt.text == ""


def test_an_image_is_checked_once_its_file_is_there() -> None:
    given = world("/dev/a /a ext4\n/a/img /b ext4 loop 0 2").begin()
    assert not given.is_asked(Check)
    given.device("/dev/a")
    given.run()
    assert [action.device for action in given.actions if isinstance(action, Check)] == ["/a/img"]
