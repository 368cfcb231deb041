"""Job files to load: generated ones that resemble those of real systems, or the files of a directory.

The generated files are always the same. Their stanzas come as often as in a few thousand real files, which are some
1,800 bytes long on average, most of that comments and scripts; they wait for the events and jobs that real ones wait
for, none of which a measurement emits, so all of them stay at rest.
"""

from __future__ import annotations

import random
from pathlib import Path

#: Per cent of real files with such a `start on` or the like; {job} and {other} are names of generated jobs.
CONDITIONS = (
    (32, "started {job}"),
    (22, "starting {job}"),
    (9, "stopped {job}"),
    (9, "runlevel [2345]"),
    (7, "(local-filesystems and net-device-up IFACE!=lo)"),
    (6, "filesystem"),
    (5, "startup"),
    (4, "(started {job} and stopped {other})"),
    (3, "mounted MOUNTPOINT=/var"),
    (3, "(filesystem and static-network-up) or runlevel [2345]"),
)
WORDS = ("audit", "cache", "daemon", "device", "keeps", "network", "of", "session", "state", "storage", "the")
SHELL = (
    'mkdir -p -m 0755 "/run/{name}"',
    "chown root:adm /run/{name}",
    '[ -r /etc/default/{name} ] && . /etc/default/{name}',
    'if [ ! -e "/var/lib/{name}/ready" ]; then',
    '  logger -t "{name}" "state of {name} is made anew"',
    "fi",
    'for part in one two three; do rm -f "/var/cache/{name}/$part"; done',
    'test -x /usr/sbin/{name} || {{ stop; exit 0; }}',
)


def generated(count: int) -> dict[str, str]:
    """So many job files, names to text."""
    chance = random.Random(1)
    names = [f"{chance.choice(WORDS)}-{chance.choice(WORDS)}-{number}" for number in range(count)]
    return {f"{name}.conf": _job(chance, name, names) for name in names}


def existing(directory: Path) -> dict[str, str]:
    """The job files of a directory and those below it, names to text; bytes that are no UTF-8 are kept."""
    return {
        str(path.relative_to(directory)): path.read_text(errors="surrogateescape")
        for path in sorted(directory.rglob("*.conf"))
    }


def _job(chance: random.Random, name: str, names: list[str]) -> str:
    lines = [f"# {_sentence(chance, 10)}" for _ in range(chance.randint(2, 24))] + [""]

    def sometimes(percent: float, *stanza: str) -> None:
        if chance.random() * 100 < percent:
            lines.extend(stanza)

    sometimes(92, f'description     "{_sentence(chance, 6)}"')
    sometimes(84, 'author          "Maintainers of the System <maintainers@example.org>"', "")
    sometimes(85, f"start on {_condition(chance, names)}")
    sometimes(64, f"stop on {chance.choice(('runlevel [!2345]', 'stopping ' + chance.choice(names)))}", "")
    if chance.random() < 0.47:
        lines.append("respawn")
        sometimes(21, "respawn limit 10 20")
    else:
        sometimes(36, "task")
    sometimes(20, f"expect {chance.choices(('fork', 'daemon', 'stop'), (356, 77, 14))[0]}")
    for _ in range(chance.choices((0, 1, 3, 6), (66, 14, 12, 8))[0]):
        lines.append(f'env {_sentence(chance, 1).upper()}_{chance.randint(1, 99)}="/usr/lib/{name}"')
    sometimes(7, "setuid nobody")
    sometimes(5, "instance $UNIT", "usage 'UNIT=NAME, which part of it to run'")
    sometimes(15, "limit nofile 65536 65536")
    sometimes(30, "oom score -100")
    sometimes(7, "kill timeout 20")
    sometimes(5, "console output")
    sometimes(3, "export UNIT")
    sometimes(40, "", *_script(chance, "pre-start script", name, 12))
    sometimes(16, "", *_script(chance, "post-start script", name, 8))
    sometimes(19, "", *_script(chance, "post-stop script", name, 6))
    if chance.random() < 0.37:
        lines += ["", *_script(chance, "script", name, 24)]
    else:
        lines += ["", f"exec /usr/sbin/{name} --foreground --config=/etc/{name}.conf"]
    return "\n".join(lines) + "\n"


def _condition(chance: random.Random, names: list[str]) -> str:
    weights = [weight for weight, _ in CONDITIONS]
    text = chance.choices([condition for _, condition in CONDITIONS], weights)[0]
    return text.format(job=chance.choice(names), other=chance.choice(names))


def _sentence(chance: random.Random, words: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(words))


def _script(chance: random.Random, stanza: str, name: str, most: int) -> list[str]:
    body = [line.format(name=name) for line in SHELL] * (most // len(SHELL) + 1)
    return [stanza, *(f"    {line}" for line in body[: chance.randint(2, most)]), "end script"]
