"""Upstart: an event-based init daemon and service supervisor."""

from __future__ import annotations

#: The version of Upstart whose interfaces this program has; what ``initctl version`` prints.
VERSION = "1.13.2"
