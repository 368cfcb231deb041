"""Which packages go when Upstart becomes the init, because systemd's session manager goes with systemd-sysv.

What is always true here: dpkg's record of what is installed is read, and no solver is asked.  A package goes if one of
its dependencies is met by nothing but packages that go; versions are not looked at.
"""

from __future__ import annotations

from upstart.tools.units import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_STATUS = "var/lib/dpkg/status"
#: What upstart-sysv takes the place of, and what goes with that; with libpam-elogind the package systemd goes, too.
_FIRST = frozenset(("libpam-systemd", "systemd-sysv"))
_FIRST_WITH_ELOGIND = _FIRST | {"systemd"}
_ELOGIND = ("libpam-elogind", "logind", "default-logind", "elogind")
#: The package that depends on any init, which then is Upstart; and what is nothing without systemd.
_STAYS = frozenset(("init", "libnss-systemd", "systemd"))


class _Installed:
    """A package that is installed: alternatives for each dependency, and the names that it goes by."""

    __slots__ = ("groups", "name", "names")

    def __init__(self, fields: dict[str, str]) -> None:
        self.name = fields["Package"]
        self.names = {self.name, *(names[0] for names in _groups(fields.get("Provides", "")))}
        self.groups = [*_groups(fields.get("Pre-Depends", "")), *_groups(fields.get("Depends", ""))]

    def lacks(self, providers: dict[str, set[str]], gone: set[str]) -> bool:
        """Whether one of its dependencies is met now, and no more once those that are ``gone`` are."""
        return any(_met(group, providers) and not _met(group, providers, gone) for group in self.groups)


def _groups(text: str) -> list[list[str]]:
    """The names of a dependency field, deb-control(5): a list of alternatives each, without versions."""
    words = [group.split("|") for group in text.split(",") if group]
    return [[word.split("(")[0].split(":")[0].strip() for word in group] for group in words]


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    for stanza in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in stanza.split("\n"):
            name, colon, value = line.partition(":")
            if colon and line[0] not in " \t":
                fields[name] = value.strip()
        if fields.get("Status", "").endswith(" installed"):
            yield fields


def leaving(root: str, elogind: bool = False) -> list[str]:
    """The packages that go when upstart-sysv is installed, sorted, where libpam-elogind is named as well (``elogind``)
    or not; nothing where Upstart is the init, where elogind is there, or where systemd has no session manager."""
    packages = [_Installed(fields) for fields in _stanzas(read(root, _STATUS) or "")]
    present = {each.name for each in packages}
    if "libpam-systemd" not in present or present.intersection(("upstart-sysv", "libpam-elogind")):
        return []
    first = _FIRST_WITH_ELOGIND if elogind else _FIRST
    gone = set(first)
    providers: dict[str, set[str]] = {name: {"libpam-elogind"} for name in _ELOGIND} if elogind else {}
    for each in packages:
        for name in each.names:
            providers.setdefault(name, set()).add(each.name)
    more = True
    while more:
        more = False
        for each in packages:
            if each.name not in gone and each.name not in _STAYS and each.lacks(providers, gone):
                gone.add(each.name)
                more = True
    return sorted(gone - first)


def _met(group: list[str], providers: dict[str, set[str]], gone: set[str] | None = None) -> bool:
    """Whether one of the alternatives is installed and does not go."""
    return any(providers.get(name, set()) - (gone or set()) for name in group)
