"""`make check-clients`: what manages services, or makes jobs, on a machine that has our packages as README.md has it.

Each client is the real one, from Debian's archive, PyPI or npm, with nothing set by hand.  It is asked for all that it
can do with a job that has neither a script nor a link in /etc/init.d, and with a service that has a script; then the
machine is rebooted.  With --write the table becomes that release's part of docs/packages.md; the exit status is 0 if
every step was what it should be.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import archive
import root
import run
from container import Container
from services import patience

DOCUMENT = root.TREE / "docs" / "packages.md"
#: What upstart-sysv stands on, and a service that has a script.
NAMES = (
    "initscripts sysv-rc insserv startpar sysvinit-utils ifupdown iproute2 netbase procps psmisc kmod udev mount login"
    " util-linux-extra systemd-standalone-sysusers systemd-standalone-tmpfiles python3 python3-dbus python3-pyudev dbus"
    " cron puppet-agent ansible-core ruby-foreman python3-pip ca-certificates npm golang-go"
    " golang-github-kardianos-service-dev"
)
PROGRAM = """\
package main

import (
    "fmt"
    "os"

    "github.com/kardianos/service"
)

type program struct{}

func (p *program) Start(s service.Service) error { return nil }
func (p *program) Stop(s service.Service) error  { return nil }

func main() {
    made, err := service.New(&program{}, &service.Config{Name: "goes", DisplayName: "Goes", Description: "goes"})
    if err == nil && len(os.Args) == 2 && os.Args[1] == "status" {
        var status service.Status
        status, err = made.Status()
        fmt.Println(status == service.StatusRunning)
    } else if err == nil && len(os.Args) == 2 && os.Args[1] == "platform" {
        fmt.Println(made.Platform())
    } else if err == nil && len(os.Args) == 2 {
        err = service.Control(made, os.Args[1])
    } else if err == nil {
        err = made.Run()
    }
    if err != nil {
        fmt.Println(err)
        os.Exit(1)
    }
}
"""
#: Whatever proves who the registries are is this machine's.
CONFIGURE = root.named("upstart-test") + rf"""
: >etc/fstab
chroot . insserv
cp /etc/resolv.conf etc/resolv.conf
cp /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ca-certificates.crt
chroot . env PIP_CERT=/etc/ssl/certs/ca-certificates.crt pip install -q --break-system-packages --ignore-installed \
    'salt<3008' honcho
chroot . env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt npm install -g --silent pm2
mkdir srv/app
printf 'web: sleep 1000061\nworker: sleep 1000062\n' >srv/app/Procfile
echo 'setInterval(function () {{}}, 1000)' >srv/app/app.js
cat >srv/app/goes.go <<'GO'
{PROGRAM}GO
chroot . env HOME=/tmp GOPATH=/usr/share/gocode GO111MODULE=off go build -o /srv/app/goes /srv/app/goes.go
rm -rf tmp/.cache
"""
JOB = "start on runlevel [2345] or go\nstop on runlevel [!2345] or halt-it\nexec sleep 1000060\n"
#: Words of the steps below.
FUNCTIONS = """
export PATH=/usr/local/sbin:/usr/local/bin:$PATH HOME=/root USER=root LC_ALL=C.UTF-8 ANSIBLE_STDOUT_CALLBACK=minimal
running() { status "$1" | grep -q 'start/running'; }
stopped() { status "$1" | grep -q 'stop/waiting'; }
starts() { initctl emit go && running alone && initctl emit halt-it && stopped alone; }
stays() { initctl emit go && stopped alone; }
salt() { salt-call --local --out=txt --log-level=error "$@"; }
true_of() { [ "$(salt "$@")" = 'local: True' ]; }
false_of() { [ "$(salt "$@")" = 'local: False' ]; }
changed() { ansible localhost -m "$@" | tee /run/ansible | grep -q CHANGED; }
same() { ansible localhost -m "$@" | tee /run/ansible | grep -q SUCCESS; }
puppet_has() { puppet resource --color=false service "$@" >/run/puppet.said 2>&1 && ! grep -qi error /run/puppet.said; }
user() { setpriv --reuid=nobody --regid=nogroup --clear-groups env PATH=/usr/local/bin:/usr/bin:/bin "$@"; }
gone() { ! pgrep -f "$1"; }
sleeps() { [ "$(pgrep -cxf "sleep $1")" = "$2" ]; }
soon() { for try in $(seq 100); do if "$@"; then return; fi; sleep 0.2; done; return 1; }
"""


class Client:
    """A client: how it says its version, what it is asked before a reboot, and what afterwards."""

    def __init__(self, name: str, version: str, steps: dict[str, str], after: dict[str, str]) -> None:
        self.name, self.version, self.steps, self.after = name, version, steps, after


CLIENTS = [
    Client(
        "Salt",
        "salt-call --version | sed 's/salt-call \\([^ ]*\\).*/\\1/'",
        {
            "provider": "salt test.provider service | grep -q upstart",
            "available": "true_of service.available alone; true_of service.available cron",
            "missing": "true_of service.missing no-such-service; salt service.get_all | grep -q \"'alone'\"",
            "start": "true_of service.start alone; running alone",
            "status": "true_of service.status alone; true_of service.status cron",
            "restart": "true_of service.restart alone; running alone; true_of service.restart cron; running cron",
            "stop": "true_of service.stop alone; stopped alone; false_of service.status alone",
            "disable": "true_of service.disable alone; false_of service.enabled alone; stays",
            "enable": "true_of service.enable alone; true_of service.enabled alone; starts",
            "state": "salt state.single service.running name=alone enable=True | grep -q True; running alone",
        },
        {"reboot": "running alone; true_of service.status alone"},
    ),
    Client(
        "Ansible",
        "ansible --version | sed -n 's/^ansible .core \\([^]]*\\).*/\\1/p; q'",
        {
            "facts": "ansible localhost -m setup -a filter=ansible_service_mgr | grep -q '\"upstart\"';"
            " ansible localhost -m service_facts | grep -q '\"alone\"'",
            "start": "stop alone; changed service -a 'name=alone state=started'; running alone;"
            " same service -a 'name=alone state=started'",
            "restart": "changed service -a 'name=alone state=restarted'; running alone",
            "stop": "changed service -a 'name=alone state=stopped'; stopped alone",
            "disable": "changed service -a 'name=alone enabled=false'; stays",
            "enable": "changed service -a 'name=alone enabled=true'; starts",
            "sysvinit": "changed sysvinit -a 'name=cron state=stopped'; stopped cron;"
            " changed sysvinit -a 'name=cron state=started enabled=true'; running cron",
            "script": "changed service -a 'name=cron state=restarted'; running cron",
        },
        {"reboot": "running alone; running cron"},
    ),
    Client(
        "Puppet",
        "puppet --version",
        {
            "list": "puppet resource service >/run/puppet.said; grep -q \"'alone'\" /run/puppet.said;"
            " grep -q \"'cron'\" /run/puppet.said",
            "start": "puppet_has alone ensure=running; running alone",
            "stop": "puppet_has alone ensure=stopped; stopped alone",
            "disable": "puppet_has alone enable=false; stays",
            "enable": "puppet_has alone enable=true; starts",
            "script": "puppet_has cron ensure=stopped; stopped cron; puppet_has cron ensure=running; running cron",
        },
        {"reboot": "running alone; running cron"},
    ),
    Client(
        "foreman",
        "foreman version",
        {
            "export": "cd /srv/app; foreman export upstart /etc/init -a fore -u nobody -m web=1,worker=2 -l /run/fore",
            "start": "start fore; soon sleeps 1000062 2; running fore-web-1; running fore-worker-2",
            "restart": "restart fore; soon sleeps 1000062 2; soon sleeps 1000061 1",
            "stop": "stop fore; soon sleeps 1000062 0; soon sleeps 1000061 0",
        },
        {"reboot": "soon sleeps 1000062 2; running fore; stop fore; rm /etc/init/fore*"},
    ),
    Client(
        "honcho",
        "honcho version | sed 's/honcho //'",
        {
            "export": "cd /srv/app; sed s/100006/100007/ Procfile >Procfile.hon;"
            " honcho -f Procfile.hon export upstart /etc/init -a hon -u root -s /bin/sh -c web=1,worker=2 -l /run/hon",
            "start": "start hon; soon sleeps 1000072 2; running hon; status hon-web-1 || status hon-web",
            "stop": "stop hon; soon sleeps 1000072 0; soon sleeps 1000071 0",
        },
        {"reboot": "soon sleeps 1000072 2; running hon; stop hon; rm /etc/init/hon*"},
    ),
    Client(
        "pm2",
        "pm2 --version 2>/dev/null | tail -n 1",
        {
            "startup": "pm2 startup 2>&1 | tee /run/pm2; grep -q upstart /run/pm2; [ -x /etc/init.d/pm2-root ]",
            "save": "pm2 start /srv/app/app.js --name app; pm2 save; pm2 pid app | grep -q '[1-9]'",
            "restart": "service pm2-root restart; pm2 pid app | grep -q '[1-9]'",
            "stop": "service pm2-root stop; soon gone app/[a]pp.js",
        },
        {
            "reboot": "soon pgrep -f app/[a]pp.js; service pm2-root status",
            "unstartup": "pm2 unstartup; [ ! -e /etc/init.d/pm2-root ]",
        },
    ),
    Client(
        "kardianos/service",
        "dpkg-query -W -f '${Version}' golang-github-kardianos-service-dev",
        {
            "platform": "[ \"$(/srv/app/goes platform)\" = linux-upstart ]",
            "install": "/srv/app/goes install; [ -e /etc/init/goes.conf ]",
            "start": "/srv/app/goes start; running goes; [ \"$(/srv/app/goes status)\" = true ]",
            "restart": "/srv/app/goes restart; running goes",
            "stop": "/srv/app/goes stop; stopped goes; [ \"$(/srv/app/goes status)\" = false ]",
        },
        {"reboot": "running goes", "uninstall": "/srv/app/goes stop; /srv/app/goes uninstall; ! status goes"},
    ),
    Client(
        "a plain user",
        "/sbin/initctl --version | sed -n 's/.*upstart \\(.*\\))/\\1/p; q'",
        {
            "initctl": "user initctl version; user initctl list | grep -q '^cron start/running'",
            "status": "user initctl status cron | grep -q start/running; user /sbin/status alone",
            "service": "user /usr/sbin/service cron status; user /usr/sbin/service alone status || [ $? = 3 ]",
            "refused": "! user /sbin/stop cron; ! user /sbin/start alone; ! user /usr/sbin/service cron stop;"
            " running cron",
        },
        {},
    ),
]  # fmt: skip


class Machine:
    """The booted system."""

    def __init__(self, container: Container) -> None:
        self.container = container

    def shell(self, text: str) -> tuple[int, str]:
        """Runs shell text: its status, and all that it said."""
        command = ("/bin/bash", "-c", f"exec >/run/output 2>&1\n{FUNCTIONS}\n{text}")
        status = patience.run(self.container.enter(*command), 240)
        said = self.container.path("/run/output").read_text(errors="replace")
        return (124 if status is None else status), said

    def is_up(self) -> bool:
        """Whether the boot has ended."""
        said = [self.container.run(*command, seconds=240).stdout for command in (("runlevel",), ("status", "rc"))]
        return said == ["N 2\n", "rc stop/waiting\n"]

    def take(self, steps: dict[str, str]) -> dict[str, str]:
        """What came of each step: nothing where each of its commands was as it should be."""
        results = {}
        for step, text in steps.items():
            status, said = self.shell("\n".join(f"{command.strip()} || exit" for command in text.split(";")))
            results[step] = "" if status == 0 else f"status {status}: {' / '.join(said.strip().splitlines()[-3:])}"
            print(f"  {step}: {results[step] or 'ok'}", flush=True)
        return results


Rows = dict[str, tuple[str, dict[str, str]]]


def live(release: str, clients: list[Client]) -> Rows:
    """Two boots of the machine: of each client its version and what came of its steps."""
    base = root.build("clients-root", release, root.called(release, NAMES.split()), CONFIGURE)
    rows: Rows = {}
    layer = Path(tempfile.mkdtemp(prefix="clients-", dir=root.BUILD))
    try:
        for packages in (run.recommended(release), []):
            with Container(base, ["/sbin/init"], packages, {}, lambda data: None, layer) as container:
                container.boot()
                machine = Machine(container)
                if not patience.wait_for(machine.is_up, 120):
                    raise RuntimeError("the boot did not end")
                if packages:
                    container.path("/etc/init/alone.conf").write_text(JOB)
                    machine.shell("initctl reload-configuration; start alone")
                for client in clients:
                    print(client.name, flush=True)
                    if packages:
                        rows[client.name] = (machine.shell(client.version)[1].strip(), machine.take(client.steps))
                    else:
                        rows[client.name][1].update(machine.take(client.after))
                machine.shell("telinit 6" if packages else "telinit 0")
                patience.wait_for(lambda: container.wait(1) is not None, 240)
    finally:
        shutil.rmtree(layer, ignore_errors=True)
    return rows


def lines(rows: Rows) -> dict[str, str]:
    """The row of each client in Markdown."""
    made = {}
    for name, (version, results) in rows.items():
        failed = "; ".join(f"{step}: {text}" for step, text in results.items() if text).replace("|", "\\|")
        made[name] = f"| {name} | {version} | {', '.join(results)} | {failed or '-'} |"
    return made


def table(rows: dict[str, str]) -> str:
    """Rows in the order of the clients."""
    ordered = [rows[client.name] for client in CLIENTS if client.name in rows]
    head = ["| client | version | what was asked | came out otherwise |", "|---|---|---|---|"]
    return "\n".join([*head, *ordered]) + "\n"


def write(release: str, rows: dict[str, str]) -> None:
    """Puts rows into the release's table, in the place of earlier ones of the same clients."""
    document = DOCUMENT.read_text()
    before, head, after = document.partition(f"\n### Clients on {release}\n")
    if not head:
        raise RuntimeError(f"{DOCUMENT} has no place for the clients of {release}")
    section, following, rest = after.partition("\n#")
    earlier = {line.split(" | ")[0].strip("| "): line for line in section.splitlines() if line.startswith("|")}
    DOCUMENT.write_text(f"{before}{head}\n{table(earlier | rows)}{following}{rest}")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make check-clients", description="Real clients of services under our init.")
    parser.add_argument("--release", default=archive.host_release())
    parser.add_argument("--write", action="store_true", help="record what was found in docs/packages.md")
    parser.add_argument("clients", nargs="*", help="only these of: " + ", ".join(client.name for client in CLIENTS))
    options = parser.parse_args(argv[1:])
    rows = live(options.release, [one for one in CLIENTS if not options.clients or one.name in options.clients])
    print(f"\n{table(lines(rows))}")
    if options.write:
        write(options.release, lines(rows))
    return 1 if any(text for _, results in rows.values() for text in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
