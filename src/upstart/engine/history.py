"""What has happened, and because of what: a memory of bounded size, for whoever asks why.

Each entry is a tuple: seconds of the engine's clock, one of the words below, and what belongs to it, in plain values.

====================================================  ================================================================
``begin`` what                                        a program begins to note: ``boot``, ``session``, ``anew`` (what
                                                      was before is not known), ``re-executed`` (it goes on)
``clock`` suspended wall                              seconds that the machine has slept, that the clock leaves out;
                                                      and the time of day less both
``event`` serial name variables by                    one was emitted, by whom (below); of a job's own (``job``) those
                                                      that some condition has met
``half`` of which serial                              an event met part of the condition ``start`` or ``stop`` of a
                                                      job or instance, and is held by it
``done`` serial failed                                an event that was held has finished; others do so at once
``goal`` of goal cause                                the goal of an instance has changed, and why (below)
``state`` of state                                    an instance waits in a state; those that it passes through in one
                                                      go are left out
``process`` of which pid                              a process was started
``became`` of which old pid                           a daemon has forked: the process is another
``ended`` of which pid status seconds processor read  a process has ended: exit status, or signal shifted left by 8,
written                                               None unknown; how long it lived, what it used (seconds, bytes),
                                                      None unknown
``signal`` of which pid signal                        a signal was sent, to end it
``respawn`` of times limit seconds                    the main process is to have a successor: how often that was so
                                                      since the job was started, and its limit
``fail`` of process status reason                     an instance has failed, or, with process and status None,
                                                      something has that leaves it alone
``ending`` whether                                    the machine ends from now on, or does not after all
``freed`` of serial                                   an instance waits no longer for its event, which was not finished
``adopted`` of pid                                    an instance was found that ran before the history began
``jobs`` what session number names                    definitions were ``added``, ``changed`` or ``removed``
====================================================  ================================================================

``of`` is (session, job, instance), where instance is None for the job itself.  ``by`` and ``cause`` are None for init
itself; a number, the serial of an event; a list of such; a tuple that begins with a word, who asked
(`upstart.daemon.callers`); or one of the words in `CAUSES`.

What is always true here: it holds no more than `KEPT` and `RECENT` bytes, and `CHUNK` entries that are not packed yet.
Packed they are what marshal makes of them, which takes a twentieth of the time and a third of the room that JSON does;
it never leaves this program, for another Python has another.  What came first stays, since it is the boot, by which
most of what runs is explained; of what came after that the oldest is forgotten.  Entries are numbered without a gap but
where some were forgotten.  Nothing that happens here concerns the engine: it notes, and never asks.
"""

from __future__ import annotations

import marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    #: The number of the first of some entries, and these, packed.
    Chunk = tuple[int, bytes]

#: Why a goal has changed where it was neither an event nor somebody who asked.
CAUSES = (
    "job",  # of an event: it is a job's own, ``starting`` and the like, and says itself which
    "ended",  # the main process has, or there is none: the job has done its work
    "failed",
    "respawn",
    "session",  # ends
    "shutdown",
    "mended",
)

#: Bytes of what came first, and of what came last.
KEPT = 96 << 10
RECENT = 144 << 10
#: Entries that are packed together.
CHUNK = 128
#: Characters of a name, of a reason, and of all variables of an event with their names; variables of one.
LONGEST_NAME = 128
LONGEST_REASON = 240
LONGEST_VARIABLES = 256
MOST_VARIABLES = 12
#: Names in one entry of definitions, and ends of processes whose use is known before they are noted.
MOST_NAMES = 32
MOST_USES = 64
#: Entries among which the end of a process is looked for.
NEAR = 32


class History:
    """What an engine notes; ``clock`` () gives seconds."""

    __slots__ = (
        "_clock", "_first", "_kept", "_kept_size", "_recent", "_ring", "_ring_size", "_uses", "begun",
    )  # fmt: skip

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: Definitions are told from now on: those that there are, it begins with.
        self.begun = False
        #: The number of the first of `_recent`.
        self._first = 0
        self._recent: list[Any] = []
        self._kept: list[Chunk] = []
        self._kept_size = 0
        self._ring: list[Chunk] = []
        self._ring_size = 0
        #: What processes have used whose end is not noted yet.
        self._uses: dict[int, tuple[float, int, int]] = {}

    # Noting

    def note(self, *entry: object) -> None:
        """Add an entry, whose strings are of a bounded length."""
        recent = self._recent
        recent.append((self._clock(), *entry))
        if len(recent) >= CHUNK:
            self._close()

    def note_event(self, serial: int, name: str, env: dict[str, str], by: object) -> None:
        """An event was emitted; ``env`` does not change any more."""
        if len(name) > LONGEST_NAME or (env and not is_short(env)):
            name, env = shortened(name), bounded(env)
        recent = self._recent
        recent.append((self._clock(), "event", serial, name, env, by))
        if len(recent) >= CHUNK:
            self._close()

    def note_end(self, of: object, process: str, pid: int, status: int | None, seconds: float | None) -> None:
        """A process has ended."""
        used = self._uses.pop(pid, (None, None, None)) if self._uses else (None, None, None)
        # A list, so that what it has used can be added.
        self._recent.append([self._clock(), "ended", of, process, pid, status, seconds, *used])
        if len(self._recent) >= CHUNK:
            self._close()

    def note_use(self, pid: int, processor: float, read: int, written: int) -> None:
        """What a process has used that has ended, or is about to be noted as such."""
        for entry in reversed(self._recent[-NEAR:]):
            if entry[1] == "ended" and entry[4] == pid:
                entry[7:] = [processor, read, written]
                return
        if len(self._uses) >= MOST_USES:
            del self._uses[next(iter(self._uses))]
        self._uses[pid] = (processor, read, written)

    def note_definition(self, what: str, session: str | None, name: str) -> None:
        """A definition was ``added``, ``changed`` or ``removed``."""
        if not self.begun:
            return
        last = self._recent[-1] if self._recent else None
        if last is not None and last[1] == "jobs" and last[2] == what and last[3] == session:
            last[4] += 1
            if len(last[5]) < MOST_NAMES:
                last[5].append(shortened(name))
        else:
            self._recent.append([self._clock(), "jobs", what, session, 1, [shortened(name)]])
            if len(self._recent) >= CHUNK:
                self._close()

    # Packing

    def _close(self) -> None:
        """Pack what there is."""
        first, entries = self._first, self._recent
        self._first, self._recent = first + len(entries), []
        try:
            self._keep(first, marshal.dumps(entries))
        except Exception:
            # For want of memory: what is lost is seen by the numbers, and init goes on.
            pass

    def _keep(self, first: int, packed: bytes) -> None:
        if not self._ring and self._kept_size + len(packed) <= KEPT:
            self._kept.append((first, packed))
            self._kept_size += len(packed)
            return
        if len(packed) > RECENT:
            return
        self._ring.append((first, packed))
        self._ring_size += len(packed)
        while self._ring_size > RECENT:
            self._ring_size -= len(self._ring.pop(0)[1])

    # Reading

    @property
    def next(self) -> int:
        """The number of the next entry."""
        return self._first + len(self._recent)

    def chunks(self, since: int, most: int) -> tuple[list[Chunk], int]:
        """At most so many chunks with all entries from number ``since`` on, maybe with some before that.

        They are for `unpacked`.  And the number to go on from.
        """
        starts = [first for first, _ in (*self._kept, *self._ring)]
        ends = [*starts, self._first][1:]
        found = [
            chunk
            for chunk, end in zip((*self._kept, *self._ring), ends, strict=True)
            if end > since
        ]
        if len(found) >= most:
            left = found[most:]
            following = left[0][0] if left else self._first
            return found[:most], following
        if since < self.next:
            skipped = max(0, since - self._first)
            found.append((self._first + skipped, marshal.dumps(self._recent[skipped:])))
        return found, self.next

    def entries(self) -> Iterator[tuple[int, Any]]:
        """All that is known, each with its number."""
        for first, packed in (*self._kept, *self._ring):
            yield from enumerate(unpacked(packed), first)
        yield from enumerate(self._recent, self._first)

    # Across a re-exec

    def dump(self) -> dict[str, Any]:
        """All of it as values that JSON knows."""
        chunks = [[(first, unpacked(packed)) for first, packed in part] for part in (self._kept, self._ring)]
        # An older build has its chunks as text, in "kept" and "ring", and does without these.
        return {"first": self._first, "kept": [], "ring": [], "recent": self._recent, "chunks": chunks}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on with what `dump` gave, of this build or an older one."""
        parts = saved.get("chunks")
        if parts is None:
            from upstart.base.jsontext import decoder

            decode = decoder()
            parts = [[(first, decode(text)) for first, text in saved[part]] for part in ("kept", "ring")]
        self._kept, self._ring = (
            [(first, marshal.dumps(list(_shared(entries, {})))) for first, entries in part] for part in parts
        )
        self._kept_size = sum([len(packed) for _, packed in self._kept])
        self._ring_size = sum([len(packed) for _, packed in self._ring])
        # What was noted while the engine was loaded is nothing that has happened.
        self._first, self._recent = saved["first"], saved["recent"]
        self.begun = True


def unpacked(packed: bytes) -> list[Any]:
    """The entries of a chunk."""
    entries: list[Any] = marshal.loads(packed)
    return entries


def _shared(value: Any, known: dict[str, str]) -> Any:
    """The same as what was packed before, in tuples and with each text there once: it takes as little room then."""
    if isinstance(value, str):
        return known.setdefault(value, value)
    if isinstance(value, list):
        return tuple([_shared(each, known) for each in value])
    if isinstance(value, dict):
        return {key: _shared(each, known) for key, each in value.items()}
    return value


def shortened(text: str, longest: int = LONGEST_NAME) -> str:
    """``text``, or its beginning and three dots."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def is_short(env: dict[str, str]) -> bool:
    """Whether it can be kept as it is."""
    return len(env) <= MOST_VARIABLES and sum(map(len, env)) + sum(map(len, env.values())) <= LONGEST_VARIABLES


def bounded(env: dict[str, str]) -> dict[str, str]:
    """Those variables that fit, the first in full; one that is cut ends with three dots."""
    left = LONGEST_VARIABLES
    found: dict[str, str] = {}
    for key in list(env)[:MOST_VARIABLES]:
        value = shortened(env[key], max(left, 3))
        key = shortened(key)
        left -= len(key) + len(value)
        found[key] = value
        if left <= 0:
            break
    return found
