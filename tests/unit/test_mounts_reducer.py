"""What mountall does, and in which order, as jobs answer and mounts succeed; and a state that is kept."""

from __future__ import annotations

import pytest
from mounts_world import ALL, READ_ONLY, ROOT, env, world

from upstart.mounts.reducer import Reducer
from upstart.mounts.values import (
    Check,
    Emit,
    End,
    Mount,
    Mounted,
    Mounts,
    Network,
    Swap,
)

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
