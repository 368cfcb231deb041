"""Two packages of Debian rebuilt with a job of their own by dh-upstart: cron, with its script, and anacron.

Their maintainers once shipped jobs for Ubuntu; what stands below was written for this test. Built in the root of the
boot tests from the archive's sources, installed, booted, and asked for by the service commands. RELEASES, a variable of
the environment, names the releases.
"""

from __future__ import annotations

import os
from pathlib import Path

import archive
import pytest
import root
import run
from container import Container, wait_for
from layer import run_in_layer

RELEASES = os.environ.get("RELEASES", archive.host_release()).split()
JOBS = {
    "cron": "start on runlevel [2345]\nstop on runlevel [!2345]\nrespawn\nexec cron -f\n",
    "anacron": "start on runlevel [2345]\nstop on runlevel [!2345]\nexec anacron -d -s\n",
}
#: Exits with 77 if the archive does not hand out the sources.
BUILD = r"""
quietly() { "$@" >/tmp/log 2>&1 || { tail -n 30 /tmp/log; exit 1; }; }
sed 's/^deb /deb-src /' /etc/apt/sources.list >/etc/apt/sources.list.d/sources.list
quietly apt-get update
quietly apt-get -y --no-install-recommends install build-essential debhelper fakeroot python3-debian
quietly dpkg --install /in/upstart-core_*.deb
quietly dpkg --install /in/dh-upstart_*.deb
mkdir /tmp/build
cd /tmp/build
apt-get -q source $PACKAGES >/tmp/log 2>&1 || { tail -n 3 /tmp/log; exit 77; }
for package in $PACKAGES; do
    cd /tmp/build/$package-*/
    cp /in/$package.upstart-job debian/
    sed -i 's/^Build-Depends:/Build-Depends: dh-sequence-upstart,/' debian/control
    quietly apt-get -y --no-install-recommends build-dep .
    init-checkconf .
    DEB_BUILD_OPTIONS=nocheck quietly dpkg-buildpackage --build=binary --no-sign
    init-checkconf ../${package}_*.deb
    cp ../${package}_*.deb /out/
done
"""


@pytest.fixture(scope="module", params=RELEASES)
def rebuilt(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Path]]:
    """A release, and the packages that were built in it."""
    directory = tmp_path_factory.mktemp("rebuild")
    release = request.param
    path, packages, _ = run.prepare("upstart", release)
    files = [*packages, *(root.BUILD / "deb" / release).glob("dh-upstart_*.deb")]
    for name, text in JOBS.items():
        files.append(directory / f"{name}.upstart-job")
        files[-1].write_text(text)
    status, output = run_in_layer(path, directory / "work", files, f"PACKAGES='{' '.join(JOBS)}'\n{BUILD}")
    if status == 77:
        pytest.skip(f"the archive has not all sources: {output}")
    assert status == 0, output
    print(output)
    assert "ERROR" not in output and "WARNING" not in output
    built = [*(directory / "work/out").glob("*.deb")]
    assert len(built) == len(JOBS)
    return release, built


def test_rebuilt_packages_run_by_their_jobs(rebuilt: tuple[str, list[Path]]) -> None:
    release, built = rebuilt
    path, packages, _ = run.prepare("upstart", release)
    shown = bytearray()
    with Container(path, ["/sbin/init"], packages + built, {}, shown.extend) as container:

        def answer(*argv: str) -> tuple[int, str]:
            done = container.run(*argv, seconds=30)
            return done.returncode, done.stdout

        def processes(name: str) -> list[str]:
            return answer("pgrep", "-x", name)[1].split()

        container.boot()
        assert wait_for(lambda: answer("runlevel")[1] == "N 2\n", 60, 0.1), shown.decode(errors="replace")
        assert wait_for(lambda: "stop/waiting" in answer("status", "rc")[1], 60, 0.1)
        for name in JOBS:
            [pid] = processes(name)
            assert answer("service", name, "status") == (0, f"{name} start/running, process {pid}\n")
            assert answer("invoke-rc.d", name, "restart")[0] == 0
            assert len(processes(name)) == 1 and processes(name) != [pid]
            assert answer("service", name, "stop") == (0, f"{name} stop/waiting\n")
            assert processes(name) == []
        # That of cron is stopped by its removal; anacron's maintainer has that left out, in the script as in the job.
        assert answer("service", "cron", "start")[0] == 0
        assert answer("dpkg", "--purge", "anacron", "cron")[0] == 0
        assert processes("cron") == []
        assert answer("find", "/etc/init", "/var/log/upstart", "-name", "*cron*")[1] == ""
