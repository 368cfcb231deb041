"""The program that runs the scripts of rcS.d: real scripts, and an init that notes what it is told."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from rcs_boot import SOURCE, Boot, all_of, boot
from waiting import wait_for

from upstart.base.syscalls import reset_reserved_signals
from upstart.sysv import bootscripts, patience, rcs
from upstart.sysv.bootorder import BootOrder

__all__ = ["boot"]


def listener_ends() -> bool:
    """Whether the process that listens to what is left running, our one child now, ends once nobody can speak."""
    (pid,) = Path("/proc/thread-self/children").read_text().split()
    return wait_for(partial(os.waitid, os.P_PID, int(pid), os.WEXITED | os.WNOHANG))


def test_scripts_are_started_one_after_another(boot: Boot) -> None:
    boot.trace("S02b", "exit 1")
    boot.trace("S01a", '[ "$1" = start ]')
    boot.trace("S03c")
    boot.run()
    assert boot.ran == ["a", "b", "c"]
    assert boot.said == ["b failed with exit status 1"]
    assert not boot.told


@pytest.mark.parametrize(("end", "said"), [
    ("exit 0", []), ("exit 5", ["a was skipped: its program is not installed"]),
    ("exit 6", ["a was skipped: it is not configured"]), ("kill -KILL $$", ["a was killed by signal 9"]),
])
def test_how_a_script_ended_is_told(boot: Boot, end: str, said: list[str]) -> None:
    boot.trace("S01a", end)
    boot.trace("S02b")
    boot.run()
    assert boot.said == said
    assert boot.ran == ["a", "b"]


def test_scripts_see_what_every_system_v_init_tells_them(boot: Boot) -> None:
    boot.script("S01a", f"echo $RUNLEVEL $PREVLEVEL $runlevel $previous $PATH > {boot.root}/trace")
    boot.run()
    assert boot.ran == ["S", "N", "S", "N", "/sbin:/usr/sbin:/bin:/usr/bin"]


def test_scripts_ignore_no_signal_and_have_the_locale_of_the_boot(boot: Boot) -> None:
    # The loop ends by SIGPIPE alone.
    boot.script("S01a", f"""{{
        while :; do echo x; done | head -n1
        sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status
        env -u PATH /usr/bin/env | sed -n 's/^LC_CTYPE=//p'
        }} > {boot.root}/trace""")
    code = (f"import sys; sys.path[:0] = {[SOURCE, '/usr/lib/python3/dist-packages']!r}\n"
            f"from upstart.sysv import bootorder, bootscripts; bootorder.SCRIPTS = {str(boot.root / 'init.d')!r}\n"
            "bootscripts.BootScripts(bootscripts.BootOrder(['S01a']), print).run()")
    # Init starts it with no signal ignored, not even those of the C library's.
    subprocess.run([sys.executable, "-IS", "-c", code], env={}, check=True, timeout=20,
                   preexec_fn=reset_reserved_signals)
    first, ignored, *locale = boot.ran
    assert first == "x" and int(ignored, 16) == 0 and not locale


def test_what_cannot_be_run_is_named_and_the_rest_runs(boot: Boot) -> None:
    boot.script("S01a", "exit", mode=0o644)
    boot.script("S02b", "#!/no/such/interpreter\n")
    (boot.root / "rcS.d/S03c").symlink_to("../init.d/c")
    boot.trace("S04d")
    boot.run()
    assert boot.said == ["Unable to run a: Permission denied", *(
        f"Unable to run {name}: No such file or directory" for name in "bc")]
    assert boot.ran == ["d"]


def test_a_script_without_an_interpreter_is_the_shells(boot: Boot) -> None:
    (boot.root / "init.d/a").write_text(f"echo a >> {boot.root}/trace\n")
    (boot.root / "init.d/a").chmod(0o755)
    (boot.root / "rcS.d/S01a").symlink_to("../init.d/a")
    boot.run()
    assert boot.ran == ["a"]


class TestWords:
    def test_of_scripts_that_run_at_once_do_not_mix(self, boot: Boot, capfd: pytest.CaptureFixture[str]) -> None:
        for number, name in enumerate("abcd"):
            # Each begins to speak before the others end, the later the sooner.
            boot.script(f"S01{name}", f"echo -n 'Starting {name}:'; sleep 0.{4 - number}; echo .")
        boot.run(all_of("a", "b", "c", "d"))
        assert capfd.readouterr().out == "".join(f"Starting {name}:.\n" for name in "abcd")

    def test_are_whole_however_many_and_in_order(self, boot: Boot, capfd: pytest.CaptureFixture[str]) -> None:
        boot.script("S01a", "sleep 0.2; echo first")
        boot.script("S01b", "seq 20000")
        boot.run(all_of("a", "b"))
        assert capfd.readouterr().out.splitlines() == ["first", *map(str, range(1, 20001))]

    def test_of_a_failure_follow_those_of_its_script(self, boot: Boot, capfd: pytest.CaptureFixture[str]) -> None:
        boot.script("S01a", "sleep 0.3; echo a")
        boot.script("S01b", "echo b; exit 4")
        order = BootOrder(["S01a", "S01b"], all_of("a", "b"))
        bootscripts.BootScripts(order, lambda text: os.write(1, text.encode())).run()
        assert capfd.readouterr().out == "a\nb\nb failed with exit status 4"

    def test_are_those_of_a_terminal(self, boot: Boot) -> None:
        boot.script("S01a", f"[ -t 1 ] && [ -t 2 ] && echo terminal >> {boot.root}/trace")
        boot.run()
        assert boot.ran == ["terminal"]

    def test_of_an_interactive_script_go_straight_to_the_console(self, boot: Boot,
                                                                 capfd: pytest.CaptureFixture[str]) -> None:
        boot.script("S01a", f"[ -t 1 ] || echo console >> {boot.root}/trace; echo here")
        boot.run(all_of("a", interactive="a"))
        assert boot.ran == ["console"]
        assert capfd.readouterr().out == "here\n"

    def test_of_what_a_script_leaves_running_are_not_waited_for(self, boot: Boot,
                                                                capfd: pytest.CaptureFixture[str]) -> None:
        boot.script("S01a", f"(echo $$; sleep 5; echo late) & echo $! > {boot.root}/pid; echo done")
        boot.run()
        pid = int((boot.root / "pid").read_text())
        assert "late" not in capfd.readouterr().out
        with open(os.pidfd_open(pid), "rb") as end:  # it was not ended with the script
            assert not select.select([end], [], [], 0)[0]
        os.killpg(os.getpgid(pid), 9)
        assert listener_ends()

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
    def test_that_nobody_can_read_end_nothing(self, boot: Boot) -> None:
        boot.trace("S01a", "echo a")
        boot.trace("S02b", "echo b")
        saved, full = os.dup(1), os.open("/dev/full", os.O_WRONLY)
        try:
            os.dup2(full, 1)
            boot.run()
        finally:
            os.dup2(saved, 1)
            os.close(saved)
            os.close(full)
        assert boot.ran == ["a", "b"]


class TestLogs:
    def read(self, boot: Boot, name: str) -> str:
        return (boot.root / "log" / f"rcS-{name}.log").read_text()

    def test_have_what_scripts_say_and_how_they_failed(self, boot: Boot) -> None:
        boot.script("S01a", "echo one; echo two >&2; exit 3")
        boot.script("S02b", "echo three")
        boot.script("S03c", "")
        boot.run()
        assert self.read(boot, "a") == "one\ntwo\nrcS: a failed with exit status 3\n"
        assert self.read(boot, "b") == "three\n"
        assert sorted(os.listdir(boot.root / "log")) == [".times", "rcS-a.log", "rcS-b.log"]
        # When each piece of it came is kept beside, as it is of jobs.
        assert sorted(os.listdir(boot.root / "log/.times")) == ["rcS-a.log", "rcS-b.log"]
        boot.run()
        assert self.read(boot, "b") == "three\n" * 2

    def test_that_cannot_be_written_end_nothing(self, boot: Boot, capfd: pytest.CaptureFixture[str]) -> None:
        (boot.root / "log").rmdir()
        boot.script("S01a", "echo one")
        boot.trace("S02b")
        boot.run()
        assert boot.ran == ["b"]
        assert capfd.readouterr().out == "one\n"

    def test_are_written_once_there_is_a_place(self, boot: Boot) -> None:
        (boot.root / "log").rmdir()
        boot.script("S01a", "echo one")
        boot.script("S02b", f"mkdir {boot.root}/log")
        boot.run()
        assert self.read(boot, "a") == "one\n"

    def test_have_what_is_left_running_says_afterwards(self, boot: Boot, capfd: pytest.CaptureFixture[str]) -> None:
        boot.script("S01a", f"""setsid sh -c '
            echo begins
            until [ -e {boot.root}/go ]; do sleep 0.02; done
            echo goes on || touch {boot.root}/cut-off
            touch {boot.root}/gone' </dev/null &""")
        boot.script("S02b", "sleep 0.3; echo last")
        boot.run()
        assert capfd.readouterr().out == "begins\nlast\n"
        (boot.root / "go").touch()
        assert wait_for((boot.root / "gone").exists)
        assert listener_ends()
        assert not (boot.root / "cut-off").exists()
        assert self.read(boot, "a") == "begins\ngoes on\n"
        assert capfd.readouterr().out == ""


class TestWhatTakesLong:
    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(patience, "FIRST", 0.1)

    def test_is_named_again_and_again_until_it_ends(self, boot: Boot) -> None:
        boot.script("S01a", f"echo $$ >{boot.root}/pid; until [ -e {boot.root}/go ]; do sleep 0.02; done")

        def say(text: str) -> None:
            boot.said.append(text)
            if len(boot.said) == 3:
                (boot.root / "go").touch()

        bootscripts.BootScripts(BootOrder(["S01a"]), say).run()
        pid = (boot.root / "pid").read_text().strip()
        line = f"a has been at it for 0 seconds, and the boot waits for it (to end it: kill -- -{pid})"
        assert boot.said == [line] * 3
        assert boot.told == ["boot-waits SCRIPT=a goes on"] * 3

    def test_of_a_job_is_named_while_scripts_are_heard(self, boot: Boot, capfd: pytest.CaptureFixture[str]) -> None:
        boot.script("S01a", "sleep 0.1; echo heard")
        boot.trace("S01b")
        boot.job("b")
        boot.on_emit = lambda: (wait_for(lambda: boot.said), None)[1]
        boot.run(all_of("a", "b"))
        assert boot.said[-1] == (
            "Job b in place of b has been at it for 0 seconds, and the boot waits for it (see: status b)")
        assert boot.ran == []
        assert "heard\n" in capfd.readouterr().out

    def test_has_its_words_in_the_log_once_logs_are_there(self, boot: Boot) -> None:
        boot.script("S01mountall.sh", "")
        boot.script("S02a", f"echo so far; until [ -e {boot.root}/log/rcS-a.log ]; do sleep 0.02; done; echo done")
        boot.run()
        assert (boot.root / "log/rcS-a.log").read_text() == "so far\ndone\n"

    def test_is_named_when_init_is_gone(self, boot: Boot) -> None:
        boot.reachable = False
        boot.script("S01a", "sleep 0.3")
        boot.run()
        assert boot.said and boot.said[0].startswith("a has been at it")


def test_a_wait_is_told_of_less_and_less_often() -> None:
    wait = patience.Patience(100.0)
    told = [now - 100 for now in range(100, 3700) if wait.asks(float(now))]
    assert told == [10, 20, 40, 80, 160, 320, 640, 1240, 1840, 2440, 3040]
    assert [wait.lasts(100.0 + seconds) for seconds in (10, 119, 120, 7199, 7200)] == [
        "10 seconds", "119 seconds", "2 minutes", "119 minutes", "2 hours"]


class TestCommand:
    @pytest.fixture
    def machine(self, boot: Boot, monkeypatch: pytest.MonkeyPatch) -> Boot:
        monkeypatch.setattr(rcs, "need_root", lambda context: None)
        monkeypatch.setattr("_signal.signal", lambda number, action: boot.told.append(f"signal {number}"))
        return boot

    def test_runs_the_scripts_and_leaves_events_and_runlevel_to_others(self, machine: Boot) -> None:
        machine.trace("S01a")
        assert rcs.main(["rcS"]) == 0
        assert machine.ran == ["a"]
        assert machine.told == ["signal 15", "signal 2"]

    def test_ends_well_whatever_scripts_do(self, machine: Boot, capfd: pytest.CaptureFixture[str]) -> None:
        machine.trace("S01a", "exit 1")
        assert rcs.main(["rcS"]) == 0
        assert "rcS: a failed with exit status 1\n" in capfd.readouterr().err

    def test_has_nothing_to_do_without_scripts(self, machine: Boot, capfd: pytest.CaptureFixture[str]) -> None:
        (machine.root / "rcS.d").rmdir()
        assert rcs.main(["rcS"]) == 0
        assert capfd.readouterr().err == f"rcS: Unable to read {machine.root}/rcS.d: No such file or directory\n"

    @pytest.mark.parametrize("words", [["2"], ["S"], [""], ["start", "a"], ["--no-such-option"]])
    def test_runs_nothing_for_a_wrong_command_line(self, machine: Boot, words: list[str]) -> None:
        machine.trace("S01a")
        assert rcs.main(["rcS", *words]) == 1
        assert machine.ran == []

    def test_obeys_what_asks_for_one_script_at_a_time(self, machine: Boot) -> None:
        depend = machine.root / "init.d/.depend.boot"
        depend.write_text(all_of("a", "b"))
        (machine.root / "rcS.d/S01a").touch()
        (machine.root / "rcS.d/S01b").touch()

        def at_once() -> int:
            order = bootscripts.boot_order()
            return sum(order.take() is not None for _ in range(2))

        assert at_once() == 2
        (machine.root / "init.d/.legacy-bootordering").touch()
        assert at_once() == 1
        (machine.root / "init.d/.legacy-bootordering").unlink()
        depend.write_text("")
        assert at_once() == 1
        depend.unlink()
        assert at_once() == 1


class TestFirst:
    """What has to run before the root is checked."""

    DEPEND = (
        "TARGETS = clock keys boards udev mountkernfs.sh checkroot.sh other\nINTERACTIVE =\n"
        "checkroot.sh: clock keys boards mountkernfs.sh\nkeys: mountkernfs.sh clock\nboards: udev\n"
        "udev: mountkernfs.sh\nother: checkroot.sh\n"
    )

    def order(self, boot: Boot) -> BootOrder:
        for name in ("udev", "mountkernfs.sh", "checkroot.sh"):
            boot.job(name, "start on virtual-filesystems\n", "start/running")
            boot.script(f"S02{name}", "exit 1")
        for name in ("clock", "keys", "boards", "other"):
            boot.trace(f"S01{name}")
        boot.put("udev-finish", "start/running")
        return BootOrder(os.listdir(boot.root / "rcS.d"), self.DEPEND)

    def test_is_what_needs_nothing_that_mountall_brings(self, boot: Boot) -> None:
        assert bootscripts.first_scripts(self.order(boot)) == {"clock", "keys"}

    def test_is_run_alone_in_its_order(self, boot: Boot) -> None:
        order = self.order(boot)
        order.keep(bootscripts.first_scripts(order))
        bootscripts.BootScripts(order, boot.said.append).run()
        assert boot.ran == ["clock", "keys"] and boot.said == []

    def test_is_left_to_its_job_and_waited_for(self, boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
        order = self.order(boot)
        boot.job(bootscripts.FIRST_JOB, "start on starting mountall\ntask\n", "start/running")
        mark = boot.root / "mark"
        monkeypatch.setattr(bootscripts, "FIRST_MARK", str(mark))
        asked: list[int] = []

        def ask() -> None:
            asked.append(len(boot.ran))
            if len(asked) == 3:
                mark.touch()
                boot.put(bootscripts.FIRST_JOB, "stop/waiting")

        boot.on_ask = ask
        scripts = bootscripts.BootScripts(order, boot.said.append)
        scripts.leave(bootscripts.first_scripts(order))
        scripts.run()
        # Neither needs the root, so "boards" has waited for udev alone.
        assert sorted(boot.ran) == ["boards", "other"] and len(asked) >= 3
        assert boot.said == []

    def test_is_not_run_while_mountall_may_yet_ask_for_it(self, boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
        order = self.order(boot)
        boot.job(bootscripts.FIRST_JOB, "start on before-mounting NEED=scripts\ntask\n", "stop/waiting")
        boot.put("mountkernfs.sh", "stop/waiting")
        mark = boot.root / "mark"
        monkeypatch.setattr(bootscripts, "FIRST_MARK", str(mark))
        asked: list[int] = []

        def ask() -> None:
            asked.append(len(boot.ran))
            if len(asked) == 3:
                # A shell has ended that comes before.
                mark.touch()
                boot.put(bootscripts.FIRST_JOB, "start/running")
            if len(asked) == 5:
                boot.put(bootscripts.FIRST_JOB, "stop/waiting")
                boot.put("mountkernfs.sh", "start/running")

        boot.on_ask = ask
        scripts = bootscripts.BootScripts(order, boot.said.append)
        scripts.leave(bootscripts.first_scripts(order))
        scripts.run()
        assert sorted(boot.ran) == ["boards", "other"] and boot.said == []

    def test_is_run_once_whoever_runs_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bootscripts, "FIRST_MARK", str(tmp_path / "mark"))
        assert bootscripts.claim_first() and not bootscripts.claim_first()
        monkeypatch.setattr(bootscripts, "FIRST_MARK", str(tmp_path / "none" / "mark"))
        assert bootscripts.claim_first()

    def test_is_run_with_the_rest_where_nobody_mounts(self, boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
        order = self.order(boot)
        boot.job(bootscripts.FIRST_JOB, "start on starting mountall\ntask\n", "stop/waiting")
        monkeypatch.setattr(bootscripts, "FIRST_MARK", str(boot.root / "mark"))
        scripts = bootscripts.BootScripts(order, boot.said.append)
        scripts.leave(bootscripts.first_scripts(order))
        scripts.run()
        assert sorted(boot.ran) == ["boards", "clock", "keys", "other"]
        assert boot.ran.index("clock") < boot.ran.index("keys") < boot.ran.index("other")
