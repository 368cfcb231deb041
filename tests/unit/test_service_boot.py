"""The jobs of upstart-jobs in a boot of virtual time: none holds it up, each comes to run once, in its order."""

from __future__ import annotations

import pytest
from boot_model import SERVICE_JOBS, Boot
from test_native_boot import check

JOBS = {path.stem: path.read_text() for path in sorted(SERVICE_JOBS.glob("*.conf"))}
FIREWALLS = ("ufw", "nftables", "netfilter-persistent", "apparmor")
#: What runs after a boot with all of them.
EVERYWHERE = {
    "rsyslog", "dbus", "cron", "anacron", "atd", "ssh", "network-manager", "avahi-daemon", "rpcbind", "nfs-common",
    "statd", "idmapd", "gssd", "nfs-kernel-server", "nfsdcld", "svcgssd", "elogind", "chrony", "ntpsec",
    "wpa_supplicant", "modemmanager", "cryptdisks-early",
}  # fmt: skip
MACHINES = {
    "acpid", "irqbalance", "systemd-timesyncd", "haveged", "smartmontools",
    "open-vm-tools", "vgauth", "qemu-guest-agent",
}  # fmt: skip
#: What ends after the services that log, and talk, by it.
LAST = {"rsyslog", "rpcbind", "statd", "nfs-common", "idmapd", "gssd", "dbus", "elogind", "avahi-daemon",
        "network-manager", "wpa_supplicant", "modemmanager", "cryptdisks-early"}  # fmt: skip
#: Seconds that a step for a mount waits where nobody ends it.
MOUNTING = dict.fromkeys(("statd-mounting", "idmapd-mounting"), 30.0)


def spawned(boot: Boot) -> list[str]:
    """Main processes of services, by job, in the order of their start."""
    return [name for name, process, _, _ in boot.world.spawned if process == "main"]


@pytest.mark.parametrize("network", ["none", "up", "down"])
@pytest.mark.parametrize("container", ["", "lxc"])
class TestEachKindOfMachine:
    def test_all_of_them_run_once(self, container: str, network: str) -> None:
        boot = Boot(container, network, JOBS).run()
        check(boot)
        assert boot.running() & set(JOBS) == EVERYWHERE | (set() if container else MACHINES)
        names = [name for name in spawned(boot) if name in JOBS]
        assert len(names) == len(set(names))

    @pytest.mark.parametrize("name", JOBS)
    def test_each_of_them_alone_holds_nothing_up(self, container: str, network: str, name: str) -> None:
        check(Boot(container, network, {name: JOBS[name]}).run())

    @pytest.mark.parametrize("name", JOBS)
    def test_none_of_them_is_needed(self, container: str, network: str, name: str) -> None:
        check(Boot(container, network, {each: JOBS[each] for each in JOBS if each != name}).run())


@pytest.mark.parametrize("nfs", ["nfs", "nfs4"])
class TestNfs:
    def test_a_mount_waits_for_its_daemons_and_no_longer(self, nfs: str) -> None:
        boot = Boot(network="up", more=JOBS, takes=MOUNTING, nfs=nfs).run(25.0)
        check(boot)
        mounted = boot.happened.index(f"mounted MOUNTPOINT=/srv TYPE={nfs}")
        assert mounted < boot.happened.index("remote-filesystems") < boot.happened.index("filesystem")
        assert {"statd", "gssd"} <= boot.running()

    @pytest.mark.parametrize("missing", [("rpcbind",), ("statd", "idmapd"), ("nfs-common", "statd")])
    def test_a_daemon_that_does_not_come_is_waited_for_30_seconds(self, nfs: str, missing: tuple[str, ...]) -> None:
        more = {name: text for name, text in JOBS.items() if name not in missing}
        boot = Boot(network="up", more=more, takes=MOUNTING, nfs=nfs)
        boot.run(25.0)
        assert "filesystem" not in boot.happened
        boot = Boot(network="up", more=more, takes=MOUNTING, nfs=nfs).run()
        check(boot)

    def test_no_job_is_not_waited_for(self, nfs: str) -> None:
        check(Boot(network="up", nfs=nfs).run(10.0))


@pytest.mark.parametrize("name", FIREWALLS)
def test_a_firewall_is_there_before_each_interface_and_before_the_network(name: str) -> None:
    boot = Boot(network="up", more=JOBS, takes=dict.fromkeys(FIREWALLS, 3.0)).run(30.0)
    check(boot)
    order = [display for display, _, _, _ in boot.world.spawned]
    assert order.index(f"{name} (network-interface/eth0)") < order.index("network-interface (eth0)")
    assert order.index(f"{name} (networking)") < order.index("networking")
    assert order.index(f"{name} (network-manager)") < order.index("network-manager")


def test_profiles_are_loaded_before_services_of_the_runlevel() -> None:
    boot = Boot(more=JOBS, takes={"apparmor": 5.0}).run(30.0)
    check(boot)
    order = [display for display, _, _, _ in boot.world.spawned]
    assert order.index("apparmor (rc-sysinit)") < order.index("rc-sysinit") < order.index("ssh")


def test_sudo_has_forgotten_whom_it_has_asked_before_anybody_may_log_in() -> None:
    boot = Boot(more=JOBS, takes={"sudo": 5.0}).run(30.0)
    check(boot)
    order = [display for display, _, _, _ in boot.world.spawned]
    assert order.index("sudo") < order.index("rc-sysinit") < order.index("rc")


def test_the_keyboard_is_set_up_before_somebody_is_asked_for_something() -> None:
    boot = Boot(more=JOBS, takes={"keyboard-setup": 4.0})
    boot.run(2.0)
    assert boot.world.status("keyboard-setup") == "start/running"
    boot.emit("runlevel", RUNLEVEL="S", PREVLEVEL="N")
    boot.go_on(20.0)
    assert "rcS" in boot.running()


@pytest.mark.parametrize("container", ["", "lxc"])
def test_the_log_and_the_bus_end_last(container: str) -> None:
    boot = Boot(container, "up", JOBS).run()
    boot.emit("runlevel", RUNLEVEL="0", PREVLEVEL="2")
    boot.go_on(20.0)
    assert boot.running() & set(JOBS) == LAST
    # What ends the machine sees to the rest.
    boot.emit("unmounted-remote-filesystems")
    boot.go_on(5.0)
    boot.emit("deconfiguring-networking")
    boot.go_on(5.0)
    assert boot.running() & set(JOBS) == {"rsyslog", "cryptdisks-early"}


def test_single_user_mode_leaves_the_log_and_the_bus() -> None:
    boot = Boot(more=JOBS).run()
    boot.emit("runlevel", RUNLEVEL="1", PREVLEVEL="2")
    boot.go_on(20.0)
    running = boot.running()
    assert {"rsyslog", "dbus"} <= running
    assert not running & {"ssh", "cron", "atd", "chrony", "nfs-kernel-server", "nfsdcld"}
    boot.emit("not-container")
    boot.emit("runlevel", RUNLEVEL="2", PREVLEVEL="1")
    boot.go_on(20.0)
    assert boot.running() & set(JOBS) == EVERYWHERE | MACHINES


def test_who_uses_the_bus_alone_comes_back_with_it() -> None:
    boot = Boot(more=JOBS).run()
    boot.world.restart("dbus")
    boot.go_on(10.0)
    assert {"dbus", "elogind", "avahi-daemon", "wpa_supplicant", "modemmanager", "network-manager"} <= boot.running()


def test_daemons_of_nfs_come_back_with_the_port_mapper() -> None:
    boot = Boot(more=JOBS).run()
    boot.world.restart("rpcbind")
    boot.go_on(10.0)
    assert {"rpcbind", "statd", "nfs-common", "idmapd", "gssd", "nfs-kernel-server"} <= boot.running()
