"""boot-step, the steps of a boot that are a few lines of shell each: clock, devices, modules, and what all share."""

from __future__ import annotations

import re

import pytest
from boot_step_machine import PARTS, PROGRAM, Machine, machine

__all__ = ["machine"]


def test_a_word_that_is_none_does_nothing(machine: Machine) -> None:
    assert machine.step("no-such-step") == [] and machine.status == 2
    assert machine.said == "Usage: boot-step WORD [ARGUMENT]\n"
    assert machine.step() == [] and machine.status == 2


def test_every_step_that_a_job_or_a_rule_takes_is_there_and_no_others() -> None:
    root = PROGRAM.parents[2]
    files = [*(root / "etc/init").glob("*.conf"), *(root / "etc/udev").glob("*.rules")]
    taken = {word for file in files for word in re.findall(r"boot-step ([a-z.-]+)", file.read_text())}
    choice = PROGRAM.read_text().rpartition("\ncase ${1:-} in\n")[2].replace("\\\n", "")
    places = {
        word.strip(): place
        for words, place in re.findall(r"^    (.*)\) part=(\w+) ;;", choice, re.M)
        for word in words.split(" | ")
    }
    steps = {
        word: part.name
        for part in PARTS.iterdir()
        for word in re.findall(r"^    ([a-z.-]+)\) ", part.read_text().rpartition("\ncase $1 in\n")[2], re.M)
    }
    assert "mounted-tmp" in taken
    assert taken == set(steps) and places == steps


def test_events_go_by_initctl_where_there_is_no_fifo(machine: Machine) -> None:
    (machine.root / "run/upstart/events").unlink()
    machine.program("ifquery")
    said = ["ifquery --list --allow=auto", "ifquery lo", "initctl emit --no-wait static-network-up"]
    assert machine.step("ifupdown") == said


class TestEmergency:
    def test_has_a_shell_once_however_often_mountall_is_started(self, machine: Machine) -> None:
        assert machine.step("emergency") == ["sulogin"]
        assert machine.step("emergency") == [] and machine.status == 0


class TestRescue:
    SAID = (
        "There is no runlevel, for rc-sysinit has failed.  Root can log in here; once it is mended: start rc-sysinit\n"
    )

    @pytest.mark.parametrize(
        ("active", "tty"),
        [("ttyS0\n", "ttyS0"), ("tty0 hvc0\n", "hvc0"), ("ttyS0 tty0\n", "tty1"), ("", "console")],
    )
    def test_says_so_where_somebody_can_log_in_on_the_console(self, machine: Machine, active: str, tty: str) -> None:
        machine.write("sys/class/tty/tty0/active", "tty1\n")
        if active:
            machine.write("sys/class/tty/console/active", active)
        machine.program("ps", "echo 123")
        assert machine.step("rescue") == ["sleep 2", f"ps -o pid= -t {tty}"]
        assert (machine.said, machine.status) == (self.SAID, 0)

    def test_gives_a_shell_where_nobody_can_and_tries_again_after_it(self, machine: Machine) -> None:
        machine.program("sulogin", f"[ -e {machine.root}/left ] || {{ : >{machine.root}/left; exit 1; }}")
        calls = machine.step("rescue")
        assert calls[2:] == ["sulogin", "sleep 1", "start --no-wait rc-sysinit"] and machine.status == 0


class TestClock:
    @pytest.mark.parametrize(
        ("adjtime", "local"),
        [
            ("0.0 0 0.0\n0\nLOCAL\n", True),
            ("0.0 0 0.0\n0\nLOCAL", True),
            ("0.0 0 0.0\n0\nUTC\n", False),
            ("0.0 0 0.0\n0\nNOLOCAL\n", False),
            (None, False),
        ],
    )
    def test_is_told_of_local_time_alone(self, machine: Machine, adjtime: str | None, local: bool) -> None:
        if adjtime is not None:
            machine.write("etc/adjtime", adjtime)
        assert machine.step("hwclock") == ["hwclock --systz"] * local
        assert machine.status == 0

    @pytest.mark.parametrize("file", ["rcS", "hwclock"])
    def test_is_left_alone_where_access_is_forbidden(self, machine: Machine, file: str) -> None:
        machine.write("etc/adjtime", "LOCAL\n")
        machine.write("dev/rtc0")
        machine.write(f"etc/default/{file}", "HWCLOCKACCESS=no\n")
        assert machine.step("hwclock") == machine.step("hwclock-save") == []

    @pytest.mark.parametrize(("device", "saved"), [("rtc0", True), ("rtc", True), ("rtc1", False)])
    def test_is_saved_where_there_is_one(self, machine: Machine, device: str, saved: bool) -> None:
        machine.write(f"dev/{device}")
        assert machine.step("hwclock-save") == ["hwclock --systohc"] * saved
        assert machine.status == 0

    def test_needs_the_program(self, machine: Machine) -> None:
        (machine.root / "bin/hwclock").unlink()
        machine.write("etc/adjtime", "LOCAL\n")
        machine.write("dev/rtc0")
        for word in ("hwclock", "hwclock-save"):
            assert machine.step(word) == [] and (machine.status, machine.said) == (0, "")


class TestUdev:
    @pytest.fixture(autouse=True)
    def daemon(self, machine: Machine) -> None:
        udevd = machine.write("lib/systemd/systemd-udevd", f'#!/bin/sh\necho udevd "$@" >>{machine.calls}\n')
        udevd.chmod(0o755)
        machine.write("proc/sys/kernel/osrelease", "6.1.0\n")

    def test_makes_the_nodes_by_which_modules_are_loaded(self, machine: Machine) -> None:
        machine.write(
            "lib/modules/6.1.0/modules.devname",
            "# Device nodes to trigger on-demand module loading.\nfuse fuse c10:229\ntun net/tun c10:200\n"
            "loop loop-control c10:237\nbtrfs btrfs-control c10:234\nbad nothing\nfloppy fd0 b2:0\n",
        )
        machine.write("dev/loop-control")
        calls = machine.step("udev")
        dev = machine.root / "dev"
        assert calls == [
            f"mknod -m 600 {dev}/fuse c 10 229",
            f"mknod -m 600 {dev}/net/tun c 10 200",
            f"mknod -m 600 {dev}/btrfs-control c 10 234",
            f"mknod -m 600 {dev}/fd0 b 2 0",
            "udevd --daemon",
        ]
        assert (dev / "net").is_dir() and machine.status == 0

    def test_leaves_interfaces_to_their_job(self, machine: Machine) -> None:
        machine.write(
            "lib/udev/rules.d/80-ifupdown.rules",
            '# Allow rfkill\nKERNEL=="rfkill", MODE="0664", GROUP="netdev"\n\n# Handle "\\n"\n'
            'SUBSYSTEM=="net", ACTION=="add|remove", RUN+="ifupdown-hotplug"\n',
        )
        for _ in range(2):
            assert machine.step("udev") == ["udevd --daemon"] and machine.status == 0
            assert (machine.root / "run/udev/rules.d/80-ifupdown.rules").read_text() == (
                '# Allow rfkill\nKERNEL=="rfkill", MODE="0664", GROUP="netdev"\n\n# Handle "\\n"\n'
            )

    def test_forgets_what_the_udev_of_an_initramfs_knew(self, machine: Machine) -> None:
        (machine.root / "run/udev/data").mkdir(parents=True)
        assert machine.step("udev") == ["udevadm info --cleanup-db", "udevd --daemon"]

    def test_switches_off_the_kernels_own_helper(self, machine: Machine) -> None:
        helper = machine.write("sys/kernel/uevent_helper", "/sbin/hotplug\n")
        machine.step("udev")
        assert helper.read_text() == "\n"

    def own(self, machine: Machine, nice: int = 0, group: str = "/upstart/udev") -> None:
        """The step's own priority, and its group."""
        machine.write("proc/self/stat", f"8 (sh) S 1 7 7 0 -1 0 0 0 0 0 1 2 3 4 20 {nice} 1 0 5\n")
        machine.write("proc/1/cgroup", "0::/init\n")
        machine.write("proc/self/cgroup", f"0::{group}\n")
        machine.write("sys/fs/cgroup/upstart/udev/cgroup.threads", "8\n")
        machine.program("nice")

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("bus/pci/devices/1/class", "0x020000"),
            ("bus/virtio/devices/virtio0/device", "0x0001"),
            ("bus/vmbus/devices/1/class_id", "{f8615163-df3e-46c5-913f-f2d2f965ed0e}"),
            ("bus/xen/devices/vif-0/uevent", ""),
            ("class/net/eth0/device", ""),
        ],
    )
    def test_goes_before_others_at_a_boot_where_there_is_a_network(
        self, machine: Machine, path: str, text: str
    ) -> None:
        """Whatever the machine is waited for by may wait for the card's driver."""
        for none, what in (("pci/devices/0/class", "0x010601"), ("virtio/devices/virtio1/device", "0x0002"),
                           ("vmbus/devices/0/class_id", "{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}")):  # fmt: skip
            machine.write(f"sys/bus/{none}", f"{what}\n")
        self.own(machine)
        assert machine.step("udev") == ["udevd --daemon"]
        machine.write(f"sys/{path}", f"{text}\n")
        udevd = f"{machine.root}/lib/systemd/systemd-udevd"
        assert machine.step("udev") == [f"nice -n -5 {udevd} --daemon"]
        assert (machine.root / "run/upstart/udev-priority").read_text() == "0\n"
        # A second one has the priority of its job.
        assert machine.step("udev") == ["udevd --daemon"]

    @pytest.mark.parametrize(("nice", "group"), [(-3, "/upstart/udev"), (5, "/upstart/udev"), (0, "/init")])
    def test_has_the_priority_of_its_job_where_that_gives_one_or_it_could_not_be_had_back(
        self, machine: Machine, nice: int, group: str
    ) -> None:
        machine.write("sys/class/net/eth0/device")
        self.own(machine, nice, group)
        assert machine.step("udev") == ["udevd --daemon"]
        assert not (machine.root / "run/upstart/udev-priority").exists()

    def test_is_not_taken_for_that_of_an_initramfs(self, machine: Machine) -> None:
        """Whose socket udevtrigger would find."""
        control = machine.write("run/udev/control")
        assert machine.step("udev") == ["udevd --daemon"] and not control.exists()

    def test_is_nothing_where_there_is_no_udevd(self, machine: Machine) -> None:
        (machine.root / "lib/systemd/systemd-udevd").unlink()
        assert machine.step("udev") == ["stop"]


class TestColdPlug:
    TRIGGER = (
        "udevadm trigger --type=all --action=add --subsystem-nomatch=cpu"
        " --prioritized-subsystem=module,block,tpmrm,net,tty,input"
    )

    @pytest.fixture(autouse=True)
    def devices(self, machine: Machine) -> None:
        """A disk, interfaces of a network, and what waits for drivers: a card of a network, and others."""
        machine.write("run/udev/control")
        for path in ("class/block/vda", "class/net/eth0", "bus/virtio/devices/virtio0"):
            machine.write(f"sys/{path}/uevent")
        for number, kind in enumerate(("0x020000", "0x010601", "0x030000")):
            machine.write(f"sys/bus/pci/devices/{number}/class", f"{kind}\n")
            machine.write(f"sys/bus/pci/devices/{number}/uevent")

    def told(self, machine: Machine) -> list[str]:
        """The devices that the kernel was asked to tell of."""
        root = machine.root / "sys"
        told = [path.parent for path in root.rglob("uevent") if path.read_text() == "add\n"]
        return sorted(str(path.relative_to(root)) for path in told)

    def test_has_networks_and_disks_first(self, machine: Machine) -> None:
        (machine.root / "sys/bus/pci/devices/3").mkdir()
        assert machine.step("coldplug") == ["udevadm settle --timeout=1", self.TRIGGER]
        assert machine.status == 0 and machine.said == ""
        assert self.told(machine) == [
            "bus/pci/devices/0", "bus/virtio/devices/virtio0", "class/block/vda", "class/net/eth0",
        ]  # fmt: skip

    def test_waits_until_udev_listens(self, machine: Machine) -> None:
        """What is told before is lost."""
        control = machine.root / "run/udev/control"
        control.unlink()
        slept = machine.root / "slept"
        machine.program("sleep", f"[ -e {slept} ] || {{ true >{slept}; exit; }}; true >{control}")
        assert machine.step("coldplug") == ["sleep 0.1"] * 2 + ["udevadm settle --timeout=1", self.TRIGGER]

    def priorities(self, machine: Machine, nice: dict[int, int], other: str = "(udev) worker") -> None:
        """Threads of the job udev, in this order, have these; the first is of a program ``other``."""
        machine.write("proc/1/cgroup", "0::/init\n")
        machine.write("proc/self/cgroup", "1:name=x:/\n0::/upstart/udevtrigger\n")
        machine.write("sys/fs/cgroup/upstart/udevtrigger/cgroup.threads", "5\n")
        machine.write("sys/fs/cgroup/upstart/udev/cgroup.threads", "".join(f"{pid}\n" for pid in (99, 6, *nice)))
        for pid, each in {6: 3, **nice}.items():
            name = other if pid == 6 else "systemd-udevd"
            machine.write(f"proc/{pid}/stat", f"{pid} ({name}) S 1 7 7 0 -1 0 0 0 0 0 1 2 3 4 20 {each} 1 0 55\n")
        # One that works.
        script = f"new=$2; shift 3; for pid; do [ ! -e {machine.root}/proc/$pid ] || "
        script += f"sed -i \"s/4 20 [0-9-]*/4 20 $new/\" {machine.root}/proc/$pid/stat; done"
        machine.program("renice", script)
        (machine.root / "bin/sed").unlink(missing_ok=True)
        (machine.root / "bin/sed").symlink_to("/bin/sed")

    def have(self, machine: Machine, *pids: int) -> list[int]:
        return [int((machine.root / f"proc/{pid}/stat").read_text().split()[-4]) for pid in pids]

    @pytest.mark.parametrize("own", [-10, -5, 0, 9])
    def test_has_udev_give_way_to_others_for_what_is_left(self, machine: Machine, own: int) -> None:
        # Somebody else has decided on the third, and on the first, which is no udevd.
        self.priorities(machine, {7: own, 8: own, 9: 15})
        machine.write("proc/7/autogroup", "/autogroup-5 nice 0\n")
        settle, renice, trigger = machine.step("coldplug")
        assert (settle, trigger) == ("udevadm settle --timeout=1", self.TRIGGER)
        # And this step itself.
        assert re.fullmatch(r"renice -n 10 -p 7 8 \d+", renice)
        assert (machine.root / "proc/7/autogroup").read_text() == "10\n"
        assert self.have(machine, 6, 7, 8, 9) == [3, 10, 10, 15]
        begin = ["udevadm trigger --action=add --subsystem-match=cpu", "udevadm settle"]
        assert machine.step("coldplugged") == [*begin, f"renice -n {own} -p 7 8"]
        assert self.have(machine, 6, 7, 8, 9) == [3, own, own, 15]
        assert machine.step("coldplugged") == begin

    @pytest.mark.parametrize("gave_way", [False, True])
    def test_has_udev_what_its_job_gives_in_the_end(self, machine: Machine, gave_way: bool) -> None:
        """Where a boot had it go before others, and also where the cold plug is stopped before it comes to the rest."""
        changed = machine.write("run/upstart/udev-priority", "0\n")
        self.priorities(machine, {7: -5, 8: -5})
        if gave_way:
            assert machine.step("coldplug")[1].startswith("renice -n 10 -p 7 8 ")
        machine.step("coldplugged")
        assert self.have(machine, 7, 8) == [0, 0] and changed.read_text() == ""

    def test_leaves_a_lower_priority_that_the_job_gives(self, machine: Machine) -> None:
        for nice in (10, 19):
            self.priorities(machine, {7: nice})
            called = machine.step("coldplug") + machine.step("coldplugged")
            assert not [each for each in called if each.startswith("renice")]

    @pytest.mark.parametrize("group", ["0::/init\n", "", None])
    def test_changes_no_priority_where_it_cannot_tell_whose(self, machine: Machine, group: str | None) -> None:
        """As where init was told to make no control groups."""
        self.priorities(machine, {7: 0})
        if group is None:
            (machine.root / "proc/self/cgroup").unlink()
        else:
            machine.write("proc/self/cgroup", group)
        called = machine.step("coldplug") + machine.step("coldplugged")
        assert not [each for each in called if each.startswith("renice")] and machine.said == ""

    def test_is_the_same_on_a_machine_that_has_none_of_that(self, machine: Machine) -> None:
        for path in ("class/block/vda/uevent", "class/net/eth0/uevent", "bus/virtio/devices/virtio0/uevent"):
            (machine.root / "sys" / path).unlink()
        machine.write("proc/self/cgroup", "0::/\n")
        assert machine.step("coldplug")[-1] == self.TRIGGER and machine.said == ""


class TestFormats:
    def test_are_mounted_when_their_module_has_come(self, machine: Machine) -> None:
        place = machine.root / "proc/sys/fs/binfmt_misc"
        assert machine.step("binfmt") == []
        place.mkdir(parents=True)
        assert machine.step("binfmt") == [f"mount -t binfmt_misc -o nodev,noexec,nosuid binfmt_misc {place}"]
        (place / "register").write_text("")
        assert machine.step("binfmt") == []
        (place / "register").unlink()
        (machine.root / "run/upstart/events").unlink()
        assert machine.step("binfmt") == []


class TestModules:
    @pytest.fixture(autouse=True)
    def kernel(self, machine: Machine) -> None:
        machine.write("proc/modules")

    def test_are_loaded_at_once_and_those_with_options_by_themselves(self, machine: Machine) -> None:
        text = "# comment\n\nloop max_loop=8\n  fuse\n; another\nnbd # not an option\ndummy numdummies=2 x=y\nlast"
        machine.write("etc/modules", text)
        assert machine.step("kmod") == [
            "modprobe -b loop max_loop=8",
            "modprobe -b dummy numdummies=2 x=y",
            "modprobe -a -b fuse nbd last",
        ]

    def test_of_files_with_one_name_come_from_the_first_directory(self, machine: Machine) -> None:
        for number, directory in enumerate(("etc", "run", "usr/local/lib", "usr/lib")):
            machine.write(f"{directory}/modules-load.d/all.conf", f"all{number}\n")
            machine.write(f"{directory}/modules-load.d/only{number}.conf", f"only{number}\n")
            machine.write(f"{directory}/modules-load.d/from{number}.conf", f"from{number}\n")
            for later in ("etc", "run", "usr/local/lib", "usr/lib")[number + 1 :]:
                machine.write(f"{later}/modules-load.d/from{number}.conf", f"wrong{number}\n")
        machine.write("etc/modules-load.d/no-module-file", "nothing\n")
        (call,) = machine.step("kmod")
        words = call.split()[3:]
        assert sorted(words) == sorted(
            ["all0", *(f"{kind}{number}" for kind in ("only", "from") for number in range(4))]
        )

    def test_of_a_file_that_is_masked_are_not_loaded(self, machine: Machine) -> None:
        (machine.root / "etc/modules-load.d").mkdir()
        (machine.root / "etc/modules-load.d/cups.conf").symlink_to("/dev/null")
        (machine.root / "etc/modules-load.d/gone.conf").symlink_to("/no/such/file")
        machine.write("usr/lib/modules-load.d/cups.conf", "lp\n")
        machine.write("usr/lib/modules-load.d/gone.conf", "ppdev\n")
        assert machine.step("kmod") == []

    def test_of_etc_modules_are_loaded_once(self, machine: Machine) -> None:
        machine.write("etc/modules", "fuse\n")
        (machine.root / "etc/modules-load.d").mkdir()
        (machine.root / "etc/modules-load.d/modules.conf").symlink_to("../modules")
        assert machine.step("kmod") == ["modprobe -a -b fuse"]

    @pytest.mark.parametrize(
        ("words", "modules"),
        [
            ("modules_load=a,b quiet", "a b"),
            ("modules-load=c", "c"),
            ("modules_load=a modules-load=b,c", "a b c"),
            ("rd.modules-load=d", "d"),
            ("nomodules_load=x", ""),
        ],
    )
    def test_may_be_named_to_the_kernel(self, machine: Machine, words: str, modules: str) -> None:
        machine.write("proc/cmdline", f"ro {words}\n")
        assert machine.step("kmod") == [f"modprobe -a -b {modules}"] * bool(modules)

    def test_are_none_where_the_kernel_has_none(self, machine: Machine) -> None:
        machine.write("etc/modules", "fuse\n")
        (machine.root / "proc/modules").unlink()
        assert machine.step("kmod") == [] and machine.status == 0


class TestRandom:
    def test_seed_is_never_used_twice(self, machine: Machine) -> None:
        seed = machine.write("var/lib/urandom/random-seed", "s" * 512)
        (machine.root / "dev/urandom").unlink()
        (machine.root / "dev/urandom").symlink_to("/dev/zero")
        machine.step("urandom")
        assert machine.status == 0
        assert seed.read_bytes() == bytes(512)

    def test_seed_is_secret_and_of_a_size(self, machine: Machine) -> None:
        (machine.root / "var/lib/urandom").mkdir(parents=True)
        machine.step("urandom-save")
        seed = machine.root / "var/lib/urandom/random-seed"
        assert seed.stat().st_size == 512 and seed.stat().st_mode & 0o777 == 0o600
        assert len(set(seed.read_bytes())) > 100

    def test_is_nothing_without_a_place_for_it(self, machine: Machine) -> None:
        machine.step("urandom-save")
        assert (machine.status, machine.said) == (0, "")
        assert not (machine.root / "var/lib/urandom").exists()


class TestBrightness:
    @pytest.mark.parametrize(
        ("screen", "record"), [("acpi_video0", "brightness"), ("intel_backlight", "brightness.intel")]
    )
    def test_is_kept_and_comes_back(self, machine: Machine, screen: str, record: str) -> None:
        knob = machine.write(f"sys/class/backlight/{screen}/brightness", "300\n")
        machine.write(f"sys/class/backlight/{screen}/max_brightness", "900\n")
        (machine.root / "var/lib/initscripts").mkdir(parents=True)
        machine.step("brightness-save")
        assert (machine.root / "var/lib/initscripts" / record).read_text() == "300\n"
        knob.write_text("1\n")
        machine.step("brightness")
        assert knob.read_text() == "300\n"

    def test_is_full_where_none_was_kept(self, machine: Machine) -> None:
        knob = machine.write("sys/class/backlight/acpi_video0/brightness", "0\n")
        machine.write("sys/class/backlight/acpi_video0/max_brightness", "15\n")
        machine.step("brightness")
        assert knob.read_text() == "15\n" and machine.status == 0


class TestRcLocal:
    STOCK = "#!/bin/sh -e\n#\n# rc.local\n\nexit 0\n"

    def run(self, machine: Machine, text: str, mode: int = 0o755) -> list[str]:
        machine.write("etc/rc.local", text.replace("MARK", f"echo ran >>{machine.calls}")).chmod(mode)
        calls = machine.step("rc.local")
        assert machine.status == 0
        return calls

    @pytest.mark.parametrize(
        "text", ["#!/bin/sh\nMARK\nexit 0\n", "#!/bin/sh\nexit_code=0\nMARK", "#!/bin/sh\n\tMARK\n"]
    )
    def test_is_run_where_it_does_something(self, machine: Machine, text: str) -> None:
        assert self.run(machine, text) == ["ran"]

    @pytest.mark.parametrize("text", [STOCK, "", "#!/bin/sh\n  # MARK\nexit 0"])
    def test_is_not_run_for_nothing(self, machine: Machine, text: str) -> None:
        assert self.run(machine, text) == []

    def test_is_not_run_where_it_is_switched_off(self, machine: Machine) -> None:
        assert self.run(machine, "#!/bin/sh\nMARK\n", 0o644) == []

    def test_need_not_be_there(self, machine: Machine) -> None:
        assert machine.step("rc.local") == [] and machine.status == 0


class TestDmesg:
    def test_is_kept_with_five_earlier_ones(self, machine: Machine) -> None:
        log = machine.root / "var/log"
        for number in range(1, 9):
            machine.program("dmesg", f"echo boot {number}")
            machine.step("dmesg")
            assert machine.status == 0
        assert {path.name: path.read_text() for path in log.iterdir()} == {
            "dmesg": "boot 8\n",
            **{f"dmesg.{number}": f"boot {7 - number}\n" for number in range(5)},
        }
        assert (log / "dmesg").stat().st_mode & 0o777 == 0o640

    def test_belongs_to_the_group_that_reads_logs(self, machine: Machine) -> None:
        assert machine.step("dmesg") == ["dmesg", f"chgrp adm {machine.root}/var/log/dmesg"]
