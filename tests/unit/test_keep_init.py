"""keep-init, which apt asks before it changes anything: whose name on the command line allows upstart-sysv to go."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

KEEP_INIT = Path(__file__).resolve().parents[2] / "debian" / "apt" / "keep-init"
REMOVED = "upstart-sysv 1.13.2+py1 > - **REMOVE**\nsystemd-sysv - < 252.39 /var/cache/apt/archives/systemd-sysv.deb\n"


def asked(command_line: str | None, actions: str) -> int:
    """Status for what apt 2.6 writes to a hook of version 2: settings, an empty line, and what it is about to do."""
    settings = "VERSION 2\nAPT::Architecture=amd64\nCommandLine=\n"
    if command_line is not None:
        settings += f"CommandLine::AsString={command_line.replace(' ', '%20')}\n"
    text = f"{settings}Dir=/\n\n{actions}"
    return subprocess.run(["sh", str(KEEP_INIT)], input=text, text=True, stdout=subprocess.DEVNULL).returncode


@pytest.mark.parametrize(
    "command_line",
    [
        "apt install systemd-sysv",
        "apt-get -y install systemd-sysv:amd64",
        "apt install systemd-sysv=252.39-1",
        "apt install systemd-sysv/bookworm",
        "apt install vim sysvinit-core",
        "apt install ./systemd-sysv_252.39-1_amd64.deb",
        "apt install /tmp/runit-init_2.1_all.deb",
        "apt-get install --allow-remove-essential finit-sysv upstart-sysv-",
        "apt remove upstart-sysv",
        "apt purge upstart upstart-sysv",
        "apt install systemd-sysv+",
        "apt-get install upstart-sysv-",
    ],
)
def test_an_init_that_is_named_may_come(command_line: str) -> None:
    assert asked(command_line, REMOVED) == 0


@pytest.mark.parametrize(
    "command_line",
    [
        "apt install xfce4-session",
        "apt-get dist-upgrade",
        "apt-get autoremove --purge",
        "apt install not-systemd-sysv systemd-sysv-doc",
        "apt install dbus-broker systemd-sysv-",
        "apt-get install unattended-upgrades systemd-sysv-:amd64 sysvinit-core-",
        "apt install *",
    ],
)
def test_a_removal_that_nobody_asked_for_is_stopped(command_line: str) -> None:
    assert asked(command_line, REMOVED) == 10


def test_what_leaves_the_init_alone_is_not_stopped() -> None:
    assert asked("apt install vim", "vim - < 2:9.0 /var/cache/apt/archives/vim.deb\nvim - < 2:9.0 **CONFIGURE**\n") == 0
    upgrade = "upstart-sysv 1.13.2+py1 < 1.13.2+py2 /tmp/upstart-sysv.deb\nupstart-sysv-extra 1 > - **REMOVE**\n"
    assert asked("apt upgrade", upgrade) == 0


def test_a_front_end_without_a_command_line_is_not_stopped() -> None:
    assert asked(None, REMOVED) == 0
