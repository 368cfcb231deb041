"""The words of a ``socket`` event in a job's condition, and the socket that they ask for: see socket-event(7).

What is always true here: nothing is asked of the system but the numbers of services by name.  What a condition says is
a `Wanted`, or a `WordError` whose text is for people.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EVENT = "socket"

INET = ("inet", "inet6", "tcp", "udp", "udp6")
LOCAL = ("unix", "unix-dgram", "unix-seqpacket")
FIFO = "fifo"
PROTOS = (*INET, *LOCAL, FIFO)
#: Those that have connections, and those of Internet datagrams.
LISTENING = ("inet", "inet6", "tcp", "unix", "unix-seqpacket")
_DATAGRAMS = ("udp", "udp6")

#: Words of all, of those with an Internet address, of those with a path, of those that listen, and of ACCEPT=y.
_ALWAYS = ("PROTO", "NAME")
_OF_INET = ("PORT", "ADDR", "DEVICE", "FREEBIND", "REUSEPORT")
_OF_PATH = ("PATH", "SOCKET_PATH", "MODE", "OWNER", "GROUP", "DIRMODE")
_OF_LISTENING = ("BACKLOG", "ACCEPT")
_OF_ACCEPT = ("MAXCONN", "MAXPERSOURCE")
#: What only the event of a connection has: these may be tested with patterns.
OF_CONNECTION = ("CONNECTION", "REMOTE_ADDR", "REMOTE_PORT", "REMOTE_UID")
_KNOWN = (*_ALWAYS, *_OF_INET, *_OF_PATH, *_OF_LISTENING, *_OF_ACCEPT, *OF_CONNECTION)

BACKLOG = 4096
MAXCONN = 64
#: Bytes of the name of a socket of AF_UNIX, and of an interface.
LONGEST_PATH = 107
LONGEST_DEVICE = 15
_PATTERN = "*?[\\$"


class WordError(Exception):
    """What is wrong with the words of a condition."""


class Wanted:
    """A socket, or a FIFO, that a condition asks for.

    ``address`` is that of the Internet, or empty for any; ``path`` is where it is in the file system, beginning with @
    where it is an abstract name.  ``mode``, ``owner`` and so on are None, or empty, where the condition says nothing.
    """

    __slots__ = (
        "accept", "address", "backlog", "device", "dirmode", "freebind", "group", "maxconn", "maxpersource", "mode",
        "name", "owner", "path", "port", "proto", "reuseport", "tested",
    )  # fmt: skip

    def __init__(self, proto: str) -> None:
        self.proto = proto
        self.port = 0
        self.address = ""
        self.path = ""
        self.device = ""
        #: Whether an address need not be there; None: where one is named.
        self.freebind: bool | None = None
        self.reuseport = False
        self.mode: int | None = None
        self.dirmode = 0o755
        self.owner = ""
        self.group = ""
        self.backlog = BACKLOG
        self.accept = False
        self.maxconn = MAXCONN
        self.maxpersource = 0
        #: What LISTEN_FDNAMES calls it, or empty for the job's name.
        self.name = ""
        #: What the event has for conditions only: the words that the job is not given.
        self.tested: dict[str, str] = {}

    @property
    def key(self) -> str:
        """Tells it from all others: two with the same one are one socket."""
        place = self.path or f"{self.shown_address} {self.port}" + (f" {self.device}" if self.device else "")
        return f"{self.proto} {place}"

    @property
    def listens(self) -> bool:
        """Whether it has connections, which are accepted."""
        return self.proto in LISTENING

    @property
    def shown_address(self) -> str:
        """Its address, or the one that stands for any."""
        return self.address or ("0.0.0.0" if self.proto in ("inet", "udp") else "::")

    @property
    def env(self) -> dict[str, str]:
        """The variables of its event."""
        if self.path:
            return {"PROTO": self.proto, "SOCKET_PATH": self.path}
        return {"PROTO": self.proto, "PORT": str(self.port), "ADDR": self.shown_address}


def read(words: Sequence[str], port_of: Callable[[str, str], int]) -> Wanted:
    """What a condition asks for by the ``words`` after the event's name.

    ``port_of`` (service, "tcp" or "udp") gives the number of a service, and raises OSError where there is none.  Raises
    WordError.
    """
    values = _values(words)
    proto = values.get("PROTO")
    if proto is None:
        raise WordError("PROTO is missing")
    if proto not in PROTOS:
        raise WordError(f"PROTO={proto}: unknown; it is one of {', '.join(PROTOS)}")
    wanted = Wanted(proto)
    allowed = _ALWAYS + (_OF_INET if proto in INET else _OF_PATH)
    if wanted.listens:
        allowed += _OF_LISTENING
        wanted.accept = _yes("ACCEPT", values)
        if wanted.accept:
            allowed += _OF_ACCEPT + OF_CONNECTION
    for word in values:
        if word not in allowed:
            with_accept = " without ACCEPT=y" if word in _OF_ACCEPT + OF_CONNECTION and wanted.listens else ""
            raise WordError(f"{word}: not for PROTO={proto}{with_accept}")
    if proto in INET:
        _read_inet(wanted, values, port_of)
    else:
        _read_path(wanted, values)
    if "BACKLOG" in values:
        wanted.backlog = _number("BACKLOG", values, 1, 0x7FFFFFFF)
    if "MAXCONN" in values:
        wanted.maxconn = _number("MAXCONN", values, 1, 4096)
    if "MAXPERSOURCE" in values:
        wanted.maxpersource = _number("MAXPERSOURCE", values, 1, 4096)
    wanted.name = values.get("NAME", "")
    if ":" in wanted.name or not wanted.name.isprintable() or len(wanted.name) > 255:
        raise WordError(f"NAME={wanted.name}: printable characters, and no colon")
    wanted.tested = {word: value for word, value in values.items() if word not in OF_CONNECTION}
    return wanted


def _values(words: Sequence[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.removesuffix("!")
        if not equals:
            raise WordError(f"{word}: a variable's name is missing")
        if key not in _KNOWN:
            raise WordError(f"{key}: unknown")
        if key in values:
            raise WordError(f"{key}: given twice")
        if key not in OF_CONNECTION:
            if word[len(key)] == "!":
                raise WordError(f"{word}: a socket is asked for, so != says nothing")
            if any(char in value for char in _PATTERN):
                raise WordError(f"{word}: a socket is asked for, so patterns and variables say nothing")
            if not value:
                raise WordError(f"{key}: has no value")
        values[key] = value
    return values


def _read_inet(wanted: Wanted, values: dict[str, str], port_of: Callable[[str, str], int]) -> None:
    text = values.get("PORT")
    if text is None:
        raise WordError("PORT is missing")
    if text.isascii() and text.isdigit():
        wanted.port = int(text) if len(text) <= 8 else 1 << 20
        if not 1 <= wanted.port <= 0xFFFF:
            raise WordError(f"PORT={text}: not from 1 to 65535")
    else:
        protocol = "udp" if wanted.proto in _DATAGRAMS else "tcp"
        try:
            wanted.port = port_of(text, protocol)
        except OSError:
            raise WordError(f"PORT={text}: no such service of {protocol}") from None
    address = values.get("ADDR", "")
    if address:
        version = 6 if ":" in address else 4
        fits = {"inet": (4,), "udp": (4,), "inet6": (6,), "udp6": (6,), "tcp": (4, 6)}[wanted.proto]
        if version not in fits or not _is_address(address, version):
            raise WordError(f"ADDR={address}: no address of PROTO={wanted.proto}")
    wanted.address = address
    wanted.device = values.get("DEVICE", "")
    if len(wanted.device.encode()) > LONGEST_DEVICE or "/" in wanted.device:
        raise WordError(f"DEVICE={wanted.device}: no name of an interface")
    if "FREEBIND" in values:
        wanted.freebind = _yes("FREEBIND", values)
    wanted.reuseport = _yes("REUSEPORT", values)


def _is_address(text: str, version: int) -> bool:
    import _socket

    try:
        # Where it is one of an interface's own network, that is named behind it.
        _socket.inet_pton(_socket.AF_INET6 if version == 6 else _socket.AF_INET, text.partition("%")[0])
    except OSError:
        return False
    return "%" not in text or (version == 6 and not text.endswith("%"))


def _read_path(wanted: Wanted, values: dict[str, str]) -> None:
    path = values.get("PATH", values.get("SOCKET_PATH"))
    if path is None:
        raise WordError("PATH is missing")
    if values.get("SOCKET_PATH", path) != path:
        raise WordError("PATH and SOCKET_PATH are not the same")
    abstract = path.startswith("@") and wanted.proto != FIFO
    if not abstract and (not path.startswith("/") or path.endswith("/")):
        raise WordError(f"PATH={path}: not absolute")
    if any(step in (".", "..") for step in path.split("/")) and not abstract:
        raise WordError(f"PATH={path}: . and .. are not followed")
    if wanted.proto != FIFO and len(path.encode()) > LONGEST_PATH:
        raise WordError(f"PATH={path}: longer than {LONGEST_PATH} bytes")
    wanted.path = path
    if abstract:
        for word in ("MODE", "OWNER", "GROUP", "DIRMODE"):
            if word in values:
                raise WordError(f"{word}: an abstract socket has none")
    wanted.mode = _octal("MODE", values)
    dirmode = _octal("DIRMODE", values)
    wanted.dirmode = dirmode if dirmode is not None else wanted.dirmode
    wanted.owner, wanted.group = values.get("OWNER", ""), values.get("GROUP", "")


def _yes(word: str, values: dict[str, str]) -> bool:
    value = values.get(word, "n")
    if value not in ("y", "n"):
        raise WordError(f"{word}={value}: y or n")
    return value == "y"


def _number(word: str, values: dict[str, str], least: int, most: int) -> int:
    text = values[word]
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most):
        raise WordError(f"{word}={text}: not from {least} to {most}")
    return int(text)


def _octal(word: str, values: dict[str, str]) -> int | None:
    text = values.get(word)
    if text is None:
        return None
    if not 3 <= len(text) <= 4 or any(char not in "01234567" for char in text) or int(text, 8) > 0o777:
        raise WordError(f"{word}={text}: not three octal digits")
    return int(text, 8)


def port_of(service: str, protocol: str) -> int:
    """The number of a service.  Raises OSError where there is none."""
    import _socket

    return _socket.getservbyname(service, protocol)
