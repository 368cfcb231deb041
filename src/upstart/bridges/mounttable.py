"""upstart-mount-bridge(8): file systems that somebody mounts and unmounts, as events, from the kernel's table of them.

What is always true here: what mountall has announced, or is going to, is not told, nor are the places that every boot
mounts; a table that is read again is compared with the last, so that each mount is told once, and those between two
readings that have gone again are not.
"""

from __future__ import annotations

from collections import Counter

from upstart.bridges.condition import passes, tests_of
from upstart.bridges.kinds import Bridge
from upstart.bridges.state import State
from upstart.mounts import statefile
from upstart.mounts.processes import start_time
from upstart.mounts.state import OVER, WAITING
from upstart.mounts.tablewatch import CHANGED, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from upstart.bridges.condition import Test
    from upstart.bridges.host import Host
    from upstart.bridges.link import Leaves
    from upstart.mounts.values import Mounted

    #: What mounts are known by, and how many there are of each.
    Keys = Counter[tuple[str, ...]]

MOUNTED, UNMOUNTED = "mounted", "unmounted"
VARIABLES = ("DEVICE", "MOUNTPOINT", "TYPE", "OPTIONS")
#: Places that are mounted at each boot and not again; jobs of the boot wait for them, and should not run later on.
OF_BOOT = ("/", "/dev", "/proc", "/run", "/sys", "/tmp", "/usr", "/var")


class Mounts:
    """The mounts that are known of: how many there are of each.  This is pure."""

    def __init__(self) -> None:
        self.known: Keys | None = None
        #: What may have been told of since that was all that was known.
        self.unsure: Keys = Counter()
        self._conditions: dict[str, list[list[Test]]] = {}
        self._mountalls: set[str] = set()

    def want(self, leaves: Leaves) -> bool:
        """Tell what these wait for; whether that may be anything at all."""
        self._conditions = {}
        for name, words in leaves or ():
            tests = tests_of(words, VARIABLES)
            if not any(test.key == "MOUNTPOINT" and not test.negated and test.value in OF_BOOT for test in tests):
                self._conditions.setdefault(name, []).append(tests)
        return bool(self._conditions)

    def read(self, table: Sequence[Mounted], mountalls: set[str]) -> Iterator[tuple[str, str, dict[str, str]]]:
        """What is to be told where the table is this one; ``mountalls`` are the places of which mountall will tell."""
        rows = {_key(row): row for row in table}
        now = Counter(map(_key, table))
        before, self.known = self.known, now
        # What mountall was about to mount when we looked last it has told of.
        theirs, self._mountalls = self._mountalls | mountalls, mountalls
        if before is None:
            return
        unsure, self.unsure = self.unsure, Counter()
        for key in (before | unsure) - now:
            yield from self._tell(UNMOUNTED, dict(zip(VARIABLES, (*key[:3], ""), strict=True)))
        for key in now - before:
            if key[1] not in theirs:
                yield from self._tell(MOUNTED, dict(zip(VARIABLES, (*key[:3], rows[key].options), strict=True)))

    def _tell(self, name: str, env: dict[str, str]) -> Iterator[tuple[str, str, dict[str, str]]]:
        env = {key: _readable(value) for key, value in env.items()}
        if env["MOUNTPOINT"] not in OF_BOOT and any(passes(tests, env) for tests in self._conditions.get(name, ())):
            yield f"{env['DEVICE']}\0{env['MOUNTPOINT']}", name, env


def _key(row: Mounted) -> tuple[str, ...]:
    return row.device, row.mountpoint, row.type, row.number, row.root


def _readable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def places_of_mountall(document: dict[str, Any] | None, running: bool) -> set[str]:
    """The mount points that mountall, by its state, is still to tell of."""
    if document is None or not running:
        return set()
    try:
        state = document["state"]
        return {str(entry["mountpoint"]) for entry, item in zip(state["entries"], state["items"], strict=True)
                if "mountpoint" in entry and item.get("phase", WAITING) not in OVER}  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError):
        return set()


class MountSource:
    """The source of one bridge."""

    patterns: tuple[str, ...] = (MOUNTED, UNMOUNTED)

    def __init__(self, host: Host) -> None:
        self._host = host
        self._mounts = Mounts()
        self._table: Table | None = None
        self._watch = 0
        self._state = State(host)
        #: What init has heard of for sure, while it may not have heard of all.
        self._sure: Keys | None = None

    def want(self, leaves: Leaves) -> None:
        """Watch the table while there is anybody who waits for what is in it."""
        wanted = self._mounts.want(leaves)
        if wanted and self._table is None:
            self._mounts.known, self._mounts.unsure = self._state.load(_counted) or (None, Counter())
            self._table = Table()
            self._watch = self._host.loop.add_fd(self._table.fd, CHANGED, lambda events: self._read())
            self._read()
        elif not wanted and self._table is not None:
            self._host.loop.remove(self._watch)
            self.close()
            self._mounts.known = None

    def _read(self) -> None:
        if self._table is not None:
            before = self._mounts.known
            for key, name, env in self._mounts.read(self._table.read(), self._mountalls()):
                self._host.emit(key, name, env)
            if self._host.idle:
                self.told()
            elif before is not None:
                # Before init can hear of it.
                self._sure = before if self._sure is None else self._sure
                self._save(self._sure)

    def _mountalls(self) -> set[str]:
        try:
            document = statefile.read()
        except OSError:
            return set()
        running = document is not None and not document["ended"] and start_time(document["pid"]) == document["started"]
        return places_of_mountall(document, running)

    def watched(self) -> list[str]:
        """The table."""
        return ["the table of mounts"] if self._table is not None else []

    def close(self) -> None:
        """Watch it no more."""
        table, self._table = self._table, None
        if table is not None:
            table.close()

    def told(self) -> None:
        """Write down what is known, if anything is."""
        self._sure = None
        if self._mounts.known is not None:
            self._save(self._mounts.known)

    def _save(self, sure: Keys) -> None:
        """Leave what init is sure to have heard of, and what it may have."""
        now = self._mounts.known or Counter()
        self._state.save(mounts=list(map(list, sure.elements())), unsure=list(map(list, (now - sure).elements())))


def _counted(saved: dict[str, Any]) -> tuple[Keys, Keys]:
    mounts, unsure = ([tuple(map(str, key)) for key in saved[name]] for name in ("mounts", "unsure"))
    return Counter(mounts), Counter(unsure)


BRIDGE = Bridge("Bridge mounts into Upstart.", lambda host, settings: MountSource(host))
