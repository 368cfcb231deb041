"""What is asked of the manager about the record of what comes into the engine.

What is always true here: as in `manager`, of which this is a part.  The file is opened by whoever asks, as himself, and
comes as a descriptor: init looks up no path for him.
"""

from __future__ import annotations

from upstart.base.closing import close_given
from upstart.base.names import FAILED, INVALID_ARGS
from upstart.daemon.recorder import NotPossible
from upstart.engine.core import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.daemon.call import Call
    from upstart.daemon.chroots import Chroots
    from upstart.daemon.recorder import Recorder
    from upstart.dbus.wire import UnixFd

DENIED = "PermissionDenied"


class ForRecords:
    """These methods of the manager."""

    __slots__ = ()
    if TYPE_CHECKING:
        _chroots: Chroots
        _recorder: Recorder

        def _check(self, call: Call, action: str) -> None: ...

    def do_Record(self, call: Call, name: str, file: UnixFd, values: bool, limit: int) -> None:
        fd = call.take_fd(file)
        try:
            self._check_record(call)
            if fd < 0:
                raise CommandError(INVALID_ARGS, "There is no descriptor of a file to record to")
            fd, given = -1, fd
            self._recorder.begin(given, name, values, limit)
        except NotPossible as error:
            raise CommandError(FAILED, str(error)) from None
        except OSError as error:
            raise CommandError(FAILED, f"Unable to record: {error.strerror}") from None
        finally:
            if fd >= 0:
                close_given(fd)
        call.reply()

    def do_StopRecord(self, call: Call) -> None:
        self._check_record(call)
        name = self._recorder.file
        try:
            self._recorder.stop(lambda why: call.error(FAILED, why) if why else call.reply("s", name))
        except NotPossible as error:
            raise CommandError(FAILED, str(error)) from None

    def _check_record(self, call: Call) -> None:
        self._check(call, "record what init is told")
        if self._chroots.session_of(call.pid) is not None:
            raise CommandError(DENIED, "Not permissible from a chroot session")
