#!/usr/bin/python3
"""`make autopkgtest`: the tests of debian/tests/control, in a machine that systemd boots at first.

They run one after the other in one machine, as with a distribution; what fails by chance under emulation is repeated in
a new one, by itself. The packages are those of build/deb; of the source tree the tests see what they use. A signal
that ends this program ends the machine too, and takes its files away.
"""

from __future__ import annotations

import argparse
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import archive
import ending
import root
import testbed

#: How much more time than usual a test has in an emulated machine; patient_qemu.py sees to the machine itself.
EMULATED_FACTOR = 4
#: Of which patient_qemu.py makes a quarter of an hour: on a busy host a kernel has needed five minutes for its initrd.
REBOOT_SECONDS = 120
#: How often a test may be repeated that failed: autopkgtest's own short limits strike at times under emulation.
RETRIES = 2
KVM_SECONDS = 20
#: With its usual store for translated code QEMU 7.2 boots a machine that was reset three times slower than a fresh one.
EMULATION = "-accel tcg,tb-size=128 -cpu max"


def tests() -> list[str]:
    """The names of the tests, in the order of debian/tests/control."""
    control = (root.TREE / "debian/tests/control").read_text()
    return re.findall(r"[\w-]+", " ".join(re.findall(r"^Tests:(.*)$", control, re.MULTILINE)))


def kvm_works(image: Path) -> bool:
    """Whether machines run with KVM here: that the device exists, even that QEMU takes it, does not say so.

    The kernel of `image` must have said something within `KVM_SECONDS`.
    """
    if not Path("/dev/kvm").exists():
        return False
    command = ["qemu-system-x86_64", "-accel", "kvm", "-m", "1024", "-display", "none", "-serial", "stdio"]
    command += ["-monitor", "none", "-nic", "none", "-drive", f"file={image},if=virtio,snapshot=on"]
    said = b""
    end = time.monotonic() + KVM_SECONDS
    with ending.program(command, subprocess.PIPE) as process:
        assert process.stdout is not None
        while b"Linux version" not in said and (left := end - time.monotonic()) > 0:
            if select.select([process.stdout], [], [], left)[0]:
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    break
                said += data
    return b"Linux version" in said


def source_tree(directory: Path) -> Path:
    """A copy of what autopkgtest needs of the source package, without build results."""
    tree = directory / "upstart"
    for name in ("debian", "tests/autopkgtest"):
        shutil.copytree(root.TREE / name, tree / name)
    return tree


def run(release: str, names: list[str], image: Path, log: Path, emulated: bool, show: bool) -> dict[str, str]:
    """Runs tests in one machine and keeps what was said in `log`; what became of each, as far as they came."""
    packages = sorted((root.BUILD / "deb" / release).glob("*.deb"))
    # What autopkgtest makes for itself has sockets in it, whose paths must be short; the overlays of disks are large.
    with (
        tempfile.TemporaryDirectory(prefix="upstart-autopkgtest-") as work,
        tempfile.TemporaryDirectory(prefix="upstart-autopkgtest-", dir=root.BUILD) as directory,
    ):
        summary = Path(directory) / "summary"
        command = ["env", f"TMPDIR={work}", "autopkgtest", f"--summary-file={summary}"]
        command += [f"--test-name={name}" for name in names]
        runner = ["qemu"]
        if emulated:
            command.append(f"--timeout-factor={EMULATED_FACTOR}")
            runner = [str(Path(__file__).with_name("patient_qemu.py")), f"--qemu-options={EMULATION}"]
            runner.append(f"--timeout-reboot={REBOOT_SECONDS}")
        # An emulated processor that waits for one of a busy host holds the other one up, amid what it has locked.
        cpus = 1 if emulated else 2
        runner += ["--ram-size=1024", f"--cpus={cpus}", f"--overlay-dir={directory}", *["--show-boot"][: int(show)]]
        command += ["--no-built-binaries", *map(str, packages), str(source_tree(Path(directory)))]
        command += ["--", *runner, str(image)]
        with log.open("wb") as output, ending.program(command, subprocess.PIPE) as process:
            assert process.stdout is not None
            for line in process.stdout:
                output.write(line)
                if show:
                    sys.stdout.buffer.write(line)
                    sys.stdout.buffer.flush()
        lines = summary.read_text().splitlines() if summary.exists() else []
    return {name: rest.strip() for name, _, rest in (line.partition(" ") for line in lines) if name in names}


def run_all(release: str, names: list[str], show: bool) -> bool:
    """Runs tests, repeats those that fail, and prints the table of what became of them; whether all is well."""
    logs = root.BUILD / "autopkgtest" / release
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    image = testbed.ready(release)
    emulated = not kvm_works(image)
    results: dict[str, tuple[str, int]] = {}
    left = [names]
    for attempt in range(1, RETRIES + 2):
        for group in left:
            log = logs / f"{attempt}-{group[0] if len(group) == 1 else 'all'}.log"
            begin = time.monotonic()
            found = run(release, group, image, log, emulated, show)
            print(f"-- {', '.join(group)}: {time.monotonic() - begin:.0f} s, see {log}", flush=True)
            results |= {name: (found.get(name, "did not run"), attempt) for name in group}
        left = [[name] for name in names if not results[name][0].startswith(("PASS", "SKIP"))]
    print(f"\n{'test':<12}{'try':>4}  result on {release}, {'emulated' if emulated else 'with KVM'}")
    for name in names:
        print(f"{name:<12}{results[name][1]:>4}  {results[name][0]}")
    return not left


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Run the tests of debian/tests/control in virtual machines.")
    parser.add_argument("--release", default=archive.host_release())
    parser.add_argument("--show", action="store_true", help="show what autopkgtest and the machine say, as they say it")
    parser.add_argument("tests", nargs="*", help="the tests to run; all if none is named")
    options = parser.parse_args(argv[1:])
    known = tests()
    unknown = set(options.tests) - set(known)
    if unknown:
        parser.error(f"no such test: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    ending.end_by_signals()
    return 0 if run_all(options.release, options.tests or known, options.show) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
