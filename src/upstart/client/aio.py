"""The client library on asyncio's loop, by python3-jeepney: `Init`, its jobs and instances, and a `Watcher` of it.

What there is stands in `upstart.client.aioinit`, `upstart.client.aiojob` and `upstart.client.aiowatch`.
"""

from __future__ import annotations

from upstart.client.aioinit import Init
from upstart.client.aiojob import Instance, Job
from upstart.client.aiowatch import Connected, Lost, Watcher

__all__ = ["Connected", "Init", "Instance", "Job", "Lost", "Watcher"]
