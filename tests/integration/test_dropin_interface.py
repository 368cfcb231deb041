"""Every method and property on D-Bus answers as 1.13.2 did, good arguments and bad, to the texts of the errors.

`dropin_interface.txt` holds calls, in the order in which they are made on one init, each followed by the answer that
the original was heard to give: ``= [values]`` or ``! error [text]``.  ``~`` is /com/ubuntu/Upstart, ``-`` no interface.
Where PEER names a built original, it is asked too, so that the file is known to be true.

What the file leaves out: a name that is not ASCII (the original writes past the end of its buffer for such a path; ours
escapes each byte); variables without a name, and unsetting one whose name begins with that of another (there both go,
and the one after them stays); a tcp address for a bus; the order of jobs and of instances, which there is a hash's.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import dbus
import dropin
import pytest
from dropin import JOB, MANAGER, UPSTART, Session, job_path

FACTS = Path(__file__).with_name("dropin_interface.txt")
INTERFACES = {"U": UPSTART, "J": JOB, "I": UPSTART + ".Instance", "P": dropin.PROPERTIES, "-": None}
INTERFACES |= {name: f"org.freedesktop.DBus.{name}" for name in ("Introspectable", "Peer")}

#: What reload sends ends no process, so that no answer depends on how soon it does.
SLEEP = "reload signal 0\nexec sleep 1000\n"
JOBS = {
    "web": 'description "the web"\nauthor "me"\nversion "1.2"\nusage "how"\n'
    "start on a or (b X=1 and c z Y!=2)\nstop on runlevel [016] or d $FOO\nemits x y\nemits z-*\n" + SLEEP,
    "plain": "",
    "a/b-c.d": "exec sleep 1000\n",
    "with space": "exec sleep 1000\n",
    "_x": "exec sleep 1000\n",
    "inst": 'instance $N\nusage "N=name"\nenv K=v\n' + SLEEP,
    "multi": "instance $A-${B:-x}\n" + SLEEP,
    "rpn": 'start on a b c K=V K2!=V2 and "quoted thing" q="x y"\nstop on (x or y) and (z or w)\n',
}
INITS = ["", *filter(None, [dropin.PEER])]


def answer(session: Session, call: str) -> str:
    """What a line of the file is answered."""
    path, interface, member, signature, rest = f"{call}  ".split(" ", 4)
    args = list(ast.literal_eval(rest.strip() or "()"))
    fd = -1
    if signature.endswith("h"):
        fd = os.open(os.devnull, os.O_RDONLY)
        args.append(dbus.types.UnixFd(fd))
    error, values = session.call(
        path.replace("~", MANAGER), INTERFACES.get(interface, interface), member, signature, *args
    )
    if fd >= 0:
        os.close(fd)
    if member == "Introspect" and not error:
        values = described(values[0])
    elif member in ("GetAllJobs", "GetAllInstances") and not error:
        values = sorted(values[0])
    text = repr(values).replace(str(session.directory), "DIRECTORY").replace(MANAGER, "~")
    text = re.sub(r"\('main', \d+\)", "('main', PID)", text)
    return f"! {error} {text}" if error else f"= {text}"


def described(xml: str) -> list[str]:
    """The description of an object, a line for each thing in it; what is only ours is left out."""
    found = []
    for each in ElementTree.fromstring(xml):
        if each.tag == "node":
            found.append("node " + each.attrib["name"])
        elif each.attrib["name"] != UPSTART + ".Extension":
            for thing in each:
                details = [f"{key}={value}" for key, value in thing.attrib.items()]
                details += [" ".join(f"{k}={v}" for k, v in arg.attrib.items()) for arg in thing]
                found.append(f"{each.attrib['name']} {thing.tag} {', '.join(details)}")
    return sorted(found)


@pytest.mark.parametrize("prefix", INITS, ids=["ours", "original"][: len(INITS)])
def test_every_call_has_its_answer(tmp_path: Path, prefix: str) -> None:
    session = Session(tmp_path, JOBS, prefix, "--no-cgroups")
    try:
        lines = FACTS.read_text(encoding="utf-8").splitlines()
        for call, known in zip(lines[::2], lines[1::2], strict=True):
            assert f"{call}\n{answer(session, call)}" == f"{call}\n{known}"
    finally:
        session.close()


def test_a_name_that_is_not_ascii_is_escaped_byte_by_byte(tmp_path: Path) -> None:
    session = Session(tmp_path, {"café": "instance $N\n"}, "", "--no-cgroups")
    try:
        path = f"{MANAGER}/jobs/caf_c3_a9"
        assert session.call(MANAGER, UPSTART, "GetJobByName", "s", "café") == ("", [path])
        assert session.call(path, JOB, "Start", "asb", ["N=ü"], True) == ("", [path + "/_c3_bc"])
        assert session.status("café", "ü")[:2] == ("start", "running")
        assert session.call(job_path("café"), JOB, "Stop", "asb", ["N=ü"], True) == ("", [])
    finally:
        session.close()
