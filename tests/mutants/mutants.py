"""Changes the code at random places, one at a time, and says which changes no test notices: `make mutants`.

The changes are cosmic-ray's operators (comparisons, numbers, conditions, loops, ...) and the removal of a statement.
Each is made in a clone of the checkout below build/mutants, in which the tests of the changed room run until the first
fails.  What cannot change anything (annotations, docstrings, what only a type checker reads) is left alone, and so are
``__slots__``, which save memory.  A mutant that survives is a place to look at: a test is missing, or the code is not
needed, or it only saves time.

    COUNT=40      how many mutants
    SEED=0        which: the same for the same code
    ROOMS=...     rooms or files below src/upstart, of engine conf dbus daemon
    JOBS=2        how many run at the same time
    SECONDS=600   when a test run counts as hung, which notices the mutant

Ends with a table and the diffs of the survivors; the exit status is 0 whatever survives, 1 if the tests fail without
a mutant.
"""

from __future__ import annotations

import ast
import difflib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import cosmic_ray.plugins
import parso
from cosmic_ray.mutating import MutationVisitor
from cosmic_ray.operators.operator import Operator

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path("src/upstart")
WORK = ROOT / "build" / "mutants"
#: The tests that are to notice a mutant of a room, the quickest first.
TESTS = {
    "engine": ("unit/test_engine_*", "unit/test_sysv_jobs*", "integration/test_dropin_*"),
    "conf": ("unit/test_conf_*", "unit/test_check*", "integration/test_dropin_definitions*"),
    "dbus": (
        "unit/test_dbus_*", "unit/test_daemon_wire*", "unit/test_daemon_auth*", "unit/test_daemon_parts*",
        "integration/test_hostile_dbus*", "integration/test_hostile_bus*", "integration/test_daemon_clients*",
        "integration/test_daemon_bus*",
    ),
    "daemon": (
        "unit/test_daemon_*", "unit/test_kept_state*", "integration/test_children*", "integration/test_guarded_engine*",
        "integration/test_follow*", "integration/test_daemon_*", "integration/test_hostile_*",
        "integration/test_initctl_*",
        "integration/test_process_logs*", "integration/test_dropin_session*",
    ),
}  # fmt: skip


class RemoveStatement(Operator):  # type: ignore[misc]
    """Replaces a statement of one line by ``pass``."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.type == "simple_stmt":
            kind = node.children[0].type
            if kind not in ("import_name", "import_from", "string", "keyword") and node.parent.type == "suite":
                yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return parso.parse(node.get_first_leaf().prefix + "pass\n").children[0]

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class Mutant:
    """A change of one file: its text before and after."""

    def __init__(self, path: Path, operator: str, before: str, after: str) -> None:
        self.path = path
        self.operator = operator
        self.before = before
        self.after = after

    @property
    def room(self) -> str:
        return self.path.relative_to(SOURCE).parts[0]

    def place(self) -> str:
        """The file and the first line that differs."""
        pairs = zip(self.before.splitlines(), self.after.splitlines(), strict=False)
        line = next((number for number, (old, new) in enumerate(pairs, 1) if old != new), 0)
        return f"{self.path}:{line}"

    def diff(self) -> str:
        lines = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), str(self.path), self.operator, n=1, lineterm=""
        )
        return "\n".join(lines)


def meaning(text: str) -> str:
    """What a module's text says to the interpreter at run time, in one form for all ways to write it."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
            for argument in (*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs):
                argument.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TYPE_CHECKING":
            node.value = ast.Constant(None)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [ast.Pass()]
        if isinstance(node, ast.ClassDef):
            node.body = [ast.Pass() if saves_memory(each) else each for each in node.body]
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(body, list) and isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            body[0] = ast.Pass()
    return ast.dump(tree)


def saves_memory(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__slots__"


def operators() -> dict[str, Operator]:
    """All of cosmic-ray's that need no settings, and our own."""
    found: dict[str, Operator] = {"remove-statement": RemoveStatement()}
    for name in cosmic_ray.plugins.operator_names():
        try:
            found[name] = cosmic_ray.plugins.get_operator(name)()
        except TypeError:
            continue
    return found


def sample(paths: list[Path], count: int, seed: int) -> list[Mutant]:
    """So many different mutants, spread over the lines of the files."""
    chance = random.Random(seed)
    known = operators()
    texts = {path: (ROOT / path).read_text() for path in paths}
    trees = {path: parso.parse(text) for path, text in texts.items()}
    places: dict[tuple[Path, str], int] = {}
    for path, tree in trees.items():
        for name, operator in known.items():
            places[path, name] = sum(1 for node in nodes(tree) for _ in operator.mutation_positions(node))
    # Many operators compare: none is to have more than its share because it has more variants.
    names = sorted(known)
    mutants: list[Mutant] = []
    seen: set[str] = set()
    attempts = 0
    while len(mutants) < count and attempts < count * 60:
        attempts += 1
        path = chance.choices(paths, [len(texts[each]) for each in paths])[0]
        name = "remove-statement" if chance.random() < 0.4 else chance.choice(names)
        if not places[path, name]:
            continue
        after = MutationVisitor.mutate_code(texts[path], known[name], chance.randrange(places[path, name]))
        if after is None or after in seen:
            continue
        seen.add(after)
        try:
            if meaning(after) == meaning(texts[path]):
                continue
        except SyntaxError:
            continue
        mutants.append(Mutant(path, name, texts[path], after))
    return mutants


def nodes(node: Any) -> Iterator[Any]:
    """A tree's nodes, in the order in which cosmic-ray counts them."""
    yield node
    for child in getattr(node, "children", ()):
        yield from nodes(child)


def clone(number: int) -> Path:
    """A copy of the checkout, changes that are not committed included, in which the commands are made."""
    tree = WORK / f"tree{number}"
    shutil.rmtree(tree, ignore_errors=True)
    listed = subprocess.check_output(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"], text=True)
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    subprocess.run(["make", "-s", "all"], cwd=tree, check=True)
    return tree


def run_tests(tree: Path, room: str, seconds: float) -> str:
    """``passed``, ``failed`` or ``hung``, and the last line; what it starts ends with it, being its session."""
    files = [path for pattern in TESTS[room] for path in sorted(glob(f"tests/{pattern}.py", root_dir=tree))]
    command = ["/usr/bin/python3", "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *files]
    process = subprocess.Popen(
        command, cwd=tree, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return "failed" if process.wait(seconds) else "passed"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return "hung"


def main() -> int:
    count, seed = int(os.environ.get("COUNT") or 40), int(os.environ.get("SEED") or 0)
    jobs, seconds = int(os.environ.get("JOBS") or 2), float(os.environ.get("SECONDS") or 600)
    wanted = (os.environ.get("ROOMS") or " ".join(TESTS)).split()
    paths = []
    for each in wanted:
        place = ROOT / SOURCE / each
        paths += [place] if place.is_file() else sorted(place.glob("*.py"))
    paths = [path.relative_to(ROOT) for path in paths if path.stat().st_size]
    mutants = sample(paths, count, seed)
    trees: SimpleQueue[Path] = SimpleQueue()
    for number in range(jobs):
        trees.put(clone(number))
    for room in sorted({mutant.room for mutant in mutants}):
        tree = trees.get()
        outcome = run_tests(tree, room, seconds)
        trees.put(tree)
        if outcome != "passed":
            print(f"The tests of {room} {outcome} without a mutant: {tree}", file=sys.stderr)
            return 1
    survivors: list[Mutant] = []

    def attempt(mutant: Mutant) -> None:
        tree = trees.get()
        began = time.monotonic()
        try:
            (tree / mutant.path).write_text(mutant.after)
            outcome = run_tests(tree, mutant.room, seconds)
        finally:
            (tree / mutant.path).write_text(mutant.before)
            trees.put(tree)
        verdict = "SURVIVED" if outcome == "passed" else "noticed" if outcome == "failed" else "hung"
        if outcome == "passed":
            survivors.append(mutant)
        print(f"{verdict:8} {time.monotonic() - began:5.0f} s  {mutant.place()}  {mutant.operator}", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(attempt, mutants))
    print(f"\n{len(mutants)} mutants of {' '.join(wanted)}, {len(survivors)} survived (SEED={seed})")
    for mutant in survivors:
        print(f"\n{mutant.diff()}")
    shutil.rmtree(WORK, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
