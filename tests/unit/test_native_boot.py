"""The jobs of a boot come to a login on every kind of machine, without any one of them, and beside others' jobs."""

from __future__ import annotations

from itertools import combinations

import pytest
from boot_model import JOBS, SERVICE_JOBS, Boot

#: Without these there is no boot.
NEEDED = ("mountall", "rc-sysinit", "rcS-scripts")
#: What nobody needs to come to a login where no interface is to be configured.
OPTIONAL = sorted(
    path.stem
    for path in JOBS.glob("*.conf")
    if path.stem not in (*NEEDED, "interfaces", "ifupdown", "rc", "tty1", "rcS", "rescue")
)
#: cloud-init's, which are tried all together; test_cloud_boot.py has more of them.
CLOUD_JOBS = {path.stem: path.read_text() for path in SERVICE_JOBS.glob("cloud-*.conf")}
#: Jobs of others that hold a step of the boot, as firewalls, cloud-init and NFS do.
HOLDERS = {
    "firewall": "start on starting networking or starting network-interface or starting network-manager\n"
    "instance $JOB$INTERFACE\ntask\nexec sleep 3\n",
    "apparmor": "start on starting networking or starting rc-sysinit\ntask\nexec load\n",
    "tmpfiles": "start on starting rc-sysinit\ntask\nexec tmpfiles\n",
    "cloud-init": "",
    "statd-mounting": "start on mounting TYPE=ext4\ninstance $MOUNTPOINT\ntask\nexec wait\n",
    "dbus": "start on filesystem\nexec dbus\n",
    "rsyslog": "start on filesystem\nexec rsyslogd\n",
    "network-manager": "start on local-filesystems and started dbus and static-network-up\nexec nm\n",
}


def check(boot: Boot, *without: str) -> None:
    """It has come to its runlevel and its logins, and nothing is left on the way."""
    assert "runlevel RUNLEVEL=2 PREVLEVEL=N" in boot.happened, (boot.happened, boot.stuck())
    assert "tty1" in boot.running()
    waiting = [name for name in boot.stuck() if not name.startswith("network-interface (")]
    assert not waiting, waiting


@pytest.mark.parametrize("network", ["none", "up", "down"])
@pytest.mark.parametrize("container", ["", "lxc"])
def test_each_kind_of_machine_comes_to_its_login(container: str, network: str) -> None:
    boot = Boot(container, network).run()
    check(boot)
    assert ("failsafe-boot" in boot.happened) == (network == "down")
    assert {"networking", "checkroot.sh", "mountall.sh", "mountnfs.sh", "mountkernfs.sh"} <= boot.running()
    assert ("udev" in boot.running()) == (not container)
    assert "udev-finish" in boot.running()


@pytest.mark.parametrize("name", OPTIONAL)
def test_no_optional_job_is_needed(name: str) -> None:
    check(Boot(without=[name]).run())


@pytest.mark.parametrize("container", ["", "lxc"])
def test_what_has_to_come_before_the_file_systems_comes_in_its_order(container: str) -> None:
    boot = Boot(container, takes={"hwclock": 5.0, "emergency": 60.0})
    boot.needs = ("emergency", "clock", "scripts")
    boot.run(180.0)
    check(boot)
    first = [
        name for name, *_ in boot.world.spawned if name in ("emergency", "hwclock", "rcS-first", "udev", "mounted-run")
    ]
    assert first[:3] == ["emergency", "hwclock", "rcS-first"]


@pytest.mark.parametrize("container", ["", "lxc"])
def test_who_waits_for_other_networks_has_them_told_of_and_others_have_no_process_for_that(container: str) -> None:
    boot = Boot(container, "up", {"news": "start on network-online\ntask\nexec fetch\n"})
    boot.world.engine.tell_awaited()
    boot.run()
    check(boot)
    names = [name for name, *_ in boot.world.spawned]
    assert names.count("network-online") == 1
    assert "network-online" not in [name for name, *_ in Boot(container, "up").run().world.spawned]


def test_nothing_that_is_seldom_needed_holds_mountall() -> None:
    spawned = Boot().run().world.spawned
    assert not {"emergency", "hwclock", "rcS-first"} & {name for name, *_ in spawned}


def test_a_mountall_that_cannot_be_executed_is_a_case_for_its_shell() -> None:
    boot = Boot(network="down")
    boot.world.broken.add("mountall main")
    boot.run(5.0)
    assert [name for name, *_ in boot.world.spawned if name.startswith("mountall")] == ["mountall-again"]
    boot.emit("mountall-gives-up")
    boot.go_on(1.0)
    assert "mountall-shell" in boot.running()


def test_a_boot_without_mountall_leaves_nothing_running_so_that_init_gives_a_shell() -> None:
    # With boot scripts that have no job: these would wait for the file systems.
    boot = Boot(network="down", without=["mountall"], takes={"rcS-scripts": 600.0}).run(5.0)
    own = {name for name in boot.running() if boot.world.instance(name).pids}
    assert own == set() and boot.stuck() == []


def test_nothing_of_the_boot_waits_for_udev_or_the_network_before_the_login() -> None:
    boot = Boot(network="down", takes={"udevtrigger": 100.0})
    boot.run(10.0)
    assert "tty1" in boot.running()
    assert "filesystem" in boot.happened


@pytest.mark.parametrize("names", [*combinations(HOLDERS, 1), *combinations(HOLDERS, 2), tuple(HOLDERS)], ids=", ".join)
def test_what_holds_steps_of_the_boot_makes_no_circle(names: tuple[str, ...]) -> None:
    more = {name: HOLDERS[name] for name in names}
    if "cloud-init" in more:
        more |= CLOUD_JOBS
    for network in ("none", "up", "down"):
        for container in ("", "lxc"):
            check(Boot(container, network, more).run())


def test_a_firewall_is_there_before_each_interface() -> None:
    boot = Boot(network="up", more={"firewall": HOLDERS["firewall"]}, takes={"firewall": 3.0})
    boot.run(20.0)
    check(boot)
    order = [name for name, _, _, _ in boot.world.spawned if "eth0" in name]
    assert order[:2] == ["firewall (network-interfaceeth0)", "network-interface (eth0)"]


@pytest.mark.parametrize("level", "06")
@pytest.mark.parametrize("container", ["", "lxc"])
def test_the_end_stops_logins_and_has_the_network_and_devices_for_as_long_as_they_are_needed(
    container: str, level: str
) -> None:
    boot = Boot(container, "up", takes={"umountall": 1000.0}).run()
    engine = boot.world.engine
    before = len(boot.world.spawned)

    def go_on() -> None:
        boot.world.settle()
        boot.go_on(5.0)

    engine.set_ending(True)
    engine.emit("runlevel", {"RUNLEVEL": level, "PREVLEVEL": "2"}, last=True)
    go_on()
    spawned = [name for name, process, _, _ in boot.world.spawned[before:] if process == "main"]
    assert {"rc", "umountall", "hwclock-save"} <= set(spawned)
    assert {"networking", "umountall"} <= boot.running() and not {"tty1", "console"} & boot.running()
    assert ("udev" in boot.running()) == (not container)
    # What umountall asks for, in its order.
    later = ["unmounted-remote-filesystems", "deconfiguring-networking"]
    engine.stop_rest(False, [], [*later, "networking", "udev"], {})
    go_on()
    assert "networking" in boot.running() and ("udev" in boot.running()) == (not container)
    for event in later:
        engine.emit(event, {}, last=True)
        go_on()
    engine.stop_rest(False, [], ["udev"], {})
    go_on()
    assert "networking" not in boot.running() and ("udev" in boot.running()) == (not container)
    engine.stop_rest(False, [], [], {})
    go_on()
    assert boot.running() == {"umountall"}


@pytest.mark.parametrize("container", ["", "lxc"])
def test_single_user_mode_ends_each_login_and_multi_user_mode_brings_it_back(container: str) -> None:
    logins = {"tty1", "console"} if container else {"tty1"}
    boot = Boot(container).run()
    assert logins <= boot.running()
    seen = len([1 for name, *_ in boot.world.spawned if name == "serial-gettys"])
    assert seen == (not container)
    for previous, level in (("2", "3"), ("3", "S"), ("S", "2"), ("2", "1"), ("1", "4")):
        boot.emit("runlevel", RUNLEVEL=level, PREVLEVEL=previous)
        if level in "1S":
            # As container-detect does.
            boot.go_on(1.0)
            if container:
                boot.emit("container", CONTAINER=container)
            else:
                boot.emit("not-container")
        boot.go_on(2.0)
        seen += not container and level in "24" and previous in "1S"
        assert len([1 for name, *_ in boot.world.spawned if name == "serial-gettys"]) == seen, (previous, level)
        assert bool(logins & boot.running()) == (level not in "1S"), (previous, level)
        assert level in "1S" or logins <= boot.running(), (previous, level)


@pytest.mark.parametrize("network", ["none", "down"])
@pytest.mark.parametrize("container", ["", "lxc"])
def test_a_boot_into_single_user_mode_has_no_login_before_it_is_left(container: str, network: str) -> None:
    logins = {"tty1", "console"} if container else {"tty1"}
    boot = Boot(container, network, single=True).run()
    assert "runlevel RUNLEVEL=S PREVLEVEL=N" in boot.happened and "rcS" in boot.running()
    assert not [name for name, process, *_ in boot.world.spawned if name in logins and process == "main"]
    boot.emit(*(("container",) if container else ("not-container",)), **({"CONTAINER": container} if container else {}))
    boot.go_on(2.0)
    boot.world.start("rc-sysinit", FROM_SINGLE_USER_MODE="y")
    boot.go_on(5.0)
    assert "runlevel RUNLEVEL=2 PREVLEVEL=S" in boot.happened and "rcS" not in boot.running()
    assert logins <= boot.running()
