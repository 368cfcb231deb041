"""Asking an init that is not Upstart to change the runlevel, while PID 1 is still the one from before the switch.

After installation and before the first reboot these commands already are Upstart's while PID 1 is systemd or sysvinit;
and a machine must then still come down.  systemd is asked by becoming `systemctl`, every other init that speaks
sysvinit's protocol by a request on its FIFO.
"""

from __future__ import annotations

import os
import stat

from upstart.base import initctl
from upstart.sysv import machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: Exists exactly while systemd is PID 1 (sd_booted(3)).
SYSTEMD = "/run/systemd/system"
SYSTEMCTL = "/usr/bin/systemctl"

FIFOS = (initctl.PATH, initctl.LEGACY_PATH)
_SLEEPTIME = 5

_SYSTEMCTL_VERBS = {
    "0": ("poweroff",),
    "1": ("--no-block", "rescue"),
    "2": ("--no-block", "isolate", "multi-user.target"),
    "3": ("--no-block", "isolate", "multi-user.target"),
    "4": ("--no-block", "isolate", "multi-user.target"),
    "5": ("--no-block", "isolate", "graphical.target"),
    "6": ("reboot",),
    "S": ("--no-block", "rescue"),
    "U": ("daemon-reexec",),
}


def change_runlevel(runlevel: str, env: Iterable[str] = ()) -> bool:
    """Have the running init go to *runlevel* (``0`` to ``6``, ``S``, or ``U`` for its re-execution).

    *env* holds KEY=VALUE strings; INIT_HALT is understood by both kinds of init.  True if the request was taken, False
    if there is no init to take it.  Where systemd runs this does not return at all, unless systemctl is missing.
    """
    env = list(env)
    if os.path.isdir(SYSTEMD):
        verb = _SYSTEMCTL_VERBS[runlevel]
        if runlevel == "0" and "INIT_HALT=HALT" in env:
            verb = ("halt",)
        try:
            machine.execute(SYSTEMCTL, ["systemctl", "--no-wall", *verb])
        except OSError:
            pass
    return _write_requests(runlevel, env)


def _write_requests(runlevel: str, env: list[str]) -> bool:
    if machine.init_is_interpreted():
        # An Upstart that does not answer would have telinit carry out the request, which leads back here.
        return False
    for fifo in FIFOS:
        try:
            fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if not stat.S_ISFIFO(os.fstat(fd).st_mode):
                continue
            for setting in env:
                os.write(fd, initctl.request(initctl.SET_ENVIRON, data=setting.encode(errors="surrogateescape")))
            os.write(fd, initctl.request(initctl.RUNLEVEL, ord(runlevel), _SLEEPTIME))
            return True
        except OSError:
            continue
        finally:
            os.close(fd)
    return False
