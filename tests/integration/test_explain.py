"""initctl explain on a real init: what people have asked in public about jobs that would not start, each answered by
one command; and that nothing is said that init does not know."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon_init import MANAGER, PROGRAMS, UPSTART, SessionInit, lose_state, wait_for
from test_daemon_bus import Bus, notify

Make = Callable[..., SessionInit]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[SessionInit] = []

    def one(**jobs: str) -> SessionInit:
        made.append(SessionInit(tmp_path, {name.replace("_", "-"): text for name, text in jobs.items()}))
        return made[-1]

    yield one
    for init in made:
        init.close()


def explain(init: SessionInit, *words: str) -> tuple[int, str]:
    answer = init.initctl("explain", *words)
    assert not answer.stderr, answer.stderr
    return answer.returncode, answer.stdout


# What people have asked


def test_my_server_stalls_in_its_boot_what_does_it_wait_for(make: Make) -> None:
    # A server whose network does not come up: the runlevel is entered only after filesystem and static-network-up.
    init = make(
        rc_sysinit="start on (filesystem and static-network-up) or failsafe-boot\ntask\nexec true\n",
        ssh="start on runlevel [2345]\nexec sleep 1000\n",
        rc_hook="start on starting mounts and static-network-up\nexec true\n",
        mounts="start on filesystem\nexec sleep 1000\n",
    )
    init.client().emit("filesystem", wait=False)
    status, text = explain(init, "rc-sysinit")
    assert status == 3
    assert "Start on (filesystem and static-network-up) or failsafe-boot:" in text
    assert "has come: filesystem at " in text
    assert "is missing: static-network-up; it has not been emitted" in text
    assert "it comes from the job ifupdown and ifup(8), once all interfaces marked auto are up" in text
    status, text = explain(init, "--boot")
    assert status == 5
    assert "mounts start/starting" in text and "waits for rc-hook (condition met by half)" in text
    assert "rc-hook has starting mounts at " in text and "missing: static-network-up" in text


def test_after_a_reboot_my_database_is_not_there_and_start_hangs(make: Make) -> None:
    # Its directory is missing, so it dies again and again, while its post-start waits for it to answer.
    init = make(
        mysql_default="start on go\nrespawn\nrespawn limit unlimited\npost-start exec sleep 1000\nexec sh -c 'exit 1'\n"
    )
    init.client().emit("go", wait=False)
    wait_for(lambda: "respawned" in explain(init, "mysql-default")[1])
    status, text = explain(init, "mysql-default")
    assert status == 5
    assert text.startswith(("mysql-default is to be respawned: ", "mysql-default is starting: "))
    assert "failed with status 1" in text and "mysql-default.log" not in text
    path = f"{MANAGER}/jobs/mysql_2ddefault"
    init.client().send(MANAGER, UPSTART + ".Extension", "StopForce", "sasb", path, [], False)
    wait_for(lambda: init.client().status("mysql-default")[0] == "stop/waiting")


def test_job_failed_to_start_why(make: Make) -> None:
    init = make(mysql_default="task\nscript\necho no space left\nexit 1\nend script\n")
    assert init.initctl("start", "mysql-default").returncode == 1
    status, text = explain(init, "mysql-default")
    assert status == 6
    assert "It failed: mysql-default main process (" in text and ") terminated with status 1" in text
    assert f"Its log: {init.directory}/CACHE_HOME/upstart/mysql-default.log" in text
    assert "It has no 'start on': it starts only when somebody asks for it" in text


def test_respawning_too_fast_stopped_what_happened(make: Make) -> None:
    init = make(web="start on go\nrespawn\nrespawn limit 3 5\nexec sh -c 'kill -SEGV $$'\n")
    init.client().emit("go")
    wait_for(lambda: init.client().status("web")[0] == "stop/waiting")
    status, text = explain(init, "web")
    assert status == 6
    assert "It failed: web respawning too fast, stopped" in text
    assert "was killed by SIGSEGV" in text
    assert "is missing: go; it came last at " in text and "and started it then" in text


def test_why_did_it_stop_when_another_did(make: Make) -> None:
    # What depends on a database goes with it, and somebody has stopped that by a script.
    init = make(
        mysql="exec sleep 1000\n",
        greyhole="start on started mysql\nstop on stopping mysql\nexec sleep 1000\n",
        night="task\nscript\n" f"{PROGRAMS}/initctl stop mysql\n" "end script\n",
    )  # fmt: skip
    client = init.client()
    client.start("mysql")
    client.wait_status("greyhole", "start/running")
    client.start("night")
    client.wait_status("greyhole", "stop/waiting")
    status, text = explain(init, "greyhole")
    lines = text.splitlines()
    assert status == 3 and lines[0].startswith("greyhole does not run: it stopped at ")
    assert lines[1].endswith("greyhole was stopped by stopping mysql")
    assert "mysql was stopped on request of initctl (pid " in lines[2] and lines[2].endswith("of the job night")
    assert "night was started on request of " in lines[3]
    assert "mysql does not run ('initctl explain mysql' says why)" in text


# Beside that


def test_it_leads_back_to_what_began_it_also_after_a_re_exec(make: Make) -> None:
    init = make(
        first="start on go\nexec sleep 1000\n",
        second="start on started first\nexec sleep 1000\n",
        third="start on started second\nexec sleep 1000\n",
    )
    init.client().emit("go", "KIND=x")
    init.client().wait_status("third", "start/running")
    before = explain(init, "third")[1].splitlines()
    init.restart()
    status, text = explain(init, "third")
    lines = text.splitlines()
    assert status == 0 and lines[1:] == before[1:]
    assert [line.split("  ", 2)[2].partition(",")[0] for line in lines[1:]] == [
        " third was started by started second".strip(),
        "second was started by started first",
        "first was started by go KIND=x",
    ]


def test_without_its_history_it_says_that_it_does_not_know(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {"job": "start on go\nexec sleep 1000\n"}, program=lose_state(tmp_path) / "init")
    try:
        init.client().emit("go")
        init.restart()
        status, text = explain(init, "job")
        assert status == 0
        assert "It ran already when the history began: what has started it is not known." in text
        assert "since before the history begins" in text
    finally:
        init.close()


def test_who_holds_whom_and_what_would_free_it(make: Make) -> None:
    init = make(
        hook="start on starting job\ntask\nexec sleep 1000\n",
        job="start on go\nexec sleep 1000\n",
        deaf="kill timeout 100\nscript\ntrap '' TERM\nwhile :; do sleep 1; done\nend script\n",
        slow="pre-start exec sleep 1000\nexec sleep 1000\n",
    )
    client = init.client()
    client.emit("go", wait=False)
    client.wait_status("hook", "start/running")
    status, text = explain(init, "job")
    assert status == 5
    assert "It waits for its event 'starting job' to finish" in text
    assert "hook, start/running: it goes on when that is done, or at 'initctl stop hook'" in text
    assert "Until that is done it holds the event go." in text
    assert "Until that is done it holds the event starting job." in explain(init, "hook")[1]
    client.start("deaf")
    pid = client.status("deaf")[1]["main"]
    time.sleep(0.3)
    client.stop("deaf", wait=False)
    client.wait_status("deaf", "stop/killed")
    text = explain(init, "deaf")[1]
    assert f"Its main process {pid} was sent SIGTERM at " in text and "it is killed by SIGKILL in 1 min 3" in text
    client.start("slow", wait=False)
    client.wait_status("slow", "start/pre-start")
    assert "'initctl stop --force slow' would end that" in explain(init, "slow")[1]
    os.killpg(pid, signal.SIGKILL)
    client.wait_status("deaf", "stop/waiting")
    for job in ("slow", "hook"):
        client.call(MANAGER, UPSTART + ".Extension", "StopForce", "sasb", f"{MANAGER}/jobs/{job}", [], True)


def test_an_event_that_nobody_emits_and_a_job_that_is_not_there(make: Make) -> None:
    init = make(end="start on shutdown\nexec true\n", lost="start on stopped nowhere\nexec true\n")
    assert "nothing emits an event of that name; what is meant may be 'runlevel [016]'" in explain(init, "end")[1]
    assert "there is no job nowhere" in explain(init, "lost")[1]


def test_an_instance_by_its_name(make: Make) -> None:
    init = make(job="instance $N\nexec sleep 1000\n")
    client = init.client()
    client.start("job", "N=one")
    client.start("job", "N=two")
    assert explain(init, "job", "two")[1].startswith("job (two) runs since ")
    assert len([line for line in explain(init, "job")[1].splitlines() if line.startswith("job (")]) == 2
    missing = init.initctl("explain", "job", "three")
    assert missing.returncode == 4 and missing.stderr == "initctl: Unknown instance: three of job job\n"


def test_an_event(make: Make) -> None:
    init = make(
        one="start on go\nexec sleep 1000\n", two="start on go and never\nexec true\n", says="emits told-*\nexec true\n"
    )
    client = init.client()
    client.emit("go", "KIND=x", wait=False)
    client.wait_status("one", "start/running")
    status, text = explain(init, "go")
    assert status == 5 and text.startswith("go has been emitted once.\n")
    assert "go KIND=x, emitted by " in text and "it started one" in text
    assert "held by two, whose condition is met by half" in text and "Jobs that start on it: one, two." in text
    status, text = explain(init, "told-all")
    assert status == 3 and "Jobs whose files say that they emit it: says." in text
    unknown = init.initctl("explain", "nothing-of-that")
    assert unknown.returncode == 4 and unknown.stderr == "initctl: Unknown job: nothing-of-that\n"
    assert explain(init, "--event", "one")[0] == 3


def test_a_process_that_waits_for_the_event_that_it_emits(make: Make) -> None:
    init = make(
        up=f"task\nexec {PROGRAMS}/initctl emit ready\n", half="start on ready and never\nexec true\n"
    )
    client = init.client()
    client.start("up", wait=False)
    wait_for(lambda: "It has emitted ready, which is in progress" in explain(init, "up")[1])
    status, text = explain(init, "--boot")
    assert status == 5 and "at work, may wait for ready to finish" in text
    assert "half has ready at " in text and "missing: never" in text
    client.emit("never")
    client.wait_status("up", "stop/waiting")


def test_what_is_not_up_for_an_error_in_its_file_or_for_half_a_condition(make: Make) -> None:
    init = make(
        broken="start on go\nexecute true\n",
        web="start on started db and file-ready\nexec sleep 1000\n",
        db="start on go\nexec sleep 1000\n",
        again="start on go or (go and never)\nexec sleep 1000\n",
    )
    init.client().emit("go", wait=False)
    init.client().wait_status("db", "start/running")
    for _ in range(2):
        status, text = explain(init, "--boot")
        assert status == 6
        assert f"  {init.conf}/broken.conf:2: Unknown stanza\n" in text
        assert "  web has started db at " in text and "missing: file-ready\n" in text and "again" not in text
        assert init.initctl("list", "--failed").stdout == "broken stop/unknown\n"
        assert "broken.conf:2: Unknown stanza" in init.initctl("list", "--failed", "--columns=failure").stdout
        init.restart()
    init.client().emit("file-ready")
    init.write("broken", "start on go\nexec true\n")
    wait_for(lambda: explain(init, "--boot")[0] == 0)
    status, text = explain(init, "--boot")
    assert "broken" not in text and "web" not in text
    assert init.initctl("list", "--failed").returncode == 3


def test_what_expect_has_to_do_with_it(make: Make) -> None:
    init = make(
        never="expect daemon\nexec sleep 1000\n",
        gone="expect fork\nexec true\n",
        forks="expect fork\nscript\nsleep 1000 &\nexit 0\nend script\n",
        bare="exec sh -c 'exit 1'\n",
    )
    client = init.client()
    client.start("never", wait=False)
    client.wait_status("never", "start/spawned")
    pid = client.status("never")[1]["main"]
    began = time.monotonic()
    text = explain(init, "never")[1]
    assert f"It says 'expect daemon': process {pid} has yet to fork twice. 10 s after its start it counts as" in text
    assert "'initctl stop never' would end that before." in text
    assert init.initctl("start", "gone").returncode == 1
    text = explain(init, "gone")[1]
    assert "It says 'expect fork': its main process (" in text
    assert ") was waited for to fork once, and has ended with no daemon left behind." in text
    client.start("forks")
    assert explain(init, "forks")[0] == 0 and "expect" not in explain(init, "forks")[1]
    client.start("bare", wait=False)
    client.wait_status("bare", "stop/waiting")
    assert "expect" not in explain(init, "bare")[1]
    wait_for(lambda: client.status("never")[0] == "start/running", 20)
    assert time.monotonic() - began > 8
    for _ in range(2):
        text = explain(init, "never")[1]
        assert text.startswith("never runs since ")
        assert f"It says 'expect daemon', but process {pid} was not seen to fork twice, and counts as running" in text
        init.restart()
    client = init.client()
    client.stop("never")
    client.start("never", wait=False)
    client.wait_status("never", "start/spawned")
    began = time.monotonic()
    assert init.initctl("stop", "never").returncode == 0 and time.monotonic() - began < 5


def test_which_line_keeps_events_from_starting_it(make: Make) -> None:
    init = make(off="start on go\nexec true\n", own="exec true\n", plain="exec true\n")
    (init.conf / "off.override").write_text("# not now\nmanual\n")
    (init.conf / "own.override").write_text("nice 3\n")
    init.initctl("reload-configuration")
    wait_for(lambda: "override" in explain(init, "off")[1] and "override" in explain(init, "own")[1])
    text = explain(init, "off")[1]
    assert f"It has no 'start on', for {init.conf}/off.override:" in text and "says 'manual'" in text
    assert "'initctl cat off'" in text and "maybe" not in text
    text = explain(init, "own")[1]
    assert f"It has no 'start on'; {init.conf}/own.override is its override ('initctl cat own'" in text
    assert "It has no 'start on': it starts only when somebody asks for it" in explain(init, "plain")[1]


def test_as_json(make: Make) -> None:
    init = make(job="start on go and stopped other\nexec sleep 1000\n")
    init.client().emit("go", wait=False)
    status, text = explain(init, "--json", "job")
    told = json.loads(text)
    assert told["status"] == status == 3 and told["account"]["met"] == [[0, 1]]
    assert told["lines"][0].startswith("job does not run")
    assert json.loads(explain(init, "--json", "--boot")[1])["account"]["half"][0]["job"] == "job"


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_as_an_ordinary_user(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {"job": "start on go KIND=x\nexec sleep 1000\n"})
    bus = Bus(tmp_path)
    try:
        notify(init, bus)
        init.client().emit("go", "KIND=x", "PASSWORD=hush")
        environ = {"PATH": os.environ["PATH"], "DBUS_SYSTEM_BUS_ADDRESS": bus.address}
        for words in (["job"], ["go"], ["--boot"], ["--json", "job"]):
            command = ["setpriv", "--reuid", "65534", "--clear-groups", str(PROGRAMS / "initctl"), "--system"]
            command += ["explain", *words]
            answer = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20)
            assert answer.returncode == 0 and not answer.stderr, answer
            assert "hush" not in answer.stdout
            if words[0] == "job":
                assert "job was started by go KIND=x, emitted by " in answer.stdout
    finally:
        init.close()
        bus.close()


def test_a_job_among_two_thousand_takes_no_time_to_speak_of(make: Make) -> None:
    text = "start on event{0} and started job{1}\nexec true\n"
    jobs = {f"job{number}": text.format(number, number - 1) for number in range(2000)}
    init = make(**jobs)
    init.client().emit("event1000", wait=False)
    took = []
    for _ in range(10):
        began = time.monotonic()
        assert explain(init, "job1000")[0] == 3
        took.append(time.monotonic() - began)
    # Where nothing else runs it is far less: this is no measurement.
    assert min(took) < 1.0


# An instance, and a boot that is over


def test_an_instance_is_named_as_for_other_commands(make: Make) -> None:
    init = make(tty="start on go\ninstance $NAME\nexec sleep 1000\n", pair="instance $A-$B\nexec sleep 1000\n")
    for name in ("ü", "b"):
        init.client().emit("go", f"NAME={name}")
    init.client().start("pair", "A=1", "B=2")
    for words in (["tty", "NAME=ü"], ["tty", "ü"], ["tty", "NAME=ü", "OTHER=x"]):
        status, text = explain(init, *words)
        assert status == 0 and text.startswith("tty (ü) runs since ") and "tty (b)" not in text, words
    assert explain(init, "pair", "B=2", "A=1")[1].startswith("pair (1-2) runs since ")
    # One that has stopped is in the history.
    init.client().stop("tty", "NAME=ü")
    status, text = explain(init, "tty", "NAME=ü")
    assert status == 3 and text.startswith("tty (ü) does not run: it stopped at ")
    for words, said in (
        (["tty", "NAME=no"], "Unknown instance: no of job tty"),
        (["tty", "no"], "Unknown instance: no of job tty"),
        (["pair", "A=1"], "Unknown parameter: B"),
        (["tty", "b", "c"], "unexpected argument: c"),
        (["tty", "NAME=ü", "c"], "unexpected argument: c"),
        (["go", "N=1"], "unexpected argument: N=1"),
    ):
        answer = init.initctl("explain", *words)
        assert answer.returncode in (1, 4) and answer.stderr.splitlines()[0] == f"initctl: {said}", words


def test_a_saved_history_is_explained_as_far_as_it_goes(make: Make, tmp_path: Path) -> None:
    init = make(
        db="start on boot\nexec sleep 1000\n",
        web="start on started db\nexec sleep 1000\n",
        once="start on started web\ntask\nexec sh -c 'exit 3'\n",
        late="start on boot\npre-start exec sleep 1000\nexec true\n",
        held="start on starting held2 and never\nexec true\n",
        held2="start on started db\nexec true\n",
    )
    init.client().emit("boot", wait=False)
    wait_for(lambda: "failed" in explain(init, "once")[1] and "pre-start" in explain(init, "late")[1])
    path = str(tmp_path / "boot.history")
    assert init.initctl("history", f"--save={path}").returncode == 0
    here = {job: explain(init, job)[1] for job in ("web", "once")}
    init.close()

    def told(*words: str) -> tuple[int, str]:
        answer = subprocess.run(
            [PROGRAMS / "initctl", "explain", f"--from={path}", *words], capture_output=True, text=True, env={}
        )
        assert not answer.stderr, answer.stderr
        first, _, rest = answer.stdout.partition("\n")
        assert first.startswith("As of ") and first.endswith(", when the history was saved:")
        return answer.returncode, rest

    status, text = told("web")
    assert status == 0 and text.startswith("web runs since ") and "web was started by started db" in text
    assert here["web"].splitlines()[1:] == text.splitlines()[1:]
    status, text = told("once")
    assert status == 6 and "terminated with status 3" in text
    assert "What it waited for is not in a saved history." in text and "start on" not in text
    status, text = told("late")
    assert status == 5 and "late is starting: pre-start since " in text and "stop --force" not in text
    assert "It waits for its pre-start process" in text
    status, text = told("held2")
    assert status == 5 and "Whom it waited for is not in a saved history." in text
    status, text = told("boot")
    assert "boot has been emitted once." in text and "it started db, late" in text
    assert "Which jobs waited for it is not in a saved history." in text
    document = json.loads(
        subprocess.check_output([PROGRAMS / "initctl", "explain", "--from", path, "--json", "web"], env={})
    )
    assert document["name"] == "web" and document["status"] == 0
    for words, status, said in (
        (["nothing"], 4, "The history has no job and no event nothing"),
        (["web", "other"], 4, "Unknown instance: other of job web"),
        (["--boot"], 1, "--boot is about the init that runs, and not about a saved history"),
    ):
        answer = subprocess.run(
            [PROGRAMS / "initctl", "explain", f"--from={path}", *words], capture_output=True, text=True, env={}
        )
        assert (answer.returncode, answer.stderr.splitlines()[0]) == (status, f"initctl: {said}")


def test_the_history_of_a_job_is_what_it_did_and_what_moved_it(make: Make) -> None:
    init = make(
        db="start on boot\nexec sleep 1000\n",
        web="start on started db and net\nexec sleep 1000\n",
        other="start on boot\nexec sleep 1000\n",
    )
    for event in ("boot", "unheard", "net"):
        init.client().emit(event)
    wait_for(lambda: "start/running" in init.initctl("status", "web").stdout)
    found = init.initctl("history", "web")
    lines = [line.partition("  ")[2] for line in found.stdout.splitlines()]
    assert found.returncode == 0
    assert lines[0].startswith("event started db, emitted by")
    assert lines[1].startswith("web: started db meets a part of")
    assert any(line.startswith("event net, emitted by") for line in lines)
    assert "web: running" in lines and not any("other" in line or "unheard" in line or "boot" in line for line in lines)
    both = init.initctl("history", "[wo]*").stdout
    assert "other: running" in both and "web: running" in both and "db: running" not in both
    entries = [json.loads(line)["entry"] for line in init.initctl("history", "--json", "web").stdout.splitlines()]
    assert len(entries) == len(lines)
    assert init.initctl("history", "nothing").returncode == 3
    refused = init.initctl("history", "--save=/x", "web")
    assert refused.returncode == 1 and "unexpected argument: web" in refused.stderr


def test_a_slip_of_the_pen_is_told_as_that(make: Make) -> None:
    init = make(
        a="start on stoped db\nexec true\n", b="start on filesystems\nexec true\n", c="start on my-event\nexec true\n"
    )
    for job, name, meant in (("a", "stoped", "stopped"), ("b", "filesystems", "filesystem")):
        said = f"nothing is known to emit an event of that name; what is meant may be '{meant}'"
        assert said in explain(init, job)[1]
        assert f"Nobody is known to emit it; what is meant may be '{meant}'." in explain(init, name)[1]
    assert "what is meant" not in explain(init, "c")[1] + explain(init, "my-event")[1]


def test_a_record_is_told_from_a_history(make: Make, tmp_path: Path) -> None:
    init = make(a="exec true\n")
    path = str(tmp_path / "record")
    for words in (["record", path], ["record", "--stop"]):
        assert init.initctl(*words).returncode == 0
    answer = init.initctl("explain", f"--from={path}", "a")
    assert answer.returncode == 1 and "it is a record, for init-replay(8)" in answer.stderr
