"""What mountall makes of fstab, the built-in entries, the settings and what is mounted: kinds, order, devices."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from upstart.daemon import boot
from upstart.mounts import files, settings
from upstart.mounts.fstab import parse
from upstart.mounts.plan import Plan, plan
from upstart.mounts.values import Entry, Mounted

KERNEL = {"ext4": False, "tmpfs": True, "proc": True, "sysfs": True, "devtmpfs": True, "fuse": True, "fuseblk": False}
BUILT_IN = (Path(__file__).parents[2] / "src/lib/init/fstab").read_text()
ROOT = Mounted("/dev/sda1", "/", "ext4", "ro,relatime,ro", "8:1")


def make(text: str, mounts: tuple[Mounted, ...] = (), built_in: str = "", **more: object) -> Plan:
    lines, problems = parse(text, "/etc/fstab")
    assert problems == []
    return plan(lines, parse(built_in, "built-in")[0], KERNEL, mounts, **more)  # type: ignore[arg-type]


def by_place(made: Plan) -> dict[str, Entry]:
    return {entry.mountpoint if entry.type != "swap" else entry.device: entry for entry in made.entries}


def kind(text: str) -> str:
    return make(text).entries[-1].kind


def after(made: Plan) -> dict[str, list[str]]:
    names = [entry.mountpoint if entry.type != "swap" else entry.device for entry in made.entries]
    return {names[entry.number]: sorted(names[number] for number in entry.after) for entry in made.entries}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/dev/a none swap", "swap"),
        ("h:/ none swap _netdev,nobootwait", "swap"),
        ("/dev/a / ext4", "local"),
        ("h:/ / nfs nobootwait", "local"),
        ("h:/x /a nfs", "nowait"),
        ("h:/x /usr nfs", "remote"),
        ("h:/x /var/mail nfs4", "remote"),
        ("h:/x /variable nfs4", "nowait"),
        ("h:/x /home nfs bootwait", "remote"),
        ("h:/x /home nfs x-upstart.bootwait", "remote"),
        ("h:/x /usr nfs nobootwait", "nowait"),
        ("h:/x /usr nfs bootwait,nobootwait", "nowait"),
        ("/dev/a /a ext4 _netdev", "nowait"),
        ("/dev/a /a ocfs2 bootwait", "remote"),
        ("u@h: /a fuse.sshfs bootwait", "remote"),
        ("/dev/nbd0 /a ext4", "nowait"),
        ("tag /a virtiofs", "local"),
        ("tag /a 9p trans=virtio", "local"),
        ("none /a tmpfs", "virtual"),
        ("none /a tmpfs nobootwait", "nowait"),
        ("none /a none", "virtual"),
        ("x /a fuse", "local"),
        ("/dev/a /a ext4", "local"),
        ("/dev/a /a ext4 timeout", "local"),
        ("/dev/a /a ext4 timeout,nobootwait", "nowait"),
        ("/dev/a /a ext4 nobootwait", "nowait"),
        ("/dev/a /a ext4 nofail", "nowait"),
        ("/dev/a /a ext4 nofail,bootwait", "local"),
        ("/dev/a /a ext4 noauto,x-systemd.automount", "nowait"),
        ("tank/data /a zfs", "local"),
        ("/a /b none bind", "local"),
        ("/dev/a /a ext4 nobootwaiting,opt,no", "local"),
        ("none /a tmpfs size=1m,,mode=700", "virtual"),
    ],
)
def test_the_kind_of_an_entry_by_itself(line: str, expected: str) -> None:
    assert kind(line) == expected


def test_swap_is_not_used_where_that_is_not_wanted() -> None:
    assert make("/dev/a none swap", settings=settings.Settings(swap=False, values=settings.USUAL)).entries == ()


@pytest.mark.parametrize(
    ("line", "needs"),
    [
        ("/dev/a /a ext4", "/dev/a"),
        ("UUID=1 /a ext4", "UUID=1"),
        ("LABEL=1 /a ext4", "LABEL=1"),
        ("PARTUUID=1 /a ext4", "PARTUUID=1"),
        ("PARTLABEL=1 /a ext4", "PARTLABEL=1"),
        ("ID=1 /a ext4", "ID=1"),
        ("UUID=1 none swap", "UUID=1"),
        ("/dev/nbd0 /a ext4", "/dev/nbd0"),
        ("/swap none swap", ""),
        ("/dev/shm /a none bind", ""),
        ("/img /a ext4 loop", ""),
        ("h:/x /a nfs", ""),
        ("none /a tmpfs", ""),
        ("tank/x /a zfs", ""),
        ("LABELS=1 /a tmpfs", ""),
    ],
)
def test_the_device_that_has_to_be_ready(line: str, needs: str) -> None:
    assert make(line).entries[-1].needs == needs


@pytest.mark.parametrize("line", ["/dev/a /a ignore", "/dev/a /a ext4 noauto", "/dev/a /a ext4 ro,noauto"])
def test_lines_that_say_so_are_left_out(line: str) -> None:
    made = make(line)
    assert made.entries == () and made.problems == ()


@pytest.mark.parametrize("word", ["no", "noautomatic", "auto", "noaut", ""])
def test_the_beginning_of_a_word_is_another_word(word: str) -> None:
    assert len(make(f"/dev/a /a ext4 ro,{word}").entries) == 1


def test_swap_that_is_named_twice_is_used_once_and_told() -> None:
    made = make("/dev/s none swap\n/dev/s swap swap pri=3")
    assert len(made.entries) == 1
    assert made.problems == ("/etc/fstab:2: /dev/s is used as swap already by /etc/fstab:1",)


def test_what_is_noauto_and_mounted_is_announced_as_it_is() -> None:
    made = make("/dev/b /b ext4 noauto", (Mounted("/dev/b", "/b", "ext4", "ro"),))
    assert [(number, row.mountpoint) for number, row in made.mounted] == [(0, "/b")]
    assert made.fresh == ()


def test_an_entry_above_what_is_mounted_is_left_out_and_told() -> None:
    made = make("/dev/b /b ext4\n/dev/c /c ext4", (ROOT, Mounted("/dev/x", "/b/c/d", "ext4", "rw")))
    assert sorted(by_place(made)) == ["/", "/b/c/d", "/c"]
    assert made.problems == ("/etc/fstab:1: /b is left out: it would hide /b/c/d, which is mounted",)


def test_a_line_replaces_the_built_in_one_and_a_second_one_is_one_more() -> None:
    made = make("a /run tmpfs size=1m\nb /run tmpfs size=2m", built_in="none /run tmpfs mode=755\nnone /x tmpfs")
    assert [(entry.device, entry.mountpoint, entry.options) for entry in made.entries] == [
        ("a", "/run", "size=1m"), ("none", "/x", "defaults"), ("b", "/run", "size=2m"),
    ]  # fmt: skip
    assert [entry.after for entry in made.entries] == [(), (), (0,)]


def test_a_line_for_a_built_in_file_system_keeps_the_options_it_does_not_speak_of() -> None:
    made = make("run /run tmpfs size=2m", built_in=BUILT_IN)
    entry = by_place(made)["/run"]
    assert entry.options == "size=2m"
    assert entry.given == "nodev,nosuid,noexec,mode=755,size=2m"


def test_the_longest_mount_point_above_comes_first() -> None:
    made = make("/dev/c /a/b/c ext4\n/dev/a /a ext4\n/dev/d /ab ext4\n/dev/r / ext4\n/dev/b /a/b ext4")
    assert after(made) == {"/a/b/c": ["/a/b"], "/a/b": ["/a"], "/a": ["/"], "/ab": ["/"], "/": []}


def test_of_two_lines_with_one_mount_point_the_second_comes_second_and_others_after_it() -> None:
    made = make("/dev/a /a ext4\n/dev/c /a/c ext4\n/dev/b /a ext4")
    assert [entry.after for entry in made.entries] == [(), (2,), (0,)]


def test_what_the_kernel_makes_up_needs_no_root_if_it_lies_in_it() -> None:
    made = make("/dev/r / ext4\nnone /a tmpfs\nnone /a/b tmpfs\nnone /p none\n/dev/d /d ext4\nnone /d/e tmpfs")
    assert after(made) == {"/": [], "/a": [], "/a/b": ["/a"], "/p": ["/"], "/d": ["/"], "/d/e": ["/d"]}
    kinds = {place: entry.kind for place, entry in by_place(made).items()}
    assert kinds == {"/": "local", "/a": "virtual", "/a/b": "virtual", "/p": "local", "/d": "local", "/d/e": "local"}


def test_kinds_are_inherited_the_most_restrictive_one() -> None:
    made = make(
        "/dev/r / ext4\nh:/u /usr nfs\n/dev/l /usr/local ext4\nnone /usr/local/t tmpfs\nh:/n /n nfs\n/dev/s /n/s ext4"
    )
    kinds = {place: entry.kind for place, entry in by_place(made).items()}
    assert kinds["/usr"] == kinds["/usr/local"] == kinds["/usr/local/t"] == "remote"
    assert kinds["/n"] == kinds["/n/s"] == "nowait"


def test_swap_in_a_file_system_that_nothing_waits_for_is_not_waited_for() -> None:
    made = make("/dev/n /n ext4 nofail\n/n/swap none swap\n/dev/u /u ext4\n/u/swap none swap")
    assert [entry.kind for entry in made.entries] == ["nowait", "nowait", "local", "swap"]


def test_the_device_of_a_loop_a_bind_and_a_swap_file_comes_first() -> None:
    made = make(
        "/dev/r / ext4\n/usr/loop.img /l ext4 loop\n/b/x /m none bind\n/swap none swap\n"
        "/dev/u /usr ext4\n/dev/b /b ext4"
    )
    found = after(made)
    assert found["/l"] == ["/", "/usr"]
    assert found["/m"] == ["/", "/b"]
    assert found["/swap"] == ["/"]


def test_an_overlay_waits_for_its_directories() -> None:
    made = make(
        "o /o overlay lowerdir=/l/a:/m,upperdir=/u/x,workdir=/u/w\n/dev/l /l ext4\n/dev/m /m ext4\n/dev/u /u ext4"
    )
    assert after(made)["/o"] == ["/l", "/m", "/u"]
    assert by_place(made)["/o"].kind == "local"


def test_an_overlay_on_the_root_is_local_or_udev_would_wait_for_the_root() -> None:
    made = make("/dev/r / ext4\noverlay /o overlay lowerdir=/l,upperdir=/u,workdir=/w")
    assert after(made)["/o"] == ["/"]
    assert by_place(made)["/o"].kind == "local"


def test_a_device_named_without_need_waits_for_the_line_before() -> None:
    made = make("/dev/d /d ext4\nodd /a tmpfs\ntmpfs /b tmpfs\nnone /c tmpfs\nodd /e tmpfs")
    assert [entry.after for entry in made.entries] == [(), (0,), (), (), ()]
    assert [entry.loose for entry in made.entries] == [(), (0,), (), (), ()]
    assert [entry.kind for entry in made.entries] == ["local", "local", "virtual", "virtual", "virtual"]


def test_systemds_words_for_what_comes_first() -> None:
    made = make(
        "/dev/a /a ext4\n/dev/b /b\\040-c ext4\n/dev/m /m ext4 x-systemd.requires-mounts-for=/a/x/y\n"
        "/dev/n /n ext4 x-systemd.requires=/a,x-systemd.after=b\\134x20\\134x2dc.mount,x-systemd.requires=no.service"
    )
    assert after(made)["/m"] == ["/a"]
    assert after(made)["/n"] == ["/a", "/b -c"]
    assert by_place(made)["/n"].loose == (1,)


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ("ro", None),
        ("timeout", 30),
        ("timeout=5", 5),
        ("x-upstart.timeout=2min", 120),
        ("x-systemd.device-timeout=7s", 7),
        ("x-systemd.device-timeout=infinity", 0),
        ("timeout=5,x-systemd.device-timeout=7s", 5),
        ("timeo=5", None),
    ],
)
def test_for_how_long_an_entry_is_waited_for(options: str, limit: float | None) -> None:
    assert make(f"/dev/a /a ext4 {options}").entries[0].limit == limit


def test_a_time_that_is_none_is_told() -> None:
    made = make("/dev/a /a ext4 timeout=soon")
    assert made.entries[0].limit is None
    assert made.problems[0].startswith("/etc/fstab:1: ")


def test_a_cycle_is_told_and_its_weakest_edge_left_out() -> None:
    made = make("/dev/r / ext4\n/b/x /a none bind\n/a/y /b none bind")
    assert after(made)["/a"] == ["/", "/b"]
    assert after(made)["/b"] == ["/"]
    assert made.problems == (
        "/etc/fstab:3: /b does not wait for /a (/etc/fstab:2), which holds its device, but itself waits for /b",
    )


def test_the_line_before_is_given_up_first() -> None:
    made = make("/c/x /b none bind\nodd /c tmpfs")
    assert after(made) == {"/b": ["/c"], "/c": []}
    assert "line before" in made.problems[0]


def test_a_bind_of_a_directory_onto_itself_waits_for_what_is_above() -> None:
    made = make("/dev/r / ext4\n/a /a none bind\n/dev/b /b ext4\n/b/c /b none bind")
    assert [entry.after for entry in made.entries] == [(), (0,), (0,), (2,)]
    assert made.problems == ()


def test_essential_are_the_root_usr_and_what_they_need() -> None:
    made = make(
        "/dev/r / ext4\n/d/u /usr none bind\n/dev/d /d ext4 nofail\n/dev/l /usr/local ext4\n/dev/h /home ext4\n"
        "/dev/i /i ext4 x-initrd.mount"
    )
    assert sorted(place for place, entry in by_place(made).items() if entry.essential) == ["/", "/d", "/i", "/usr"]
    assert by_place(made)["/d"].kind == by_place(made)["/usr"].kind == "local"


def test_usr_is_not_essential_where_fstab_says_so() -> None:
    assert not by_place(make("/dev/u /usr ext4 nofail"))["/usr"].essential


def test_a_mounted_root_is_known_by_what_mountinfo_says() -> None:
    made = make("UUID=1 / ext4 noatime 0 1", (ROOT,))
    (entry,) = made.entries
    assert (entry.device, entry.type, entry.options, entry.needs) == ("/dev/sda1", "ext4", "noatime", "")
    assert made.fresh == (0,)


def test_what_is_mounted_and_in_no_file_is_an_entry_with_the_options_it_has() -> None:
    made = make("", (Mounted("/dev/x", "/x", "ext4", "rw,noatime"),))
    assert made.entries == (
        Entry(0, "/dev/x", "/x", "ext4", "rw,noatime", kind="local", origin="mounted", given="rw,noatime"),
    )
    assert made.fresh == ()


def test_of_what_is_mounted_twice_at_one_place_the_last_counts() -> None:
    rows = (Mounted("none", "/", "rootfs", "rw"), Mounted("/dev/sda1", "/", "ext4", "rw"))
    assert make("/dev/sda1 / ext4", rows).mounted == ((0, rows[1]),)


@pytest.mark.parametrize(
    ("line", "row", "again"),
    [
        ("/dev/r / ext4 defaults", Mounted("/dev/r", "/", "ext4", "ro"), True),
        ("/dev/r / ext4 ro", Mounted("/dev/r", "/", "ext4", "ro"), False),
        ("/dev/r / ext4 defaults", Mounted("/dev/r", "/", "ext4", "rw"), False),
        ("proc /proc proc hidepid=2", Mounted("proc", "/proc", "proc", "rw,nosuid,nodev,noexec"), True),
        ("proc /proc proc nosuid", Mounted("proc", "/proc", "proc", "rw,nosuid,nodev,noexec"), False),
        ("run /run tmpfs size=1m", Mounted("tmpfs", "/run", "tmpfs", "rw,size=1024k"), False),
        ("run /run tmpfs size=2m", Mounted("tmpfs", "/run", "tmpfs", "rw,size=1024k"), True),
        ("/dev/b /b ext4 acl", Mounted("/dev/b", "/b", "ext4", "rw"), False),
        ("/dev/b /b ext4", Mounted("/dev/b", "/b", "ext4", "ro"), True),
        ("/a /b none bind", Mounted("/dev/b", "/b", "ext4", "ro"), False),
    ],
)
def test_what_is_mounted_otherwise_than_wanted_is_mounted_again(line: str, row: Mounted, again: bool) -> None:
    assert make(line, (row,)).fresh == ((0,) if again else ())


def test_built_in_file_systems_that_a_container_has_read_only_stay_so() -> None:
    made = make("", (Mounted("sysfs", "/sys", "sysfs", "ro,nosuid,nodev,noexec"),), "none /sys sysfs nosuid")
    assert made.fresh == ()


def test_optional_built_in_entries_wait_for_their_directory_where_it_is_missing() -> None:
    mounts = (Mounted("sysfs", "/sys", "sysfs", "rw,nodev,noexec,nosuid"), Mounted("proc", "/proc", "proc", "rw"))
    found = by_place(make("", mounts, BUILT_IN, directories={"/sys/fs/bpf"}))
    assert (found["/sys/fs/bpf"].kind, found["/sys/fs/bpf"].retry) == ("virtual", "")
    assert (found["/sys/kernel/config"].kind, found["/sys/kernel/config"].retry) == ("nowait", "directory")
    # Nobody can know yet.
    assert found["/dev/mqueue"].kind == "virtual"


@pytest.mark.parametrize("known", [False, True])
def test_no_module_is_loaded_for_a_type_that_nobody_has_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """The directory is there before the module; what comes later is mounted then."""
    places = {"binfmt_misc": "/proc/sys/fs/binfmt_misc", "efivarfs": "/sys/firmware/efi/efivars"}
    for path in places.values():
        (tmp_path / path[1:]).mkdir(parents=True)
    (tmp_path / "lib/init").mkdir(parents=True)
    (tmp_path / "lib/init/fstab").write_text(BUILT_IN)
    types = {"proc": True, "sysfs": True, **({"binfmt_misc": True} if known else {})}
    monkeypatch.setattr(files, "kernel_types", lambda text: types)
    mounts = (Mounted("sysfs", "/sys", "sysfs", "rw"), Mounted("proc", "/proc", "proc", "rw"))
    found = by_place(files.gather(str(tmp_path), mounts=mounts))
    assert found[places["binfmt_misc"]].retry == ("" if known else "directory")
    assert found[places["efivarfs"]].retry == ""
    own = tmp_path / "etc/fstab"
    own.parent.mkdir()
    own.write_text("none /proc/sys/fs/binfmt_misc binfmt_misc optional 0 0\n")
    assert by_place(files.gather(str(tmp_path), mounts=mounts))[places["binfmt_misc"]].retry == ""


def with_settings(values: dict[str, str], text: str = "") -> dict[str, Entry]:
    wishes, problems = settings.settings("", values)
    assert problems == []
    return by_place(make(text, built_in=BUILT_IN, settings=wishes))


def test_built_in_entries_by_the_settings_of_tmpfs_and_devpts() -> None:
    usual = with_settings({})
    assert usual["/run"].given == "nodev,nosuid,noexec,size=10%,mode=755"
    assert usual["/run/lock"].given == "nodev,noexec,nosuid,size=5242880,mode=1777"
    assert usual["/dev/shm"].given == "nodev,noexec,nosuid,size=20%VM,mode=1777"
    assert usual["/dev/pts"].given == "noexec,nosuid,gid=5,mode=620"
    assert usual["/tmp"].type == "none"
    changed = with_settings({"RAMSHM": "no", "RAMLOCK": "no", "RAMTMP": "yes", "TMP_SIZE": "5%", "TTYGRP": "6"})
    assert "/dev/shm" not in changed and "/run/lock" not in changed
    assert changed["/run"].given == "nodev,nosuid,exec,size=10%,mode=755"
    assert (changed["/tmp"].type, changed["/tmp"].given) == ("tmpfs", "nodev,nosuid,size=5%,mode=1777")
    assert changed["/dev/pts"].given == "noexec,nosuid,gid=6,mode=620"


def test_shared_memory_is_where_fstab_has_it() -> None:
    found = with_settings({"RAMSHM": "no"}, "shm /run/shm tmpfs size=1m")
    assert "/dev/shm" not in found
    assert "noexec" in found["/run"].given
    assert with_settings({"RAMLOCK": "no"}, "x /run/lock tmpfs size=1m")["/run/lock"].given == (
        "nodev,noexec,nosuid,mode=1777,size=1m"
    )


def test_tmp_is_in_memory_where_the_root_is_read_only() -> None:
    assert with_settings({}, "/dev/r / ext4 ro")["/tmp"].type == "tmpfs"
    assert with_settings({}, "/dev/r / ext4 ro\n/dev/t /tmp ext4")["/tmp"].type == "ext4"


def test_showthrough_comes_before_what_it_shows_through() -> None:
    made = make("/dev/r / ext4\n/dev/v /var ext4\nnone /var/x tmpfs showthrough\nnone /y tmpfs showthrough")
    found = by_place(made)
    assert found["/var/x"].through == 1 and found["/var/x"].after == ()
    assert found["/var"].after == (0, 2) and found["/var"].loose == (2,)
    assert found["/y"].through == -1


def test_what_crypttab_says_is_known_of_the_entry() -> None:
    made = make("/dev/mapper/c /c ext4", crypttab={"/dev/mapper/c": "UUID=1"})
    assert made.entries[0].holder == "UUID=1"


def test_control_groups_stay_as_init_has_mounted_them() -> None:
    # A second mount would take back what init asked for and mountall does not know of.
    # Nor does one in a container that sees those of its host change these.
    kernel = KERNEL | {"cgroup2": True}
    lines = parse(BUILT_IN, "/lib/init/fstab")[0]
    for options in (f",{boot.CGROUP_OPTIONS[0]}", "", ",favordynmods"):
        row = Mounted("cgroup2", "/sys/fs/cgroup", "cgroup2", f"rw,nosuid,nodev,noexec,relatime{options}", "0:26")
        assert plan([], lines, kernel, (ROOT, row)).fresh == plan([], lines, kernel, (ROOT,)).fresh
    # What an administrator's fstab says of them counts.
    own = parse("cgroup2 /sys/fs/cgroup cgroup2 nsdelegate 0 0", "/etc/fstab")[0]
    assert len(plan(own, lines, kernel, (ROOT, row)).fresh) == len(plan([], lines, kernel, (ROOT,)).fresh) + 1


def test_comments_blank_lines_and_the_order_of_independent_lines_change_nothing() -> None:
    lines = [
        "/dev/r / ext4 defaults 0 1", "UUID=u /usr ext4 defaults 0 2", "/dev/l /usr/local ext4", "/usr/i /i ext4 loop",
        "h:/x /x nfs", "/dev/x /x/y ext4", "/dev/s none swap", "/i/s none swap", "none /t tmpfs",
        # Its device is its type: otherwise the line before would count.
        "overlay /o overlay lowerdir=/i", "/i/b /b none bind", "/b/c /c none bind",
    ]  # fmt: skip

    def shape(text: list[str]) -> dict[str, tuple[object, ...]]:
        made = make("\n".join(text))
        names = [entry.mountpoint if entry.type != "swap" else entry.device for entry in made.entries]
        assert made.problems == ()
        return {
            names[entry.number]: (entry.kind, sorted(names[number] for number in entry.after), entry.essential)
            for entry in made.entries
        }

    expected = shape(lines)
    shuffle = random.Random(1)
    for _ in range(100):
        shuffle.shuffle(lines)
        assert shape([text for line in lines for text in ("", line, "# c")]) == expected


def test_ten_thousand_lines_are_planned_at_once_however_they_hang_together() -> None:
    text = "".join(f"odd{number} /srv/{number % 100}/{number} tmpfs\n" for number in range(9_000))
    text += "".join(f"/srv/{number + 1}/a /srv/{number} none bind\n" for number in range(1000))
    start = time.process_time()
    made = make(text)
    assert time.process_time() - start < 5
    assert len(made.entries) == 10_000


def test_the_files_of_a_root_become_its_plan(tmp_path: Path) -> None:
    for name, text in {
        "etc/fstab": "/dev/r / ext4\nbroken\n",
        "etc/fstab.d/b.fstab": "/dev/b /b ext4",
        "etc/fstab.d/a.fstab": "/dev/a /a ext4",
        "etc/fstab.d/c.conf": "/dev/c /c ext4",
        "etc/crypttab": "b UUID=1",
        "etc/default/tmpfs": "RUN_SIZE=5%\nRAMLOCK=no\n",
        "lib/init/fstab": BUILT_IN,
        "forcefsck": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    made = files.gather(str(tmp_path))
    found = by_place(made)
    assert [entry.origin for entry in made.entries][-2:] == ["/etc/fstab.d/a.fstab:1", "/etc/fstab.d/b.fstab:1"]
    assert "size=5%" in found["/run"].given and "/run/lock" not in found
    assert made.settings.check == "force"
    assert made.problems[0].startswith("/etc/fstab:2: ")
    assert made.mounted == ()


def test_a_boot_may_go_on_without_what_is_essential(tmp_path: Path) -> None:
    assert not files.gather(str(tmp_path)).settings.skip
    assert files.gather(str(tmp_path), skip=True).settings.skip
    (tmp_path / "etc/default").mkdir(parents=True)
    (tmp_path / "etc/default/mountall").write_text("ONFAIL=shell\n")
    assert not files.gather(str(tmp_path)).settings.skip
    assert files.gather(str(tmp_path), skip=True).settings.skip


def test_a_root_without_any_file_has_an_empty_plan(tmp_path: Path) -> None:
    made = files.gather(str(tmp_path))
    assert made.entries == () and made.problems == ()
