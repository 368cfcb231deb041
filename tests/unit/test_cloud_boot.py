"""cloud-init's jobs in a boot of virtual time: its stages in their order, what waits for them, and what does not."""

from __future__ import annotations

from itertools import pairwise

import pytest
from boot_model import SERVICE_JOBS, Boot
from test_native_boot import CLOUD_JOBS as JOBS
from test_native_boot import check

#: Seconds that each stage takes, which is long beside all else.
TAKES = dict.fromkeys(("cloud-init-local", "cloud-init", "cloud-config", "cloud-final"), 7.0)
ALL = {path.stem: path.read_text() for path in SERVICE_JOBS.glob("*.conf")}


def main_processes(boot: Boot) -> list[str]:
    return [name for name, process, _, _ in boot.world.spawned if process == "main"]


def began(boot: Boot, name: str, process: str = "main") -> float:
    """When the one process of that name was started."""
    (moment,) = [when for *words, when in boot.began if words == [name, process]]
    return moment


@pytest.mark.parametrize("main", [True, False], ids=["one process", "processes"])
@pytest.mark.parametrize("place", ["/", "/var"])
@pytest.mark.parametrize("network", ["none", "up", "down"])
@pytest.mark.parametrize("container", ["", "lxc"])
def test_stages_come_in_their_order_each_once(container: str, network: str, place: str, main: bool) -> None:
    boot = Boot(container, network, JOBS, takes=TAKES, cloud=place, main=main).run(200.0)
    check(boot)
    order = [name for name in main_processes(boot) if name in TAKES]
    assert order == list(TAKES)
    times = [began(boot, name) for name in TAKES]
    assert [later - earlier >= 7.0 for earlier, later in pairwise(times)] == [True] * 3
    # The network is configured before it is looked at.
    assert began(boot, "ifupdown") >= times[0] + 7.0
    if network != "none":
        assert began(boot, "network-interface (eth0)", "pre-start") >= times[0] + 7.0
    # Whatever starts at the file systems finds what the second stage has done.
    told = boot.times["filesystem"]
    assert told >= times[1] + 7.0
    assert times[2] >= told
    assert times[3] >= began(boot, "rc")
    # Nothing of it is left but what is there to stay, and nothing waits to be stopped by it.
    assert not boot.running() & set(JOBS)


@pytest.mark.parametrize("jobs", [JOBS, ALL], ids=["cloud-init", "all"])
def test_what_every_boot_mounts_needs_no_bridge_that_waits_for_it(jobs: dict[str, str]) -> None:
    boot = Boot(network="up", more=jobs, takes=TAKES)
    boot.world.engine.tell_awaited()
    boot.run(200.0)
    assert boot.times["filesystem"]
    assert not boot.world.engine.jobs[None, "upstart-mount-bridge"].instances


@pytest.mark.parametrize("container", ["", "lxc"])
@pytest.mark.parametrize("network", ["none", "up"])
@pytest.mark.parametrize("place", ["/", "/var"])
def test_nothing_runs_and_nothing_waits_where_it_has_nothing_to_do(container: str, network: str, place: str) -> None:
    boot = Boot(container, network, JOBS, cloud="").run(20.0)
    check(boot)
    assert "cloud-init-disabled" in boot.happened
    assert not set(main_processes(boot)) & {*TAKES, "cloud-init-main"}
    assert not boot.running() & set(JOBS)


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("network", ["none", "up"])
def test_none_of_its_jobs_is_needed_to_come_to_a_login(name: str, network: str) -> None:
    check(Boot(network=network, more={each: JOBS[each] for each in JOBS if each != name}).run(300.0))


@pytest.mark.parametrize("network", ["none", "up"])
def test_a_first_stage_without_an_end_holds_the_network_for_two_minutes(network: str) -> None:
    boot = Boot(network=network, more=JOBS, takes={"cloud-init-local": 1000.0})
    boot.run(100.0)
    assert "ifupdown" not in main_processes(boot) and "filesystem" not in boot.happened
    boot.go_on(60.0)
    assert "ifupdown" in main_processes(boot)
    boot.go_on(1000.0)
    check(boot)


def test_the_one_process_that_dies_ends_the_stage_that_waits_for_it_and_the_boot_goes_on() -> None:
    boot = Boot(network="up", more=JOBS, takes={"cloud-init": 1000.0})
    boot.run(10.0)
    assert boot.world.status("cloud-init") == "start/running"
    boot.world.exit("cloud-init-main", 1)
    boot.go_on(30.0)
    check(boot)
    assert [name for name in main_processes(boot) if name in TAKES] == list(TAKES)


@pytest.mark.parametrize("place", ["/", "/var"])
def test_an_upgrade_in_each_stage_changes_nothing(place: str) -> None:
    for moment in range(1, 30):
        boot = Boot(network="up", more=JOBS, takes=TAKES, cloud=place)
        boot.run(float(moment))
        boot.world.reexecute()
        boot.go_on(100.0)
        check(boot)
        assert [name for name in main_processes(boot) if name in TAKES] == list(TAKES), moment


def test_beside_all_other_services_it_comes_to_its_end() -> None:
    boot = Boot(network="up", more=ALL, takes=TAKES).run(200.0)
    check(boot)
    assert [name for name in main_processes(boot) if name in TAKES] == list(TAKES)
    order = main_processes(boot)
    assert order.index("cloud-init") < order.index("ssh") and order.index("cloud-init") < order.index("dbus")


def test_file_systems_that_are_announced_again_do_not_repeat_it() -> None:
    boot = Boot(more=JOBS).run(30.0)
    boot.emit("mounted", MOUNTPOINT="/", TYPE="ext4")
    boot.go_on(30.0)
    check(boot)
    assert [name for name in main_processes(boot) if name in TAKES] == list(TAKES)


@pytest.mark.parametrize("moment", [1.0, 3.0, 10.0, 17.0, 24.0])
def test_the_end_of_the_machine_waits_for_no_stage(moment: float) -> None:
    boot = Boot(network="up", more=JOBS, takes=TAKES).run(moment)
    before = main_processes(boot).count("rc")
    boot.emit("runlevel", RUNLEVEL="0", PREVLEVEL="N")
    boot.go_on(1.0)
    assert main_processes(boot).count("rc") == before + 1
