"""The configuration of a running init: which directories it is read from, and what a change of it does to the engine.

What is always true here: a directory is watched before it is read, so that no change in between is missed.  A change
is given to the engine as a definition or as the end of one, whatever has noticed it.
"""

from __future__ import annotations

import os

from upstart.base.loop import READ
from upstart.base.priority import ERROR, INFO, WARN
from upstart.conf.sources import Sources
from upstart.conf.watch import Watch
from upstart.daemon import xdg
from upstart.daemon.chroots import CONFDIR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop
    from upstart.conf.sources import Change
    from upstart.daemon.chroots import Chroots
    from upstart.daemon.options import Options
    from upstart.engine.engine import Engine


class Configuration:
    """The configuration of one daemon; ``log`` (priority, text) writes to init's own log."""

    __slots__ = ("_chroots", "_engine", "_environ", "_log", "_loop", "_options", "_watch", "sources")

    def __init__(
        self,
        options: Options,
        environ: dict[str, str],
        engine: Engine,
        chroots: Chroots,
        loop: Loop,
        log: Callable[[int, str], None],
    ) -> None:
        self._options = options
        self._environ = environ
        self._engine = engine
        self._chroots = chroots
        self._loop = loop
        self._log = log
        self._watch: Watch | None = None
        self.sources = Sources(lambda text: log(ERROR, text))

    def load(self, restarted: bool) -> None:
        """Read all configuration, and watch it from now on; ``restarted`` where the engine has jobs already."""
        options = self._options
        if options.user and not options.confdirs:
            options.confdirs = xdg.config_dirs(self._environ)
        trees = [*options.prepend_confdirs, *options.confdirs, *options.append_confdirs]
        if not options.user:
            self.sources.add_file("/etc/init.conf")
        for path in trees:
            self.sources.add_dir(os.path.abspath(path))
        try:
            self._watch = Watch(warn=lambda text: self._log(WARN, text))
            self._loop.add_fd(self._watch.fd, READ, self._changed)
            if not options.user:
                self._watch.add_file("/etc/init.conf")
            for path in [*map(os.path.abspath, trees), *(root + CONFDIR for root in self._chroots.roots)]:
                self._watch.add_tree(path)
        except OSError as error:
            self._log(WARN, f"Unable to watch configuration: {error.strerror}")
        self._say_what_is_loaded()
        self._apply(self.sources.load())
        self._chroots.opened, self._chroots.closed = self._open_chroot, self._close_chroot
        if restarted:
            self._drop_vanished()

    def _say_what_is_loaded(self) -> None:
        for path in self.sources.paths():
            self._log(INFO, f"Loading configuration from {path}")

    def _drop_vanished(self) -> None:
        """After a re-exec: jobs whose files are gone by now."""
        for session, name in list(self._engine.jobs):
            if self.sources.job_class(name, session) is None:
                self._engine.undefine(session, name)

    def _open_chroot(self, root: str) -> None:
        path = root + CONFDIR
        self.sources.add_dir(path, root)
        if self._watch is not None:
            self._watch.add_tree(path)
        self._apply(self.sources.load())

    def _close_chroot(self, root: str) -> None:
        if self._watch is not None:
            self._watch.remove_tree(root + CONFDIR)
        self._apply(self.sources.remove_session(root))

    def _changed(self, _events: int) -> None:
        if self._watch is None:
            return
        changed = self._watch.read()
        self._apply(self.sources.reload() if changed is None else self.sources.changed(changed))

    def reload(self) -> None:
        """Look at all configuration again."""
        self._log(INFO, "Reloading configuration")
        self._say_what_is_loaded()
        self._apply(self.sources.reload())

    def _apply(self, changes: list[Change]) -> None:
        for change in changes:
            if change.job_class is not None:
                self._engine.define(change.job_class)
            else:
                self._engine.undefine(change.session, change.name)

    def restore_chroots(self, roots: list[str]) -> None:
        """Know again, after a re-exec, the chroot sessions that were known."""
        for root in roots:
            self.sources.add_dir(root + CONFDIR, root)
        self._chroots.restore(roots)
