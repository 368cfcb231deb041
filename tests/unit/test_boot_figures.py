"""What `make bench-boot` makes of the record of a boot: steps of the time it took, and whose the memory is."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / "bench"), str(TESTS / "boot")]

from boot_memory import Memory  # noqa: E402
from boot_tables import Sample, times  # noqa: E402
from boot_trace import Step, parse, steps  # noqa: E402

#: init executed at 2.0; a job's shell becomes rc, which has startpar run scripts, twice; then comes a login.
RECORD = """\
fork 1.5 comm=kthreadd pid=2 child_comm=kthreadd child_pid=9
exec 2.0 filename=/sbin/init pid=1 old_pid=1
fork 3.0 comm=init pid=1 child_comm=init child_pid=10
exec 3.1 filename=/bin/sh pid=10 old_pid=10
fork 3.2 comm=sh pid=10 child_comm=sh child_pid=11
exec 3.3 filename=/etc/init.d/rcS pid=11 old_pid=11
exec 3.4 filename=/etc/init.d/rc pid=11 old_pid=11
fork 3.5 comm=rc pid=11 child_comm=rc child_pid=12
exec 3.6 filename=/bin/startpar pid=12 old_pid=12
fork 4.0 comm=startpar pid=12 child_comm=startpar child_pid=13
exec 4.1 filename=/etc/init.d/first pid=13 old_pid=13
fork 4.2 comm=first pid=13 child_comm=first child_pid=14
exit 4.3 comm=first pid=14 prio=120
exit 5.0 comm=first pid=13 prio=120
exit 5.1 comm=startpar pid=12 prio=120
fork 5.2 comm=sh pid=10 child_comm=sh child_pid=15
exec 5.3 filename=/sbin/telinit pid=15 old_pid=15
fork 6.0 comm=init pid=1 child_comm=init child_pid=16
exec 6.1 filename=/etc/init.d/rc pid=16 old_pid=16
fork 6.5 comm=rc pid=16 child_comm=rc child_pid=17
exec 6.6 filename=/sbin/startpar pid=17 old_pid=17
fork 6.7 comm=startpar pid=17 child_comm=startpar child_pid=18
exec 6.8 filename=/etc/init.d/second pid=18 old_pid=18
exit 7.0 comm=second pid=18 prio=120
exit 7.5 comm=startpar pid=17 prio=120
fork 7.9 comm=init pid=1 child_comm=init child_pid=19
exec 8.0 filename=/sbin/getty pid=19 old_pid=19
"""

#: An init that starts by itself what the boot is made of; one program twice, and a device that udev finds meanwhile.
EVENTS = """\
exec 2.0 filename=/sbin/init pid=1 old_pid=1
fork 3.0 comm=init pid=1 child_comm=init child_pid=10
exec 3.1 filename=/sbin/mountall pid=10 old_pid=10
fork 3.2 comm=mountall pid=10 child_comm=mountall child_pid=11
exec 3.3 filename=/sbin/fsck.ext4 pid=11 old_pid=11
fork 3.4 comm=init pid=1 child_comm=init child_pid=12
exec 3.5 filename=/usr/libexec/upstart/boot-step pid=12 old_pid=12
exit 3.6 comm=boot-step pid=12 prio=120
exit 3.7 comm=fsck.ext4 pid=11 prio=120
fork 3.8 comm=init pid=1 child_comm=init child_pid=13
exec 3.9 filename=/usr/libexec/upstart/boot-step pid=13 old_pid=13
exit 4.2 comm=mountall pid=10 prio=120
fork 4.4 comm=init pid=1 child_comm=init child_pid=14
exec 4.5 filename=/sbin/getty pid=14 old_pid=14
fork 4.7 comm=init pid=1 child_comm=init child_pid=15
exec 4.8 filename=/usr/sbin/cron pid=15 old_pid=15
"""

LOOK = """\
1 (init) S 0 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 50 1 1
200 (systemd-udevd) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 700 1 1
300 (cron) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 2500 1 1
301 ((sd-pam)) S 400 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 2600 1 1
400 (systemd) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 2600 1 1
450 (login) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 900 1 1
500 (journald) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 600 1 1
9 (kthread) S 2 0 0 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 2 1 1
/proc/1/smaps_rollup:Rss:               13000 kB
/proc/1/smaps_rollup:Pss:               12000 kB
/proc/200/smaps_rollup:Rss:              5000 kB
/proc/200/smaps_rollup:Pss:              4000 kB
/proc/300/smaps_rollup:Rss:              1000 kB
/proc/300/smaps_rollup:Pss:               900 kB
/proc/301/smaps_rollup:Rss:               300 kB
/proc/301/smaps_rollup:Pss:               100 kB
/proc/400/smaps_rollup:Rss:              9000 kB
/proc/400/smaps_rollup:Pss:              2000 kB
/proc/450/smaps_rollup:Rss:              4000 kB
/proc/450/smaps_rollup:Pss:              1500 kB
/proc/500/smaps_rollup:Rss:              9000 kB
/proc/500/smaps_rollup:Pss:              3000 kB
"""


def shown(step: Step) -> tuple[str, float, float, int]:
    return step.name, round(step.begin, 3), round(step.length, 3), step.processes


def test_a_boot_is_cut_at_the_scripts() -> None:
    assert [shown(step) for step in steps(parse(RECORD))] == [
        ("init's own start", 0.0, 1.0, 0),
        ("before the scripts of rcS", 1.0, 0.5, 2),
        ("rcS, all scripts", 1.5, 1.6, 2),
        ("- first", 2.0, 1.0, 2),
        ("from rcS to rc 2", 3.1, 1.4, 2),
        ("rc 2, all scripts", 4.5, 1.0, 1),
        ("- second", 4.7, 0.3, 1),
        ("from rc 2 to getty", 5.5, 0.5, 1),
        ("together", 0.0, 6.0, 10),
    ]


def test_a_boot_by_events_is_cut_at_what_init_starts() -> None:
    assert [shown(step) for step in steps(parse(EVENTS))] == [
        ("init's own start", 0.0, 1.0, 0),
        ("- mountall", 1.0, 1.2, 2),
        ("- boot-step", 1.4, 0.2, 1),
        ("- boot-step (2)", 1.8, 0.7, 1),
        ("- getty", 2.4, 0.1, 1),
        ("together", 0.0, 2.5, 5),
    ]


def test_a_boot_without_a_login_has_no_steps() -> None:
    assert steps(parse(RECORD.replace("getty", "other"))) == []


def test_memory_is_that_of_the_init_of_udev_or_of_the_login() -> None:
    memory = Memory(LOOK)
    assert [(process.name, process.pss) for process in memory.helpers()] == [("journald", 3000)]
    assert (memory.processes[1].rss, memory.udevd(), memory.login()) == (13000, 4000, 2100)
    assert memory.last_service(("cron",)) == 25.0
    assert memory.getty() == 9.0
    assert 9 not in memory.processes


def test_each_figure_that_is_compared_has_a_column_for_each_reference() -> None:
    samples = {
        init: [Sample({"getty": number, "login": number + 1.0}, Memory("")) for number in figures]
        for init, figures in {"upstart": (1.0, 2.0, 3.0), "systemd": (4.0, 4.0, 5.0)}.items()
    }
    found = times(samples, (("getty", "to getty"), ("login", "to login")), ("getty", "getty"), ("login", "login"))
    assert found.splitlines() == [
        "| init | to getty | to login | getty, multiple of systemd | login, multiple of systemd |",
        "| --- | --- | --- | --- | --- |",
        "| upstart | 2.0 (1.0) | 3.0 (2.0) | 0.50 | 0.60 |",
        "| systemd | 4.0 (4.0) | 5.0 (5.0) | 1.00 | 1.00 |",
    ]
