"""The units of systemd that a system has enabled, and what their files say, systemd.unit(5).

What is always true here: only files below a root directory are read, and links are followed as from inside of it; no
program is asked, so that it can be told whether systemd is installed, runs, or is gone.  Enabled is what a link below
/etc/systemd/system has a target of the boot want, for that is how packages and administrators switch a unit on.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where units are, those of the administrator first; links that enable are in the first alone.
ENABLED = "etc/systemd/system"
DIRECTORIES = (ENABLED, "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
#: Targets that no boot reaches by itself.
_NOT_AT_BOOT = frozenset((
    "emergency", "exit", "final", "halt", "hibernate", "hybrid-sleep", "kexec", "poweroff", "reboot", "rescue",
    "shutdown", "sleep", "soft-reboot", "suspend", "suspend-then-hibernate", "system-update", "umount",
))  # fmt: skip
#: Wanted by graphical.target itself, whatever it is a link to.
_DISPLAY_MANAGER = "display-manager.service"
#: Links that are followed at most.
_LINKS = 16


class Unit:
    """An enabled unit: its name, the path of its file below the root, and its settings by section and name."""

    __slots__ = ("_settings", "name", "path")

    def __init__(self, name: str, path: str, text: str) -> None:
        self.name = name
        self.path = path
        self._settings = settings(text)

    @property
    def base(self) -> str:
        """The name without its type; ``getty`` of getty@tty1.service."""
        return self.name.rpartition(".")[0].partition("@")[0]

    @property
    def kind(self) -> str:
        """``service``, ``timer`` and so on."""
        return self.name.rpartition(".")[2]

    def all(self, section: str, name: str) -> list[str]:
        """The values of a setting; an empty one has made those before it void."""
        return self._settings.get((section, name), [])

    def get(self, section: str, name: str, default: str = "") -> str:
        """The last value of a setting."""
        values = self.all(section, name)
        return values[-1] if values else default


def settings(text: str) -> dict[tuple[str, str], list[str]]:
    """The settings of a unit's file, systemd.syntax(7)."""
    found: dict[tuple[str, str], list[str]] = {}
    section = pending = ""
    for line in text.splitlines():
        if pending and line.lstrip()[:1] in ("#", ";"):
            continue
        line = pending + line.strip()
        pending = ""
        if line.endswith("\\"):
            pending = line[:-1] + " "
        elif line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line and line[0] not in "#;":
            name, equals, value = line.partition("=")
            if equals:
                values = found.setdefault((section, name.strip()), [])
                if value.strip():
                    values.append(value.strip())
                else:
                    values.clear()
    return found


def resolve(root: str, path: str) -> str:
    """Where a path of the system leads inside of ``root``, itself without a leading slash; links are followed."""
    for _ in range(_LINKS):
        done = ""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        for number, part in enumerate(parts):
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            here = f"{done}/{part}" if done else part
            try:
                target = os.readlink(os.path.join(root, here))
            except OSError:
                done = here
                continue
            whole = [target] if target.startswith("/") else [done, target]
            path = "/".join([*whole, *parts[number + 1 :]])
            break
        else:
            return done
    return path.lstrip("/")


def read(root: str, path: str) -> str | None:
    """The text of a file, by its path inside of ``root``; ``None`` where there is none."""
    try:
        with open(os.path.join(root, resolve(root, path)), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def names(root: str, path: str) -> list[str]:
    """What is in a directory, sorted; nothing where there is none."""
    try:
        return sorted(os.listdir(os.path.join(root, resolve(root, path))))
    except OSError:
        return []


def enabled(root: str) -> list[Unit]:
    """The units that are enabled, and not masked, whose files are there; by name."""
    found: dict[str, Unit] = {}
    for path in _wanted(root):
        unit = _find(root, path)
        if unit is not None:
            found[unit.name] = unit
    return [found[name] for name in sorted(found)]


def _wanted(root: str) -> Iterator[str]:
    for directory in names(root, ENABLED):
        target, _, relation = directory.rpartition(".")
        if relation in ("wants", "requires") and target.endswith(".target"):
            if target.removesuffix(".target") not in _NOT_AT_BOOT:
                for name in names(root, f"{ENABLED}/{directory}"):
                    yield f"{ENABLED}/{directory}/{name}"
        elif directory == _DISPLAY_MANAGER:
            yield f"{ENABLED}/{directory}"


def _find(root: str, path: str) -> Unit | None:
    """The unit that a link enables: by the name of what it leads to, for that name may be an alias."""
    try:
        target = os.path.basename(os.readlink(os.path.join(root, path)))
    except OSError:
        target = os.path.basename(path)
    name = os.path.basename(path)
    if name == _DISPLAY_MANAGER or "@" not in name:
        name = target
    template = name.partition("@")[0] + "@." + name.rpartition(".")[2] if "@" in name else name
    for candidate in (name, template):
        for directory in DIRECTORIES:
            file = f"{directory}/{candidate}"
            if not os.path.lexists(os.path.join(root, file)):
                continue
            if resolve(root, file) == "dev/null":
                return None  # masked
            text = read(root, file)
            if text is not None:
                return Unit(name, file, text)
    return None
