"""The configuration of a running init: which directories it is read from, and what a change of it does to the engine.

What is always true here: a directory is watched before it is read, so that no change in between is missed.  A change
is given to the engine as a definition or as the end of one, whatever has noticed it.  At the start all is read at once;
later, clients are served in between, after at most `SLICE` seconds, however many files there are to look at.
"""

from __future__ import annotations

import os
import time

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
    from upstart.conf.sources import Change, Steps
    from upstart.daemon.chroots import Chroots
    from upstart.daemon.options import Options
    from upstart.engine.engine import Engine


#: Seconds.
SLICE = 0.01
#: Paths that are to be looked at; where there are more, everything is.
MOST_PATHS = 20_000


class Configuration:
    """The configuration of one daemon; ``log`` (priority, text) writes to init's own log."""

    __slots__ = (
        "_asked", "_called", "_chroots", "_engine", "_environ", "_everything", "_log", "_loop", "_options", "_paths",
        "_told", "_under_way", "_watch", "sources",
    )  # fmt: skip

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
        #: What is gone through now, whether the loop is to call for more of it, and who is told when it is done.
        self._under_way: Steps | None = None
        self._called = False
        self._told: list[Callable[[], object]] = []
        #: What is to be looked at after that, and who waits for all of it to be.
        self._paths: set[str] = set()
        self._everything = False
        self._asked: list[Callable[[], object]] = []

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
        self._finish(self.sources.load())
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
        self._finish(self.sources.load())

    def _close_chroot(self, root: str) -> None:
        if self._watch is not None:
            self._watch.remove_tree(root + CONFDIR)
        self._finish(iter(self.sources.remove_session(root)))

    def _changed(self, _events: int) -> None:
        self._look()
        if not self._called:
            self._go_on()

    def _look(self) -> None:
        """Learn what has changed."""
        assert self._watch is not None
        changed = self._watch.read()
        if changed is None or len(self._paths) > MOST_PATHS:
            self._everything = True
        else:
            self._paths |= changed

    def reload(self, done: Callable[[], object] | None = None) -> None:
        """Look at all configuration again; ``done`` is called when that has been done."""
        self._log(INFO, "Reloading configuration")
        self._say_what_is_loaded()
        self._everything = True
        if done is not None:
            self._asked.append(done)
        if not self._called:
            self._go_on()

    def look_again(self) -> None:
        """Look at everything once more: what was read may not have been acted upon."""
        self._everything = True
        if not self._called:
            self._call()

    def _go_on(self) -> None:
        """Do what is to be done, for a while; what is left is done when others have had their turn."""
        self._called = False
        deadline = time.monotonic() + SLICE
        try:
            if self._watch is not None and self._watch.busy:
                self._look()
            while self._under_way is not None or self._begin():
                assert self._under_way is not None
                for change in self._under_way:
                    if change is not None:
                        self._apply(change)
                    if time.monotonic() >= deadline:
                        self._call()
                        return
                self._end()
        except BaseException:
            self._end()
            self._call()
            raise
        if self._watch is not None and self._watch.busy:
            self._call()

    def _call(self) -> None:
        self._called = True
        self._loop.call_soon(self._go_on)

    def _begin(self) -> bool:
        if self._everything:
            self._everything = False
            self._paths.clear()
            self._told, self._asked = self._asked, []
            self._under_way = self.sources.reload()
        elif self._paths:
            paths, self._paths = self._paths, set()
            self._under_way = self.sources.changed(paths)
        return self._under_way is not None

    def _end(self) -> None:
        self._under_way = None
        told, self._told = self._told, []
        for done in told:
            done()

    def _finish(self, steps: Steps) -> None:
        for change in steps:
            if change is not None:
                self._apply(change)

    def _apply(self, change: Change) -> None:
        if change.job_class is not None:
            self._engine.define(change.job_class)
        else:
            self._engine.undefine(change.session, change.name)

    def restore_chroots(self, roots: list[str]) -> None:
        """Know again, after a re-exec, the chroot sessions that were known."""
        for root in roots:
            self.sources.add_dir(root + CONFDIR, root)
        self._chroots.restore(roots)
