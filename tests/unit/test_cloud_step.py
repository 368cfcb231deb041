"""cloud-init-step, with a directory in the place of the machine and programs that say how they are called."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

STEP = Path(__file__).parents[2] / "src/libexec/cloud-init-step"
JOBS = ("cloud-init-mounted", "cloud-init-main", "cloud-init-local", "cloud-init")
#: What netcat does with these options; it is not installed everywhere.
NC = """#!/usr/bin/python3 -IS
import socket, sys
_, options, limit, target, _, source = sys.argv
assert (options, limit) == ("-Uu", "-W1")
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.bind(source)
sock.sendto(sys.stdin.buffer.read(), target)
sys.stdout.buffer.write(sock.recv(4096))
"""


class Machine:
    """Its files are below ``root``; each program writes its name and arguments to a list."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Places of the file system that are told, and not looked at, are those of a real one.
        text = re.sub(
            r"(?m)^(?!    for place in )(.*)$",
            lambda line: re.sub(r"(?<![\w/.}])/(run|etc|proc|sys|usr|var|dev/log)\b", rf"{root}/\1", line[0]),
            STEP.read_text(),
        )
        text = text.replace("PATH=" + str(root), "PATH=").replace("PATH=/sbin", f"PATH={root}/bin:/sbin")
        text = text.replace(f":{root}/usr", ":/usr").replace(f"CLOUD_CFG={root}", "CLOUD_CFG=")
        self.script = root / "step"
        self.script.write_text(text)
        self.calls = root / "calls"
        for name in ("bin", "etc/init", "etc/udev/rules.d", "run/cloud-init", "proc", "usr/lib/cloud-init"):
            (root / name).mkdir(parents=True)
        self.write("proc/cmdline", "BOOT_IMAGE=x quiet\n")
        self.write("proc/uptime", "12.34 20.00\n")
        for job in JOBS:
            self.write(f"etc/init/{job}.conf")
        self.program("cloud-init")
        self.program("sleep")
        self.program("status", '[ "$1" != udev-finish ] || echo udev-finish start/running')
        self.program("initctl")
        self.program("ds-identify", where="usr/lib/cloud-init")
        self.write("sys/class/net/eth0/name_assign_type", "4\n")
        self.write("sys/class/net/lo/name_assign_type", "2\n")

    def write(self, name: str, text: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def program(self, name: str, text: str = "", where: str = "bin") -> None:
        self.write(f"{where}/{name}", f'#!/bin/sh\necho {name} "$@" >>{self.calls}\n{text}\n').chmod(0o755)

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        return subprocess.run(
            ["/bin/sh", self.script, *words], check=False, capture_output=True, text=True, timeout=5, env=env
        )

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()

    def mounted(self, place: str = "/", **env: str) -> list[str]:
        """What was called by the step for a file system that is mounted, but for what waits and looks."""
        done = self.run("mounted", MOUNTPOINT=place, **env)
        assert done.returncode == 0, done.stderr
        return [line for line in self.called() if not line.startswith(("sleep", "status"))]

    def state(self) -> set[str]:
        return {path.name for path in (self.root / "run/cloud-init").iterdir()}


@pytest.fixture
def machine() -> Iterator[Machine]:
    # The name of a socket has no more than 108 bytes.
    with tempfile.TemporaryDirectory(prefix="cloud-") as directory:
        yield Machine(Path(directory))


ENABLED = ["ds-identify", "initctl emit --no-wait cloud-init-enabled"]
DISABLED = ["initctl emit --no-wait cloud-init-disabled"]


class TestMounted:
    def test_has_the_stages_begin_where_there_is_a_source(self, machine: Machine) -> None:
        assert machine.mounted() == ENABLED
        assert machine.state() == {"enabled"}

    def test_tells_by_the_fifo_where_there_is_one(self, machine: Machine) -> None:
        fifo = machine.root / "run/upstart/events"
        fifo.parent.mkdir()
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        try:
            assert machine.mounted() == ["ds-identify"]
            assert os.read(reader, 100) == b"cloud-init-enabled\n"
        finally:
            os.close(reader)

    @pytest.mark.parametrize("status", [1, 2])
    def test_looks_again_when_the_devices_are_there_and_then_leaves_it(self, machine: Machine, status: int) -> None:
        machine.program("ds-identify", f"exit {status}", "usr/lib/cloud-init")
        assert machine.mounted() == ["ds-identify", "ds-identify --force", *DISABLED]
        assert machine.state() == {"disabled"}

    def test_finds_a_source_that_udev_brings(self, machine: Machine) -> None:
        machine.program("ds-identify", 'test "$1" = --force', "usr/lib/cloud-init")
        assert machine.mounted() == ["ds-identify", "ds-identify --force", *ENABLED[1:]]

    def test_waits_ten_seconds_for_udev_and_no_longer(self, machine: Machine) -> None:
        machine.program("ds-identify", "exit 1", "usr/lib/cloud-init")
        machine.program("status", "echo udev-finish stop/waiting")
        machine.mounted()
        assert machine.called().count("sleep 0.5") == 20

    def test_waits_for_an_interface_to_configure(self, machine: Machine) -> None:
        name = machine.write("sys/class/net/eth0/name_assign_type", "1\n")
        assert machine.mounted() == ENABLED
        assert "status udev-finish" in machine.called()
        machine.write("run/udev/queue")
        machine.program("sleep", f"[ $1 != 0.5 ] || echo 4 >{name}")
        assert machine.mounted() == ENABLED
        assert [line for line in machine.called() if line.startswith(("sleep 0", "status udev"))] == ["sleep 0.5"]

    def test_waits_for_nothing_where_all_is_there(self, machine: Machine) -> None:
        machine.mounted()
        assert "status udev-finish" not in machine.called()

    @pytest.mark.parametrize(
        ("word", "file", "env", "runs"),
        [
            ("cloud-init=disabled", False, "", False),
            ("", True, "", False),
            ("", False, "cloud-init=disabled", False),
            ("cloud-init=enabled", True, "", True),
            ("cloud-init=disabledx", False, "", True),
        ],
    )
    def test_heeds_who_disables_it(self, machine: Machine, word: str, file: bool, env: str, runs: bool) -> None:
        machine.write("proc/cmdline", f"x {word} quiet\n")
        if file:
            machine.write("etc/cloud/cloud-init.disabled")
        assert machine.mounted(KERNEL_CMDLINE=env) == (ENABLED if runs else DISABLED)

    @pytest.mark.parametrize(
        ("fstab", "place"),
        [
            ("", "/"),
            ("LABEL=a / ext4 defaults 0 1\nLABEL=b /var ext4 defaults 0 2\n", "/var"),
            ("LABEL=b /var/ ext4 defaults 0 2\nLABEL=c /var/lib ext4 defaults 0 2", "/var/lib"),
            ("LABEL=c /var/lib/cloud ext4 defaults 0 2\nLABEL=b /var ext4 defaults 0 2\n", "/var/lib/cloud"),
            ("# LABEL=b /var ext4 defaults 0 2\nLABEL=b /var ext4 noauto 0 2\n/srv/x /var/log none bind\n", "/"),
        ],
    )
    def test_begins_with_the_file_system_of_its_files(self, machine: Machine, fstab: str, place: str) -> None:
        machine.write("etc/fstab", fstab)
        for each in ("/", "/var", "/var/lib", "/var/lib/cloud"):
            assert machine.mounted(each) == (ENABLED if each == place else []), each

    def test_reads_the_other_tables_as_well(self, machine: Machine) -> None:
        machine.write("etc/fstab.d/var.fstab", "LABEL=b /var ext4 defaults 0 2\n")
        assert machine.mounted("/") == []
        assert machine.mounted("/var") == ENABLED

    def test_is_done_once_in_a_boot(self, machine: Machine) -> None:
        machine.write("run/cloud-init/local-finished", "0 up 1\n")
        assert machine.mounted() == []

    def test_holds_the_boot_for_stages_that_run_and_gives_up_those_that_do_not(self, machine: Machine) -> None:
        count = machine.root / "count"
        count.write_text("")
        machine.program("status", f"echo >>{count}; [ $(wc -l <{count}) -gt 20 ] || echo $1 start/running")
        machine.mounted()
        assert machine.called().count("sleep 10") == 10 + 9

    def test_does_not_ask_init_of_a_stage_that_says_itself_that_it_runs(self, machine: Machine) -> None:
        record = machine.write("run/cloud-init/upstart-stage", "123\n")
        machine.write("proc/123/comm", "cloud-init-step\n")
        machine.program("sleep", f"[ $(/bin/grep -c 'sleep 10' {machine.calls}) -lt 5 ] || echo >{record}")
        machine.program("grep")
        machine.mounted()
        told = [line for line in machine.called() if line.startswith(("sleep 10", "status"))]
        assert told == ["sleep 10"] * 5 + ["status cloud-init-local", "status cloud-init"] + (
            ["sleep 10", "status cloud-init-local", "status cloud-init"] * 8)
        # What is not there is not looked into.
        assert "grep" not in machine.calls.read_text()

    @pytest.mark.parametrize("another", ["", "sshd\n"])
    def test_asks_init_where_the_stage_has_gone_without_saying_so(self, machine: Machine, another: str) -> None:
        machine.write("run/cloud-init/upstart-stage", "123\n")
        if another:
            machine.write("proc/123/comm", another)
        machine.mounted()
        assert machine.called().count("status cloud-init") == 9

    @pytest.mark.parametrize("job", ["cloud-init-local", "cloud-init"])
    def test_does_not_hold_it_for_stages_that_no_event_starts(self, machine: Machine, job: str) -> None:
        machine.write(f"etc/init/{job}.override", "manual\n")
        machine.mounted()
        assert "sleep 10" not in machine.called()


class TestStage:
    @pytest.mark.parametrize(
        ("stage", "call"),
        [
            ("local", "cloud-init init --local"),
            ("network", "cloud-init init"),
            ("config", "cloud-init modules --mode=config"),
            ("final", "cloud-init modules --mode=final"),
        ],
    )
    @pytest.mark.parametrize("status", [0, 1])
    def test_is_a_program_of_its_own(self, machine: Machine, stage: str, call: str, status: int) -> None:
        machine.program("cloud-init", f"exit {status}")
        assert machine.run("stage", stage).returncode == status
        assert machine.called()[-1] == call
        record = machine.root / "run/cloud-init/upstart-stage"
        assert record.read_text() == ""
        machine.program("cloud-init", f"exit $(($(cat {record}) != $PPID))")
        assert machine.run("stage", stage).returncode == 0
        finished = machine.root / "run/cloud-init/local-finished"
        assert finished.exists() == (stage == "local")
        if stage == "local":
            assert finished.read_text() == "0 up 12.34\n"

    def test_that_is_ended_is_finished_for_who_waits(self, machine: Machine) -> None:
        machine.program("cloud-init", f"echo >{machine.root}/began; exec /bin/sleep 100")
        process = subprocess.Popen(["/bin/sh", machine.script, "stage", "local"], start_new_session=True)
        while not (machine.root / "began").exists():
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(10) != 0
        assert "local-finished" in machine.state()

    def test_of_the_configuration_is_told_of_and_has_a_place_for_what_udev_tells(self, machine: Machine) -> None:
        machine.run("stage", "config")
        event = "initctl emit --no-wait cloud-config CLOUD_CFG=/var/lib/cloud/instance/cloud-config.txt"
        assert machine.called()[0] == event
        hook = machine.root / "run/cloud-init/share/hook-hotplug-cmd"
        assert hook.is_fifo() and hook.stat().st_mode & 0o777 == 0o600

    def test_of_the_configuration_waits_for_the_log_where_there_is_one(self, machine: Machine) -> None:
        machine.run("stage", "config")
        assert "sleep 0.2" not in machine.called()
        machine.write("etc/init/rsyslog.conf")
        machine.run("stage", "config")
        assert machine.called().count("sleep 0.2") == 25
        machine.write("etc/init/rsyslog.override", "manual\n")
        machine.run("stage", "config")
        assert "sleep 0.2" not in machine.called()

    def test_has_a_name_that_is_known(self, machine: Machine) -> None:
        assert machine.run("stage", "other").returncode == 2
        assert machine.run("stage").returncode == 2
        assert machine.run().returncode == 2


@pytest.fixture
def one_process(machine: Machine) -> Iterator[list[bytes]]:
    """The process of later releases, which takes what it is told to answer from a list."""
    machine.write("usr/lib/python3/dist-packages/cloudinit/socket.py")
    machine.write("bin/nc", NC).chmod(0o755)
    share = machine.root / "run/cloud-init/share"
    share.mkdir()
    answers: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(share / "network.sock"))

        def serve() -> None:
            while True:
                data, peer = sock.recvfrom(5)
                if data == b"end":
                    return
                assert (data, peer) == (b"start", str(share / "network-return.sock"))
                sock.sendto(answers.pop(0), peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield answers
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.connect(sock.getsockname())
            other.send(b"end")
        thread.join(10)


@pytest.mark.parametrize("status", [0, 1])
def test_a_stage_is_asked_of_the_one_process(machine: Machine, one_process: list[bytes], status: int) -> None:
    one_process += [b"echo 'all done'; exit %d;" % status] * 2
    for _ in range(2):
        done = machine.run("stage", "network")
        assert (done.returncode, done.stdout) == (status, "all done\n")
    assert machine.called() == []


def test_an_answer_is_read_and_not_run(machine: Machine, one_process: list[bytes]) -> None:
    mark = machine.root / "mark"
    one_process.append(f"echo 'x$(touch {mark})'; touch {mark}; exit 3;".encode())
    done = machine.run("stage", "network")
    assert (done.returncode, done.stdout) == (3, f"x$(touch {mark})\n")
    assert not mark.exists()


def test_a_process_that_is_gone_fails_the_stage(machine: Machine, one_process: list[bytes]) -> None:
    gone = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    gone.bind(str(machine.root / "run/cloud-init/share/config.sock"))
    gone.close()
    done = machine.run("stage", "config")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cloud-init modules --mode=config" not in machine.called()


def test_the_first_stage_waits_for_the_one_process(machine: Machine, one_process: list[bytes]) -> None:
    machine.run("stage", "local")
    assert machine.called() == [*["sleep 0.2"] * 300, "cloud-init init --local"]
    machine.write("etc/init/cloud-init-main.override", "manual\n")
    machine.run("stage", "local")
    assert machine.called() == ["cloud-init init --local"]


def test_the_one_process_has_no_terminal(machine: Machine) -> None:
    machine.program("cloud-init", "readlink /proc/self/fd/0")
    assert (machine.run("main").returncode, machine.called()) == (0, [])
    machine.write("usr/lib/python3/dist-packages/cloudinit/socket.py")
    done = machine.run("main")
    assert (done.stdout, machine.called()) == ("/dev/null\n", ["cloud-init --all-stages"])


class TestBlocknet:
    def test_waits_for_the_first_stage(self, machine: Machine) -> None:
        done = machine.run("blocknet", JOB="networking")
        assert (done.returncode, machine.called()) == (1, ["sleep 120"])
        assert "120 seconds" in done.stderr and "networking" in done.stderr

    @pytest.mark.parametrize(
        "name",
        [
            "etc/cloud/no-blocknet", "run/cloud-init/local-finished", "run/cloud-init/disabled",
            "etc/cloud/cloud-init.disabled",
        ],
    )  # fmt: skip
    def test_does_not_wait_for_what_will_not_come(self, machine: Machine, name: str) -> None:
        machine.write(name)
        done = machine.run("blocknet")
        assert (done.returncode, machine.called()) == (0, [])

    @pytest.mark.parametrize("job", ["cloud-init-mounted", "cloud-init-local"])
    def test_does_not_wait_for_a_job_that_no_event_starts(self, machine: Machine, job: str) -> None:
        machine.write(f"etc/init/{job}.override", "manual\n")
        assert (machine.run("blocknet").returncode, machine.called()) == (0, [])
        (machine.root / f"etc/init/{job}.override").unlink()
        (machine.root / f"etc/init/{job}.conf").unlink()
        assert (machine.run("blocknet").returncode, machine.called()) == (0, [])


@pytest.mark.parametrize("words", [["mounted"], ["blocknet"]])
def test_what_waits_to_be_stopped_ends_well_when_it_is(machine: Machine, words: list[str]) -> None:
    machine.program("sleep", "exec /bin/sleep 100")
    process = subprocess.Popen(
        ["/bin/sh", machine.script, *words], start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    while not machine.calls.exists() or "sleep 1" not in machine.calls.read_text():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    assert (process.communicate(timeout=10)[0], process.returncode) == (b"", 0)


class TestHotplug:
    def test_is_over_where_nobody_has_asked_for_it(self, machine: Machine) -> None:
        machine.run("stage", "config")
        assert machine.run("hotplugd").returncode == 0
        assert machine.called() == []

    @pytest.mark.parametrize("rule", ["10", "90"])
    def test_calls_cloud_init_for_each_line(self, machine: Machine, rule: str) -> None:
        machine.run("stage", "config")
        machine.calls.write_text("")
        machine.write(f"etc/udev/rules.d/{rule}-cloud-init-hook-hotplug.rules")
        process = subprocess.Popen(["/bin/sh", machine.script, "hotplugd"])
        hook = os.open(machine.root / "run/cloud-init/share/hook-hotplug-cmd", os.O_RDWR)
        try:
            for action in ("add", "remove"):
                os.write(hook, f" --subsystem=net handle --devpath=/x* --udevaction={action}\n".encode())
            end = time.monotonic() + 20
            while len(machine.called()) < 2 and time.monotonic() < end:
                time.sleep(0.01)
            call = "cloud-init devel hotplug-hook --subsystem=net handle --devpath=/x* --udevaction="
            assert machine.called() == [call + "add", call + "remove"]
        finally:
            process.terminate()
            process.wait(10)
            os.close(hook)
