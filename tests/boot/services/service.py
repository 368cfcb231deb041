"""One service as the tests know it: its package, its init.d script, its daemon, and how it shows that it is up."""

from __future__ import annotations

from services.questions import Question


class Service:
    """A package and what is known of it.

    `script` is its name in /etc/init.d, by default the package's. `daemon` is the name of its processes, as a regular
    expression, of which the kernel keeps 15 characters. `up` is a question, or shell text that succeeds inside, or,
    if "", the script's own status. `beside` are packages it recommends and does not work without; `before` and `after`
    the installation, shell text is run.
    """

    def __init__(
        self,
        package: str,
        daemon: str,
        up: Question | str = "",
        script: str = "",
        before: str = "",
        after: str = "",
        beside: str = "",
        outside: str | dict[str, str] = "",
        fails: str = "install",
    ) -> None:
        self.package, self.daemon, self.up = package, daemon, up
        self.before, self.after, self.outside, self.fails = before, after, outside, fails.split()
        self.script = script or package
        self.install = [package, *beside.split()]

    def excuse(self, release: str, step: str) -> str:
        """Why it cannot take that step in `release`, or ""."""
        if step not in self.fails:
            return ""
        return self.outside if isinstance(self.outside, str) else self.outside.get(release, "")

    def shown_by(self) -> str:
        """How it shows that it is up, for the table."""
        if isinstance(self.up, Question):
            return f"{'UDP' if self.up.udp else 'TCP'} port {self.up.port}"
        return f"`{self.up}`" if self.up else f"`service {self.script} status`"


def config(path: str, *lines: str) -> str:
    """Shell text that writes a file."""
    quoted = " ".join("'" + line.replace("'", "'\\''") + "'" for line in lines)
    return f"mkdir -p {path.rpartition('/')[0]}; printf '%s\\n' {quoted} >{path}"


def enable(script: str) -> str:
    """Shell text for a service that its package installs switched off."""
    return f"update-rc.d {script} enable && service {script} start"
