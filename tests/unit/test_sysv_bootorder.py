"""In which order the scripts of rcS.d start."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from upstart.sysv.bootorder import BootOrder

DEPEND = """\
TARGETS = hostname.sh udev mountkernfs.sh checkroot.sh kmod networking
INTERACTIVE = checkroot.sh
udev: mountkernfs.sh
checkroot.sh: udev hostname.sh
kmod: checkroot.sh
networking: kmod gone
"""
LINKS = ["README", "S01hostname.sh", "S01mountkernfs.sh", "S02udev", "S03checkroot.sh", "S04kmod", "S04networking"]


def taken(order: BootOrder) -> list[str]:
    """All that may start now."""
    names = []
    while (name := order.take()) is not None:
        names.append(name)
    return names


def rounds(order: BootOrder) -> list[list[str]]:
    """What starts at once, each time that all have ended."""
    steps = []
    while order:
        names = taken(order)
        for name in names:
            order.end(name)
        steps.append(names)
    return steps


def test_a_script_starts_as_soon_as_what_it_needs_has_ended() -> None:
    order = BootOrder(LINKS, DEPEND)
    assert taken(order) == ["hostname.sh", "mountkernfs.sh"]
    assert taken(order) == []
    order.end("mountkernfs.sh")
    assert taken(order) == ["udev"]


def test_an_interactive_script_runs_alone() -> None:
    order = BootOrder(["S01a", "S01b", "S01c"], "TARGETS = a b c\nINTERACTIVE = a\n")
    assert order.is_interactive("a")
    assert rounds(order) == [["b", "c"], ["a"]]
    order = BootOrder(["S01a", "S02b", "S01c"], "TARGETS = a b c\nINTERACTIVE = a\nc: a\n")
    assert rounds(order) == [["b"], ["a"], ["c"]]


def test_the_scripts_of_a_debian_boot_all_start() -> None:
    assert rounds(BootOrder(LINKS, DEPEND)) == [
        ["hostname.sh", "mountkernfs.sh"], ["udev"], ["checkroot.sh"], ["kmod"], ["networking"]]


def test_what_insserv_does_not_know_waits_for_all_lower_numbers() -> None:
    assert rounds(BootOrder([*LINKS, "S03local", "S02first"], DEPEND)) == [
        ["hostname.sh", "mountkernfs.sh"], ["first", "udev"], ["local"], ["checkroot.sh"], ["kmod"], ["networking"]]


def test_without_insserv_one_runs_after_another() -> None:
    assert rounds(BootOrder(["S02c", "S01b", "S01a", "K01x", "S1y", "S05"])) == [["a"], ["b"], ["c"]]


def test_a_circle_is_broken() -> None:
    order = BootOrder(["S01a", "S01b"], "TARGETS = a b\na: b\nb: a\n")
    assert rounds(order) == [["a"], ["b"]]


def test_what_needs_itself_starts() -> None:
    assert rounds(BootOrder(["S01a"], "TARGETS = a\na: a\n")) == [["a"]]


def test_a_name_that_is_linked_twice_starts_once() -> None:
    assert rounds(BootOrder(["S01a", "S09a", "S05b"], None)) == [["a"], ["b"]]


NAMES = st.sampled_from([f"s{number}" for number in range(6)])


@given(
    links=st.sets(st.tuples(st.integers(0, 99), NAMES)),
    needs=st.dictionaries(NAMES, st.sets(NAMES)),
    interactive=st.sets(NAMES),
    known=st.booleans(),
)
def test_every_script_starts_once_whatever_insserv_wrote(
    links: set[tuple[int, str]], needs: dict[str, set[str]], interactive: set[str], known: bool
) -> None:
    text = f"TARGETS = {' '.join(needs)}\nINTERACTIVE = {' '.join(interactive)}\n"
    text += "".join(f"{name}: {' '.join(others)}\n" for name, others in needs.items())
    order = BootOrder([f"S{number:02}{name}" for number, name in links], text if known else None)
    names = []
    for step in rounds(order):
        assert step
        names += step
        if known:
            assert len(step) == 1 or not interactive & set(step)
        else:
            assert len(step) == 1
    assert sorted(names) == sorted({name for _, name in links})


def test_what_comes_before_a_script_is_known_and_can_be_all_that_runs() -> None:
    depend = "TARGETS = clock keys check mount\nINTERACTIVE =\ncheck: clock keys gone\nkeys: clock\nmount: check\n"
    order = BootOrder(["S01clock", "S02keys", "S03check", "S04mount"], depend)
    assert order.before("mount") == {"check", "clock", "keys"}
    assert order.before("check") == {"clock", "keys"} and order.before("clock") == order.before("gone") == set()
    order.keep(["keys", "mount"])
    assert sorted(order.names()) == ["keys", "mount"]
    assert [order.take(), order.take(), order.take()] == ["keys", "mount", None]
