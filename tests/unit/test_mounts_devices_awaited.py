"""What mountall does as devices come and go, and while some are missing."""

from __future__ import annotations

import pytest
from mounts_world import ALL, READ_ONLY, ROOT, World, env, world

from upstart.mounts.values import (
    Cancel,
    Check,
    Emit,
    Gone,
    Mount,
    Settled,
    Watch,
)

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
