"""record: what init is told goes into a file from now on, for init-replay(8).

The file is opened here, with the caller's rights, and handed over: it is always a new one, readable by its owner alone.
"""

from __future__ import annotations

import posix

from upstart.base.errors import ClientError, DBusError, UsageError
from upstart.base.names import NO_EXTENSION
from upstart.initctl.context import Context

O_NOFOLLOW, O_CLOEXEC = posix.O_NOFOLLOW, posix.O_CLOEXEC
MODE = 0o600
MEGABYTE = 1 << 20


def record(context: Context) -> int:
    """record FILE, or record --stop."""
    settings = context.settings
    try:
        if settings.stop:
            if context.args:
                raise UsageError("--stop takes no file")
            name = context.open().stop_record()
            context.message(f"Recorded to {name}")
        else:
            _begin(context)
    except DBusError as error:
        if error.name in NO_EXTENSION:
            raise ClientError("This init daemon does not support records")
        raise
    return 0


def _begin(context: Context) -> None:
    settings = context.settings
    if not context.args:
        raise UsageError("missing file name")
    limit = 0
    if settings.limit is not None:
        if not settings.limit.isdecimal() or not 0 < int(settings.limit) < 1 << 20:
            raise UsageError(f"not a number of megabytes: {settings.limit}")
        limit = int(settings.limit) * MEGABYTE
    init = context.open()
    path = context.args[0]
    if not path.startswith("/"):
        path = f"{posix.getcwd().rstrip('/')}/{path}"
    try:
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_APPEND | O_NOFOLLOW | O_CLOEXEC
        file = posix.open(path.encode("utf-8", "surrogateescape"), flags, MODE)
    except OSError as error:
        raise ClientError(f"Unable to make {path}: {error.strerror}")
    try:
        init.record(path, file, settings.with_values, limit)
    except BaseException:
        posix.unlink(path.encode("utf-8", "surrogateescape"))
        raise
    finally:
        posix.close(file)
    context.message(f"Recording to {path}, until `{context.program} record --stop'")
