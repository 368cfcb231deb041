"""upstart-monitor's window on a virtual screen, beside a real init: what it shows, its keys, and how fast it is."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_init import EXTENSION, MANAGER, PROGRAMS, ROOT, SECONDS, UPSTART, SessionInit, wait_for

pytest.importorskip("gi")
import gi

try:
    for namespace, version in (("Gtk", "4.0"), ("Adw", "1")):
        gi.require_version(namespace, version)
except ValueError as error:
    pytest.skip(str(error), allow_module_level=True)
if shutil.which("Xvfb") is None or shutil.which("xdotool") is None:
    pytest.skip("there is no virtual screen", allow_module_level=True)

JOBS = {
    "tunnel": "start on net-up IFACE=tun*\nstop on net-down\ninstance $HOST\nexec sleep 1000\n",
    "web": "start on started tunnel or net-up IFACE=eth*\nexec sleep 1000\n",
    "failing": "start on go\ntask\nexec false\n",
}
#: kB, and seconds of the processor.
MOST_MEMORY = 100 << 10
LONGEST_FRAME = 0.05
#: Seconds on the clock from one frame to the next that say that others had the processor.
STARVED = 0.2


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """The name of a display."""
    ours, theirs = os.pipe()
    command = ["Xvfb", "-displayfd", str(theirs), "-screen", "0", "1200x800x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[theirs], stderr=subprocess.DEVNULL)
    os.close(theirs)
    name = b""
    while not name.endswith(b"\n"):
        assert select.select([ours], [], [], 3 * SECONDS)[0]
        name += os.read(ours, 16)
    os.close(ours)
    yield ":" + name.decode().strip()
    server.terminate()
    server.wait(SECONDS)


class Window:
    """A window that answers; see `monitor_window`."""

    def __init__(self, init: SessionInit, screen: str, **environ: str) -> None:
        self.screen = screen
        environment = {
            **init.environ, "UPSTART_SESSION": init.address, "DISPLAY": screen, "GDK_BACKEND": "x11",
            "GSETTINGS_BACKEND": "memory", "LC_ALL": "C.UTF-8", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere",
            **environ,
        }  # fmt: skip
        program = [sys.executable, str(Path(__file__).with_name("monitor_window.py")), "session-socket"]
        self.process = subprocess.Popen(
            [*program, str(ROOT / "src")], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.until("len(app.get_windows())")
        self.until("window.get_mapped() and window.feed.watcher.init is not None")

    def ask(self, expression: str) -> Any:
        """The value of an expression in the window's program."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], 3 * SECONDS)[0], expression
        return json.loads(self.process.stdout.readline())

    def until(self, expression: str, seconds: float = 2 * SECONDS) -> Any:
        """The first true value of an expression."""
        return wait_for(lambda: self.ask(expression), seconds)

    def rows(self) -> list[str]:
        """What is shown, without the times."""
        lines = self.ask("[words.line(window.feed.shown.row(at)) for at in range(len(window.feed.shown))]")
        return [line.partition("\t")[2] for line in lines]

    def does(self, action: str) -> None:
        """Activate one of its actions."""
        self.ask(f"window.activate_action('{action}', None)")

    def type(self, *keys: str) -> None:
        """Keys by their names, or, in quotes, texts."""
        for key in keys:
            command = ["type", key[1:-1]] if key.startswith('"') else ["key", key]
            subprocess.run(["xdotool", *command], env={"DISPLAY": self.screen}, check=True)

    def focus(self) -> None:
        """Have the keyboard back after a dialog: there is no window manager that would see to that."""
        command = ["xdotool", "search", "--onlyvisible", "--name", "^Upstart Monitor$", "windowfocus"]
        self.until("len([1 for each in active.list_toplevels() if each.get_mapped()]) == 1 if active else True")
        subprocess.run(command, env={"DISPLAY": self.screen}, check=True)
        self.until("active is window")

    def picture(self, path: Path) -> None:
        """A picture of the window, for who wants to look: where PICTURES names a directory."""
        directory = os.environ.get("PICTURES")
        if directory:
            subprocess.run(["import", "-display", self.screen, "-window", "root", f"{directory}/{path}"], check=False)

    def close(self) -> str:
        """What it has said on standard error."""
        if self.process.poll() is None:
            self.process.terminate()
        said = self.process.communicate()[1]
        return said


@pytest.fixture
def init(tmp_path: Path) -> Iterator[SessionInit]:
    init = SessionInit(tmp_path, JOBS)
    yield init
    init.close()


@pytest.fixture
def windows(init: SessionInit, screen: str) -> Iterator[Callable[..., Window]]:
    made: list[Window] = []

    def make(**environ: str) -> Window:
        made.append(Window(init, screen, **environ))
        return made[-1]

    yield make
    for window in made:
        assert "Traceback" not in (said := window.close()) and "CRITICAL" not in said, said


def test_events_and_states_are_shown_filtered_and_paused(init: SessionInit, windows: Callable[..., Window]) -> None:
    window = windows()
    client = init.client()
    client.emit("net-up", "IFACE=tun0", "HOST=a", "TEXT=<b> & it's\n")
    wait_for(lambda: r"net-up IFACE='tun0' HOST='a' TEXT=$'<b> & it\'s\n'" in window.rows())
    assert "tunnel (a) start/running" in window.rows()
    window.ask("window._states.set_active(False)")
    wait_for(lambda: not any("start/running" in row for row in window.rows()))
    window.ask("window._entry.set_text('net IFACE=tun*')")
    wait_for(lambda: len(window.rows()) == 1)
    window.does("win.pause")
    client.emit("net-up", "IFACE=tun1", "HOST=b")
    window.until("window.feed.waiting >= 1")
    assert len(window.rows()) == 1 and any("paused" in text for text in window.ask("texts(window)"))
    window.does("win.pause")
    wait_for(lambda: len(window.rows()) == 2)
    window.ask("window._entry.set_text('nothing')")
    window.until("'Nothing That the Filter Wants' in texts(window)")
    window.does("win.clear")
    window.until("'No Rows Yet' in texts(window)")


def test_details_tell_of_jobs_and_command_them(init: SessionInit, windows: Callable[..., Window]) -> None:
    window = windows()
    client = init.client()
    client.emit("net-up", "IFACE=eth0", "TEXT=<b>")
    wait_for(lambda: any(row.startswith("net-up") for row in window.rows()))
    at = next(n for n, row in enumerate(window.rows()) if row.startswith("net-up"))
    window.ask(f"window.table.select({at})")
    window.until("any('Starts on net-up IFACE=eth*' in text for text in texts(window.details.widget))")
    shown = window.ask("texts(window.details.widget)")
    assert {"net-up", "IFACE", "eth0", "<b>", "web", "tunnel"} <= set(shown)
    assert any("start/running" in text for text in shown) and any("which this is not" in text for text in shown)
    assert "What it started and stopped" in shown and any(text.startswith("python3 (pid ") for text in shown)
    window.picture(Path("details.png"))
    window.ask("window.details._command('stop', 'web', '')")
    wait_for(lambda: client.status("web")[0] == "stop/waiting")
    window.ask("window.details._command('start', 'web', '')")
    wait_for(lambda: client.status("web")[0] == "start/running")
    window.ask("window.details._command('start', 'web', '')")
    window.until("'Job is already running: web' in texts(window)")
    client.emit("go", wait=False)
    wait_for(lambda: "failing failed with status 1" in window.rows())
    at = window.rows().index("failing failed with status 1")
    window.ask(f"window.table.select({at})")
    window.until("any('terminated with status 1' in text for text in texts(window.details.widget))")
    window.does("win.details")
    assert not window.ask("window.details.widget.get_visible()")


def test_everything_can_be_done_by_the_keyboard(init: SessionInit, windows: Callable[..., Window]) -> None:
    window = windows()
    window.type("ctrl+e")
    window.until("active and active.get_title() == 'Emit an Event'")
    window.type('"hello"', "Tab", '"A=1 B"')
    window.until("'Not KEY=VALUE: B' in texts(active)")
    window.type('"=it"', "Return")
    wait_for(lambda: "hello A='1' B='it'" in window.rows())
    window.focus()
    window.type("ctrl+l", '"hel"')
    wait_for(lambda: len(window.rows()) == 1)
    window.type("Escape")
    window.until("window._entry.get_text() == ''")
    for number in range(5):
        init.client().emit("go-on", f"NUMBER={number}")
    wait_for(lambda: len(window.rows()) >= 6)
    window.type("ctrl+f", '"NUMBER=3"', "Return")
    # What is searched for stands in a variable as it is, not as it is shown.
    row = "window.table.row() and words.line(window.table.row()).partition('\\t')[2]"
    wait_for(lambda: window.ask(row) == "go-on NUMBER='3'")
    window.type("ctrl+c")
    window.until("'Copied' in texts(window)")
    window.ask(
        "Gdk.Display.get_default().get_clipboard().read_text_async(None, "
        "lambda board, result: setattr(window, 'pasted', board.read_text_finish(result)))"
    )
    assert window.until("getattr(window, 'pasted', '')").endswith("go-on NUMBER='3'")
    window.type("alt+End")
    window.until("window.table.follows and window.table.row() is None")
    window.type("ctrl+p")
    window.until("window.feed.paused")
    window.type("ctrl+question")
    window.until("active and 'Emit an event' in texts(active)")
    window.type("Escape")
    window.focus()
    window.type("ctrl+q")
    assert window.process.wait(2 * SECONDS) == 0


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_are_followed(windows: Callable[..., Window], dark: bool) -> None:
    window = windows(ADW_DEBUG_COLOR_SCHEME="prefer-dark" if dark else "prefer-light")
    assert window.ask("Adw.StyleManager.get_default().get_dark()") is dark
    # Nobody forces either.
    assert window.ask("int(Adw.StyleManager.get_default().get_color_scheme())") == 0


def test_an_init_that_executes_itself_anew_or_ends_is_told_of(
    init: SessionInit, windows: Callable[..., Window]
) -> None:
    window = windows()
    init.restart()
    window.until("window.feed.watcher.init is not None and not window._lost.get_reveal_child()")
    init.client().emit("afterwards")
    wait_for(lambda: "afterwards" in window.rows())
    init.close()
    window.until("window._lost.get_reveal_child() and window._title.get_subtitle() == 'not connected'")
    assert "afterwards" in window.rows()


def test_the_newest_row_is_in_sight_until_somebody_looks_elsewhere(
    init: SessionInit, windows: Callable[..., Window]
) -> None:
    window = windows()
    client = init.client()
    for number in range(200):
        client.emit("many", f"NUMBER={number}", wait=False)
    end = "window.table._adjustment.get_value() + window.table._adjustment.get_page_size() + 20"
    window.until(f"len(window.feed.shown) == 200 and {end} >= window.table._adjustment.get_upper() > 1000")
    window.ask("window.table.select(3)")
    for number in range(50):
        client.emit("more", f"NUMBER={number}", wait=False)
    window.until("len(window.feed.shown) == 250")
    assert window.ask("window.table._adjustment.get_value()") < 500


def test_a_thousand_events_a_second_are_all_shown_and_every_frame_is_in_time(
    init: SessionInit, windows: Callable[..., Window]
) -> None:
    window = windows()
    window.ask("window.add_tick_callback(tick)")
    window.until("len(frames) > 5")
    window.ask("frames.clear()")
    client = init.client()
    client.call(MANAGER, EXTENSION, "Quiet")
    begin = time.monotonic()
    seconds = float(os.environ.get("FLOOD", "5"))
    sent = 0
    while sent < 1000 * seconds:
        while sent < min(1000 * seconds, (time.monotonic() - begin) * 1000):
            env = [f"NUMBER={sent}", "IFACE=eth0", "SUBSYSTEM=net"]
            client.send(MANAGER, UPSTART, "EmitEvent", "sasb", f"load-{sent % 7}", env, False)
            sent += 1
            if sent % 500 == 0:
                client.answer(client.serial)
        time.sleep(0.002)
    window.until(f"len(window.feed.shown) == {sent}", seconds + 2 * SECONDS)
    # What the question below takes is not the window's, nor how long another program had the processor; whoever has
    # been kept from it for long has more to do in the next frame.
    frames = window.ask("frames")
    taken = sorted(cost for cost, passed in frames if passed < STARVED)
    assert len(taken) > 2 * seconds and taken[-1] < LONGEST_FRAME, taken[-10:]
    assert sum(cost for cost, _ in frames) < seconds
    numbers = window.ask("[window.feed.shown.row(at).env[0] for at in range(len(window.feed.shown))]")
    assert numbers == [f"NUMBER={number}" for number in range(sent)]
    status = Path(f"/proc/{window.process.pid}/status").read_text()
    assert int(status.partition("VmHWM:")[2].split()[0]) < MOST_MEMORY


def test_the_program_itself_shows_a_window(init: SessionInit, screen: str) -> None:
    environment = {**init.environ, "UPSTART_SESSION": init.address, "DISPLAY": screen, "GDK_BACKEND": "x11"}
    process = subprocess.Popen([PROGRAMS / "upstart-monitor"], env=environment, stderr=subprocess.PIPE)
    try:
        wait_for(
            lambda: subprocess.run(
                ["xdotool", "search", "--onlyvisible", "--name", "^Upstart Monitor$"], env={"DISPLAY": screen},
                stdout=subprocess.PIPE,
            ).stdout,
            3 * SECONDS,
        )  # fmt: skip
        assert process.poll() is None
    finally:
        process.terminate()
        process.communicate()
