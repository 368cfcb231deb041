"""`make check-services`: takes every service of the catalogue through its life, and says in a table how each fared.

Groups run in roots of their own, two at a time. The exit status is 0 if every step succeeded that is not known to fail
outside our hands. With --write docs/services.md has what was found of these services.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import archive
import root
from container import ContainerError
from run import BootError

from services import catalogue, debs, trial
from services.service import Service
from services.trial import Results

DOCUMENT = root.TREE / "docs" / "services.md"


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def live(release: str, name: str, services: list[Service]) -> Results:
    """One group, in a process of the pool; a group whose machine fails does not take the others along."""
    group = trial.Trial(release, name, services, say)
    try:
        return group.run()
    except (trial.Trouble, BootError, ContainerError, RuntimeError) as error:
        say(f"{name}: {error}")
        for steps in group.results.values():
            for step in trial.STEPS:
                steps.setdefault(step, "the machine of its group failed")
        return group.results


def failures(release: str, services: list[Service], results: Results) -> list[str]:
    """What failed and should not have."""
    return [
        f"{service.package}: {step}: {text}"
        for service in services
        for step, text in results[service.package].items()
        if text and not service.excuse(release, step) and text not in trial.KNOWN
    ]


def said(release: str, service: Service, step: str, text: str) -> str:
    """What the table says of a step that failed."""
    return text if text in trial.KNOWN else service.excuse(release, step) or text


def recorded(release: str) -> Results:
    """What the document's table of `release` says of each package: of steps that failed, the note."""
    section = DOCUMENT.read_text().partition(f"\n## {release}\n")[2].partition("\n## ")[0]
    notes = dict(re.findall(r"^(\d+)\. (.*)$", section, re.MULTILINE))
    results: Results = {}
    for line in section.splitlines():
        package, *cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        steps = dict(zip(reversed(trial.STEPS), reversed(cells), strict=False))
        if cells and all(re.fullmatch(r"yes|-|no \(\d+\)", cell) for cell in steps.values()):
            results[package] = {step: notes.get(steps[step][4:-1], "") for step in trial.STEPS if steps[step] != "-"}
    return results


def table(release: str, services: list[Service], results: Results) -> str:
    """The results in Markdown: how many hold, all of them, and the reasons of failures."""
    whole = sum(results[service.package] == dict.fromkeys(trial.STEPS, "") for service in services)
    rows = [("package", "script", "up means", *trial.STEPS)]
    notes: list[str] = []
    for service in services:
        steps = results[service.package]
        row = [service.package, service.script, service.shown_by()]
        for step in trial.STEPS:
            text = steps.get(step)
            if text:
                note = said(release, service, step, text)
                if note not in notes:
                    notes.append(note)
                row.append(f"no ({notes.index(note) + 1})")
            else:
                row.append("-" if text is None else "yes")
        rows.append(tuple(row))
    rows.insert(1, tuple("---" for _ in rows[0]))
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    numbered = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    head = f"{whole} of {len(services)} packages take every step."
    return "\n".join([head, "", *lines, "", *numbered]).rstrip() + "\n"


def write(release: str, text: str) -> None:
    """Puts the table in place of the release's last one."""
    document = DOCUMENT.read_text()
    head = f"## {release}\n"
    if head not in document:
        document += f"\n{head}"
    begin = document.index(head) + len(head)
    following = re.search(r"^## ", document[begin:], re.MULTILINE)
    rest = document[begin + following.start() :] if following else ""
    DOCUMENT.write_text(document[:begin] + "\n" + text + ("\n" + rest if rest else ""))


def end(*_: object) -> None:
    """SIGTERM ends the groups too, each of which then ends its machine and removes what it wrote."""
    for process in multiprocessing.active_children():
        process.terminate()
    sys.exit(143)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make check-services", description="Debian's services under our init.")
    parser.add_argument("--release", default=archive.host_release())
    parser.add_argument("--write", action="store_true", help="record the results in docs/services.md")
    parser.add_argument("packages", nargs="*", help="only these")
    options = parser.parse_args(argv[1:])
    groups = catalogue.GROUPS
    if options.packages:
        chosen = {name: [one for one in group if one.package in options.packages] for name, group in groups.items()}
        groups = {name: group for name, group in chosen.items() if group}
    signal.signal(signal.SIGTERM, end)
    started = time.monotonic()
    # Both are made once, before the groups ask for them side by side.
    debs.Store(options.release, trial.base(options.release))
    results: Results = {}
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for done in [pool.submit(live, options.release, name, group) for name, group in groups.items()]:
            results |= done.result()
    services = [service for group in groups.values() for service in group]
    text = table(options.release, services, results)
    print(f"\n{options.release}, {len(services)} services, {time.monotonic() - started:.0f} s\n\n{text}")
    if options.write:
        results = recorded(options.release) | results
        known = [one for group in catalogue.GROUPS.values() for one in group if one.package in results]
        write(options.release, table(options.release, known, results))
    failed = failures(options.release, services, results)
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
