"""Which processes are no sign that a boot goes on."""

from __future__ import annotations

from upstart.daemon.rescue import serves_others
from upstart.engine.world import World


def test_bridges_and_the_process_that_hosts_them_start_nothing_of_their_own() -> None:
    world = World(
        upstart_udev_bridge="start on awaited EVENT=*-device-*\nexport SEPARATE\nenv SEPARATE=\npre-start exec wait\n",
        upstart_bridges="start on starting JOB=upstart-*-bridge\nexec host\n",
        interface="start on net-device-added\nexec up\n",
        failsafe="start on startup\nexec sleep\n",
        before="start on starting failsafe\nexec sleep\n",
    )
    world.engine.tell_awaited()
    world.settle()
    world.emit("startup")
    found = {
        instance.job.name: serves_others(world.engine, instance) for instance, _ in world.engine.pids.values()
    }
    assert found == {
        "upstart-udev-bridge": True, "upstart-bridges": True, "failsafe": False, "before": False,
    }  # fmt: skip
