"""The configuration of an init: which directories it is read from, and what a change of it does to the engine.

What is always true here: a directory is watched before it is read, so that no change in between is missed.  A change
is given to the engine as a definition or as the end of one, whatever has noticed it.  What is read is read by a
child (`passes`), in a running init and already at its start where some file system may not answer.  A program that has
taken over a state has the jobs from there: it looks for what has changed since when clients are served, so that no
path can keep it, or its trial, from serving them.
"""

from __future__ import annotations

import os

from upstart.base import xdg
from upstart.base.priority import ERROR, INFO, WARN
from upstart.conf.disk import is_directory
from upstart.conf.sources import Sources
from upstart.conf.watch import Watch
from upstart.daemon.adopt import Adoption
from upstart.daemon.chroots import CONFDIR
from upstart.daemon.mounts import may_wait
from upstart.daemon.passes import Passes
from upstart.daemon.task import Pass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from upstart.conf.disk import Disk
    from upstart.conf.known import Change
    from upstart.conf.sources import Steps
    from upstart.daemon.basis import Basis
    from upstart.daemon.chroots import Chroots

#: Paths that are to be looked at; where there are more, everything is.
MOST_PATHS = 20_000
#: Texts that are not said again by a pass that tries again what could not be read.
MOST_SAID = 1000


class Configuration:
    """The configuration of one daemon.

    ``sources`` is what is known of it, ``passes`` have that follow what changes.
    """

    __slots__ = (
        "_again", "_chroots", "_engine", "_environ", "_log", "_options", "_said", "_silent", "_watch", "adoption",
        "passes", "sources",
    )  # fmt: skip

    def __init__(self, basis: Basis, chroots: Chroots) -> None:
        self._options = basis.options
        self._environ = basis.environ
        self._engine = basis.engine
        self._chroots = chroots
        self._log = basis.log
        self._silent = False
        #: What was said since somebody has asked for a reload; whether a pass is to say nothing of it again.
        self._said: set[str] = set()
        self._again = False
        self._watch: Watch | None = None
        self.sources = Sources(lambda text: self._say(ERROR, text))
        self.passes = Passes(basis.loop, self, basis.log)
        self.adoption = Adoption(basis.engine, basis.loop, basis.log)

    def _say(self, priority: int, text: str) -> None:
        if self._silent or (self._again and text in self._said):
            return
        if len(self._said) < MOST_SAID:
            self._said.add(text)
        self._log(priority, text)

    def load(self, restarted: bool) -> None:
        """Know all configuration, and watch it from now on; with ``restarted`` what the engine has is known already."""
        options = self._options
        if options.user and not options.confdirs:
            options.confdirs = xdg.config_dirs(self._environ, make=not restarted)
        self._add_all([*options.prepend_confdirs, *options.confdirs, *options.append_confdirs])
        self._say_what_is_loaded()
        if not restarted:
            # Without a state all depends on what there is to read, and there may be anything in a machine that runs.
            if not ((options.restart or may_wait()) and self.passes.read_now()):
                self._read()
        self.passes.begin()
        self.passes.see_what_lacks()
        if restarted:
            self._take_over()
        self._chroots.wanted = self.passes.want

    def _add_all(self, trees: list[str]) -> None:
        """Say where configuration is to be looked for and watched; nothing is looked at yet."""
        if not self._options.user:
            self.sources.add_file("/etc/init.conf")
        for path in trees:
            self.sources.add_dir(os.path.abspath(path))
        self.watch_again(False)

    def watch_again(self, again: bool) -> None:
        """As said at `task.Work`."""
        self._again = again
        if self._watch is None:
            try:
                watch = Watch(warn=lambda text: self._say(WARN, text))
                self.passes.hearing.begin(watch)
            except OSError as error:
                self._say(WARN, f"Unable to watch configuration: {error.strerror}")
                return
            files, trees = self.sources.places()
            for path in files:
                watch.expect_file(path)
            for path in trees:
                watch.expect_tree(path)
            watch.disk = self.sources.disk
            self._watch = watch
        self._watch.look_again()

    def lacks(self) -> bool:
        """As said at `task.Work`."""
        return self.sources.lacks or self._watch is None or self._watch.lacks

    def _read(self) -> None:
        """Look at everything at once."""
        task = Pass()
        task.everything = True
        for change in self.steps(task):
            if change is not None:
                self.apply(change)

    def _take_over(self) -> None:
        """Go on from the jobs as the program before us has read them."""
        for job in self._engine.jobs.values():
            known = job.successor if job.pending else job.job_class
            if known is not None:
                self.sources.know(known)
        self.passes.look_again()

    def _say_what_is_loaded(self) -> None:
        for path in self.sources.paths():
            self._log(INFO, f"Loading configuration from {path}")

    def restore_chroots(self, roots: list[str]) -> None:
        """Know again, after a re-exec, the chroot sessions that were known."""
        for root in roots:
            self.sources.add_dir(root + CONFDIR, root)
        self._chroots.restore(roots)

    def reload(self, done: Callable[[str], object] | None = None) -> None:
        """Look at all configuration again; ``done`` as of `Passes.look_again`."""
        self._said.clear()
        self._log(INFO, "Reloading configuration")
        self._say_what_is_loaded()
        self.passes.look_again(done)

    # What is done in a pass

    def read_by(self, disk: Disk, silent: bool) -> None:
        """As said at `task.Work`."""
        self._silent = silent
        self.sources.disk = disk
        if self._watch is not None:
            self._watch.disk = disk

    def steps(self, task: Pass) -> Steps:
        """As said at `task.Work`."""
        watch = self._watch
        opened = False
        self._again = task.again
        while task.wanted:
            root = task.wanted.pop(0)
            if self._chroots.full:
                yield from self._forget_vanished()
            if not self._chroots.full:
                opened = True
                self.sources.add_dir(root + CONFDIR, root)
                if watch is not None:
                    watch.begin_tree(root + CONFDIR)
                self._chroots.roots.append(root)
            yield None
        changed: set[str] | None = set()
        if watch is not None:
            for _ in watch.look():
                yield None
            changed = watch.take()
        if task.everything or changed is None or len(changed) > MOST_PATHS:
            yield from self.sources.reload()
        elif changed:
            yield from self.sources.changed(changed)
        if opened:
            yield from self.sources.load()

    def _forget_vanished(self) -> Iterator[Change | None]:
        for root in list(self._chroots.roots):
            try:
                vanished = not is_directory(self.sources.disk, root)
            except OSError:
                vanished = False
            if vanished:
                self._chroots.roots.remove(root)
                if self._watch is not None:
                    self._watch.remove_tree(root + CONFDIR)
                yield from self.sources.remove_session(root)
            yield None

    def apply(self, change: Change) -> None:
        """As said at `task.Work`."""
        if change.job_class is not None:
            self._engine.define(change.job_class)
            self.adoption.defined()
        else:
            self._engine.undefine(change.session, change.name)
