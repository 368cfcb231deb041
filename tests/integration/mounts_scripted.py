"""Performs a list of actions as mountall would, in a namespace of mounts that the caller has made.

Called with a D-Bus address (or ``-``), the path of a state file (or ``-``), and the actions as `statefile.pack_action`
writes them; all are asked for at once, and what comes of it is printed, one value a line.  It ends when each is
answered, and, where ``UNTIL`` is set, something was printed that contains it.  ``BUFFER`` is how many bytes of udev's
events the kernel is to keep.  With ``BROKEN``, what is to be told (`Tell`) is an action that fails; the
fault is told, and mountall goes on.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
sys.path.append("/usr/lib/python3/dist-packages")

from upstart.base.loop import Loop
from upstart.mounts import devices, statefile
from upstart.mounts.console import Console
from upstart.mounts.devices import Devices
from upstart.mounts.events import Events
from upstart.mounts.perform import Performer
from upstart.mounts.tablewatch import Table
from upstart.mounts.values import Action, Answered, Calm, Cancel, End, Ended, Input, Mounts, Ready, Tell


class Scripted:
    """A reducer that asks for everything at the first input, and ends when all that has a number is answered."""

    def __init__(self, actions: list[Action], state: Any = None) -> None:
        self.actions = actions
        self.left = {
            action.number for action in actions if hasattr(action, "number") and not isinstance(action, (Calm, Cancel))
        }
        if state is not None and state[0]:
            self.actions = []
            self.left = set(state[1])

        self.until = os.environ.get("UNTIL", "")

    def step(self, now: float, input: Input) -> list[Action]:
        actions, self.actions = self.actions, []
        if not isinstance(input, Mounts):
            text = repr(input.device if isinstance(input, Ready) else input)
            print(text, flush=True)
            if self.until in text:
                self.until = ""
        if isinstance(input, (Answered, Ended)):
            self.left.discard(input.number)
        return [*actions, *([] if self.left or self.until else [End(0)])]

    def remaining(self) -> list[int]:
        return []

    def dump(self) -> Any:
        return [not self.actions, sorted(self.left)]


def main(address: str, path: str, packed: str) -> int:
    loop = Loop()
    devices.BUFFER = int(os.environ.get("BUFFER", devices.BUFFER))

    def fault(error: BaseException) -> None:
        print(f"fault: {error!r}", flush=True)
        if "BROKEN" not in os.environ:
            raise SystemExit(9)

    loop.fault = fault
    events = None
    if address != "-":
        events = Events(address)
        events.open()
    document = statefile.read(path) if path != "-" else None
    actions = [statefile.unpack_action(each) for each in json.loads(packed)]
    reducer = Scripted(actions, document and document["state"])
    performer = Performer(
        loop, reducer, Table(), events,
        lambda key: Console(loop, key, lambda text, urgent: print("said:", text, flush=True), path="/dev/null"),
        lambda processes, feed: Devices(loop, processes, feed), [] if path != "-" else None, path,
    )  # fmt: skip
    if "BROKEN" in os.environ:
        performer._perform[Tell] = lambda action: {}[action]
    if document is None:
        performer.begin()
    else:
        performer.resume(document)
    loop.run()
    loop.close()
    return performer.status


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
