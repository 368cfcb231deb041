"""Devices as events: what udev tells of them, and what is there when nobody has told anything.

This is the pure part: records of devices in, events out.  What is always true here:

- A device is told as added once, however often udev says so, until it is removed; what has been told is kept, so that
  a bridge that is started again tells the difference and nothing else.
- One with ``SYSTEMD_READY=0`` is not there yet: the change that makes it ready tells of it as added.
- Names and values are bytes until here.  UTF-8 stays; every other byte is written as ``\\xff``, and so is a control
  character unless it is to be kept.
"""

from __future__ import annotations

from upstart.base.devicewords import MIDDLE, WORDS, parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    #: A key (the device), the name of an event, and its variables.
    Told = tuple[str, str, dict[str, str]]


class Record:
    """What udev says of a device at one moment.  ``node`` is empty where it has none; an enumerated one was ``add``-ed.
    """

    __slots__ = ("action", "devpath", "kernel", "node", "properties", "subsystem")

    def __init__(
        self,
        action: bytes,
        devpath: bytes,
        kernel: bytes,
        subsystem: bytes,
        node: bytes,
        properties: list[tuple[bytes, bytes]],
    ) -> None:
        self.action = action
        self.devpath = devpath
        self.kernel = kernel
        self.subsystem = subsystem
        self.node = node
        self.properties = properties


class Known:
    """A device that has been told of: what its removal needs to say, and since when udev knows it."""

    __slots__ = ("kernel", "node", "since", "subsystem")

    def __init__(self, subsystem: str, kernel: str, node: str, since: str) -> None:
        self.subsystem = subsystem
        self.kernel = kernel
        self.node = node
        self.since = since


def subsystems(names: Iterable[str]) -> set[str]:
    """Those whose devices events of these names are about."""
    return {subsystem for subsystem, _ in map(parts, names)} - {""}


def readable(raw: bytes, keep: bool = False) -> str:
    """Bytes as text for everybody; with ``keep``, control characters stay."""
    text = raw.decode("utf-8", "backslashreplace")
    if keep or text.isprintable():
        return text
    return "".join([char if char.isprintable() or char == "\t" else _escaped(char) for char in text])


def _escaped(char: str) -> str:
    return "".join([f"\\x{byte:02x}" for byte in char.encode()])


class Devices:
    """The devices of the subsystems ``wanted``, None for all; ``keep`` keeps control characters in what is told."""

    __slots__ = ("_keep", "known", "unready", "unsure", "wanted")

    def __init__(self, keep: bool = False) -> None:
        self._keep = keep
        self.wanted: set[str] | None = set()
        #: By DEVPATH: those that have been told as added, and those that are there and not ready.
        self.known: dict[str, Known] = {}
        self.unready: set[str] = set()
        #: Those that may have been told as added, or not: what they are not known by, their removal is told by.
        self.unsure: dict[str, Known] = {}

    def want(self, wanted: set[str] | None) -> set[str]:
        """Tell of these subsystems from now on; gives those whose devices have yet to be enumerated."""
        before, self.wanted = self.wanted, wanted
        if wanted is None:
            return set()
        for devpath in [path for path, known in self.known.items() if known.subsystem not in wanted]:
            del self.known[devpath]
        return wanted - before if before is not None else wanted

    def heard(self, record: Record) -> Iterator[Told]:
        """What is to be told of what udev has said."""
        subsystem = self._text(record.subsystem) or "(null)"
        if self.wanted is not None and subsystem not in self.wanted:
            return
        devpath = self._text(record.devpath)
        action = self._text(record.action)
        word = WORDS.get(action, action)
        if self.wanted is None:
            # Nothing has been enumerated, so it is not known what is new.
            yield self._event(record, word, action)
            return
        if word == "removed":
            known = self.known.pop(devpath, None)
            if devpath in self.unready:
                self.unready.discard(devpath)
                if known is None:
                    return
            yield self._event(record, word, action)
            return
        ready = (b"SYSTEMD_READY", b"0") not in record.properties
        if devpath not in self.known:
            if not ready and (word == "added" or devpath in self.unready):
                self.unready.add(devpath)
                return
            if devpath in self.unready:
                # This is the change that makes it ready.
                self.unready.discard(devpath)
                word, action = "added", "add"
        elif word == "added":
            return
        if word == "move":
            self._moved(record)
        self.known[devpath] = self._known(record)
        yield self._event(record, word, action)

    def found(self, records: Iterable[Record], among: set[str]) -> Iterator[Told]:
        """What is to be told where all devices of the subsystems ``among`` are these."""
        there = {self._text(record.devpath): record for record in records}
        unsure, self.unsure = self.unsure, {}
        for devpath, known in unsure.items():
            if devpath not in there and devpath not in self.known and known.subsystem in among:
                self.known[devpath] = known
        for devpath, known in list(self.known.items()):
            if known.subsystem not in among:
                continue
            record = there.get(devpath)
            if record is None or (known.since and self._known(record).since not in ("", known.since)):
                del self.known[devpath]
                env = {"KERNEL": known.kernel, "DEVPATH": devpath, "SUBSYSTEM": known.subsystem, "ACTION": "remove"}
                if known.node:
                    env["DEVNAME"] = known.node
                yield devpath, f"{known.subsystem}{MIDDLE}removed", env
        for record in there.values():
            yield from self.heard(record)

    def _moved(self, record: Record) -> None:
        """A device has another path from now on."""
        for name, value in record.properties:
            if name == b"DEVPATH_OLD":
                self.known.pop(self._text(value), None)

    def _text(self, raw: bytes) -> str:
        return readable(raw, self._keep)

    def _known(self, record: Record) -> Known:
        since = dict(record.properties).get(b"USEC_INITIALIZED", b"")
        return Known(*map(self._text, (record.subsystem, record.kernel, record.node, since)))

    def _event(self, record: Record, word: str, action: str) -> Told:
        text = self._text
        subsystem = text(record.subsystem) or "(null)"
        env = {"KERNEL": text(record.kernel), "DEVPATH": text(record.devpath)}
        if record.node:
            env["DEVNAME"] = text(record.node)
        env["SUBSYSTEM"] = subsystem
        env["ACTION"] = action
        for name, value in record.properties:
            env.setdefault(text(name), text(value))
        return env["DEVPATH"], f"{subsystem}{MIDDLE}{word}", env

    # For who is started again

    def dump(self) -> dict[str, list[str]]:
        """What has been told, as JSON has it."""
        return {path: [known.subsystem, known.kernel, known.node, known.since] for path, known in self.known.items()}

    def doubt(self, name: str, devpath: str) -> list[str]:
        """What the next one is to know of a device before this event of it is told; empty where that is nothing."""
        known = self.known.get(devpath) if name.endswith("added") else None
        return [devpath, known.subsystem, known.kernel, known.node, known.since] if known is not None else []

    def load(self, saved: dict[str, list[str]]) -> None:
        """Go on from what `dump` gave.  TypeError or ValueError where it is something else."""
        self.known = {path: Known(*values) for path, values in saved.items()}
