"""A history that ``history --save``, or the end of the machine, has left in a file."""

from __future__ import annotations

from upstart.base.errors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.client.history import History

#: Where init's history is kept from the end of one boot to the next, by umountall.
SAVED = "/var/log/upstart/last-boot.history"
#: What a file begins with that `initctl record` has written.
_RECORD = '{"upstart-record":'


def saved_history(path: str) -> History:
    """What a file says.  Raises ClientError."""
    from upstart.client.history import load

    try:
        with open(path.encode("utf-8", "surrogateescape"), encoding="utf-8") as file:
            text = file.read()
        if text.startswith(_RECORD):
            raise ClientError(f"{path}: it is a record, for init-replay(8), which explains as well (--explain=JOB)")
        return load(text)
    except FileNotFoundError as error:
        if path != SAVED:
            raise ClientError(f"{path}: {error.strerror}")
        raise ClientError(
            f"{path}: {error.strerror}. The end of the machine leaves it there; a session has no last boot: name "
            f"files that 'initctl history --save=FILE' has made"
        )
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}")
    except ValueError as error:
        raise ClientError(f"{path}: {error}")
