"""The log priorities of initctl(8) log-priority, least urgent first."""

from __future__ import annotations

DEBUG, INFO, MESSAGE, WARN, ERROR, FATAL = range(6)
PRIORITIES = ("debug", "info", "message", "warn", "error", "fatal")
