#!/usr/bin/python3
"""`make bench`: measures our init and initctl, beside any other init with Upstart's D-Bus interface where one is given.

Prints a table: each figure's median (in brackets the best sample), the peer's, our value as a multiple of the peer's,
and what is wanted. It is no test: how long anything takes never makes it fail. Set in the environment:

PEER_INIT, PEER_INITCTL   the programs to measure beside ours; a file bridge is looked for beside the latter
QUICK=1                   smaller sizes, done within a minute
PARTS="task burst"        only these parts, of those that a wrong name makes it list
HIERARCHY=found           leave control groups as this machine has them; else they are mounted as init does it (with
                          favordynmods) for as long as this takes, for all inits alike
JOBS_DIR                  load the job files of this directory instead of generated ones
BOOT=1                    boot the root of make run as well, beside sysvinit-core; done anyway where the root is
                          there already, unless BOOT=0, QUICK or PARTS is set
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "boot"))

import boot_figures  # noqa: E402
from bridge_figures import bridges  # noqa: E402
from cell import CellError  # noqa: E402
from figures import PARTS, Figure, Side, Sizes  # noqa: E402
from hierarchy import as_init_mounts_it  # noqa: E402

PARTS["bridges"] = bridges
LAYOUT = "{:<58} | {:>24} | {:>24} | {:>6} | {}"


def number(value: float) -> str:
    """Three digits that count, thousands separated."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell_text(figure: Figure, side: str) -> str:
    value = figure.value(side)
    if value is None:
        return "-"
    best = f" ({number(figure.best(side))})" if len(figure.samples[side]) > 1 else ""
    return f"{number(value)} {figure.unit}{best}"


def row(figure: Figure) -> str:
    """A line of the table."""
    ours, peer = figure.value("ours"), figure.value("peer")
    ratio = f"{ours / peer:.2f}" if ours is not None and peer else "-"
    return LAYOUT.format(figure.title, cell_text(figure, "ours"), cell_text(figure, "peer"), ratio, figure.wanted)


def chosen_sides() -> list[Side]:
    sides = [Side("ours", str(TREE / "build/sbin/init"), str(TREE / "build/sbin/initctl"))]
    if os.environ.get("PEER_INIT"):
        peer = os.environ["PEER_INIT"]
        initctl = os.environ.get("PEER_INITCTL") or str(Path(peer).with_name("initctl"))
        sides.append(Side("peer", peer, initctl))
    return sides


def all_figures(parts: list[str], sizes: Sizes, boot: bool) -> Iterator[Figure]:
    sides = chosen_sides()
    for part in parts:
        try:
            yield from PARTS[part](sides, sizes)
        except CellError as error:
            print(f"bench: {part}: {error}", file=sys.stderr, flush=True)
    if boot:
        print("(the peer of the boot is sysvinit-core)", flush=True)
        yield from boot_figures.figures()


def main() -> int:
    if os.geteuid():
        print("bench: must be root, as inits are started in namespaces of their own", file=sys.stderr)
        return 1
    quick = os.environ.get("QUICK", "0") not in ("", "0")
    parts = os.environ.get("PARTS", "").split()
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        print(f"bench: no part {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    asked = os.environ.get("BOOT", "")
    boot = asked not in ("", "0") or (not asked and not quick and not parts and boot_figures.cached())
    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, lambda signum, _: sys.exit(128 + signum))
    try:
        with as_init_mounts_it() as said:
            print(f"({said})" if said else "(no control groups)")
            print(LAYOUT.format("figure, median (best)", "ours", "peer", "ratio", "wanted"))
            for figure in all_figures(parts or list(PARTS), Sizes(quick), boot):
                print(row(figure), flush=True)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
