"""What apt does with the init of a machine: another one comes when it is named, not because something depends on it."""

from __future__ import annotations

from pathlib import Path

import archive
import run
from layer import run_in_layer

from manual import of_kind

#: Installs the packages of $ORDER; `step` is apt-get without questions, its status, and what is installed afterwards.
BEGIN = r"""
apt-get -qq update
for package in $ORDER; do dpkg --install /in/${package}_*.deb >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }; done
step() {
    apt-get -y -o Apt::Install-Recommends=false "$@" >/tmp/log 2>&1 && status=0 || status=$?
    echo "apt $status:" $(dpkg-query -W -f '${db:Status-Status} ${Package}\n' upstart-sysv systemd-sysv libpam-elogind \
        libpam-systemd 2>/dev/null | sed -n 's/^installed //p')
    grep '^upstart-sysv: ' /tmp/log || :
}
"""
REFUSED = "upstart-sysv: this would take Upstart's place as the init of the machine, and no init was named."


def apt(work: Path, text: str) -> list[str]:
    """What the shell text says, line by line, after our packages were installed."""
    lower, packages, _ = run.prepare("upstart", archive.host_release())
    order = " ".join(path.name.partition("_")[0] for path in packages)
    status, output = run_in_layer(lower, work, packages, f"ORDER='{order}'\n{BEGIN}{text}")
    assert status == 0, output
    return [line for line in output.splitlines() if line.startswith(("apt ", "upstart-sysv", "init: ", "pins:"))]


def test_another_init_comes_when_it_is_named_and_only_then(tmp_path: Path) -> None:
    text = """
step install dbus-broker
step install systemd-sysv
echo "init: $(readlink /sbin/init)"
echo "pins:" $(ls /etc/apt/preferences.d)
step install libpam-systemd
"""
    refused, reason, back, init, pins, manager = apt(tmp_path / "work", text)
    assert (refused, reason) == ("apt 100: upstart-sysv", REFUSED)
    assert back == "apt 0: systemd-sysv"
    assert init.endswith("lib/systemd/systemd") and pins == "pins:"
    assert manager == "apt 0: libpam-systemd systemd-sysv"


def test_a_package_that_wants_a_session_manager_gets_elogind(tmp_path: Path) -> None:
    text = """
step install polkitd
step install systemd-sysv libsystemd0
"""
    assert apt(tmp_path / "work", text) == ["apt 0: libpam-elogind upstart-sysv", "apt 0: systemd-sysv"]


def test_the_way_back_is_said_beforehand_as_its_page_shows(tmp_path: Path) -> None:
    (example,) = of_kind("back", "upstart-way-back.8")
    command, _, said = example.text.removeprefix("# ").partition("\n")
    assert apt(tmp_path / "work", f"{command} | sed 's/^/init: /'\n") == [f"init: {line}" for line in said.splitlines()]


def test_what_the_way_in_removed_comes_back(tmp_path: Path) -> None:
    text = """
stanza() {
    printf '\\nStart-Date: x\\nInstall: %s:amd64 (1), hello:amd64 (2, automatic)\\n' $1
    printf 'Remove: %s:amd64 (1), no-such-package:amd64 (2), systemd-sysv:amd64 (3)\\nEnd-Date: x\\n' $2
}
mkdir -p /var/log/apt
stanza upstart-sysv time | gzip >/var/log/apt/history.log.10.gz
stanza upstart-sysv dbus-user-session | gzip >/var/log/apt/history.log.9.gz
stanza not-upstart-sysv bc >/var/log/apt/history.log
upstart-way-back --dry-run | sed 's/^/init: /'
rm /var/log/apt/*
upstart-way-back --dry-run | sed 's/^/init: /'
"""
    _, installed, _, _, without, *_ = apt(tmp_path / "work", text)
    assert "dbus-user-session" in installed.split() and not {"bc", "time", "hello"}.intersection(installed.split())
    assert "dbus-user-session" not in without.split()


def test_an_option_of_apt_may_have_its_value_behind_it(tmp_path: Path) -> None:
    text = """
release=$(. /etc/os-release; echo $VERSION_CODENAME)
upstart-way-back --yes -o Apt::Install-Recommends=false sysvinit-core -t $release >/tmp/log 2>&1 || cat /tmp/log
echo "init: $(readlink /sbin/init || echo is a file)"
"""
    assert apt(tmp_path / "work", text)[0] == "init: is a file"


def test_the_way_back_keeps_what_depends_on_a_session_manager(tmp_path: Path) -> None:
    text = """
step install network-manager
upstart-way-back --dry-run | sed 's/^/init: /'
upstart-way-back --yes >/tmp/log 2>&1 || cat /tmp/log
echo "init: $(readlink /sbin/init)" $(dpkg-query -W -f '${Package} ' network-manager polkitd)
step check
"""
    there, plan, installed, removed, init, after = apt(tmp_path / "work", text)
    assert there == "apt 0: libpam-elogind upstart-sysv"
    assert plan == "init: systemd-sysv becomes the init at the next boot; until then Upstart runs on."
    assert {"systemd-sysv", "libpam-systemd"} <= set(installed.split())
    assert "upstart-sysv" in removed.split() and not {"network-manager", "polkitd"}.intersection(removed.split())
    assert init.endswith("lib/systemd/systemd network-manager polkitd")
    assert after == "apt 0: libpam-systemd systemd-sysv"
