"""The pane beside the list: all of one row, the jobs that it concerns, and what may be done with them."""

from __future__ import annotations

from functools import partial

from gi.repository import Adw, Gtk

from upstart.monitor import related, words
from upstart.monitor.rows import EVENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from upstart.monitor.related import Related
    from upstart.monitor.rows import Row

#: What a job can be asked to do: its icon, and what that is called.
COMMANDS = {
    "start": ("media-playback-start-symbolic", "Start"),
    "stop": ("media-playback-stop-symbolic", "Stop"),
    "restart": ("view-refresh-symbolic", "Restart"),
}


class Details:
    """``command`` is called with what to do, a job and an instance; ``copy`` with a text.

    ``may_change`` says whether the user may do what there are buttons for.
    """

    def __init__(
        self, command: Callable[[str, str, str], object], copy: Callable[[str], object], may_change: bool
    ) -> None:
        self._command = command
        self._copy = copy
        self._may_change = may_change
        self._box = Gtk.Box(
            orientation=Gtk.Orientation.VERTICAL, spacing=18, margin_top=18, margin_bottom=18, margin_start=18,
            margin_end=18,
        )  # fmt: skip
        self._later = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=18)
        self.widget = Gtk.ScrolledWindow(
            child=self._box, hscrollbar_policy=Gtk.PolicyType.NEVER, width_request=320, vexpand=True
        )

    def show(self, row: Row) -> None:
        """Show a row; what is asked for about it comes by `tell`."""
        while child := self._box.get_first_child():
            self._box.remove(child)
        heading = Gtk.Label(label=words.title(row), xalign=0, wrap=True, selectable=True, wrap_mode=2)
        heading.add_css_class("title-2")
        when = Gtk.Label(label=words.moment(row.time), xalign=0)
        when.set_css_classes(["numeric", "dim-label"])
        top = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6)
        top.append(heading)
        top.append(when)
        self._box.append(top)
        if row.kind == EVENT:
            variables = _Group("Variables")
            for word in row.env:
                key, _, value = word.partition("=")
                line = variables.add(key, value)
                line.add_suffix(self._button("edit-copy-symbolic", f"Copy {key}", partial(self._copy, word)))
            if not row.env:
                variables.add("None", "")
            self._box.append(variables.widget)
        else:
            state = _Group("Job")
            self._add_job(state, row.name, row.instance, words.details(row), COMMANDS)
            self._box.append(state.widget)
        self._later = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=18)
        self._box.append(self._later)

    def tell(self, row: Row, found: Related) -> None:
        """Add what init has said about the row that is shown."""
        for title, lines in found.past:
            group = _Group(title)
            for name, text in lines:
                group.add(name, text)
            self._later.append(group.widget)
        if row.kind != EVENT:
            return
        group = _Group("Jobs that wait for it")
        for mention in found.mentions:
            verb = "Starts on" if mention.starts else "Stops on"
            sure = {related.YES: "", related.NO: ", which this is not", related.UNSURE: ", which this may be"}
            stands = [f"{verb} {mention.condition()}{sure[mention.fits]}", *mention.states]
            self._add_job(group, mention.job, "", "\n".join(stands), ("start", "stop"))
        if not found.mentions:
            group.add("None", "No job names it in start on or stop on")
        self._later.append(group.widget)

    def failed(self, reason: str) -> None:
        """Tell that init did not answer."""
        label = Gtk.Label(label=reason, xalign=0, wrap=True)
        label.add_css_class("dim-label")
        self._later.append(label)

    def _add_job(self, group: _Group, job: str, instance: str, text: str, commands: Collection[str]) -> None:
        line = group.add(f"{job} ({instance})" if instance else job, text)
        for name, (icon, title) in COMMANDS.items():
            if name in commands:
                button = self._button(icon, f"{title} {job}", partial(self._command, name, job, instance))
                button.set_sensitive(self._may_change)
                if not self._may_change:
                    button.set_tooltip_text("Only root may do that")
                line.add_suffix(button)

    def _button(self, icon: str, title: str, action: Callable[[], object]) -> Gtk.Button:
        button = Gtk.Button(icon_name=icon, tooltip_text=title, valign=Gtk.Align.CENTER)
        button.add_css_class("flat")
        button.update_property([Gtk.AccessibleProperty.LABEL], [title])
        button.connect("clicked", lambda _: action())
        return button


class _Group:
    """A titled list of lines."""

    def __init__(self, title: str) -> None:
        self.widget = Adw.PreferencesGroup(title=title)

    def add(self, title: str, text: str) -> Adw.ActionRow:
        """A line with a title and a text, neither of which is markup."""
        line = Adw.ActionRow(title=_plain(title), subtitle=_plain(text), title_lines=2, subtitle_lines=12)
        self.widget.add(line)
        return line


def _plain(text: str) -> str:
    """A text as Pango's markup has it, which libadwaita 1.2 cannot be told not to look for."""
    shown = "\n".join(map(words.visible, text.split("\n")))
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
