"""init-checkconf: what it says of job files that are valid and make no sense, each kind with what is no fault."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from manual import events
from upstart.base.emitters import NO_EVENTS
from upstart.base.errors import ClientError
from upstart.base.slips import nearest
from upstart.tools.checkconf import main
from upstart.tools.checkdirectory import check_directory
from upstart.tools.eventtable import JOB_EVENTS, VARIABLES
from upstart.tools.findings import Collecting
from upstart.tools.jobtext import JobText
from upstart.tools.sense import check_job

ROOT = Path(__file__).parents[2]
SERVICE = "start on runlevel [2345]\nstop on runlevel [016]\n"


def found(text: str, name: str = "web") -> list[str]:
    """Line, rule and what to write of all that is found in one file."""
    job = JobText(f"{name}.conf", name, text.encode())
    assert job.failure is None, job.failure
    return [f"{each.line} {each.rule}: {each.write}" for each in check_job(job)]


def together(directory: Path, **texts: str) -> list[str]:
    """The same of files of a directory."""
    for name, text in texts.items():
        (directory / f"{name.replace('_', '-')}.conf").write_text(text)
    report = Collecting()
    check_directory(str(directory), report, True, "")
    assert not report.errors
    return [f"{Path(label).stem}:{each.line} {each.rule}: {each.text}" for _, label, each in report.results]


@pytest.mark.parametrize(
    ("line", "write"),
    [
        ("stop on shutdown", "stop on runlevel [016]"),
        ("stop on runlevel [016] or\\\n  shutdown", "stop on runlevel [016]"),
        ("start on local-filesystem", "start on local-filesystems"),
        ("start on filesystems and started dbus", "start on filesystem"),
        ("start on net-devcie-up IFACE=lo", "start on net-device-up"),
        ("start on startting ssh", "start on starting"),
        ("start on startd ssh", "start on started"),
        ("stop on stoped ssh", "stop on stopped"),
        ("stop on runlevel [016] or stoped JOB=ssh", "stop on stopped"),
        ("stop on stoped", "stop on stopped"),
        ("start on stated", "start on started"),
    ],
)
def test_a_name_that_is_nearly_that_of_an_event_is_a_slip(line: str, write: str) -> None:
    place = 3 if "\\\n" in line else 2
    assert found(f"# web\n{line}\nexec web\n") == [f"{place} unknown-event: {write}"]


@pytest.mark.parametrize(
    "line",
    [
        "start on my-own-event",
        "start on desktop-session-start",
        "start on block-device-added",
        "start on start",
        "start on startd-ready",
        "start on stored ssh",
        "start on mountd",
        "start on stop",
        "start on stoped web\nemits stoped",
        "start on $EVENT",
        "start on shutdown\nemits shutdown",
        "start on shutdown\npost-stop exec initctl emit --no-wait shutdown",
    ],
)
def test_of_one_file_alone_an_event_that_may_come_from_elsewhere_is_none(line: str) -> None:
    assert found(f"{line}\nexec web\n") == []


@pytest.mark.parametrize(
    ("condition", "write"),
    [
        ("start on runlevel 2345", "start on runlevel [2345]"),
        ("start on runlevel RUNLEVEL=default", ""),
        ("start on started web INSTANCE=$NAME", ""),
        ("start on net-device-up INTERFACE=eth0", ""),
        ("start on mounted MOUNTPONT=/srv", "start on mounted MOUNTPOINT=/srv"),
        ("stop on filesystem NAME=x", ""),
    ],
)
def test_a_test_that_no_event_passes_is_found(condition: str, write: str) -> None:
    assert found(f"{condition}\nexec web\n") == [f"1 never: {write}"]


@pytest.mark.parametrize(
    "condition",
    [
        "start on runlevel [!016]",
        "start on runlevel RUNLEVEL=3 PREVLEVEL=N",
        "stop on stopped web INSTANCE=$NAME",
        "start on stopped rc RUNLEVEL=[2345]",
        "start on net-device-up IFACE!=lo",
    ],
)
def test_a_test_that_an_event_may_pass_is_none(condition: str) -> None:
    assert found(f"{condition}\nexec web\n") == []


@pytest.mark.parametrize(
    ("condition", "line"),
    [
        ("start on mounted MOUNTPOINT=/ and\\\n   filesystem", 1),
        ("start on (virtual-filesystems and\n  mounting MOUNTPOINT=/run)", 2),
        ("start on starting ssh and stopped ssh", 1),
        ("start on starting mountall and (local-filesystems or filesystem)", 1),
        ("stop on stopping ssh and stopped ssh", 1),
    ],
)
def test_an_event_that_is_held_while_what_must_come_with_it_waits_is_found(condition: str, line: int) -> None:
    assert [each.partition(":")[0] for each in found(f"{condition}\nexec web\n")] == [f"{line} and-order"]


@pytest.mark.parametrize(
    "condition",
    [
        "start on mounted MOUNTPOINT=/ and mounted MOUNTPOINT=/run",
        "start on mounted MOUNTPOINT=/ or filesystem",
        "start on mounted MOUNTPOINT=/srv/far and local-filesystems",
        "start on started ssh and stopping ssh",
        "start on starting ssh and (stopped ssh or runlevel 2)",
        "start on runlevel [2345] and startup",
    ],
)
def test_events_that_come_in_either_order_are_fine(condition: str) -> None:
    assert found(f"{condition}\nexec web\n") == []


def test_expect_is_found_where_the_program_surely_does_not_fork() -> None:
    for command in ("/usr/sbin/sshd -D -e", "exec cron -f", 'nginx -g "daemon off;"', "java -jar web.jar >>/log 2>&1"):
        command = command.removeprefix("exec ")
        assert found(f"exec {command}\nexpect fork\n") == ["2 expect: no expect stanza"], command
        assert found(f"expect daemon\nscript\n  mkdir /run/web\n  exec {command}\nend script\n") == [
            "1 expect: no expect stanza"
        ]
    for command in (
        "/usr/sbin/sshd",
        "nginx",
        "web -D",
        "hostapd -dB x.conf",
        "sh -c 'sshd -D'",
        "$PROGRAM -D",
        "cron",
    ):
        assert found(f"exec {command}\nexpect fork\n") == [], command


def test_a_task_that_never_ends_is_found() -> None:
    loop = "script\nwhile true; do sleep 1; done\nend script"
    for process in ("exec sleep infinity", "exec tail -f /var/log/web", loop):
        assert found(f"task\n{process}\n") == ["1 task: no task stanza"], process
        assert found(f"task\nstop on stopped web2\n{process}\n") == [], "it is there to hold something"
        assert found(f"{process}\n") == []
    working = loop.replace("sleep", "work; sleep")
    for process in ("exec sleep 5", "exec tail /log", "exec getty tty1", working):
        assert found(f"task\n{process}\n") == [], process


def test_respawn_limit_needs_respawn() -> None:
    assert found("exec web\nrespawn limit 5 10\n") == ["2 respawn-limit: respawn, in a line of its own"]
    assert found("exec web\nrespawn\nrespawn limit 5 10\n") == []
    # A task that is tried again until it succeeds.
    assert found("exec web\ntask\nrespawn\nrespawn limit 5 10\n") == []


def test_stanzas_about_a_main_process_need_one() -> None:
    text = "pre-start exec web\nrespawn\nexpect fork\n"
    assert found(text) == ["3 no-process: ", "2 no-process: "]


def test_a_stanza_that_a_later_one_makes_void_is_found() -> None:
    text = "start on startup\nexec a\n\nstart on filesystem\nscript\n:\nend script\nenv A=b\nenv C=d\n"
    assert found(text) == ["1 twice: one condition, with `or`", "2 twice: one stanza"]


@pytest.mark.parametrize(
    "line",
    [
        "instance $A", "description x", "author x", "version 1", "usage x", "expect stop", "console none", "umask 022",
        "nice 1", "oom score 5", "oom never", "kill timeout 5", "kill signal INT", "kill mode all",
        "reload signal USR1", "respawn limit 5 5", "limit core 0 0", "chroot /", "chdir /", "setuid web", "setgid web",
        "apparmor switch web", "env A=b", 'env "A=b c"', "env \\\n A=b",
    ],
)  # fmt: skip
def test_of_most_stanzas_only_the_last_counts(line: str) -> None:
    text = f"start on x\nrespawn\nexec a\n{line}\n{line}\n"
    assert found(text) == ["4 twice: one stanza"]
    job = JobText("web.override", "web.override", f"{line}\n{line}\n".encode())
    assert [(each.line, each.rule) for each in check_job(job)] == [(1, "twice")]


@pytest.mark.parametrize(
    "lines",
    [
        "env A=b\nenv B=b", "env A=b\nenv A", "export A\nexport A", "emits a\nemits a", "task\ntask",
        "normal exit 1\nnormal exit 1", "respawn\nrespawn\nrespawn limit 5 5", "limit core 0 0\nlimit cpu 0 0",
        "kill timeout 5\nkill signal INT", "apparmor switch a\napparmor load b", "cgroup cpu\ncgroup cpu",
        "manual\nmanual", "debug\ndebug",
    ],
)  # fmt: skip
def test_stanzas_that_add_up_are_not_void(lines: str) -> None:
    assert found(f"start on x\nexec a\n{lines}\n") == []


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("start on file EVENT=create", "start on file: FILE is missing, and nothing is watched"),
        ("start on file FILE!=/x", "start on file: FILE is missing, and nothing is watched"),
        ("stop on file FILE=/srv/../x", "stop on file: FILE=/srv/../x: Path must not contain '..'"),
        ("start on file /srv/../x create", "start on file: /srv/../x: Path must not contain '..'"),
        ("start on file FILE=x/../y", "start on file: FILE=x/../y: Path must not contain '..'"),
        ("start on runlevel 2 and file FILE=x", "start on file: FILE=x: Path must be absolute"),
        ("start on file FILE=/", "start on file: FILE=/: the root directory is always there"),
        (
            "start on file FILE=/x EVENT=changed",
            "start on file: EVENT=changed: unknown; it is create, modify, delete, open, close, attrib, moved",
        ),
        (
            "start on file FILE=/x EVENT=o*",
            "start on file: EVENT=o*: unknown; it is create, modify, delete, open, close, attrib, moved",
        ),
    ],
)
def test_words_of_files_are_looked_at(condition: str, said: str) -> None:
    job = JobText("web.conf", "web", f"{condition}\nexec web\n".encode())
    assert [(each.rule, each.text) for each in check_job(job)] == [("words", said)]


def test_a_relative_file_is_none_for_a_job_of_the_system() -> None:
    [finding] = check_job(JobText("/etc/init/web.conf", "web", b"start on file FILE=x\nexec web\n"))
    assert (finding.rule, finding.text) == ("words", "start on file: FILE=x: Path must be absolute")


@pytest.mark.parametrize(
    "condition",
    [
        "start on file FILE=/x",
        "start on file FILE=~/x EVENT=create",
        "start on file FILE=/x/*.c EVENT=moved MATCH=/x/a*",
        "start on file FILE=/x EVENT=[cm]*",
        "start on file FILE=/x EVENT!=delete",
        "stop on file FILE=$X/.. EVENT=$Y",
    ],
)
def test_files_that_a_bridge_can_watch_are_no_findings(condition: str) -> None:
    assert found(f"{condition}\nexec web\n") == []


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("start on dbus SIGNAL=a.b", "start on dbus: SIGNAL=a.b: no name of a signal"),
        ("start on dbus 5x", "start on dbus: 5x: no name of a signal"),
        (
            "start on dbus INTERFACE=x",
            "start on dbus: INTERFACE=x: no name of an interface, as org.example.Name is one",
        ),
        ("stop on dbus OBJPATH=/a/", "stop on dbus: OBJPATH=/a/: no path of an object, as /org/example/Name is one"),
        ("start on dbus SENDER=x", "start on dbus: SENDER=x: no name on a bus, as org.example.Name or :1.5 is one"),
        ("start on dbus SENDER_UNIQUE=a.b", "start on dbus: SENDER_UNIQUE=a.b: no unique name, as :1.5 is one"),
        (
            "start on dbus-name NAME=:1.5",
            "start on dbus-name: NAME=:1.5: no well-known name, as org.example.Name is one",
        ),
        ("start on dbus-name NAME=a.b OWNER=yes", "start on dbus-name: OWNER=yes: unknown; it is y or n"),
        ("start on dbus-name NAME=a.b SENDER=c.d", "start on dbus-name: SENDER: unknown; it is NAME, OWNER, BUS"),
        (
            "start on dbus MEMBER=x",
            "start on dbus: MEMBER: unknown; it is SIGNAL, BUS, INTERFACE, OBJPATH, SENDER, DESTINATION, "
            "SENDER_UNIQUE, ARG0, ARG1 and so on",
        ),
        (
            "start on dbus-activation foo",
            "start on dbus-activation: foo: no well-known name, as org.example.Name is one",
        ),
        ("start on dbus-activation NAME=a.b", "start on dbus-activation: NAME: unknown; it is SERVICE, BUS"),
        ("start on dconf TYPE=set", "start on dconf: TYPE=set: unknown; it is changed or reset"),
        ("start on dconf KEY=org/x", "start on dconf: KEY=org/x: no key, as /org/example/name is one"),
        ("start on dconf KEY=/org/x/", "start on dconf: KEY=/org/x/: no key, as /org/example/name is one"),
        (
            "start on dconf KEY=/a/b VALUE=dark",
            "start on dconf: VALUE=dark: a string stands in quotes: VALUE=\"'dark'\"",
        ),
        ("start on dconf PATH=/x", "start on dconf: PATH: unknown; it is TYPE, KEY, VALUE"),
        ("start on usb-device-add", "start on usb-device-add: nothing tells of that; it is usb-device-added"),
        (
            "start on usb-device-added ACTION=added",
            "start on usb-device-added: ACTION=added: of usb-device-added it is add",
        ),
        (
            "start on block-device-added SUBSYSTEM=usb",
            "start on block-device-added: SUBSYSTEM=usb: of block-device-added it is block",
        ),
        ("start on block-device-added DEVNAME=sda",
         "start on block-device-added: DEVNAME=sda: it is the whole path, below /dev"),
        ("start on net-device-added DEVPATH=/sys/devices/x",
         "start on net-device-added: DEVPATH=/sys/devices/x: it is the path below /sys"),
        ("start on block-device-added MAJOR=a", "start on block-device-added: MAJOR=a: no number"),
        ("start on mounted MOUNTPOINT=home", "start on mounted: MOUNTPOINT=home: not absolute"),
        ("stop on unmounted MOUNTPOINT=/x/", "stop on unmounted: MOUNTPOINT=/x/: without the slash at its end"),
    ],
)  # fmt: skip
def test_words_of_buses_devices_and_mounts_are_looked_at(condition: str, said: str) -> None:
    job = JobText("web.conf", "web", f"# one\n{condition}\nexec web\n".encode())
    assert [(each.rule, each.line, each.text) for each in check_job(job)] == [("words", 2, said)]


@pytest.mark.parametrize(
    "condition",
    [
        "start on dbus",
        "start on dbus SIGNAL=StateChanged BUS=system INTERFACE=org.a.B OBJPATH=/a/* SENDER=org.a.B ARG0=70 ARG1.0=x",
        "start on dbus INTERFACE=org.* SENDER!=x SENDER=:1.17 DESTINATION=a.b",
        "start on dbus-name org.a-b.C OWNER=y",
        "start on dbus-activation org.a-b.C or dbus-activation SERVICE=com.x.y BUS=session",
        "start on dconf KEY=/org/*/x VALUE=\"'dark'\" TYPE=reset",
        "start on dconf changed /a/b true",
        "start on dconf KEY=/a VALUE=[1,2] or dconf KEY=/a VALUE=",
        "start on usb-device-added sda* DEVNAME=/dev/sd* ID_X=y ACTION=add DEVPATH=/devices/x MINOR=1",
        "start on foo-device-bind ACTION=bind or net-device-up IFACE=eth0",
        "start on mounted MOUNTPOINT=/ or unmounted MOUNTPOINT=/x/* TYPE!=nfs or mounting MOUNTPOINT=none",
    ],
)
def test_what_bridges_can_tell_is_no_finding(condition: str) -> None:
    assert found(f"{condition}\nexec web\n") == []


def test_a_result_that_no_job_has_is_never_met() -> None:
    assert found("start on stopped db RESULT=fail\nexec web\n") == ["1 never: start on stopped db RESULT=failed"]
    assert found("stop on stopping db RESULT=bad\nexec web\n") == ["1 never: "]
    assert found("start on stopped RESULT=f* or stopped db RESULT!=fail\nstop on stopped x RESULT=ok\nexec w\n") == []


def test_a_variable_that_nobody_sets_is_found_with_its_line() -> None:
    assert found(SERVICE + "script\n  cd /\n  exec web --home $HOME/web\nend script\n") == [
        "5 unset-variable: env HOME=VALUE"
    ]
    assert found(SERVICE + 'exec web --user "${OWNER}"\n') == ["3 unset-variable: env OWNER=VALUE"]


@pytest.mark.parametrize(
    "rest",
    [
        "env HOME=/root\nexec web $HOME\n",
        "exec web $RUNLEVEL $UPSTART_JOB $PATH $$ $1\n",
        "exec web '$HOME' \\$HOME ${HOME:-/root} ${HOME-} ${HOME:+x}\n",
        "script\n. /etc/default/web\nexec web $HOME\nend script\n",
        "script\nfor name in a b; do web $name; done\nend script\n",
        "script\nread -r HOME rest </x\nweb $HOME\nend script\n",
        'script\n[ -n "$DEBUG" ] && echo $DEBUGGING\n# DEBUGGING=yes\nend script\n',
        "pre-start exec initctl set-env HOME=/x\nexec web $HOME\n",
        "usage 'start web FILE=...'\nexec web $FILE\n",
        "script\ncat <<END\n$HOME\nEND\nend script\n",
        "script\n# $HOME\nweb\nend script\n",
    ],
)
def test_a_variable_that_somebody_may_set_is_none(rest: str) -> None:
    assert found(SERVICE + rest) == []


@pytest.mark.parametrize(
    "start", ["", "start on started db\n", "start on runlevel 2 or my-event\n", "start on startup\n"]
)
def test_a_job_whose_events_may_bring_anything_lacks_no_variable(start: str) -> None:
    assert found(start + "exec web $HOME\n") == []


# Several jobs

BOOT = "start on startup\nemits runlevel\ntask\nexec telinit 2\n"


def test_of_a_whole_system_missing_events_and_jobs_are_found(tmp_path: Path) -> None:
    texts = {
        "rc_sysinit": BOOT,
        "web": "# web\nstart on started database or\\\n  database-there\nexec web\n",
        "other": "start on started nothing or runlevel 2\nstop on stopped nothing\nexec other\n",
    }
    assert together(tmp_path, **texts) == [
        "web:2 unknown-job: start on started database: there is no job database, so the job never starts by that",
        "web:3 unknown-event: start on database-there: no job declares that it emits that, and no program is known to",
    ]
    assert together(tmp_path, database="emits database-there\nexec database\n") == []


def test_of_some_jobs_only_slips_are_found(tmp_path: Path) -> None:
    texts = {"web_server": "exec web\n", "web": "start on started wbe-server and x\nstop on shutdown\nexec web\n"}
    assert together(tmp_path, **texts) == [
        "web:1 unknown-job: start on started wbe-server: there is no job wbe-server, so the job never starts by that",
        "web:2 unknown-event: stop on shutdown: no program of Debian or Ubuntu emits an event shutdown,"
        " so the job never stops by that",
    ]


def test_an_event_of_a_job_is_none_to_miss(tmp_path: Path) -> None:
    assert together(tmp_path, a="emits shutdown web-*\nexec a\n", b="start on web-up\nstop on shutdown\nexec b\n") == []


def test_a_circle_is_found_once_and_named(tmp_path: Path) -> None:
    texts = {
        "a": "# a\nstart on started c\nexec a\n",
        "b": "start on starting a\nexec b\n",
        "c": "start on b-is-up and started b\nexec c\n",
        "d": "start on started a\nexec d\n",
        "e": "emits b-is-up\nexec e\n",
        "f": "start on started f\nexec f\n",
    }
    assert together(tmp_path, **texts) == [
        "a:2 circle: a circle: a waits for c for b for a; no event starts any of them",
        "f:1 circle: f starts only when it has been started; no event starts any of them",
    ]


def test_what_something_else_starts_is_no_circle(tmp_path: Path) -> None:
    assert together(tmp_path, a="start on started b or startup\nexec a\n", b="start on started a\nexec b\n") == []


def test_a_job_that_is_held_for_what_comes_after_it_is_found(tmp_path: Path) -> None:
    texts = {
        "rc_sysinit": BOOT,
        "db": "start on runlevel [2345]\nemits db-ready\nexec db\n",
        "cache": "start on started db\nexec cache\n",
        "web": "start on starting db and\\\n  started cache\nexec web\n",
        "more": "start on starting db and (db-ready or stopped db)\nexec more\n",
        "fine": "start on starting cache and (db-ready or stopped cache)\nexec fine\n",
    }
    rules = [each.partition(": ")[0] for each in together(tmp_path, **texts)]
    assert rules == ["more:1 and-order", "web:1 and-order"]


def test_an_override_beside_a_file_counts(tmp_path: Path) -> None:
    (tmp_path / "web.override").write_text("respawn\n")
    assert together(tmp_path, web="exec web\nrespawn limit 5 10\n") == []


def test_an_unpacked_package_is_no_directory_of_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "web.conf").write_text("port = 80\n")
    assert main(["init-checkconf", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"File {tmp_path}: no jobs\n"


@pytest.mark.parametrize("directory", ["etc/init", "debian/jobs"])
def test_our_own_jobs_make_sense(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init-checkconf", "--strict", str(ROOT / directory)]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    assert len(output.splitlines()) == len(list((ROOT / directory).glob("*.conf")))


class Running:
    """An init with a job that has no file in its directory."""

    name = "db"
    start_on = [["startup"], ["started", "web"], ["/OR"]]
    stop_on: list[list[str]] = []
    emits = ["db-ready"]

    def configuration_errors(self) -> list[str]:
        return ["/etc/init/bad.conf:1: Unknown stanza"]

    def jobs(self) -> list[Running]:
        return [self]

    def close(self) -> None:
        pass


def test_the_running_init_is_asked_for_what_has_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "web.conf").write_text("start on started db and db-ready\nexec web\n")
    monkeypatch.setattr("upstart.tools.checkdirectory.SYSTEM_JOBS", str(tmp_path))
    monkeypatch.setattr("upstart.client.init.Init.open", lambda: Running())
    assert main(["init-checkconf", "--running"]) == 1
    output, errors = capsys.readouterr()
    assert (output, errors) == (
        f"File {tmp_path}/web.conf: syntax ok\n",
        "ERROR: /etc/init/bad.conf:1: Unknown stanza\n",
    )
    Running.name = "database"
    assert main(["init-checkconf", "--running"]) == 1
    assert "web.conf:1: start on started db: there is no job db, so" in capsys.readouterr().err


def test_without_a_running_init_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise ClientError("Failed to connect")

    monkeypatch.setattr("upstart.client.init.Init.open", refuse)
    assert main(["init-checkconf", "--running"]) == 1
    assert capsys.readouterr().err.startswith("ERROR: The running init cannot be asked: ")


# What is said, and how


def test_a_finding_has_its_file_line_reason_and_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "web.conf"
    path.write_text("exec web\nstop on shutdown\n")
    assert main(["init-checkconf", str(path)]) == 0
    output, errors = capsys.readouterr()
    assert output == f"File {path}: syntax ok\n"
    assert errors == (
        f"WARNING: File {path}:2: stop on shutdown: no program of Debian or Ubuntu emits an event shutdown;"
        f" write: stop on runlevel [016]\n"
    )
    assert main(["init-checkconf", "--strict", str(path)]) == 1
    assert main(["init-checkconf", "--strict", "--running-fast"]) == 1


def test_lines_of_shell_errors_count_from_the_start_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "web.conf"
    path.write_text("# one\npre-start script\n  :\nend script\n\nscript\n  echo\n  )\nend script\n")
    assert main(["init-checkconf", str(path)]) == 1
    assert "/bin/sh: 8: Syntax error" in capsys.readouterr().err


def test_json_has_all_that_text_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "web.conf").write_text("exec web\nstop on shutdown\n")
    (tmp_path / "bad.conf").write_text("exec web\nscript\n  (\nend script\n")
    assert main(["init-checkconf", "--json", str(tmp_path)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["valid"] == [str(tmp_path / "web.conf")]
    error, warning = document["findings"]
    assert (error["level"], error["file"], error["line"]) == ("error", str(tmp_path / "bad.conf"), 4)
    assert {key: warning[key] for key in ("level", "line", "rule", "write")} == {
        "level": "warning", "line": 2, "rule": "unknown-event", "write": "stop on runlevel [016]",
    }  # fmt: skip


def test_sarif_names_rules_and_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "web.conf"
    path.write_text("exec web\nstop on shutdown\n")
    assert main(["init-checkconf", "--sarif", str(path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == "2.1.0"
    [run] = document["runs"]
    [result] = run["results"]
    assert result["ruleId"] in [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == (path.as_uri(), 2)


def test_the_variables_of_events_are_those_of_the_manual() -> None:
    texts = {event.name: event.text for event in events()}
    for name, variables in {**VARIABLES, **JOB_EVENTS}.items():
        text = texts[name]
        like = re.search(r"as for ([\w-]+)", text)
        listed = re.findall(r"\b[A-Z][A-Z_]+\b", texts[like[1]] if like else text)
        assert listed == list(variables), name


def test_nothing_that_is_an_event_is_told_to_be_none() -> None:
    assert not set(NO_EVENTS) & {event.name for event in events()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("filesytem", "filesystem"),
        ("remote-filesystms", "remote-filesystems"),
        ("filesystem", ""),
        ("file", ""),
        ("xfilesxyste", ""),
    ],
)
def test_a_slip_is_one_letter_or_two_of_a_long_name(name: str, expected: str) -> None:
    assert nearest(name, VARIABLES) == expected


def test_what_differs_in_a_number_is_another() -> None:
    assert nearest("service-1", ["service-2"]) == ""
