#!/usr/bin/python3
"""autopkgtest's runner for QEMU with time enough for an emulated machine.

autopkgtest gives a machine from one to ten seconds for what it asks of its shell, and has no option for that; where
it finds /dev/kvm it asks QEMU for it in a way that clashes with `-accel`. All else is autopkgtest-virt-qemu(1) itself.
"""

from __future__ import annotations

import os
import runpy
import shutil
import signal

#: How many times slower than its authors' machines one may be.
FACTOR = 8


def main() -> None:
    alarm = signal.alarm

    def patient(seconds: int) -> int:
        return alarm(seconds * FACTOR)

    signal.alarm = patient
    exists = os.path.exists

    def exists_without_kvm(path: int | str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> bool:
        return path != "/dev/kvm" and exists(path)

    os.path.exists = exists_without_kvm
    program = shutil.which("autopkgtest-virt-qemu")
    assert program is not None
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
