"""Where a session init finds its configuration and puts its logs and its session file, by the XDG Base Directory
Specification.

What is always true here: a variable that is not an absolute path counts as unset; directories are made where we are
about to watch or write in them, and failing to is no error.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SUBDIRECTORY = "upstart"
SYSTEM_SESSIONS = "/usr/share/upstart/sessions"
MODE = 0o700


def _make(path: str, make: bool = True) -> str:
    if make:
        try:
            os.mkdir(path, MODE)
        except OSError:
            pass
    return path


def _home(environ: Mapping[str, str], variable: str, below: str, make: bool) -> str | None:
    """The directory that ``variable`` names, or ``below`` in the home directory."""
    value = environ.get(variable, "")
    if value.startswith("/"):
        return _make(value, make)
    home = environ.get("HOME", "")
    return _make(f"{home}/{below}", make) if home.startswith("/") else None


def config_dirs(environ: Mapping[str, str], make: bool = True) -> list[str]:
    """The directories of a user's jobs, the one that counts most first; empty where there is no home directory.

    The user's own is made, but where ``make`` says that nothing may be touched: its disk may be a server's.
    """
    config = _home(environ, "XDG_CONFIG_HOME", ".config", make)
    home = environ.get("HOME", "")
    if config is None or not home.startswith("/"):
        return []
    dirs = [_make(f"{config}/{SUBDIRECTORY}", make), f"{home}/.init"]
    for each in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"):
        if each.startswith("/"):
            dirs.append(f"{each}/{SUBDIRECTORY}")
    if "UPSTART_NO_SYSTEM_USERCONFDIR" not in environ:
        dirs.append(SYSTEM_SESSIONS)
    return dirs


def log_dir(environ: Mapping[str, str], make: bool = True) -> str | None:
    """The directory of a user's job logs, None where there is no home directory; made as `config_dirs` are."""
    cache = _home(environ, "XDG_CACHE_HOME", ".cache", make)
    return _make(f"{cache}/{SUBDIRECTORY}", make) if cache is not None else None


def session_dir(environ: Mapping[str, str]) -> str | None:
    """The directory of session files, None without XDG_RUNTIME_DIR."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if not runtime.startswith("/"):
        return None
    return _make(_make(f"{runtime}/{SUBDIRECTORY}") + "/sessions")
