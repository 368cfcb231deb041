"""``initctl2dot``: draws which events start and stop which jobs, in the language of Graphviz or as a picture.

The jobs are those of a running init, or of a file that has what ``initctl show-config -e`` prints, or of a directory of
job files, for which no init is asked.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, Namespace

from upstart.base.errors import ClientError
from upstart.base.inherited import restore_locale
from upstart.base.output import printing
from upstart.tools import dotfile, jobgraph

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from upstart.client.init import Init
    from upstart.tools.jobgraph import Graph


class Trouble(Exception):
    """What is told before the program ends with status 1."""


def options(argv: Sequence[str]) -> Namespace:
    """The command line; ends the program where that is wrong, or asks for help."""
    parser = ArgumentParser(
        prog=os.path.basename(argv[0]),
        description="Draw which events start and stop which jobs, in the format of Graphviz dot(1).",
        epilog="See http://www.graphviz.org/doc/info/colors.html for available colours.",
    )
    add = parser.add_argument
    add("-r", "--restrict-to-jobs", dest="restrictions", metavar="JOBS", help="only these jobs (separated by commas)")
    add("-f", "--infile", metavar="FILE", help="the output of initctl show-config -e, or a directory of job files")
    add("-o", "-w", "--outfile", metavar="FILE", help="where to write to (default upstart.dot), - for standard output")
    add("--format", choices=("dot", "svg", "png"), default="dot", help="what to write (default dot)")
    add("--state", action="store_true", help="colour jobs by how they stand")
    add("--around", metavar="JOB", help="only what is near this job")
    add("--depth", metavar="N", type=int, default=1, help="as many arrows away, with --around (default 1)")
    add("--from", dest="event", metavar="EVENT", help="only the shortest ways from this event, with --to")
    add("--to", dest="job", metavar="JOB", help="to this job, with --from")
    for name, default in dotfile.COLORS.items():
        add(f"--color-{name}", metavar="COLOR", default=default, help=f"(default {default})")
    add("--user", dest="system", action="store_false", default=None, help="ask the init of the user's session")
    add("--system", dest="system", action="store_true", default=None, help="ask the init of the system")
    given = parser.parse_args(argv[1:])
    if (given.event is None) != (given.job is None):
        parser.error("--from and --to need each other")
    if given.around and given.event is not None:
        parser.error("--around and --from exclude each other")
    if given.depth < 0:
        parser.error("argument --depth: not negative")
    return given


def connect(given: Namespace) -> tuple[Init, str]:
    """The init to ask, and what it is called in the title of the graph."""
    from upstart.client.init import Init  # not asked for by who reads files

    session = os.environ.get("UPSTART_SESSION")
    if given.system or not session:
        return Init.open(), "for the system"
    return Init.open(session), f"for session '{session}'"


def live(given: Namespace) -> tuple[Graph, dict[str, str] | None, str]:
    """The graph of a running init, how its jobs stand if that is wanted, and the title.  Raises `ClientError`."""
    from upstart.tools.rpn import condition_from_rpn

    init, title = connect(given)
    graph = jobgraph.Graph()
    for job in init.jobs():
        name = job.name
        graph.add_job(name)
        for event in job.emits:
            graph.add_emits(name, event)
        for kind, items in ((jobgraph.START, job.start_on), (jobgraph.STOP, job.stop_on)):
            for event, other in jobgraph.named(condition_from_rpn(items)):
                graph.add_condition(name, kind, event, other)
    states = _states(init) if given.state else None
    init.close()
    return graph.finish(), states, f"{title}\non host {os.uname().nodename}"


def _states(init: Init) -> dict[str, str]:
    found: dict[str, str] = {}
    for status in init.all_status():
        if (status.goal, status.state) == ("start", "running"):
            found.setdefault(status.job, "running")
        elif status.state != "waiting":
            found[status.job] = "moving"
        elif status.job not in found and init.failure_reason(status.job, status.instance):
            found[status.job] = "failed"
    return found


def from_file(path: str) -> Graph:
    """The graph of a file or a directory.  Raises `Trouble`."""
    if os.path.isdir(path):
        from upstart.tools.jobset import JobSet

        jobs = JobSet()
        jobs.add(path)
        for error in jobs.errors:
            print(f"WARNING: {error}", file=sys.stderr)
        return jobgraph.from_classes(jobs.jobs)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return jobgraph.from_text(file)
    except OSError:
        raise Trouble(f"cannot read file '{path}'")
    except jobgraph.BadLine as error:
        raise Trouble(f"invalid line: {error}")


def part(graph: Graph, given: Namespace) -> Graph:
    """What of the graph is wanted.  Raises `Trouble`."""
    names = given.restrictions.split(",") if given.restrictions else []
    for name in [*names, *([given.around] if given.around else []), *([given.job] if given.job else [])]:
        if name not in graph.jobs:
            raise Trouble(f"unknown job {name}")
    if names:
        graph = graph.restricted(names)
    if given.around:
        graph = graph.around(given.around, given.depth)
    if given.job:
        found = graph.path(given.event, given.job)
        if found is None:
            raise Trouble(f"no way from {given.event} to {given.job}")
        graph = found
    return graph


def run(given: Namespace) -> None:
    """Do what the command line says.  Raises `Trouble` and `ClientError`."""
    states = None
    if given.infile:
        if given.state:
            raise Trouble("how jobs stand is known only of a running init")
        graph, title = from_file(given.infile), "from file data"
    else:
        graph, states, title = live(given)
    whole = graph
    graph = part(graph, given)
    made = time.strftime("%Y-%m-%d %H:%M:%S")
    title = f"Generated on {made} by initctl2dot\n{title}{'' if graph is whole else ' (subset)'}"
    colors = {name: getattr(given, "color_" + name.replace("-", "_")) for name in dotfile.COLORS}
    text = dotfile.write(graph, colors, states, title)
    data = text.encode("utf-8", "surrogateescape")
    if given.format != "dot":
        try:
            data = dotfile.picture(text, given.format)
        except dotfile.NoGraphviz as error:
            raise Trouble(str(error))
    path = given.outfile or f"upstart.{given.format}"
    if path == "-":
        sys.stdout.buffer.write(data)
        return
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError:
        raise Trouble(f"cannot open file {path} for writing")


def main(argv: list[str]) -> int:
    """The command; the exit status."""
    restore_locale()
    return printing("initctl2dot", 1, lambda: _main(argv), unread=0)


def _main(argv: list[str]) -> int:
    given = options(argv)
    try:
        run(given)
    except (Trouble, ClientError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0
