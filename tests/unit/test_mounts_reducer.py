"""What mountall does, and in which order, as devices come, jobs answer, and checks and mounts succeed or fail."""

from __future__ import annotations

import pytest
from mounts_world import ALL, ROOT, World, make

from upstart.mounts.reducer import Reducer
from upstart.mounts.settings import USUAL, Settings
from upstart.mounts.values import (
    LINK,
    NO_MOUNTPOINT,
    NO_TYPE,
    Appeared,
    Calm,
    Cancel,
    Check,
    Emit,
    End,
    Gone,
    Mount,
    Mounted,
    Mounts,
    Network,
    Progress,
    Settled,
    Swap,
    Watch,
)

READ_ONLY = Mounted("/dev/sda1", "/", "ext4", "ro,relatime,ro", "8:1")


def world(text: str, *table: Mounted, built_in: str = "", **settings: object) -> World:
    rows = table or (ROOT,)
    wishes = Settings(values=USUAL, **settings)  # type: ignore[arg-type]
    return World(make(text, rows, wishes, built_in), rows)


def env(event: Emit) -> dict[str, str]:
    return dict(each.split("=", 1) for each in event.env)


# Order


def test_what_is_mounted_is_announced_at_once_with_the_options_of_fstab() -> None:
    given = world("/dev/sda1 / ext4 noatime 0 1", ROOT, Mounted("x", "/x", "tmpfs", "rw,size=1k")).begin()
    assert [(event.name, event.env) for event in given.events[:2]] == [
        ("mounted", ("DEVICE=/dev/sda1", "MOUNTPOINT=/", "TYPE=ext4", "OPTIONS=noatime")),
        ("mounted", ("DEVICE=x", "MOUNTPOINT=/x", "TYPE=tmpfs", "OPTIONS=rw,size=1k")),
    ]
    assert not given.is_asked(Mount) and not given.is_asked(Check)
    given.run()
    assert given.status == 0


def test_a_root_that_is_read_only_is_checked_then_mounted_again_and_only_then_announced() -> None:
    given = world("UUID=1 / ext4 errors=remount-ro 0 1\n/dev/b /b ext4 defaults", READ_ONLY).begin()
    given.device("/dev/b")
    check = given.asked(Check)
    assert (check.device, check.type, check.repair, check.force) == ("/dev/sda1", "ext4", "preen", False)  # type: ignore[attr-defined]
    assert "mounting" not in given.names()
    given.answer(check)
    given.answer(given.asked(Emit, "mounting"))
    mount = given.asked(Mount)
    assert (mount.device, mount.mountpoint, mount.options) == ("/dev/sda1", "/", "remount,errors=remount-ro")  # type: ignore[attr-defined]
    given.answer(mount)
    assert given.places("mounting") == ["/"]
    given.answer(given.asked(Emit, "mounted"))
    assert given.places("mounting") == ["/", "/b"]


@pytest.mark.parametrize("again", [0, 32])
def test_a_root_whose_options_the_kernel_does_not_know_is_made_writable_without_them(again: int) -> None:
    given = world("/dev/sda1 / ext4 errors=remount-ro,nosuchoption 0 1", READ_ONLY).begin()
    given.answer(given.asked(Check))
    given.answer(given.asked(Emit, "mounting"))
    given.answer(given.asked(Mount), 32, "bad option")
    mount = given.asked(Mount)
    assert (mount.device, mount.mountpoint, mount.options) == ("/dev/sda1", "/", "remount,rw")  # type: ignore[attr-defined]
    given.answer(mount, again, "write-protected" if again else "")
    if again:
        assert "/" not in given.places("mounted") and "write-protected" in "".join(given.told)
        return
    given.run()
    assert given.status == 5 and given.places("mounted") == ["/"]
    assert any("bad option" in text for text in given.told)


def test_a_root_that_stays_read_only_is_checked_and_not_mounted_again() -> None:
    given = world("/dev/sda1 / ext4 ro 0 1", READ_ONLY).begin()
    given.answer(given.asked(Check))
    assert given.names()[-1] == "mounted" and "mounting" not in given.names()


def test_mounting_is_done_with_before_the_mount_and_mounted_follows_it() -> None:
    given = world("none /t tmpfs size=1m,optional 0 0").begin()
    mounting = given.asked(Emit, "mounting")
    assert env(mounting) == {  # type: ignore[arg-type]
        "DEVICE": "none", "MOUNTPOINT": "/t", "TYPE": "tmpfs", "OPTIONS": "size=1m,optional",
    }  # fmt: skip
    assert not given.is_asked(Mount)
    given.answer(mounting)
    mount = given.asked(Mount)
    assert (mount.device, mount.type, mount.options, mount.beside) == ("tmpfs", "tmpfs", "size=1m", False)  # type: ignore[attr-defined]
    assert "/t" not in given.places("mounted")
    given.answer(mount)
    assert given.places("mounted")[-1] == "/t"


def test_dependants_and_counts_wait_for_the_reply_whatever_the_table_says() -> None:
    """S1: the original marks /a as done when it reads the table again."""
    given = world("none /a tmpfs\nnone /a/sub tmpfs\nnone /b tmpfs").begin()
    given.answer(given.asked(Emit, "MOUNTPOINT=/a'"))
    given.answer(given.asked(Mount, "/a"))
    held = given.asked(Emit, "key='mounted /a'")
    given.answer(given.asked(Emit, "MOUNTPOINT=/b"))
    given.answer(given.asked(Mount, "/b"))
    given.answer(given.asked(Emit, "key='mounted /b'"))
    given.tell(Mounts(tuple(given.table)))
    assert "/a/sub" not in given.places("mounting")
    assert "virtual-filesystems" not in given.names()
    given.answer(held)
    assert "/a/sub" in given.places("mounting")


def test_the_five_events_come_in_their_order_without_variables_and_block_nothing() -> None:
    given = world("/dev/sda1 / ext4\nnone /t tmpfs\n/dev/b /b ext4\nh:/u /usr nfs\n/dev/s none swap").begin()
    given.device("/dev/s", type="swap")
    given.device("/dev/b")
    while given.open and given.status is None:
        given.answer(list(given.open.values())[-1])
    assert sorted(given.sent()) == sorted(ALL)
    assert given.status == 0


def test_swap_may_be_there_first_and_nothing_waits_for_it() -> None:
    given = world("none /t tmpfs").begin()
    assert given.names()[0] == "mounted" and "all-swaps" in given.names()
    assert "virtual-filesystems" not in given.names()


def test_swap_is_announced_with_its_device_and_used_with_its_options() -> None:
    given = world("UUID=5 none swap sw,pri=2").begin()
    given.device("/dev/s", "/dev/disk/by-uuid/5", "UUID=5", type="swap")
    mounting = given.asked(Emit, "mounting")
    assert env(mounting)["MOUNTPOINT"] == "none" and env(mounting)["TYPE"] == "swap"  # type: ignore[arg-type]
    assert env(mounting)["DEVICE"] == "/dev/disk/by-uuid/5"  # type: ignore[arg-type]
    given.answer(mounting)
    swap = given.asked(Swap)
    assert (swap.device, swap.options) == ("/dev/s", "sw,pri=2")  # type: ignore[attr-defined]
    given.answer(swap)
    assert env(given.asked(Emit, "key='mounted swap UUID=5'"))["DEVICE"] == "/dev/disk/by-uuid/5"  # type: ignore[arg-type]
    given.run()
    assert given.status == 0


def test_swap_that_cannot_be_used_is_told_and_counts() -> None:
    given = world("/swap none swap").begin().run(swap=255)
    assert given.status == 0 and "all-swaps" in given.names()
    assert any("/swap is not used as swap: it failed" in text for text in given.told)


def test_a_placeholder_is_announced_and_not_mounted() -> None:
    given = world("none /tmp none").begin().run()
    assert given.places("mounting") == given.places("mounted")[1:] == ["/tmp"]
    assert not any(isinstance(action, Mount) for action in given.actions)


def test_a_failed_job_does_not_keep_a_file_system_from_being_mounted() -> None:
    from upstart.mounts.values import Answered

    given = world("none /t tmpfs").begin()
    mounting = given.asked(Emit, "mounting")
    given.allowed.add(given.entry_of(mounting).number)  # type: ignore[arg-type]
    given.tell(Answered(mounting.number, failed=True))  # type: ignore[attr-defined]
    assert given.is_asked(Mount)


def test_the_end_waits_for_the_last_reply_and_has_nothing_behind_it() -> None:
    given = world("none /t tmpfs\nh:/x /x nfs").begin()
    while len(given.open) > 1:
        given.answer(next(action for action in given.open.values() if "/x" not in repr(action)))
    assert given.sent() == set(ALL) and given.status is None
    given.run()
    assert given.status == 0 and isinstance(given.actions[-1], End)


def test_what_nothing_waits_for_keeps_nothing_waiting() -> None:
    given = world("/dev/n /n ext4 nofail\nh:/x /x nfs\n/dev/b /b ext4 nobootwait").begin()
    given.run(mount=32)
    assert given.sent() == set(ALL) and given.status == 0
    assert given.told[-1] == "Not mounted yet: /n, /x and /b"


# Devices


def test_a_device_is_waited_for_by_whichever_name() -> None:
    """S4: the original does not wait for the last three."""
    for name in ("/dev/x", "UUID=1", "LABEL=1", "PARTUUID=1", "PARTLABEL=1", "ID=1"):
        given = world(f"{name} /b ext4").begin()
        assert given.watching and not given.is_asked(Emit, "mounting")
        given.device("/dev/y", "UUID=2", "/dev/x1")
        assert not given.is_asked(Emit, "mounting")
        given.device("/dev/sdb1", "UUID=1", "LABEL=1", "PARTUUID=1", "PARTLABEL=1", "ID=1", "/dev/x")
        assert given.is_asked(Emit, "mounting")


def test_devices_are_watched_only_where_one_is_waited_for() -> None:
    assert not any(isinstance(action, Watch) for action in world("none /t tmpfs\nh:/x /x nfs").begin().actions)
    assert any(isinstance(action, Watch) for action in world("tag /t virtiofs").begin().actions)


@pytest.mark.parametrize(
    ("asked", "event", "mounted"),
    [
        ("/dev/disk/by-path/p", "/dev/disk/by-path/p", "/dev/disk/by-path/p"),
        ("UUID=1", "/dev/disk/by-uuid/1", "/dev/sdb1"),
        ("LABEL=l", "/dev/disk/by-label/l", "/dev/sdb1"),
        ("PARTUUID=2", "/dev/disk/by-partuuid/2", "/dev/sdb1"),
        ("ID=i", "/dev/sdb1", "/dev/sdb1"),
    ],
)
def test_events_have_the_link_and_the_table_the_device(asked: str, event: str, mounted: str) -> None:
    given = world(f"{asked} /b ext4").begin()
    links = ("/dev/disk/by-uuid/1", "/dev/disk/by-label/l", "/dev/disk/by-partuuid/2", "/dev/disk/by-path/p")
    given.device("/dev/sdb1", *links, "UUID=1", "LABEL=l", "PARTUUID=2", "ID=i")
    mounting = given.asked(Emit, "mounting")
    assert env(mounting)["DEVICE"] == event  # type: ignore[arg-type]
    given.answer(mounting)
    assert given.asked(Mount).device == mounted  # type: ignore[attr-defined]


def test_a_volume_is_mounted_by_the_name_that_everybody_knows() -> None:
    given = world("UUID=1 /b ext4").begin()
    given.device("/dev/dm-0", "/dev/mapper/vg-b", "/dev/vg/b", "UUID=1")
    given.answer(given.asked(Emit, "mounting"))
    assert given.asked(Mount).device == "/dev/mapper/vg-b"  # type: ignore[attr-defined]


def test_of_two_devices_with_one_name_the_first_counts_and_somebody_is_told() -> None:
    given = world("none /t tmpfs\n/dev/o /o ext4\nUUID=1 /o/b ext4").begin()
    given.device("/dev/b", "UUID=1")
    given.device("/dev/c", "UUID=1")
    assert given.told == ["/etc/fstab:3: UUID=1 is both /dev/b and /dev/c; the first counts"]


def test_a_device_that_goes_before_it_is_used_is_waited_for_again() -> None:
    given = world("/dev/o /o ext4\nUUID=1 /o/b ext4").begin()
    given.device("/dev/b", "UUID=1")
    given.tell(Gone("/dev/b"))
    given.device("/dev/o")
    given.run()
    assert given.places("mounted")[1:] == ["/o"]
    given.device("/dev/c", "UUID=1")
    given.run()
    assert given.places("mounted")[1:] == ["/o", "/o/b"]


def test_a_root_on_another_device_than_fstab_says_is_told() -> None:
    given = world("UUID=1 / ext4\n/dev/b /b ext4", READ_ONLY).begin()
    given.device("/dev/sda1", "UUID=3")
    given.device("/dev/b", "UUID=1")
    assert given.told == ["/etc/fstab:1: the root file system is on /dev/sda1, and not on UUID=1"]


# Checks


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


# What is missing, and for how long it is waited for


def test_what_is_missing_is_told_after_three_seconds_and_every_thirty() -> None:
    """S9: the original says nothing at all without plymouth."""
    given = world("UUID=1 /b ext4\nnone /b/c tmpfs\n/dev/k /k ext4").begin().run()
    given.wait(2.9)
    assert given.prompt.text == ""
    given.wait(0.2)
    text = given.prompt.text
    assert "The disk drive for /b is not ready yet or not present." in text
    assert "UUID=1 is missing (/etc/fstab:1)" in text and "/b/c" in text and "/k" in text
    assert "In 57 seconds the system starts without." in text
    assert given.prompt.keys == "SM"
    assert given.prompt.events == ("local-filesystems", "filesystem")
    given.wait(29)
    assert given.prompt.text == text
    given.wait(2)
    assert "In 27 seconds" in given.prompt.text
    given.device("/dev/k")
    assert "/k" not in given.prompt.text
    given.device("/dev/b", "UUID=1")
    assert given.prompt.text == "" and given.prompt.keys == ""


def test_each_thing_that_moves_starts_the_three_seconds_anew() -> None:
    given = world("/dev/b /b ext4\nnone /t tmpfs").begin()
    for _ in range(4):
        given.wait(2)
        moving = [action for action in given.open.values() if "/t" in repr(action)]
        if moving:
            given.answer(moving[0])
    assert given.prompt.text == ""
    given.run()
    given.wait(4)
    assert given.prompt.text != ""


def test_nothing_is_told_while_a_check_runs() -> None:
    given = world("/dev/b /b ext4\n/dev/c /c ext4 ro 0 2").begin()
    given.device("/dev/c")
    given.wait(30)
    assert given.prompt.text == ""
    given.answer(given.asked(Check))
    given.run()
    given.wait(4)
    assert "/b" in given.prompt.text


def test_a_missing_device_is_skipped_after_a_minute_with_all_that_depends_on_it() -> None:
    given = world("/dev/b /b ext4\n/dev/c /b/c ext4\n/dev/d /d ext4 x-upstart.timeout=10").begin().run()
    given.device("/dev/c")
    given.wait(11).run()
    assert given.places("device-not-ready") == ["/d"]
    given.wait(48).run()
    assert "local-filesystems" not in given.names()
    given.wait(2).run()
    assert given.places("device-not-ready") == ["/d", "/b"]
    assert given.sent() == set(ALL) and given.status == 5
    assert "Skipping /b (/etc/fstab:1): /dev/b is missing" in given.told


def test_half_a_minute_is_enough_once_udev_has_had_nothing_to_do_for_as_long() -> None:
    for after, skipped in ((0, 31), (10, 41), (29, 60)):
        given = world("/dev/b /b ext4").begin().run()
        given.wait(after)
        given.settled()
        given.wait(skipped - after - 2).run()
        assert given.status is None
        given.wait(3).run()
        assert given.status == 5


def test_udev_that_has_something_to_do_again_gives_time() -> None:
    given = world("/dev/b /b ext4").begin().run()
    given.settled()
    given.wait(20)
    given.tell(Settled(False))
    given.wait(20)
    assert given.status is None
    given.wait(21).run()
    assert given.status == 5


def test_a_limit_of_none_is_kept() -> None:
    given = world("/dev/b /b ext4 x-systemd.device-timeout=0").begin().run()
    given.wait(100_000)
    assert given.status is None and "/b" in given.prompt.text and "seconds" not in given.prompt.text
    given.press("s")
    given.run()
    assert given.status == 5


def test_time_counts_from_when_udev_could_begin() -> None:
    given = world("none /t tmpfs\n/dev/b /b ext4").begin()
    given.wait(500)
    assert "Skipping" not in " ".join(given.told)
    given.run()
    given.wait(59)
    assert given.status is None
    given.wait(2).run()
    assert given.status == 5


def test_a_disk_that_comes_after_all_is_mounted_and_announced() -> None:
    given = world("/dev/b /b ext4 timeout=5\n/dev/c /b/c ext4\n/dev/d /d ext4").begin().run()
    given.device("/dev/c")
    given.wait(6).run()
    assert "filesystem" not in given.names()
    given.device("/dev/b")
    given.run()
    assert given.places("mounted") == ["/", "/b", "/b/c"]
    given.device("/dev/d")
    given.run()
    assert given.status == 0


def test_skip_takes_what_is_shown_out_of_the_counts() -> None:
    given = world("/dev/b /b ext4\nnone /b/c tmpfs").begin().run()
    given.press("S")
    assert "filesystem" not in given.names()
    given.wait(4)
    given.press("S")
    given.run()
    assert given.sent() == set(ALL) and given.status == 5


def test_a_missing_swap_ends() -> None:
    """S10: the original runs for ever."""
    given = world("/dev/s none swap").begin().run()
    assert "filesystem" in given.names() and "all-swaps" not in given.names()
    given.wait(61).run()
    assert "all-swaps" in given.names() and given.status == 5


def test_an_essential_file_system_that_is_missing_ends_in_a_shell() -> None:
    given = world("/dev/u /usr ext4\n/dev/c /c ext4 ro 0 2").begin().run()
    given.wait(4)
    assert "a shell follows" in given.prompt.text
    given.device("/dev/c")
    given.wait(60)
    assert given.status is None
    given.answer(given.asked(Check))
    assert given.status == 2
    assert "The system cannot start without /usr (/etc/fstab:1): /dev/u is missing" in given.told


def test_where_nobody_reads_the_console_the_boot_goes_on_without_usr() -> None:
    given = world("/dev/u /usr ext4", skip=True).begin().run()
    given.wait(61).run()
    assert given.sent() == set(ALL) and given.status == 5


def test_what_holds_an_encrypted_device_is_named() -> None:
    from mounts_world import KERNEL

    from upstart.mounts.fstab import parse
    from upstart.mounts.plan import plan

    lines, _ = parse("/dev/mapper/c /c ext4", "/etc/fstab")
    given = World(plan(lines, (), KERNEL, (ROOT,), {"/dev/mapper/c": "UUID=1"}), (ROOT,)).begin().run()
    given.wait(4)
    assert "/dev/mapper/c is missing, and so is UUID=1, which holds it" in given.prompt.text
    given.wait(46)
    given.device("/dev/sdz", "UUID=1", type="crypto_LUKS")
    given.settled()
    given.wait(40)
    assert "has to be unlocked" in given.prompt.text and given.status is None
    given.wait(21).run()
    assert given.status == 5


def test_a_shell_that_somebody_asks_for_cancels_what_runs() -> None:
    given = world("/dev/b /b ext4\n/dev/c /c ext4 ro 0 2\n/dev/e /e ext4 ro 0 2").begin().run()
    given.device("/dev/c")
    given.device("/dev/e")
    given.answer(given.asked(Check, "/dev/c"), 4)
    given.press("M")
    assert any(isinstance(action, Cancel) for action in given.actions)
    assert given.status is None
    given.answer(given.asked(Check), 32)
    assert given.status == 2


# Mounts that fail


def test_a_mount_that_fails_is_told_with_its_words_and_skipped_after_a_while() -> None:
    """S8: the original says nothing."""
    given = world("/dev/b /b ext4").begin()
    given.device("/dev/b")
    given.answer(given.asked(Emit, "mounting"))
    given.answer(given.asked(Mount), 32, "wrong fs type, bad superblock")
    text = given.prompt.text
    assert text.startswith("An error occurred while mounting /b.\nwrong fs type, bad superblock")
    assert given.prompt.keys == "SM"
    given.run()
    given.wait(61).run()
    assert given.status == 5
    assert "Skipping /b (/etc/fstab:1): wrong fs type, bad superblock" in given.told


def test_what_the_kernel_makes_up_is_not_waited_for_once_it_has_failed() -> None:
    given = world("none /t tmpfs size=x\nnone /t/u tmpfs").begin()
    given.run(mount=32)
    assert given.sent() == set(ALL) and given.status == 5
    assert any("Skipping /t (/etc/fstab:1): it failed" in text for text in given.told)


def test_an_essential_mount_that_fails_ends_in_a_shell_at_once() -> None:
    given = world("/dev/u /usr ext4").begin()
    given.device("/dev/u")
    given.run(mount=32)
    assert given.status == 2


def test_a_root_that_cannot_be_made_writable_ends_in_a_shell_and_a_containers_stays() -> None:
    given = world("/dev/sda1 / ext4", READ_ONLY).begin().run(mount=32)
    assert given.status == 2
    given = world("", READ_ONLY, built_in="/dev/root / rootfs defaults 0 0").begin().run(mount=32)
    assert given.status == 0 and given.places("mounted") == ["/"]


def test_options_that_cannot_be_changed_stay_as_they_are() -> None:
    row = Mounted("proc", "/proc", "proc", "rw,nosuid")
    given = world("proc /proc proc hidepid=2", ROOT, row).begin().run(mount=32)
    assert given.status == 0 and "/proc" in given.places("mounted")
    assert "/proc keeps its options: it failed" in given.told


def test_a_mount_point_that_cannot_be_made_in_a_read_only_root_is_made_later() -> None:
    given = world("/dev/sda1 / ext4\nnone /new tmpfs", READ_ONLY).begin()
    given.answer(given.asked(Emit, "MOUNTPOINT=/new"))
    given.answer(given.asked(Mount, "/new"), NO_MOUNTPOINT, "Read-only file system")
    assert "virtual-filesystems" not in given.names()
    given.run()
    assert given.status == 0 and given.places("mounting").count("/new") == 2


def test_a_share_of_the_host_whose_mount_point_cannot_be_made_yet_waits_for_the_root_alone() -> None:
    given = world("/dev/sda1 / ext4 rw 0 1\ntag /t virtiofs", READ_ONLY).begin()
    given.answer(given.asked(Emit, "mounting"))
    given.answer(given.asked(Mount), NO_MOUNTPOINT)
    given.wait(1000)
    given.answer(given.asked(Check))
    given.run()
    assert given.status == 0 and given.places("mounted") == ["/", "/t"]


def test_optional_and_without_a_place_counts_as_mounted() -> None:
    given = world("none /o tmpfs optional").begin()
    given.answer(given.asked(Emit, "mounting"))
    given.answer(given.asked(Mount), NO_MOUNTPOINT, "No such file or directory")
    assert "/o" in given.places("mounted")


def test_optional_and_of_a_type_that_there_is_not_is_left_out_without_a_word() -> None:
    given = world("none /o nosuchfs optional\nnone /o/p tmpfs").begin()
    given.answer(given.asked(Emit, "mounting"))
    given.answer(given.asked(Mount), NO_TYPE, "unknown filesystem type")
    given.run()
    assert given.status == 0 and given.places("mounted") == ["/", "/o/p"]
    assert given.prompt.text == "" and not given.told


@pytest.mark.parametrize("status", [NO_TYPE, NO_MOUNTPOINT, 32])
def test_optional_and_built_in_is_left_out_without_more_ado(status: int) -> None:
    given = world("", built_in="none /o efivarfs optional\nnone /o/p tmpfs").begin()
    given.answer(given.asked(Emit, "mounting"))
    given.answer(given.asked(Mount), status)
    given.run()
    assert given.status == 0 and given.places("mounted") == ["/", "/o/p"]
    assert given.prompt.text == ""


def test_an_optional_directory_that_appears_is_mounted_on() -> None:
    from upstart.mounts.fstab import parse
    from upstart.mounts.plan import plan

    lines, _ = parse("none /s/c configfs optional", "/lib/init/fstab")
    rows = (ROOT, Mounted("s", "/s", "sysfs", "rw"))
    given = World(plan([], lines, {}, rows, directories=()), rows).begin()
    assert not given.is_asked(Emit, "mounting")
    given.tell(Appeared("/s/c"))
    assert given.is_asked(Emit, "mounting")
    given.run()
    assert given.status == 0


def test_a_mount_point_that_is_a_link_to_anothers_counts_with_it() -> None:
    given = world("/dev/b /b ext4\nnone /l tmpfs").begin()
    given.answer(given.asked(Emit, "MOUNTPOINT=/l"))
    given.answer(given.asked(Mount), LINK, "/b")
    given.run()
    assert "/l" not in given.places("mounted") and "local-filesystems" not in given.names()
    given.device("/dev/b")
    given.run()
    assert given.places("mounted") == ["/", "/b", "/l"]
    assert [action.mountpoint for action in given.actions if isinstance(action, Mount)] == ["/l", "/b"]


def test_what_a_link_makes_wait_for_a_device_does_not_keep_udev_waiting_which_brings_it() -> None:
    given = world("/dev/b /b ext4\nnone /l tmpfs\nnone /l/m tmpfs").begin()
    given.answer(given.asked(Emit, "MOUNTPOINT=/l"))
    given.answer(given.asked(Mount), LINK, "/b")
    given.run()
    assert "virtual-filesystems" in given.names() and "local-filesystems" not in given.names()
    assert given.reducer.entries[1].kind == "local" and given.plan.entries[1].kind == "virtual"
    given.wait(61).run()
    assert given.sent() == set(ALL) and given.status == 5


def test_what_comes_after_one_that_is_skipped_is_counted_on_when_that_leads_to_what_nothing_waits_for() -> None:
    given = world("h:/n /n nfs\nh:/x /home nfs bootwait\nnone /t tmpfs x-systemd.after=/home").begin()
    given.answer(given.asked(Emit, "MOUNTPOINT=/home"))
    given.wait(61)
    given.answer(given.asked(Mount, "/home"), LINK, "/n")
    given.run()
    assert given.sent() == set(ALL) and sorted(given.places("mounted")) == ["/", "/home", "/n", "/t"]


def test_a_mount_point_that_is_a_link_elsewhere_is_mounted_there() -> None:
    given = world("none /l tmpfs").begin()
    given.answer(given.asked(Emit, "mounting"))
    given.answer(given.asked(Mount), LINK, "/else/where")
    assert given.asked(Mount).mountpoint == "/else/where"  # type: ignore[attr-defined]
    given.answer(given.asked(Mount))
    given.tell(Mounts(tuple(given.table)))
    assert given.places("mounted") == ["/", "/l"]


def test_a_type_that_mount_has_found_out_is_announced() -> None:
    given = world("/dev/b /b auto").begin()
    given.device("/dev/b")
    given.answer(given.asked(Emit, "mounting"))
    given.answer(given.asked(Mount), 0, type="xfs")
    assert env(given.asked(Emit, "key='mounted /b'"))["TYPE"] == "xfs"  # type: ignore[arg-type]


# The network


def test_remote_mounts_are_tried_at_once_beside_others_and_again_after_longer_and_longer() -> None:
    """S12: the original tries after every mount, with all the jobs that mounting starts."""
    given = world("h:/x /home nfs bootwait").begin()
    times = []
    start = given.now
    while given.now < start + 300 and given.status is None:
        for action in list(given.open.values()):
            if isinstance(action, Emit) and action.name == "mounting":
                times.append(given.now - start)
            if isinstance(action, Mount):
                assert action.beside
            given.answer(action, 32 if isinstance(action, Mount) else 0)
        if not given.open:
            assert given.wake is not None
            given.wait(given.wake - given.now)
    assert times == [0, 1, 3, 7, 15, 31] and given.status == 5
    assert len([text for text in given.told if "not mounted yet: it failed" in text]) == 1


def test_an_interface_that_comes_up_has_all_that_is_remote_tried_again() -> None:
    given = world("h:/x /x nfs\nh:/y /home nfs bootwait").begin().run(mount=32)
    given.tell(Network())
    assert sorted(given.places("mounting")) == ["/home", "/home", "/x", "/x"]
    given.run(mount=32)
    given.tell(Network())
    given.run()
    assert given.status == 0 and sorted(given.places("mounted")) == ["/", "/home", "/x"]


def test_an_interface_that_comes_up_during_a_try_means_another_at_once() -> None:
    given = world("h:/x /usr nfs").begin()
    given.answer(given.asked(Emit, "mounting"))
    given.tell(Network())
    given.answer(given.asked(Mount), 32)
    given.wait(0)
    assert len(given.places("mounting")) == 2


def test_a_server_that_does_not_answer_keeps_nothing_waiting_for_ever() -> None:
    given = world("h:/x /home nfs bootwait").begin()
    given.answer(given.asked(Emit, "mounting"))
    given.wait(61)
    assert {"filesystem"} <= given.sent() and given.status is None
    given.run()
    assert given.status == 0 and "/home is mounted now" in given.told


def test_a_remote_one_that_is_there_and_does_not_answer_is_announced_once() -> None:
    row = Mounted("h:/x", "/home", "nfs", "ro")
    given = world("h:/x /home nfs bootwait", ROOT, row).begin()
    given.wait(61)
    assert "filesystem" in given.names() and "/home" not in given.places("mounted")
    given.run()
    assert given.status == 0 and given.places("mounted") == ["/", "/home"]


def test_remote_file_systems_on_disks_wait_for_these() -> None:
    given = world("/dev/i /i ext4 _netdev,bootwait").begin()
    assert not given.is_asked(Emit, "mounting")
    given.tell(Network())
    assert not given.is_asked(Emit, "mounting")
    given.device("/dev/i")
    given.run()
    assert given.status == 0


def test_what_the_host_shares_is_tried_again_with_each_device_that_it_brings() -> None:
    """S7: over virtio, whose module may come late."""
    given = world("tag /t virtiofs").begin().run(mount=32)
    given.tell(Appeared("/sys/devices/virtio1"))
    given.run()
    assert given.status == 0 and given.places("mounted") == ["/", "/t"]
    given = world("tag /t virtiofs").begin().run(mount=32)
    given.wait(30)
    given.run(mount=32)
    given.wait(100)
    given.run(mount=32)
    assert {"filesystem"} <= given.sent()


# Others


def test_what_others_mount_is_announced_but_counts_nowhere() -> None:
    given = world("/dev/b /b ext4").begin().run()
    given.tell(Mounts((ROOT, Mounted("v", "/v", "tmpfs", "rw,size=9k"))))
    assert given.events[-1].env == ("DEVICE=v", "MOUNTPOINT=/v", "TYPE=tmpfs", "OPTIONS=rw,size=9k")
    given.tell(Mounts((ROOT, Mounted("v", "/v", "tmpfs", "rw,size=9k"))))
    assert given.places("mounted").count("/v") == 1


def test_an_entry_that_somebody_else_mounts_is_not_mounted_over() -> None:
    given = world("/dev/b /b ext4\nnone /t tmpfs").begin()
    given.tell(Mounts((ROOT, Mounted("/dev/z", "/b", "xfs", "rw"), Mounted("t", "/t", "tmpfs", "rw"))))
    given.run()
    assert not any(isinstance(action, Mount) for action in given.actions)
    assert sorted(given.places("mounted")) == ["/", "/b", "/t"]
    assert given.status == 0


def test_a_root_that_somebody_makes_writable_is_announced() -> None:
    given = world("/dev/sda1 / ext4", READ_ONLY).begin()
    given.tell(Mounts((ROOT,)))
    given.run()
    assert given.status == 0 and not any(isinstance(action, Mount) for action in given.actions)


def test_a_mount_that_is_under_way_is_no_strangers() -> None:
    given = world("none /a tmpfs").begin()
    given.answer(given.asked(Emit, "mounting"))
    row = Mounted("tmpfs", "/real/a", "tmpfs", "rw")
    given.tell(Mounts((ROOT, row)))
    assert given.places("mounted") == ["/"]
    mount = given.asked(Mount)
    del given.open[mount.number]  # type: ignore[attr-defined]
    from upstart.mounts.values import Ended

    given.tell(Ended(mount.number, 0, place="/real/a"))  # type: ignore[attr-defined]
    assert given.places("mounted") == ["/", "/a"]
    given.tell(Mounts((ROOT, row)))
    assert given.places("mounted") == ["/", "/a"]


def test_what_shows_through_is_bound_before_the_file_system_is_moved_over_it() -> None:
    given = world("/dev/v /var ext4\nnone /var/x/y tmpfs showthrough\nnone /var/z tmpfs showthrough").begin()
    given.device("/dev/v")
    given.run()
    mounts = [
        (action.device, action.mountpoint, action.type, action.options)
        for action in given.actions
        if isinstance(action, Mount)
    ]
    assert mounts == [
        ("tmpfs", "/var/x/y", "tmpfs", "defaults"),
        ("tmpfs", "/var/z", "tmpfs", "defaults"),
        ("/dev/v", "/dev/.var", "ext4", "defaults"),
        ("/var/x/y", "/dev/.var/x/y", "none", "bind"),
        ("/var/z", "/dev/.var/z", "none", "bind"),
        ("/dev/.var", "/var", "none", "move"),
    ]
    assert given.places("mounted")[1:] == ["/var/x/y", "/var/z", "/var"]
    assert given.status == 0


def test_sizes_by_memory_and_swap_are_taken_again_once_there_is_swap() -> None:
    text = "none /t tmpfs size=10%VM\nnone /u tmpfs size=1m\n/dev/s none swap"
    given = world(text).begin().run()
    given.device("/dev/s")
    given.run()
    mounts = [action.options for action in given.actions if isinstance(action, Mount) and "remount" in action.options]
    assert mounts == ["remount,size=10%VM"] and given.status == 0
    given = world(text).begin().run()
    given.wait(61).run()
    assert not any(isinstance(action, Mount) and "remount" in action.options for action in given.actions)


def test_what_was_mounted_and_is_noauto_keeps_its_size() -> None:
    given = world("t /t tmpfs noauto,size=9%VM\n/s none swap", ROOT, Mounted("t", "/t", "tmpfs", "rw")).begin().run()
    assert given.status == 0 and not any(isinstance(action, Mount) for action in given.actions)


# A state that is kept


def test_each_try_of_mounting_is_an_event_of_its_own_and_mounted_is_one_for_the_boot() -> None:
    given = world("h:/x /x nfs\nh:/y /usr nfs").begin().run(mount=32)
    given.tell(Network())
    given.run()
    keys = [event.key for event in given.events]
    assert len(set(keys)) == len(keys)
    later = world("h:/x /x nfs")
    later.now = 999.0
    later.begin()
    assert "mounted /" in keys and "mounted /" in [event.key for event in later.events]
    assert not {event.key for event in later.events if event.name == "mounting"} & set(keys)


def test_two_mounts_on_one_mount_point_are_announced_by_two_keys() -> None:
    given = world("none /a tmpfs\nnone /a tmpfs").begin().run()
    keys = [event.key for event in given.events if event.name == "mounted"]
    assert keys == ["mounted /", "mounted /a", "mounted /a 1"]
    assert given.status == 0


def test_a_state_that_is_none_is_refused() -> None:
    good = world("none /a tmpfs").begin().reducer.dump()
    changes: list[dict[str, object]] = [{"version": 0}, {"items": []}, {"entries": [{"x": 1}]}, {"facts": {"x": 1}}]
    for change in changes:
        with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
            Reducer.load({**good, **change})


def test_what_is_left_over_is_the_business_of_a_late_one() -> None:
    given = world("/dev/b /b ext4\n/dev/n /n ext4 nofail\nh:/x /x nfs\nnone /b/c tmpfs").begin().run(mount=32)
    given.wait(61).run(mount=32)
    assert given.status == 5
    late = given.late()
    assert late.watching and late.places("mounting") == []
    late.wait(200)
    assert late.places("mounting") == ["/x"]
    late.run()
    late.device("/dev/b")
    late.run()
    late.device("/dev/n")
    late.run()
    assert late.places("mounted") == ["/x", "/b", "/b/c", "/n"]
    assert late.status == 0
    assert not late.sent() and late.prompt.text == ""


def test_a_late_one_without_anything_left_ends_at_once() -> None:
    assert world("none /a tmpfs").begin().run().late().status == 0


def test_problems_of_the_plan_are_told() -> None:
    given = world("/dev/a /a ext4 timeout=soon").begin()
    assert given.told[0].startswith("/etc/fstab:1: ")
