"""The recovery mode: its job, its menu, and its entries, with a directory in the place of the machine."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from boot_model import SERVICE_JOBS, Boot
from test_native_boot import check

from upstart.conf.parse import parse_job

ROOT = Path(__file__).parents[2]
JOB = ROOT / "debian/recovery/recovery.conf"
OPTIONS = sorted((ROOT / "src/recovery/options").iterdir())
#: Programs that say how they are called; others are the system's.
PROGRAMS = (
    "initctl", "start", "stop", "dmesg", "hostname", "mountpoint", "udevadm", "sulogin", "ifdown", "mountall", "fsck",
    "ifup", "dpkg", "apt-get", "update-grub", "grub-reboot", "reboot", "poweroff", "ip", "sync", "findmnt",
    "init-checkconf", "lsblk", "df", "free",
)  # fmt: skip


class Machine:
    """Files below ``root``; each of `PROGRAMS` writes its name and arguments to a list."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = root / "calls"
        for name in ("bin", "etc/init", "run/upstart", "proc/sys/kernel", "var/log/upstart", "boot/grub"):
            (root / name).mkdir(parents=True)
        for name in PROGRAMS:
            self.program(name)
        self.mount("ro")
        self.write("proc/sys/kernel/printk", "7\t4\t1\t7\n")
        self.menu = root / "lib/recovery-mode"
        for source in [*OPTIONS, *(ROOT / "src/recovery").glob("*"), ROOT / "src/libexec/recovery-step"]:
            if source.is_file():
                place = "options/" if source in OPTIONS else ""
                self.write(f"lib/recovery-mode/{place}{source.name}", self.placed(source.read_text())).chmod(0o755)

    def placed(self, text: str) -> str:
        """A program's text with this machine's files in it."""
        text = re.sub(r"(?<![\w/.}])/(run|etc|proc|lib/recovery-mode|var|boot)/", rf"{self.root}/\1/", text)
        return text.replace("PATH=/sbin", f"PATH={self.root}/bin:/sbin")

    def write(self, name: str, text: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def program(self, name: str, text: str = "") -> None:
        self.write(f"bin/{name}", f'#!/bin/sh\necho {name} "$@" >>{self.calls}\n{text}\n').chmod(0o755)

    def mount(self, how: str) -> None:
        """Root, read-only or not."""
        self.write("proc/mounts", f"/dev/x / ext4 {how},relatime 0 0\nproc /proc proc rw 0 0\n")

    def run(self, program: str, *words: str, typed: str = "", **env: str) -> str:
        """What it says."""
        self.calls.write_text("")
        done = subprocess.run(
            [self.menu / program, *words], check=False, input=typed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=20, env={"PATH": f"{self.root}/bin:{os.defpath}", "RECOVERY_PLAIN": "y"} | env,
        )  # fmt: skip
        self.status = done.returncode
        return done.stdout

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_job_is_understood_and_each_of_its_processes_is_a_step() -> None:
    job = parse_job("recovery", JOB.read_text(), str(JOB))
    assert job.description and job.console == "owner"
    words = {definition.command.split()[-1] for definition in job.processes.values()}
    step = (ROOT / "src/libexec/recovery-step").read_text()
    assert words == set(re.findall(r"^    (\w+)\) step_", step, re.M))


GOES_ON = [
    "initctl emit --no-wait startup",
    "initctl emit --no-wait not-container",
    "initctl emit --no-wait net-device-up IFACE=lo LOGICAL=lo ADDRFAM=inet METHOD=loopback",
]


class TestStep:
    def test_brings_the_devices_and_keeps_the_console_free(self, machine: Machine) -> None:
        assert machine.run("recovery-step", "begin", UPSTART_EVENTS="recovery") == ""
        assert machine.status == 0
        assert (machine.root / "run/upstart/recovery").read_text() == "7\n"
        called = machine.called()
        assert called[0] == "dmesg -n 1"
        assert called.index("start udev") < called.index("udevadm settle --timeout=30")

    def test_goes_on_once_as_init_begins(self, machine: Machine) -> None:
        machine.run("recovery-step", "begin", UPSTART_EVENTS="recovery")
        machine.run("recovery-step", "resume")
        assert machine.called() == ["dmesg -n 7", *GOES_ON]
        machine.run("recovery-step", "resume")
        assert machine.called() == []

    def test_goes_on_in_a_container(self, machine: Machine) -> None:
        machine.write("run/container_type", "lxc\n")
        machine.run("recovery-step", "begin", UPSTART_EVENTS="recovery")
        assert "start udev" not in machine.called()
        machine.run("recovery-step", "resume")
        assert "initctl emit --no-wait container CONTAINER=lxc" in machine.called()

    def test_does_not_go_on_where_a_runlevel_was_entered(self, machine: Machine) -> None:
        machine.run("recovery-step", "begin", UPSTART_EVENTS="recovery")
        machine.run("recovery-step", "resume", UPSTART_STOP_EVENTS="runlevel")
        assert machine.called() == []
        machine.write("run/upstart/runlevel")
        machine.run("recovery-step", "resume")
        assert machine.called() == []

    def test_by_hand_has_nothing_to_go_on_with(self, machine: Machine) -> None:
        machine.run("recovery-step", "begin")
        assert machine.called() == []
        machine.run("recovery-step", "resume")
        assert machine.called() == []

    def test_takes_down_what_it_has_brought_up(self, machine: Machine) -> None:
        machine.run("recovery-step", "begin", UPSTART_EVENTS="recovery")
        machine.run("options/network")
        assert "ifup -a" in machine.called()
        machine.write("run/network/static-network-up-emitted/x")
        machine.run("recovery-step", "resume")
        assert machine.called()[0] == "ifdown -a --exclude=lo"
        assert not (machine.root / "run/network/static-network-up-emitted").exists()

    def test_asks_for_the_password_of_root(self, machine: Machine) -> None:
        machine.write("etc/shadow", "root:$y$x:1:::::\n")
        machine.program("sulogin", f"echo $SUSHELL >>{machine.calls}")
        machine.run("recovery-step", "menu")
        assert machine.called() == ["sulogin", f"{machine.root}/lib/recovery-mode/recovery-menu"]

    @pytest.mark.parametrize("password", ["!", "*", "!$y$x"])
    def test_lets_nobody_in_where_root_is_locked_unless_told_to(self, machine: Machine, password: str) -> None:
        machine.write("etc/shadow", f"root:{password}:1:::::\n")
        assert "the boot goes on" in machine.run("recovery-step", "menu")
        assert (machine.status, machine.called()) == (0, [])
        machine.run("recovery-step", "menu", SULOGIN_OPTIONS="--force")
        assert machine.called() == ["sulogin --force"]


class TestMenu:
    def test_has_every_option_with_its_title_and_goes_on(self, machine: Machine) -> None:
        machine.write("boot/grub/grub.cfg", 'set default="${next_entry}"\n')
        said = machine.run("recovery-menu", typed="resume\n")
        assert machine.status == 0
        assert "the root file system is read-only" in said
        for path in OPTIONS:
            assert re.search(rf"^ +\d+  {path.name} +[A-Z]", said, re.M), path.name

    def test_takes_numbers_and_names_and_asks_again_for_others(self, machine: Machine) -> None:
        said = machine.run("recovery-menu", typed="99\nnonsense\n\n1\n")
        assert (machine.status, said.count("Recovery menu")) == (0, 2)

    @pytest.mark.parametrize("option", ["summary", "failed", "log"])
    def test_waits_until_a_text_was_read(self, machine: Machine, option: str) -> None:
        said = machine.run("recovery-menu", typed=f"{option}\n\nresume\n")
        assert (machine.status, said.count("Recovery menu"), said.count("Press Enter")) == (0, 2, 1)

    def on_a_screen(self, machine: Machine, term: str = "linux") -> str:
        """What it shows on a terminal; it is ended when that is taken away."""
        master, slave = pty.openpty()
        env = {"PATH": os.defpath, "TERM": term}
        menu = machine.menu / "recovery-menu"
        with subprocess.Popen([menu], stdin=slave, stdout=slave, stderr=slave, env=env) as process:
            os.close(slave)
            said = b""
            while not re.search(rb"Number|END", said):
                said += os.read(master, 1000)
            os.close(master)
            process.wait(20)
        return said.decode()

    def test_is_shown_by_whiptail_on_a_screen(self, machine: Machine) -> None:
        machine.program("whiptail", "echo END; echo resume >&2")
        self.on_a_screen(machine)
        (call,) = machine.called()
        title = "Recovery menu (the root file system is read-only)"
        assert call.startswith(f"whiptail --menu {title} 20 74 12 resume Go on")

    def test_that_lost_its_screen_is_left(self, machine: Machine) -> None:
        machine.program("whiptail", "echo END; sleep 0.05; exit 255")
        self.on_a_screen(machine)

    def test_is_plain_on_a_terminal_that_can_do_little(self, machine: Machine) -> None:
        machine.program("whiptail")
        assert "Number, or Enter" in self.on_a_screen(machine, "dumb")
        assert not machine.calls.exists()

    def test_is_left_by_the_end_of_the_input(self, machine: Machine) -> None:
        machine.run("recovery-menu")
        assert machine.status == 0

    def option(self, machine: Machine, test: int, mode: int) -> None:
        text = f'echo "$0 $*" | sed "s,.*/,," >>{machine.calls}\n'
        text += f'[ "$1" != test ] || {{ [ "$2" != mode ] || exit {mode}; echo Title of mine; exit {test}; }}\n'
        machine.write("lib/recovery-mode/options/mine", f"#!/bin/sh\n{text}echo READONLY=$READONLY\n").chmod(0o755)

    def test_does_not_show_an_option_that_does_not_want_to_be(self, machine: Machine) -> None:
        self.option(machine, 1, 2)
        assert "Title of mine" not in machine.run("recovery-menu")
        (machine.root / "lib/recovery-mode/options/mine").chmod(0o644)
        self.option(machine, 0, 2)
        assert "Title of mine" in machine.run("recovery-menu")

    @pytest.mark.parametrize(("state", "readonly"), [("ro", "true"), ("rw", "false")])
    def test_tells_an_option_how_root_is_mounted(self, machine: Machine, state: str, readonly: str) -> None:
        self.option(machine, 0, 2)
        machine.mount(state)
        assert f"READONLY={readonly}" in machine.run("recovery-menu", typed="mine\nresume\n")

    def test_makes_root_writable_only_for_who_agrees(self, machine: Machine) -> None:
        self.option(machine, 0, 0)
        machine.program("mountall", f"sed -i s/ro,/rw,/ {machine.root}/proc/mounts")
        said = machine.run("recovery-menu", typed="mine\nn\nresume\n")
        assert "READONLY" not in said and "mountall --no-events" not in machine.called()
        said = machine.run("recovery-menu", typed="mine\ny\nmine\nresume\n")
        assert said.count("READONLY=false") == 2
        assert machine.called().count("mountall --no-events") == 1

    def test_runs_nothing_where_root_cannot_be_made_writable(self, machine: Machine) -> None:
        self.option(machine, 0, 0)
        machine.program("mountall", "exit 3")
        assert "READONLY" not in machine.run("recovery-menu", typed="mine\ny\n\nresume\n")

    def test_does_not_run_what_needs_a_root_that_is_not_written_to(self, machine: Machine) -> None:
        self.option(machine, 0, 1)
        machine.mount("rw")
        assert "READONLY" not in machine.run("recovery-menu", typed="mine\n\nresume\n")
        machine.mount("ro")
        assert "READONLY=true" in machine.run("recovery-menu", typed="mine\nresume\n")


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.name)
class TestEachOption:
    def test_has_a_title_and_a_mode_and_does_nothing_when_it_is_asked(self, machine: Machine, path: Path) -> None:
        machine.write("boot/grub/grub.cfg", "next_entry\n")
        title = machine.run(f"options/{path.name}", "test")
        assert machine.status == 0 and re.fullmatch(r"[A-Z].*\n", title)
        machine.run(f"options/{path.name}", "test", "mode")
        assert machine.status in (0, 1, 2)
        assert machine.called() == []

    def test_is_in_the_manual(self, machine: Machine, path: Path) -> None:
        page = (ROOT / "debian/recovery/recovery-menu.8").read_text()
        assert re.search(rf"^\.BR? .*\b{path.name}\b", page, re.M)


class TestFsck:
    def checks(self, machine: Machine, statuses: dict[str, int], typed: str = "") -> str:
        lines = "".join(f'case "$*" in {pattern}) exit {status};; esac\n' for pattern, status in statuses.items())
        machine.program("fsck", lines)
        machine.program("findmnt", "echo /dev/null0")
        option = machine.menu / "options/fsck"
        option.write_text(option.read_text().replace("[ -b", "[ -n"))
        return machine.run("options/fsck", typed=typed)

    def test_checks_all_and_comes_back_where_nothing_is_wrong(self, machine: Machine) -> None:
        assert "No damage is left" in self.checks(machine, {})
        fscks = [line for line in machine.called() if line.startswith("fsck")]
        assert fscks == ["fsck -f -p /dev/null0", "fsck -A -R -M -f -p"]
        assert "reboot -f" not in machine.called()

    def test_restarts_after_a_repair(self, machine: Machine) -> None:
        self.checks(machine, {"'-f -p'*": 1})
        assert machine.called()[-2:] == ["sync", "reboot -f"]

    def test_repairs_more_only_for_who_agrees(self, machine: Machine) -> None:
        assert "Damage is left." in self.checks(machine, {"'-f -p'*": 4}, "n\n")
        assert "fsck -f -y /dev/null0" not in machine.called()
        assert "No damage is left." in self.checks(machine, {"'-f -p'*": 4, "'-f -y'*": 1}, "y\n")
        assert machine.called()[-1] == "reboot -f"


class TestDisable:
    def jobs(self, machine: Machine) -> None:
        machine.write("etc/init/web.conf", 'description "the web"\nstart on runlevel [2345]\nexec web\n')
        machine.write("etc/init/hand.conf", "exec hand\n")
        machine.write("etc/init/off.conf", "start on startup\nexec off\n")
        machine.write("etc/init/off.override", "manual\n")
        machine.write("etc/init/mountall.conf", "start on startup\nexec mountall\n")

    def test_switches_off_and_on_again_and_leaves_the_rest_of_the_override(self, machine: Machine) -> None:
        self.jobs(machine)
        override = machine.write("etc/init/web.override", "nice 5")
        said = machine.run("options/disable", typed="web\n")
        listed = re.findall(r"^ +\d+  (\S+)", said, re.M)
        assert listed == ["mountall", "web"] and "the web" in said
        lines = override.read_text().splitlines()
        assert lines[0] == "nice 5" and lines[1].startswith("# ") and lines[2:] == ["manual"]
        assert "OFF: the web" in machine.run("options/disable", typed="web\n")
        assert override.read_text() == "nice 5\n"

    def test_leaves_no_empty_override(self, machine: Machine) -> None:
        self.jobs(machine)
        for exists in (True, False):
            machine.run("options/disable", typed="web\n")
            assert (machine.root / "etc/init/web.override").exists() == exists

    def test_asks_before_the_boot_cannot_come_to_its_end(self, machine: Machine) -> None:
        self.jobs(machine)
        machine.run("options/disable", typed="mountall\nn\n")
        assert not (machine.root / "etc/init/mountall.override").exists()
        machine.run("options/disable", typed="mountall\ny\n")
        assert (machine.root / "etc/init/mountall.override").exists()


def test_what_failed_is_told_with_its_last_words(machine: Machine) -> None:
    log = "Nov 30 12:00:00 host kernel: [    5.1] init: web main process (812) terminated with status 3\n"
    machine.write("var/log/kern.log", log * 2 + "Nov 30 host kernel: init: Failed to spawn db main process: no such\n")
    machine.write("var/log/upstart/web.log", "cannot bind\n")
    said = machine.run("options/failed")
    assert said.count("web main process (812) terminated with status 3") == 1
    assert "Failed to spawn db" in said and "cannot bind" in said


def test_the_log_has_the_end_of_each(machine: Machine) -> None:
    machine.write("var/log/syslog", "".join(f"line {number}\n" for number in range(200)))
    machine.write("var/log/upstart/web.log", "cannot bind\n")
    said = machine.run("options/log")
    assert "line 199" in said and "line 100\n" not in said and "cannot bind" in said


def test_another_kernel_is_the_next_choice(machine: Machine) -> None:
    uuid = "1f-2"
    entries = "".join(
        f"\tmenuentry 'Debian, with Linux {v}' --class debian $menuentry_id_option 'gnulinux-{v}-advanced-{uuid}' {{\n"
        for v in ("6.1.0-50", "6.1.0-49")
    )
    machine.write(
        "boot/grub/grub.cfg",
        f"next_entry\nsubmenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced-{uuid}' {{\n{entries}}}\n",
    )
    assert "6.1.0-49" in machine.run("options/kernel", typed="6.1.0-49\n")
    assert machine.called() == [f"grub-reboot gnulinux-advanced-{uuid}>gnulinux-6.1.0-49-advanced-{uuid}", "reboot"]


@pytest.mark.parametrize("container", ["", "lxc"])
@pytest.mark.parametrize("network", ["none", "up", "down"])
def test_a_boot_that_goes_on_from_it_comes_to_all_services(container: str, network: str) -> None:
    jobs = {path.stem: path.read_text() for path in sorted(SERVICE_JOBS.glob("*.conf"))}
    usual = Boot(container, network, jobs).run()
    boot = Boot(container, network, jobs | {"recovery": JOB.read_text()})
    boot.emit("recovery")
    boot.go_on(30.0)
    assert boot.running() == {"recovery"}
    if not container:
        boot.world.start("udev")
    boot.go_on(30.0)
    boot.world.exit("recovery")
    boot.go_on(1.0)
    boot.run()
    check(boot)
    assert boot.running() == usual.running()
