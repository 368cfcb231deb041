"""The order of the boot scripts in /etc/rcS.d, or of those of a machine's end: which may start now, given which ended.

insserv(8) writes into /etc/init.d/.depend.boot, or .depend.stop, which script needs which, and which talk to whoever is
at the console.  What is always true here: every script that has a link is started once; one of which insserv knows
nothing waits for all with a lower number, as it did before there was that file; a circle is broken at its first script,
and an interactive script has the machine to itself.
"""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SCRIPTS = "/etc/init.d"


def depends(what: str) -> str | None:
    """What insserv has written of the "boot", or of the "stop", of this system; None where scripts run one by one."""
    try:
        depend = _read_text(f"{SCRIPTS}/.depend.{what}")
        one_by_one = "concurrency=none" in _read_text("/proc/cmdline").split()
    except OSError:
        return None
    if not depend or one_by_one or posix.access(f"{SCRIPTS}/.legacy-bootordering", posix.F_OK):
        return None
    return depend


def _read_text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def is_link(name: str, kinds: str) -> bool:
    """Whether this is the name of a script's link of one of *kinds*, its first letter."""
    return len(name) > 3 and name[0] in kinds and name[1:3].isdigit()


class BootOrder:
    """The scripts that wait, those that run, and what each waits for.

    *links* are the names in /etc/rcS.d, *depend* is the text of .depend.boot: None runs one script after another.
    *kinds* are the letters with which links begin that count.
    """

    __slots__ = ("_interactive", "_links", "_needs", "_running")

    def __init__(self, links: Iterable[str], depend: str | None = None, kinds: str = "S") -> None:
        #: What still has to end before each script that waits, in the order of the links.
        self._needs: dict[str, set[str]] = {}
        self._running: set[str] = set()
        self._interactive: set[str] = set()
        self._links: dict[str, str] = {}
        known: dict[str, set[str]] = {}
        for line in (depend or "").splitlines():
            head, _, rest = line.partition(":" if ": " in line else "=")
            words = set(rest.split())
            if head.strip() == "TARGETS":
                known = {name: set() for name in words}
            elif head.strip() == "INTERACTIVE":
                self._interactive = words
            elif head.strip() in known:
                known[head.strip()] = words
        numbers: dict[str, str] = {}
        for link in sorted(links, key=lambda link: link[1:]):
            if not is_link(link, kinds):
                continue
            number, name = link[1:3], link[3:]
            if name in known:
                self._needs[name] = known[name] - {name}
            else:
                self._needs[name] = {other for other in numbers if depend is None or numbers[other] < number}
            numbers.setdefault(name, number)
            self._links.setdefault(name, link)
        for needs in self._needs.values():
            needs.intersection_update(numbers)

    def __bool__(self) -> bool:
        """Whether there are scripts that have not ended."""
        return bool(self._needs or self._running)

    def names(self) -> list[str]:
        """The scripts that have yet to be taken."""
        return list(self._needs)

    def before(self, name: str) -> set[str]:
        """All that has to end before a script, what that needs included."""
        found: set[str] = set()
        left = [name]
        while left:
            more = self._needs.get(left.pop(), set()) - found
            found |= more
            left += more
        return found

    def keep(self, names: Iterable[str]) -> None:
        """Have no others than these wait, and these for each other alone."""
        kept = set(names)
        self._needs = {name: needs & kept for name, needs in self._needs.items() if name in kept}

    def take(self) -> str | None:
        """The script to start now, None where those that run have to be waited for."""
        if not self._interactive.isdisjoint(self._running):
            return None
        ready = [name for name, needs in self._needs.items() if not needs]
        if not ready and not self._running:
            ready = list(self._needs)
        for name in ready:
            if name not in self._interactive or (not self._running and self._interactive.issuperset(ready)):
                del self._needs[name]
                self._running.add(name)
                return name
        return None

    def is_interactive(self, name: str) -> bool:
        """Whether the script needs the console for itself."""
        return name in self._interactive

    def link(self, name: str) -> str:
        """The name of the script's link."""
        return self._links[name]

    def end(self, name: str) -> None:
        """A script that was taken has ended."""
        self._running.discard(name)
        for needs in self._needs.values():
            needs.discard(name)
