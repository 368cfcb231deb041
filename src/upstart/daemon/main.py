"""init(8): the first process of the system, or the init of a session.

What is always true here: as PID 1 this never returns and never raises.  All modules are loaded when it starts, so
that an upgrade may replace the files under a running init.
"""

from __future__ import annotations

import faulthandler
import os
import sys

from upstart.base import syscalls, xdg
from upstart.base.closing import close_given
from upstart.base.errors import UsageError
from upstart.base.inherited import restore_locale
from upstart.base.logger import KMSG, Logger
from upstart.base.priority import DEBUG, ERROR, INFO, WARN
from upstart.base.title import show_as
from upstart.daemon import boot, surroundings
from upstart.daemon import options as command_line
from upstart.daemon.chroots import CONFDIR
from upstart.daemon.daemon import Daemon, settle_memory
from upstart.daemon.faults import BEGUN_VARIABLE, FAULTS_VARIABLE, NO_MEMORY, complain, describe, last_resort
from upstart.daemon.listening import address_of, find, hand_over, open_descriptors
from upstart.daemon.system import TELINIT, runs_our_telinit
from upstart.engine.condition import leaves
from upstart.process.child import SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from upstart.daemon.options import Options
else:
    import _signal as signal

STARTUP = "startup"


def main(argv: list[str]) -> int:
    """Run init; the exit status of a session init that has ended, or of a command line that cannot be followed."""
    answer = command_line.trial_answer(argv, os.environ.pop(command_line.CHECK_VARIABLE, None))
    with_parts = os.environ.pop(command_line.PARTS_VARIABLE, None) is not None
    if answer >= 0:
        from upstart.daemon import restart

        def trial() -> tuple[Daemon, list[str]]:
            daemon = rehearse(argv)
            return daemon, daemon.document.names if with_parts else []

        restart.check(answer, trial)
    # Without a path, the way the kernel tells it: the shebang's interpreter got the path of the script.
    argv = [os.path.abspath(argv[0]), *argv[1:]]
    if os.getpid() != 1 and "--restart" not in argv:
        return start(argv, forgiving=False)
    # The first process of all may not end, and one that has begun anew has jobs that run.
    reason = "the main loop ended"
    try:
        status = start(argv, forgiving=os.getpid() == 1)
        if os.getpid() != 1:
            return status
    except SystemExit:
        if os.getpid() != 1:
            raise
    except MemoryError:
        reason = NO_MEMORY
    except BaseException as error:
        reason = type(error).__name__
        try:
            reason = describe(error)
        except MemoryError:
            pass
    last_resort(argv, reason)
    return 1


def start(argv: list[str], forgiving: bool) -> int:
    """Read the command line, and be the init that it asks for."""
    try:
        options = command_line.parse(argv, os.environ, forgiving)
    except UsageError as error:
        complain(str(error))
        return 1
    if options.show and not forgiving:
        os.write(
            1,
            (
                command_line.help_text(options.program)
                if options.show == "help"
                else command_line.version_text(options)
            ).encode(),
        )
        return 0
    listening = close_inherited(options) if options.restart and options.state_fd < 0 else -1
    if options.system:
        if os.getuid():
            complain(f"{options.program}: Need to be root")
            return 1
        if os.getpid() > 1:
            return become_telinit(argv, options)
        problems = prepare_system(options)
        # Whoever runs us as a container may want us to end before we can hear of it.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
        # Our path alone, as of the original.
        show_as(argv[0])
    else:
        problems = []
        boot.fill_descriptors()
    restore_locale()
    if options.restart:
        # All else is as the program before us had it, and what has come meanwhile waits for our handlers.
        syscalls.reset_reserved_signals()
    else:
        reset_signals()
    daemon = make_daemon(options, argv)
    daemon.listening.restore(listening)
    for text in [*options.problems, *problems]:
        daemon.log(ERROR, text)
    begin(daemon)
    os.environ[BEGUN_VARIABLE] = "1"
    if not daemon.restarted:
        daemon.turn.settle_first()
    open_to_clients(daemon)
    settle_memory()
    if daemon.engine.jobs:
        daemon.performer.guard(now=True)
    daemon.loop.run()
    daemon.close()
    return 0


def become_telinit(argv: list[str], options: Options) -> int:
    """Run beside another init, ``init N`` is telinit: the one beside this program, or the system's.

    Its messages name the program that was called.
    """
    from upstart.sysv import machine

    for path in (os.path.join(os.path.dirname(os.path.realpath(argv[0])), "telinit"), TELINIT):
        try:
            if not runs_our_telinit(path):
                machine.execute(path, argv)
        except OSError:
            continue
        # Not executed: the kernel would give the script its own path in place of that name.
        from upstart.sysv import telinit

        return telinit.main(argv)
    complain(f"{options.program}: Not being executed as init")
    return 1


def prepare_system(options: Options) -> list[str]:
    """Make the machine fit to be an init's; gives what went wrong, for there is no log yet."""
    problems: list[str] = []
    try:
        os.setsid()
    except PermissionError:
        pass  # a session leader already
    os.umask(0)
    contained = options.restart or bool(surroundings.container_type(os.environ))
    boot.prepare_devices(problems.append, contained)
    boot.set_up_console(not options.restart, problems.append)
    os.environ["PATH"] = boot.PATH
    try:
        os.chdir("/")
    except OSError as error:
        problems.append(f"Unable to set root directory: {error.strerror}")
    boot.prepare_kernel_filesystems(problems.append)
    boot.prepare_run()
    if not contained:
        boot.prepare_static_devices()
    try:
        # Where an error inside the interpreter itself leaves its trace; the kernel then panics, as it must.
        faulthandler.enable(os.open(KMSG, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
        boot.enlarge_signal_stack()
    except OSError:
        pass
    return problems


def reset_signals() -> None:
    """Have every signal do what it does by default, whoever started us; our handlers come later.

    A full pipe's other end may go, and a file grow beyond a limit, without ending us.
    """
    for number in SIGNALS:
        if number not in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
    syscalls.reset_reserved_signals()


def own_environment() -> dict[str, str]:
    """Our environment without what we tell ourselves in it."""
    return {key: value for key, value in os.environ.items() if key not in (BEGUN_VARIABLE, FAULTS_VARIABLE)}


def rehearse(argv: list[str]) -> Daemon:
    """In a child of the init that wants to re-execute itself: build from its state what `start` would, with its
    descriptors, and have that do nothing but read; any exception says that it cannot be done."""
    from upstart.daemon import statefile

    init = os.getppid()
    try:
        boot.set_up_descriptors(boot.NULL, False)
    except OSError:
        pass
    options = command_line.parse(argv, os.environ, forgiving=init == 1)
    saved = statefile.parse(statefile.read(options.state_fd))
    daemon = Daemon(options, argv, own_environment(), saved, init)
    daemon.catch_signals()
    daemon.configuration.load(daemon.restarted)
    daemon.configuration.passes.rehearse()
    return daemon


def make_daemon(options: Options, argv: list[str]) -> Daemon:
    """The daemon, with the state of the program before us if there is one that can be read."""
    environ = own_environment()
    if not options.restart or options.state_fd < 0:
        daemon = Daemon(options, argv, environ)
        if options.restart:
            daemon.log(WARN, "Stateful re-exec supported but stateless re-exec requested")
        return daemon
    from upstart.daemon import statefile

    text = ""
    try:
        text = statefile.read(options.state_fd)
        saved = statefile.parse(text)
        daemon = Daemon(options, argv, environ, saved)
        daemon.log(INFO, "Stateful re-exec completed")
        if options.write_state_file:
            statefile.keep_copy(daemon.logdir, text)
        return daemon
    except MemoryError:
        raise
    except Exception as error:
        reason = describe(error)
    logger = Logger(options.program)
    logger.to_kernel = options.system
    logger.write(ERROR, f"Failed to read serialisation data - reverting to stateless re-exec: {reason}")
    statefile.keep_copy(options.logdir or xdg.log_dir(environ, make=False), text)
    # Not from here: half of a daemon may be there, and descriptors that nobody knows any more.
    hand_over()
    os.execv(argv[0], command_line.arguments(argv, -1, options.priority))


def close_inherited(options: Options) -> int:
    """Without a state nobody knows what the program before us left open: give the socket that listens, close the rest.

    -1 without such a socket.
    """
    listening = find(address_of(options))
    for fd in open_descriptors():
        if fd == listening:
            os.set_inheritable(fd, False)
            continue
        close_given(fd)
    return listening


def first_event(daemon: Daemon) -> str:
    """The event that is emitted first: recovery only where some job knows what to do then."""
    event = daemon.options.startup_event or STARTUP
    if event != command_line.RECOVERY or any(
        match.name == event
        for job in daemon.engine.jobs.values()
        if job.job_class.start_on is not None
        for match in leaves(job.job_class.start_on)
    ):
        return event
    daemon.log(WARN, f"No job starts on {event}: going on with {STARTUP}")
    return STARTUP


def begin(daemon: Daemon) -> None:
    """Everything up to the first event, in the original's order."""
    options = daemon.options
    if daemon.restarted:
        daemon.make_recorder().go_on()
    elif options.record and not options.restart:
        daemon.record(os.path.abspath(options.record))
    daemon.catch_signals()
    if options.system:
        daemon.system.begin()
    daemon.configuration.load(daemon.restarted)
    daemon.note_beginning()
    if options.restart and not daemon.restarted:
        daemon.configuration.adoption.begin(daemon.listening.address if options.user else None)
    daemon.listening.open()
    if options.system:
        try:
            boot.set_up_descriptors(boot.NULL, False)
        except OSError as error:
            daemon.log(ERROR, f"Unable to setup standard file descriptors: {error.strerror}")
        daemon.logger.to_standard = False
    if not options.restart:
        if options.system:
            daemon.performer.begin_boot(daemon.argv[0])
        if options.startup:
            event = options.startup_event = first_event(daemon)
            if options.system:
                daemon.reporter.begin()
            if options.system and options.confdirs == [CONFDIR]:
                daemon.boot.begin(event)
            else:
                daemon.engine.emit(event, {})
                daemon.announce_surroundings()
        else:
            daemon.log(DEBUG, "Startup event disabled")
    if not daemon.restarted:
        if options.startup_event == command_line.RECOVERY and not options.restart:
            # Devices, sockets and the network are for the boot that may follow.
            daemon.engine.tell_awaited_after(STARTUP)
        else:
            daemon.engine.tell_awaited()
    if options.chroot_sessions:
        daemon.log(DEBUG, "Chroot Sessions enabled")
    if os.getpid() > 1:
        try:
            syscalls.become_subreaper()
        except OSError as error:
            daemon.log(WARN, f"Unable to register as subreaper: {error.strerror}")
            daemon.engine.emit("child-subreaper-failed", {})
    daemon.catch_term()
    if options.system:
        # Nothing that starts as the first needs them, and the kernel takes a moment.
        daemon.loop.call_soon(daemon.performer.offer_controllers)
    # Children that ended while nobody listened, in the program before us.
    daemon.loop.call_soon(daemon.performer.children.reap)


def open_to_clients(daemon: Daemon) -> None:
    """Serve those who speak to us: some may be waiting already, being jobs that the first event has started."""
    options = daemon.options
    if not daemon.restarted:
        daemon.load_rest()
    daemon.endpoints.serve()
    bus = "session" if options.session_bus else "system"
    if not options.dbus:
        daemon.log(INFO, f"Not connecting to {bus} bus")
    elif daemon.endpoints.bus is None and (not options.user or daemon.endpoints.bus_is_named()):
        # It is not expected to be there yet: whoever starts it sends SIGUSR1, or tells a session its address.
        daemon.endpoints.connect_bus(None, lambda error: None)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
