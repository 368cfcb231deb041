"""Two packages of each release of Debian rebuilt with a job of their own by dh-upstart, beside their scripts.

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
EVERY_RUNLEVEL = "start on runlevel [2345]\nstop on runlevel [!2345]\n"
#: Source package: its service, whose processes have the same name, and the job for it. The archive has not all sources.
JOBS = {
    "bookworm": {
        "cron": ("cron", EVERY_RUNLEVEL + "respawn\nexec cron -f\n"),
        "anacron": ("anacron", EVERY_RUNLEVEL + "exec anacron -d -s\n"),
    },
    "trixie": {
        "memcached": ("memcached", EVERY_RUNLEVEL + "respawn\nexec memcached -u memcache -l 127.0.0.1\n"),
        "rpcbind": ("rpcbind", EVERY_RUNLEVEL + "respawn\npre-start exec mkdir -p /run/rpcbind\nexec rpcbind -f -w\n"),
    },
}
#: Its maintainer has the stop left out that removals do, in the script as in the job.
GOES_ON = "anacron"
#: Exits with 77 if the archive does not hand out the sources.
BUILD = r"""
cp /var/lib/dpkg/status /tmp/status
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
    cp /in/$package.*upstart-job debian/
    sed -i 's/^Build-Depends:/Build-Depends: dh-sequence-upstart,/' debian/control
    quietly apt-get -y --no-install-recommends build-dep .
    init-checkconf .
    DEB_BUILD_OPTIONS=nocheck quietly dpkg-buildpackage --build=binary --no-sign
    init-checkconf ../${package}_*.deb
    cp ../${package}_*.deb /out/
done
mkdir /out/needed
quietly apt-get -y --download-only -o Dir::State::status=/tmp/status -o Dir::Cache::Archives=/out/needed \
    --allow-downgrades install /out/*.deb
"""


@pytest.fixture(scope="module", params=RELEASES)
def rebuilt(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Path]]:
    """A release, and what was built in it, after what that needs."""
    directory = tmp_path_factory.mktemp("rebuild")
    release = request.param
    path, packages, _ = run.prepare("upstart", release)
    files = [*packages, *(root.BUILD / "deb" / release).glob("dh-upstart_*.deb")]
    jobs = JOBS[release]
    for package, (service, text) in jobs.items():
        name = package if service == package else f"{package}.{service}"
        files.append(directory / f"{name}.upstart-job")
        files[-1].write_text(text)
    status, output = run_in_layer(path, directory / "work", files, f"PACKAGES='{' '.join(jobs)}'\n{BUILD}")
    if status == 77:
        pytest.skip(f"the archive has not all sources: {output}")
    assert status == 0, output
    print(output)
    assert "ERROR" not in output and "WARNING" not in output
    built = [*(directory / "work/out").glob("*.deb")]
    assert len(built) == len(jobs)
    return release, [*(directory / "work/out/needed").glob("*.deb"), *built]


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
        services = [service for service, _ in JOBS[release].values()]
        for name in services:
            [pid] = processes(name)
            assert answer("service", name, "status") == (0, f"{name} start/running, process {pid}\n")
            assert answer("invoke-rc.d", name, "restart")[0] == 0
            assert len(processes(name)) == 1 and processes(name) != [pid]
            assert answer("service", name, "stop") == (0, f"{name} stop/waiting\n")
            assert processes(name) == []
            if name != GOES_ON:
                assert answer("service", name, "start")[0] == 0
        assert answer("dpkg", "--purge", *JOBS[release])[0] == 0
        for name in services:
            assert processes(name) == []
            assert answer("find", "/etc/init", "/var/log/upstart", "-name", f"*{name}*")[1] == ""
