"""What the words of an ``-o`` mean to mount(2): flags, and the text that the file system itself reads.

What is always true here: a word that only mount(8) or fstab knows never reaches the kernel, and one that nobody here
knows always does, unchanged and in its place.  Later words win over earlier ones.  What mount(8) would have to act upon
(a loop device, a note in /run/mount/utab, a label) makes `Words.program` true.  Nothing is looked up but names of users
and groups, by the functions that are given for that.  Words and flags are those of mount(8) and mount(2).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

RDONLY = 1
NOSUID = 1 << 1
NODEV = 1 << 2
NOEXEC = 1 << 3
SYNCHRONOUS = 1 << 4
REMOUNT = 1 << 5
MANDLOCK = 1 << 6
DIRSYNC = 1 << 7
NOSYMFOLLOW = 1 << 8
NOATIME = 1 << 10
NODIRATIME = 1 << 11
BIND = 1 << 12
MOVE = 1 << 13
REC = 1 << 14
SILENT = 1 << 15
UNBINDABLE = 1 << 17
PRIVATE = 1 << 18
SLAVE = 1 << 19
SHARED = 1 << 20
RELATIME = 1 << 21
I_VERSION = 1 << 23
STRICTATIME = 1 << 24
LAZYTIME = 1 << 25

_SET = {
    "ro": RDONLY, "nosuid": NOSUID, "nodev": NODEV, "noexec": NOEXEC, "sync": SYNCHRONOUS, "remount": REMOUNT,
    "mand": MANDLOCK, "dirsync": DIRSYNC, "nosymfollow": NOSYMFOLLOW, "noatime": NOATIME, "nodiratime": NODIRATIME,
    "bind": BIND, "rbind": BIND | REC, "move": MOVE, "silent": SILENT, "relatime": RELATIME, "iversion": I_VERSION,
    "strictatime": STRICTATIME, "lazytime": LAZYTIME,
}  # fmt: skip
_CLEAR = {
    "rw": RDONLY, "suid": NOSUID, "dev": NODEV, "exec": NOEXEC, "async": SYNCHRONOUS, "nomand": MANDLOCK,
    "symfollow": NOSYMFOLLOW, "atime": NOATIME, "diratime": NODIRATIME, "loud": SILENT, "norelatime": RELATIME,
    "noiversion": I_VERSION, "nostrictatime": STRICTATIME, "nolazytime": LAZYTIME,
}  # fmt: skip
_PROPAGATION = {
    "shared": SHARED, "slave": SLAVE, "private": PRIVATE, "unbindable": UNBINDABLE,
    "rshared": SHARED | REC, "rslave": SLAVE | REC, "rprivate": PRIVATE | REC, "runbindable": UNBINDABLE | REC,
}  # fmt: skip
#: Who may mount it, and what that implies.
_FOR_USERS = {
    "user": NOSUID | NODEV | NOEXEC, "users": NOSUID | NODEV | NOEXEC, "owner": NOSUID | NODEV,
    "group": NOSUID | NODEV,
}  # fmt: skip
#: They say nothing to whoever mounts.
_FOR_FSTAB = frozenset({"defaults", "auto", "noauto", "nouser", "nofail", "noowner", "nogroup"})
_FOR_PROGRAM = frozenset({
    "_netdev", "loop", "offset", "sizelimit", "encryption", "uhelper", "helper", "context", "fscontext", "defcontext",
    "rootcontext", "seclabel",
})  # fmt: skip
#: What a bind mount takes from the file system, and a second call must set.
_OF_MOUNT = RDONLY | NOSUID | NODEV | NOEXEC | NOATIME | NODIRATIME | RELATIME | STRICTATIME | NOSYMFOLLOW
#: Bytes of text that mount(2) takes: a page, with the zero at its end.
LONGEST = 4095


class Words:
    """The meaning of a list of options.

    ``data`` is the text for the file system, ``propagation`` the flags of the calls that must follow, in their order.
    ``program``: only mount(8) can do it.  ``writable``: writing was asked for by name.
    """

    __slots__ = ("data", "flags", "program", "propagation", "writable")

    def __init__(self) -> None:
        self.flags = 0
        self.data = ""
        self.propagation: list[int] = []
        self.program = False
        self.writable = False

    @property
    def after_bind(self) -> int:
        """The flags that a bind mount has to be given by a second call, 0 if there are none."""
        return self.flags & _OF_MOUNT if self.flags & BIND and not self.flags & REMOUNT else 0


def read(
    options: str,
    user: Callable[[str], int | None] = lambda name: None,
    group: Callable[[str], int | None] = lambda name: None,
) -> Words:
    """Give the meaning of ``options``, separated by commas; ``user`` and ``group`` give the number of a name."""
    found = Words()
    data = []
    # Commas between quotes are no ends of words; who needs them (labels of SELinux) needs mount(8) anyway.
    found.program = '"' in options
    for word in options.split(","):
        name, equals, value = word.partition("=")
        if word in _SET:
            found.flags |= _SET[word]
            if word == "ro":
                found.writable = False
        elif word in _CLEAR:
            found.flags &= ~_CLEAR[word]
            if word == "rw":
                found.writable = True
        elif word in _PROPAGATION:
            found.propagation.append(_PROPAGATION[word])
        elif name in _FOR_USERS:
            found.flags |= _FOR_USERS[name]
        elif name in _FOR_PROGRAM or word.startswith(("X-mount.", "x-mount.", "verity.")):
            found.program = True
        elif not word or word in _FOR_FSTAB or name == "comment" or word.startswith(("x-", "X-")):
            pass
        elif equals and name in ("uid", "gid") and not value.isdigit():
            number = (user if name == "uid" else group)(value)
            # A name that nobody has is for mount(8) to complain about.
            found.program |= number is None
            data.append(f"{name}={value if number is None else number}")
        else:
            data.append(word)
    found.data = ",".join(data)
    if len(found.data.encode("utf-8", "surrogateescape")) > LONGEST:
        found.program = True
    return found
