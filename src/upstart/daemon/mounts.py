"""Whether a file system may keep waiting whoever looks at it.

What is always true here: nothing is looked at but the kernel's own table of mounts.
"""

from __future__ import annotations

#: Those behind which there is no server and no program: a disk, memory, the kernel itself, or others of these.  One
#: that is missing here costs who asks a little time.
LOCAL = frozenset(
    {
        "bcachefs", "binfmt_misc", "bpf", "btrfs", "cgroup", "cgroup2", "configfs", "cramfs", "debugfs",
        "devpts", "devtmpfs", "efivarfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fusectl",
        "hugetlbfs", "iso9660", "jfs", "mqueue", "nilfs2", "nsfs", "ntfs3", "overlay", "proc", "pstore",
        "ramfs", "reiserfs", "rootfs", "rpc_pipefs", "securityfs", "selinuxfs", "squashfs", "sysfs", "tmpfs",
        "tracefs", "ubifs", "udf", "vfat", "xfs", "zfs",
    }
)  # fmt: skip
TABLE = "/proc/self/mountinfo"


def may_wait() -> bool:
    """Whether there is a mount whose server may not answer; but for the root directory, without which nothing is."""
    try:
        with open(TABLE, "rb") as file:
            lines = file.read().splitlines()
    except OSError:
        return False
    return any(type_of(line) not in LOCAL for line in lines if line.split(b" ", 5)[4] != b"/")


def type_of(line: bytes) -> str:
    """The type in a line of the table, proc_pid_mountinfo(5)."""
    return line.partition(b" - ")[2].partition(b" ")[0].decode("ascii", "replace")
