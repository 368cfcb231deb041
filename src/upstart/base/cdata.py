"""As much of ctypes as `upstart.base.syscalls` needs, made of that package's part in C alone.

The package defines all types of C and of Windows, and several functions, at its import: two milliseconds of init's
start, and half a megabyte for as long as it runs.  What is here has the names and the meaning that it has there.
"""

from __future__ import annotations

__all__ = [
    "CDLL",
    "PyDLL",
    "Structure",
    "byref",
    "c_char_p",
    "c_int",
    "c_long",
    "c_short",
    "c_size_t",
    "c_uint32",
    "c_ulong",
    "c_void_p",
    "create_string_buffer",
    "get_errno",
    "sizeof",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import (
        CDLL,
        PyDLL,
        Structure,
        byref,
        c_char_p,
        c_int,
        c_long,
        c_short,
        c_size_t,
        c_uint32,
        c_ulong,
        c_void_p,
        create_string_buffer,
        get_errno,
        sizeof,
    )  # fmt: skip
else:
    try:
        from _ctypes import (
            FUNCFLAG_CDECL,
            FUNCFLAG_PYTHONAPI,
            FUNCFLAG_USE_ERRNO,
            CFuncPtr,
            Structure,
            _SimpleCData,
            byref,
            dlopen,
            get_errno,
            sizeof,
        )  # fmt: skip

        class c_short(_SimpleCData):
            _type_ = "h"

        class c_int(_SimpleCData):
            _type_ = "i"

        class c_uint32(_SimpleCData):
            _type_ = "I"

        class c_long(_SimpleCData):
            _type_ = "l"

        class c_ulong(_SimpleCData):
            _type_ = "L"

        #: As wide as a pointer on every Linux.
        c_size_t = c_ulong

        class c_char(_SimpleCData):
            _type_ = "c"

        class c_char_p(_SimpleCData):
            _type_ = "z"

        class c_void_p(_SimpleCData):
            _type_ = "P"

        class _Function(CFuncPtr):
            _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
            _restype_ = c_int

        class _HoldingFunction(CFuncPtr):
            _flags_ = FUNCFLAG_CDECL | FUNCFLAG_PYTHONAPI | FUNCFLAG_USE_ERRNO
            _restype_ = c_int

        class CDLL:
            """A library, None for all that this program has; its functions by name, each made once as an attribute."""

            _function = _Function

            def __init__(self, name, use_errno):
                assert use_errno
                self._handle = dlopen(name, 0)

            def __getitem__(self, name):
                return self._function((name, self))

            def __getattr__(self, name):
                if name.startswith("__"):
                    raise AttributeError(name)
                function = self[name]
                setattr(self, name, function)
                return function

        class PyDLL(CDLL):
            """One whose functions are called without letting others run meanwhile."""

            _function = _HoldingFunction

        def create_string_buffer(size):
            """So many bytes, all zero."""
            return (c_char * size)()
    except (ImportError, AttributeError, TypeError):
        # An interpreter whose package is made of other parts.
        import ctypes

        globals().update({name: getattr(ctypes, name) for name in __all__})
