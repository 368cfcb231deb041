"""status and list, as the original has them.

Our own daemon answers both with one call; any other is asked piece by piece. What the original has no option for is in
`commands_verbose` and `commands_list`.
"""

from __future__ import annotations

from upstart.initctl.context import INFO, Context
from upstart.initctl.statusline import describe, keeps_ending
from upstart.initctl.target import Target


def status(context: Context) -> int:
    """status [JOB [KEY=VALUE]...]: a stopped job is no failure, a missing instance that was asked for is."""
    settings = context.settings
    if settings.priority <= INFO or settings.check or settings.json:
        from upstart.initctl.commands_verbose import status_in_full

        return status_in_full(context)
    init = context.open()
    for each in Target(context).find_status(init):
        context.message(describe(each))
        if each.goal != "stop":
            text = keeps_ending(init, each)
            if text:
                # It is shown as running only because it is respawned again and again.
                context.flush()
                context.error(text)
    return 0


def list_jobs(context: Context) -> int:
    """list: every instance of every job, or the job itself if it has none."""
    settings = context.settings
    if context.args or settings.kinds or settings.services or settings.json or settings.columns or settings.sort:
        from upstart.initctl.commands_list import list_chosen

        return list_chosen(context)
    for each in context.open().all_status():
        context.message(describe(each))
    return 0
