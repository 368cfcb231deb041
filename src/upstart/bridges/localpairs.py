"""What clients of a local socket say, as events: lines KEY=VALUE.  This is pure.

What is always true here: a client sets none of the variables that say who it is, and none that init has for itself; one
that is not of our own user sets none besides that lead a program elsewhere (its libraries, its search path).  An event
of which anything is refused is refused whole.  No more than `LONGEST` bytes are kept of a client.
"""

from __future__ import annotations

from upstart.base.glob import match
from upstart.bridges.udev import readable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    #: The variables that a client has set, and what is wrong with them, or an empty string.
    Said = tuple[dict[str, str], str]

#: Bytes of an event.
LONGEST = 64 << 10
#: The variables that say who it is, in their order.
OURS = ("SOCKET_TYPE", "SOCKET_VARIANT", "CLIENT_UID", "CLIENT_GID", "CLIENT_PID", "SOCKET_PATH")
_INITS = ("UPSTART_*", "LISTEN_*")
#: What shells, the linker and interpreters read before a program does anything of its own.
_LEADING = (
    "PATH", "IFS", "ENV", "HOME", "SHELL*", "CDPATH", "PS4", "TMPDIR", "TZDIR", "BASH*", "LD_*", "GLIBC_*", "MALLOC_*",
    "GCONV_PATH", "LOCPATH", "NLSPATH", "LOCALDOMAIN", "RES_OPTIONS", "HOSTALIASES", "RESOLV_*", "GETCONF_DIR",
    "TERMINFO*", "TERMCAP", "PYTHON*", "PERL*", "RUBY*", "GEM_*", "NODE_*", "LUA_*", "PHP*", "JAVA_*", "JDK_*",
    "_JAVA*", "CLASSPATH", "GIO_*", "GI_*", "GTK_*", "QT_*", "OPENSSL_*", "SSL_*", "GIT_*", "DBUS_*", "XDG_*", "EDITOR",
    "VISUAL", "PAGER", "LESS*", "MANPAGER", "*_proxy", "*_PROXY",
)  # fmt: skip


class Rules:
    """Who may say what.

    ``uid`` is ours; ``group``, unless -1, is that whose members may speak as well; ``allowed`` are patterns of the
    variables that may be set, if there are any.
    """

    __slots__ = ("_allowed", "_any_user", "_group", "_uid")

    def __init__(self, uid: int, any_user: bool = False, group: int = -1, allowed: Sequence[str] = ()) -> None:
        self._uid = uid
        self._any_user = any_user
        self._group = group
        self._allowed = allowed

    def admits(self, uid: int, groups: Iterable[int]) -> bool:
        """Whether this user may speak at all."""
        return self._any_user or uid == self._uid or (self._group >= 0 and self._group in groups)

    def forbids(self, variable: str, uid: int) -> bool:
        """Whether a client of this user may not set this variable."""
        if variable in OURS or _among(variable, _INITS):
            return True
        if self._allowed and not _among(variable, self._allowed):
            return True
        return uid != self._uid and _among(variable, _LEADING)


def _among(variable: str, patterns: Iterable[str]) -> bool:
    return any(match(pattern, variable) for pattern in patterns)


class Pairs:
    """What one client of a user says; ``several``: a blank line, and not each line, ends an event."""

    __slots__ = ("_buffer", "_rules", "_several", "_uid", "too_long")

    def __init__(self, rules: Rules, uid: int, several: bool) -> None:
        self._rules = rules
        self._uid = uid
        self._several = several
        self._buffer = b""
        #: It has said more than there may be in one event: nothing more of it can be understood.
        self.too_long = False

    def feed(self, data: bytes) -> Iterator[Said]:
        """The events that these bytes complete."""
        self._buffer += data
        start = end = 0
        while (newline := self._buffer.find(b"\n", end)) >= 0:
            line = self._buffer[end:newline].removesuffix(b"\r")
            end = newline + 1
            if not self._several or not line:
                yield from self._event(self._buffer[start:end])
                start = end
        self._buffer = self._buffer[start:]
        if len(self._buffer) > LONGEST:
            self._buffer, self.too_long = b"", True
            yield {}, f"Longer than {LONGEST} bytes"

    def end(self) -> Iterator[Said]:
        """What is left when it has said all."""
        data, self._buffer = self._buffer, b""
        yield from self._event(data)

    def packet(self, data: bytes) -> Iterator[Said]:
        """The event that a packet is."""
        yield from self._event(data)

    def _event(self, data: bytes) -> Iterator[Said]:
        env: dict[str, str] = {}
        if len(data) > LONGEST + 1:
            yield {}, f"Longer than {LONGEST} bytes"
            return
        for line in data.split(b"\n"):
            line = line.removesuffix(b"\r")
            if not line:
                continue
            key, equals, value = (readable(part) for part in line.partition(b"="))
            if not equals or not key or any(char.isspace() for char in key):
                yield {}, f"Not KEY=VALUE: {readable(line[:80])}"
                return
            if self._rules.forbids(key, self._uid):
                yield {}, f"Not to be set: {key}"
                return
            env[key] = value
        if env:
            yield env, ""
