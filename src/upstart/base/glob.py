"""Shell patterns as fnmatch(3) with no flags understands them.

Most are literal and need no more than a comparison; the others become regular expressions, which init loads only once
its first jobs are started.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

_MAGIC = frozenset("*?[\\")

#: Compiled patterns; cleared when full, so that hostile events cannot make it grow.
_cache: dict[str, re.Pattern[str] | None] = {}
_CACHE_LIMIT = 512


def is_literal(pattern: str) -> bool:
    """Whether the pattern matches exactly itself."""
    return _MAGIC.isdisjoint(pattern)


def match(pattern: str, text: str) -> bool:
    """Whether ``text`` as a whole matches ``pattern``."""
    if pattern == text and is_literal(pattern):
        return True
    if pattern not in _cache:
        if len(_cache) >= _CACHE_LIMIT:
            _cache.clear()
        _cache[pattern] = None if is_literal(pattern) else _compile(pattern)
    compiled = _cache[pattern]
    return compiled is not None and compiled.fullmatch(text) is not None


def _compile(pattern: str) -> re.Pattern[str]:
    from upstart.base.pattern import compile_pattern

    return compile_pattern(pattern)
