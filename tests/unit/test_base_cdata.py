"""What init has in the place of ctypes does what that does, and loads nothing else."""

from __future__ import annotations

import builtins
import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from upstart.base import cdata

SOURCE = Path(cdata.__file__).parents[2]
TYPES = [name for name in cdata.__all__ if name.startswith("c_")]


@pytest.mark.parametrize("name", TYPES)
def test_a_type_is_as_large_and_holds_what_that_of_ctypes_does(name: str) -> None:
    ours, theirs = getattr(cdata, name), getattr(ctypes, name)
    assert cdata.sizeof(ours) == ctypes.sizeof(theirs)
    for value in (b"text",) if name == "c_char_p" else (0, 1, -1, 1 << 31, 1 << 33):
        assert ours(value).value == theirs(value).value


def test_a_function_takes_gives_and_fails_as_with_ctypes() -> None:
    for library in (cdata, ctypes):
        for kind in (library.CDLL, library.PyDLL):
            libc = kind(None, use_errno=True)
            assert libc.abs(-3) == 3 and libc.abs is libc.abs
            assert libc["abs"] is not libc["abs"]
            assert libc.close(-1) == -1 and library.get_errno() == 9
            length = libc["strlen"]
            length.restype, length.argtypes = library.c_size_t, [library.c_char_p]
            assert length(b"four") == 4
            with pytest.raises(ctypes.ArgumentError):
                length("text")
            buffer = library.create_string_buffer(8)
            assert libc.snprintf(buffer, library.c_size_t(8), b"%d", library.c_int(-5)) == 2
            assert buffer.raw == b"-5" + bytes(6)
            number = library.c_int()
            assert libc.sscanf(b"17", b"%d", library.byref(number)) == 1 and number.value == 17
            with pytest.raises(AttributeError):
                _ = libc.there_is_no_such_function


def test_ctypes_is_not_loaded_for_it() -> None:
    code = f"import sys; sys.path.append({str(SOURCE)!r}); import upstart.base.syscalls; print('ctypes' in sys.modules)"
    done = subprocess.run([sys.executable, "-ISB", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_interpreter_without_these_parts_has_those_of_the_package() -> None:
    def without_parts(name: str, *args: Any) -> Any:
        if name == "_ctypes":
            raise ImportError(name)
        return __import__(name, *args)

    found: dict[str, Any] = {"__name__": "cdata", "__builtins__": vars(builtins) | {"__import__": without_parts}}
    exec(compile(Path(cdata.__file__).read_text(), cdata.__file__, "exec"), found)
    assert found["c_int"] is ctypes.c_int and found["CDLL"] is ctypes.CDLL
    assert set(found) >= set(cdata.__all__)
