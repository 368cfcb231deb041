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

#: Those by which PID 1 is asked to end the system, as systemd(1) and who runs containers have them: the runlevel to
#: enter and the INIT_HALT that goes with it, and for an end at once the command of reboot(2) and the status with which
#: PID 1 exits where it may not call that.  133 has the units of systemd-nspawn start the container again, and so has
#: any failure a restart policy of Docker.
_RTMIN = 34
ENDS = {_RTMIN + 3: ("0", "HALT"), _RTMIN + 4: ("0", "POWEROFF"), _RTMIN + 5: ("6", "")}
ENDS_AT_ONCE = {_RTMIN + 13: (0xCDEF0123, 0), _RTMIN + 14: (0x4321FEDC, 0), _RTMIN + 15: (0x01234567, 133)}

#: The name that is said of a number with several: the first one.
_NAMES = {number: name for name, number in reversed(SIGNALS.items())}


def signal_number(name: str) -> int | None:
    """The number of a signal called ``TERM`` or ``SIGTERM``, ``None`` for a name that is not known."""
    return SIGNALS.get(name.removeprefix("SIG"))


def signal_name(number: int) -> str:
    """``TERM`` for 15; the number as text where it has no name."""
    return _NAMES.get(number) or str(number)
