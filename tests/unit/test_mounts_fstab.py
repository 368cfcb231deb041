"""fstab(5) and crypttab(5) as mountall reads them, the words of options, and the files of settings."""

from __future__ import annotations

import time

import pytest

from upstart.mounts import options, settings
from upstart.mounts.fstab import Line, parse, parse_crypttab
from upstart.mounts.kinds import is_network


def one(text: str) -> Line:
    lines, problems = parse(text, "fstab")
    assert problems == [] and len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("/dev/sda1 / ext4 errors=remount-ro 0 1", Line("/dev/sda1", "/", "ext4", "errors=remount-ro", 1, "fstab:1")),
        ("\t/dev/sda1\t \t/a\text4\trw\t0\t2\t", Line("/dev/sda1", "/a", "ext4", "rw", 2, "fstab:1")),
        ("/dev/sda1 /a ext4", Line("/dev/sda1", "/a", "ext4", "defaults", 0, "fstab:1")),
        ("/dev/sda1 /a ext4 ro", Line("/dev/sda1", "/a", "ext4", "ro", 0, "fstab:1")),
        ("/dev/sda1 /a ext4 ro 1", Line("/dev/sda1", "/a", "ext4", "ro", 0, "fstab:1")),
        ("/dev/sda1 /a ext4 ro 0 2 # the second", Line("/dev/sda1", "/a", "ext4", "ro", 2, "fstab:1")),
        ("/dev/sda1 /a ext4 # the second", Line("/dev/sda1", "/a", "ext4", "defaults", 0, "fstab:1")),
        ("/dev/sda1 /a ext4 ro 0 2\r", Line("/dev/sda1", "/a", "ext4", "ro", 2, "fstab:1")),
        (r"LABEL=my\040disk /a\011b ext4", Line("LABEL=my disk", "/a\tb", "ext4", "defaults", 0, "fstab:1")),
        (r"/dev/a\134b /c\\d\043 ext4", Line(r"/dev/a\b", r"/c\d#", "ext4", "defaults", 0, "fstab:1")),
        (r"/dev/a /\303\244 ext4", Line("/dev/a", "/ä", "ext4", "defaults", 0, "fstab:1")),
        (r"/dev/a /\777\0 ext4", Line("/dev/a", r"/\777\0", "ext4", "defaults", 0, "fstab:1")),
        ('UUID="1-2" /a vfat', Line("UUID=1-2", "/a", "vfat", "defaults", 0, "fstab:1")),
        ("LABEL='x' /a vfat", Line("LABEL=x", "/a", "vfat", "defaults", 0, "fstab:1")),
        ('"/dev/sdb1" /a/ vfat', Line("/dev/sdb1", "/a", "vfat", "defaults", 0, "fstab:1")),
        ("/dev/sdb1 //a/./b/../c// vfat", Line("/dev/sdb1", "/a/c", "vfat", "defaults", 0, "fstab:1")),
        ("/srv//x/ /a none bind", Line("/srv/x", "/a", "none", "bind", 0, "fstab:1")),
        ("host:/ /a nfs", Line("host:/", "/a", "nfs", "defaults", 0, "fstab:1")),
        ("[fe80::1]:/x/ /a nfs", Line("[fe80::1]:/x", "/a", "nfs", "defaults", 0, "fstab:1")),
        ("//host/share/ /a cifs", Line("//host/share", "/a", "cifs", "defaults", 0, "fstab:1")),
        ("/dev/sda2 swap swap pri=1", Line("/dev/sda2", "none", "swap", "pri=1", 0, "fstab:1")),
        ("/dev/sda2 - swap", Line("/dev/sda2", "none", "swap", "defaults", 0, "fstab:1")),
    ],
)  # fmt: skip
def test_a_line_is_read_as_getmntent_reads_it(text: str, line: Line) -> None:
    assert one(text) == line
    assert one(text + "\n") == line


def test_what_is_no_line_is_no_problem() -> None:
    assert parse("\n \t\n# a b c\n  #x\n#\n", "f") == ([], [])
    assert parse("", "f") == ([], [])


@pytest.mark.parametrize(
    "wrong",
    ["/dev/sda1", "/dev/sda1 /a", "/dev/sda1 a ext4", "LABEL=my disk /a ext4", "/dev/a /a\0b ext4", "/dev/a none ext4"],
)
def test_a_wrong_line_is_told_with_file_and_line_and_does_no_other_harm(wrong: str) -> None:
    lines, problems = parse(f"/dev/a /a ext4\n{wrong}\n/dev/b /b ext4", "/etc/fstab")
    assert [line.mountpoint for line in lines] == ["/a", "/b"]
    assert [line.origin for line in lines] == ["/etc/fstab:1", "/etc/fstab:3"]
    assert len(problems) == 1 and problems[0].startswith("/etc/fstab:2: ")


@pytest.mark.parametrize("passno", ["x", "-1", "1.5", "٣"])
def test_a_pass_that_is_no_number_is_told_and_the_line_stays(passno: str) -> None:
    lines, problems = parse(f"/dev/a /a ext4 ro 0 {passno}", "f")
    assert lines[0].passno == 0
    assert problems and problems[0].startswith("f:1: ")


def test_fields_are_parted_by_blanks_and_tabs_alone() -> None:
    line = one("/dev/a /non\u00a0breaking\x0b\x85 ext4")
    assert line.mountpoint == "/non\u00a0breaking\x0b\x85"


def test_bytes_that_are_no_text_stay_what_they_are() -> None:
    data = b"/dev/\xff /\xfe\\040\\377 ext4"
    line = one(data.decode("utf-8", "surrogateescape"))
    assert line.device.encode("utf-8", "surrogateescape") == b"/dev/\xff"
    assert line.mountpoint.encode("utf-8", "surrogateescape") == b"/\xfe \xff"


def test_the_links_into_run_are_not_mounted_on() -> None:
    assert parse("none /var/run tmpfs\nnone /var/lock/ tmpfs", "f") == ([], [])


def test_ten_thousand_lines_are_read_at_once() -> None:
    text = "".join(f"UUID={number:08} /srv/{number}\\040x ext4 defaults,noatime 0 2\n" for number in range(10_000))
    start = time.process_time()
    lines, problems = parse(text, "f")
    assert len(lines) == 10_000 and not problems
    assert time.process_time() - start < 1


def test_crypttab_says_what_a_device_is_made_of() -> None:
    text = "# name device key\nhome UUID=\"1-2\" none luks\nswap1\t/dev/sda2 /dev/urandom swap\nalone\n"
    sources, problems = parse_crypttab(text, "/etc/crypttab")
    assert sources == {"/dev/mapper/home": "UUID=1-2", "/dev/mapper/swap1": "/dev/sda2"}
    assert problems == ["/etc/crypttab:4: a name and a device were expected; the line is left out"]


def test_options_are_whole_words_and_an_empty_one_is_none() -> None:
    assert options.table("size=1m,,mode=700,") == {"size": "1m", "mode": "700"}
    assert options.private(options.table("time,opt,boot,no,nobootwaiting,=x")) == {}
    assert options.private(options.table("timeout=5,optional")) == {"timeout": "5", "optional": ""}
    assert options.private(options.table("x-upstart.bootwait,x-upstart.timeout=9")) == {"bootwait": "", "timeout": "9"}


def test_a_comma_in_quotes_or_behind_a_backslash_parts_nothing() -> None:
    assert options.words('context="a:s0:c1,c2",noatime') == ['context="a:s0:c1,c2"', "noatime"]
    assert options.words("lowerdir=/a\\,b:/c,ro") == ["lowerdir=/a\\,b:/c", "ro"]
    assert options.table('x="1,2"') == {"x": "1,2"}


@pytest.mark.parametrize(
    ("wanted", "before", "given"),
    [
        ("defaults", "", "defaults"),
        ("nobootwait", "", "defaults"),
        ("noatime,showthrough,optional,bootwait,nobootwait,timeout=3,nofail,x-y=1", "", "noatime,x-y=1"),
        ("size=2m,nosuid", "nosuid,noexec,size=10%,mode=755", "noexec,mode=755,size=2m,nosuid"),
        ("exec,suid", "noexec,nosuid", "exec,suid"),
        ("rw,ro", "", "ro"),
        ("nofailover,timeouts=1,,", "", "nofailover,timeouts=1"),
    ],
)
def test_mount_gets_no_private_words_and_the_last_of_each_other(wanted: str, before: str, given: str) -> None:
    assert options.given(wanted, before) == given


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1min 30s", 90), ("1.5h", 5400), ("500ms", 0.5), ("infinity", 0), ("0", 0)]
)
def test_spans_of_time(text: str, seconds: float) -> None:
    assert options.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "1y", "-1", "1.2.3", "s", "9" * 400])
def test_what_is_no_span_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        options.seconds(text)


@pytest.mark.parametrize(
    ("wanted", "current", "yes"),
    [
        ("defaults", "rw,relatime", True),
        ("nodev,noexec,nosuid", "rw,nosuid,nodev,noexec,relatime,rw", True),
        ("nodev,noexec,nosuid", "rw,nosuid,nodev,relatime,rw", False),
        ("exec", "rw,noexec", False),
        ("mode=0755", "rw,mode=755", True),
        ("mode=1777", "rw,mode=755", False),
        ("mode=1777", "rw", False),
        ("size=5242880", "rw,size=5120k", True),
        ("size=10%", "rw,size=400k", True),
        ("size=10%", "rw,size=404k", False),
        ("size=20%VM", "rw,size=404k", False),
        ("hidepid=2", "rw,hidepid=invisible", True),
        ("hidepid=2", "rw", False),
        ("defaults", "ro", False),
        ("ro", "ro", True),
        ("ro", "rw", False),
        ("x-mount.mkdir,comment=x,_netdev", "rw", True),
    ],
)
def test_whether_what_is_mounted_is_as_wanted(wanted: str, current: str, yes: bool) -> None:
    assert options.satisfied(wanted, current, 1000 * 4096) is yes


@pytest.mark.parametrize(
    ("device", "type", "words", "network"),
    [
        ("h:/x", "nfs", "", True),
        ("h:/x", "nfs4", "", True),
        ("u@h:", "fuse.sshfs", "", True),
        ("sshfs#u@h:", "fuse", "", True),
        ("h:/v", "glusterfs", "", True),
        ("h:/v", "fuse.glusterfs", "", True),
        ("https://h/", "davfs", "", True),
        ("/dev/nbd0", "ext4", "", True),
        ("/dev/nbd0p1", "ext4", "", True),
        ("h", "9p", "trans=tcp", True),
        ("tag", "9p", "trans=virtio", False),
        ("tag", "9p", "", False),
        ("tag", "virtiofs", "", False),
        ("/dev/sda1", "ext4", "_netdev", True),
        ("/dev/sda1", "ext4", "x_netdev", False),
        ("/dev/sda1", "fuse.exfat", "", False),
        ("/dev/sda1", "nfsx", "", False),
    ],
)
def test_what_comes_by_the_network(device: str, type: str, words: str, network: bool) -> None:
    assert is_network(device, type, options.table(words)) is network


def test_settings_are_read_as_a_shell_would() -> None:
    text = "# c\nRAMTMP=yes # now\nexport A='x y'\nB=\"a\\\"b\"'c'\nC=\nD=20%VM;\n  E=1\nF=a#b\n"
    assert settings.parse_values(text, "f") == (
        {"RAMTMP": "yes", "A": "x y", "B": 'a"bc', "C": "", "D": "20%VM", "E": "1", "F": "a#b"},
        [],
    )


@pytest.mark.parametrize("wrong", ["A=$B", "A=`x`", "A='x", "if true; then", "A=b c", "A = b", "A=x;rm", 'A="$(y)"'])
def test_what_only_a_shell_can_tell_is_told_and_left_out(wrong: str) -> None:
    values, problems = settings.parse_values(f"{wrong}\nB=1", "f")
    assert values == {"B": "1"}
    assert len(problems) == 1 and problems[0].startswith("f:1: ")


@pytest.mark.parametrize(
    ("words", "values", "flags", "expected"),
    [
        ("", {}, [], settings.Settings()),
        ("quiet fastboot", {}, [], settings.Settings(check="skip")),
        ("fsck.mode=skip", {}, [], settings.Settings(check="skip")),
        ("forcefsck", {}, [], settings.Settings(check="force")),
        ("force-fsck", {}, ["/fastboot"], settings.Settings(check="force")),
        ("", {}, ["/forcefsck"], settings.Settings(check="force")),
        ("", {}, ["/fastboot"], settings.Settings(check="skip")),
        ("fsck.repair=no", {"FSCKFIX": "yes"}, [], settings.Settings(repair="no")),
        ("", {"FSCKFIX": "yes"}, [], settings.Settings(repair="yes")),
        ("noswap", {}, [], settings.Settings(swap=False)),
        ("", {"NOSWAP": "yes"}, [], settings.Settings(swap=False)),
        ("mountall.skip=all", {}, [], settings.Settings(skip=True)),
        ("", {"ONFAIL": "continue"}, [], settings.Settings(skip=True)),
        ("-- noswap fastboot", {}, [], settings.Settings()),
        ("", {}, ["/run/initramfs/fsck-root", "/run/initramfs/fsck-usr"], settings.Settings(checked=("/", "/usr"))),
    ],
)
def test_the_kernels_words_and_the_settings(
    words: str, values: dict[str, str], flags: list[str], expected: settings.Settings
) -> None:
    found, problems = settings.settings(words, values, flags)
    assert problems == []
    for name in ("check", "repair", "checked", "skip", "swap"):
        assert getattr(found, name) == getattr(expected, name)


def test_words_that_mean_nothing_are_told() -> None:
    _, problems = settings.settings("fsck.mode=always mountall.skip=some", {"ONFAIL": "panic"})
    assert len(problems) == 3
