"""A graph of jobs and events in the language of Graphviz, dot(1), and as a picture where that is installed."""

from __future__ import annotations

import subprocess

from upstart.tools.jobgraph import EMITS, START

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from upstart.tools.jobgraph import Arrow, Box, Graph

#: The colours that can be chosen, by what they are of.
COLORS = {
    "emits": "green",
    "start-on": "blue",
    "stop-on": "red",
    "event": "thistle",
    "job": "#DCDCDC",
    "text": "black",
    "bg": "white",
    "event-text": "black",
    "job-text": "black",
}
#: The colours of jobs by how they stand.
STATES = {"running": "#b5e2b0", "moving": "#ffd37f", "failed": "#f4a6a0"}
#: With fewer jobs than that there is nothing to be put together.
MANY = 20
#: With as many the picture is kept small, for arrows that go the same way go together.
CROWD = 100
#: Jobs that stand in one column of a cluster at least.
ROWS = 12
#: A job: its name, with a half for each of its conditions below.
_TABLE = (
    '<table border="0" cellborder="1" cellspacing="0" cellpadding="4"><tr><td port="job" colspan="2">{}</td></tr>'
    '<tr><td port="start">start on</td><td port="stop">stop on</td></tr></table>'
)


class NoGraphviz(Exception):
    """Why there is no picture."""


def write(graph: Graph, colors: Mapping[str, str], states: Mapping[str, str] | None, title: str) -> str:
    """The graph as text; ``states`` has for each job one of `STATES`, or nothing for one that is stopped."""
    lines = [
        "digraph upstart {",
        f"  node [shape=diamond, style=filled, fontcolor={_quote(colors['event-text'])},"
        f" fillcolor={_quote(colors['event'])}];",
        f"  rankdir=LR; overlap=false; bgcolor={_quote(colors['bg'])}; fontcolor={_quote(colors['text'])};",
    ]
    if len(graph.jobs) >= CROWD:
        lines.append("  concentrate=true; nodesep=0.05;")
    done: set[Box] = set()
    if len(graph.jobs) >= MANY:
        for number, (cause, names) in enumerate(graph.clusters().items()):
            lines.append(f"  subgraph cluster_{number} {{")
            label = cause[1] if cause[0] == "event" else f"after {cause[1]}"
            lines.append(f"    label={_quote(label)}; color=gray; fontcolor={_quote(colors['text'])};")
            members: list[Box] = [("job", name) for name in names]
            if cause[0] == "event":
                members.insert(0, cause)
            for box in members:
                if box not in done:
                    done.add(box)
                    lines.append("  " + _box(box, colors, states))
            lines += [f"    {_name(one)} -> {_name(other)} [style=invis];" for one, other in _columns(names)]
            lines.append("  }")
    lines += [_box(box, colors, states) for box in graph.boxes if box not in done]
    lines += [_arrow(arrow, colors) for arrow in graph.arrows]
    lines += [f"  label={_quote(title + _legend(colors, states is not None))};", "}"]
    return "\n".join(lines) + "\n"


def _columns(names: list[str]) -> Iterator[tuple[Box, Box]]:
    """What stands left of what in a cluster of many jobs, which would else be one column."""
    rows = max(ROWS, int((len(names) * 4) ** 0.5))
    for one, other in zip(names, names[rows:], strict=False):
        yield ("job", one), ("job", other)


def _box(box: Box, colors: Mapping[str, str], states: Mapping[str, str] | None) -> str:
    kind, name = box
    if kind == "event":
        style = ", style=dotted" if "*" in name else ""
        return f"  {_name(box)} [label={_quote(name)}{style}];"
    color = STATES.get((states or {}).get(name, ""), colors["job"])
    # Graphviz loses arrows between boxes of the shape "record" that stand beside each other.
    label = _TABLE.format(_markup(name))
    return (
        f"  {_name(box)} [shape=plain, label=<{label}>,"
        f" fontcolor={_quote(colors['job-text'])}, fillcolor={_quote(color)}];"
    )


def _arrow(arrow: Arrow, colors: Mapping[str, str]) -> str:
    tail, head = _name(arrow.tail), _name(arrow.head)
    if arrow.kind == EMITS:
        return f"  {tail}:job -> {head} [color={_quote(colors['emits'])}];"
    port = "start" if arrow.kind == START else "stop"
    color = _quote(colors["start-on" if arrow.kind == START else "stop-on"])
    if arrow.before:
        return f"  {tail}:{port} -> {head}:job [color={color}];"
    if arrow.tail[0] == "job":
        tail += ":job"
    return f"  {tail} -> {head}:{port} [color={color}];"


def _name(box: Box) -> str:
    return _quote(f"{box[0]}_{box[1]}")


def _quote(text: str) -> str:
    """A string of the language."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _markup(text: str) -> str:
    """A text in a table."""
    for char, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot")):
        text = text.replace(char, f"&{name};")
    return text


def _legend(colors: Mapping[str, str], with_states: bool) -> str:
    text = (
        f"\nBoxes of color {colors['job']} denote jobs.\nSolid diamonds of color {colors['event']} denote events.\n"
        f"Dotted diamonds denote patterns of events.\nEmits denoted by {colors['emits']} lines.\n"
        f"Start on denoted by {colors['start-on']} lines.\nStop on denoted by {colors['stop-on']} lines.\n"
    )
    if with_states:
        text += "".join(f"Jobs of color {color} are {state}.\n" for state, color in STATES.items())
    return text


def picture(text: str, kind: str) -> bytes:
    """What Graphviz makes of a graph, as "svg" or "png".  Raises `NoGraphviz`."""
    try:
        done = subprocess.run(
            ["dot", f"-T{kind}"], input=text.encode("utf-8", "surrogateescape"), capture_output=True, check=False
        )
    except OSError:
        raise NoGraphviz("a picture needs dot, of the package graphviz")
    if done.returncode:
        raise NoGraphviz(f"dot: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
