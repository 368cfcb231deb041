"""One door into the engine: whoever is outside of it tells it something by its inputs, and changes nothing himself."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from upstart.engine import state
from upstart.engine.core import CommandError
from upstart.engine.door import INPUTS
from upstart.engine.engine import Engine
from upstart.engine.journal import Input, observe, perform, replay
from upstart.engine.world import World

SOURCE = Path(__file__).resolve().parents[2] / "src" / "upstart"
OUTSIDE = sorted([*SOURCE.glob("daemon/*.py"), *SOURCE.glob("process/*.py")])

#: What may be asked of the engine, and how its effects are fetched.
QUESTIONS = {
    "failure_reason", "find_instance", "instance_named", "instances", "keeps_ending", "put_back",
    "take_effects",
}  # fmt: skip
#: What an expression ends with that is the engine, or one of the things that belong to it.
ENGINES = {"engine", "_engine"}
THINGS = {"instance", "_instance", "job", "_job", "event", "_event"}
#: Functions that give what they are given, or one of it.
PASSING = {"enumerate", "iter", "list", "next", "reversed", "sorted", "tuple", "zip"}
CHANGING = {
    "add", "append", "clear", "difference_update", "discard", "extend", "insert", "pop", "popitem", "remove",
    "reverse", "setdefault", "sort", "update",
}  # fmt: skip


def last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


class Finder(ast.NodeVisitor):
    """Gathers what a file does to the engine without asking it to."""

    def __init__(self) -> None:
        self.found: list[str] = []
        #: Names that stand for something of the engine's, and for the engine.
        self.aliases: set[str] = set()
        self.engines = ENGINES

    def belongs_to_the_engine(self, node: ast.expr) -> bool:
        """Whether the expression is something that the engine, or a thing of its, holds."""
        while isinstance(node, ast.Attribute | ast.Subscript):
            inner = node.value
            if isinstance(node, ast.Attribute) and last_name(inner) in self.engines | THINGS:
                # What `self` holds by such a name is the engine itself, and is set once.
                return True
            node = inner
        return isinstance(node, ast.Name) and node.id in self.aliases

    def has_its_things(self, node: ast.expr) -> bool:
        """Whether what an expression goes through, or takes one of, are things of the engine's."""
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Attribute) and called.attr in ("values", "items", "instances"):
                return self.belongs_to_the_engine(called) or last_name(called.value) in self.engines
            return isinstance(called, ast.Name) and called.id in PASSING and any(map(self.has_its_things, node.args))
        return self.belongs_to_the_engine(node)

    def stands_for_its_things(self, target: ast.expr) -> None:
        self.aliases |= {each.id for each in ast.walk(target) if isinstance(each, ast.Name)}

    def visit_For(self, node: ast.For) -> None:
        self.targets(node, [node.target])
        if self.has_its_things(node.iter):
            self.stands_for_its_things(node.target)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        for each in node.generators:
            if self.has_its_things(each.iter):
                self.stands_for_its_things(each.target)
        self.generic_visit(node)

    visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_ListComp

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.names(node.target, node.value)
        self.generic_visit(node)

    def names(self, target: ast.expr, value: ast.expr) -> None:
        """A name is given to what an expression says."""
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for each, part in zip(target.elts, value.elts, strict=True):
                self.names(each, part)
        elif isinstance(target, ast.Name):
            if last_name(value) in self.engines:
                self.engines = self.engines | {target.id}
            elif isinstance(value, ast.Call):
                of_its = self.has_its_things(value) or self.belongs_to_the_engine(value.func)
                if of_its and last_name(value.func) in ("next", "get"):
                    self.aliases.add(target.id)
            elif self.belongs_to_the_engine(value):
                self.aliases.add(target.id)

    def note(self, node: ast.stmt | ast.expr) -> None:
        self.found.append(f"{node.lineno}: {ast.unparse(node)}")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self.aliases, self.engines
        self.aliases = set(self.aliases)
        self.generic_visit(node)
        self.aliases, self.engines = outer

    def targets(self, statement: ast.stmt, targets: list[ast.expr]) -> None:
        for target in targets:
            if isinstance(target, ast.Tuple):
                self.targets(statement, target.elts)
            elif not isinstance(target, ast.Name) and self.belongs_to_the_engine(target):
                self.note(statement)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.targets(node, node.targets)
        for target in node.targets:
            self.names(target, node.value)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.targets(node, [node.target])
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.targets(node, [node.target])
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        self.targets(node, node.targets)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if last_name(node.value) in self.engines and node.attr.startswith("_"):
            self.note(node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func
        if isinstance(called, ast.Attribute):
            asked = last_name(called.value) in self.engines and called.attr not in {*INPUTS, *QUESTIONS}
            if asked or (called.attr in CHANGING and self.belongs_to_the_engine(called.value)):
                self.note(node)
        elif isinstance(called, ast.Name) and called.id in ("setattr", "delattr") and node.args:
            if last_name(node.args[0]) in self.engines | THINGS | self.aliases:
                self.note(node)
        self.generic_visit(node)


def pokes(text: str) -> list[str]:
    finder = Finder()
    finder.visit(ast.parse(text))
    return finder.found


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nobody_outside_changes_the_engine_but_by_an_input(path: Path) -> None:
    assert not pokes(path.read_text())


@pytest.mark.parametrize(
    "text",
    [
        "engine.priority = 1",
        "self._daemon.engine.job_environ['A'] = ''",
        "self._engine.effects[:0] = rest",
        "effects, engine.effects = engine.effects, []",
        "instance.goal = 'start'",
        "del self._job.instances[name]",
        "job.instances[name].env.pop(key)",
        "instance.respawn_count += 1",
        "pids = instance.pids\npids['main'] = 1",
        "def f(engine):\n    table = engine.jobs\n    table.clear()",
        "engine.pids[pid] = (instance, 'main')",
        "engine.change_goal(instance, 'stop')",
        "engine._queue(event)",
        "setattr(instance, 'state', 'running')",
        "core = self._engine\ncore.priority = 1",
        "core = self._engine\ncore.jobs.clear()",
        "core = self._engine\ncore._queue(event)",
        "for each in engine.jobs.values():\n    each.pending = True",
        "for each in list(engine.instances()):\n    each.state = 'running'",
        "for name, each in sorted(engine.jobs.items()):\n    each.instances.pop('')",
        "for engine.priority in range(3):\n    pass",
        "first = next(engine.instances())\nfirst.pids['main'] = 1",
        "found = engine.jobs.get(key)\nfound.pending = True",
        "[each.unready.add('main') for each in engine.instances()]",
        "if (table := engine.pids):\n    table.clear()",
        "one, table = 1, engine.pids\nother = table\nother.pop(1)",
        "first = next(engine.instances())\nsetattr(first, 'state', 'running')",
    ],
)
def test_each_way_to_change_the_engine_from_outside_is_found(text: str) -> None:
    assert pokes(text)


def test_the_inputs_and_questions_are_methods_of_the_engine_with_plain_parameters() -> None:
    for name in {*INPUTS, *QUESTIONS}:
        code = getattr(Engine, name).__code__
        # All parameters can be given by name, so that a journal can.
        assert not code.co_kwonlyargcount and not code.co_flags & 0x0C, name
        assert getattr(Engine, name).__doc__, f"{name} does not say what it takes"
    assert len(set(INPUTS)) == len(INPUTS)


def kept_journal(world: World) -> list[Input]:
    """What the engine is told from now on."""
    journal: list[Input] = []
    observe(world.engine, journal.append)
    return journal


def test_a_journal_has_what_comes_from_outside_and_nothing_that_follows_from_it() -> None:
    world = World(web="start on go\nexec main")
    journal = kept_journal(world)
    world.emit("go", A="1")
    world.exit("web", 1)
    told = [(given.name, given.args) for given in journal if given.name != "run"]
    serial = told[1][1]["instance"]["instance"][3]
    web = {"instance": [None, "web", "", serial]}
    assert told == [
        ("emit", {"name": "go", "env": {"A": "1"}, "request": {"request": 1}, "fd": -1}),
        ("process_spawned", {"instance": web, "process": "main", "pid": 101}),
        ("process_ready", {"instance": web, "process": "main"}),
        ("process_exited", {"pid": 101, "status": 1}),
    ]
    assert {given.at for given in journal} == {1000.0}


def test_a_journal_leads_on_from_a_state_document() -> None:
    world = World(web="respawn\nrespawn limit 2 5\nexec main")
    world.start("web")
    document = json.loads(json.dumps(state.dump(world.engine)))
    journal = kept_journal(world)
    for seconds in (1, 2, 9, 1):
        world.sleep(seconds)
        world.exit("web", 1)
    assert state.dump(replay(journal, document)) == state.dump(world.engine) != document


def test_a_refused_command_is_refused_again_and_a_journal_of_what_is_gone_does_nothing() -> None:
    world = World()
    journal = kept_journal(world)
    world.define("web", "exec main")
    with pytest.raises(CommandError):
        world.stop("web")
    world.start("web")
    instance = world.instance("web")
    world.stop("web")
    world.exit("web")
    world.engine.timer_fired(instance, "kill:main")
    assert not perform(world.engine, journal[-1])
    assert state.dump(replay(journal)) == state.dump(world.engine)
