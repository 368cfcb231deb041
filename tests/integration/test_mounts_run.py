"""mountall from its start to its end, with a real init, real mounts and real devices, in a namespace of mounts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, wait_for
from mounts_machine import Machine
from passable import let_pass

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may mount")
END = ["local-filesystems", "remote-filesystems", "filesystem"]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Makes a machine: its fstab, its jobs, and what a shell does there before."""
    made: list[Machine] = []

    def make(fstab: str, jobs: dict[str, str] | None = None, before: str = ":") -> Machine:
        made.append(Machine(tmp_path, fstab, jobs, before))
        return made[-1]

    yield make
    for machine in made:
        machine.close()


def in_order(noted: list[str], *wanted: str) -> bool:
    """Whether these are among the events, each once, in this order."""
    places = [noted.index(each) for each in wanted]
    return places == sorted(places) and all(noted.count(each) == 1 for each in wanted)


def test_memory_binds_overlays_and_disks_are_mounted_in_their_order(make: Callable[..., Machine]) -> None:
    machine = make(
        """
overlay {}/over overlay lowerdir={}/a/lower,upperdir={}/a/upper,workdir={}/a/work 0 0
{}/a/sub {}/bound none bind 0 0
none {}/a/sub tmpfs size=1m,mode=711 0 0
none {}/a tmpfs size=1m,nosuid 0 0
{}/image {}/disk ext4 loop,noatime 0 2
""",
        before="truncate -s 16M image; mkfs.ext4 -q image; mkdir over",
    )
    # What goes into /a is there as soon as it is mounted, for all who come after.
    script = f"cd {machine.directory}/a; mkdir lower upper work; echo low >lower/x"
    enter = f"exec nsenter -t {machine.holder.pid} -m sh -c '{script}'"
    machine.init.write("fill", f"start on mounted MOUNTPOINT=*/a\ntask\n{enter}\n")
    machine.init.initctl("reload-configuration")
    status, said = machine.mountall()
    assert status == 0, said
    assert machine.run("cat over/x; stat -c %a a/sub bound; findmnt -rno FSTYPE,OPTIONS disk").split()[:3] == [
        "low", "711", "711",
    ]  # fmt: skip
    assert machine.table() == {"a": 1, "a/sub": 1, "bound": 1, "over": 1, "disk": 1}
    noted = machine.noted()
    for before, after in (("a", "a/sub"), ("a/sub", "bound"), ("a", "over")):
        assert in_order(noted, f"mounting {before}", f"mounted {before}", f"mounting {after}", f"mounted {after}")
    wait_for(lambda: set(END) <= set(machine.noted()))


def test_what_shows_through_is_seen_in_what_is_mounted_over_it(make: Callable[..., Machine]) -> None:
    fstab = "none {}/a tmpfs size=1m 0 0\nnone {}/a/sub tmpfs showthrough,mode=711 0 0\n"
    machine = make(fstab, before="mkdir a a/sub")
    status, said = machine.mountall()
    assert status == 0, said
    assert machine.run("stat -c %a a/sub").strip() == "711"
    assert machine.table()["a"] == 1
    assert machine.run("ls -d /dev/.*upstart* /dev/.tmp* 2>/dev/null || :") == ""
    assert in_order(machine.noted(), "mounted a/sub", "mounted a")


def test_nothing_runs_while_nothing_happens(make: Callable[..., Machine]) -> None:
    machine = make("MISSING {}/a ext4 x-upstart.timeout=100 0 0\n")
    process = machine.start()
    machine.shown("Press S to skip")

    def times() -> list[str]:
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return [line for line in status if "ctxt_switches" in line]

    def rests() -> bool:
        before = times()
        time.sleep(2)
        return times() == before

    # What others do in /dev is looked at, so not every two seconds are quiet; with a wake-up in each none would be.
    wait_for(rests, 30)


def test_who_holds_mounted_holds_what_is_mounted_below_and_the_events(make: Callable[..., Machine]) -> None:
    machine = make(
        "none {}/a tmpfs defaults 0 0\nnone {}/a/sub tmpfs defaults 0 0\nnone {}/b tmpfs defaults 0 0\n",
        {"hold": "start on mounted MOUNTPOINT=*/a\ntask\nexec sh -c 'until [ -e $HOME/free ]; do sleep 0.02; done'\n"},
    )
    process = machine.start()
    wait_for(lambda: "mounted b" in machine.noted())
    assert machine.table() == {"a": 1, "b": 1}
    assert "virtual-filesystems" not in machine.noted()
    (machine.directory / "free").touch()
    assert process.wait(20) == 0
    assert machine.table() == {"a": 1, "a/sub": 1, "b": 1}
    wait_for(lambda: "filesystem" in machine.noted())
    assert in_order(machine.noted(), "mounted a", "mounted a/sub", "virtual-filesystems", "filesystem")


def test_a_missing_disk_is_told_and_left_out_and_mounted_when_it_comes(make: Callable[..., Machine]) -> None:
    machine = make(
        "MISSING {}/late ext4 x-upstart.timeout=5 0 0\nnone {}/late/below tmpfs defaults 0 0\n",
        {"mountall-late": "exec sh -c 'echo late >>$HOME/started; exec sleep 1000'\n",
         "reader": "start on local-filesystems\nexec true\n"},
        "truncate -s 16M image; mkfs.ext4 -q image",
    )  # fmt: skip
    status, said = machine.mountall()
    assert status == 5, said
    assert f"{machine.device} is missing" in machine.shown("Skipping")
    assert "Jobs that wait for it: note-filesystem, note-local-filesystems, reader" in machine.said
    wait_for(lambda: "filesystem" in machine.noted())
    assert "device-not-ready late" in machine.noted()
    assert machine.table() == {}
    wait_for(lambda: (machine.directory / "started").exists())
    late = machine.start("--late")
    loop = machine.run("losetup -f --show image").strip()
    try:
        machine.run(f"cp -a {loop} {machine.device}")
        try:
            assert late.wait(30) == 0, late.communicate()
            assert machine.table() == {"late": 1, "late/below": 1}
            assert in_order(machine.noted(), "filesystem", "mounted late", "mounted late/below")
        finally:
            machine.run(f"rm {machine.device}; umount late/below late")
    finally:
        machine.run(f"losetup -d {loop}")


def test_somebody_at_the_console_leaves_a_disk_out(make: Callable[..., Machine]) -> None:
    machine = make("MISSING {}/a ext4 defaults 0 0\nnone {}/b tmpfs defaults 0 0\n")
    process = machine.start()
    machine.shown("Press S to skip")
    machine.press("xs")
    assert process.wait(20) == 5
    assert "at user request" in machine.shown("user request")
    assert machine.table() == {"b": 1}


def test_somebody_at_the_console_asks_for_a_shell(make: Callable[..., Machine]) -> None:
    machine = make("MISSING {}/a ext4 defaults 0 0\n")
    process = machine.start()
    machine.shown("Press S to skip")
    machine.press("m")
    assert process.wait(20) == 2
    assert "filesystem" not in machine.noted()
    # The next one asks anew, and nothing is announced twice.
    process = machine.start()
    machine.said = ""
    machine.shown("Press S to skip")
    machine.press("s")
    assert process.wait(20) == 5
    wait_for(lambda: "filesystem" in machine.noted())
    assert len(machine.noted()) == len(set(machine.noted()))


def test_killed_again_and_again_it_announces_everything_once(make: Callable[..., Machine]) -> None:
    lines = "".join(f"none {{}}/m{number} tmpfs size=1m 0 0\n" for number in range(60))
    machine = make(
        lines + "none {}/m1/sub tmpfs defaults 0 0\n{}/m2 {}/bound none bind 0 0\nnone {}/m3 tmpfs size=2m 0 0\n",
        {"hold": "start on mounted MOUNTPOINT=*/m5\ntask\nexec sh -c 'until [ -e $HOME/free ]; do sleep 0.02; done'\n"},
    )
    for delay in (0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.25, 0.3, 0.5):
        process = machine.start()
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            # nsenter has become mountall.
            process.send_signal(signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
    (machine.directory / "free").touch()
    status, said = machine.mountall()
    assert status == 0, said
    wait_for(lambda: "filesystem" in machine.noted())
    places = {f"m{number}": 1 for number in range(60)} | {"m1/sub": 1, "bound": 1, "m3": 2}
    assert machine.table() == places
    noted = machine.noted()
    expected = {f"{event} {place}": count for event in ("mounting", "mounted") for place, count in places.items()}
    mounted = {line: noted.count(line) for line in noted if line.startswith("mounted ")}
    assert mounted == {line: count for line, count in expected.items() if line.startswith("mounted ")}
    assert all(noted.count(name) == 1 for name in ("virtual-filesystems", *END))
    # What was mounted by one that was killed before it had written that down may have been announced no more than once.
    assert all(noted.count(line) <= count for line, count in expected.items())


def test_init_re_executes_itself_meanwhile(make: Callable[..., Machine]) -> None:
    machine = make(
        "none {}/a tmpfs defaults 0 0\nnone {}/a/sub tmpfs defaults 0 0\n",
        {"hold": "start on mounted MOUNTPOINT=*/a\ntask\nexec sh -c 'until [ -e $HOME/free ]; do sleep 0.02; done'\n"},
    )
    process = machine.start()
    wait_for(lambda: "mounted a" in machine.noted())
    for _ in range(2):
        machine.init.restart()
    (machine.directory / "free").touch()
    assert process.wait(30) == 0, process.communicate()
    wait_for(lambda: "filesystem" in machine.noted())
    noted = machine.noted()
    assert len(noted) == len(set(noted))
    assert in_order(noted, "mounting a", "mounted a", "mounting a/sub", "mounted a/sub", "filesystem")


def test_a_network_file_system_is_tried_again_when_an_interface_comes_up(make: Callable[..., Machine]) -> None:
    machine = make(
        "server:/x {}/net nfs bootwait 0 0\nnone {}/b tmpfs defaults 0 0\n",
        before="""
cat >helper <<END
#!/bin/sh
cd $PWD
echo try >>tries
[ -e network ] && exec mount -i -t tmpfs tmpfs "\\$2"
echo "mount.nfs: Network is unreachable" >&2
exit 32
END
chmod 755 helper; mkdir helpers; cp -a /usr/sbin/. helpers; cp helper helpers/mount.nfs
mount --bind helpers /usr/sbin
""",
    )
    process = machine.start()
    wait_for(lambda: (machine.directory / "tries").exists())
    wait_for(lambda: "mounted b" in machine.noted())
    (machine.directory / "network").touch()
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 0, process.communicate()
    assert "net" in machine.table()
    assert "mounted net" in machine.noted()


def test_swap_that_is_refused_holds_nothing_up(make: Callable[..., Machine]) -> None:
    machine = make("{}/holes none swap sw 0 0\nnone {}/b tmpfs defaults 0 0\n", before="truncate -s 1M holes")
    status, said = machine.mountall()
    assert status == 0
    assert "holes is not used as swap" in said
    wait_for(lambda: {"filesystem", "all-swaps"} <= set(machine.noted()))


def test_a_file_system_is_checked_before_it_is_mounted(make: Callable[..., Machine]) -> None:
    machine = make(
        "{}/image {}/disk ext4 loop 0 2\n",
        before="truncate -s 64M image; mkfs.ext4 -q image; debugfs -w -R 'ssv mnt_count 100' image 2>/dev/null",
    )
    assert machine.mountall()[0] == 0
    assert machine.table() == {"disk": 1}
    assert "fsck.ext4 -a -C3" in machine.run("cat /var/log/fsck/mountall")


def test_daemon_is_followed_by_its_job(make: Callable[..., Machine]) -> None:
    machine = make("MISSING {}/a ext4 defaults 0 0\n")
    command = " ".join(machine.inside(str(PROGRAMS / "mountall"), "--daemon"))
    machine.init.write("mountall", f"expect daemon\ntask\nexec {command}\n")
    machine.init.initctl("reload-configuration")
    client = machine.init.client()
    client.start("mountall", wait=False)
    (pid,) = client.wait_status("mountall", "start/running").values()
    assert "mountall" in Path(f"/proc/{pid}/cmdline").read_text()
    os.kill(pid, signal.SIGUSR1)
    machine.shown("Press S to skip")
    status = json.loads(machine.run("cat /run/upstart/mountall.json"))
    assert status["pid"] == pid
    # There is one at a time, and it ends when it is asked to.
    code, said = machine.mountall()
    assert (code, said) == (1, f"mountall: mountall runs already, as process {pid}\n")
    client.stop("mountall")
    assert client.status("mountall")[0] == "stop/waiting"


def test_without_init_nothing_is_begun_but_without_events_none_is_needed(make: Callable[..., Machine]) -> None:
    machine = make("none {}/a tmpfs defaults 0 0\n")
    said = machine.run(f"UPSTART_SESSION=unix:abstract=/none {PROGRAMS}/mountall; echo status $?")
    assert said == "mountall: Could not connect to Upstart: Connection refused\nstatus 1\n"
    assert machine.table() == {}
    machine.run(f"UPSTART_SESSION=unix:abstract=/none {PROGRAMS}/mountall --no-events")
    assert machine.table() == {"a": 1}
    assert machine.noted() == []
    assert "mountall.json" not in machine.run("ls -R /run")


def test_only_root_may_mount() -> None:
    command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", str(PROGRAMS / "mountall")]
    result = subprocess.run([*command, "--no-events"], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (1, "mountall: Need to be root\n")


def test_options_that_are_wrong_are_refused() -> None:
    for options in (["--dev-wait-time=0"], ["--dev-wait-time", "x"], ["--dev-wait-time=2147483648"], ["--none"],
                    ["word"], ["--root", "/x"], ["--fstab", "x"], ["--json"]):  # fmt: skip
        result = subprocess.run([PROGRAMS / "mountall", *options], capture_output=True, text=True)
        assert (result.returncode, result.stdout) == (1, ""), options
        assert "--help" in result.stderr


def test_the_plan_is_shown_to_anybody_and_changes_nothing(tmp_path: Path) -> None:
    fstab = tmp_path / "etc" / "fstab"
    fstab.parent.mkdir()
    fstab.write_text("UUID=1-2 /data ext4 nofail 0 2\nnone /data/tmp tmpfs size=1m\nwrong\n")
    (tmp_path / "other").write_text("none /x tmpfs\n")
    tmp_path.chmod(0o755)
    let_pass(tmp_path)

    def plan(*options: str) -> str:
        command = [str(PROGRAMS / "mountall"), "--plan", *options]
        nobody = {"user": 65534, "group": 65534, "extra_groups": []}
        result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, **nobody)  # type: ignore[call-overload]
        assert (result.returncode, result.stderr) == (0, "")
        return str(result.stdout)

    said = plan("--root", str(tmp_path))
    assert "after UUID=1-2" in said
    assert "after /data" in said
    assert "/etc/fstab:3" in said
    entries = {each["mountpoint"]: each for each in json.loads(plan("--root", str(tmp_path), "--json"))["entries"]}
    assert list(entries) == ["/data", "/data/tmp"]
    assert entries["/data/tmp"]["after"] == ["/data"]
    assert "/x " in plan("--fstab", "other")
    assert list(tmp_path.iterdir()) != []
    assert not (tmp_path / "data").exists()


def test_the_status_says_what_waits_for_what_and_why(make: Callable[..., Machine]) -> None:
    machine = make(
        "MISSING {}/a ext4 defaults 0 0\nnone {}/a/b tmpfs defaults 0 0\nnone {}/c tmpfs defaults 0 0\n",
        {"hold": "start on mounted MOUNTPOINT=*/c\ntask\nexec sh -c 'until [ -e $HOME/free ]; do sleep 0.02; done'\n"},
    )
    program = PROGRAMS / "mountall"
    assert "has not run" in machine.run(f"{program} --status", check=False)
    process = machine.start()
    machine.shown("Press S to skip")
    said = machine.run(f"{program} --status")
    assert said.startswith("mountall is running\n")
    assert f"{machine.directory}/a (/etc/fstab:1): {machine.device} is missing" in said
    assert f"{machine.directory}/a/b (/etc/fstab:2): waits for {machine.directory}/a" in said
    assert f"{machine.directory}/c (/etc/fstab:3): is mounted; waits for the jobs" in said
    told = json.loads(machine.run(f"{program} --status --json"))
    assert told["running"]
    assert not told["events"]["filesystem"]
    process.kill()
    process.wait()
    assert machine.run(f"{program} --status").startswith("mountall was killed\n")
    (machine.directory / "free").touch()
    process = machine.start()
    machine.said = ""
    machine.shown("Press S to skip")
    machine.press("s")
    assert process.wait(20) == 5
    assert machine.run(f"{program} --status").startswith("mountall has ended\n")


def test_one_for_what_was_left_out_goes_on_where_it_was_killed(make: Callable[..., Machine]) -> None:
    machine = make(
        "MISSING {}/a ext4 nofail 0 0\nnone {}/b tmpfs defaults 0 0\n",
        {"mountall-late": "exec sh -c 'echo late >>$HOME/started; exec sleep 1000'\n"},
        "truncate -s 16M image; mkfs.ext4 -q image",
    )
    assert machine.mountall()[0] in (0, 5)
    wait_for(lambda: (machine.directory / "started").exists())
    for _ in range(2):
        late = machine.start("--late")
        wait_for(lambda: '"late":true' in machine.run("cat /run/upstart/mountall.json"))
        late.kill()
        late.wait()
    late = machine.start("--late")
    loop = machine.run("losetup -f --show image").strip()
    try:
        machine.run(f"cp -a {loop} {machine.device}")
        try:
            assert late.wait(30) == 0, late.communicate()
            assert machine.table() == {"a": 1, "b": 1}
            wait_for(lambda: "mounted a" in machine.noted())
            assert len(machine.noted()) == len(set(machine.noted()))
        finally:
            machine.run(f"rm {machine.device}; umount a")
    finally:
        machine.run(f"losetup -d {loop}")
    # Nothing is left: another one has nothing to do.
    assert machine.mountall("--late") == (0, "")


def test_who_is_asked_to_end_ends_well_and_the_next_begins_anew(make: Callable[..., Machine]) -> None:
    machine = make(
        "MISSING {}/a ext4 defaults 0 0\n",
        {"mountall-late": "exec sh -c 'echo late >>$HOME/started'\n"},
    )
    process = machine.start()
    machine.shown("Press S to skip")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    machine.write("none {}/c tmpfs defaults 0 0\n")
    assert machine.mountall()[0] == 0
    assert machine.table() == {"c": 1}
    assert not (machine.directory / "started").exists()
