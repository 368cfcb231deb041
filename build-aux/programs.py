#!/usr/bin/python3
"""The table of programs, and the tiny scripts that start them.

A program is a module of the package with `main(argv) -> int`. Whatever needs to know which programs there are (the
build directory, the Debian packages, the tests) asks this file. A script starts the interpreter isolated (-I) and
without site (-S), which saves half of the start-up time, so it names the places of our modules and of Debian's itself.

    programs.py checkout DIR                 scripts in DIR that run the modules of this checkout
    programs.py install ROOT PACKAGE SBIN    the scripts of one Debian package below ROOT, and what zsh and fish
                                             offer for them; SBIN is where the distribution keeps its init (/sbin
                                             or /usr/sbin)
    programs.py list                         one line a program: name, package, module
"""

from __future__ import annotations

import os
import sys

DIST_PACKAGES = "/usr/lib/python3/dist-packages"

# name -> (Debian package, directory ("sbin" is the distribution's place of init), module)
PROGRAMS: dict[str, tuple[str, str, str]] = {
    "init": ("upstart-sysv", "sbin", "upstart.daemon.main"),
    "upstart": ("upstart-core", "sbin", "upstart.daemon.main"),
    "initctl": ("upstart-core", "sbin", "upstart.initctl.main"),
    "telinit": ("upstart-sysv", "sbin", "upstart.sysv.telinit"),
    "runlevel": ("upstart-sysv", "sbin", "upstart.sysv.runlevel"),
    "shutdown": ("upstart-sysv", "sbin", "upstart.sysv.shutdown"),
    "halt": ("upstart-sysv", "sbin", "upstart.sysv.reboot"),
    "reboot": ("upstart-sysv", "sbin", "upstart.sysv.reboot"),
    "poweroff": ("upstart-sysv", "sbin", "upstart.sysv.reboot"),
    "upstart-bridges": ("upstart-core", "sbin", "upstart.bridges.main"),
    # The jobs' own.
    "umountall": ("upstart-sysv", "/usr/libexec/upstart", "upstart.sysv.umountall"),
    "rcS": ("upstart-sysv", "/usr/libexec/upstart", "upstart.sysv.rcs"),
    "rc": ("upstart-sysv", "/usr/libexec/upstart", "upstart.sysv.rc"),
    "mountall": ("upstart-sysv", "sbin", "upstart.mounts.main"),
    "init-checkconf": ("upstart-core", "/usr/bin", "upstart.tools.checkconf"),
    "initctl2dot": ("upstart-core", "/usr/bin", "upstart.tools.initctl2dot"),
    "init-simulate": ("upstart-core", "/usr/bin", "upstart.tools.simulate"),
    "init-replay": ("upstart-core", "/usr/bin", "upstart.tools.replay"),
    "upstart-monitor": ("upstart-monitor", "/usr/bin", "upstart.monitor.main"),
    "init-checkunits": ("upstart-core", "/usr/bin", "upstart.tools.checkunits"),
}

# name -> the program beside it that it is a link to, and which goes by the name that it is called by. Who puts another
# program in the place of initctl, as the makers of container images do, has replaced these too.
LINKS: dict[str, str] = dict.fromkeys(("start", "stop", "restart", "reload", "status"), "initctl") | {
    f"upstart-{name}-bridge": "upstart-bridges"
    for name in ("dbus", "dconf", "event", "file", "local", "mount", "socket", "udev")
}

#: Commands that are no modules, and their Debian packages.
SCRIPTS = {"upstart-way-back": "upstart-sysv"}

#: The second try reads no compiled modules: what compiles them does not notice a full disk, which cuts them short.
SCRIPT = """\
#!/usr/bin/python3 -IS
{first}
sys.path += {paths!r}
sys.dont_write_bytecode = {installed!r}
{bundle}try:
    from {module} import main
except Exception:
    sys.pycache_prefix = "/dev/null"
{second_try}
{end}
"""
#: Of what a boot waits for, the modules stand in one file besides, if it could be made (upstart/base/bundle.py).
BUNDLE = """\
try:
    from upstart.base.bundle import path_of, use
    use(path_of({module!r}))
except Exception:
    pass
"""
BUNDLED = ("upstart.daemon.main",)
SECOND_TRY = """\
    from {module} import main
"""
#: The daemon's: nothing that is loaded is ever let go of, and `settle_memory` ends this.
DAEMON_FIRST = """\
import _signal
import gc
import os
import sys
import time

gc.disable()
# Whoever has jobs tries again; not who only tries the program for them.  Later there may be no memory to ask that.
gives_up = os.getpid() != 1 and ("--restart" not in sys.argv or "UPSTART_RESTART_CHECK" in os.environ)
"""
FIRST = """\
import sys
"""
#: What is loaded only when it is needed may be cut short as well, and then nothing has been done yet.
RUN = """\
try:
    status = main(sys.argv)
except EOFError:
    sys.pycache_prefix = "/dev/null"
    status = main(sys.argv)
"""
END = RUN + "sys.exit(status)"
#: For what writes at once, without Python's buffers: to take the interpreter apart would be a fifth of a short run, and
#: what so short a run leaves as garbage is not worth looking for.
QUICK_FIRST = """\
import gc
import posix
import sys

gc.disable()
"""
QUICK_END = RUN + "posix._exit(status)"
QUICK_ROOMS = ("upstart.initctl.", "upstart.sysv.", "upstart.mounts.")
#: The daemon's, which may be PID 1: half an upgrade or a damaged disk, at which the kernel would panic, root can mend.
DAEMON_SECOND_TRY = """\
    try:
        from {module} import main
    except Exception as error:
        if gives_up:
            raise
        while True:
            try:
                time.sleep(1)
                os.write(2, f"init: Unable to start: {{error}}\\n".encode())
            except Exception:
                # There is no memory for that now, or nothing to write it to.
                pass
            try:
                # As they were before Python changed them (upstart/base/inherited.py).
                os.environ.pop("LC_CTYPE", None)
                for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
                    _signal.signal(number, _signal.SIG_DFL)
                if os.getpid() == 1 and os.spawnv(os.P_WAIT, "/sbin/sulogin", ["sulogin"]) == 127:
                    os.execv("/bin/sh", ["sh"])
                os.execv(sys.argv[0], sys.argv)
            except Exception:
                pass
"""
DAEMON = "upstart.daemon.main"


def write_script(path: str, module: str, paths: list[str], installed: bool) -> None:
    """Writes one executable script; an unchanged one keeps its time stamp. An `installed` one does not compile,
    and has a bundle."""
    first, second_try, end = FIRST, SECOND_TRY, END
    if module == DAEMON:
        first, second_try, end = DAEMON_FIRST, DAEMON_SECOND_TRY, "sys.exit(main(sys.argv))"
    elif module.startswith(QUICK_ROOMS):
        first, end = QUICK_FIRST, QUICK_END
    second_try = second_try.format(module=module)
    bundle = BUNDLE.format(module=module) if installed and module in BUNDLED else ""
    text = SCRIPT.format(
        first=first,
        paths=paths,
        module=module,
        installed=installed,
        bundle=bundle,
        second_try=second_try,
        end=end,
    )
    try:
        with open(path) as existing:
            if existing.read() == text:
                return
    except FileNotFoundError:
        pass
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as script:
        script.write(text)
    os.chmod(path, 0o755)


def write_links(path: str) -> None:
    """Makes the links to the program `path`, which stand beside it; what is in their place is replaced."""
    directory, program = os.path.split(path)
    for name, target in LINKS.items():
        link = os.path.join(directory, name)
        if target != program or (os.path.islink(link) and os.readlink(link) == target):
            continue
        made = f"{link}.{os.getpid()}"
        os.symlink(target, made)
        os.rename(made, link)


def checkout(directory: str) -> None:
    """Scripts for the tests and for trying things out: every program in one directory, and nothing else; modules
    from the checkout."""
    source = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "src")
    for name, (_, _, module) in PROGRAMS.items():
        path = os.path.join(directory, name)
        write_script(path, module, [source, DIST_PACKAGES], False)
        write_links(path)
    for name in set(os.listdir(directory)) - {*PROGRAMS, *LINKS}:
        # One of an earlier version, or what a run of this that was cut off has left.
        os.unlink(os.path.join(directory, name))


def install(root: str, package: str, sbin: str) -> None:
    """Scripts of one Debian package below `root`, each in its final directory, the links to them, and what zsh and fish
    offer for them."""
    for name, (owner, place, module) in PROGRAMS.items():
        if owner == package:
            path = f"{root}{sbin if place == 'sbin' else place}/{name}"
            write_script(path, module, [DIST_PACKAGES], True)
            write_links(path)
    completions(root, package)


def commands(package: str) -> list[str]:
    """The commands of one Debian package that somebody may type: those in a directory of PATH."""
    found = [name for name, owner in SCRIPTS.items() if owner == package]
    for name in (*PROGRAMS, *LINKS):
        owner, place, _ = PROGRAMS[LINKS.get(name, name)]
        if owner == package and (place == "sbin" or place.endswith("/bin")):
            found.append(name)
    return sorted(found)


def completions(root: str, package: str) -> None:
    """What zsh and fish offer, as they want to find it: one file for all commands, and a file for each."""
    source = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "etc")
    with open(f"{source}/zsh/complete") as file:
        zsh = file.read()
    with open(f"{source}/fish/complete.fish") as file:
        fish = file.read()
    names = commands(package)
    texts = {f"zsh/vendor-completions/_{package.replace('-', '_')}": f"#compdef {' '.join(names)}\n{zsh}"}
    texts |= {f"fish/vendor_completions.d/{name}.fish": fish for name in names}
    for path, text in texts.items() if names else ():
        path = f"{root}/usr/share/{path}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as written:
            written.write(text)
        os.chmod(path, 0o644)


def main(argv: list[str]) -> int:
    if argv[1:2] == ["checkout"] and len(argv) == 3:
        checkout(argv[2])
    elif argv[1:2] == ["install"] and len(argv) == 5:
        install(argv[2], argv[3], argv[4])
    elif argv[1:] == ["list"]:
        for name in (*PROGRAMS, *LINKS):
            package, _, module = PROGRAMS[LINKS.get(name, name)]
            print(name, package, module)
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
