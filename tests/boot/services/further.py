"""More services, in groups as those of the catalogue: see there."""

from __future__ import annotations

from services.questions import Question, http
from services.service import Service, config, enable

#: A realm of Kerberos, and its database.
REALM = config(
    "/etc/krb5.conf", "[libdefaults]", " default_realm = UP", "[realms]", " UP = {", "  kdc = localhost", " }"
)
DATABASE = "printf 'up\\nup\\n' | kdb5_util create -s -r UP"

GROUPS: dict[str, list[Service]] = {
    "fifth": [
        Service(
            "cups-browsed",
            "cups-browsed",
            beside="avahi-daemon",
            after="service avahi-daemon start; service cups-browsed restart",
        ),
        Service(
            "bluez",
            "bluetoothd",
            script="bluetooth",
            outside="bluetoothd ends by itself: no interface to adapters in a container",
        ),
        Service(
            "sane-utils",
            "saned",
            Question(6566, b"", b""),
            script="saned",
            before=config("/etc/default/saned", "RUN=yes"),
        ),
        Service("winbind", "winbindd.*", "wbinfo --ping"),
        Service("nullmailer", "nullmailer-send"),
        Service("clamav-freshclam", "freshclam"),
        Service("atop", "atop"),
        Service("puppet-agent", "puppet.*", script="puppet", after=enable("puppet")),
        Service(
            "supervisor",
            "supervisord",
            "supervisorctl version",
            outside="its script stops it to restart it, and does not start it",
            fails="restart",
        ),
        Service(
            "nut-server",
            "upsd",
            Question(3493, b"VER\n", b"Network UPS"),
            before=(
                config("/etc/nut/nut.conf", "MODE=standalone")
                + "; "
                + config("/etc/nut/ups.conf", "[up]", " driver = dummy-ups", " port = up.dev")
                + "; "
                + config("/etc/nut/up.dev", "ups.status: OL")
                + "; "
                + config("/etc/nut/upsd.conf", "MAXAGE 15")
                + "; "
                + config("/etc/nut/upsd.users", "")
            ),
        ),
        Service("opendkim", "opendkim"),
        Service("freeradius", "freeradius"),
        Service("krb5-kdc", "krb5kdc", before=REALM, after=f"{DATABASE}; service krb5-kdc start"),
        Service(
            "krb5-admin-server",
            "kadmind",
            Question(749, b"", b""),
            before=config("/etc/krb5kdc/kadm5.acl", "*/admin@UP *"),
            after="service krb5-admin-server start",
        ),
        Service("autofs", "automount", outside="automount ends by itself: no /dev/autofs in a container"),
    ],
    "sixth": [
        Service("nagios-nrpe-server", "nrpe", Question(5666, b"", b"")),
        Service("xrdp", "xrdp", Question(3389, b"", b"")),
        Service(
            "mpd",
            "mpd",
            Question(6600, b"", b"OK MPD"),
            before=config(
                "/etc/mpd.conf",
                'pid_file "/run/mpd/pid"',
                'user "mpd"',
                'music_directory "/var/lib/mpd/music"',
                'bind_to_address "127.0.0.1"',
                'zeroconf_enabled "no"',
                "audio_output {",
                'type "null"',
                'name "none"',
                "}",
            ),
        ),
        Service("collectd-core", "collectd", script="collectd", beside="collectd"),
        Service(
            "keepalived",
            "keepalived",
            "pgrep -x keepalived",
            before=config("/etc/keepalived/keepalived.conf", "global_defs {", "}"),
        ),
        Service("corosync", "corosync", "corosync-cmapctl totem.cluster_name"),
        Service(
            "inetutils-inetd",
            "inetutils-inetd",
            Question(13, b"", b"20"),
            before=config("/etc/inetd.conf", "daytime stream tcp nowait root internal"),
        ),
        Service(
            "prosody",
            "lua.*|prosody",
            Question(
                5222,
                b"<?xml version='1.0'?><stream:stream to='localhost'"
                b" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>",
                b"stream",
            ),
            outside={"bookworm": "its script looks for lua5.2, and lua5.4 runs its program"},
            fails="stop restart purge",
        ),
        Service("pure-ftpd", "pure-ftpd", Question(21, b"", b"220")),
        Service(
            "radicale", "radicale", Question(5232, b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1."), after=enable("radicale")
        ),
        Service("xl2tpd", "xl2tpd", "pgrep -x xl2tpd"),
        Service(
            "zabbix-agent2",
            "zabbix_agent2",
            Question(10050, b"ZBXD\1\x0a\0\0\0\0\0\0\0agent.ping", b"ZBXD"),
            outside={"trixie": "its script makes root's a file of its pid that the program, another user's, writes"},
        ),
        Service("prometheus", "prometheus", http(9090, b"prometheus_", "/metrics")),
    ],
    "seventh": [
        Service("prometheus-apache-exporter", "prometheus-apac", http(9117, b"apache_", "/metrics")),
        Service("prometheus-process-exporter", "prometheus-proc", http(9256, b"namedprocess_", "/metrics")),
        Service("prometheus-pushgateway", "prometheus-push", http(9091, b"pushgateway_", "/metrics")),
        Service(
            "shellinabox",
            "shellinaboxd",
            Question(4200, b"", b""),
            beside="openssl",
            after="service shellinabox restart",  # openssl may be configured after it
        ),
        Service("earlyoom", "earlyoom"),
        Service(
            "distcc",
            "distccd",
            Question(3632, b"", b""),
            before=config(
                "/etc/default/distcc",
                'STARTDISTCC="true"',
                'ALLOWEDNETS="127.0.0.1"',
                'LISTENER="127.0.0.1"',
                'NICE="10"',
                'JOBS=""',
                'ZEROCONF="false"',
            ),
        ),
        Service("beanstalkd", "beanstalkd", Question(11300, b"stats\r\n", b"OK ")),
        Service("tgt", "tgtd", Question(3260, b"", b"")),
        Service(
            "nbd-server",
            "nbd-server",
            Question(10809, b"", b"NBDMAGIC"),
            before=config("/srv/up.disk", "disk")
            + "; "
            + config(
                "/etc/nbd-server/config",
                "[generic]",
                " includedir = /etc/nbd-server/conf.d",
                "[up]",
                " exportname = /srv/up.disk",
            ),
        ),
        Service("rrdcached", "rrdcached"),
        Service(
            "rinetd",
            "rinetd",
            Question(5090, b"", b""),
            before=config("/etc/rinetd.conf", "127.0.0.1 5090 127.0.0.1 4200"),
        ),
        Service("preload", "preload"),
        Service("opensmtpd", "smtpd", Question(25, b"", b"220 "), beside="ca-certificates"),
        Service("courier-authdaemon", "authdaemond"),
        Service("bitlbee-common", "bitlbee", Question(6667, b"", b"BitlBee"), script="bitlbee", beside="bitlbee"),
        Service(
            "webfs",
            "webfsd",
            http(8000, b"webfs"),
            before=config(
                "/etc/webfsd.conf", 'web_root="/srv"', 'web_port="8000"', 'web_user="www-data"', 'web_group="www-data"'
            ),
            outside="its script names start-stop-daemon a file of its pid that is not root's, which that refuses",
            fails="stop restart purge",
        ),
        Service("pgbouncer", "pgbouncer", Question(6432, b"", b"")),
    ],
    "eighth": [
        Service("redis-sentinel", "redis-sentinel", Question(26379, b"PING\r\n", b"+PONG")),
        Service("etcd-server", "etcd", http(2379, b"etcdserver", "/version"), script="etcd"),
        Service(
            "graphite-carbon",
            "carbon-cache",
            Question(2003, b"", b""),
            script="carbon-cache",
            before=config("/etc/default/graphite-carbon", "CARBON_CACHE_ENABLED=true"),
        ),
        Service("icinga2-bin", "icinga2", script="icinga2"),
        Service(
            "knot", "knotd", "knotc status",
            outside={"trixie": "its script starts it anew before the old one has ended"}, fails="restart",
        ),
        Service(
            "fetchmail",
            "fetchmail",
            before=config("/etc/default/fetchmail", "START_DAEMON=yes")
            + "; "
            + config("/etc/fetchmailrc", "set daemon 300", "poll localhost proto imap user up password up is root here")
            + "; chmod 600 /etc/fetchmailrc",
            after="chown fetchmail /etc/fetchmailrc; service fetchmail start",
        ),
        Service("incron", "incrond"),
        Service(
            "lsyncd",
            "lsyncd",
            before="mkdir -p /srv/one /srv/two; "
            + config(
                "/etc/lsyncd/lsyncd.conf.lua",
                "settings { pidfile = '/run/lsyncd.pid' }",
                "sync { default.direct, source = '/srv/one', target = '/srv/two' }",
            ),
            after="service lsyncd start",
        ),
        Service(
            "coturn",
            "turnserver",
            Question(3478, b"", b""),
            before=config("/etc/default/coturn", "TURNSERVER_ENABLED=1")
            + "; "
            + config("/etc/turnserver.conf", "listening-ip=127.0.0.1"),
        ),
        Service("bacula-fd", "bacula-fd", Question(9102, b"", b"")),
        Service("bacula-sd", "bacula-sd", Question(9103, b"", b"")),
        Service("boinc-client", "boinc", Question(31416, b"", b"")),
        Service(
            "gearman-job-server", "gearmand", Question(4730, b"version\n", b"OK"),
            outside={"trixie": "its script starts it anew before the old one has ended"}, fails="restart",
        ),
        Service("pptpd", "pptpd", Question(1723, b"", b"")),
        Service("shadowsocks-libev", "ss-server", Question(8388, b"", b"")),
        Service(
            "sssd-common",
            "sssd",
            script="sssd",
            beside="sssd-proxy",
            before=config(
                "/etc/sssd/sssd.conf",
                "[sssd]",
                "domains = up",
                "services = nss",
                "[domain/up]",
                "id_provider = proxy",
                "proxy_lib_name = files",
                "auth_provider = none",
            )
            + "; chmod 600 /etc/sssd/sssd.conf",
            outside="its script gives sssd an option that it has no more",
        ),
        Service("certmonger", "certmonger", "getcert list"),
        Service("gkrellmd", "gkrellmd", Question(19150, b"", b"")),
        Service(
            "munge", "munged", "munge -n | unmunge",
            outside={"trixie": "its package removes the file of its pid, and then its script cannot stop it"},
            fails="purge",
        ),
        Service("mailgraph", "mailgraph", before="touch /var/log/mail.log"),
    ],
    "ninth": [
        Service(
            "nsca",
            "nsca",
            Question(5667, b"", b""),
            before="adduser --quiet --system --group --no-create-home nagios",  # its package only names that user
            after="update-rc.d nsca defaults; service nsca start",  # switched off where there is no icinga
            outside={
                "bookworm": "nsca ends by itself: no address but the loopback's in a container",
                "trixie": "its script names start-stop-daemon a file of its pid that is not root's, which that refuses",
            },
            fails="install stop restart purge",
        ),
        Service("spamd", "spamd.*", Question(783, b"PING SPAMC/1.2\r\n\r\n", b"PONG")),
        Service(
            "syslog-ng-core",
            "syslog-ng",
            "syslog-ng-ctl stats",
            script="syslog-ng",
        ),
        Service(
            "oidentd", "oidentd", Question(113, b"1, 1\r\n", b"ERROR"),
            outside="oidentd ends by itself: a container has no table of the connections that are passed on",
        ),
        Service("quassel-core", "quasselcore", Question(4242, b"", b""), script="quasselcore"),
        Service(
            "ganglia-monitor", "gmond", Question(8649, b"", b"GANGLIA_XML"),
            outside="gmond waits for an interface with multicasts before it answers: the loopback has none",
        ),
        Service(
            "darkstat",
            "darkstat",
            http(667, b"darkstat"),
            before=config("/etc/darkstat/init.cfg", "START_DARKSTAT=yes", 'INTERFACE="-i lo"', 'PORT="-p 667"'),
        ),
        Service("mumble-server", "murmurd|mumble-server", Question(64738, b"", b"")),
    ],
}
