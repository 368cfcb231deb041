"""What bash offers at the Tab key: every command and option there is, and jobs, events and variables that make sense.

An interactive bash on a terminal of its own is typed at, beside a session init with a few jobs.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from upstart.initctl.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
SBIN = ROOT / "build" / "sbin"
COMPLETION = ROOT / "etc/bash-completion/initctl"
TOOLS_COMPLETION = ROOT / "etc/bash-completion/init-checkconf"
MONITOR_COMPLETION = ROOT / "etc/bash-completion/upstart-monitor"
TOOLS = ["init-checkconf", "init-simulate", "init-replay", "initctl2dot"]
SHORT_FORMS = ["start", "stop", "restart", "reload", "status"]
JOBS = {
    "alpha": "start on go-ahead\nexec sleep 1000\n",
    "beta": "emits beta-ready\nexec sleep 1000\n",
    "gamma": "exec sleep 1000\n",
    "line": "instance $TTY\nexec sleep 1000\n",
}
PATIENCE = 20.0


class Terminal:
    """A session init with jobs, of which `beta` and an instance of `line` run, and an interactive bash."""

    def __init__(self, directory: Path) -> None:
        (directory / "conf").mkdir()
        for name, text in JOBS.items():
            (directory / "conf" / f"{name}.conf").write_text(text)
        environment = {
            "PATH": f"{SBIN}:{os.defpath}", "HOME": str(directory), "XDG_RUNTIME_DIR": str(directory), "TERM": "dumb",
        }  # fmt: skip
        options = ["--user", "--no-dbus", "--confdir", str(directory / "conf"), "--logdir", str(directory)]
        self.init = subprocess.Popen([SBIN / "upstart", *options], env=environment, stderr=subprocess.DEVNULL)
        file = directory / "upstart" / "sessions" / f"{self.init.pid}.session"
        end = time.monotonic() + PATIENCE
        while not (file.exists() and file.read_text().endswith("\n")):
            assert time.monotonic() < end
            time.sleep(0.02)
        environment["UPSTART_SESSION"] = file.read_text().strip().partition("=")[2]
        for words in (["start", "beta"], ["start", "line", "TTY=tty1"], ["initctl", "set-env", "-g", "COLOUR=red"]):
            subprocess.run([SBIN / words[0], *words[1:]], env=environment, check=True, stdout=subprocess.DEVNULL)
        rc = directory / "bashrc"
        rc.write_text(
            f"PS1='READY '\nPROMPT_COMMAND=\n. {COMPLETION}\n. {TOOLS_COMPLETION}\n. {MONITOR_COMPLETION}\n"
            f"cd {directory}\n"
            "bind 'set completion-query-items 0' 'set page-completions off' 'set bell-style none'\n"
            "bind 'set enable-bracketed-paste off' 'set show-all-if-ambiguous on'\nstty columns 1000 -echoctl\n"
        )
        self.shell, self.terminal = pty.fork()
        if self.shell == 0:
            # A bash that was given it ignored never ends by it.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.execvpe("bash", ["bash", "--noprofile", "--rcfile", str(rc), "-i"], environment)
        self.until(r"READY $")

    def until(self, pattern: str) -> str:
        """What the terminal shows, once it fits the pattern."""
        shown = ""
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, shown):
            ready = select.select([self.terminal], [], [], max(0.0, end - time.monotonic()))[0]
            assert ready, shown
            shown += os.read(self.terminal, 4096).decode().replace("\r", "").replace("\a", "")
        return shown

    def offers(self, line: str) -> list[str]:
        """What Tab offers behind a line: the word it completes, or the choices it lists."""
        # To the end of the line, a mark, away with all of it, and a command whose output says that it is done.
        os.write(self.terminal, f"{line}\t\x05#END\x15echo DO''NE\n".encode())
        shown, _, _ = self.until(r"DONE\nREADY $").partition("#END")
        typed, listed, rest = shown.partition("\n")
        if listed:
            return rest.rpartition("READY ")[0].split()
        assert typed.startswith(line)
        word = typed[len(line.rpartition(" ")[0]) :].strip()
        return [word] if word != line.rpartition(" ")[2] else []

    def close(self) -> None:
        # It reads no more, whatever it is at: a signal alone may come when it does not look.
        os.close(self.terminal)
        os.waitpid(self.shell, 0)
        self.init.terminate()
        self.init.wait(30)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path_factory.mktemp("completion"))
    yield terminal
    terminal.close()


def test_every_command_is_offered_and_no_other(terminal: Terminal) -> None:
    assert set(terminal.offers("initctl ")) == set(COMMANDS)


def test_a_command_is_completed(terminal: Terminal) -> None:
    assert terminal.offers("initctl reload-c") == ["reload-configuration"]
    assert terminal.offers("initctl --user check") == ["check-config"]
    assert terminal.offers("initctl nothing") == []


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_option_of_a_command_is_offered(terminal: Terminal, command: str) -> None:
    shown = subprocess.run([SBIN / "initctl", command, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    options = set(re.findall(r"^ {2,6}(?:-\w, )?(--[\w-]+)", shown, re.M))
    assert {"--help", "--user"} <= options
    assert set(terminal.offers(f"initctl {command} --")) == options


@pytest.mark.parametrize("command", SHORT_FORMS)
def test_short_forms_have_the_options_of_their_command(terminal: Terminal, command: str) -> None:
    assert set(terminal.offers(f"{command} --")) == set(terminal.offers(f"initctl {command} --"))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("start ", ["alpha", "gamma"]),
        ("start a", ["alpha"]),
        ("stop ", ["beta", "line"]),
        ("restart ", ["beta", "line"]),
        ("reload b", ["beta"]),
        ("status ", ["alpha", "beta", "gamma", "line"]),
        ("initctl start ", ["alpha", "gamma"]),
        ("initctl stop --no-wait b", ["beta"]),
        ("initctl usage ", ["alpha", "beta", "gamma", "line"]),
        ("initctl show-config g", ["gamma"]),
        ("initctl emit ", ["beta-ready", "go-ahead"]),
        ("initctl get-env COL", ["COLOUR"]),
        ("initctl log-priority ", ["debug", "error", "fatal", "info", "message", "warn"]),
        ("start alpha ", []),
        ("initctl log al", ["alpha"]),
        ("initctl log line ", ["tty1"]),
        ("initctl log -n ", []),
        ("initctl log --since to", ["today"]),
        ("initctl list be", ["beta"]),
        ("initctl list --columns=jo", ["--columns=job"]),
        ("initctl list --columns job,inst", ["job,instance"]),
        ("initctl list --sort -mem", ["-memory"]),
        ("initctl cat ga", ["gamma"]),
        ("initctl edit ga", ["gamma"]),
        ("initctl disable alpha be", ["beta"]),
    ],
)
def test_arguments_that_make_sense_are_offered(terminal: Terminal, line: str, offered: list[str]) -> None:
    assert sorted(terminal.offers(line)) == offered


def test_one_file_serves_all_the_commands() -> None:
    """bash-completion loads the file that is named as the command: packages ship a link for each short form."""
    rules = (ROOT / "debian/rules").read_text()
    assert re.search(rf"for name in {' '.join(SHORT_FORMS)}; do", rules)
    assert COMPLETION.read_text().rstrip().endswith("complete -F _initctl initctl " + " ".join(SHORT_FORMS))


@pytest.mark.parametrize("command", TOOLS)
def test_every_option_of_a_tool_is_offered(terminal: Terminal, command: str) -> None:
    shown = subprocess.run([SBIN / command, "--help"], stdout=subprocess.PIPE, text=True, check=False).stdout
    # What the text beneath says of another program is no option of this one.
    lines = "".join(line + "\n" for line in shown.splitlines() if line.lstrip().startswith("-"))
    options = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", lines))
    assert "--help" in options
    assert set(terminal.offers(f"{command} --")) == options


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("init-checkconf con", ["conf/"]),
        ("init-checkconf conf/al", ["conf/alpha.conf"]),
        ("init-simulate conf --without be", ["beta"]),
        ("init-simulate --without=", ["alpha", "beta", "gamma", "line"]),
        ("init-replay --explain be", ["beta"]),
        ("init-replay --until go", ["go-ahead"]),
        ("init-simulate --emit ", ["beta-ready", "go-ahead", "startup"]),
        ("initctl2dot --around g", ["gamma"]),
        ("initctl2dot --from go", ["go-ahead"]),
        ("initctl2dot --format ", ["dot", "png", "svg"]),
        ("initctl2dot --depth ", []),
        ("initctl2dot -f con", ["conf/"]),
    ],
)
def test_what_tools_can_be_given_is_offered(terminal: Terminal, line: str, offered: list[str]) -> None:
    assert sorted(terminal.offers(line)) == offered


def test_one_file_serves_all_the_tools() -> None:
    rules = (ROOT / "debian/rules").read_text()
    assert f"for name in {' '.join(TOOLS[1:])}; do" in rules
    assert TOOLS_COMPLETION.read_text().rstrip().endswith("complete -F _upstart_tools " + " ".join(TOOLS))


def test_the_monitor_s_options_places_and_events_are_offered(terminal: Terminal) -> None:
    shown = subprocess.run([SBIN / "upstart-monitor", "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert set(terminal.offers("upstart-monitor --")) == set(re.findall(r"--[a-z][a-z-]*", shown))
    assert terminal.offers("upstart-monitor -d session-s") == ["session-socket"]
    assert sorted(terminal.offers("upstart-monitor --destination sys")) == ["system-bus", "system-socket"]
    assert {"beta-ready", "go-ahead", "started"} <= set(terminal.offers("upstart-monitor -e "))
    assert terminal.offers("upstart-monitor -s ") == []
