"""Real servers, in the foreground and as daemons, bare and in wrappers, with each of expect none, fork and daemon.

Right is the pid of the process that serves in the end, which is looked for without asking init: the oldest that runs
the server's program and has no parent that does.  With ``expect none`` right is the process that was spawned.  Where
that has workers, each is killed, and its number given to a process that has nothing to do with the job: the main
process must stay what it was, if it lives on, and that process must live.  Then a stop must come to an end.

`make check-daemons` runs it, as root, in namespaces and an overlay of this machine's root, in which apt installs the
servers: nothing of it is left.  With ``--write`` the result goes into docs/daemons.md; names of servers or wrappers try
only these.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSIDE = "UPSTART_CHECK_DAEMONS"
PACKAGES = [
    "nginx-light", "lighttpd", "redis-server", "memcached", "openssh-server", "dnsmasq-base", "rsyslog", "cron", "dbus",
    "gunicorn", "php-fpm", "haproxy", "sudo",
]  # fmt: skip
EXPECT = ("none", "fork", "daemon")
HEADING = "| what | none | fork | daemon |\n"

#: Name: (program, how it stays in the foreground, how it becomes a daemon).
SERVERS = {
    "nginx": ("nginx", "nginx -g 'daemon off;'", "nginx"),
    "lighttpd": ("lighttpd", "lighttpd -D -f /srv/lighttpd.conf", "lighttpd -f /srv/lighttpd.conf"),
    "redis": ("redis", "redis-server --port 6379", "redis-server --port 6379 --daemonize yes"),
    "memcached": ("memcached", "memcached -u root", "memcached -d -u root"),
    "sshd": ("sshd", "/usr/sbin/sshd -D", "/usr/sbin/sshd"),
    "dnsmasq": ("dnsmasq", "dnsmasq -k -p 5353 -u root", "dnsmasq -p 5353 -u root"),
    "rsyslogd": ("rsyslogd", "rsyslogd -n", "rsyslogd"),
    "cron": ("cron", "cron -f", "cron"),
    "dbus-daemon": ("dbus-daemon", "dbus-daemon --session --nofork", "dbus-daemon --session --fork"),
    "gunicorn": ("gunicorn", "gunicorn --chdir /srv app:app", "gunicorn -D --chdir /srv app:app"),
    "php-fpm": ("php-fpm", "/srv/php-fpm -F", "/srv/php-fpm -D"),
    "haproxy": ("haproxy", "haproxy -W -db -f /srv/haproxy.cfg", "haproxy -D -f /srv/haproxy.cfg"),
}
WRAPPERS = {
    "su": "su -s /bin/sh -c '{}' root",
    "setsid": "setsid -w {}",
    "sh": "sh -c '{}'",
    "sudo": "sudo -n {}",
    "runuser": "runuser -u root -- {}",
    "timeout": "timeout 600 {}",
    "nice": "nice -n 1 {}",
    "env": "env A=B {}",
    "nohup": "nohup {}",
    "start-stop-daemon": "start-stop-daemon --start --pidfile /nonexistent --exec {}",
}
#: What is wrapped.
WRAPPED = "/usr/bin/memcached -u root"


#: Arguments: a directory, and the program to run in the overlay, first to prepare it, then with a network apart.
OVERLAY = """
d=$1; shift; top=$d/top; root=$top/root
mount -t tmpfs none $top; mkdir $top/upper $top/work $root
mount -t overlay -o lowerdir=/,upperdir=$top/upper,workdir=$top/work none $root
mount -t proc none $root/proc
mount --rbind /sys $root/sys
mount -t tmpfs none $root/run
mount -t tmpfs none $root/dev
mkdir $root/dev/pts $root/dev/shm
for node in null zero full random urandom tty; do : >$root/dev/$node; mount --bind /dev/$node $root/dev/$node; done
mount -t devpts -o newinstance,ptmxmode=0666 none $root/dev/pts
ln -s pts/ptmx $root/dev/ptmx; ln -s /proc/self/fd $root/dev/fd
mkdir -p $root$d; mount --bind $d $root$d
if ! [ -d $root$ROOT/src ]; then mkdir -p $root$ROOT; mount --bind $ROOT $root$ROOT; fi
STEP=prepare chroot $root "$@"
exec unshare --net chroot $root "$@"
"""


def prepare() -> None:
    """Install the servers in the overlay, and give them the least configuration."""
    Path("/usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    os.chmod("/usr/sbin/policy-rc.d", 0o755)
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-qq", "-y", "--no-install-recommends", "install", *PACKAGES]
    subprocess.run(install, check=True, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    srv = Path("/srv")
    (srv / "lighttpd.conf").write_text('server.document-root = "/srv"\nserver.port = 8081\n')
    (srv / "app.py").write_text("def app(environ, start):\n    start('200 OK', [])\n    return [b'']\n")
    (srv / "haproxy.cfg").write_text(
        "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
        "frontend web\n bind 127.0.0.1:8082\n"
    )
    fpm = next(Path("/usr/sbin").glob("php-fpm[0-9]*"))
    (srv / "php-fpm").symlink_to(fpm)
    for directory in ("sshd", "php", "lighttpd", "haproxy", "redis"):
        os.makedirs(f"/run/{directory}", exist_ok=True)
    subprocess.run(["ssh-keygen", "-A"], check=True, stdout=subprocess.DEVNULL)


def servers_of(program: str, outside: set[int]) -> list[int]:
    """The processes that run ``program`` and were not there before, oldest first, without the children of others."""
    found: dict[int, tuple[int, int]] = {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        try:
            text = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            runs = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
            line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        script = os.path.basename(os.fsdecode(line[1])) if runs.startswith("python") and len(line) > 2 else ""
        title = os.fsdecode(line[0]) if runs.startswith("python") else ""
        known = runs.startswith(program) or script == program or title.startswith(f"{program}:")
        if known and pid not in outside and text[0] != "Z":
            found[pid] = (int(text[19]), int(text[1]))
    return sorted((pid for pid in found if found[pid][1] not in found), key=found.__getitem__)


def children_of(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def stranger(pid: int) -> subprocess.Popen[bytes] | None:
    """A process that has nothing to do with any job and is called ``pid``; None where that is taken."""
    for _ in range(20):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        process = subprocess.Popen(["sleep", "1000"])
        if process.pid == pid:
            return process
        process.kill()
        process.wait()
    return None


class Trial:
    """One job under an init of its own."""

    def __init__(self, expect: str, line: str, program: str) -> None:
        self.expect = expect
        self.line = line
        self.program = program
        self.strangers: list[subprocess.Popen[bytes]] = []

    def replace_workers(self, main: int) -> int:
        """Kill all workers of ``main`` and use their numbers again; how many there were."""
        workers = children_of(main)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        if workers:
            time.sleep(1.5)
        self.strangers = [each for each in map(stranger, workers) if each is not None]
        return len(workers)

    def run(self) -> str:
        """``right``, with the seconds until the job was running if these were many, or what was wrong."""
        from daemon_init import Client, DBusError, SessionInit  # found once `inside` has said where

        before = set(servers_of(self.program, set()))
        with tempfile.TemporaryDirectory() as directory:
            text = f"expect {self.expect}\nexec {self.line}\n"
            init = SessionInit(Path(directory), {"web": text}, "--verbose")
            try:
                client: Client = init.client()
                client.socket.settimeout(30)
                began = time.monotonic()
                try:
                    client.start("web")
                except DBusError as error:
                    return f"{error.text}"
                took = time.monotonic() - began
                time.sleep(2.5)
                right = servers_of(self.program, before)
                main = client.status("web")[1].get("main", 0)
                spawned = next(word for word in init.text().splitlines() if "web main process (" in word)
                if self.expect == "none":
                    right = [int(spawned.partition("(")[2].partition(")")[0])]
                wrong = "" if main in right[:1] else f"{main} instead of {right}"
                workers = 0 if wrong else self.replace_workers(main)
                after = client.status("web")[1].get("main", 0)
                if not wrong and after != (main if lives(main) else 0):
                    wrong = f"{after} instead of {main} once its workers were replaced"
                if client.status("web")[0] != "stop/waiting":
                    client.stop("web")
                if any(each.poll() is not None for each in self.strangers):
                    wrong = wrong or "a process that had got a worker's number was ended"
                right_one = "right" + (f", {len(self.strangers)} of {workers} workers killed" if workers else "")
                return wrong or (right_one if took < 3 else f"{right_one}, after {took:.0f} s")
            except (TimeoutError, AssertionError, OSError) as error:
                return f"{type(error).__name__} {error}"
            finally:
                init.close()
                for each in self.strangers:
                    each.kill()
                    each.wait()
                for pid in servers_of(self.program, before):
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.2)


def trials(names: list[str]) -> list[tuple[str, str, Trial]]:
    """What is tried: (what, expect, how)."""
    found = []
    for expect in EXPECT:
        for name, (program, foreground, daemon) in SERVERS.items():
            if not names or name in names:
                found.append((f"{name}, in the foreground", expect, Trial(expect, foreground, program)))
                if expect != "none":
                    found.append((f"{name}, a daemon", expect, Trial(expect, daemon, program)))
        for name, wrapper in WRAPPERS.items():
            if not names or name in names:
                # What start-stop-daemon is told to start is a program, and its arguments.
                line = WRAPPED.replace(" ", " -- ", 1) if name == "start-stop-daemon" else WRAPPED
                found.append((f"{name}: memcached", expect, Trial(expect, wrapper.format(line), "memcached")))
    return found


def inside(names: list[str], report: Path) -> int:
    """In the overlay: try all."""
    if os.environ.get("STEP"):
        prepare()
        return 0
    sys.path[:0] = [str(ROOT / "tests" / "integration"), str(ROOT / "src")]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    rows: dict[str, dict[str, str]] = {}
    bad = 0
    for what, expect, trial in trials(names):
        result = trial.run()
        bad += not result.startswith("right")
        rows.setdefault(what, {})[expect] = result
        print(f"{what}, expect {expect}: {result}", flush=True)
    total = sum(map(len, rows.values()))
    print(f"{total} pairs, {bad} wrong")
    lines = [f"| {what} | {' | '.join(row.get(expect, '-') for expect in EXPECT)} |\n" for what, row in rows.items()]
    report.write_text("".join(lines) + f"\n{total} pairs, {bad} wrong.\n")
    return bool(bad)


def main() -> int:
    """Make the overlay and go on inside."""
    names = [word for word in sys.argv[1:] if word != "--write"]
    if INSIDE in os.environ:
        return inside(names, Path(os.environ[INSIDE]))
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report"
        report.touch()
        (Path(directory) / "top").mkdir()
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "sh", "-ec", OVERLAY, "sh"]
        program = [sys.executable, str(Path(__file__).resolve()), *names]
        environ = {**os.environ, INSIDE: str(report), "ROOT": str(ROOT)}
        status = subprocess.run([*command, directory, *program], env=environ, check=False).returncode
        if "--write" in sys.argv and report.read_text():
            page = ROOT / "docs" / "daemons.md"
            head = page.read_text().partition(HEADING)[0] + HEADING
            page.write_text(head + "|---|---|---|---|\n" + report.read_text())
    return status


if __name__ == "__main__":
    sys.exit(main())
