"""What the ``cgroup`` stanzas of a job ask for, on cgroup v2.

init(5) describes the stanza in the terms of cgroup v1, where each controller had a tree of its own and keys such as
``memory.limit_in_bytes``.  A `Plan` is the v2 reading of it: one directory below init's own, and the files to write
there.  A key that v2 has under another name is translated, one that v2 has as it is is taken, and for any other the
error names it.  Making a plan touches nothing; `Plan.enter` is called in the job's own process.
"""

from __future__ import annotations

import os

from upstart.conf.expand import ExpandError, expand
from upstart.process.group import CgroupError, directory_name, enable, make_directory
from upstart.process.kernel import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Translation = tuple[str, Callable[[str], str]]

#: Stands for ``upstart/JOB`` or ``upstart/JOB-INSTANCE`` in a group's name.
VARIABLE = "$UPSTART_CGROUP"

#: v1 controller to the v2 one; None for what v2 does without a controller.
CONTROLLERS: dict[str, str | None] = {
    "blkio": "io",
    "cpu": "cpu",
    "cpuacct": None,
    "cpuset": "cpuset",
    "freezer": None,
    "hugetlb": "hugetlb",
    "io": "io",
    "memory": "memory",
    "misc": "misc",
    "perf_event": None,
    "pids": "pids",
    "rdma": "rdma",
}


def _limit(value: str) -> str:
    """v1 writes no limit as -1."""
    return "max" if value.strip().startswith("-") else value


def _shares(value: str) -> str:
    """cpu.shares 2 to 262144 (1024 is usual) to cpu.weight 1 to 10000, as container runtimes convert them."""
    shares = min(max(int(value), 2), 262144)
    return str(1 + (shares - 2) * 9999 // 262142)


def _weight(value: str) -> str:
    """blkio.weight 10 to 1000 (500 is usual) to io.weight 1 to 10000 (100 is usual)."""
    return str(min(max(int(value) // 5, 1), 10000))


def _device_weight(value: str) -> str:
    device, weight = value.split()
    return f"{device} {_weight(weight)}"


def _throttle(key: str) -> Callable[[str], str]:
    def translate(value: str) -> str:
        device, rate = value.split()
        return f"{device} {key}={'max' if rate == '0' else rate}"

    return translate


def _thawed(value: str) -> str:
    if value.strip().upper() != "THAWED":
        raise ValueError(value)
    return "0"


#: v1 file to the v2 file and its value.
TRANSLATED: dict[str, Translation] = {
    "blkio.throttle.read_bps_device": ("io.max", _throttle("rbps")),
    "blkio.throttle.read_iops_device": ("io.max", _throttle("riops")),
    "blkio.throttle.write_bps_device": ("io.max", _throttle("wbps")),
    "blkio.throttle.write_iops_device": ("io.max", _throttle("wiops")),
    "blkio.weight": ("io.weight", _weight),
    "blkio.weight_device": ("io.weight", _device_weight),
    "cpu.shares": ("cpu.weight", _shares),
    "freezer.state": ("cgroup.freeze", _thawed),
    "memory.limit_in_bytes": ("memory.max", _limit),
    "memory.soft_limit_in_bytes": ("memory.low", _limit),
}

#: v2 files, which a job may also name directly.
NATIVE = frozenset((
    "cpu.idle", "cpu.max", "cpu.max.burst", "cpu.uclamp.max", "cpu.uclamp.min", "cpu.weight", "cpu.weight.nice",
    "cpuset.cpus", "cpuset.cpus.exclusive", "cpuset.cpus.partition", "cpuset.mems", "io.latency", "io.max",
    "io.prio.class", "io.weight", "memory.high", "memory.low", "memory.max", "memory.min", "memory.oom.group",
    "memory.swap.high", "memory.swap.max", "memory.zswap.max", "misc.max", "pids.max", "rdma.max",
))


class Plan:
    """One group and its settings: ``name`` relative to init's base, ``settings`` (file, value, key as written)."""

    __slots__ = ("controllers", "name", "settings")

    def __init__(self, name: str, controllers: frozenset[str], settings: tuple[tuple[str, str, str], ...]) -> None:
        self.name = name
        self.controllers = controllers
        self.settings = settings

    def enter(self, base: str) -> int:
        """Make the group below ``base``, apply its settings and move the calling process into it.

        Returns a descriptor of its directory.  Raises CgroupError naming the group or the key.
        """
        path = base
        try:
            for part in self.name.split("/"):
                if path != base and self.controllers:
                    enable(path, self.controllers)
                path += "/" + part
                make_directory(path)
        except OSError as error:
            raise CgroupError(f"{self.name}: {os.strerror(error.errno or 0)}")
        for file, value, key in self.settings:
            try:
                write_file(f"{path}/{file}", value.encode())
            except OSError as error:
                raise CgroupError(f"{key}: {os.strerror(error.errno or 0)}")
        try:
            write_file(path + "/cgroup.procs", b"0")
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise CgroupError(f"{self.name}: {os.strerror(error.errno or 0)}")


def make_plan(
    stanzas: tuple[tuple[str, str | None, str | None, str | None], ...],
    job: str,
    instance: str,
    env: Mapping[str, str],
    session: str | None = None,
) -> Plan:
    """Read the stanzas (controller, name, key, value) of a job; for equal keys the last one counts.

    Raises CgroupError for a name that is no place below init's own, for two different names (a process is in one
    v2 group only), for an unknown controller, and for a key that v2 does not have.
    """
    own = (job + "-" + instance if instance else job).replace("/", "_")
    if session is not None:
        own = directory_name(job, instance, session)
    names: dict[str, None] = {}
    needed: set[str] = set()
    settings: dict[str, tuple[str, str]] = {}
    for controller, name, key, value in stanzas:
        if controller not in CONTROLLERS:
            raise CgroupError(f"{controller}: controller not available")
        names[_group_name(name or VARIABLE, own, env)] = None
        if key is not None:
            needed_one = CONTROLLERS[controller]
            if needed_one is not None:
                needed.add(needed_one)
            settings[f"{controller}.{key}"] = (controller, value or "")
    if len(names) != 1:
        raise CgroupError(" and ".join(names) + ": a process can be in one cgroup only")
    return Plan(next(iter(names)), frozenset(needed), _translate(settings))


def _group_name(name: str, own: str, env: Mapping[str, str]) -> str:
    """Expand a group's name; ``own`` replaces the special variable, which is not part of the environment."""
    try:
        expanded = expand(name, {**env, VARIABLE[1:]: "upstart/" + own})
    except ExpandError as error:
        raise CgroupError(f"{name}: {error}")
    parts = [part for part in expanded.split("/") if part]
    if not parts or any(part.startswith(".") or part.startswith("cgroup.") for part in parts) or "\0" in expanded:
        raise CgroupError(f"{expanded}: not a valid cgroup name")
    return "/".join(parts)


def _translate(settings: dict[str, tuple[str, str]]) -> tuple[tuple[str, str, str], ...]:
    """The files to write: (v2 file, value, key as written), in the order of the job file."""
    writes: list[tuple[str, str, str]] = []
    settings = dict(settings)
    quota, period = settings.pop("cpu.cfs_quota_us", None), settings.pop("cpu.cfs_period_us", None)
    if quota is not None or period is not None:
        limit = _limit(quota[1]) if quota is not None else "max"
        writes.append(("cpu.max", f"{limit} {period[1] if period is not None else 100000}", "cpu.cfs_quota_us"))
    swap = settings.pop("memory.memsw.limit_in_bytes", None)
    if swap is not None:
        writes.append(("memory.swap.max", _swap(swap[1], settings), "memory.memsw.limit_in_bytes"))
    for key, (controller, value) in settings.items():
        if key in NATIVE:
            writes.append((key, value, key))
        elif controller == "hugetlb" and key.endswith(".limit_in_bytes"):
            writes.append((key[: -len("limit_in_bytes")] + "max", _limit(value), key))
        elif controller == "hugetlb" and key.endswith(".max"):
            writes.append((key, value, key))
        elif key in TRANSLATED:
            file, translate = TRANSLATED[key]
            try:
                writes.append((file, translate(value), key))
            except ValueError:
                raise CgroupError(f"{key}: cgroup v2 has nothing like {value!r}")
        else:
            raise CgroupError(f"{key}: cgroup v2 has no such setting")
    return tuple(writes)


_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def _bytes(value: str) -> int:
    value = value.strip().lower()
    unit = _UNITS.get(value[-1:], 1)
    return int(value[:-1] if unit > 1 else value) * unit


def _swap(value: str, settings: dict[str, tuple[str, str]]) -> str:
    """v1 limits memory and swap together, v2 swap alone: what is left above the memory limit."""
    key = "memory.memsw.limit_in_bytes"
    if _limit(value) == "max":
        return "max"
    memory = settings.get("memory.limit_in_bytes")
    try:
        if memory is None:
            raise ValueError(value)
        return str(max(_bytes(value) - _bytes(memory[1]), 0))
    except ValueError:
        raise CgroupError(f"{key}: needs memory.limit_in_bytes beside it")
