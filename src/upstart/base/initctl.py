"""The requests of sysvinit's FIFO, as its initreq.h lays them out: for who reads them and for who writes them."""

from __future__ import annotations

import sys
from struct import Struct

#: Where init's FIFO is; the second was sysvinit's place before /run.
PATH = "/run/initctl"
LEGACY_PATH = "/dev/initctl"

#: Commands: change the runlevel, tell of the power, set variables for what the next change runs.
RUNLEVEL, POWER_FAIL, POWER_FAIL_NOW, POWER_OK, SET_ENVIRON = 1, 2, 3, 4, 6

#: Magic number, command, runlevel, seconds between TERM and KILL, data.
REQUEST = Struct("=4i368s")
_MAGIC = 0x03091969
#: What every request begins with.
BEGINNING = _MAGIC.to_bytes(4, sys.byteorder)


def request(command: int, runlevel: int = 0, seconds: int = 0, data: bytes = b"") -> bytes:
    """One request, as it is written."""
    return REQUEST.pack(_MAGIC, command, runlevel, seconds, data)
