"""Jobs that stand in for scripts of rcS, in their turn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rcs_boot import FAILED, Boot, all_of, boot

from upstart.base.errors import DBusError
from upstart.sysv import bootscripts, change

__all__ = ["boot"]


class TestJobs:
    @pytest.mark.parametrize("job", ["mountall.sh", "mountall"])
    def test_stand_in_for_scripts_in_their_turn(self, boot: Boot, job: str) -> None:
        boot.trace("S01a")
        boot.trace("S02mountall.sh")
        boot.trace("S03c")
        boot.job(job)
        boot.on_emit = lambda: boot.told.append(" ".join(boot.ran))
        boot.run()
        assert boot.ran == ["a", "c"]
        assert boot.told == ["boot-script SCRIPT=mountall.sh waits", "a"]
        assert not boot.said

    def test_of_a_script_without_the_ending_may_have_it(self, boot: Boot) -> None:
        boot.trace("S01mountall")
        boot.job("mountall.sh")
        boot.run()
        assert boot.ran == []

    def test_that_init_does_not_know_leave_it_to_the_script(self, boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
        # Or lsb's functions would end the script, which has a job file.
        monkeypatch.setenv("UPSTART_JOB", "rcS-scripts")
        boot.trace("S01a", f"echo ${{UPSTART_JOB:-none}} >> {boot.root}/trace")
        boot.trace("S02b", f"echo ${{UPSTART_JOB:-none}} >> {boot.root}/trace")
        boot.job("a")
        boot.known.clear()
        boot.run()
        assert boot.ran == ["a", "none", "b", "rcS-scripts"]
        assert boot.said == ["Job a cannot stand in for a: Unknown job: a"]

    def test_are_of_no_use_without_init(self, boot: Boot) -> None:
        boot.trace("S01a")
        boot.job("a")
        boot.reachable = False
        boot.run()
        assert boot.ran == ["a"]
        assert boot.said == ["Job a cannot stand in for a: nobody listens"]

    def test_that_fail_are_named_and_the_rest_runs(self, boot: Boot) -> None:
        boot.trace("S01a")
        boot.trace("S02b")
        boot.job("a")

        def fail() -> None:
            raise DBusError(FAILED, "Event failed")

        boot.on_emit = fail
        boot.run()
        assert boot.ran == ["b"]
        assert boot.said == ["Job in place of a: Event failed"]

    def test_are_waited_for_across_a_new_start_of_init(self, boot: Boot) -> None:
        boot.trace("S01a")
        boot.trace("S02b")
        boot.job("a")
        boot.instances = [["/job/a/_"], ["/job/a/_"], []]
        boot.on_emit = boot.lose_init
        boot.run()
        assert boot.told == ["boot-script SCRIPT=a waits", "waits", "waits"]
        assert boot.ran == ["b"]

    SERVICE = "# task\nstart on filesystem\nexec sleep 1\n"
    TASK = "start on virtual-filesystems\ntask\nexec true\n"

    def after(self, boot: Boot, looks: int, what: Callable[[], object]) -> None:
        """When init has been asked so often after its jobs, something happens."""
        asked = []

        def ask() -> None:
            asked.append(1)
            if len(asked) == looks:
                assert boot.ran == []
                what()

        boot.on_ask = ask

    def test_that_are_services_are_up_before_what_needs_them_runs(self, boot: Boot) -> None:
        boot.trace("S01a")
        boot.trace("S02b")
        boot.job("a", self.SERVICE, "stop/waiting")
        self.after(boot, 4, lambda: boot.put("a", "start/running"))
        boot.run()
        assert boot.ran == ["b"] and not boot.said

    @pytest.mark.parametrize("state", ["start/pre-start", "start/post-start", "stop/stopping", "stop/killed"])
    def test_that_are_services_on_their_way_are_not_up(self, boot: Boot, state: str) -> None:
        boot.trace("S01a")
        boot.trace("S02b")
        boot.job("a", self.SERVICE, state)
        self.after(boot, 3, lambda: boot.put("a", "start/running"))
        boot.run()
        assert boot.ran == ["b"] and not boot.said

    @pytest.mark.parametrize("state", ["start/running", "start/pre-start", "stop/post-stop", "start/starting"])
    def test_that_are_tasks_have_ended_before_what_needs_them_runs(self, boot: Boot, state: str) -> None:
        boot.trace("S01a")
        boot.trace("S02b")
        boot.job("a", self.TASK, state)
        self.after(boot, 3, lambda: boot.put("a", "stop/waiting"))
        boot.run()
        assert boot.ran == ["b"] and not boot.said

    def test_that_are_tasks_by_an_override_are_tasks(self, boot: Boot) -> None:
        boot.trace("S01a")
        boot.trace("S02b")
        boot.job("a", self.SERVICE, "stop/waiting")
        (boot.root / "init/a.override").write_text("task\n")
        boot.run()
        assert boot.ran == ["b"] and not boot.said

    def test_hold_up_nothing_that_does_not_need_them(self, boot: Boot) -> None:
        boot.script("S01mountnfs.sh", "")
        boot.trace("S01b")
        boot.trace("S02c")
        boot.job("mountnfs.sh", self.SERVICE, "stop/waiting")
        boot.on_ask = lambda: boot.put("mountnfs.sh", "start/running") if boot.ran == ["b"] else None
        boot.run(all_of("mountnfs.sh", "b", "c") + "c: mountnfs.sh\n")
        assert boot.ran == ["b", "c"] and not boot.said

    def test_that_nothing_waits_for_are_not_waited_for(self, boot: Boot) -> None:
        boot.trace("S01a")
        boot.script("S02b", "")
        boot.job("b", self.SERVICE, "stop/waiting")
        boot.run()
        assert boot.ran == ["a"] and not boot.told

    def test_alone_mean_that_there_is_nothing_to_do(self, boot: Boot) -> None:
        for number in range(3):
            boot.trace(f"S01{number}")
            boot.job(str(number), self.SERVICE)
        boot.run()
        assert boot.ran == [] and not boot.told and not boot.said

    def test_may_wait_for_the_turn_by_their_override(self, boot: Boot) -> None:
        boot.trace("S01a")
        boot.job("a", self.TASK)
        (boot.root / "init/a.override").write_text("start on boot-script SCRIPT=a\n")
        boot.run()
        assert boot.told == ["boot-script SCRIPT=a waits"]

    def test_whose_events_have_not_come_by_the_end_are_of_no_use_here(self, boot: Boot) -> None:
        boot.trace("S01a")
        boot.trace("S02b")
        boot.job("a", self.SERVICE, "stop/waiting")
        boot.put("mountnfs.sh", "start/running")
        self.after(boot, 4, lambda: boot.put("networking", "start/running"))
        boot.run()
        assert boot.ran == ["b"] and not boot.said

    def test_of_udev_are_done_when_the_devices_are_there(self, boot: Boot) -> None:
        boot.script("S01udev", "")
        boot.trace("S02b")
        boot.job("udev", self.SERVICE, "start/running")
        boot.put("udev-finish", "stop/waiting")
        self.after(boot, 4, lambda: boot.put("udev-finish", "start/running"))
        boot.run()
        assert boot.ran == ["b"] and not boot.said

    def test_that_hang_are_waited_for_until_the_boot_has_all_it_needs(
        self, boot: Boot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bootscripts, "PATIENCE", 0.3)
        monkeypatch.setattr(bootscripts, "LOOK", 0.05)
        boot.trace("S01a")
        boot.trace("S02b")
        boot.job("a", self.SERVICE, "start/starting")
        boot.put("mountnfs.sh", "start/running")
        boot.put("networking", "start/pre-start")
        asked = []

        def ask() -> None:
            # Longer than that, and one that is missing is enough.
            asked.append(1)
            if len(asked) == 12:
                assert boot.ran == [] and not boot.said
                boot.put("networking", "start/running")

        boot.on_ask = ask
        boot.run()
        assert boot.ran == ["b"]
        assert boot.said == ["Job a has not come, and a is waited for no longer"]
        assert len(asked) > 12

    def test_are_asked_for_again_where_init_executes_itself_meanwhile(self, boot: Boot) -> None:
        boot.trace("S01a")
        boot.trace("S02b")
        boot.job("a", self.SERVICE, "stop/waiting")
        asked = []

        def ask() -> None:
            asked.append(1)
            if len(asked) == 3:
                boot.put("a", "start/running")
            elif len(asked) == 2:
                boot.lose_init()

        boot.on_ask = ask
        boot.run()
        assert boot.ran == ["b"] and not boot.said

    def test_that_no_event_starts_on_this_system_are_done_when_the_boot_has_all_it_needs(self, boot: Boot) -> None:
        boot.trace("S01a")
        boot.trace("S02b")
        boot.job("a", self.SERVICE, "stop/waiting")
        boot.put("mountnfs.sh", "start/running")
        boot.put("networking", "start/pre-start")
        asked = []

        def ask() -> None:
            asked.append(1)
            if len(asked) == 3:
                assert boot.ran == []
                boot.put("networking", "start/running")

        boot.on_ask = ask
        boot.run()
        assert boot.ran == ["b"] and not boot.said

    def test_that_nobody_can_ask_after_hold_up_nothing_for_ever(
        self, boot: Boot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bootscripts, "PATIENCE", 0.3)
        monkeypatch.setattr(bootscripts, "LOOK", 0.05)
        boot.trace("S01a")
        boot.trace("S02b")
        boot.job("a", self.SERVICE, "stop/waiting")

        def leave() -> None:
            raise DBusError("org.freedesktop.DBus.Error.NoServer", "nobody listens")

        boot.on_ask = leave
        boot.run()
        assert boot.ran == ["b"]
        assert boot.said == ["Unable to ask after jobs: nobody listens"]

    def test_that_nobody_can_ask_for_are_given_up(self, boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
        boot.trace("S01a")
        boot.trace("S02b")
        boot.job("a")
        monkeypatch.setattr(change, "RESTART_PATIENCE", 0)

        def leave() -> None:
            boot.reachable = False
            boot.lose_init()

        boot.on_emit = leave
        boot.run()
        assert boot.ran == ["b"]
