"""What keeps root from being locked out: words of the kernel's command line, and boots that go wrong.

Each is a boot of its own, on a copy of the disk that has been spoilt from outside where that is the point.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import vm_truth
from machine import Machine
from vm_disk import Disk
from vm_lab import PATIENCE, Lab, maintenance_shell, require, switch_off

#: The shell text of a job that nothing goes wrong with, to be seen on the console.
JOB = "start on {event}\ntask\nconsole output\nexec echo job of mine ran\n"


def normal_login(vm: Machine, runlevel: str = "N 2") -> None:
    """A login, and the runlevel that must have been reached."""
    vm.log_in(PATIENCE)
    vm_truth.must_come_up(vm)
    told = vm.command("runlevel").strip()
    require(told == runlevel, f"runlevel says {told!r}, not {runlevel!r}")


def login_without_initrd(lab: Lab) -> None:
    """A login, what it is told, and a clean end; the kernel mounts the root itself. (The ends are a machine's with an
    initrd.)"""
    disk = lab.disk()
    with lab.machine([disk], root_mode="rw") as vm:
        vm.log_in(PATIENCE)
        vm_truth.must_tell_the_truth(vm, lab.init)
        switch_off(vm, [disk])


def single(lab: Lab) -> None:
    """`single`: a root shell, no login before it and no services but the log; leaving it goes on to runlevel 2."""
    disk = lab.disk()
    disk.remove("/etc/init/ttyS0.conf")  # the console is then that of serial-gettys
    with lab.machine([disk], "single", initrd=True) as vm:
        maintenance_shell(vm)
        require(b" login: " not in vm.said, "there was a login before single-user mode")
        require("tty1 stop/waiting" in vm.command("status tty1"), "there is a login on tty1 in single-user mode")
        told = vm.command("runlevel").strip()
        require(told == "N S", f"in single-user mode runlevel says {told!r}")
        # The log of the system, which comes with the file systems, is all.
        require(not vm.command("pidof cron acpid sshd || :").strip(), "services run in single-user mode")
        vm.type("exit")
        normal_login(vm, "S 2")
        require(vm.command("pidof cron").strip(), "leaving single-user mode did not start cron")


def emergency(lab: Lab) -> None:
    """`emergency`: a root shell before anything is mounted, on a root that is read-only; leaving it goes on."""
    with lab.machine(append="emergency") as vm:
        maintenance_shell(vm)
        mounts = vm.command("cat /proc/mounts")
        require(" / ext4 ro" in mounts and " /run/user " not in mounts, f"something was mounted before:\n{mounts}")
        vm.type("exit")
        normal_login(vm)


def shell_as_init(lab: Lab) -> None:
    """`init=/bin/sh`: what README.Debian has one type there, up to a boot without a job that broke it."""
    disk = lab.disk()
    with lab.machine([disk], "init=/bin/sh", initrd=True) as vm:
        vm.take_shell(PATIENCE)
        vm.command("mount -o remount,rw none /")
        vm.command("echo manual >>/etc/init/marked.override")
        vm.type("exec /sbin/init")
        normal_login(vm)
        require("marked stop/waiting" in vm.command("initctl status marked"), "the override was not heeded")


def own_jobs(lab: Lab) -> None:
    """`--no-startup-event` and `--confdir`: no job of the system, until a key is pressed that one's own job knows; and
    `--startup-event`, with which it starts."""
    disk = lab.disk()
    disk.write("/srv/mine.conf", JOB.format(event="control-alt-delete or mine"))
    with lab.machine([disk], "--no-startup-event --confdir /srv") as vm:
        vm.expect(rb"Run /sbin/init as init process", PATIENCE)
        vm.fall_silent(15, PATIENCE)
        vm.monitor.press("ctrl", "alt", "delete")
        vm.expect(rb"job of mine ran", 120)
        require(b" login: " not in vm.said, "the system was started")
    with lab.machine([disk], "--startup-event mine --confdir /srv") as vm:
        vm.expect(rb"job of mine ran", PATIENCE)


BROKEN = {
    "syntax": "start on startup\nexec\nno such stanza\n",
    "typo": "start on runlvel [2345]\nexec sleep infinity\n",
    "fails": "start on startup\ntask\nexec false\n",
    "script": "start on startup\ntask\nscript\n  if then\nend script\n",
    "nobody": "start on startup\nsetuid nosuchuser\nexec sleep infinity\n",
    "nothing": "start on runlevel [2345]\nrespawn\nexec /no/such/program\n",
    "ttyS9": "start on runlevel [2345]\nrespawn\nexec /sbin/getty -L 115200 ttyS9 vt100\n",
    "binary": "\x7fELF\x01\x02 start on startup {{{\n",
}


def broken_jobs(lab: Lab) -> None:
    """Jobs that are wrong in every way one can think of, all at once; with `--verbose` and a runlevel."""
    disk = lab.disk()
    for name, text in BROKEN.items():
        disk.write(f"/etc/init/{name}.conf", text)
    with lab.machine([disk], "--verbose 3") as vm:
        vm.expect(rb"init: rc-sysinit goal changed from stop to start", PATIENCE)
        normal_login(vm, "N 3")
        said = vm.said.decode(errors="replace")
        for pattern in (
            r"syntax\.conf:2: Expected token",
            r"binary\.conf:1: Unknown stanza",
            r"fails main process \(\d+\) terminated with status 1",
            r"spawn nobody main process: unable to find setuid user",
            r"spawn nothing main process: unable to execute",
        ):
            require(re.search(pattern, said), f"the console was told nothing like {pattern!r}")
        require("syntax.conf:2: Expected token" in vm.command("dmesg"), "the log of the kernel has not what was wrong")
        require("typo" in vm.command("initctl check-config 2>&1 || :"), "check-config does not name the typo")


def broken_sysinit(lab: Lab, override: str) -> None:
    """A boot that rc-sysinit does not finish: the console is told why, and root can log in there, and try again.
    Without any login there is a root shell, and leaving that tries again."""
    disk = lab.disk()
    disk.write("/etc/init/rc-sysinit.override", override)
    with lab.machine([disk]) as vm:
        vm.expect(rb"There is no runlevel, for rc-sysinit has failed", PATIENCE)
        vm.type("")
        vm.log_in(60)
        require(re.search(rb"init: .*rc-sysinit", vm.said), "the console is not told why")
        vm.command("rm /etc/init/rc-sysinit.override; initctl reload-configuration; start --no-wait rc-sysinit")
        vm.command("until runlevel | grep -q 'N 2'; do sleep 0.3; done")
        switch_off(vm, [disk])
    disk.write("/etc/init/rc-sysinit.override", override)
    for name in ("ttyS0", "serial-getty"):
        disk.write(f"/etc/init/{name}.override", "start on runlevel [2345]\n")
    with lab.machine([disk]) as vm:
        maintenance_shell(vm)
        vm.command("rm /etc/init/*.override; initctl reload-configuration && sleep 1")
        vm.type("exit")
        normal_login(vm)


def failing_sysinit(lab: Lab) -> None:
    """rc-sysinit overridden by a script that fails."""
    broken_sysinit(lab, "script\n  false\nend script\n")


def sysinit_without_program(lab: Lab) -> None:
    """rc-sysinit overridden by a program that does not exist."""
    broken_sysinit(lab, "exec /no/such/program\n")


def unreadable_sysinit(lab: Lab) -> None:
    """The file of rc-sysinit has an error, so that no runlevel is entered: the console is told, there are logins all
    the same, and once it is mended it can be started."""
    disk = lab.disk()
    path = "/etc/init/rc-sysinit.conf"
    disk.write(path, disk.read(path).replace("stop on runlevel\n", "stop onto runlevel\n", 1))
    with lab.machine([disk]) as vm:
        vm.log_in(PATIENCE)
        require(re.search(rb"init: .*rc-sysinit\.conf:\d+: Unknown stanza", vm.said), "the console is not told why")
        require("unknown" in vm.command("runlevel || :"), "a runlevel was entered")
        vm.command(f"sed -i 's/onto/on/' {path}; initctl reload-configuration; start --no-wait rc-sysinit")
        vm.command("until runlevel | grep -q 'N 2'; do sleep 0.3; done")


def unclean(lab: Lab) -> None:
    """Power lost in the middle of writing, and a second file system marked as damaged: both are mended, and the boot
    goes on."""
    disk = lab.disk()
    data = lab.data_disk(disk)
    data.set_unclean()
    with lab.machine([disk], root_mode="rw") as vm:
        vm.log_in(PATIENCE)
        vm.command("(while :; do cp -r /etc /root/$$; rm -r /root/$$; done) >/dev/null 2>&1 & sleep 8")
    require(disk.state()[1], "the power was lost, and the file system is clean")
    with lab.machine([disk, data]) as vm:
        normal_login(vm)
        require("recover" in vm.command("dmesg"), "the journal was not replayed")
        all_mounted(vm)
        switch_off(vm, [disk, data])


def damaged_beyond_preen(lab: Lab) -> None:
    """Damage that needs a decision, of a disk that is waited for: mountall asks, and mends it by a key. The root is
    damaged in a way that is mended without a question."""
    disk = lab.disk()
    data = lab.data_disk(disk, "LABEL=data /srv ext4 defaults 0 2\n")
    data.damage()
    disk.mend()  # or there would be more to mend, and a restart
    disk.set_unclean()
    with lab.machine([disk, data]) as vm:
        vm.expect(rb"Errors were found while checking the disk drive for /srv\.", PATIENCE)
        vm.expect(rb"Press F to attempt to fix the errors", 30)
        vm.press("F")
        normal_login(vm)
        require("non-contiguous" in vm.command("cat /var/log/fsck/mountall"), "the root was not checked")
        all_mounted(vm)
        switch_off(vm, [disk, data])


def restarts_by_itself(vm: Machine) -> None:
    """Waits for the reset with which a machine ends that QEMU is not to start again."""
    vm.wait(PATIENCE)
    ending = vm.monitor.ending()
    require(ending == "guest-reset", f"the machine ended by {ending}")


def boots_clean(lab: Lab, disk: Disk) -> None:
    """The boot after a repair: nothing is checked any more, and switching off leaves all in order."""
    with lab.machine([disk]) as vm:
        normal_login(vm)
        require("root: clean" in vm.command("cat /var/log/fsck/mountall"), "the repaired root is not found clean")
        switch_off(vm, [disk])


def damaged_root(lab: Lab) -> None:
    """Damage of the root that needs a decision: mountall asks, and M gives a shell, the root read-only; once it is
    repaired and the shell is left, the machine restarts by itself, and boots."""
    disk = lab.disk()
    disk.damage()
    with lab.machine([disk]) as vm:
        vm.expect(rb"Errors were found while checking the disk drive for /\.", PATIENCE)
        vm.expect(rb"M for manual recovery", 30)
        vm.press("M")
        maintenance_shell(vm)
        require(b"The root file system is damaged, and is mounted read-only" in vm.said, "the console is not told why")
        require(" / ext4 ro" in vm.command("cat /proc/mounts"), "the root is not read-only")
        require("mountall-shell start/running" in vm.command("initctl status mountall-shell"), "it is another's shell")
        vm.command("fsck -y / || [ $? = 3 ]", 120)
        vm.type("exit")
        restarts_by_itself(vm)
    boots_clean(lab, disk)


def damaged_root_fsckfix(lab: Lab) -> None:
    """The same damage with FSCKFIX=yes in /etc/default/rcS: it is repaired, and the machine restarts by itself."""
    disk = lab.disk()
    disk.damage()
    disk.write("/etc/default/rcS", disk.read("/etc/default/rcS") + "FSCKFIX=yes\n")
    with lab.machine([disk]) as vm:
        vm.expect(rb"/ was repaired; the system has to be restarted", PATIENCE)
        restarts_by_itself(vm)
        require(b"root password for" not in vm.said, "a shell was given")
    boots_clean(lab, disk)


def forcefsck(lab: Lab) -> None:
    """`forcefsck`: a clean root and a second disk are checked all the same; swap and a /tmp in memory are as asked
    for."""
    disk = lab.disk()
    disks = [disk, lab.data_disk(disk)]
    swap = lab.swap_disk(disk)
    disk.write("/etc/default/tmpfs", disk.read("/etc/default/tmpfs") + "RAMTMP=yes\n")
    disk.mend()  # or the check would end in a restart
    before = [each.last_check() for each in disks]
    with lab.machine([*disks, swap], "forcefsck") as vm:
        normal_login(vm)
        all_mounted(vm)
        vm.command("until status mountall | grep -q stop/waiting; do sleep 0.3; done")
        said = vm.command("cat /var/log/fsck/*")
        for label in ("root", "data"):
            require(re.search(rf"{label}: .*non-contiguous", said), f"{label} was not checked:\n{said}")
        used = vm.command("cat /proc/swaps")
        require(used.count("/dev/") == 1, f"the swap of fstab is not in use:\n{used}")
        require(" /tmp tmpfs" in vm.command("cat /proc/mounts"), "/tmp is not in memory")
        switch_off(vm, disks)
    for each, moment in zip(disks, before, strict=True):
        require(each.last_check() != moment, f"{each.path.name} has no record of a check")


def fastboot(lab: Lab) -> None:
    """`fastboot` and `noswap`: no check, of a root that is marked as damaged too, and no swap."""
    disk = lab.disk()
    swap = lab.swap_disk(disk)
    disk.set_unclean()
    before = disk.last_check()
    with lab.machine([disk, swap], "fastboot noswap") as vm:
        normal_login(vm)
        require("/dev/" not in vm.command("cat /proc/swaps"), "swap is in use")
        switch_off(vm)
    require(disk.last_check() == before and disk.state()[0] != "clean", "the root was checked")


def broken_rcs(lab: Lab) -> None:
    """The program that runs rcS.d is broken: sysv-rc's runs what is left there, those with jobs do nothing, and what is
    to be mounted is."""
    disk = lab.disk()
    data = lab.data_disk(disk)
    disk.remove("/usr/lib/python3/dist-packages/upstart/sysv/rcs.py")
    for path in ("/etc/init.d/left", "/etc/rcS.d/S20left"):
        disk.write(path, "#!/bin/sh\necho script of mine ran\n", 0o755)
    depend = "/etc/init.d/.depend.boot"
    disk.write(depend, disk.read(depend).replace("TARGETS = ", "TARGETS = left ", 1))
    with lab.machine([disk, data]) as vm:
        normal_login(vm)
        require(re.search(rb"No module named '?upstart.sysv.rcs", vm.said), "the console is not told why")
        require(b"boot in runlevel S" in vm.said, "sysv-rc did not run the scripts")
        require(b"script of mine ran" in vm.said, "the script that is left did not run")
        all_mounted(vm)
        switch_off(vm, [disk, data])


def early_script(lab: Lab) -> None:
    """A script that insserv has before checkroot.sh, as that which sets the clock of a machine without one: mountall
    waits for it, and it runs once."""
    disk = lab.disk()
    text = "#!/bin/sh\nsleep 4\ngrep -q ' / ext4 ro' /proc/mounts && echo my clock is set >/dev/console\n"
    for path in ("/etc/init.d/clock", "/etc/rcS.d/S01clock"):
        disk.write(path, text, 0o755)
    depend = disk.read("/etc/init.d/.depend.boot").replace("TARGETS = ", "TARGETS = clock ", 1)
    disk.write("/etc/init.d/.depend.boot", depend.replace("checkroot.sh: ", "checkroot.sh: clock ", 1))
    with lab.machine([disk]) as vm:
        normal_login(vm)
        require(vm.said.count(b"my clock is set") == 1, "the script did not run once, before the root was writable")
        require("stop/waiting" in vm.command("status rcS-first"), "what comes first has not ended")
        switch_off(vm, [disk])


def broken_mount_job(lab: Lab) -> None:
    """The job that mounts cannot be read: the console is told at once, and root has a shell; once it is mended, leaving
    that boots."""
    disk = lab.disk()
    data = lab.data_disk(disk)
    path = "/etc/init/mountall.conf"
    disk.write(path, disk.read(path).replace("start on startup\n", "start onto startup\n", 1))
    with lab.machine([disk, data]) as vm:
        vm.expect(rb"init: No job is left running after startup", PATIENCE)
        maintenance_shell(vm)
        require(re.search(rb"mountall\.conf:\d+: Unknown stanza", vm.said), "the console is not told why")
        vm.command(f"mount -o remount,rw / && sed -i 's/onto/on/' {path}")
        vm.type("exit")
        normal_login(vm)
        all_mounted(vm)
        switch_off(vm, [disk, data])


def mountall_gone(lab: Lab) -> None:
    """The program that mounts is gone: a shell, and once it is back leaving that boots. Where root has no password, the
    system comes up without it."""
    disk = lab.disk()
    data = lab.data_disk(disk)
    program = disk.dump("/usr/sbin/mountall", lab.directory / "mountall").read_text()
    disk.remove("/usr/sbin/mountall")
    disk.write("/root/mountall", program, 0o755)
    with lab.machine([disk, data]) as vm:
        vm.expect(rb"The program that mounts the file systems, mountall, does not run", PATIENCE)
        maintenance_shell(vm)
        vm.command("mount -o remount,rw / && cp -p /root/mountall /usr/sbin/mountall")
        vm.type("exit")
        normal_login(vm)
        all_mounted(vm)
        vm.command("rm /usr/sbin/mountall && sed -i 's/^root:/root:!/' /etc/shadow")
        switch_off(vm, [disk, data])
    with lab.machine([disk, data]) as vm:
        vm.expect(rb"Root has no password, so that no shell can be given here", PATIENCE)
        vm.expect(rb"mountall does not work: the file systems of fstab are mounted without it", PATIENCE)
        vm.expect(rb" login: ", PATIENCE)
        vm.stay(20)
        vm.monitor.press("ctrl", "alt", "delete")
        restarts_by_itself(vm)
    require("job 6" in disk.read("/var/log/marks"), "the runlevel was not entered")
    require("job 6" in data.read("/marks"), "/srv was not mounted")


def serial_console(lab: Lab) -> None:
    """A console of the kernel's that no job knows: there is a login on it all the same."""
    disk = lab.disk()
    disk.remove("/etc/init/ttyS0.conf")
    with lab.machine([disk]) as vm:
        normal_login(vm)
        jobs = vm.command("initctl list")
        require("serial-getty (ttyS0) start/running" in jobs, f"no job has the login on ttyS0:\n{jobs}")
        switch_off(vm, [disk])


def all_mounted(vm: Machine) -> None:
    """What a system cannot do without, and what fstab has; nobody waits for that."""
    vm.command("until grep -q ' /srv ' /proc/mounts; do sleep 0.3; done")
    mounts = vm.command("cat /proc/mounts")
    for pattern in (" / ext4 rw", "/srv ext4 rw", "/run tmpfs", "/run/lock tmpfs", "/dev/shm tmpfs", "/dev/pts devpts"):
        require(pattern in mounts, f"{pattern} is not among what is mounted:\n{mounts}")


def missing_disk(lab: Lab) -> None:
    """Entries of fstab whose disks are not there: the console is told which, what waits for them, and for how long; the
    boot goes on without them. A key does not wait for that."""
    disk = lab.disk()
    entries = "LABEL=gone /mnt ext4 defaults 0 2\nLABEL=lost /media ext4 defaults 0 0\n"
    disk.write("/etc/fstab", disk.read("/etc/fstab") + entries)
    with lab.machine([disk]) as vm:
        vm.expect(rb"The disk drive for /mnt is not ready yet or not present\.", PATIENCE)
        vm.expect(rb"In \d+ seconds the system starts without", 30)
        vm.expect(rb"Skipping /mnt \(/etc/fstab:2\): LABEL=gone is missing", PATIENCE)
        normal_login(vm)
        mounts = vm.command("cat /proc/mounts")
        require("/mnt" not in mounts and "/media" not in mounts, "what is not there was mounted")
        switch_off(vm, [disk])
    with lab.machine([disk]) as vm:
        vm.expect(rb"The disk drive for /media is not ready yet or not present\.", PATIENCE)
        vm.expect(rb"Press S to skip mounting", 30)
        vm.press("S")
        vm.expect(rb"Skipping /media at user request", 10)
        normal_login(vm)


def missing_root_device(lab: Lab) -> None:
    """fstab has another disk for the root than that which the kernel has mounted: the boot goes on, on this one."""
    disk = lab.disk()
    disk.write("/etc/fstab", "LABEL=other / ext4 errors=remount-ro 0 1\n")
    with lab.machine([disk]) as vm:
        normal_login(vm)
        require(" / ext4 rw" in vm.command("cat /proc/mounts"), "the root is not writable")
        switch_off(vm, [disk])


def no_bindings(lab: Lab) -> None:
    """python3-dbus is gone: PID 1 and mountall run without it, but no command reaches init, so that there is no
    runlevel; the console is told, and root can log in there."""
    disk = lab.disk()
    for name in disk.names("/usr/lib/python3/dist-packages"):
        if name.startswith("_dbus_bindings"):
            disk.remove(f"/usr/lib/python3/dist-packages/{name}")
    with lab.machine([disk]) as vm:
        vm.expect(rb"There is no runlevel, for rc-sysinit has failed", PATIENCE)
        vm.type("")
        vm.log_in(60)
        require(" / ext4 rw" in vm.command("cat /proc/mounts"), "the root is not writable")
        require("_dbus_bindings" in vm.command("initctl version 2>&1 || :"), "initctl works without its library")
        vm.type("sync; mount -o remount,ro / ; reboot -f")
        vm.wait(PATIENCE)
        require(vm.monitor.ending() == "guest-reset", "reboot -f did not")


def damaged_package(lab: Lab, initrd: bool = False) -> None:
    """A module of PID 1 is gone: no panic, but a shell, and once the module is back leaving it boots."""
    disk = lab.disk()
    module = "/usr/lib/python3/dist-packages/upstart/engine/lifecycle.py"
    text = disk.read(module)
    disk.remove(module)
    disk.write("/root/lifecycle.py", text)
    with lab.machine([disk], initrd=initrd) as vm:
        vm.expect(rb"init: Unable to start: ", PATIENCE)
        maintenance_shell(vm)
        vm.command(f"mount -o remount,rw none / && cp /root/lifecycle.py {module}")
        vm.type("exit")
        normal_login(vm)


def damaged_package_with_initrd(lab: Lab) -> None:
    """The same after an initrd."""
    damaged_package(lab, True)


def no_python(lab: Lab) -> None:
    """The interpreter is gone: a kernel that mounts the root itself falls back to /bin/sh; there it can be put back."""
    disk = lab.disk()
    target = disk.link_target("/usr/bin/python3")
    disk.remove("/usr/bin/python3")
    with lab.machine([disk]) as vm:
        vm.take_shell(PATIENCE)
        vm.command(f"mount -o remount,rw none / && ln -s {target} /usr/bin/python3")
        vm.type("exec /sbin/init")
        normal_login(vm)


def empty_dev(lab: Lab) -> None:
    """Nothing in the root's /dev, so that PID 1 begins without a console."""
    disk = lab.disk()
    for name in disk.names("/dev"):
        if name not in ("pts", "shm"):
            disk.remove(f"/dev/{name}")
    with lab.machine([disk]) as vm:
        normal_login(vm)


def read_only(lab: Lab) -> None:
    """A root that fstab wants to be read-only stays so, and there is a login; with `quiet` and `--debug` the console
    stays silent, and the log of the kernel has it all."""
    disk = lab.disk()
    disk.write("/etc/fstab", "LABEL=root / ext4 ro 0 1\n")
    with lab.machine([disk], "quiet --debug") as vm:
        normal_login(vm)
        require(re.search(r" / ext4 ro", vm.command("cat /proc/mounts")), "the root was made writable")
        require(b"goal changed" not in vm.said, "quiet, but the console is told of every job")
        require("init: tty1 goal changed" in vm.command("dmesg | grep 'tty1 goal' || :"), "no debug log")


#: Rows in the order in which they are tried.
ROWS: dict[str, Callable[[Lab], None]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        login_without_initrd, single, emergency, shell_as_init, own_jobs, broken_jobs, failing_sysinit,
        sysinit_without_program, unreadable_sysinit, broken_rcs, early_script, broken_mount_job, mountall_gone,
        serial_console, unclean, forcefsck, fastboot, damaged_root, damaged_root_fsckfix, damaged_beyond_preen,
        missing_disk, missing_root_device, no_bindings, no_python, damaged_package, damaged_package_with_initrd,
        empty_dev, read_only,
    )
}  # fmt: skip
