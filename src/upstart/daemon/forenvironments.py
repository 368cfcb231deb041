"""The methods of the manager that read and change the environment of jobs: the table of all, or an instance's.

What is always true here: as in `manager`, of which this is a part; the table of PID 1 is nobody's to change.
"""

from __future__ import annotations

import os

from upstart.base.names import INVALID_ARGS
from upstart.daemon.environment import STEP
from upstart.daemon.forbridges import DENIED
from upstart.engine import environ
from upstart.engine.core import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.daemon.call import Call
    from upstart.daemon.chroots import Chroots
    from upstart.daemon.endpoints import Endpoints
    from upstart.dbus.connection import Steps, Work
    from upstart.engine.data import Instance
    from upstart.engine.engine import Engine

EMPTY_VARIABLE = "Variable may not be empty string"


class ForEnvironments:
    """These methods of the manager."""

    __slots__ = ()
    if TYPE_CHECKING:
        _chroots: Chroots
        _endpoints: Endpoints
        _engine: Engine
        _initial_environ: Callable[[], dict[str, str]]

        def _check(self, call: Call, action: str) -> None: ...

        def _from_chroot(self, call: Call, request: str) -> bool: ...

    def _instance(self, call: Call, details: list[str]) -> Instance | None:
        if not details:
            return None
        job = self._engine.jobs.get((self._chroots.session_of(call.pid), details[0]))
        if job is None:
            raise CommandError("UnknownJob", f"Unknown job: {details[0]}")
        name = details[1] if len(details) > 1 else None
        instance = job.instances.get(name) if name is not None else None
        if instance is None:
            shown = "(null)" if name is None else name
            raise CommandError("UnknownJobInstance", f"Unknown instance: {shown} of job {details[0]}")
        return instance

    def _begin_change(self, call: Call, details: list[str], request: str) -> bool:
        """Check a call that changes an environment; false where it is to be ignored."""
        self._check(call, "modify job environment")
        if os.getpid() == 1:
            raise CommandError(DENIED, "Not permissible to modify PID 1 job environment")
        self._check_details(details)
        return not self._from_chroot(call, request)

    @staticmethod
    def _check_details(details: list[str]) -> None:
        if details and not details[0]:
            raise CommandError(INVALID_ARGS, "Job may not be empty string")

    def do_SetEnv(self, call: Call, details: list[str], variable: str, replace: bool) -> Work:
        return self.do_SetEnvList(call, details, [variable], replace)

    def do_SetEnvList(self, call: Call, details: list[str], variables: list[str], replace: bool) -> Steps:
        if self._begin_change(call, details, "set env request"):
            instance = self._instance(call, details)
            engine = self._engine
            for at in range(0, len(variables), STEP):
                entries = [entry if "=" in entry else entry + "=" for entry in variables[at : at + STEP]]
                for entry in entries:
                    if instance is not None:
                        engine.set_instance_environ(instance, entry, replace)
                    else:
                        engine.set_job_environ(entry, replace)
                    yield None
                if instance is None:
                    self._endpoints.update_activation_environment(entries)
        call.reply()

    def do_UnsetEnv(self, call: Call, details: list[str], name: str) -> Work:
        return self.do_UnsetEnvList(call, details, [name])

    def do_UnsetEnvList(self, call: Call, details: list[str], names: list[str]) -> Steps:
        if self._begin_change(call, details, "unset env request"):
            instance = self._instance(call, details)
            for word in names:
                # A whole KEY=VALUE names its key.
                name = word.partition("=")[0]
                if not (instance.env if instance is not None else self._engine.job_environ):
                    # In the original only an empty table lacks a variable.
                    raise CommandError(INVALID_ARGS, f"No such variable: {name}")
                if instance is not None:
                    self._engine.unset_instance_environ(instance, name)
                else:
                    self._engine.unset_job_environ(name)
                yield None
        call.reply()

    def do_GetEnv(self, call: Call, details: list[str], name: str) -> None:
        self._check(call, "query job environment")
        if not name:
            raise CommandError(INVALID_ARGS, EMPTY_VARIABLE)
        self._check_details(details)
        if self._from_chroot(call, "get env request"):
            call.reply("s", "")
            return
        instance = self._instance(call, details)
        table = instance.env if instance is not None else self._engine.job_environ
        if name not in table:
            raise CommandError(INVALID_ARGS, f"No such variable: {name}")
        call.reply("s", table[name])

    def do_ListEnv(self, call: Call, details: list[str]) -> None:
        self._check(call, "query job environment")
        self._check_details(details)
        instance = self._instance(call, details)
        call.reply("as", environ.words(instance.env if instance is not None else self._engine.job_environ))

    def do_ResetEnv(self, call: Call, details: list[str]) -> None:
        if self._begin_change(call, details, "reset env request"):
            instance = self._instance(call, details)
            if instance is not None:
                self._engine.reset_instance_environ(instance)
            else:
                self._engine.reset_job_environ(self._initial_environ())
        call.reply()
