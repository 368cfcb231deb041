"""upstart-jobs: its jobs, and link-jobs, which decides in a directory of its own which of them are there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from boot_model import JOBS as SHIPPED
from boot_model import SERVICE_JOBS as JOBS

from upstart.conf.jobclass import JobClass
from upstart.conf.parse import parse_job
from upstart.engine.condition import leaves
from upstart.initctl.commands_config import INIT_EVENTS

ROOT = JOBS.parents[1]
FILES = sorted(JOBS.glob("*.conf"))
LINK_JOBS = ROOT / "src/libexec/link-jobs"
TABLE = [line.split() for line in (JOBS / "installed").read_text().splitlines() if line and line[0] != "#"]
#: Events that others emit: mountall, hooks of the network, the end of the machine, the bridge of devices.
OTHERS = {
    "net-device-up", "network-interface-wanted", "net-device-added", "net-device-removed", "block-device-added",
    "block-device-changed",
}  # fmt: skip
#: No event starts these, but a step of another job.
STARTED = {"cryptdisks-ask"}


def parsed(path: Path) -> JobClass:
    return parse_job(path.stem, path.read_text(), str(path))



def condition_events(path: Path, stanza: str) -> set[str]:
    """Events that start, or stop, a job: the first word of each operand."""
    found = re.search(rf"^{stanza} on (.*)", path.read_text(), re.M)
    if not found:
        return set()
    operands = re.split(r"\s+(?:and|or)\s+|[()]", found[1])
    return {operand.split()[0] for operand in operands if operand.strip()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
class TestEveryJob:
    def test_is_understood_and_says_what_it_is_for(self, path: Path) -> None:
        text = path.read_text()
        job = parsed(path)
        assert job.description
        assert (job.start_on is None) == (path.stem in STARTED)
        assert text.startswith("# ") and text.endswith("\n")
        assert max(map(len, text.splitlines())) <= 120

    def test_names_only_events_that_somebody_emits(self, path: Path) -> None:
        emitted = {event for file in [*SHIPPED.glob("*.conf"), *FILES] for event in parse_job(
            file.stem, file.read_text(), file.name).emits}
        for event in condition_events(path, "start") | condition_events(path, "stop"):
            assert event in emitted | set(INIT_EVENTS) | OTHERS, event

    def test_waits_only_for_jobs_that_there_are(self, path: Path) -> None:
        known = {file.stem for directory in (JOBS, SHIPPED) for file in directory.glob("*.conf")}
        named = re.findall(r"\b(?:starting|started|stopping|stopped) ([a-z][\w.-]*)", "\n".join(
            line for line in path.read_text().splitlines() if line.startswith(("start on", "stop on"))))
        assert set(named) <= known

    def test_leaves_the_console_to_logins(self, path: Path) -> None:
        """The end of a process that owns a terminal hangs up on whoever has it open by then."""
        job = parsed(path)
        if job.console == "owner":
            assert job.stop_on is not None and "filesystem" in {match.name for match in leaves(job.stop_on)}

    def test_has_scripts_that_the_shell_understands(self, path: Path) -> None:
        for definition in parsed(path).processes.values():
            subprocess.run(["/bin/sh", "-n", "-c", definition.command], check=True)

    def test_runs_its_program_in_the_place_of_the_shell(self, path: Path) -> None:
        definition = parsed(path).processes.get("main")
        if definition is not None:
            assert re.search(r"\bexec ", definition.command) or not definition.script
        assert parsed(path).expect == "none"

    def test_asks_for_steps_that_there_are(self, path: Path) -> None:
        for program in ("service-step", "cloud-init-step"):
            words = re.findall(rf"{program} (\S+)", path.read_text())
            known = re.findall(r"^    ([a-z-]+)\) step_", (ROOT / "src/libexec" / program).read_text(), re.M)
            assert set(words) <= set(known)


def test_the_table_has_each_job_once_and_dpkg_is_asked_about_each_of_its_paths() -> None:
    assert [row[0] for row in TABLE] == sorted(path.stem for path in FILES)
    made = subprocess.run(
        ["sh", JOBS / "make-triggers", JOBS / "installed"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    for _, paths, *_ in TABLE:
        for path in paths.split(","):
            assert f"interest-noawait {path}" in made
    assert "interest-noawait /usr/sbin/sshd" in made and "interest-noawait /sbin/wpa_supplicant" in made
    assert "interest-noawait /usr/lib/console-setup/keyboard-setup.sh" in made
    assert len(made) == len(set(made))


def test_the_job_has_the_name_of_the_script_by_which_the_boot_leaves_it_alone() -> None:
    jobs = {path.stem for path in FILES}
    for _, _, script, *_ in TABLE:
        assert script == "-" or {script, script.removesuffix(".sh")} & jobs, script


def test_the_installation_starts_services_and_nothing_that_is_a_step_of_something() -> None:
    for name, _, _, *when in TABLE:
        assert when in ([], ["running"]), name
        job = parsed(JOBS / f"{name}.conf")
        # What it starts with is there on a running machine: its runlevel, its file systems, or one other job.
        condition = re.search(
            r"^start on (runlevel \[2345\]|(local-)?filesystems?|started [\w-]+|stopped udevtrigger)"
            r"( and not-container)?$",
            (JOBS / f"{name}.conf").read_text(), re.M,
        )  # fmt: skip
        if when:
            assert condition and not job.task and not job.instance, name
        else:
            assert not condition or job.task or name in {"anacron", "cloud-init-hotplugd", "cryptdisks-early"}, name


def test_the_manual_names_each_job() -> None:
    page = (ROOT / "man/upstart-jobs.7").read_text().replace("\\-", "-")
    section = page.partition(".SH JOBS FOR SERVICES OF DEBIAN\n")[2].partition("\n.SH ")[0]
    assert set(re.findall(r"\\fB([\w-]+)\\fP", section)) == {path.stem for path in FILES}


class System:
    """A root with services, in a directory: no init runs there, so nothing is asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        target = root / "usr/share/upstart/jobs"
        target.mkdir(parents=True)
        for path in [*FILES, JOBS / "installed"]:
            (target / path.name).write_text(path.read_text())
        self.init = root / "etc/init"
        self.init.mkdir(parents=True)

    def write(self, path: str, text: str = "") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def run(self, *options: str) -> None:
        done = subprocess.run([LINK_JOBS, "--root", self.root, *options], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def links(self) -> set[str]:
        found = {path.stem for path in self.init.glob("*.conf") if path.is_symlink()}
        for name in found:
            assert os.readlink(self.init / f"{name}.conf") == f"/usr/share/upstart/jobs/{name}.conf"
        return found

    def register(self, name: str, letters: dict[str, str]) -> None:
        """Links as update-rc.d makes them: the letter by runlevel."""
        for level, letter in letters.items():
            link = self.root / f"etc/rc{level}.d/{letter}01{name}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"../init.d/{name}")


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


class TestLinkJobs:
    def test_links_what_is_installed_and_takes_it_away_with_the_service(self, system: System) -> None:
        system.run()
        assert system.links() == set()
        sshd = system.write("usr/sbin/sshd")
        system.write("usr/sbin/cron")
        for _ in range(2):
            system.run()
            assert system.links() == {"ssh", "cron"}
        sshd.unlink()
        system.run()
        assert system.links() == {"cron"}
        system.run("--remove")
        assert list(system.init.iterdir()) == []

    @pytest.mark.parametrize("path", ["sbin/wpa_supplicant", "usr/sbin/wpa_supplicant"])
    def test_knows_the_places_of_each_release(self, system: System, path: str) -> None:
        system.write(path)
        system.run()
        assert system.links() == {"wpa_supplicant"}

    @pytest.mark.parametrize("path", ["usr/libexec/elogind", "lib/elogind/elogind", "usr/lib/elogind/elogind"])
    def test_knows_each_place_of_a_program(self, system: System, path: str) -> None:
        system.write(path)
        system.run()
        assert system.links() == {"elogind"}

    def test_leaves_every_other_file_alone(self, system: System) -> None:
        for name in ("sshd", "cron", "atd"):
            system.write(f"usr/sbin/{name}")
        own = system.write("etc/init/ssh.conf", "exec own\n")
        (system.init / "cron.conf").symlink_to("/nowhere/cron.conf")
        (system.init / "atd.conf").symlink_to("/dev/null")
        for options in ((), ("--rest",), ("--remove",)):
            system.run(*options)
            assert own.read_text() == "exec own\n"
            assert os.readlink(system.init / "cron.conf") == "/nowhere/cron.conf"
            assert os.readlink(system.init / "atd.conf") == "/dev/null"

    def test_leaves_to_scripts_what_an_administrator_says(self, system: System) -> None:
        for name in ("sshd", "cron"):
            system.write(f"usr/sbin/{name}")
        system.write("lib/console-setup/keyboard-setup.sh")
        system.run()
        assert system.links() == {"ssh", "cron", "keyboard-setup"}
        default = system.write("etc/default/upstart-jobs", 'SCRIPTS="cron keyboard-setup.sh"\n')
        system.run()
        assert system.links() == {"ssh"}
        default.write_text("")
        system.run()
        assert system.links() == {"ssh", "cron", "keyboard-setup"}

    def test_takes_away_links_to_jobs_that_there_are_no_more(self, system: System) -> None:
        (system.init / "gone.conf").symlink_to("/usr/share/upstart/jobs/gone.conf")
        system.run()
        assert system.links() == set()

    @pytest.mark.parametrize(
        ("letters", "off"),
        [
            ({"0": "K", "2": "S", "6": "K"}, False),
            ({"S": "S", "0": "K"}, False),
            ({"0": "K", "1": "K", "2": "K", "3": "K", "6": "K"}, True),
            ({"2": "K", "3": "S"}, False),
            ({}, False),
        ],
    )
    def test_what_update_rc_d_has_switched_off_stays_so(
        self, system: System, letters: dict[str, str], off: bool
    ) -> None:
        system.write("usr/sbin/sshd")
        system.write("etc/init/ssh.override", "# mine")
        system.register("ssh", letters)
        system.run()
        override = (system.init / "ssh.override").read_text()
        mark = re.search("^mark='(.*)'$", (ROOT / "debian/lsb/registration").read_text(), re.M)
        assert mark
        assert override == (f"# mine\n{mark[1]}\nmanual\n" if off else "# mine")
        system.run("--remove")
        system.run()
        assert (system.init / "ssh.override").read_text() == override

    def test_complains_of_words_it_does_not_know(self, system: System) -> None:
        done = subprocess.run(
            [LINK_JOBS, "--root", system.root, "--nonsense"], check=False, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stderr.startswith("Usage: ")


class Running(System):
    """One that seems to be this machine, and run by Upstart: what is asked and told is written down."""

    #: Each writes down its words; a file of the job's name says whether it runs, FAIL that no start succeeds.
    INITCTL = """\
#!/bin/sh
cd {root}/state
case $1 in
    status) if [ -e "$2" ]; then echo "$2 start/running, process 1"; elif [ -e "../etc/init/$2.conf" ]; then
        echo "$2 stop/waiting"; else echo "initctl: Unknown job: $2" >&2; exit 1; fi ;;
    start) echo "$2" >>started; if [ -e FAIL ]; then echo "initctl: Job failed to start" >&2; exit 1; fi
        : >"$2"; echo "$2 start/running" ;;
    stop) echo "$2" >>stopped; if [ -e FAIL ]; then exit 1; fi
        rm "$2"; echo "$2 stop/waiting" ;;
esac
"""
    #: PACKAGES has lines of path, package, status and script.
    QUERY = """\
#!/bin/sh
case $1 in
    -S) while read -r path package status script; do
        if [ "$path" = "$2" ]; then echo "diversion by x from: $path"; echo "$package, other:any: $path"; exit 0; fi
        done <{root}/packages; exit 1 ;;
    -L) while read -r path package status script; do [ "$package" != "$2" ] || echo "$script"; done <{root}/packages ;;
    -W) while read -r path package status script; do
        if [ "$package" = "$4" ]; then printf %s "$status"; fi; done <{root}/packages ;;
esac
"""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        (root / "state").mkdir()
        self.write("packages")
        for name, text in {
            "initctl": self.INITCTL, "dpkg-query": self.QUERY, "runlevel": '#!/bin/sh\ncat "{root}/level"\n',
        }.items():  # fmt: skip
            self.program(f"bin/{name}", text.replace("{root}", str(root)))
        self.write("level", "N 2\n")
        text = LINK_JOBS.read_text().replace("/proc/1/root -ef /", "/ -ef /")
        text = re.sub(r"(?<![\w}])/(run|etc|usr/sbin/policy-rc\.d)\b", rf"{root}/\1", text)
        text = text.replace('"/proc/$pid', f'"{root}/proc/$pid')
        text = text.replace("jobs=/usr/share", f"jobs={root}/usr/share").replace("PATH=/usr", f"PATH={root}/bin:/usr")
        text = text.replace("table=$root$jobs", "table=$jobs").replace("init=$root/etc", f"init={root}/etc")
        self.script = self.program("link-jobs", text)
        table = (JOBS / "installed").read_text()
        self.write("usr/share/upstart/jobs/installed", re.sub(r"(?<= |,)/", f"{root}/", table))

    def program(self, path: str, text: str) -> Path:
        file = self.write(path, text)
        file.chmod(0o755)
        return file

    def triggered(self, *options: str) -> str:
        """What it says; it succeeds whatever comes of a start."""
        done = subprocess.run([self.script, *(options or ["--triggered"])], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "")
        return done.stderr

    def started(self) -> list[str]:
        return self._noted("started")

    def stopped(self) -> list[str]:
        return self._noted("stopped")

    def _noted(self, what: str) -> list[str]:
        path = self.root / "state" / what
        return path.read_text().split() if path.exists() else []

    def is_linked(self, name: str) -> bool:
        return (self.init / f"{name}.conf").is_symlink()

    def runs(self, name: str, program: Path | str) -> None:
        """The job's process has this program, which "PATH (deleted)" says is in the file system no more."""
        self.write(f"state/{name}")
        exe = self.root / "proc/1/exe"
        exe.parent.mkdir(parents=True, exist_ok=True)
        exe.unlink(missing_ok=True)
        exe.symlink_to(program)


class TestTriggered:
    @pytest.fixture
    def running(self, tmp_path: Path) -> Running:
        return Running(tmp_path)

    def test_what_has_been_installed_is_started_once(self, running: Running) -> None:
        running.write("usr/sbin/rsyslogd")
        assert running.triggered() == ""
        assert running.started() == ["rsyslog"]
        (running.root / "state/rsyslog").unlink()
        assert running.triggered() == ""
        assert running.started() == ["rsyslog"]

    def test_what_has_no_program_any_more_is_stopped(self, running: Running) -> None:
        program = running.write("usr/sbin/rsyslogd")
        nft = running.write("usr/sbin/nft")
        running.triggered()
        program.unlink()
        nft.unlink()
        assert running.triggered() == "" and running.stopped() == ["rsyslog"]
        assert not running.is_linked("rsyslog") and not running.is_linked("nftables")
        assert running.triggered() == "" and running.stopped() == ["rsyslog"]

    def test_what_does_not_stop_is_told_of(self, running: Running) -> None:
        program = running.write("usr/sbin/rsyslogd")
        running.triggered()
        program.unlink()
        running.write("state/FAIL")
        assert running.triggered().startswith("link-jobs: rsyslog has been removed, but runs on")
        assert not running.is_linked("rsyslog")

    def test_what_has_no_program_any_more_runs_on_where_that_is_policy(self, running: Running) -> None:
        program = running.write("usr/sbin/rsyslogd")
        running.triggered()
        program.unlink()
        running.program("usr/sbin/policy-rc.d", "#!/bin/sh\n[ \"$2\" = stop ] && exit 101\n")
        assert running.triggered() == "link-jobs: policy-rc.d forbids the stop of rsyslog\n"
        assert running.stopped() == []

    def test_nothing_is_started_but_by_the_trigger(self, running: Running) -> None:
        running.write("usr/sbin/rsyslogd")
        subprocess.run([running.script], check=True)
        assert running.is_linked("rsyslog")
        assert running.triggered() == "" and running.started() == []

    def test_steps_of_the_boot_are_not_for_now(self, running: Running) -> None:
        for name in ("nft", "ufw", "mdadm", "anacron"):
            running.write(f"usr/sbin/{name}")
        assert running.triggered() == ""
        assert running.is_linked("nftables") and running.started() == []

    @pytest.mark.parametrize("level", ["N S", "2 1", "2 0", "2 6", "unknown"])
    def test_nothing_is_started_in_another_runlevel(self, running: Running, level: str) -> None:
        running.write("level", f"{level}\n")
        running.write("usr/sbin/rsyslogd")
        assert running.triggered() == ""
        assert running.is_linked("rsyslog") and running.started() == []

    def test_a_machine_that_systemd_runs_starts_nothing(self, running: Running) -> None:
        (running.root / "run/systemd/system").mkdir(parents=True)
        running.write("usr/sbin/rsyslogd")
        assert running.triggered() == ""
        assert running.is_linked("rsyslog") and running.started() == []

    @pytest.mark.parametrize("override", ["manual\n", "  manual # for now\n", "start on evening\n"])
    def test_what_is_switched_off_stays_so(self, running: Running, override: str) -> None:
        running.write("etc/init/rsyslog.override", override)
        running.write("usr/sbin/rsyslogd")
        assert running.triggered() == ""
        assert running.is_linked("rsyslog") and running.started() == []

    def test_an_override_that_says_nothing_of_the_start_is_none_of_its_business(self, running: Running) -> None:
        running.write("etc/init/rsyslog.override", "# manual\nnice 5\n")
        running.write("usr/sbin/rsyslogd")
        assert running.triggered() == ""
        assert running.started() == ["rsyslog"]

    @pytest.mark.parametrize("container", [True, False])
    def test_what_is_for_machines_is_not_started_in_a_container(self, running: Running, container: bool) -> None:
        if container:
            running.write("run/container_type", "lxc\n")
        running.write("usr/sbin/haveged")
        assert running.triggered() == ""
        assert running.started() == ([] if container else ["haveged"])

    @pytest.mark.parametrize(
        ("status", "said"),
        [
            (0, None), (104, None), (1, None), (105, None),
            (101, "forbids the start of rsyslog"), (106, "forbids the start of rsyslog"),
            (102, "there is no start of rsyslog, for policy-rc.d has failed with status 102"),
        ],
    )  # fmt: skip
    def test_policy_rc_d_is_asked(self, running: Running, status: int, said: str | None) -> None:
        running.program("usr/sbin/policy-rc.d", f'#!/bin/sh\necho "$@" >{running.root}/asked\nexit {status}\n')
        running.write("usr/sbin/rsyslogd")
        told = running.triggered()
        assert running.started() == (["rsyslog"] if said is None else [])
        assert said in told if said else told == ""
        assert (running.root / "asked").read_text() == "rsyslog start 2\n"

    def test_a_service_waits_for_what_it_needs(self, running: Running) -> None:
        running.write("usr/sbin/avahi-daemon")
        (running.init / "dbus.conf").write_text("")
        assert running.triggered() == ""
        assert running.is_linked("avahi-daemon") and running.started() == []
        running.triggered("--remove")
        running.write("state/dbus")
        assert running.triggered() == ""
        assert running.started() == ["avahi-daemon"]

    def test_what_another_start_has_brought_along_is_not_started_again(self, running: Running) -> None:
        running.write("state/rsyslog")
        running.write("usr/sbin/rsyslogd")
        assert running.triggered() == ""
        assert running.started() == []

    def test_a_failure_is_told_and_is_none_of_the_installation(self, running: Running) -> None:
        running.write("state/FAIL")
        running.write("usr/sbin/rsyslogd")
        assert running.triggered() == (
            "link-jobs: rsyslog has been installed, but not started: initctl: Job failed to start\n"
        )

    @pytest.mark.parametrize(
        ("status", "script", "starts"),
        [
            ("installed", "/etc/default/rsyslog", True),
            ("triggers-pending", "/etc/default/rsyslog", True),
            # It has been started when it was configured, or is not to be.
            ("installed", "/etc/init.d/rsyslog", False),
            ("unpacked", "/etc/init.d/rsyslog", False),
        ],
    )
    def test_the_package_is_asked(self, running: Running, status: str, script: str, starts: bool) -> None:
        program = running.write("usr/sbin/rsyslogd")
        if script.startswith("/etc"):
            script = f"{running.root}{script}"
        running.write("packages", f"{program} rsyslog {status} {script}\n")
        for options in ("--triggered", "--configured"):
            assert running.triggered(options) == ""
            assert running.started() == (["rsyslog"] if starts else [])

    def test_the_end_of_dpkg_starts_what_was_not_configured(self, running: Running) -> None:
        program = running.write("usr/sbin/rsyslogd")
        other = running.write("usr/sbin/chronyd")
        line = f"{program} rsyslog {{}} /x\n{other} chrony unpacked /y\n"
        running.write("packages", line.format("unpacked"))
        for options in ("--triggered", "--configured"):
            assert running.triggered(options) == ""
            assert running.is_linked("rsyslog") and running.started() == []
        running.write("packages", line.format("installed"))
        for _ in range(2):
            assert running.triggered("--configured") == ""
            assert running.started() == ["rsyslog"]
        # It has gone meanwhile.
        other.unlink()
        running.write("packages")
        assert running.triggered() == "" and running.triggered("--configured") == ""
        assert running.started() == ["rsyslog"]
        assert not (running.root / "run/upstart/jobs-to-start").exists()


class TestUpgraded:
    """rsyslog runs by its job, of a package that has no script of its own."""

    @pytest.fixture
    def running(self, tmp_path: Path) -> Running:
        running = Running(tmp_path)
        self.program = running.write("usr/sbin/rsyslogd")
        running.triggered()
        self.belongs(running, "installed")
        running.runs("rsyslog", f"{self.program} (deleted)")
        (running.root / "state/started").unlink()
        return running

    def belongs(self, running: Running, status: str, script: str = "/x") -> None:
        running.write("packages", f"{self.program} rsyslog {status} {script}\n")

    def was_restarted(self, running: Running, *options: str, told: str = "") -> bool:
        """And has a process of the new program afterwards."""
        said = running.triggered(*options)
        assert said == told
        assert running.stopped() == running.started()
        if not running.started():
            return False
        assert running.started() == ["rsyslog"]
        running.runs("rsyslog", self.program)
        return True

    @pytest.mark.parametrize("option", ["--triggered", "--upgraded"])
    def test_what_runs_an_old_program_is_started_again_once(self, running: Running, option: str) -> None:
        assert self.was_restarted(running, option)
        for name in ("started", "stopped"):
            (running.root / "state" / name).unlink()
        assert not self.was_restarted(running, option)

    def test_nobody_else_starts_anything_again(self, running: Running) -> None:
        subprocess.run([running.script], check=True)
        assert not self.was_restarted(running, "--start", "rsyslog")
        assert not self.was_restarted(running, "--configured")

    def test_what_does_not_run_stays_so(self, running: Running) -> None:
        (running.root / "state/rsyslog").unlink()
        assert not self.was_restarted(running)

    def test_a_program_that_is_as_it_was_runs_on(self, running: Running) -> None:
        running.runs("rsyslog", self.program)
        assert not self.was_restarted(running)

    def test_a_program_that_has_moved_is_an_old_one(self, running: Running) -> None:
        running.runs("rsyslog", "/lib/rsyslogd (deleted)")
        assert self.was_restarted(running)

    def test_an_interpreter_of_another_package_is_none_of_it(self, running: Running) -> None:
        python = running.write("usr/bin/python3.11")
        with (running.root / "packages").open("a") as packages:
            packages.write(f"{python} python3.11-minimal installed /y\n")
        running.runs("rsyslog", f"{python} (deleted)")
        assert not self.was_restarted(running)

    def test_a_program_that_no_package_has_is_its_owner_s_business(self, running: Running) -> None:
        running.write("packages")
        assert not self.was_restarted(running)

    def test_a_package_with_a_script_does_that_by_itself(self, running: Running) -> None:
        self.belongs(running, "installed", f"{running.root}/etc/init.d/rsyslog")
        assert not self.was_restarted(running)

    def test_an_unconfigured_package_is_waited_for(self, running: Running) -> None:
        self.belongs(running, "unpacked")
        assert not self.was_restarted(running)
        self.belongs(running, "installed")
        assert self.was_restarted(running, "--configured")
        assert not (running.root / "run/upstart/jobs-to-start").exists()

    def test_what_was_stopped_while_it_was_waited_for_stays_so(self, running: Running) -> None:
        self.belongs(running, "unpacked")
        assert not self.was_restarted(running)
        (running.root / "state/rsyslog").unlink()
        self.belongs(running, "installed")
        assert not self.was_restarted(running, "--configured")

    def test_policy_rc_d_is_asked(self, running: Running) -> None:
        running.program("usr/sbin/policy-rc.d", "#!/bin/sh\n[ \"$2\" = restart ] && exit 101\n")
        assert not self.was_restarted(running, told="link-jobs: policy-rc.d forbids the restart of rsyslog\n")

    @pytest.mark.parametrize("level", ["N S", "2 1", "2 0", "unknown"])
    def test_nothing_is_started_again_in_another_runlevel(self, running: Running, level: str) -> None:
        running.write("level", f"{level}\n")
        assert not self.was_restarted(running)

    def test_a_step_of_the_boot_is_none_of_it(self, running: Running) -> None:
        running.runs("rsyslog", self.program)
        nft = running.write("usr/sbin/nft")
        running.triggered()
        running.write("packages", f"{nft} nftables installed /x\n")
        running.runs("nftables", f"{nft} (deleted)")
        assert running.triggered() == "" and running.stopped() == []

    def test_a_failure_is_told_and_is_none_of_the_upgrade(self, running: Running) -> None:
        running.program(
            "bin/initctl", running.INITCTL.replace("{root}", str(running.root)).replace("if [ -e FAIL ]", "if true", 1)
        )
        assert running.triggered() == (
            "link-jobs: rsyslog has been upgraded, but not started again: initctl: Job failed to start\n"
        )


class TestServiceStep:
    STEP = ROOT / "src/libexec/service-step"

    def run(self, tmp_path: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """With all that it reads and writes in a directory, and programs that say how they are called."""
        text = self.STEP.read_text()
        text = re.sub(r"(?<![\w/.])/(run|etc|proc/fs|var/lib)/", rf"{tmp_path}/\1/", text)
        text = text.replace("PATH=/sbin", f"PATH={tmp_path}/bin:/sbin")
        script = tmp_path / "step"
        script.write_text(text)
        return subprocess.run(
            ["/bin/sh", script, *words], check=False, capture_output=True, text=True, timeout=20, env=env
        )

    @pytest.fixture(autouse=True)
    def programs(self, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        for name in ("rpc.statd", "rpc.gssd", "rpc.idmapd", "rpc.mountd", "rpc.nfsd", "exportfs", "mount", "mountpoint",
                     "start", "status", "sleep", "chown", "dbus-uuidgen", "nfsdctl"):
            status = 1 if name in ("mountpoint", "nfsdctl") else 0
            (tmp_path / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@"\nexit {status}\n')
            (tmp_path / "bin" / name).chmod(0o755)
        for name in ("etc/default", "run"):
            (tmp_path / name).mkdir(parents=True)

    def write(self, tmp_path: Path, name: str, text: str) -> None:
        (tmp_path / name).write_text(text)

    def test_the_bus_has_its_directories_by_few_programs(self, tmp_path: Path) -> None:
        for name in ("mkdir", "ln", "rm", "chmod"):
            self.write(tmp_path, f"bin/{name}", f'#!/bin/sh\necho {name}\nexec /bin/{name} "$@"\n')
            (tmp_path / "bin" / name).chmod(0o755)
        (tmp_path / "var/lib/dbus").mkdir(parents=True)
        self.write(tmp_path, "var/lib/dbus/machine-id", "x\n")
        bus, calls = tmp_path / "run/dbus", tmp_path / "run/upstart/bus-calls"
        owned = f"chown messagebus:messagebus {bus} {calls}"
        assert self.run(tmp_path, "dbus").stdout.splitlines() == ["mkdir", "mkdir", owned, "ln"]
        assert (bus.stat().st_mode & 0o777, calls.stat().st_mode & 0o777) == (0o755, 0o700)
        assert (tmp_path / "run/dbus-1/system-services").is_dir()
        assert os.readlink(tmp_path / "run/upstart/system-bus.conf") == "/usr/share/upstart/system-bus.conf"
        # Once more, with what a bus has left.
        self.write(tmp_path, "run/dbus/system_bus_socket", "")
        assert self.run(tmp_path, "dbus").stdout.splitlines() == ["mkdir", "ln", "rm"]
        assert not (bus / "system_bus_socket").exists()

    def test_once_is_once_a_boot_and_again_after_a_failure(self, tmp_path: Path) -> None:
        assert self.run(tmp_path, "once", "x", "false").returncode == 1
        assert self.run(tmp_path, "once", "x", "echo", "loaded").stdout == "loaded\n"
        assert self.run(tmp_path, "once", "x", "echo", "loaded").stdout == ""
        assert self.run(tmp_path, "once", "y", "echo", "loaded").stdout == "loaded\n"

    def test_once_waits_for_who_does_it_just_now(self, tmp_path: Path) -> None:
        self.run(tmp_path, "once", "other", "true")
        slow = subprocess.Popen(["/bin/sh", tmp_path / "step", "once", "x", "sh", "-c", "echo in; read line"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert slow.stdout is not None
        assert slow.stdout.readline() == "in\n"
        second = subprocess.Popen(["/bin/sh", tmp_path / "step", "once", "x", "echo", "twice"], stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(0.3)
        slow.communicate("\n")
        assert second.communicate(timeout=10)[0] == b""

    @pytest.mark.parametrize(
        ("default", "calls"),
        [("", ["rpc.statd -F"]), ("NEED_STATD=no", []), ("STATDOPTS='--port 4000'", ["rpc.statd -F --port 4000"])],
    )
    def test_statd(self, tmp_path: Path, default: str, calls: list[str]) -> None:
        self.write(tmp_path, "etc/default/nfs-common", default)
        assert self.run(tmp_path, "statd").stdout.splitlines() == calls

    @pytest.mark.parametrize("options", ["rw,vers=4.2", "nfsvers=4", "nolock,rw"])
    def test_what_needs_no_statd_waits_for_none(self, tmp_path: Path, options: str) -> None:
        done = self.run(tmp_path, "statd-mounting", OPTIONS=options, MOUNTPOINT="/home")
        assert (done.returncode, done.stdout) == (0, "")

    def test_a_mount_waits_for_statd_for_a_while(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "statd-mounting", OPTIONS="rw", MOUNTPOINT="/home")
        assert (done.returncode, done.stdout) == (1, "sleep 30\n")
        assert done.stderr.startswith("/home waits for statd no longer")
        self.write(tmp_path, "run/rpc.statd.pid", f"{os.getpid()}\n")
        assert self.run(tmp_path, "statd-mounting", OPTIONS="rw", MOUNTPOINT="/home").returncode == 0

    @pytest.mark.parametrize("job", ["statd", "rpcbind", "nfs-common"])
    def test_a_mount_does_not_wait_for_what_no_event_starts(self, tmp_path: Path, job: str) -> None:
        (tmp_path / "etc/init").mkdir()
        self.write(tmp_path, f"etc/init/{job}.override", "manual\n")
        done = self.run(tmp_path, "statd-mounting", OPTIONS="rw", MOUNTPOINT="/home")
        assert (done.returncode, done.stdout) == (0, "")

    @pytest.mark.parametrize(
        ("default", "fstab", "runs"),
        [
            ("", "", False),
            ("NEED_GSSD=yes", "", True),
            ("", "a:/b /c nfs rw,sec=krb5p 0 0\n", True),
            ("", "a:/b /c nfs sec=krb5,rw 0 0\n", True),
            ("", "# a:/b /c nfs sec=krb5 0 0\n", False),
            ("", "a:/b /c nfs sec=sys 0 0\n", False),
            ("NEED_GSSD=no", "a:/b /c nfs sec=krb5 0 0\n", False),
        ],
    )
    def test_gssd(self, tmp_path: Path, default: str, fstab: str, runs: bool) -> None:
        self.write(tmp_path, "etc/default/nfs-common", default)
        self.write(tmp_path, "etc/fstab", fstab)
        done = self.run(tmp_path, "gssd", FORCE="")
        assert done.returncode == 0
        assert ("rpc.gssd -f" in done.stdout) == runs
        assert "rpc.gssd -f" in self.run(tmp_path, "gssd", FORCE="y").stdout

    def test_the_server_runs_where_there_is_something_to_export(self, tmp_path: Path) -> None:
        assert self.run(tmp_path, "nfs-kernel-server").stdout == ""
        self.write(tmp_path, "etc/exports", "# /srv\n\n")
        assert self.run(tmp_path, "nfs-kernel-server").stdout == ""
        self.write(tmp_path, "etc/exports", "/srv *(ro)\n")
        self.write(tmp_path, "etc/default/nfs-kernel-server", 'RPCNFSDCOUNT=8\nRPCMOUNTDOPTS="--manage-gids"\n')
        calls = self.run(tmp_path, "nfs-kernel-server").stdout.splitlines()
        assert calls[-2:] == ["rpc.nfsd 8", "rpc.mountd -F --manage-gids"]
        assert "exportfs -r" in calls
        assert f"mount -t nfsd nfsd {tmp_path}/proc/fs/nfsd" in calls

    @pytest.mark.parametrize(("mask", "status"), [("000001ffffffffff", 0), ("000001fffdffffff", 1)])
    def test_who_may_set_the_clock(self, tmp_path: Path, mask: str, status: int) -> None:
        text = self.STEP.read_text().replace("/proc/self/status", f"{tmp_path}/status")
        self.write(tmp_path, "status", f"Name:\tx\nCapPrm:\t0\nCapEff:\t{mask}\n")
        self.write(tmp_path, "clock", text)
        assert subprocess.run(["/bin/sh", tmp_path / "clock", "sets-clock"], check=False).returncode == status


@pytest.mark.parametrize(
    ("words", "env", "told"),
    [
        (["eth0", "up"], {"IP4_NUM_ADDRESSES": "1"}, ["up eth0 eth0 inet NetworkManager"]),
        (["eth0", "up"], {"IP4_NUM_ADDRESSES": "2", "IP6_NUM_ADDRESSES": "1"},
         ["up eth0 eth0 inet NetworkManager", "up eth0 eth0 inet6 NetworkManager"]),
        (["tun0", "vpn-up"], {"VPN_IP6_NUM_ADDRESSES": "1"}, ["up tun0 tun0 inet6 NetworkManager"]),
        (["eth0", "down"], {}, ["down eth0 eth0 inet NetworkManager"]),
        (["eth0", "dhcp4-change"], {"IP4_NUM_ADDRESSES": "1"}, []),
        (["lo", "up"], {"IP4_NUM_ADDRESSES": "1"}, []),
        (["", "connectivity-change"], {}, []),
    ],
)  # fmt: skip
def test_interfaces_of_networkmanager_are_told_of_once(
    tmp_path: Path, words: list[str], env: dict[str, str], told: list[str]
) -> None:
    for what in ("up", "down"):
        hook = tmp_path / f"etc/network/if-{what}.d/upstart"
        hook.parent.mkdir(parents=True)
        hook.write_text(f"#!/bin/sh\necho {what} $IFACE $LOGICAL $ADDRFAM $METHOD\n")
        hook.chmod(0o755)
    script = tmp_path / "dispatcher"
    text = (JOBS / "nm-dispatcher").read_text()
    text = text.replace("/etc/network", f"{tmp_path}/etc/network")
    script.write_text(text.replace("in /etc /usr/lib", f"in {tmp_path}/etc {tmp_path}/usr/lib"))

    def call() -> list[str]:
        done = subprocess.run(["/bin/sh", script, *words], check=True, capture_output=True, text=True, env=env)
        return done.stdout.splitlines()

    assert call() == told
    # The hooks are called by what NetworkManager brings along.
    own = tmp_path / "etc/NetworkManager/dispatcher.d/01-ifupdown"
    own.parent.mkdir(parents=True)
    own.write_text("")
    assert call() == []


class TestSudo:
    def run(self, root: Path) -> None:
        (root / "run").mkdir(exist_ok=True)
        text = parsed(JOBS / "sudo.conf").processes["main"].command.replace("/run/", f"{root}/run/")
        assert str(root) in text
        subprocess.run(["/bin/sh", "-e", "-c", text], check=True)

    def test_has_a_place_for_its_records(self, tmp_path: Path) -> None:
        self.run(tmp_path)
        modes = [oct((tmp_path / path).stat().st_mode & 0o777) for path in ("run/sudo", "run/sudo/ts")]
        assert modes == ["0o711", "0o700"]

    def test_forgets_whom_it_has_asked(self, tmp_path: Path) -> None:
        record = tmp_path / "run/sudo/ts/somebody"
        record.parent.mkdir(parents=True)
        record.write_text("x")
        self.run(tmp_path)
        assert (record.stat().st_mtime, record.read_text()) == (0, "x")
