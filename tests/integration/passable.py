"""Directories of tests that other users are to reach."""

from __future__ import annotations

from pathlib import Path


def let_pass(directory: Path) -> None:
    """Everybody may come as far as ``directory``: those above it that are shut, as pytest's are, are opened up."""
    for parent in directory.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o711)
