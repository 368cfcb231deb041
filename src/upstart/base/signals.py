"""Names of signals, as messages, stanzas and the EXIT_SIGNAL variable use them (signal(7), without the SIG)."""

from __future__ import annotations

#: Signals by the name behind ``SIG`` (signal(7), the same on every Linux port Debian has but mips).
SIGNALS = {
    "HUP": 1,
    "INT": 2,
    "QUIT": 3,
    "ILL": 4,
    "TRAP": 5,
    "ABRT": 6,
    "IOT": 6,
    "BUS": 7,
    "FPE": 8,
    "KILL": 9,
    "USR1": 10,
    "SEGV": 11,
    "USR2": 12,
    "PIPE": 13,
    "ALRM": 14,
    "TERM": 15,
    "STKFLT": 16,
    "CHLD": 17,
    "CLD": 17,
    "CONT": 18,
    "STOP": 19,
    "TSTP": 20,
    "TTIN": 21,
    "TTOU": 22,
    "URG": 23,
    "XCPU": 24,
    "XFSZ": 25,
    "VTALRM": 26,
    "PROF": 27,
    "WINCH": 28,
    "IO": 29,
    "POLL": 29,
    "PWR": 30,
    "SYS": 31,
}

#: The name that is said of a number with several: the first one.
_NAMES = {number: name for name, number in reversed(SIGNALS.items())}


def signal_number(name: str) -> int | None:
    """The number of a signal called ``TERM`` or ``SIGTERM``, ``None`` for a name that is not known."""
    return SIGNALS.get(name.removeprefix("SIG"))


def signal_name(number: int) -> str:
    """``TERM`` for 15; the number as text where it has no name."""
    return _NAMES.get(number) or str(number)
