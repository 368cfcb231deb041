"""The steps of boot-step that have to do with the network."""

from __future__ import annotations

import re

import pytest
from boot_step_machine import Machine, machine

__all__ = ["machine"]


class TestInterfaces:
    def wants(self, machine: Machine, *names: str) -> None:
        machine.program("ifquery", "case $1 in --list) printf '%s\\n' " + " ".join(("lo", *names)) + ";; esac")

    def test_that_are_wanted_are_noted(self, machine: Machine) -> None:
        self.wants(machine, "eth0", "br0")
        machine.step("ifupdown")
        assert (machine.root / "run/network/upstart/wanted").read_text() == " eth0 br0\n"
        assert (machine.root / "run/network/ifstate").read_text() == "lo=lo\n"
        assert machine.events() == []
        machine.step("ifupdown")
        assert (machine.root / "run/network/ifstate").read_text() == "lo=lo\n"

    def test_of_the_loopback_have_what_is_written_of_it(self, machine: Machine) -> None:
        machine.program("ifquery", "case $1 in lo) echo up: ip address add 192.0.2.1 dev lo;; --list) echo lo;; esac")
        machine.step("ifupdown")
        assert machine.events() == ["network-interface-wanted INTERFACE=lo", "static-network-up"]
        assert (machine.root / "run/network/ifstate").read_text() == ""

    def test_that_are_none_mean_a_network_that_is_up_told_once(self, machine: Machine) -> None:
        self.wants(machine)
        machine.step("ifupdown")
        assert machine.events() == ["static-network-up"]
        machine.step("ifupdown")
        assert machine.events() == []

    def test_of_no_ifupdown_mean_the_same(self, machine: Machine) -> None:
        (machine.root / "bin/ifquery").unlink()
        machine.step("ifupdown")
        assert machine.events() == ["static-network-up"]

    @pytest.mark.parametrize(
        ("setting", "wanted"),
        [
            ("CONFIGURE_INTERFACES=no", ""),
            ("EXCLUDE_INTERFACES='eth0 wlan0'", " br0"),
            ("EXCLUDE_INTERFACES=eth", " eth0 br0"),
            ("EXCLUDE_INTERFACES='e* wlan0'", " br0"),
        ],
    )
    def test_may_be_left_out(self, machine: Machine, setting: str, wanted: str) -> None:
        self.wants(machine, "eth0", "br0")
        machine.write("etc/default/networking", f"{setting}\n")
        machine.step("ifupdown")
        assert (machine.root / "run/network/upstart/wanted").read_text() == f"{wanted}\n"
        assert machine.events() == ["static-network-up"] * (not wanted)

    def test_without_a_device_are_asked_for(self, machine: Machine) -> None:
        machine.write("run/network/upstart/wanted", " eth0 br0 bond0\n")
        machine.write("sys/class/net/eth0/carrier", "1\n")
        machine.step("ifupdown-virtual")
        assert machine.events() == [f"network-interface-wanted INTERFACE={name}" for name in ("br0", "bond0")]

    def test_that_a_container_has_are_told_of(self, machine: Machine) -> None:
        for name in ("lo", "eth0", "eth1"):
            (machine.root / "sys/class/net" / name).mkdir()
        machine.step("interfaces-there")
        assert machine.events() == [
            f"net-device-added INTERFACE={name} SUBSYSTEM=net ACTION=add" for name in ("eth0", "eth1")
        ]

    @pytest.mark.parametrize(
        ("action", "event"),
        [
            ("add", "added"),
            ("remove", "removed"),
            ("change", "changed"),
            ("move", "changed"),
        ],
    )
    def test_are_told_of_by_udev(self, machine: Machine, action: str, event: str) -> None:
        env = {"ACTION": action, "INTERFACE": "eth0", "DEVPATH": "/devices/x/net/eth0", "SUBSYSTEM": "net",
               "ID_BUS": "usb", "ID_PATH": "", "ID_SERIAL": "made by $(someone) & co", "OTHER": "x"}  # fmt: skip
        machine.step("device", **env)
        (told,) = machine.events()
        begin = f"net-device-{event} KERNEL=eth0 DEVPATH=/devices/x/net/eth0 SUBSYSTEM=net ACTION={action} "
        assert told.startswith(begin)
        assert sorted(told.removeprefix(begin).split(" ")) == ["ID_BUS=usb", "INTERFACE=eth0", "OTHER=x"]
        machine.write("run/upstart/recovery")
        machine.step("device", **env)
        assert machine.events() == []
        (machine.root / "run/upstart/recovery").unlink()
        (machine.root / "run/upstart/events").unlink()
        assert machine.step("device", **env) == []

    @pytest.mark.parametrize(("failing", "status"), [("none", 0), ("auto", 3), ("hotplug", 3)])
    def test_whose_device_is_there_are_brought_up_whichever_way_they_are_to_be(
        self, machine: Machine, failing: str, status: int
    ) -> None:
        machine.write("run/network/upstart/wanted", " eth1\n")
        machine.program("ifup", f"[ $1 != --allow={failing} ] || exit 3")
        assert machine.step("interface-up", INTERFACE="eth0") == ["ifup --allow=hotplug eth0", "ifup --allow=auto eth0"]
        assert machine.status == status

    def test_that_the_boot_waits_for_are_brought_up_as_such(self, machine: Machine) -> None:
        machine.write("run/network/upstart/wanted", " eth1 eth0\n")
        assert machine.step("interface-up", INTERFACE="eth0") == ["ifup --allow=auto eth0"] and machine.status == 0

    def processes(self, machine: Machine, nice: dict[str, int], group: str = "/upstart/network-interface/eth0") -> None:
        """Those of the job, by their pids or names, in this order; with their priorities."""
        machine.write("proc/1/cgroup", "0::/init\n")
        machine.write("proc/self/cgroup", f"0::{group}\n")
        pids = [f"{pid}\n" for pid in nice if pid.isdecimal()]
        machine.write("sys/fs/cgroup/upstart/network-interface/eth0/cgroup.threads", "".join(pids))
        for pid, each in nice.items():
            machine.write(f"proc/{pid}/stat", f"8 (dhclient) S 1 7 7 0 -1 0 0 0 0 0 1 2 3 4 20 {each} 1 0 5\n")

    @pytest.mark.parametrize("own", [0, 3])
    def test_come_up_before_others_and_what_they_leave_does_not_stay_so(self, machine: Machine, own: int) -> None:
        machine.write("run/network/upstart/wanted", "eth0\n")
        # The second one has lowered its priority a little, and the last has one of its own.
        self.processes(machine, {"self": own, "7": -10, "8": -5, "9": 5})
        machine.program("ifup", "exit 3")
        first, up, *then = machine.step("interface-up", INTERFACE="eth0")
        assert re.fullmatch(r"renice -n -10 -p \d+", first) and up == "ifup --allow=auto eth0"
        # The one here changes nothing, so it is tried again, and not for ever.
        assert then == [f"renice -n {own} -p 7 8"] * 3 and machine.status == 3

    def test_that_go_down_leave_nothing_before_others(self, machine: Machine) -> None:
        """Where the step that brings one up was ended before it came to that."""
        self.processes(machine, {"self": 0, "7": -10})
        machine.program("renice", f"sed -i 's/-10/0/' {machine.root}/proc/7/stat")
        machine.program("sed", '/bin/sed "$@"')
        assert "renice -n 0 -p 7" in machine.step("interface-gone", INTERFACE="eth0")
        assert "renice -n 0 -p 7" not in machine.step("interface-gone", INTERFACE="eth0")

    def test_come_up_like_others_where_the_kernel_lets_no_one_go_first(self, machine: Machine) -> None:
        machine.write("run/network/upstart/wanted", "eth0\n")
        self.processes(machine, {"self": 0, "7": -10})
        machine.program("renice", "exit 1")
        calls = machine.step("interface-up", INTERFACE="eth0")
        assert calls[0].startswith("renice -n -10 ") and calls[1:] == ["ifup --allow=auto eth0"]

    @pytest.mark.parametrize("why", ["container", "no groups", "groups elsewhere"])
    def test_come_up_like_others_where_that_could_not_be_taken_back(self, machine: Machine, why: str) -> None:
        """As where init was told to make no control groups; and in a container, which may not."""
        machine.write("run/network/upstart/wanted", "eth0\n")
        self.processes(machine, {"self": 0, "7": -10}, *["/init"] if why == "no groups" else [])
        if why == "container":
            machine.write("run/container_type", "lxc\n")
        elif why == "groups elsewhere":
            (machine.root / "sys/fs/cgroup").rename(machine.root / "sys/fs/unified")
        assert machine.step("interface-up", INTERFACE="eth0") == ["ifup --allow=auto eth0"]

    def test_wait_until_what_is_wanted_is_known(self, machine: Machine) -> None:
        """Until then the root may be read-only, and interfaces(5) be written."""
        machine.write("run/network/upstart/wanted", "")
        wanted = machine.root / "run/network/upstart/wanted"
        machine.program("sleep", f"echo eth0 >{wanted}")
        assert machine.step("interface-up", INTERFACE="eth0") == ["sleep 0.2", "ifup --allow=auto eth0"]

    def test_wait_for_that_no_longer_than_a_minute(self, machine: Machine) -> None:
        machine.program("ifup")
        calls = machine.step("interface-up", INTERFACE="eth0")
        assert calls == [*["sleep 0.2"] * 300, "ifup --allow=hotplug eth0", "ifup --allow=auto eth0"]
        assert machine.said == "eth0 waits no longer for the job ifupdown\n"

    @pytest.mark.parametrize("setting", ["CONFIGURE_INTERFACES=no", "EXCLUDE_INTERFACES='br0 eth*'"])
    def test_that_are_left_out_are_not_brought_up(self, machine: Machine, setting: str) -> None:
        machine.write("etc/default/networking", f"{setting}\n")
        assert machine.step("interface-up", INTERFACE="eth0") == [] and machine.status == 0

    def test_are_others_business_without_ifupdown(self, machine: Machine) -> None:
        (machine.root / "bin/ifup").unlink()
        assert machine.step("interface-up", INTERFACE="eth0") == [] and machine.status == 0

    def test_that_have_gone_are_taken_down_and_others_with_the_network(self, machine: Machine) -> None:
        machine.write("run/network/upstart/wanted", " eth0\n")
        assert machine.step("interface-gone", INTERFACE="eth0", UPSTART_STOP_EVENTS="net-device-removed") == [
            "ifdown --force eth0"
        ]
        assert machine.step("interface-gone", INTERFACE="eth0", UPSTART_STOP_EVENTS="deconfiguring-networking") == []
        assert machine.step("interface-gone", INTERFACE="eth0") == []


class TestNetworking:
    def test_brings_nothing_up_that_comes_up_by_itself(self, machine: Machine) -> None:
        assert machine.step("networking-start", UPSTART_EVENTS="static-network-up") == []

    def test_brings_up_by_hand_what_was_taken_down_by_hand(self, machine: Machine) -> None:
        assert machine.step("networking-stop") == ["ifdown -a --exclude=lo"]
        assert machine.step("networking-start") == ["ifup -a", "ifquery --list --allow=hotplug"]
        assert machine.step("networking-start", UPSTART_EVENTS="failsafe-boot") == []

    def test_brings_up_by_hand_what_is_plugged_in(self, machine: Machine) -> None:
        machine.program("ifquery", "echo eth0 eth1 eth2")
        for name in ("eth0", "eth2"):
            (machine.root / "sys/class/net" / name).mkdir()
        machine.write("etc/default/networking", "EXCLUDE_INTERFACES='eth2 w*'\n")
        machine.program("ifup", "[ $1 != -a ]")
        assert machine.step("networking-start") == [
            "ifup -a --exclude=eth2 --exclude=w*", "ifquery --list --allow=hotplug", "ifup --allow=hotplug eth0"
        ]  # fmt: skip
        assert machine.status == 1

    def test_brings_nothing_up_where_nothing_is_to_be_configured(self, machine: Machine) -> None:
        machine.write("etc/default/networking", "CONFIGURE_INTERFACES=no\n")
        assert machine.step("networking-start") == []

    def test_takes_the_network_down_at_the_end(self, machine: Machine) -> None:
        machine.write("proc/mounts", "/dev/vda1 / ext4 rw 0 0\nproc /proc proc rw 0 0\n")
        machine.write("run/network/ifstate", "lo=lo\neth0=eth0\n")
        assert machine.step("networking-stop", UPSTART_STOP_EVENTS="runlevel") == ["ifdown -a --exclude=lo"]
        # Whoever starts it next is the next boot, which has others bring interfaces up.
        assert machine.step("networking-start", UPSTART_EVENTS="static-network-up") == []

    @pytest.mark.parametrize("state", ["", "lo=lo\n", None])
    def test_has_nothing_to_take_down_where_nothing_is_up(self, machine: Machine, state: str | None) -> None:
        machine.write("proc/mounts", "/dev/vda1 / ext4 rw 0 0\n")
        if state is not None:
            machine.write("run/network/ifstate", state)
        assert machine.step("networking-stop", UPSTART_STOP_EVENTS="runlevel") == [] and machine.status == 0

    @pytest.mark.parametrize(
        "line",
        [
            "server:/home /home nfs rw 0 0",
            "server:/home /home nfs4 rw 0 0",
            "//s/x /mnt cifs rw 0 0",
            "/dev/nbd0 /mnt ext4 rw 0 0",
            "m1:/ /mnt ceph rw 0 0",
            "x /mnt 9p rw 0 0",
        ],
    )
    def test_leaves_it_up_for_files_on_it(self, machine: Machine, line: str) -> None:
        machine.write("proc/mounts", machine.within(f"/dev/vda1 / ext4 rw 0 0\n{line}\n"))
        machine.write("run/network/ifstate", "lo=lo\neth0=eth0\n")
        assert machine.step("networking-stop", UPSTART_STOP_EVENTS="runlevel") == []
        assert machine.said == f"network interfaces stay up: {line.split()[1]} is mounted\n"

    def test_leaves_it_up_for_a_root_by_iscsi(self, machine: Machine) -> None:
        machine.write("proc/mounts", "/dev/sda1 / ext4 rw 0 0\n")
        machine.write("etc/iscsi/iscsi.initramfs")
        machine.write("run/network/ifstate", "lo=lo\neth0=eth0\n")
        assert machine.step("networking-stop", UPSTART_STOP_EVENTS="runlevel") == []

    def test_has_nothing_to_do_without_ifupdown(self, machine: Machine) -> None:
        (machine.root / "bin/ifdown").unlink()
        assert machine.step("networking-stop", UPSTART_STOP_EVENTS="runlevel") == []
        assert machine.status == 0


class TestNetworkOnline:
    HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    LOCAL = "eth0\t000A0A0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    DEFAULT = "eth0\t00000000\t010A0A0A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    NOWHERE = f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200       lo\n"
    DEFAULT6 = f"{'0' * 32} 00 {'0' * 32} 00 fe8{'0' * 28}1 00000400 00000001 00000000 00000003     eth0\n"

    @pytest.mark.parametrize(("route", "route6"), [(DEFAULT, NOWHERE), (LOCAL + DEFAULT, ""), (LOCAL, DEFAULT6)])
    def test_is_told_when_there_is_a_default_route(self, machine: Machine, route: str, route6: str) -> None:
        (machine.root / "run/network/static-network-up-emitted").mkdir(parents=True)
        machine.write("proc/net/route", self.HEAD + route)
        machine.write("proc/net/ipv6_route", route6)
        assert machine.step("network-online") == [] and machine.events() == ["network-online"]

    def test_time_counts_from_when_the_boot_has_come_to_it(self, machine: Machine) -> None:
        state = machine.root / "run/network/upstart"
        count = f"n=0; while read -r _; do n=$((n + 1)); done <{machine.calls}"
        machine.program("sleep", f"{count}; [ $n -lt 40 ] || /bin/mkdir -p {state}")
        assert machine.step("network-online", LIMIT="5") == ["sleep 1"] * (39 + 15)

    @pytest.mark.parametrize(("up", "seconds"), [(True, 5), (False, 15)])
    def test_is_not_waited_for_for_ever(self, machine: Machine, up: bool, seconds: int) -> None:
        (machine.root / "run/network/upstart").mkdir(parents=True, exist_ok=True)
        if up:
            (machine.root / "run/network/static-network-up-emitted").mkdir(parents=True)
            machine.write("proc/net/route", self.HEAD + self.LOCAL)
            machine.write("proc/net/ipv6_route", self.NOWHERE)
        assert machine.step("network-online", LIMIT="5") == ["sleep 1"] * seconds
        assert machine.events() == ["network-online"]


class TestFailsafe:
    @pytest.fixture(autouse=True)
    def wanted(self, machine: Machine) -> None:
        machine.write("run/network/upstart/wanted", " eth0 eth1 eth2 eth3\n")
        machine.write("run/network/upstart/up.eth0")
        machine.write("sys/class/net/eth2/carrier", "0\n")
        machine.write("sys/class/net/eth3/carrier", "1\n")

    WHY = "eth1 (there is no such device), eth2 (no cable, or no link), eth3 (no answer to its configuration yet)"

    def test_says_what_the_boot_waits_for_and_goes_on_without(self, machine: Machine) -> None:
        assert machine.step("failsafe", TIMEOUT="60") == ["sleep 10", "sleep 20", "sleep 30", "sleep 5"]
        assert machine.said.splitlines() == [
            f"The boot waits for the network: {self.WHY} (for 50 seconds more).",
            f"The boot waits for the network: {self.WHY} (for 30 seconds more).",
            f"The boot goes on without all of the network: {self.WHY}.",
        ]
        assert machine.events() == ["failsafe-boot"]

    @pytest.mark.parametrize(
        ("limit", "waits"),
        [
            ("0", []),
            ("5", [5]),
            ("10", [10]),
            ("25", [10, 15]),
            ("100", [10, 20, 30, 40]),
            ("300", [10, 20, 30, *[60] * 4]),
        ],
    )
    def test_waits_as_long_as_it_is_told(self, machine: Machine, limit: str, waits: list[int]) -> None:
        assert machine.step("failsafe", TIMEOUT=limit) == [*(f"sleep {each}" for each in waits), "sleep 5"]
        assert machine.events() == ["failsafe-boot"]

    def test_has_nothing_to_say_of_a_network_that_is_there(self, machine: Machine) -> None:
        machine.write("run/network/upstart/wanted", " eth0\n")
        machine.step("failsafe", TIMEOUT="60")
        assert machine.said == "The boot goes on without all of the network.\n"

    def test_ends_in_peace_when_it_is_not_needed(self, machine: Machine) -> None:
        machine.program("sleep", "kill -TERM $PPID; exec /bin/sleep 0.1")
        machine.step("failsafe", TIMEOUT="60")
        assert (machine.status, machine.said, machine.events()) == (0, "", [])
