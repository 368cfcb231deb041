"""JSON without the package for it: texts and values are those that the package has."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.base import jsontext

ROOT = Path(__file__).parents[2]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_text_and_value_are_those_of_the_package(value: object) -> None:
    assert jsontext.encoder()(value) == json.dumps(value)
    assert jsontext.encoder(",", ":")(value) == json.dumps(value, separators=(",", ":"))
    assert jsontext.decoder()(f" \n{json.dumps(value, indent=1)}\t") == value


@given(st.text(alphabet='{}[]",:0123456789.eE+-truefalsn \\u\n'))
def test_what_is_no_json_for_the_package_is_none_here(text: str) -> None:
    decode = jsontext.decoder()
    try:
        value = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):
            decode(text)
        return
    assert decode(text) == value


CUT = ['{"a":1,', "{", '{"a"', '["', "[1,", '"\\x"', '{"a":1', "[1", "{1:2}", "", "x", "1 1"]


@pytest.mark.parametrize("text", CUT)
def test_what_is_no_json_is_a_value_error_where_the_package_is_not_loaded(text: str) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(ROOT / "src")!r})
from upstart.base import jsontext
assert "json" not in sys.modules
try:
    jsontext.decoder()({text!r})
except ValueError:
    sys.exit(0)
sys.exit(1)
"""
    subprocess.run([sys.executable, "-IS", "-c", program], check=True, timeout=20)


def test_what_the_package_takes_beside_json_is_taken() -> None:
    assert jsontext.encoder()([math.inf, -math.inf]) == json.dumps([math.inf, -math.inf])
    assert jsontext.decoder()("[Infinity, -Infinity]") == [math.inf, -math.inf]
    assert math.isnan(jsontext.decoder()("NaN"))
    # Bytes that are no UTF-8, as names of files have them.
    assert jsontext.decoder()(jsontext.encoder()("\udcff")) == "\udcff"


def test_what_json_has_no_word_for_is_refused() -> None:
    with pytest.raises(TypeError):
        jsontext.encoder()({"a": {1}})


@pytest.mark.parametrize("gone", ["_json", "make_encoder make_scanner"])
def test_without_the_part_in_c_or_with_another_one_the_package_does_it(gone: str) -> None:
    text = f"""
import sys
sys.path.insert(0, {str(ROOT / "src")!r})
if {gone!r} == "_json":
    sys.modules["_json"] = None
else:
    import types
    sys.modules["_json"] = types.ModuleType("_json")
    for name in {gone!r}.split():
        setattr(sys.modules["_json"], name, lambda *words: lambda *more: None)
    sys.modules["_json"].encode_basestring_ascii = str
from upstart.base import jsontext
jsontext.encoder(), jsontext.decoder()
print("json" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-IS", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_nothing_else_is_loaded_for_it() -> None:
    text = f"""
import sys
sys.path.insert(0, {str(ROOT / "src")!r})
from upstart.base import jsontext
jsontext.decoder()(jsontext.encoder()([1]))
print("re" in sys.modules, "enum" in sys.modules, "json" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-IS", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "False False False\n"


@pytest.mark.parametrize(
    "program", ["daemon.daemon", "daemon.statefile", "mounts.main", "mounts.statefile", "sysv.umountall", "sysv.rc"]
)
def test_what_each_boot_or_end_loads_is_loaded_without_regular_expressions(program: str) -> None:
    """They, and the enumerations and collections that these are made of, take 3 ms, thirty times that in emulation."""
    text = f"""
import sys
sys.path[:0] = [{str(ROOT / "src")!r}]
sys.path.append("/usr/lib/python3/dist-packages")
import upstart.{program}
print(*(name for name in ("re", "enum", "collections", "json", "typing", "dataclasses") if name in sys.modules))
"""
    done = subprocess.run(["/usr/bin/python3", "-IS", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
