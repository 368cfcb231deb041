"""What follows from the type, the device and the mount point of an entry for its kind, and which device it needs.

The order of the questions is that of mountall(8): swap, the root, what comes by the network, what the kernel makes up
by itself, and all else.
"""

from __future__ import annotations

from upstart.mounts.fstab import TAGS
from upstart.mounts.values import LOCAL, NOWAIT, REMOTE, SWAP, VIRTUAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NETWORK_TYPES = frozenset((
    "nfs", "nfs4", "smbfs", "smb3", "cifs", "coda", "ncp", "ncpfs", "ocfs2", "gfs", "gfs2", "ceph", "afs", "lustre",
    "beegfs", "orangefs", "pvfs2", "glusterfs", "davfs", "davfs2", "sshfs", "s3fs", "curlftpfs", "rclone",
))  # fmt: skip
#: What a type is called by behind ``fuse.``, beside the names above.
NETWORK_FUSE = frozenset(("ceph-fuse", "goofys", "s3ql", "gcsfuse", "blobfuse2", "juicefs"))
#: What the kernel makes up, or finds in other file systems: whether the module is there already says nothing.
MADE_UP = frozenset((
    "proc", "sysfs", "tmpfs", "ramfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "cpuset", "securityfs", "debugfs",
    "tracefs", "configfs", "pstore", "efivarfs", "bpf", "mqueue", "hugetlbfs", "fusectl", "binfmt_misc", "rpc_pipefs",
    "nfsd", "autofs", "selinuxfs", "smackfs", "functionfs", "gadgetfs", "spufs", "usbfs", "resctrl", "overlay",
    "overlayfs", "aufs", "unionfs", "ecryptfs", "rootfs",
))  # fmt: skip
#: Their directories are there before the module is, which the mount would load though nobody has asked for it.
DIRECTORY_FIRST = frozenset(("binfmt_misc",))
#: Without a device of their own, yet from somewhere: mounted like local ones, once what they come from is there.
NOT_MADE_UP = frozenset(("fuse", "9p", "virtiofs", "zfs", "ubifs", "vboxsf"))
#: What comes from the host of a virtual machine, by a device that a module brings.
VIRTIO_TYPES = frozenset(("9p", "virtiofs", "vboxsf"))
NETWORK_TRANSPORTS = frozenset(("tcp", "rdma", "fd"))
#: An entry at these, or below them, is waited for wherever it comes from.
SYSTEM = ("/usr", "/var")


def is_bind(type: str, options: Mapping[str, str | None]) -> bool:
    """Whether another directory is to be seen there."""
    return type == "bind" or "bind" in options or "rbind" in options


def is_network(device: str, type: str, options: Mapping[str, str | None]) -> bool:
    """Whether it comes by the network, by its type, its device or its options."""
    if "_netdev" in options or device.startswith(("/dev/nbd", "sshfs#")):
        return True
    kind = type[5:] if type.startswith("fuse.") else type
    if kind in NETWORK_TYPES or (kind is not type and kind in NETWORK_FUSE):
        return True
    return type == "9p" and options.get("trans") in NETWORK_TRANSPORTS


def has_no_device(device: str, type: str, options: Mapping[str, str | None], kernel: Mapping[str, bool]) -> bool:
    """Whether there is no block device; ``kernel`` has each type that the kernel knows, true for those without one."""
    if is_bind(type, options):
        return False
    if device == "none" and type == "none":
        return True
    return all(
        each in MADE_UP or each in NOT_MADE_UP or each in NETWORK_TYPES or kernel.get(each, False)
        for each in type.split(",")
    )


def is_below(path: str, directory: str) -> bool:
    """Whether a path is a directory or in it."""
    return path == directory or directory == "/" or path.startswith(directory + "/")


def own_kind(
    mountpoint: str, type: str, options: Mapping[str, str | None], private: Mapping[str, str], network: bool,
    nodev: bool,
) -> str:  # fmt: skip
    """The kind of an entry by itself."""
    if type == "swap":
        return SWAP
    if mountpoint == "/":
        return LOCAL
    waits = "bootwait" in private
    leaves = "nobootwait" in private or ("nofail" in options and not waits)
    if "noauto" in options and "x-systemd.automount" in options:
        return NOWAIT
    if network:
        waits = waits or any(is_below(mountpoint, each) for each in SYSTEM)
        return REMOTE if waits and not leaves else NOWAIT
    if leaves:
        return NOWAIT
    if nodev and not any(each in NOT_MADE_UP for each in type.split(",")):
        return VIRTUAL
    return LOCAL


def needed_device(device: str, bind: bool, nodev: bool) -> str:
    """The device that has to be ready, or nothing."""
    if bind or nodev:
        return ""
    tag, equals, _ = device.partition("=")
    return device if device.startswith("/dev/") or (equals and tag in TAGS) else ""


def stricter(one: str, other: str) -> str:
    """The more restrictive of two kinds: what depends on both waits as long as that does."""
    return one if ORDER[one] >= ORDER[other] else other


ORDER = {VIRTUAL: 0, SWAP: 0, LOCAL: 1, REMOTE: 2, NOWAIT: 3}
