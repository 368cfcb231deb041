"""init-checkunits: which units of systemd are enabled and not started by Upstart, and what it says about each."""

from __future__ import annotations

from pathlib import Path

import pytest

from manual import of_kind
from upstart.tools.checkunits import check, main
from upstart.tools.sessionmanager import leaving
from upstart.tools.units import enabled, resolve, settings

SERVICE = "[Unit]\nDescription=x\n[Service]\nExecStart=/usr/sbin/{0} --foreground\n[Install]\n{1}\n"


class Machine:
    """A root directory with what packages and administrators put there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("etc/init/tty1.conf", "start on runlevel 2\nexec getty\n")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)
        (self.root / path).chmod(mode)

    def link(self, path: str, target: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).symlink_to(target)

    def unit(self, name: str, text: str = "", target: str = "multi-user", files: tuple[str, ...] = ()) -> None:
        """A unit that a package has installed and enabled, with other files of that package."""
        base = name.partition(".")[0]
        template = name.partition("@")[0] + "@." + name.rpartition(".")[2] if "@" in name else name
        path = f"lib/systemd/system/{template}"
        self.write(path, text or SERVICE.format(base, ""))
        self.write(f"var/lib/dpkg/info/{base}.list", "\n".join([f"/{path}", *(f"/{file}" for file in files)]) + "\n")
        self.link(f"etc/systemd/system/{target}.target.wants/{name}", f"/{path}")

    def script(self, name: str, runlevels: str = "S2345", mode: int = 0o755, kind: str = "S") -> None:
        self.write(f"etc/init.d/{name}", "#!/bin/sh\n", mode)
        for level in runlevels:
            self.link(f"etc/rc{level}.d/{kind}01{name}", f"../init.d/{name}")

    def listed(self) -> list[str]:
        return check(str(self.root), quiet=True)

    def told(self) -> str:
        return "\n".join(check(str(self.root), quiet=False))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_service_with_neither_job_nor_script_is_told_with_the_job_that_it_needs(machine: Machine) -> None:
    machine.unit("web.service", "[Service]\nUser=www\nType=forking\nRestart=always\nExecStart=-/usr/sbin/web -d\n")
    assert machine.told().splitlines() == [
        "web.service", "    write /etc/init/web.conf:", "        start on runlevel [2345]",
        "        stop on runlevel [!2345]", "        expect fork", "        respawn", "        setuid www",
        "        exec /usr/sbin/web -d",
    ]  # fmt: skip


def test_a_service_that_has_a_job_or_a_script_is_not_told(machine: Machine) -> None:
    machine.unit("job.service")
    machine.write("etc/init/job.conf", "start on runlevel 2\nexec x\n")
    machine.unit("script.service")
    machine.script("script", "2")
    machine.unit("early.service", target="sysinit")
    machine.script("early.sh", "S")
    assert machine.listed() == []


@pytest.mark.parametrize(
    ("unit", "script"),
    [("NetworkManager.service", "network-manager"), ("nfs-server.service", "nfs-kernel-server"),
     ("keyboard-setup.service", "keyboard-setup.sh")],
)  # fmt: skip
def test_names_that_differ_are_known(machine: Machine, unit: str, script: str) -> None:
    machine.unit(unit)
    assert machine.listed() == [unit]
    machine.script(script)
    assert machine.listed() == []


def test_a_script_of_the_same_package_or_of_the_alias_does_its_work(machine: Machine) -> None:
    machine.unit("postgres-all.service", files=("etc/init.d/postgresql",))
    machine.script("postgresql")
    machine.unit("sshd.service", SERVICE.format("sshd", "Alias=ssh.service"))
    machine.script("ssh")
    assert machine.listed() == []


def test_a_job_without_an_event_and_a_script_without_a_link_are_told_as_such(machine: Machine) -> None:
    machine.unit("job.service")
    machine.write("etc/init/job.conf", "start on runlevel 2\nexec x\n")
    machine.write("etc/init/job.override", "manual\n")
    machine.unit("off.service")
    machine.script("off", "2345", kind="K")
    machine.unit("strange.service")
    machine.script("strange", "")
    told = machine.told()
    assert "    the job job is there, but no event starts it: see /etc/init/job.override\n" in told
    assert "    update-rc.d off enable " in told and "    update-rc.d strange defaults " in told


def test_what_is_masked_or_purged_or_not_for_a_boot_is_not_enabled(machine: Machine) -> None:
    machine.unit("masked.service")
    machine.link("etc/systemd/system/masked.service", "/dev/null")
    machine.link("etc/systemd/system/multi-user.target.wants/gone.service", "/lib/systemd/system/gone.service")
    machine.unit("at-suspend.service", target="suspend")
    assert enabled(str(machine.root)) == []


def test_a_unit_goes_by_its_own_name_and_an_instance_by_that_of_its_template(machine: Machine) -> None:
    machine.write("usr/lib/systemd/system/gdm.service", SERVICE.format("gdm", ""))
    machine.link("lib/systemd/system/gdm3.service", "/usr/lib/systemd/system/gdm.service")
    machine.link("etc/systemd/system/display-manager.service", "/lib/systemd/system/gdm3.service")
    machine.unit("getty@tty1.service", target="getty")
    machine.unit("vpn@home.service")
    assert [unit.name for unit in enabled(str(machine.root))] == [
        "gdm3.service", "getty@tty1.service", "vpn@home.service",
    ]  # fmt: skip
    assert machine.listed() == ["gdm3.service", "vpn@home.service"]


TIMER = "[Timer]\nOnCalendar=weekly\n"


def test_a_timer_is_done_by_cron_if_the_package_says_how_and_there_is_one(machine: Machine) -> None:
    machine.unit("man-db.timer", TIMER, "timers", ("etc/cron.daily/man-db", "etc/cron.daily/.placeholder"))
    machine.unit("own.timer", TIMER, "timers")
    machine.write("lib/systemd/system/own.service", SERVICE.format("own", ""))
    assert machine.listed() == ["man-db.timer", "own.timer"]
    assert "install cron: /etc/cron.daily/man-db does it" in machine.told()
    machine.script("cron")
    assert machine.told().splitlines() == ["own.timer", "    run it by cron (weekly): /usr/sbin/own --foreground"]


def test_what_the_bus_starts_needs_no_job(machine: Machine) -> None:
    machine.unit("disks.service", "[Service]\nType=dbus\nBusName=org.Disks\nExecStart=/usr/sbin/disks\n")
    assert machine.listed() == ["disks.service"]
    service = "usr/share/dbus-1/system-services/org.Disks.service"
    machine.write(service, "[D-BUS Service]\nName=org.Disks\nExec=/bin/false\nSystemdService=disks.service\n")
    assert machine.listed() == ["disks.service"]
    machine.write(service, "[D-BUS Service]\nName=org.Disks\nExec=/usr/sbin/disks\n")
    assert machine.listed() == []


def test_what_nothing_comes_of_is_not_told(machine: Machine) -> None:
    machine.unit("remote-fs.target", "[Unit]\nDescription=x\n")
    machine.unit("all.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
    machine.unit("systemd-pstore.service", target="sysinit")
    machine.unit("reap.service", files=("etc/cron.d/reap",))
    machine.write("etc/cron.d/reap", "10 3 * * * root test -e /run/systemd/system || /usr/sbin/reap --foreground\n")
    machine.script("cron")
    assert machine.listed() == []


@pytest.mark.parametrize(
    ("unit", "text", "word"),
    [
        ("fstrim.timer", TIMER, "/etc/cron.weekly/fstrim"),
        ("systemd-timesyncd.service", "", "ntpsec"),
        ("systemd-networkd.service", "", "/etc/network/interfaces"),
        ("rsyslog.service", "", "apt install orphan-sysvinit-scripts"),
        ("in.socket", "[Socket]\nListenStream=1\n", "inetd"),
        ("spool.path", "[Path]\nPathExists=/x\n", "nothing watches"),
        ("srv.mount", "[Mount]\nWhat=/dev/sdb1\nWhere=/srv\n", "/etc/fstab: /dev/sdb1 /srv"),
    ],
)
def test_each_kind_has_an_advice_of_its_own(machine: Machine, unit: str, text: str, word: str) -> None:
    machine.unit(unit, text)
    assert machine.told().startswith(unit + "\n    ") and word in machine.told()


def test_who_has_taken_the_advice_is_not_told_again(machine: Machine) -> None:
    for unit in ("systemd-timesyncd.service", "systemd-networkd.service", "systemd-resolved.service"):
        machine.unit(unit)
    machine.unit("fstrim.timer", TIMER, "timers")
    machine.unit("tmp.mount", "[Mount]\nWhat=tmpfs\nWhere=/tmp\n", "local-fs")
    machine.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
    machine.write("etc/network/interfaces", "auto lo\niface lo inet loopback\n")
    machine.script("networking", "S")
    machine.script("cron")
    assert len(machine.listed()) == 5
    machine.script("chrony")
    machine.write("etc/network/interfaces.d/eth0", "iface eth0 inet dhcp\n")
    (machine.root / "etc/resolv.conf").unlink()
    machine.write("etc/resolv.conf", "nameserver 192.0.2.1\n")
    machine.write("etc/cron.weekly/fstrim", "#!/bin/sh\n")
    machine.write("etc/default/tmpfs", "RAMTMP=yes\n")
    assert machine.listed() == []


def test_the_scripts_of_the_orphans_are_known_by_their_mapping(machine: Machine) -> None:
    machine.unit("rsyslog.service")
    machine.write("usr/lib/orphan-sysvinit-scripts/mapping", "# comment\nrsyslog.service syslog-script\n")
    assert "orphan" not in machine.told()
    machine.script("syslog-script")
    assert machine.listed() == []


STATUS = """Package: systemd-sysv
Status: install ok installed
Description: x
 more: text

Package: libpam-systemd
Status: install ok installed
Provides: default-logind (= 252), logind (= 252)

Package: polkitd
Status: install ok installed
Depends: default-logind | logind, libc6 (>= 2.34)

Package: network-manager
Status: hold ok installed
Pre-Depends: init-system-helpers
Depends: policykit-1 | polkitd:any (>= 1), libfoo

Package: either
Status: install ok installed
Depends: polkitd | libc6

Package: libc6
Status: install ok installed

Package: gone
Status: deinstall ok config-files
Depends: logind

Package: init
Status: install ok installed
Pre-Depends: systemd-sysv | sysvinit-core
"""


def test_packages_that_go_with_the_session_manager_are_named_before_the_way_in(machine: Machine) -> None:
    machine.write("var/lib/dpkg/status", STATUS)
    assert leaving(str(machine.root)) == ["network-manager", "polkitd"]
    assert machine.told().splitlines()[1:] == ["    network-manager", "    polkitd"]
    assert machine.listed() == []
    assert " names libpam-elogind as well:" in machine.told()
    netplan = "Package: netplan.io\nStatus: install ok installed\nDepends: systemd (>= 248)\n"
    machine.write("var/lib/dpkg/status", f"{STATUS}\nPackage: systemd\nStatus: install ok installed\n\n{netplan}")
    assert leaving(str(machine.root)) == ["network-manager", "polkitd"]
    assert leaving(str(machine.root), elogind=True) == ["netplan.io"]
    assert machine.told().endswith("\nRemoved with the package systemd if it is:\n    netplan.io")
    depends = "Package: libvirt-daemon-system-systemd\nStatus: install ok installed\nDepends: libpam-systemd\n"
    machine.write("var/lib/dpkg/status", f"{STATUS}\n{depends}")
    assert " names libpam-elogind and libvirt-daemon-system-sysv as well:" in machine.told()
    for name in ("upstart-sysv", "libpam-elogind"):
        machine.write("var/lib/dpkg/status", f"{STATUS}\nPackage: {name}\nStatus: install ok installed\n")
        assert leaving(str(machine.root)) == []
    machine.write("var/lib/dpkg/status", STATUS.replace("libpam-systemd", "another"))
    assert leaving(str(machine.root)) == []


def test_what_listens_for_a_service_that_is_enabled_goes_with_it(machine: Machine) -> None:
    machine.unit("web.service")
    machine.unit("web.socket", "[Socket]\nListenStream=1\n", "sockets")
    assert machine.listed() == ["web.service"]


def test_settings_are_read_as_systemd_reads_them() -> None:
    text = "# no\n[Service]\nExecStart=a \\\n# between\n  b\nExecStart=c\n; no\n[X]\nA=1\nA=\nA=2 = 3\nnothing\n"
    assert settings(text) == {("Service", "ExecStart"): ["a  b", "c"], ("X", "A"): ["2 = 3"]}


def test_links_stay_inside_of_the_root(machine: Machine) -> None:
    machine.link("a/b", "/x/../y")
    machine.link("y", "../../../z")
    machine.link("loop", "loop")
    root = str(machine.root)
    assert resolve(root, "a/b/c") == "z/c"
    assert resolve(root, "loop") == "loop"


def test_the_example_of_the_page_is_what_it_says(machine: Machine) -> None:
    machine.unit("fstrim.timer", TIMER, "timers")
    command = "/usr/sbin/tracker --port 6969"
    machine.unit("tracker.service", f"[Service]\nUser=tracker\nRestart=on-failure\nExecStart={command}\n")
    (example,) = of_kind("units", "init-checkunits.8")
    assert example.text == "# init-checkunits\n" + machine.told() + "\n"


def test_the_command(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.unit("web.service")
    assert main(["init-checkunits", f"--root={machine.root}", "-q"]) == 1
    assert capsys.readouterr().out == "web.service\n"
    machine.script("web")
    assert main(["init-checkunits", "--root", str(machine.root)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["init-checkunits", "now"]) == 2
    assert "init-checkunits: unexpected argument: now\n" in capsys.readouterr().err
