"""Names of signals, as messages, stanzas and the EXIT_SIGNAL variable use them (signal(7), without the SIG)."""

from __future__ import annotations

_NAMES = (
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH",
    "IO", "PWR", "SYS",
)  # fmt: skip


def signal_name(number: int) -> str:
    """``TERM`` for 15; the number as text where it has no name."""
    return _NAMES[number] if 0 < number < len(_NAMES) else str(number)
