"""Nothing that changes while init runs is forgotten by the state document, unless here is said why it may be.

The search reads the code: what is assigned, by whomever, what is filled or emptied in place, and what a module itself
has.  Where it cannot tell whose attribute is assigned from outside, that is accounted for if one of the classes that
have such an attribute says so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "upstart"
#: Rooms whose objects live as long as init does; those of D-Bus are connections, which end with the program.
ROOMS = ("base", "daemon", "engine", "process")
#: Data that others change: every attribute counts.
DATA = ("Event", "Instance", "Job", "Running")

#: What changes while init runs and is in the document, by class.
KEPT = {
    "Adoption": "_left",
    "Boot": "_again_at _began _event _name _shell _watched",
    "Cgroups": "_left _made",
    "Console": "_fd _left",
    "Children": "running",
    "Chroots": "roots",
    "Clocks": "_suspended _wall",
    "Commands": "_serial effects shutting_down",
    "Core": "_fd_users _serial awaits effects ending events failures job_environ jobs pids priority respawning_allowed "
    "shutting_down tells_awaited",
    "Endpoints": "_notified bus",
    "Engine": "effects ending job_environ jobs pids respawning_allowed",
    "Event": "at blockers connection env failed fd last name noted progress serial session values waiting",
    "EventFifo": "_data _skipping _under_way",
    "Faults": "last",
    "Fifo": "_fd",
    "Follower": "changed launched phase pid running",
    "History": "_first _kept _kept_size _recent _ring _ring_size begun",
    "InitFifo": "_data _variables",
    "Instance": "began blocker blocking cause connection doomed env exit_status failed failed_process failure fds "
    "forced goal goal_since job job_class key last name noted pids respawn_count respawn_since respawn_time "
    "respawn_total respawning serial since start_env state stop_env stop_progress timers unready",
    "Job": "instances job_class name pending session start_progress successor",
    "JobLog": "fd",
    "Keeping": "_connections _events _jobs",
    "Keyed": "failed finished",
    "Listening": "socket",
    "LogFile": "_data _dropped _marks",
    "LogStore": "files",
    "Loop": "_pending",
    "Marks": "_marks",
    "LifeCycle": "effects",
    "Members": "address begun chroot group known leash left own place sessions user warden",
    "Mending": "_fd_users effects pids",
    "Once": "_events",
    "Performer": "_retries _shared _timers",
    "ProcessInputs": "effects pids",
    "Queue": "_serial awaits effects events tells_awaited",
    "Turn": "_queued _starts",
    "Recorder": "_entries _ours _queue file",
    "Reporter": "_began _login _on",
    "Quiesce": "_deadline _phase _reason _started",
    "Running": "ended error_fd feed following held kills log looks members",
    "process.limits": "_original",
}
#: What changes and is not in it, with the reason for which nothing is lost by that.
ANEW = {
    "Adoption": ("_soon", "looked at anew"),
    "Awaited": ("_interested _listeners _matching _written names", "follows from the conditions"),
    "Boot": ("_lasting _timer", "looked at anew"),
    "Bequest": ("_limits _nice _score _score_fd _umask", "put back before anything else is done"),
    "Bequest ": ("_may_go_first _may_lower_score _may_raise", "found out again"),
    "Bundle": ("_codes _entries", "of a program's start"),
    "Cgroups": ("_freeze _fresh _home base home", "found again in the hierarchy"),
    "Configuration": ("_watch", "all files are read again"),
    "Configuration ": ("_silent", "of a child"),
    "Configuration  ": ("_again _said", "of a pass; what is wrong is said again by each program"),
    "Core": ("_cursor _next_pass _pass", "events are queued again by what is known of them"),
    "Core      ": ("_moved", "follows from the states that instances are in, and those that were noted"),
    "LifeCycle": ("_moved", "the same"),
    "Core ": ("_restless", "a circle of jobs is warned of once by each program"),
    "Children": ("_due _failed", "tried again"),
    "Children ": ("_of_job", "of one call"),
    "Core   ": ("served", "of an input; what was cut short is mended before a document is made"),
    "Queue ": ("_cursor _next_pass _pass", "events are queued again by what is known of them"),
    "Queue  ": ("_moved", "follows from the states that instances are in, and those that were noted"),
    "Queue   ": ("_restless", "a circle of jobs is warned of once by each program"),
    "Queue    ": ("served serving tries", "of an input; what was cut short is mended before a document is made"),
    "Core    ": ("awaited", "follows from the conditions"),
    "Core  ": ("announcing apparmor_available environ extra_environ", "told again by the daemon"),
    "Core     ": ("reporting", "told again by the daemon in a boot, and while the machine ends it follows from that"),
    "Engine": ("reporting", "the same"),
    "Engine ": ("served", "of an input; what was cut short is mended before a document is made"),
    "Engine  ": ("start_index stop_index", "follow from the conditions"),
    "Commands": ("stop_index", "the same"),
    "base.glob": ("_cache", "made anew"),
    "base.paths": ("_escaped", "made anew"),
    "engine.door": ("INPUTS", "made with the program"),
    "process.orphans": ("starts", "looked at anew"),
    "Listening ": ("opened", "parts, made once"),
    "Logger": ("to_kernel to_standard", "told again by the daemon"),
    "LogFile  ": ("processes", "counted again, by the logs of processes"),
    "Quick ": ("guard", "each program has its own"),
    "Service ": ("check_start fault", "parts, made once"),
    "Loop      ": ("each_turn", "asked for again"),
    "_Helper": ("hangs", "helpers end with the program"),
    "Words": ("table", "told again by the daemon"),
    "Core       ": ("clock history", "parts, made once"),
    "Core        ": ("start_index", "follows from the conditions"),
    "Reporter": ("_resting _watch", "looked at anew"),
    "Reporter ": ("_begun _shown", "what is there has begun, and what runs was shown"),
    "Reporter  ": ("_quiet", "read again"),
    "Daemon": ("endpoints recorder restarter", "parts, made once"),
    "Displaced": ("_inotify _mounts _pause _watches", "watched again"),
    "Document": ("_parts", "registered again"),
    "Ending": ("_waiting _watch", "looked at anew, from when init has begun again"),
    "Endpoints": ("server", "serves the socket, which is kept; clients connect again"),
    "Endpoints ": ("_awaited _awaited_timer", "clients that connect again ask for all"),
    "EventIndex": ("_buckets _moving", "follows from the conditions"),
    "Event": ("queued request", "connections end with the program"),
    "EventFifo": ("_dropped _log_again_at", "lines are told of from the first on"),
    "EventFifo ": ("_working", "what has been read is looked at anew"),
    "Faults": ("_again _calming _checked _left_out _lines _reserve _since torn",
               "nothing has failed in the new program yet"),
    "Fifo": ("_watch", "of the loop"),
    "Follower": ("_children _last _orphans _parents _since _still _tended _wait", "seen again at the next look"),
    "Following": ("_seen", "seen again at the next look"),
    "Guard": ("_answers _began _home _owed _ready _requests _timer pid rest", "each program has its own"),
    "History ": ("_uses", "of an end that is told late: it is not known what such a process has used"),
    "Held": ("_watch pidfd", "held again, if it is still the same process"),
    "Hearing": ("_poll _timer _watch _watched", "all is watched again"),
    "Holders": ("_pids _seen", "read again"),
    "Instance": ("entering", "of an input; what was cut short is mended before a document is made"),
    "JobLog": ("_ended", "its process is gone"),
    "JobLog ": ("file", "found again by its path"),
    "Keyed": ("calls", "connections end with the program"),
    "LogFile": ("_again _failing _hangs _waiting sent", "found out again, by writing what is kept"),
    "LogFile ": ("_warned", "warned of once by each program"),
    "LogStore": ("unflushed", "follows from what the logs hold"),
    "Lacking": ("_seconds _timer", "all files are read again"),
    "Listening": ("_pause _session_file", "the file is written again, the address tried again"),
    "Loop   ": ("_epoll", "made anew"),
    "Loop": ("_fds _flushes _heap _next _repeated _running _signals _soon _stale _timers _watches", "asked for again"),
    "Loop    ": ("_blocked", "asked for again"),
    "Loop ": ("_closed_first _failed _retry _sends _signalled", "of one turn"),
    "MachineId": ("_began _pipe _timer _waiters _watch text", "read again"),
    "Manager": ("_endpoints _restarter", "parts, made once"),
    "Members": ("_strangers dying gone", "what was found to be none of ours or cannot be told, looked at again"),
    "Mending": ("_cursor _next_pass _pass awaited start_index stop_index told tries", "follow from the rest"),
    "ProcessInputs": ("told", "of an input; what was cut short is mended before a document is made"),
    "Options": ("append_confdirs chroot_sessions confdirs inherit_env logdir prepend_confdirs problems session_bus "
                "show startup_event write_state_file", "the command line is read again"),
    "Pace": ("_asked _costly _moved _run _warm", "measured again"),
    "Passes": ("_began _failures _last _late _left _look _missing _needed _next _not_before _pass _reader _serial "
               "_stale _steps _timer _warned", "all files are read again"),
    "Performer": ("_handlers", "a table"),
    "Programs": ("_roots _seen", "looked up again"),
    "Quick": ("_groups", "found out again"),
    "Quick  ": ("_next_guard _next_since", "each program has its own"),
    "Spawner  ": ("own", "of the first program of a boot"),
    "Programs  ": ("waits", "the same"),
    "Reader": ("_at _buffer _listens _notes _pipe _since _watch", "ends when nobody reads what it sends"),
    "Sessions": ("_elsewhere _number", "what was found to be none of ours, looked at again"),
    "Restarter": (
        "_answer _calls _known _leave_by _leaving _limits _process _timer _watch running", "of the re-exec itself",
    ),
    "Running": ("error_watch feed_watch follow_timer log_timer log_watch told ward_timer", "of the loop, or of a turn"),
    "System": ("_told", "each program tells of it"),
    "Service": ("_serial signatures", "connections end with the program"),
    "Spawner": ("_crossing _ignored _into_group _spare unprepared", "found out and made again"),
    "base.closing": ("_children", "of one program, which waits for none of them at its end"),
    "process.group": ("killed", "whatever group is there may be one"),
    "Teller": ("_asked _busy", "clients ask again"),
    "Turn": ("_done _held _taken", "of one turn, or of a re-exec"),
    "Unanswered": ("_held _told_of", "found out again"),
    "Waiters": ("_timer _waiting", "clients ask again"),
    "Writers": ("_backlog _helpers _holding _idle _not_before _notes _ours _serial _small _stalled _theirs _timer",
                "helpers end with the program, and what they have not written is kept with the log"),
    "Writers ": ("_under_way _waiting _warned _watch", "the same"),
    "_Bucket": ("keyed plain", "follows from the conditions"),
    "Pass": ("again everything told wanted", "all files are read again, and clients ask again"),
    "Journal": ("_at _busy _requests torn", "of one program; a record goes on from the state that crosses"),
    "Recorder": ("_checked _inputs _journal _kept _lost _stopping _timer _watch _writing on",
                 "of one program; there is a record where there is a socket to who writes it"),
    "Cleaner": ("_given _reveals _seen _size forgot", "of the program that writes a record"),
    "Compared": ("_all _by_place _exports _exports_compared _keys _orders", "the same"),
    "Recording": ("_told_forgot lines", "the same"),
    "Server": ("_at _data _pipes _told _working", "the same"),
    "Sink": ("_file _kept _left _next _waiting", "the same"),
}
#: Is no part of init.
OTHERS = {"ClientError", "Record", "Replay", "Wanted", "World"}
#: Objects that do not outlive the call in which they are made.
SHORT = {
    "Call", "Change", "Public", "Setup", "SpawnRequest", "SpawnResult", "WorkedOn", "_Fds", "_Noted", "_Parser",
    "_Places", "_Words",
}  # fmt: skip

#: What changes a collection in place.
CHANGING = {
    "add", "append", "appendleft", "clear", "difference_update", "discard", "extend", "insert", "pop", "popitem",
    "popleft", "remove", "reverse", "setdefault", "sort", "update",
}  # fmt: skip
Function = ast.FunctionDef | ast.AsyncFunctionDef


def targets(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """The attributes and names that a statement assigns to, or to a part of, or takes away from."""
    found: list[tuple[ast.expr, ast.expr | None]] = []
    if isinstance(node, ast.Assign):
        found = [(target, node.value) for target in node.targets]
    elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.NamedExpr):
        found = [(node.target, node.value)]
    elif isinstance(node, ast.Delete):
        found = [(target, None) for target in node.targets]
    elif isinstance(node, ast.For):
        found = [(node.target, None)]
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        found = [(node.optional_vars, None)]
    while found:
        target, value = found.pop()
        if isinstance(target, ast.Tuple | ast.List):
            found += [(each, value) for each in target.elts]
        elif isinstance(target, ast.Starred):
            found.append((target.value, value))
        elif isinstance(target, ast.Subscript | ast.Attribute | ast.Name):
            part = isinstance(target, ast.Subscript)
            while isinstance(target, ast.Subscript):
                target = target.value
            if isinstance(target, ast.Attribute) or (part and isinstance(target, ast.Name)):
                yield target, value


def changed_in_place(node: ast.AST) -> ast.expr | None:
    """The collection that a call changes by one of the collection's own methods."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
        return node.func.value
    return None


def is_own(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


def begins_empty(value: ast.expr | None) -> bool:
    """Whether it is a collection, which others may fill."""
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id in ("set", "dict", "list", "bytearray", "deque")
    return isinstance(value, ast.Dict | ast.List | ast.Set)


def functions(body: Iterable[ast.stmt]) -> list[Function]:
    return [each for each in body if isinstance(each, Function)]


class Class:
    """What is to be known of one: the attributes that it declares, and those that are objects of the package."""

    def __init__(self, node: ast.ClassDef, classes: set[str]) -> None:
        self.node = node
        self.declared: set[str] = set()
        self.objects: set[str] = set()
        for statement in node.body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__slots__":
                self.declared |= set(ast.literal_eval(statement.value))
        for function in functions(node.body):
            kinds = {
                each.arg: ast.unparse(each.annotation).partition("[")[0].partition(" ")[0].rpartition(".")[2]
                for each in (*function.args.args, *function.args.kwonlyargs)
                if each.annotation is not None
            }
            for part in ast.walk(function):
                for target, value in targets(part):
                    if not is_own(target) or function.name != "__init__":
                        continue
                    assert isinstance(target, ast.Attribute)
                    self.declared.add(target.attr)
                    kind = kinds.get(value.id, "") if isinstance(value, ast.Name) else ""
                    if isinstance(value, ast.Call):
                        kind = ast.unparse(value.func).rpartition(".")[2]
                    if isinstance(part, ast.AnnAssign):
                        kind = ast.unparse(part.annotation).partition("[")[0].partition(" ")[0]
                    if kind in classes:
                        self.objects.add(target.attr)


def changing(texts: dict[str, str]) -> tuple[set[tuple[str, str]], dict[str, set[str]]]:
    """Class and name of each attribute that changes after its object was made, module and name of what a module has;
    and by its name each attribute that is assigned from outside of its object, with the classes that have such a one.

    ``texts`` are modules by their names.
    """
    trees = {name: ast.parse(text) for name, text in texts.items()}
    names = {node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    classes = [
        Class(node, names) for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    ]
    found: set[tuple[str, str]] = set()
    outside: dict[str, set[str]] = {}
    for each in classes:
        kind = each.node.name
        for function in functions(each.node.body):
            for node in ast.walk(function):
                for target, value in targets(node):
                    first = function.name == "__init__" and kind not in DATA
                    if is_own(target) and (not first or begins_empty(value)):
                        assert isinstance(target, ast.Attribute)
                        found.add((kind, target.attr))
                called = changed_in_place(node)
                if is_own(called) and function.name != "__init__":
                    assert isinstance(called, ast.Attribute)
                    if called.attr not in each.objects:
                        found.add((kind, called.attr))
    for name, tree in trees.items():
        of_module = {
            target.id
            for statement in tree.body
            if isinstance(statement, ast.Assign | ast.AnnAssign)
            for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
            if isinstance(target, ast.Name)
        }
        for function in (node for node in ast.walk(tree) if isinstance(node, Function)):
            words = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
            own = {word.id for word in words if isinstance(word.ctx, ast.Store)}
            shared = {word for node in ast.walk(function) if isinstance(node, ast.Global) for word in node.names}
            found |= {(name, word) for word in own & shared}
            local = (own | {each.arg for each in function.args.args}) - shared
            for node in ast.walk(function):
                touched = [target for target, _ in targets(node)]
                called = changed_in_place(node)
                if called is not None:
                    touched.append(called)
                for target in touched:
                    if isinstance(target, ast.Name) and target.id in of_module - local:
                        found.add((name, target.id))
                    if isinstance(target, ast.Attribute) and not is_own(target) and target is not called:
                        owners = {each.node.name for each in classes if target.attr in each.declared}
                        if owners:
                            outside.setdefault(target.attr, set()).update(owners)
    return {pair for pair in found if pair[0] not in SHORT | OTHERS}, outside


def rooms() -> dict[str, str]:
    paths = [path for room in ROOMS for path in sorted((SOURCE / room).glob("*.py"))]
    return {f"{path.parent.name}.{path.stem}": path.read_text() for path in paths}


def said() -> list[tuple[str, str]]:
    """Those of the tables."""
    kept = [(kind, name) for kind, names in KEPT.items() for name in names.split()]
    return kept + [(kind.strip(), name) for kind, (names, _) in ANEW.items() for name in names.split()]


def test_whatever_changes_is_kept_or_is_said_to_be_made_anew() -> None:
    known = set(said())
    found, outside = changing(rooms())
    assert found - known == set(), "state that nobody has registered"
    forgotten = {
        name: owners
        for name, owners in outside.items()
        if not owners & (SHORT | OTHERS) and not any((owner, name) in known for owner in owners)
    }
    assert forgotten == {}, "state that others assign, and that nobody has registered"


def test_nothing_is_said_of_what_is_not_there_and_nothing_twice() -> None:
    found, outside = changing(rooms())
    found |= {(owner, name) for name, owners in outside.items() for owner in owners}
    assert set(said()) - found == set()
    assert len(said()) == len(set(said()))


MODULE = """
_table: dict[int, int] = {}
_count = 0
class Thing:
    __slots__ = ("given", "loop", "named", "number", "other", "part", "rest", "table")
    def __init__(self, given: list[int], loop: Loop, other: Thing) -> None:
        self.given = given
        self.loop = loop
        self.other = other
        self.number = 0
        self.named = self.part = self.rest = None
        self.table = {1: 2}
    def work(self, thing: Thing) -> None:
        CHANGE
class Loop:
    def remove(self, it: object) -> None: ...
"""


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("self.number = 1", ("Thing", "number")),
        ("self.number, (self.rest) = 1, 2", ("Thing", "rest")),
        ("self.number, *self.rest = 1, 2", ("Thing", "rest")),
        ("self.number += 1", ("Thing", "number")),
        ("self.number: int = 1", ("Thing", "number")),
        ("self.part[0].named = 1", "named"),
        ("self.part[0] = 1", ("Thing", "part")),
        ("del self.part[0]", ("Thing", "part")),
        ("for self.number in self.given: pass", ("Thing", "number")),
        ("with thing as self.number: pass", ("Thing", "number")),
        ("self.given.append(1)", ("Thing", "given")),
        ("self.table.pop(1)", ("Thing", "table")),
        ("self.other.number = 1", "number"),
        ("thing.number = 1", "number"),
        ("thing.other.number += 1", "number"),
        ("_table[1] = 1", ("module", "_table")),
        ("_table.pop(1)", ("module", "_table")),
        ("del _table[1]", ("module", "_table")),
        ("global _count; _count = 1", ("module", "_count")),
    ],
)
def test_the_search_finds_each_way_to_change_something(change: str, name: object) -> None:
    found, outside = changing({"module": MODULE.replace("CHANGE", change)})
    assert name in found | outside.keys()
    quiet, none = changing({"module": MODULE.replace("CHANGE", "local = self.number; self.loop.remove(local)")})
    assert not quiet - {("Thing", "table")} and not none


@pytest.mark.parametrize("room", ROOMS)
def test_an_attribute_of_a_part_that_nobody_registers_is_found(room: str) -> None:
    """As if somebody had added it to each class of the rooms that has a method."""
    for name, text in rooms().items():
        if not name.startswith(room + "."):
            continue
        tree = ast.parse(text)
        kinds = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name not in SHORT | OTHERS]
        for kind in kinds:
            extra = ast.parse("def remember(self):\n    self._unregistered = 1\n    self._filled.append(1)\n").body
            kind.body += extra
        found, _ = changing({name: ast.unparse(tree)})
        for kind in kinds:
            assert {(kind.name, "_unregistered"), (kind.name, "_filled")} <= found - set(said())
