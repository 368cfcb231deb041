"""Installs the Python package; the programs are scripts that build-aux/programs.py writes."""

from __future__ import annotations

import runpy

from setuptools import find_packages, setup

setup(
    name="upstart",
    version=runpy.run_path("src/upstart/__init__.py")["VERSION"],
    description="Event-based init daemon and service supervisor",
    license="GPL-2.0-or-later",
    package_dir={"": "src"},
    packages=find_packages("src"),
    package_data={"upstart": ["py.typed"]},
    python_requires=">=3.11",
)
