"""The door of the engine: which of its methods are inputs.

What is always true here: whatever changes the engine's state comes in by one of these methods, and what they take is
plain data, or an object of the engine that can be named by plain data.  So each input can be written down as a value
and given again (`journal`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Method = TypeVar("Method", bound=Callable[..., Any])

#: The names of the inputs, in the order in which they stand in the engine's files.
INPUTS: list[str] = []


def an_input(method: Method) -> Method:
    """Say of a method of `Engine` that it is an input."""
    INPUTS.append(method.__name__)
    return method
