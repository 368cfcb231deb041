"""JSON without the package json, which loads regular expressions and enumerations: a fifth of what PID 1 would load, a
third of what mountall would until something is mounted.

What is always true here: texts are those of `json.dumps` and values those of `json.loads`, for its own part in C
makes them.  Where that is not to be had as it is known here, the package is loaded and does it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_CONSTANTS = {"-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan")}
_BLANKS = " \t\n\r"


class _Rules:
    """What the package's decoder is made with by default."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = _CONSTANTS.__getitem__
    memo: dict[str, str] = {}


def encoder(between: str = ", ", after_key: str = ": ") -> Callable[[object], str]:
    """What makes ASCII text of a value; it raises TypeError for what JSON has no word for.  A value that holds itself
    is a RecursionError."""
    try:
        from _json import encode_basestring_ascii, make_encoder

        encode = make_encoder(None, _refuse, encode_basestring_ascii, None, after_key, between, False, False, True)
        if "".join(encode({"": [None, 1.5]}, 0)) != f'{{""{after_key}[null{between}1.5]}}':
            raise TypeError
    except (ImportError, TypeError):
        import json

        return json.JSONEncoder(separators=(between, after_key), check_circular=False).encode
    return lambda value: "".join(encode(value, 0))


def decoder() -> Callable[[str], Any]:
    """What makes a value of a text; it raises ValueError where that is no JSON."""
    try:
        from _json import make_scanner

        scan = make_scanner(_Rules)  # type: ignore[arg-type]
        if scan('{"a": [null, 1.5]}', 0) != ({"a": [None, 1.5]}, 18):
            raise TypeError
    except (ImportError, TypeError, AttributeError):
        import json

        return json.loads

    def decode(text: str) -> Any:
        begin = 0
        while begin < len(text) and text[begin] in _BLANKS:
            begin += 1
        try:
            value, end = scan(text, begin)
        except StopIteration as stop:
            raise ValueError(f"a value was expected at character {stop.value}") from None
        except SystemError:
            # The part in C looks for the error that it means among the modules that are loaded, and finds none.
            import json

            return json.loads(text)
        if text[end:].strip(_BLANKS):
            raise ValueError(f"there is more after the value, from character {end} on")
        return value

    return decode


def _refuse(value: object) -> None:
    raise TypeError(f"not for JSON: {value!r}")
