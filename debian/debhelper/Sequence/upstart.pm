# Packages that build-depend on dh-sequence-upstart have their jobs installed: see dh_installupstart(1).
use warnings;
use strict;
use Debian::Debhelper::Dh_Lib;

# Later than the scripts of /etc/init.d: a service that has one needs no link, and is started by it.
insert_after('dh_installinit', 'dh_installupstart');

1;
