"""The examples of the manual and of README.md, and the terminals in which they are tried.

Each example of a page stands between `.EX` and `.EE`, and the comment right before it says of which kind it is; there
are no others than `KINDS`. Each kind is tried by a test that collects all its examples by itself, so that a new one
needs no test of its own, and an example without a kind is an error.

In a transcript a line that begins with `# ` is a command, and the lines below it are all that it prints. What it prints
must be the same but for process numbers, of which each stands for one process throughout the page.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
MAN = ROOT / "man"

KINDS = {
    "job": "a job file, an override, or stanzas of one",
    "run": "a transcript, as in a session",
    "boot": "a transcript, as root on a machine that has booted",
    "off": "the same; its last command ends the machine",
    "log": "what init logs",
    "console": "what init shows on the console of jobs",
    "inittab": "lines of inittab(5)",
    "back": "what upstart-way-back says of a machine without a session manager",
    "units": "what init-checkunits says of a system with the units that it names",
    "python": "a program in Python that takes the first socket of a job",
    "shell": "the characters for which a command is given to the shell",
}

#: Pages of other packages that our pages and documents refer to; a name that is neither here nor in man/ is a slip.
FOREIGN = {
    "apparmor(7)", "apt-get(8)", "at(1)", "bootparam(7)", "cgroups(7)", "chroot(2)", "cron(8)", "dbus-daemon(1)",
    "dh_installupstart(1)", "dmesg(1)", "epoll(7)", "fnmatch(3)", "fstab(5)", "getty(8)", "ifdown(8)", "ifup(8)",
    "insserv(8)", "interfaces(5)", "inotify(7)", "keymaps(5)", "login(1)", "logrotate(8)", "mount(8)", "nice(1)",
    "ps(1)", "reboot(2)", "recovery-menu(8)", "sensible-editor(1)",
    "service(8)", "setrlimit(2)", "setsid(2)", "sh(1)", "sshd(8)",
    "startpar(1)", "su(1)", "update-rc.d(8)",
    "sudo(8)", "sulogin(8)", "swapon(8)", "sysctl(8)", "syslog(3)", "systemctl(1)", "udev(7)", "umask(2)",
    "upstart-service(8)", "wall(1)", "who(1)",
    "getsockname(2)", "inetd(8)", "nginx(8)", "sd_listen_fds(3)", "unix(7)",
}  # fmt: skip

#: What each escape of the pages stands for.
ESCAPES = {
    r"\-": "-", r"\e": "\\", r"\(aq": "'", r"\(ga": "`", r"\(ha": "^", r"\(ti": "~", r"\(co": "©", r"\&": "", r"\%": "",
    r"\:": "", r"\~": " ", r"\(bu": "•", r"\fB": "", r"\fI": "", r"\fP": "", r"\fR": "", r"\^": "",
}  # fmt: skip

#: Seconds until a question must have the answer of the page, and commands that are questions: they have no effect, or
#: none before they have that answer.
PATIENCE = 20.0
QUESTIONS = re.compile(r"(cat|status|runlevel|initctl (list|status|show-config)|shutdown -c)\b")

#: The jobs that transcripts are about; those that a page shows with their path are taken from there.
JOBS = {
    "cups": "start on runlevel [2345]\nexec sleep 1000\n",
    "database": "exec sleep 1000\n",
    "feed": "expect fork\nexec sleep 1000\n",
    "getty": "instance $TTY\nexec sleep 1000\n",
    "import": "pre-start exec sleep 1000\nexec sleep 1000\n",
    "mail": "exec /usr/sbin/no-such-daemon\n",
    "network": "post-start exec sleep 1000\n",
    "proxy": 'description "a job\n             with an error"\nstart on started web\n\nexec sleep 1000\n\nrespwan\n',
    "queue": "exec sleep 1000\npost-start exec sleep 1000\n",
    "report": "start on started databse\nstop on network-lost\n",
    "web": "emits web-ready\nstart on started database or runlevel [2345]\nstop on runlevel [!2345]\nexec sleep 1000\n",
}


class Example(NamedTuple):
    """An example; `line` is that of its first line in the source of the page."""

    page: str
    line: int
    kind: str
    text: str


class Event(NamedTuple):
    """A row of upstart-events(7); a pattern stands for those with a part of their own.

    ``emitters`` are programs, by their pages (``ifup(8)``) or in words, and jobs, by their names.
    """

    title: str
    name: str
    has_page: bool
    emitters: list[str]
    kind: str
    text: str


def events() -> list[Event]:
    """All rows of the tables of upstart-events(7), with the headings that they stand below."""
    text = (MAN / "upstart-events.7").read_text()
    found = []
    for title, rest in re.findall(r"^\.SS (.*)\n(?s:(.*?))(?=^\.S[HS] )", text, re.M):
        table = rest.partition(".TS\n")[2].partition(".TE\n")[0]
        table = re.sub(r"T\{\n(?s:(.*?))\nT\}", lambda cell: cell[1].replace("\n", " "), table)
        for row in re.findall(r"^(.*@.*@.*@.*)$", table, re.M)[1:]:
            name, emitters, kind, told = row.split("@")
            # What is in italics in a name is a part of its own.
            name = plain(re.sub(r"\\fI\w+\\fP", "*", name))
            page = name.endswith("(7)")
            found.append(Event(title, name.removesuffix("(7)"), page, plain(emitters).split(", "), kind, plain(told)))
    return found


def pages() -> list[str]:
    """The names of all pages that are not mere links."""
    return sorted(path.name for path in MAN.iterdir() if not path.read_text().startswith(".so"))


def plain(text: str) -> str:
    """Text without the comments and escapes of troff."""
    text = re.sub(r"""^['.]\\".*\n""", "", text, flags=re.M)
    return re.sub(r"\\(?:\(..|f.|.)", lambda found: ESCAPES[found[0]], text)


def examples(page: str) -> list[Example]:
    """The examples of a page; the kind of one that has none is empty."""
    lines = (MAN / page).read_text().splitlines(keepends=True)
    found = []
    for number, line in enumerate(lines):
        if line == ".EX\n":
            mark = re.fullmatch(r'\.\\" (\w+)\n', lines[number - 1])
            end = lines.index(".EE\n", number)
            text = plain("".join(lines[number + 1 : end]))
            found.append(Example(page, number + 2, mark[1] if mark else "", text))
    return found


def of_kind(kind: str, page: str = "") -> list[Example]:
    """The examples of a kind, of one page or of all."""
    return [each for name in ([page] if page else pages()) for each in examples(name) if each.kind == kind]


def with_kind(kind: str) -> list[str]:
    """The pages that have examples of a kind."""
    return sorted({example.page for example in of_kind(kind)})


def job_path(text: str) -> str:
    """The path that the first line of a job file names in a comment, or an empty string."""
    found = re.match(r"# (/etc/init/\S+\.(?:conf|override))\n", text)
    return found[1] if found else ""


def jobs(texts: list[str]) -> dict[str, str]:
    """The files, by their paths, that transcripts are about: `JOBS`, and those of `texts` that name their path."""
    shown = {job_path(text): text for text in texts if job_path(text)}
    return {f"/etc/init/{name}.conf": text for name, text in JOBS.items()} | shown


def commands(transcript: str) -> list[tuple[str, str]]:
    """The commands of a transcript, each with what it prints."""
    return re.findall(r"^# (.*)\n((?:(?!# ).*\n)*)", transcript, re.M)


class Reader:
    """Somebody who types what a page shows, and compares. `type` runs a command and returns what it prints."""

    def __init__(self, type: Callable[[str], str]) -> None:
        self.type = type
        #: Process numbers of the page, and what they are here.
        self.pids: dict[str, str] = {}

    def follow(self, transcript: str) -> None:
        """Types every command; AssertionError if one prints anything else."""
        for command, expected in commands(transcript):
            # Whoever asks a question may do so until a process has said or done what it is about to.
            end = time.monotonic() + (PATIENCE if QUESTIONS.match(command) else 0)
            typed = re.sub(r"\b\d{3,}\b", lambda found: self.pids.get(found[0], found[0]), command)
            printed = self.type(typed)
            while not self.shows(expected, printed) and time.monotonic() < end:
                time.sleep(0.05)
                printed = self.type(typed)
            assert self.shows(expected, printed), (command, printed)

    def shows(self, expected: str, printed: str) -> bool:
        """Whether a command printed what the page says, at another time; process numbers may differ, but each stands
        for one process."""
        pattern = re.sub(r"process \d+", r"process (\\d+)", re.escape(expected).replace(r"\ ", " "))
        pattern = re.sub(r"\d\d:\d\d:\d\d", r"\\d\\d:\\d\\d:\\d\\d", pattern)
        pattern = re.sub(r"\\\(\d+ ms\\\)", r"\\(.*s\\)", pattern)
        match = re.fullmatch(pattern, printed)
        if match is None:
            return False
        for number, ours in zip(re.findall(r"process (\d+)", expected), match.groups(), strict=True):
            if self.pids.get(number, ours) != ours or ours in {self.pids[n] for n in self.pids if n != number}:
                return False
            self.pids[number] = ours
        return True
