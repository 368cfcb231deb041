"""What boot-mounts mounts is what the scripts of initscripts that its jobs stand in for would have mounted.

Both run in the same root, in name spaces of their own, on what PID 1 leaves them; nothing is booted.
"""

from __future__ import annotations

from pathlib import Path

import archive
import pytest
import root
from layer import run_in_layer

#: What init has mounted, without an initramfs, from a root that is read-only.
EARLY = r"""
umount -R /dev
mount -t tmpfs -o nosuid,noexec,mode=755 devtmpfs /dev
mknod -m 666 /dev/null c 1 3
mkdir /dev/pts
mount -t devpts -o noexec,nosuid,gid=5,mode=0620 devpts /dev/pts
mount -o remount,nodev,noexec,nosuid /proc
mount -t sysfs -o nodev,noexec,nosuid sysfs /sys
mount -t tmpfs -o nodev,nosuid,mode=755 tmpfs /run
mount -o remount,ro /
export RUNLEVEL=S PREVLEVEL=N
"""
#: What else it mounts by now.
BY_INIT = """\
mkdir -p /dev/shm /run/lock
mount -t tmpfs -o nodev,noexec,nosuid,mode=1777 none /dev/shm
mount -t tmpfs -o nodev,noexec,nosuid,size=5242880,mode=1777 none /run/lock
"""
STEPS = "mountkernfs mountdevsubfs checkroot mountall"
SCRIPTS = f"for step in {STEPS}; do /etc/init.d/$step.sh start; done"
OURS = f"for step in {STEPS}; do /in/boot-mounts $step; done"
#: Mount points with kind and options; what the steps make beside them; and what they hold, for nobody should lose it.
SHOW = r"""
echo ====
findmnt -rno TARGET,FSTYPE,OPTIONS | sort
echo ====
for file in /dev/fd /dev/stdin /dev/stdout /dev/stderr /dev/shm /run/shm /run/lock /run/.tmpfs /run/lock/.tmpfs \
    /dev/shm/.tmpfs /tmp /tmp/.tmpfs /run/sendsigs.omit.d /etc/mtab /var/log/fsck /var/run /var/lock; do
    stat -c '%F %a %u:%g %N' $file 2>/dev/null || echo no $file
done
"""
DEFAULT = "/etc/default/tmpfs"
SYSTEMS = {
    "default": "",
    "tmp in memory": f"echo RAMTMP=yes >>{DEFAULT}",
    "locks on disk": f"echo RAMLOCK=no >>{DEFAULT}",
    "shared memory on disk": f"echo RAMSHM=no >>{DEFAULT}",
    "percentages": f"printf 'RUN_SIZE=5%%VM\nLOCK_SIZE=1%%VM\nSHM_SIZE=10%%\nTMPFS_SIZE=\n' >>{DEFAULT}",
    "modes": f"printf 'RUN_MODE=750\nSHM_MODE=1770\n' >>{DEFAULT}",
    "terminals of a group": "printf 'TTYMODE=600\nTTYGRP=6\n' >/etc/default/devpts",
    "own terminals": "echo TTYMODE=620 >/etc/default/devpts",
    "little room": f"echo TMP_OVERFLOW_LIMIT=999999999999 >>{DEFAULT}",
    "settings of rcS": "printf 'RAMTMP=yes\nVERBOSE=yes\n' >>/etc/default/rcS",
    "read-only root": "echo 'overlay / overlay ro 0 0' >/etc/fstab",
    "root with options": "echo 'overlay / overlay noatime 0 0' >/etc/fstab",
    "everything in fstab": r"""printf '# comment\n\n%s\n' \
        'tmpfs /run tmpfs size=2m,nosuid 0 0' 'tmpfs /run/lock tmpfs size=1m,nodev 0 0' \
        'shm /dev/shm tmpfs size=2m 0 0' 'proc /proc proc hidepid=2 0 0' 'sysfs /sys sysfs noatime' \
        'tmpfs /tmp tmpfs size=10m,mode=1777 0 0' 'tmpfs /media tmpfs size=1m 0 0' >/etc/fstab""",
    "shared memory in /run": "echo 'shm /run/shm tmpfs size=2m,nosuid 0 0' >/etc/fstab",
    "not wanted": "printf '%s\n' 'none /mnt tmpfs noauto' 'sec /sys/kernel/security securityfs noauto' >/etc/fstab",
    "other kinds": "printf '%s\n' '/srv /tmp none bind 0 0' '/srv /run/lock none bind 0 0' >/etc/fstab",
    "without a last line feed": "printf 'tmpfs /media tmpfs size=1m 0 0' >/etc/fstab",
    "not there": "echo '/dev/gone /mnt ext4 nofail 0 0' >/etc/fstab",
    "more fstabs": "mkdir -p /etc/fstab.d; echo 'tmpfs /run/lock tmpfs size=1m 0 0' >/etc/fstab.d/x.fstab",
    "old layout": "rm /var/run /var/lock; mkdir /var/run /var/lock; rm -f /etc/mtab; touch /etc/mtab",
    "links that lead nowhere": "rm -r /tmp; ln -s /var/elsewhere /tmp; ln -sf /etc/nowhere /etc/mtab",
}  # fmt: skip


@pytest.fixture(scope="module")
def system() -> Path:
    return root.ready(archive.host_release())


def outcome(system: Path, directory: Path, preparation: str, steps: str) -> tuple[str, dict[str, set[str]], str]:
    """What the steps print; of each mount point its kinds and options; and the files."""
    text = "rm -f /lib/lsb/init-functions.d/*upstart*\n" + preparation
    text += f"\nexec unshare --mount sh <<'END'\n{EARLY}\n{steps}\n{SHOW}\nEND\n"
    directory.mkdir()
    status, output = run_in_layer(system, directory, [root.TREE / "src/libexec/boot-mounts"], text)
    assert status == 0, output
    said, mounts, files = output.split("====\n")
    found: dict[str, set[str]] = {}
    for line in mounts.splitlines():
        target, kind, options = line.split(" ")
        # Layers are in memory of their own; the numbers of the machine's memory move a little while this runs.
        if kind != "overlay":
            found.setdefault(target, set()).add(f"{kind} {options}")
        else:
            found.setdefault(target, set()).add(",".join(sorted({"ro", "rw", "noatime"} & set(options.split(",")))))
    return said, found, files


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_gets_what_the_scripts_give_it(system: Path, tmp_path: Path, name: str) -> None:
    _, theirs, their_files = outcome(system, tmp_path / "theirs", SYSTEMS[name], SCRIPTS)
    for at, steps in enumerate((OURS, BY_INIT + OURS)):
        said, ours, our_files = outcome(system, tmp_path / f"ours{at}", SYSTEMS[name], steps)
        assert our_files == their_files, said
        assert ours.keys() == theirs.keys(), said
        # The scripts mount some twice, with other options; ours are among them.
        assert all(kinds <= theirs[target] for target, kinds in ours.items()), (ours, theirs)
        assert all(len(kinds) == 1 for kinds in ours.values())


@pytest.mark.parametrize("name", ["default", "locks on disk", "everything in fstab", "more fstabs"])
def test_the_scripts_themselves_bear_what_init_has_mounted(system: Path, tmp_path: Path, name: str) -> None:
    _, before, files = outcome(system, tmp_path / "before", SYSTEMS[name], SCRIPTS)
    said, after, their_files = outcome(system, tmp_path / "after", SYSTEMS[name], BY_INIT + SCRIPTS)
    assert after.keys() - before.keys() <= {"/run/lock"}, said
    assert their_files == files or "locks" in name


def test_a_system_that_is_as_it_should_be_costs_few_programs_and_no_words(system: Path, tmp_path: Path) -> None:
    counted = r"""
    read -r before rest </proc/sys/kernel/ns_last_pid
    for step in STEPS; do /in/boot-mounts $step; done
    read -r after rest </proc/sys/kernel/ns_last_pid
    echo programs $((after - before))
    """.replace("STEPS", STEPS)
    said, _, _ = outcome(system, tmp_path / "layer", "echo TTYMODE=620 >/etc/default/devpts", BY_INIT + counted)
    word, number = said.split()
    assert word == "programs"
    assert int(number) <= 24


def test_steps_may_be_repeated(system: Path, tmp_path: Path) -> None:
    once = outcome(system, tmp_path / "once", SYSTEMS["everything in fstab"], OURS)
    twice = outcome(system, tmp_path / "twice", SYSTEMS["everything in fstab"], f"{OURS}\n{OURS}")
    assert twice == once


def test_a_step_that_nobody_knows_is_refused(system: Path, tmp_path: Path) -> None:
    status, output = run_in_layer(
        system, tmp_path, [root.TREE / "src/libexec/boot-mounts"], "/in/boot-mounts other || exit $?")
    assert status == 2
    assert output.startswith("Usage: boot-mounts ")
