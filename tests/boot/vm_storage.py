"""Disks and file systems as mountall(8) meets them: late, missing, broken, twice, on other disks, over the network.

Each row is a boot or a few of them; what does not disturb each other shares one. The machine is a server's, whose
modules udev loads, without an initrd.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import vm_disk
from machine import Machine
from vm_disk import Disk
from vm_lab import PATIENCE, Lab, require, switch_off

#: Who asks for a disk by this waits until udev knows it.
BY_ID = "/dev/disk/by-id/virtio-"
PASSPHRASE = "open sesame"
#: Notes every event about a file system, in its order, with how often mountall has been started.
RECORD = """start on {event}
instance {instance}
task
exec echo "$UPSTART_EVENTS ${{MOUNTPOINT:-}}" >>/run/recorded
"""
RECORDED = ("virtual-filesystems", "local-filesystems", "remote-filesystems", "filesystem", "all-swaps")


def record(disk: Disk) -> None:
    """Has the machine note what is mounted, and the events of all file systems, in /run/recorded."""
    for name in ("mounting", "mounted"):
        instance = "$DEVICE$MOUNTPOINT$TYPE"
        disk.write(f"/etc/init/record-{name}.conf", RECORD.format(event=name, instance=instance))
    for name in RECORDED:
        disk.write(f"/etc/init/record-{name}.conf", RECORD.format(event=name, instance=name))


def recorded(vm: Machine) -> list[str]:
    """What was noted so far."""
    return [line.strip() for line in vm.command("cat /run/recorded").splitlines()]


def add_lines(disk: Disk, *lines: str, path: str = "/etc/fstab") -> None:
    """Has `disk` have these lines in its fstab, too."""
    disk.write(path, disk.read(path) + "".join(f"{line}\n" for line in lines))


def make_directories(disk: Disk, *paths: str) -> None:
    """Makes directories, each in one that is there."""
    for path in paths:
        vm_disk.run("debugfs", "-w", "-R", f"mkdir {path}", str(disk.path))


def mounted(vm: Machine) -> dict[str, str]:
    """By mount point what is mounted: device, type and options."""
    found = {}
    for line in vm.command("cat /proc/mounts").splitlines():
        device, place, kind, options, *_ = line.split()
        found[place] = f"{device} {kind} {options}"
    return found


def must_be_mounted(vm: Machine, *places: str) -> None:
    """MachineError for the first of these places where nothing is mounted."""
    there = mounted(vm)
    for place in places:
        require(place in there, f"{place} is not mounted:\n{vm.command('mountall --status || :')}")


def must_be_at_rest(vm: Machine) -> None:
    """Wait until the scripts of runlevel 2 have run; MachineError if mountall is still there."""
    vm.command("until runlevel | grep -q ' 2$' && status rc | grep -q stop/; do sleep 0.3; done", 240)
    status = vm.command("status mountall")
    require("stop/waiting" in status, f"mountall has not ended: {status}")


def must_be_told_once(events: Sequence[str]) -> None:
    """MachineError unless each was recorded once, and `mounting` before `mounted`, as well as all of RECORDED. (Of what
    nobody waits for the record has no order.)"""
    twice = sorted({event for event in events if events.count(event) > 1 and not event.endswith(" none")})
    require(not twice, f"recorded more than once: {twice}\n{events}")
    missing = [name for name in RECORDED if name not in events]
    require(not missing, f"never recorded: {missing}\n{events}")
    for event in events:
        name, _, place = event.partition(" ")
        if name == "mounting" and f"mounted {place}" in events:
            require(events.index(event) < events.index(f"mounted {place}"), f"mounted before mounting: {place}")


# One disk


def late_disk(lab: Lab) -> None:
    """A disk that fstab wants comes 20 s after the others, and the boot waits for it; the console is told meanwhile.
    Another one, which nobody waits for, comes after the login, and is mounted then."""
    disk = lab.disk()
    record(disk)
    make_directories(disk, "/srv/late", "/mnt/later")
    add_lines(disk, "LABEL=late /srv/late ext4 defaults 0 2", "LABEL=later /mnt/later ext4 defaults,nofail 0 2")
    late, later = (vm_disk.make(lab.directory / f"{name}.img", name) for name in ("late", "later"))
    with lab.machine([disk]) as vm:
        vm.expect(rb"The disk drive for /srv/late is not ready yet or not present\.", PATIENCE)
        vm.expect(rb"LABEL=late is missing \(/etc/fstab:\d+\)", 10)
        vm.expect(rb"Jobs that wait for it: .*rc-sysinit", 30)
        vm.stay(20)
        require(b" login: " not in vm.said, "a login without the disk")
        vm.plug(late)
        vm.log_in(PATIENCE)
        must_be_at_rest(vm)
        must_be_mounted(vm, "/srv/late")
        events = recorded(vm)
        must_be_told_once(events)
        require(events.index("mounted /srv/late") < events.index("local-filesystems"), f"the order was {events}")
        require("start/running" in vm.command("status mountall-late"), "nobody waits for the later one")
        require("mounted /mnt/later" not in events, "the later one is there already")
        vm.plug(later)
        vm.command("until grep -q 'mounted /mnt/later' /run/recorded; do sleep 0.3; done", 120)
        must_be_mounted(vm, "/mnt/later")
        vm.command("until status mountall-late | grep -q stop/waiting; do sleep 0.3; done")
        switch_off(vm, [disk, Disk(late), Disk(later)])


def broken_disks(lab: Lab) -> None:
    """Damage of three file systems that the boot waits for: one is mended without a question, one by pressing F, and
    one is left out by pressing S, as is a disk that has no file system at all. What is damaged and waited for by nobody
    is told."""
    disk = lab.disk()
    names = ("preen", "fix", "skip", "nofail")
    disks = {name: Disk(vm_disk.make(lab.directory / f"{name}.img", name, 16)) for name in names}
    for name in ("fix", "skip", "nofail"):
        disks[name].damage()
    disks["preen"].set_unclean()
    empty = lab.directory / "empty.img"
    with empty.open("wb") as file:
        file.truncate(16 << 20)
    record(disk)
    for name in (*names, "empty"):
        make_directories(disk, f"/mnt/{name}")
        options = "nofail" if name == "nofail" else "defaults"
        add_lines(disk, f"{BY_ID}{name} /mnt/{name} ext4 {options} 0 2")
    with lab.machine([disk, *disks.values(), Disk(empty)]) as vm:
        for _ in range(3):
            # What a check has said is told at once, in the line of the disk; the question has that on lines of its own.
            found = vm.expect(rb"rrors were found while checking the disk drive for /mnt/(\w+)\.\r*\n(?s:.*?)"
                              rb"Press [FI] to", PATIENCE)
            name = found[1].decode()
            require(name in ("fix", "skip", "empty"), f"a question about {name}")
            vm.press("F" if name == "fix" else "S")
        vm.log_in(PATIENCE)
        must_be_at_rest(vm)
        there = mounted(vm)
        require({f"/mnt/{name}" for name in ("preen", "fix")} <= set(there), f"not mounted: {sorted(there)}")
        require(not {f"/mnt/{name}" for name in ("skip", "nofail", "empty")} & set(there), f"mounted: {sorted(there)}")
        must_be_told_once(recorded(vm))
        require(re.search(rb"for /mnt/nofail\. ", vm.said), "nobody was told of the damage of what nobody waits for")
        switch_off(vm, [disk, disks["preen"], disks["fix"]])


def doubled_uuid(lab: Lab) -> None:
    """Two disks with one UUID and one label: the first counts, the console is told, and the boot goes on."""
    disk = lab.disk()
    first = lab.data_disk(disk, "")
    second = Disk(vm_disk.copy(first.path, lab.directory / "twin.img"))
    make_directories(disk, "/mnt/one", "/mnt/two")
    add_lines(disk, f"UUID={first.uuid()} /mnt/one ext4 defaults 0 2", "LABEL=data /mnt/two ext4 ro,noload 0 0")
    with lab.machine([disk, first, second]) as vm:
        vm.log_in(PATIENCE)
        must_be_at_rest(vm)
        must_be_mounted(vm, "/mnt/one")
        require(re.search(rb"UUID=\S+ is both /dev/vd\w and /dev/vd\w; the first counts", vm.said),
                "the console is not told of the two")
        switch_off(vm, [disk])


#: Takes each inode of the root that is free, with a name.
MANY = """import os
os.makedirs("/many")
number = 0
while True:
    try:
        os.mknod(f"/many/{number}")
    except OSError:
        break
    number += 1
"""


def full_root(lab: Lab) -> None:
    """Not a block is free on the root: a login, services, and an end."""
    disk = lab.disk()
    with lab.machine([disk], root_mode="rw") as vm:
        vm.log_in(PATIENCE)
        must_be_at_rest(vm)
        vm.command("dd if=/dev/zero of=/full bs=1M 2>/dev/null; dd if=/dev/zero bs=4k 2>/dev/null >>/full;"
                   " sync; df / | grep '100%'", 300)
        switch_off(vm)
    must_do_without_room(lab, disk)


def must_do_without_room(lab: Lab, disk: Disk) -> None:
    """Boots from a root on which nothing can be written, or made."""
    with lab.machine([disk]) as vm:
        vm.log_in(PATIENCE)
        must_be_at_rest(vm)
        for job in ("ssh", "cron", "rsyslog"):
            require("start/running" in vm.command(f"status {job}"), f"{job} does not run")
        require("overflow" in vm.command("cat /proc/mounts"), "/tmp is as full as the root")
        vm.command("echo some >/tmp/some")
        switch_off(vm, [disk])


def root_without_inodes(lab: Lab) -> None:
    """Not an inode is free on the root, though blocks are: the same."""
    disk = lab.disk()
    disk.write("/root/many", MANY)
    with lab.machine([disk], root_mode="rw") as vm:
        vm.log_in(PATIENCE)
        must_be_at_rest(vm)
        vm.command("python3 /root/many; sync; df -i / | grep '100%'", 900)
        switch_off(vm)
    must_do_without_room(lab, disk)


def grown_disks(lab: Lab) -> None:
    """The disks of the root and of another file system have grown, which fstab wants them to be told; and a btrfs."""
    disk = lab.disk()
    data = lab.data_disk(disk, "LABEL=data /srv ext4 x-systemd.growfs 0 2\n")
    pool = lab.directory / "pool.img"
    disk.write("/etc/fstab", disk.read("/etc/fstab").replace("errors=remount-ro", "errors=remount-ro,x-systemd.growfs"))
    for path, megabytes in ((disk.path, 2000), (data.path, 200), (pool, 300)):
        with path.open("ab") as file:
            file.truncate(megabytes << 20)
    size = "df --output=size -m {} | tail -n 1"
    with lab.machine([disk, data, Disk(pool)]) as vm:
        vm.log_in(PATIENCE)
        must_be_at_rest(vm)
        for place, least in (("/", 1800), ("/srv", 170)):
            megabytes = int(vm.command(size.format(place)))
            require(megabytes > least, f"{place} has {megabytes} MB: {vm.command('cat /var/log/upstart/growfs* || :')}")
        vm.command(f"mkfs.btrfs -q -b 128M {BY_ID}pool && mount {BY_ID}pool /mnt", PATIENCE)
        vm.command("initctl emit mounted MOUNTPOINT=/mnt TYPE=btrfs OPTIONS=x-systemd.growfs", 120)
        require(int(vm.command(size.format("/mnt"))) > 290, "the btrfs is as small as it was")
        switch_off(vm, [disk, data])


def usr_and_var_apart(lab: Lab) -> None:
    """/usr and /var on disks of their own: an initrd brings /usr, without which there is no init, and mountall /var
    before anything writes to it."""
    disk = lab.disk()
    made = {}
    for name in ("usr", "var"):
        tree = lab.directory / name
        tree.mkdir()
        vm_disk.run("debugfs", "-R", f"rdump /{name} {tree}", str(disk.path))
        made[name] = lab.directory / f"{name}-disk.img"
        with made[name].open("wb") as file:
            file.truncate(1200 << 20)
        vm_disk.run("mke2fs", "-q", "-F", "-t", "ext4", "-L", name, "-d", str(tree / name), str(made[name]))
    record(disk)
    add_lines(disk, "LABEL=usr /usr ext4 defaults 0 2", "LABEL=var /var ext4 defaults 0 2")
    # What is under the mount points must not serve.
    disk.remove("/usr/bin/python3")
    with lab.machine([disk, *map(Disk, made.values())], initrd=True) as vm:
        vm.log_in(PATIENCE)
        must_be_at_rest(vm)
        must_be_mounted(vm, "/usr", "/var")
        must_be_told_once(recorded(vm))
        require("rsyslog start/running" in vm.command("status rsyslog"), "rsyslog does not run")
        vm.command("test -s /var/log/syslog && test -h /var/run")
        switch_off(vm, [disk, *map(Disk, made.values())])


# Disks on disks

#: In the machine, to make what it then boots with.
MAKE = f"""set -e
modprobe dm-mod; modprobe dm-crypt; modprobe raid1; modprobe btrfs
pvcreate -q {BY_ID}pv && vgcreate -q vg {BY_ID}pv && lvcreate -q -y -L 32M -n data vg
mkfs.ext4 -q -L lv /dev/vg/data
echo {PASSPHRASE} | tr -d '\\n' >/root/pass
dd if=/dev/urandom of=/etc/vault.key bs=64 count=1 status=none; chmod 600 /etc/vault.key
for each in vault:/etc/vault.key safe:/root/pass; do
    name=${{each%%:*}}
    cryptsetup -q luksFormat --pbkdf pbkdf2 --pbkdf-force-iterations 1000 {BY_ID}$name ${{each#*:}}
    cryptsetup open --key-file ${{each#*:}} {BY_ID}$name $name
    mkfs.ext4 -q -L $name /dev/mapper/$name
    cryptsetup close $name
done
rm /root/pass
mdadm --create /dev/md/mirror -q --run --level=1 --raid-devices=2 --metadata=1.2 {BY_ID}md-a {BY_ID}md-b
mkfs.ext4 -q -L mirror /dev/md/mirror
mkfs.btrfs -q -L pool -m raid1 -d single {BY_ID}btr-a {BY_ID}btr-b
dd if=/dev/zero of=/swapfile bs=1M count=16 status=none; chmod 600 /swapfile; mkswap -q /swapfile
mkdir -p /mnt/lv /mnt/vault /mnt/safe /mnt/mirror /mnt/pool /mnt/below
"""
DISKS = {"pv": 64, "vault": 64, "safe": 64, "md-a": 48, "md-b": 48, "btr-a": 128, "btr-b": 128, "cswap": 32}
STACKED = (
    "/dev/vg/data /mnt/lv ext4 defaults 0 2",
    "/dev/mapper/vault /mnt/vault ext4 defaults 0 2",
    "/dev/mapper/safe /mnt/safe ext4 defaults 0 2",
    "LABEL=mirror /mnt/mirror ext4 defaults 0 2",
    "LABEL=pool /mnt/pool btrfs defaults,x-upstart.timeout=120 0 0",
    "/swapfile none swap sw 0 0",
    "/dev/mapper/cswap none swap sw 0 0",
)
CRYPTTAB = (
    f"vault {BY_ID}vault /etc/vault.key luks",
    f"safe {BY_ID}safe none luks",
    f"cswap {BY_ID}cswap /dev/urandom swap,cipher=aes-xts-plain64,size=256",
)


def make_stacked(lab: Lab) -> tuple[Disk, dict[str, Disk]]:
    """A system disk, and by name those that it then has in fstab and crypttab; made in a machine, which can."""
    disk = lab.disk()
    disks = {}
    for name, megabytes in DISKS.items():
        path = lab.directory / f"{name}.img"
        with path.open("wb") as file:
            file.truncate(megabytes << 20)
        disks[name] = Disk(path)
    disk.write("/root/make", MAKE)
    with lab.machine([disk, *disks.values()], root_mode="rw") as vm:
        vm.log_in(PATIENCE)
        must_be_at_rest(vm)
        vm.command("sh /root/make", 240)
        switch_off(vm)
    add_lines(disk, *STACKED)
    add_lines(disk, *CRYPTTAB, path="/etc/crypttab")
    return disk, disks


def unlock(vm: Machine) -> None:
    """Types the passphrase for `safe` on the console when it is asked for."""
    vm.expect(rb"(?i)(enter passphrase|unlock(ing)? (the )?disk)[^\n]*safe[^\n]*: ?", PATIENCE)
    vm.type(PASSPHRASE)


def stacked_disks(lab: Lab) -> None:
    """LVM, LUKS by a key file and by a passphrase from the console, md, btrfs on two disks of which one is late, swap
    in a file, and swap with a random key; then again with one disk of the mirror gone, which it starts without."""
    disk, disks = make_stacked(lab)
    record(disk)
    places = ("/mnt/lv", "/mnt/vault", "/mnt/safe", "/mnt/mirror", "/mnt/pool")
    late = disks.pop("btr-b")
    with lab.machine([disk, *disks.values()]) as vm:
        unlock(vm)
        vm.expect(rb"LABEL=pool is missing", PATIENCE)
        vm.plug(late.path)
        vm.log_in(PATIENCE)
        must_be_at_rest(vm)
        must_be_mounted(vm, *places)
        must_be_told_once(recorded(vm))
        swaps = vm.command("cat /proc/swaps")
        require("/swapfile" in swaps and "/dev/dm-" in swaps, f"in use as swap are\n{swaps}")
        switch_off(vm, [disk])
    disks["btr-b"] = late
    del disks["md-b"]
    with lab.machine([disk, *disks.values()]) as vm:
        unlock(vm)
        vm.log_in(PATIENCE)
        must_be_at_rest(vm)
        must_be_mounted(vm, *places)
        require("[U_]" in vm.command("cat /proc/mdstat") or "[_U]" in vm.command("cat /proc/mdstat"),
                "the mirror is not one that lacks a disk")
        switch_off(vm, [disk])


def missing_below(lab: Lab) -> None:
    """What lies below is missing: a physical volume, the disk of a LUKS device, its key, and half of a btrfs. The
    console says what, and by the name of crypttab; the boot goes on without."""
    disk, disks = make_stacked(lab)
    record(disk)
    disk.remove("/etc/vault.key")
    for name in ("pv", "safe", "btr-b", "cswap"):
        del disks[name]
    with lab.machine([disk, *disks.values()]) as vm:
        vm.log_in(PATIENCE)
        must_be_at_rest(vm)
        must_be_mounted(vm, "/mnt/mirror")
        must_be_told_once(recorded(vm))
        said = vm.said.decode(errors="replace")
        for text in (
            "/dev/vg/data is missing",
            f"/dev/mapper/safe is missing, and so is {BY_ID}safe, which holds it",
            f"/dev/mapper/vault has to be unlocked; {BY_ID}vault, which holds it, is there",
            "LABEL=pool is missing",
        ):
            require(text in said, f"the console was not told: {text}")
        switch_off(vm, [disk])


# The network

EXPORT = """start on local-filesystems
task
script
    modprobe nfsd
    mount -t nfsd nfsd /proc/fs/nfsd 2>/dev/null || :
    mkdir -p /srv/export /srv/export3
    echo "here" >/srv/export/file
    until rpcinfo -p >/dev/null 2>&1; do sleep 0.5; done
    exportfs -o rw,no_root_squash,insecure,fsid=7 127.0.0.1:/srv/export
    rpc.mountd
    rpc.nfsd 2
end script
"""


def network_file_systems(lab: Lab) -> None:
    """NFS, of both versions, from a server that is there only some time after local file systems: what has the word
    bootwait holds the boot until then, and what has not is mounted beside it. A server that never answers, and an image
    of 9p that this kernel does not know, hold nobody for ever."""
    disk = lab.disk()
    record(disk)
    disk.write("/etc/init/export.conf", EXPORT)
    # It has no /etc/exports, and would take away what is exported.
    disk.write("/etc/init/nfs-kernel-server.override", "manual\n")
    make_directories(disk, "/srv/four", "/srv/three", "/srv/nobody", "/srv/plan9")
    add_lines(
        disk,
        "127.0.0.1:/srv/export /srv/four nfs4 x-upstart.bootwait 0 0",
        "127.0.0.1:/srv/export /srv/three nfs vers=3,nofail 0 0",
        "192.0.2.1:/export /srv/nobody nfs4 soft,retry=0,timeo=20 0 0",
        "tag /srv/plan9 9p trans=virtio,nofail 0 0",
    )
    with lab.machine([disk]) as vm:
        vm.log_in(PATIENCE)
        must_be_at_rest(vm)
        must_be_mounted(vm, "/srv/four")
        events = recorded(vm)
        require(events.index("mounted /srv/four") < events.index("remote-filesystems"), f"the order was {events}")
        vm.command("until mountpoint -q /srv/three; do sleep 0.3; done; cat /srv/three/file", 180)
        switch_off(vm, [disk])


# mountall itself

KILL = """start on started mountall
task
script
    count=0
    [ ! -e /run/kills ] || read -r count </run/kills
    [ $count -lt {times} ] || exit 0
    echo $((count + 1)) >/run/kills
    sleep $(awk "BEGIN {{ print ({first} + $count) * 0.05 }}")
    pkill -KILL -x mountall || :
end script
"""
REEXECUTE = """start on startup
task
script
    for each in 1 2 3 4; do
        kill -TERM 1
        sleep 1
    done
end script
"""


def killed_mountall(lab: Lab) -> None:
    """mountall is killed again and again, each time 50 ms later, and init executes itself anew meanwhile: every file
    system is mounted and told of once."""
    for first in (0, 4, 8, 16):
        disk = lab.disk()
        record(disk)
        disks = [Disk(vm_disk.make(lab.directory / f"kill{number}.img", f"kill{number}", 16)) for number in range(4)]
        for number in range(4):
            make_directories(disk, f"/mnt/kill{number}")
            add_lines(disk, f"LABEL=kill{number} /mnt/kill{number} ext4 defaults 0 2")
        add_lines(disk, *(f"tmpfs /media tmpfs size={number}m 0 0" for number in range(1, 4)))
        disk.write("/etc/init/kill.conf", KILL.format(times=4, first=first))
        if first == 16:
            disk.write("/etc/init/reexecute.conf", REEXECUTE)
        with lab.machine([disk, *disks]) as vm:
            vm.log_in(PATIENCE)
            must_be_at_rest(vm)
            must_be_mounted(vm, *(f"/mnt/kill{number}" for number in range(4)))
            count = sum(line.startswith("tmpfs /media ") for line in vm.command("cat /proc/mounts").splitlines())
            require(count == 3, f"/media is mounted {count} times")
            events = recorded(vm)
            must_be_told_once([event for event in events if not event.endswith(" /media")])
            for name in ("mounting", "mounted"):
                require(events.count(f"{name} /media") == 3, f"{name} /media is not told of three times: {events}")
            require(int(vm.command("cat /run/kills")) == 4, "mountall was not killed four times")
            switch_off(vm, [disk, *disks])


#: Rows in the order in which they are tried.
ROWS: dict[str, Callable[[Lab], None]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        late_disk, broken_disks, doubled_uuid, full_root, root_without_inodes, grown_disks, usr_and_var_apart,
        stacked_disks, missing_below, network_file_systems, killed_mountall,
    )
}  # fmt: skip
