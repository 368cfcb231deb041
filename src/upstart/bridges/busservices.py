"""Services that a bus starts when somebody calls them, as jobs that wait for that: the files by which a bus knows them.

What is always true here: there is a file for each name that a job waits for by ``dbus-activation SERVICE=NAME``, and
no other of ours; who calls such a service has its bus run initctl, which emits the event and waits for the job.  Files
go on being of use when we have been killed.  None is made where others could lead us elsewhere, or in place of one that
somebody else has made: what is ours begins with our mark.
"""

from __future__ import annotations

import os
import sys

from upstart.base.buswords import ACTIVATION, is_well_known
from upstart.base.wholefile import write_whole
from upstart.bridges.condition import passes, tests_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.bridges.link import Leaves

#: Where a bus of the system looks for what comes and goes at run time, and one of a session below $XDG_RUNTIME_DIR.
SYSTEM, SESSION = "/run/dbus-1/system-services", "dbus-1/services"
#: The scripts bus-helper and call-to-bus know it, too.
_MARK = "# Made by upstart-dbus-bridge for a job: changes are lost.\n"
_SUFFIX = ".service"


class Services:
    """The files in ``directory``, empty where there are to be none, for the bus ``bus`` (system or session).

    ``address`` is that of the init, but empty for that of the system.
    """

    def __init__(self, directory: str, bus: str, address: str) -> None:
        self._directory = directory
        self._bus = bus
        self._address = address
        #: The names that jobs wait for.
        self.names: set[str] = set()
        #: Files of somebody else for names that jobs wait for, too.
        self.others: list[str] = []

    def want(self, leaves: Leaves) -> None:
        """Have those that these wait for, as far as they name it in full."""
        self.names = set()
        for name, words in leaves or ():
            tests = tests_of(words, ("SERVICE", "BUS")) if name == ACTIVATION and self._directory else []
            service = next((test.value for test in tests if test.key == "SERVICE" and not test.negated), "")
            if is_well_known(service) and passes(tests, {"SERVICE": service, "BUS": self._bus}):
                self.names.add(service)

    def arrange(self) -> bool:
        """Make and remove files; whether anything was to be done.  OSError where that fails.

        Names that are in a file of somebody else are not `names` any more, until they are wanted again.
        """
        self.others = []
        if not self._directory:
            return False
        there = self._ours()
        if self.names:
            os.makedirs(self._directory, mode=0o755, exist_ok=True)
        changed = False
        for name in there.keys() - self.names:
            os.unlink(self._path(name))
            changed = True
        for name in sorted(self.names):
            text = self._text(name)
            if name not in there and os.path.lexists(self._path(name)):
                self.others.append(self._path(name))
                self.names.discard(name)
            elif there.get(name) != text:
                self._write(name, text)
                changed = True
        return changed

    def _path(self, name: str) -> str:
        return f"{self._directory}/{name}{_SUFFIX}"

    def _text(self, name: str) -> str:
        # It is where our own command is.
        initctl = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "initctl")
        where = f"/usr/bin/env UPSTART_SESSION={self._address} {initctl} --user" if self._address else initctl
        user = "" if self._address else "User=root\n"
        emit = f"{where} emit {ACTIVATION} SERVICE={name} BUS={self._bus}"
        return f"{_MARK}[D-BUS Service]\nName={name}\nExec={emit}\n{user}"

    def _write(self, name: str, text: str) -> None:
        # The bus reads no file whose name has another ending.
        write_whole(self._path(name), (text,), 0o644)

    def _ours(self) -> dict[str, str]:
        """The names of the files that we have made, with their texts."""
        found = {}
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return {}
        for name in names:
            if name.endswith(_SUFFIX):
                try:
                    with open(f"{self._directory}/{name}", errors="replace") as file:
                        text = file.read(4096)
                except OSError:
                    continue
                if text.startswith(_MARK):
                    found[name.removesuffix(_SUFFIX)] = text
        return found

    def remove(self) -> None:
        """Leave none."""
        self.names = set()
        self.arrange()


def directory_of(system: bool, user: bool) -> str:
    """Where the files of a bus are; empty where that is not ours to say."""
    if system:
        return "" if user or os.getuid() else SYSTEM
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return f"{runtime}/{SESSION}" if runtime and user else ""
