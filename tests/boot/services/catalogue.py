"""The services: for each its package, its init.d script, its daemon, and the question it has to answer when it is up.

Groups are packages that can be installed side by side: no two of a group want the same port, or conflict. What is
written before an installation is what an administrator would configure for a daemon that does nothing without it; no
script is touched. `outside` is the reason why the steps `fails` do so whatever the init, in every release or in those
that it names.
"""

from __future__ import annotations

from services import further
from services.questions import ANY, LOCALHOST, Question, http, name_server, postgresql, snmp
from services.service import Service, config, enable

#: Started by hand it runs there, as it does when it is installed.
NO_CONTAINER = "its job, as its unit, is for machines: a boot does not start it in a container"


#: In every group, the order is that of installation.
GROUPS: dict[str, list[Service]] = {
    "first": [
        Service("openssh-server", "sshd", Question(22, b"", b"SSH-2.0-"), script="ssh"),
        Service("cron", "cron"),
        Service("rsyslog", "rsyslogd", "logger -t up here && sleep 0.2 && grep -q 'up: here' /var/log/syslog"),
        Service(
            "dbus", "dbus-daemon",
            "dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames",
        ),
        Service("nginx", "nginx", http(80, b"Server: nginx")),
        Service("postgresql", "postgres", postgresql()),
        Service("redis-server", "redis-server", Question(6379, b"PING\r\n", b"+PONG")),
        Service("memcached", "memcached", Question(11211, b"version\r\n", b"VERSION")),
        Service(  # -x: the clock belongs to the machine below
            "chrony", "chronyd", "chronyc -n tracking", before=config("/etc/default/chrony", 'DAEMON_OPTS="-F 1 -x"')
        ),
        Service("bind9", "named", name_server(ANY), script="named"),
        Service("exim4-daemon-light", "exim4", Question(25, b"", b"ESMTP Exim"), script="exim4"),
        Service("avahi-daemon", "avahi-daemon", "avahi-daemon --check"),
        Service("cups-daemon", "cupsd", http(631, b"CUPS"), script="cups"),
        Service("tftpd-hpa", "in.tftpd"),
        Service("vsftpd", "vsftpd", Question(21, b"", b"220 ")),
        Service("at", "atd", script="atd"),
    ],
    "second": [
        Service("apache2", "apache2", http(80, b"Server: Apache")),
        Service("mariadb-server", "mariadbd", Question(3306, b"", b"MariaDB"), script="mariadb"),
        Service("dnsmasq", "dnsmasq", name_server(LOCALHOST)),
        Service(
            "postfix", "master", Question(25, b"", b"ESMTP Postfix"),
            outside={"trixie": "its package does not stop it when it is removed"}, fails="purge",
        ),
        Service("dovecot-imapd", "dovecot", Question(143, b"", b"* OK"), script="dovecot"),
        Service(
            "haproxy", "haproxy", http(5020, b"from haproxy"),
            before=config(
                "/etc/haproxy/haproxy.cfg", "defaults", " mode http", " timeout client 5s", " timeout connect 5s",
                " timeout server 5s", "frontend up", " bind 127.0.0.1:5020",
                " http-request return status 200 content-type text/plain string 'from haproxy'",
            ),
        ),
        Service("squid", "squid", http(3128, b"squid", "http://127.0.0.1:1/")),
        Service("rabbitmq-server", "beam.smp", Question(5672, b"AMQP\0\0\x09\1", b"RabbitMQ")),
        Service("snmpd", "snmpd", snmp()),
        Service(
            "ntpsec", "ntpd", Question(123, b"\x1b" + bytes(47), b"", udp=True),
            outside="ntpd ends by itself where it may not set the clock",
        ),
        Service("proftpd-core", "proftpd", Question(21, b"", b"220 "), script="proftpd"),
        Service(
            "openbsd-inetd", "inetd", Question(13, b"", b"20"),
            before=config("/etc/inetd.conf", "daytime stream tcp nowait root internal"),
        ),
        Service(
            "mosquitto", "mosquitto", Question(1883, b"\x10\x0c\0\4MQTT\4\2\0\x3c\0\0", b"\x20\2"),
            outside={
                "bookworm": "its script does not make /run/mosquitto, as its unit does",
                "trixie": "its script stops what a file of its pid names, which its configuration does not ask for",
            },
            fails="install stop restart purge",
        ),
        Service("slapd", "slapd", Question(389, bytes.fromhex("300c020101600702010304008000"), b"\x61")),
        Service("rpcbind", "rpcbind", "rpcinfo -p 127.0.0.1"),
    ],
    "third": [
        Service("lighttpd", "lighttpd", http(80, b"Server: lighttpd")),
        Service("unbound", "unbound", name_server(LOCALHOST), beside="dns-root-data"),
        Service("samba", "smbd", Question(445, b"", b""), script="smbd"),
        Service("transmission-daemon", "transmission-da", http(9091, b"Server: Transmission")),
        Service(
            "openvpn", "openvpn", Question(1195, b"", b">INFO:OpenVPN"),
            before=config("/etc/openvpn/up.conf", "dev null", "local 127.0.0.1", "management 127.0.0.1 1195"),
            after="service openvpn start",  # its package only restarts what runs
        ),
        Service(
            "stunnel4", "stunnel4", Question(5010, b"", b""),
            before=config(
                "/etc/stunnel/up.conf", "pid = /run/up.pid", "[up]", "client = yes", "accept = 127.0.0.1:5010",
                "connect = 80",
            ),
            after=enable("stunnel4"), outside="its package does not stop it when it is removed", fails="purge",
        ),
        Service("fail2ban", "fail2ban-server", "fail2ban-client ping", before="touch /var/log/auth.log"),
        Service(
            "monit", "monit", http(2812, b"Monit"),
            before=config("/etc/monit/conf.d/up", "set httpd port 2812 and use address localhost", " allow localhost"),
        ),
        Service("munin-node", "munin-node", Question(4949, b"", b"# munin node")),
        Service("smartmontools", "smartd", outside="smartd ends by itself: no disk in a container"),
        Service("acpid", "acpid", outside=NO_CONTAINER, fails="reboot"),
        Service("irqbalance", "irqbalance", outside=NO_CONTAINER, fails="reboot"),
        Service("nfs-kernel-server", "nfsd", outside="the server is a module of the kernel"),
        Service(
            "xinetd", "xinetd", Question(13, b"", b"20"),
            before=config(
                "/etc/xinetd.d/up", "service daytime", "{", " type = INTERNAL", " id = up", " socket_type = stream",
                " protocol = tcp", " user = root", " wait = no", "}",
            ),
        ),
        Service("uuid-runtime", "uuidd", script="uuidd"),
        Service("dropbear", "dropbear", Question(22, b"", b"SSH-2.0-dropbear")),
    ],
    "fourth": [
        Service("tor", "tor", Question(9050, b"\5\1\0", b"\5\0")),
        Service(
            "varnish", "varnishd", http(6081, b"Varnish"),
            outside="before it restarts, its script checks the syntax by a second varnishd, which finds the port taken",
            fails="restart",
        ),
        Service(
            "zabbix-agent", "zabbix_agentd",
            Question(10050, b"ZBXD\1\x0a\0\0\0\0\0\0\0agent.ping", b"ZBXD"),
        ),
        Service("prometheus-node-exporter", "prometheus-node", http(9100, b"node_", "/metrics")),
        Service("haveged", "haveged", outside=NO_CONTAINER, fails="reboot"),
        Service("nscd", "nscd", "nscd -g"),
        Service("vnstat", "vnstatd", outside="vnstatd ends by itself: no interface but loopback in a container"),
        Service("icecast2", "icecast2", http(8000, b"Icecast"), after=enable("icecast2")),
        Service("nsd", "nsd: .*", name_server(ANY)),
        Service("privoxy", "privoxy", http(8118, b"Privoxy", "http://p.p/")),
        Service("tinyproxy", "tinyproxy", http(8888, b"tinyproxy")),
        Service("apt-cacher-ng", "apt-cacher-ng", http(3142, b"Apt-Cacher NG")),
        Service(
            "rsync", "rsync", Question(873, b"", b"@RSYNCD:"),
            before=config("/etc/rsyncd.conf", "[up]", " path = /srv")
            + "; " + config("/etc/default/rsync", "RSYNC_ENABLE=true"),
        ),
        Service(
            "bird2", "bird", "birdc show status", script="bird",
            before=config("/etc/bird/bird.conf", "router id 192.0.2.1;", "protocol device {", "}"),
        ),
        Service("dictd", "dictd", Question(2628, b"", b"220 ")),
        Service("ngircd", "ngircd", Question(6667, b"NICK a\r\nUSER a a a a\r\n", b"ngircd")),
        Service("postgrey", "postgrey.*", Question(10023, b"", b"")),
        Service("minidlna", "minidlnad", http(8200, b"MiniDLNA")),
        Service("uptimed", "uptimed"),
        Service("lldpd", "lldpd", "lldpcli show chassis"),
    ],
} | further.GROUPS

#: One group for every check of the tree: with a port and without, and one that brings a job beside its script.
SAMPLE = ("openssh-server", "cron", "nginx", "redis-server", "tftpd-hpa", "transmission-daemon")


def sample() -> list[Service]:
    return [service for group in GROUPS.values() for service in group if service.package in SAMPLE]
