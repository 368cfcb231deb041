"""What mountall's actions do to a real system: in namespaces of their own, with a real init of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from daemon_init import SessionInit, wait_for

from upstart.mounts.statefile import pack_action
from upstart.mounts.values import Action, Check, Emit, Mount, Swap, Tell, Watch

SCRIPTED = Path(__file__).with_name("mounts_scripted.py")
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may mount")


def perform(
    directory: Path, actions: list[Action], before: str = "", after: str = "", address: str = "-", state: str = "-"
) -> list[str]:
    """Perform actions in a namespace of mounts, where ``before`` and ``after`` are run; all that is said, by lines."""
    return within(directory, f"{before}\n{run_of(address, state)} || echo status $?\n{after}\n", actions)


def run_of(address: str = "-", state: str = "-") -> str:
    return f"{sys.executable} -IS {SCRIPTED} '{address}' '{state}' \"$ACTIONS\""


def within(directory: Path, script: str, actions: list[Action]) -> list[str]:
    """The lines that a script of the shell says in a namespace of mounts; it finds the actions in ``ACTIONS``."""
    packed = json.dumps([pack_action(action) for action in actions])
    script = f"mount -t tmpfs tmpfs /var/log\n{script}"
    result = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-euc", script], cwd=directory, text=True, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "ACTIONS": packed}, check=False,
    )  # fmt: skip
    return result.stdout.splitlines()


#: Nothing that is mounted here needs a program.
NO_PROGRAM = "mount --bind /dev/null /bin/mount"


def ended(number: int, status: int = 0, type: str = "", words: str = "", place: str = "") -> str:
    return f"Ended(number={number}, place={place!r}, status={status}, type={type!r}, words={words!r})"


def test_what_the_kernel_has_in_memory_is_mounted_by_its_own_call(tmp_path: Path) -> None:
    a, b, c = (str(tmp_path / name) for name in "abc")
    actions: list[Action] = [
        Mount(1, "tmpfs", a, "tmpfs", "nosuid,size=1m,mode=711"),
        Mount(2, a, b, "none", "bind,ro"),
        Mount(3, "tmpfs", a, "tmpfs", "remount,noexec,size=2m"),
        Mount(4, "none", a, "none", "rprivate"),
        Mount(5, "tmpfs", c, "tmpfs", "size=10%VM,gid=tty"),
    ]
    said = perform(tmp_path, actions, NO_PROGRAM, "findmnt -rno TARGET,FSTYPE,OPTIONS | grep $PWD; stat -c %a a")
    assert said[:5] == [ended(number, type="tmpfs") for number in range(1, 6)]
    assert said[5].startswith(f"{a} tmpfs rw,noexec,relatime,size=2048k,mode=711")
    assert said[6].startswith(f"{b} tmpfs ro,")
    assert said[7].startswith(f"{c} tmpfs rw,")
    assert ",gid=5" in said[7]
    assert said[8:] == ["711"]


def test_a_block_device_is_mounted_by_a_child_and_known_by_its_own_name(tmp_path: Path) -> None:
    before = f"""
truncate -s 16M image; mkfs.ext4 -q image; loop=$(losetup -f --show image); ln -s $loop link
trap 'umount -q a b c || :; losetup -d $loop' EXIT
{NO_PROGRAM}
"""
    actions: list[Action] = [
        Mount(1, str(tmp_path / "link"), str(tmp_path / "a"), "ext4", "noatime,errors=remount-ro"),
        Mount(2, "/dev/there-is-none", str(tmp_path / "b"), "ext4", "defaults"),
        Mount(3, "/dev/null", str(tmp_path / "c"), "ext4", "defaults"),
    ]
    said = perform(tmp_path, actions, before, "echo $loop; findmnt -rno SOURCE,OPTIONS a")
    loop, shown = said[-2:]
    assert set(said[:-2]) == {
        ended(1, type="ext4"),
        ended(2, 32, words=f"mount: {tmp_path}/b: special device /dev/there-is-none does not exist."),
        ended(3, 32, words=f"mount: {tmp_path}/c: /dev/null is not a block device."),
    }
    assert shown.startswith(f"{loop} rw,noatime")


def test_mount_8_does_what_takes_more_and_says_so_in_the_same_words(tmp_path: Path) -> None:
    before = "truncate -s 16M image; mkfs.ext4 -q image; trap 'umount -q a || :' EXIT"
    actions: list[Action] = [
        Mount(1, str(tmp_path / "image"), str(tmp_path / "a"), "auto", "loop,ro"),
        Mount(2, "none", str(tmp_path / "b"), "nosuchtype", "defaults"),
        Mount(3, "tmpfs", str(tmp_path / "c"), "tmpfs", "_netdev,size=1m"),
    ]
    words = f"mount: {tmp_path}/b: unknown filesystem type 'nosuchtype'."
    assert sorted(perform(tmp_path, actions, before)) == [
        ended(1, type="ext4"), ended(2, -2, words=words), ended(3, type="tmpfs"),
    ]  # fmt: skip


def test_mount_points_are_made_and_links_are_told(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").write_text("text\n")
    actions: list[Action] = [
        Mount(1, "tmpfs", str(tmp_path / "link"), "tmpfs", ""),
        Mount(2, "tmpfs", str(tmp_path / "none" / "below"), "tmpfs", ""),
        Mount(3, "tmpfs", str(tmp_path / "link" / "new"), "tmpfs", ""),
        Mount(4, str(tmp_path / "file"), str(tmp_path / "copy"), "none", "bind"),
        Mount(5, "tmpfs", str(tmp_path / "file"), "tmpfs", ""),
        Mount(6, "tmpfs", str(tmp_path / "from"), "tmpfs", ""),
        Mount(7, str(tmp_path / "from"), str(tmp_path / "to"), "none", "move"),
    ]
    assert perform(tmp_path, actions, NO_PROGRAM, "cat copy; ls -d from || findmnt -rno FSTYPE to") == [
        ended(1, -3, words=str(tmp_path / "real")),
        ended(2, -1, words=f"mount: {tmp_path}/none/below: mount point does not exist."),
        ended(3, type="tmpfs", place=str(tmp_path / "real" / "new")),
        ended(4, type=said_type(tmp_path)),
        ended(5, 32, words=f"mount: {tmp_path}/file: mount point is not a directory."),
        ended(6, type="tmpfs"),
        ended(7, type="none"),
        "text",
        "ls: cannot access 'from': No such file or directory",
        "tmpfs",
    ]


def said_type(path: Path) -> str:
    """The type of the file system that a path is on."""
    command = ["findmnt", "-rno", "FSTYPE", "-T", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_device_that_cannot_be_written_is_mounted_to_be_read_and_that_is_told(tmp_path: Path) -> None:
    before = """
truncate -s 16M image; mkfs.ext4 -q image; cp image other
one=$(losetup -r -f --show image); two=$(losetup -r -f --show other); ln -s $one one; ln -s $two two
trap 'umount -q a || :; losetup -d $one $two' EXIT
"""
    actions: list[Action] = [
        Mount(1, str(tmp_path / "one"), str(tmp_path / "a"), "ext4", "defaults"),
        Mount(2, str(tmp_path / "two"), str(tmp_path / "b"), "ext4", "rw"),
    ]
    said = perform(tmp_path, actions, before, "echo $two")
    two = said[-1]
    assert set(said[:-1]) == {
        ended(1, type="ext4", words=f"mount: {tmp_path}/a: WARNING: source write-protected, mounted read-only."),
        ended(2, 32, words=f"mount: {tmp_path}/b: {two} is write-protected but explicit read-write mode requested."),
    }


def test_a_swap_file_that_is_refused_is_told(tmp_path: Path) -> None:
    before = "truncate -s 1M holes; mkswap -q holes 2>/dev/null; chmod 600 holes"
    actions: list[Action] = [Swap(1, str(tmp_path / "holes"), "sw,pri=3"), Swap(2, "/dev/there-is-none", "sw")]
    said = perform(tmp_path, actions, before)
    assert len(said) == 2
    assert all(line.startswith("Ended(number=") and "status=255" in line for line in said)
    assert "holes" in "".join(said)


JOBS = {
    "note": "start on go\ntask\ninstance $N\nexec sh -c 'echo $N >>$HOME/noted'\n",
    "slow": "start on slow\ntask\nexec sh -c 'echo slow >>$HOME/noted; sleep 2'\n",
    "fail": "start on fails\ntask\nexec false\n",
}


def test_one_that_is_killed_again_and_again_neither_repeats_nor_loses_anything(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS)
    try:
        actions: list[Action] = [Emit(1, "slow"), Emit(2, "fails"), Emit(3, "nobody", wait=False)]
        for number in range(10, 50):
            actions.append(Emit(number, "go", (f"N={number}",), f"go {number}"))
            actions.append(Mount(number + 100, "tmpfs", str(tmp_path / f"m{number}"), "tmpfs", "size=1m"))
        # Two mounts at one place are two, and one is not made twice.
        actions += [Mount(number, "tmpfs", str(tmp_path / "m10"), "tmpfs", "size=2m") for number in (200, 201)]
        actions.append(Mount(300, "tmpfs", str(tmp_path / "p"), "tmpfs", "_netdev"))
        run = run_of(init.address, str(tmp_path / "state.json"))
        script = f"""
for seconds in 0.05 0.10 0.12 0.14 0.16 0.18 0.2 0.22 0.3 0.4 0.5; do
    ! timeout -s KILL $seconds {run} || break
done
{run}
stat -c %a state.json
grep -c . state.json
awk '{{ print $5 }}' /proc/self/mountinfo | grep "^$PWD" | sort | uniq -c
"""
        said = within(tmp_path, script, actions)
        # What failed fails for everybody who asks.
        assert {line for line in said if "failed=True" in line} == {"Answered(failed=True, number=2)"}
        table = [line.split() for line in said if line.split()[0].isdigit() and len(line.split()) == 2]
        expected = {str(tmp_path / f"m{number}"): "1" for number in range(10, 50)}
        assert {place: count for count, place in table} == {**expected, f"{tmp_path}/m10": "3", f"{tmp_path}/p": "1"}
        assert "600" in said
        noted = (tmp_path / "noted").read_text().split()
        assert sorted(noted) == sorted(["slow", *map(str, range(10, 50))])
    finally:
        init.close()


def test_of_a_place_where_nothing_is_mounted_it_is_told_how_much_room_there_is(tmp_path: Path) -> None:
    job = f"start on mounted\ninstance $TYPE\ntask\nexec sh -c 'echo $MOUNTPOINT $TYPE=$AVAILABLE >>{tmp_path}/noted'\n"
    init = SessionInit(tmp_path, {"place": job})
    try:
        places = (("/tmp", "none"), ("/tmp", "ext4"), ("/srv", "cgroup"))
        actions: list[Action] = [
            Emit(number, "mounted", (f"MOUNTPOINT={place}", f"TYPE={type}"), str(number))
            for number, (place, type) in enumerate(places)
        ]
        perform(tmp_path, actions, address=init.address)
        first, *others = sorted((tmp_path / "noted").read_text().splitlines(), reverse=True)
        assert others == ["/tmp ext4=", "/srv cgroup="]
        room = os.statvfs("/tmp")
        told = int(first.removeprefix("/tmp none="))
        assert 0 < told <= room.f_blocks * room.f_frsize // 1024
    finally:
        init.close()


def test_a_re_exec_of_init_meanwhile_is_nothing(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS)
    try:
        actions: list[Action] = [Emit(1, "slow"), Emit(2, "slow", (), "again"), Emit(3, "go", ("N=1",))]
        packed = json.dumps([pack_action(action) for action in actions])
        command = [sys.executable, "-IS", str(SCRIPTED), init.address, "-", packed]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            wait_for(lambda: (tmp_path / "noted").exists())
            init.restart()
            init.restart()
            said = process.communicate(timeout=30)[0].splitlines()
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0
        assert sorted(said) == [f"Answered(failed=False, number={number})" for number in (1, 2, 3)]
    finally:
        init.close()


def test_a_check_that_an_earlier_one_has_left_is_waited_for_and_done_again(tmp_path: Path) -> None:
    (tmp_path / "fsck").write_text("#!/bin/sh\necho begin >>log; sleep 0.7; echo end >>log\n")
    (tmp_path / "fsck").chmod(0o755)
    script = f"""
mount --bind fsck /sbin/fsck.ext4
! timeout -s KILL 0.5 {run_of("-", str(tmp_path / "state.json"))}
{run_of("-", str(tmp_path / "state.json"))}
cat log
"""
    said = within(tmp_path, script, [Check(1, "/dev/there-is-none", "ext4")])
    assert [line for line in said if line in ("begin", "end")] == ["begin", "end", "begin", "end"]
    assert said.count("Ended(number=1, place='', status=0, type='', words='')") == 1


def test_a_file_system_is_checked_with_progress_and_its_log_is_kept(tmp_path: Path) -> None:
    before = "truncate -s 64M image; mkfs.ext4 -q image"
    actions: list[Action] = [Check(1, str(tmp_path / "image"), "ext4", force=True)]
    said = perform(tmp_path, actions, before, "cat /var/log/fsck/mountall")
    assert any(line.startswith("Progress(number=1, percent=") for line in said)
    (end,) = [line for line in said if line.startswith("Ended")]
    assert "status=0" in end
    assert "files" in end
    assert f"Log of /sbin/fsck.ext4 -a -f -C3 {tmp_path}/image" in said


def test_a_disk_without_room_for_the_log_of_checks_holds_nothing_up(tmp_path: Path) -> None:
    before = """
mount -t tmpfs -o size=16k tmpfs /var/log
mkdir /var/log/fsck
mount -t tmpfs tmpfs /run
mkdir /run/initramfs
echo "Log of fsck" >/run/initramfs/fsck.log
dd if=/dev/zero of=/var/log/full bs=4k 2>/dev/null || :
"""
    place = str(tmp_path / "a")
    actions: list[Action] = [Emit(1, "local-filesystems"), Mount(2, "tmpfs", place, "tmpfs", "defaults")]
    said = perform(tmp_path, actions, before, "wc -c </var/log/fsck/mountall")
    assert sorted(said) == ["0", "Answered(failed=False, number=1)", ended(2, type="tmpfs")]


def test_an_action_that_fails_takes_no_other_along(tmp_path: Path) -> None:
    place = str(tmp_path / "a")
    actions: list[Action] = [Tell("what fails"), Mount(1, "tmpfs", place, "tmpfs", "defaults")]
    said = perform(tmp_path, actions, "export BROKEN=")
    assert said == ["fault: KeyError(Tell(text='what fails', urgent=False))", ended(1, type="tmpfs")]


def test_the_devices_of_a_container_are_told(tmp_path: Path) -> None:
    before = """
truncate -s 16M image; mkfs.ext4 -q -L 'my disk' -U 11111111-2222-3333-4444-555555555555 image
loop=$(losetup -f --show image); trap 'losetup -d $loop' EXIT
mount -o bind,ro /sys /sys; export UNTIL=UUID=11111111-2222-3333-4444-555555555555
"""
    said = perform(tmp_path, [Watch()], before, "echo $loop")
    loop = said[-1]
    assert "Settled(settled=True)" in said
    mine = [line for line in said if f"'{loop}'" in line and line.startswith("Device(")]
    assert any("'UUID=11111111-2222-3333-4444-555555555555'" in line and "'LABEL=my disk'" in line for line in mine)
