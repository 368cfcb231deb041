# make          every command below build/sbin/, running the modules of this checkout
# make run      boots a real Debian with our init, checks its daemons, and gives a shell inside
# make check    everything that must hold; the parts: lint, unit, integration, deb, lintian, boot, vm
# make bridge-moments  bridges killed, and init re-executed, at each of fifty moments; ten thousand connections
# make faults   a thousand trials of an init that lacks memory, processes, descriptors or disk, or a system call's success
# make check-packages  the packages built, examined and lived through on each release, with all that goes wrong
# make vm-cloud   virtual machines that cloud-init configures
# make vm-recovery   virtual machines that are repaired from the menu of the recovery mode
# make autopkgtest  the tests of debian/tests, in machines that systemd boots and that reboot into Upstart
# make vm-all   virtual machines that boot, end and are rescued in every way, with disks and networks of every kind
# make check-services  some hundred and thirty packages of services, each installed, stopped, restarted, rebooted, purged
# make check-ways  ten sets of packages on a machine that runs systemd, taken to Upstart and back
# make check-clients  Salt, Ansible, Puppet, foreman, honcho, pm2 and others, as they are, on a machine that has Upstart
# make mutants    random changes of the code, and which of them no test notices
# make check-daemons  a dozen real servers and ten wrappers, with each of expect none, fork and daemon
# make bench    how fast all that is, beside another init where one is given
# make bench-boot  a boot to the login prompt and its memory, beside every other init of the release
# make bench-cloud  a boot that cloud-init configures, beside systemd's
# make bench-server  a boot of a usual server until ssh answers, beside the systemd that it was installed with
# make deb      the Debian packages, below build/deb/
#
# Whatever is missing is installed by apt. RELEASE chooses the Debian to boot and to build packages for; those of another
# release than this machine's are built, and examined by lintian, in a root of that release. HERE=1 takes the tools of this
# machine, for a release whose archive cannot be reached from here, such as one of Ubuntu's.
PYTHON := /usr/bin/python3
NEED := build-aux/need
VENV := build/venv
MUTANTS := build/mutants-venv
HOST := $(shell . /etc/os-release && echo $$VERSION_CODENAME)
RELEASE ?= $(HOST)
RELEASES ?= bookworm trixie

# What the programs stand on, what their tests do, what packages and roots are built with, what machines boot in.
RUN_PACKAGES := python3-dbus python3-pyinotify python3-pyudev
TEST_PACKAGES := python3-gi python3-pytest python3-pytest-xdist python3-hypothesis python3-jeepney python3-debian dpkg-dev man-db groff-base dbus iproute2 \
  procps util-linux e2fsprogs zsh fish logrotate strace
# A window of GTK's, a screen to see it on, and who looks at what a desktop is told of it.
WINDOW_PACKAGES := xvfb xdotool gir1.2-gtk-4.0 gir1.2-adw-1 adwaita-icon-theme desktop-file-utils appstream
DEB_PACKAGES := build-essential debhelper dh-python python3-all python3-setuptools
BOOT_PACKAGES := mmdebstrap util-linux mount debian-archive-keyring
VM_PACKAGES := qemu-system-x86 e2fsprogs cryptsetup-bin
CLOUD_PACKAGES := dosfstools mtools
AUTOPKGTEST_PACKAGES := autopkgtest qemu-utils

DEBS := build/deb/$(RELEASE)
# Where packages are built and examined: on this machine, or in a clean root.
CLEANROOT := $(if $(filter $(HOST),$(RELEASE))$(filter-out 0,$(HERE)),,$(PYTHON) tests/boot/cleanroot.py)
SOURCES := $(shell find src etc man debian build-aux setup.py pyproject.toml -type f ! -name '*.pyc' 2>/dev/null)

.PHONY: all check lint unit integration deb lintian run boot bridge-moments check-packages check-services check-ways check-clients check-daemons vm vm-all vm-cloud vm-recovery autopkgtest mutants bench bench-boot bench-cloud bench-server faults clean
all:
	@test -x $(PYTHON) || $(NEED) python3
	@$(PYTHON) build-aux/programs.py checkout build/sbin
	@$(PYTHON) -m compileall -q src

$(VENV)/done: build-aux/requirements-lint.txt
	@$(NEED) python3-venv python3-pip ca-certificates
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install -qq --disable-pip-version-check -r $<
	@touch $@

lint: $(VENV)/done
	@$(NEED) $(RUN_PACKAGES) $(TEST_PACKAGES)
	@$(VENV)/bin/ruff check --output-format concise; ruff=$$?; $(VENV)/bin/mypy && exit $$ruff

unit: all
	@$(NEED) $(RUN_PACKAGES) $(TEST_PACKAGES)
	$(PYTHON) -m pytest tests/unit

integration: all
	@$(NEED) $(RUN_PACKAGES) $(TEST_PACKAGES) $(WINDOW_PACKAGES) $(DEB_PACKAGES)
	$(PYTHON) -m pytest tests/integration

deb: $(DEBS)/done
$(DEBS)/done: $(SOURCES)
	@$(NEED) $(if $(CLEANROOT),$(BOOT_PACKAGES),$(DEB_PACKAGES))
	@$(if $(CLEANROOT),$(CLEANROOT) build,build-aux/build-deb) $(RELEASE)

lintian: deb
	@$(NEED) $(if $(CLEANROOT),$(BOOT_PACKAGES),lintian)
ifdef CLEANROOT
	@$(CLEANROOT) lintian $(RELEASE)
else
	@mkdir -p build && TMPDIR=$$(mktemp -d $(CURDIR)/build/lintian.XXXXXX) && export TMPDIR && \
	    { lintian --fail-on error,warning $(DEBS)/*.changes; status=$$?; rm -rf $$TMPDIR; exit $$status; }
endif

run: deb
	@$(NEED) $(BOOT_PACKAGES)
	@$(PYTHON) tests/boot/run.py --release $(RELEASE)

boot: deb
	@$(NEED) $(BOOT_PACKAGES) $(TEST_PACKAGES)
	$(PYTHON) -m pytest tests/boot/test_container.py tests/boot/test_recovery_menu.py tests/boot/test_documents.py tests/boot/test_services.py tests/boot/test_package_*.py

check-packages:
	@$(NEED) $(BOOT_PACKAGES) $(TEST_PACKAGES)
	@for release in $(RELEASES); do $(MAKE) lintian RELEASE=$$release || exit; done
	RELEASES="$(RELEASES)" $(PYTHON) -m pytest tests/boot/test_package_*.py tests/boot/test_rebuild.py

# WRITE=1 records the result in docs/services.md; SERVICES=, a list of packages, tries only those.
check-services: deb
	@$(NEED) $(BOOT_PACKAGES) dpkg-dev
	@PYTHONPATH=tests/boot $(PYTHON) -m services --release $(RELEASE) $(if $(WRITE),--write) $(SERVICES)

# WRITE=1 records the result in docs/ways.md; SETS=, a list, tries only those sets of packages.
check-ways: deb
	@$(NEED) $(BOOT_PACKAGES)
	@$(PYTHON) tests/boot/ways.py --release $(RELEASE) $(if $(WRITE),--write) $(SETS)

# WRITE=1 records the result in docs/packages.md; CLIENTS=, a list such as "Salt Ansible", asks only those.
check-clients: deb
	@$(NEED) $(BOOT_PACKAGES)
	@PYTHONPATH=tests/boot $(PYTHON) tests/boot/clients.py --release $(RELEASE) $(if $(WRITE),--write) $(CLIENTS)

# WRITE=1 records the result in docs/daemons.md; DAEMONS=, a list of servers and wrappers, tries only those.
check-daemons: all
	@$(NEED) $(RUN_PACKAGES) util-linux iproute2
	@$(PYTHON) tests/daemons/check.py $(if $(WRITE),--write) $(DAEMONS)

# INITRD=1 has an initrd of initramfs-tools find and mount the root.
vm: deb
	@$(NEED) $(BOOT_PACKAGES) $(VM_PACKAGES)
	@$(PYTHON) tests/boot/vm.py --release $(RELEASE) $(if $(filter-out 0,$(INITRD)),--initrd)

# Boots with and without an initrd, every end of a machine, every way to rescue one, disks, and what is wrong with fstab
# or the network where nobody is at the console; ROWS= names some of them (docs/machines.md).
vm-all: deb
	@$(NEED) $(BOOT_PACKAGES) $(VM_PACKAGES)
	@$(PYTHON) tests/boot/vm_suite.py --release $(RELEASE) $(ROWS)

# Data from a directory and from a disk, upgrades in the middle, ends; ROWS= names some of them.
vm-cloud: deb
	@$(NEED) $(BOOT_PACKAGES) $(VM_PACKAGES) $(CLOUD_PACKAGES)
	@$(PYTHON) tests/boot/vm_cloud.py --release $(RELEASE) $(ROWS)

# The menu, repairs, every way out of it; ROWS= names some of them.
vm-recovery: deb
	@$(NEED) $(BOOT_PACKAGES) $(VM_PACKAGES)
	@$(PYTHON) tests/boot/vm_recovery.py --release $(RELEASE) $(ROWS)

# TESTS=, names from debian/tests/control, runs only those; SHOW=1 shows what is said meanwhile.
autopkgtest: deb
	@$(NEED) $(BOOT_PACKAGES) $(VM_PACKAGES) $(AUTOPKGTEST_PACKAGES)
	@$(PYTHON) tests/boot/autopkgtest.py --release $(RELEASE) $(if $(SHOW),--show) $(TESTS)

# What boots machines comes first, for it takes longest.
SUITES := tests/boot tests/unit tests/integration tests/faults
# Real processes on a busy host: what failed is named, and has one more attempt by itself.
AGAIN = { echo "Once more, by themselves:"; $(PYTHON) -m pytest --last-failed --last-failed-no-failures none $(SUITES); }

# One pytest for all suites, at the end, so that its closing line counts them all; with a second worker, since most tests
# wait for something. A file's tests run one after another.
check: all lint lintian
	@$(NEED) $(RUN_PACKAGES) $(TEST_PACKAGES) $(WINDOW_PACKAGES) $(BOOT_PACKAGES) $(VM_PACKAGES) $(AUTOPKGTEST_PACKAGES)
	$(PYTHON) -m pytest -n 2 --dist loadfile $(SUITES) || $(AGAIN)

# TRIALS=, SEED=, KINDS=, WORKERS= and LIFE= are explained in the program.
faults: all
	@$(NEED) $(RUN_PACKAGES) util-linux mount
	@$(PYTHON) tests/faults/faults.py $(if $(LIFE),--life $(LIFE))

$(MUTANTS)/done: build-aux/requirements-mutants.txt
	@$(NEED) python3-venv python3-pip ca-certificates
	$(PYTHON) -m venv --clear $(MUTANTS)
	$(MUTANTS)/bin/pip install -qq --disable-pip-version-check -r $<
	@touch $@

# COUNT=, SEED=, ROOMS=, JOBS= and SECONDS= are explained in the program.
mutants: all $(MUTANTS)/done
	@$(NEED) $(RUN_PACKAGES) $(TEST_PACKAGES)
	@COUNT=$(COUNT) SEED=$(SEED) ROOMS="$(ROOMS)" JOBS=$(JOBS) SECONDS=$(SECONDS) $(MUTANTS)/bin/python tests/mutants/mutants.py

bridge-moments: all
	@$(NEED) $(RUN_PACKAGES) $(TEST_PACKAGES)
	MOMENTS=50 SOCKET_FLOOD=10000 $(PYTHON) -m pytest -rP tests/integration/test_bridge_moments.py \
	    tests/integration/test_bridge_moments_others.py tests/integration/test_socket_flood.py

# How fast it is; PEER_INIT=, PEER_INITCTL=, QUICK=1, PARTS=, JOBS_DIR=, BOOT=1 are explained in the program.
bench: all $(if $(filter-out 0,$(BOOT)),deb)
	@$(NEED) $(RUN_PACKAGES) util-linux mount
	@$(PYTHON) tests/bench/bench.py

# Upstart, systemd, sysvinit and what else the release has, booted in turns in a virtual machine; ROUNDS=, INITS=,
# BREAKDOWN=0 and WRITE=1 are explained in the program.
bench-boot: deb
	@$(NEED) $(BOOT_PACKAGES) $(VM_PACKAGES)
	@RELEASE=$(RELEASE) ROUNDS=$(ROUNDS) INITS="$(INITS)" WRITE=$(WRITE) $(PYTHON) tests/bench/boot_race.py

# The same image and data for cloud-init with Upstart and with systemd, in turns; ROUNDS=, INITS= and WRITE=1 likewise.
bench-cloud: deb
	@$(NEED) $(BOOT_PACKAGES) $(VM_PACKAGES)
	@RELEASE=$(RELEASE) ROUNDS=$(ROUNDS) INITS="$(INITS)" WRITE=$(WRITE) $(PYTHON) tests/bench/cloud_race.py

# A server as installed with systemd, and led to Upstart as README.md says: until ssh answers; likewise.
bench-server: deb
	@$(NEED) $(BOOT_PACKAGES) $(VM_PACKAGES)
	@RELEASE=$(RELEASE) ROUNDS=$(ROUNDS) INITS="$(INITS)" WRITE=$(WRITE) $(PYTHON) tests/bench/server_race.py

clean:
	rm -rf build
	find src tests build-aux -name __pycache__ -prune -exec rm -rf {} +
