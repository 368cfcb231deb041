"""history, blame, critical-chain, chart and compare: how the time of a boot, or of the end of a machine, was spent.

What is always true here: a running init is asked, or a file read that ``history --save`` wrote; so what is told of a
boot can be told again later, and elsewhere.
"""

from __future__ import annotations

from upstart.base.errors import ClientError, DBusError, UsageError
from upstart.base.names import NO_EXTENSION
from upstart.client.story import Story, shown
from upstart.client.words import clock, duration, event_name, step_text
from upstart.initctl import boots
from upstart.initctl.context import NOTHING, UNKNOWN, Context
from upstart.initctl.saved import SAVED, saved_history

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.client.history import History
    from upstart.client.init import Init
    from upstart.client.story import Step
    from upstart.initctl.boots import Period, Took


def _history(context: Context, path: str | None = None) -> History:
    """That of the file that is named, or of the init that is asked."""
    path = path if path is not None else context.settings.saved
    if path is None:
        init = context.open()
        try:
            return init.history()
        except DBusError as error:
            if error.name in NO_EXTENSION:
                raise ClientError("This init daemon has no history")
            raise
    return saved_history(path)


def _period(context: Context, path: str | None = None) -> Period:
    """The boot, or the end of the machine, of that history. Raises ClientError."""
    story = Story(_history(context, path))
    if context.settings.shutdown:
        period = boots.end(story)
        if period is None:
            raise ClientError("The machine does not end in this history").with_status(NOTHING)
        return period
    period = boots.boot(story)
    if period is None:
        raise ClientError("The history does not go back to the boot").with_status(NOTHING)
    return period


def _refuse_arguments(context: Context, most: int) -> None:
    if len(context.args) > most:
        raise UsageError(f"unexpected argument: {context.args[most]}")


def blame(context: Context) -> int:
    """blame: the instances of the boot, those first that took longest."""
    _refuse_arguments(context, 0)
    period = _period(context)
    now = period.story.history.clock
    found = sorted(period.took, key=lambda took: -took.seconds(now))
    if context.settings.json:
        context.show_json(
            {"seconds": period.ended - period.began, "jobs": [_as_json(took, period) for took in found]}
        )
        return 0
    for took in found:
        text = f"{duration(took.seconds(now)):>12}  {took.life.name}"
        if took.settled is None:
            text += "  (not there yet)"
        elif took.life.failure:
            text += "  (failed)"
        context.message(context.folded(context.plain(text), 14))
    return 0


def _as_json(took: Took, period: Period) -> dict[str, object]:
    return {
        "job": took.life.of[1],
        "instance": took.life.of[2],
        "began": round(took.began - period.began, 6),
        "seconds": round(took.seconds(period.story.history.clock), 6),
        "settled": took.settled is not None,
        "task": took.task,
        "failure": took.life.failure,
        "processor": round(sum(each.processor or 0.0 for each in took.life.processes), 6),
        "read": sum(each.read or 0 for each in took.life.processes),
        "written": sum(each.written or 0 for each in took.life.processes),
    }


def critical_chain(context: Context) -> int:
    """critical-chain [JOB]: what led to a job, or to that which was there last, and what of it took how long."""
    _refuse_arguments(context, 1)
    period = _period(context)
    story = period.story
    if context.args:
        chosen = [took for took in period.took if context.args[0] in (took.life.of[1], took.life.name)]
        if not chosen:
            raise ClientError(f"{context.args[0]} was not started in the {period.name}").with_status(UNKNOWN)
    else:
        chosen = [took for took in period.took if took.settled is not None]
    last = max(chosen, key=lambda took: took.settled if took.settled is not None else story.history.clock, default=None)
    if last is None or last.life.start is None:
        raise ClientError("Nothing was started").with_status(NOTHING)
    goal = last.life.stop if context.settings.shutdown and last.life.stop is not None else last.life.start
    steps = story.back(goal)
    if context.settings.json:
        context.show_json([_step_json(step, period) for step in steps])
        return 0
    context.message("When it was to start or stop stands after '@', how long it took from then after '+'.")
    for depth, step in enumerate(steps):
        text = context.plain(f"{'  ' * depth}{_step_line(step, period)}")
        context.message(context.folded(text, 2 * depth + 4))
    return 0


def _took_of(step: Step, period: Period) -> Took | None:
    """What became of the instance that a step is about."""
    assert step.goal is not None
    for took in period.took:
        if took.life.of == step.goal.of and step.goal in (took.life.start, took.life.stop):
            return took
    return None


def _step_line(step: Step, period: Period) -> str:
    assert step.goal is not None
    took = _took_of(step, period)
    text = f"{shown(step.goal.of)} @{step.at - period.began:.3f} s"
    if took is not None:
        text += f" +{duration(took.seconds(period.story.history.clock))}"
    said = step_text(step, period.story)
    return f"{text}: {said.partition(' was ')[2] or said}"


def _step_json(step: Step, period: Period) -> dict[str, object]:
    assert step.goal is not None
    took = _took_of(step, period)
    return {
        "job": step.goal.of[1],
        "instance": step.goal.of[2],
        "goal": step.goal.goal,
        "at": round(step.at - period.began, 6),
        "seconds": round(took.seconds(period.story.history.clock), 6) if took is not None else None,
        "event": event_name(step.event.name, step.event.env) if step.event is not None else None,
        "text": step_text(step, period.story),
    }


def chart(context: Context) -> int:
    """chart: the boot as a picture."""
    from upstart.initctl.chart import draw

    _refuse_arguments(context, 0)
    text = draw(_period(context))
    if context.settings.output is None:
        context.document = True
        context.write(text)
    else:
        _write(context.settings.output, text)
    return 0


def _write(path: str, text: str) -> None:
    try:
        with open(path.encode("utf-8", "surrogateescape"), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}")


def _quiet(context: Context) -> Init:
    """A connection that is sent no signals, which nobody would fetch. Raises ClientError."""
    init = context.open()
    init.hear([])
    return init


def compare(context: Context) -> int:
    """compare [FILE [FILE]]: what took another time in the second boot, which is this one if only one is named."""
    from upstart.initctl.compared import differences

    _refuse_arguments(context, 2)
    first = _period(context, context.args[0] if context.args else SAVED)
    second = _period(context, context.args[1] if len(context.args) > 1 else None)
    changed, new, gone = differences(first, second)
    lengths = (first.ended - first.began, second.ended - second.began)
    if context.settings.json:
        context.show_json(
            {
                "seconds": [round(length, 6) for length in lengths],
                "changed": [
                    {"job": each.name, "before": round(each.before, 6), "after": round(each.after, 6),
                     "later": round(each.later, 6), "why": each.why}
                    for each in changed
                ],
                "new": new,
                "gone": gone,
            }
        )  # fmt: skip
        return 0
    context.message(f"The {first.name} took {duration(lengths[0])}, and now {duration(lengths[1])}.")
    for each in changed:
        text = f"{'+' if each.more > 0 else '-'}{duration(abs(each.more)):>11}  {each.name}: {each.why}"
        context.message(context.plain(text))
    if not changed:
        context.message("No job took another time.")
    for names, what in ((new, "Only now"), (gone, "Only before")):
        if names:
            context.message(context.plain(f"{what}: {', '.join(names)}"))
    return 0


# The entries themselves


def history(context: Context) -> int:
    """history [-f] [--save FILE] [JOB...]: all that is remembered, or of jobs, a line for each, or written to a file.

    The status is `NOTHING` where nothing is remembered of these jobs.
    """
    settings = context.settings
    if settings.save is not None:
        _refuse_arguments(context, 0)
        from upstart.client.history import read_saved

        _write(settings.save, read_saved(context.open().connection))
        return 0
    found = _history(context)
    story = Story(found)
    shown_any = _show_entries(context, found, story)
    if settings.follow and settings.saved is None:
        _follow(context, found)
        return 0
    return 0 if shown_any or not context.args else NOTHING


def _show_entries(context: Context, found: History, story: Story) -> bool:
    """Show those that were asked for; whether there are any."""
    from upstart.initctl.entries import About, line

    about = About(context.args, story)
    shown_any = False
    for number, entry in found.entries:
        if not about.wants(entry):
            continue
        shown_any = True
        if context.settings.json:
            import json

            context.write(json.dumps({"number": number, "time": round(story.wall(entry[0]), 6), "entry": entry}) + "\n")
        else:
            text = f"{clock(story.wall(entry[0]))}  {line(entry, story)}"
            context.message(context.folded(context.plain(text), 10))
    return shown_any


#: Seconds between two questions, and how many an init that is executed anew is waited for.
FOLLOW = 0.5
ANEW = 10


def _follow(context: Context, found: History) -> None:
    """Show what comes, until init goes; it remembers, and goes on counting, when it is executed anew. Raises
    ClientError."""
    import time

    init: Init | None = _quiet(context)
    all_of_it = found
    last = time.monotonic()
    while True:
        context.flush()
        time.sleep(FOLLOW)
        try:
            if init is None:
                init = _quiet(context)
            more = init.history(all_of_it.following)
        except ClientError:
            if time.monotonic() - last > ANEW:
                raise
            init = None
            continue
        last = time.monotonic()
        if more.entries:
            shown_so_far = all_of_it.entries
            all_of_it = more
            story = Story(more)
            story.events.update(Story(found).events)
            found.entries = [*shown_so_far[-2000:], *more.entries]
            _show_entries(context, more, story)
