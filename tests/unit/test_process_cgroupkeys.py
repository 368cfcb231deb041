"""How cgroup stanzas, written for cgroup v1, are read for v2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.process.cgroupkeys import Plan, make_plan
from upstart.process.group import CgroupError, directory_name

Stanza = tuple[str, "str | None", "str | None", "str | None"]


def plan(*stanzas: Stanza, job: str = "job", instance: str = "", env: dict[str, str] | None = None) -> Plan:
    return make_plan(stanzas, job, instance, env or {})


def test_controller_alone_is_the_jobs_own_group() -> None:
    result = plan(("cpu", None, None, None))
    assert (result.name, result.controllers, result.settings) == ("upstart/job", frozenset(), ())


def test_slashes_of_job_and_instance_become_underscores() -> None:
    assert plan(("cpu", None, None, None), job="net/if", instance="/dev/x").name == "upstart/net_if-_dev_x"


def test_names_may_lead_into_a_group_of_the_job_and_use_variables() -> None:
    stanza: Stanza = ("cpu", "$UPSTART_CGROUP/$KIND", None, None)
    assert plan(stanza, env={"KIND": "fast"}).name == "upstart/job/fast"
    assert plan(("cpu", "shared", None, None)).name == "shared"


@pytest.mark.parametrize("name", ["..", "a/../../b", "/", "./x", "$UPSTART_CGROUP/..", "cgroup.procs", ".x"])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(CgroupError, match="not a valid cgroup name"):
        plan(("cpu", name, None, None))


def test_unset_variable_in_a_name_is_an_error() -> None:
    with pytest.raises(CgroupError, match="Unknown parameter: NOPE"):
        plan(("cpu", "$NOPE", None, None))


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1))
def test_no_name_leaves_the_subtree(name: str) -> None:
    try:
        parts = plan(("cpu", name, None, None), env={}).name.split("/")
    except CgroupError:
        return
    assert parts and all(part and part not in (".", "..") for part in parts)


@pytest.mark.parametrize(
    ("controller", "key", "value", "file", "written"),
    [
        ("cpu", "shares", "1024", "cpu.weight", "39"),
        ("cpu", "shares", "2", "cpu.weight", "1"),
        ("cpu", "weight", "50", "cpu.weight", "50"),
        ("cpu", "cfs_quota_us", "50000", "cpu.max", "50000 100000"),
        ("cpu", "cfs_quota_us", "-1", "cpu.max", "max 100000"),
        ("cpuset", "cpus", "0-1", "cpuset.cpus", "0-1"),
        ("memory", "limit_in_bytes", "50M", "memory.max", "50M"),
        ("memory", "limit_in_bytes", "-1", "memory.max", "max"),
        ("memory", "max", "1G", "memory.max", "1G"),
        ("memory", "soft_limit_in_bytes", "1G", "memory.low", "1G"),
        ("blkio", "weight", "500", "io.weight", "100"),
        ("blkio", "weight_device", "8:0 1000", "io.weight", "8:0 200"),
        ("blkio", "throttle.read_bps_device", "8:0 1048576", "io.max", "8:0 rbps=1048576"),
        ("io", "max", "8:0 rbps=1", "io.max", "8:0 rbps=1"),
        ("pids", "max", "10", "pids.max", "10"),
        ("hugetlb", "2MB.limit_in_bytes", "2M", "hugetlb.2MB.max", "2M"),
        ("freezer", "state", "THAWED", "cgroup.freeze", "0"),
    ],
)
def test_keys_are_translated(controller: str, key: str, value: str, file: str, written: str) -> None:
    result = plan((controller, None, key, value))
    assert result.settings == ((file, written, f"{controller}.{key}"),)


def test_memory_and_swap_limit_becomes_a_swap_limit() -> None:
    result = plan(
        ("memory", None, "limit_in_bytes", "100M"), ("memory", None, "memsw.limit_in_bytes", "150M"), job="x"
    )
    assert ("memory.swap.max", str(50 << 20), "memory.memsw.limit_in_bytes") in result.settings
    with pytest.raises(CgroupError, match=r"memory\.memsw\.limit_in_bytes"):
        plan(("memory", None, "memsw.limit_in_bytes", "150M"))


@pytest.mark.parametrize(
    ("controller", "key", "value"),
    [
        ("memory", "swappiness", "10"),
        ("cpu", "rt_runtime_us", "1"),
        ("cpu", "shares", "many"),
        ("freezer", "state", "FROZEN"),
        ("blkio", "throttle.read_bps_device", "8:0"),
    ],
)
def test_keys_without_a_like_are_named(controller: str, key: str, value: str) -> None:
    with pytest.raises(CgroupError) as caught:
        plan((controller, None, key, value))
    assert f"{controller}.{key}" in str(caught.value)


def test_unknown_controller_is_named() -> None:
    with pytest.raises(CgroupError, match="net_cls"):
        plan(("net_cls", None, None, None))


def test_the_last_value_of_a_key_counts() -> None:
    result = plan(("cpu", None, "weight", "1"), ("cpu", None, "weight", "2"), ("pids", None, "max", "5"))
    assert result.settings == (("cpu.weight", "2", "cpu.weight"), ("pids.max", "5", "pids.max"))
    assert result.controllers == {"cpu", "pids"}


def test_two_names_cannot_both_hold_a_process() -> None:
    with pytest.raises(CgroupError, match="one cgroup only"):
        plan(("cpu", "a", None, None), ("memory", "b", None, None))


NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20)


INSTANCES = st.tuples(NAMES, st.just("") | NAMES, st.none() | st.just("/") | NAMES)


@given(INSTANCES, INSTANCES)
def test_every_instance_has_a_directory_of_its_own(
    one: tuple[str, str, str | None], two: tuple[str, str, str | None]
) -> None:
    first, second = directory_name(*one), directory_name(*two)
    assert (first == second) == (one == two)
    assert "/" not in first and not first.startswith(".")


def test_what_a_stanza_means_by_default_is_not_the_same_in_a_chroot_session() -> None:
    stanzas = (("cpu", None, None, None),)
    names = {make_plan(stanzas, "web", "", {}, session).name for session in (None, "/srv/a", "/srv/b")}
    assert len(names) == 3
