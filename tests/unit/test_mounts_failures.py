"""What mountall does when a mount fails, or a server does not answer."""

from __future__ import annotations

import pytest
from mounts_world import ALL, READ_ONLY, ROOT, World, env, world

from upstart.mounts.values import (
    LINK,
    NO_MOUNTPOINT,
    NO_TYPE,
    Appeared,
    Check,
    Emit,
    Mount,
    Mounted,
    Mounts,
    Network,
)

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
