"""Real services by their sockets, as socket-event(7) shows: nginx, and sshd with ACCEPT; where they are installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bridge_system import Bridged
from daemon_init import wait_for
from test_daemon_pid1 import pytestmark

from manual import examples

__all__ = ["pytestmark"]

PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


def installed(name: str) -> str:
    return shutil.which(name) or shutil.which(name, path=PATH) or ""


def shown(program: str) -> str:
    """The job of the manual for a program, which is found where it is here."""
    (text,) = [each.text for each in examples("socket-event.7") if f"/usr/sbin/{program} " in each.text]
    return text.replace(f"/usr/sbin/{program}", installed(program))


NGINX = """\
worker_processes 1; pid /run/nginx.pid; error_log stderr;
events { worker_connections 64; }
http { access_log off; client_body_temp_path /run/t1; proxy_temp_path /run/t2; fastcgi_temp_path /run/t3;
       uwsgi_temp_path /run/t4; scgi_temp_path /run/t5; server { listen 80; root /run/www; } }
"""
SSHD = "-f /dev/null -h /run/host -o UsePAM=no -o StrictModes=no -o PermitRootLogin=yes"
SSHD += " -o AuthorizedKeysFile=/run/key.pub"
#: A user that sshd insists on, and keys.
PREPARE_SSH = """
sed '/^sshd:/d' /etc/passwd >/run/passwd; echo sshd:x:999:65534::/run/sshd:/bin/false >>/run/passwd
mount --bind /run/passwd /etc/passwd; mkdir -p /run/sshd
for key in host key; do "$0" -q -t ed25519 -N '' -f /run/$key; done
"""
GET = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1/', timeout=20).read().decode())"


class Services(Bridged):
    names = ("socket",)

    def outside(self, *words: str) -> str:
        command = ["nsenter", "-t", str(self.pid), "-p", "-n", "-m", "--", *words]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = Services(tmp_path)
    try:
        services.prepare()
        yield services
        assert "Internal error" not in services.kmsg()
    finally:
        services.close()


@pytest.mark.skipif(not installed("nginx"), reason="nginx is not installed")
def test_nginx_takes_its_socket_and_loses_no_visitor(services: Services) -> None:
    services.outside("mkdir", "/run/www")
    for name, text in (("nginx.conf", NGINX), ("www/index.html", "served by nginx")):
        services.inside("sh", "-c", f"cat >/run/{name}", text=text.encode())
    services.write("nginx", shown("nginx").replace("-g 'daemon off;'", "-c /run/nginx.conf -g 'daemon off;'"))
    services.wait_running()
    for _ in range(3):
        assert services.outside("/usr/bin/python3", "-c", GET) == "served by nginx\n"
        assert "start/running" in services.initctl("restart", "nginx")


@pytest.mark.skipif(not all(map(installed, ("sshd", "ssh", "ssh-keygen"))), reason="sshd and ssh are not installed")
def test_sshd_has_an_instance_for_each_login(services: Services) -> None:
    services.outside("sh", "-ec", PREPARE_SSH, installed("ssh-keygen"))
    services.write("ssh", re.sub("sshd -i", f"sshd -i {SSHD}", shown("sshd")))
    services.wait_running()
    options = ["-F", "/dev/null", "-i", "/run/key", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes",
               "-o", "UserKnownHostsFile=/dev/null"]  # fmt: skip
    for number in range(3):
        command = f"echo login {number}; /bin/true"
        assert services.outside(installed("ssh"), *options, "127.0.0.1", command) == f"login {number}\n"
    wait_for(lambda: "ssh (" not in services.initctl("list"))
