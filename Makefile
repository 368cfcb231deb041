# make          every command below build/sbin/, running the modules of this checkout
# make check    everything that must hold; installs by apt what is missing
# make lint | unit | integration    parts of it
PYTHON := /usr/bin/python3
NEED := build-aux/need
VENV := build/venv

.PHONY: all check lint unit integration clean
all:
	@test -x $(PYTHON) || $(NEED) python3
	@$(PYTHON) build-aux/programs.py checkout build/sbin
	@$(PYTHON) -m compileall -q src

$(VENV)/done: build-aux/requirements-lint.txt
	@$(NEED) python3-venv python3-pip ca-certificates
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@

lint: $(VENV)/done
	@$(NEED) $(RUN_PACKAGES) $(TEST_PACKAGES)
	@$(VENV)/bin/ruff check --output-format concise src tests build-aux; ruff=$$?; $(VENV)/bin/mypy && exit $$ruff

# What the programs themselves stand on, and what the tests do.
RUN_PACKAGES := python3-dbus libglib2.0-0
TEST_PACKAGES := python3-pytest python3-hypothesis

unit: all
	@$(NEED) $(RUN_PACKAGES) $(TEST_PACKAGES)
	$(PYTHON) -m pytest tests/unit

integration: all
	@$(NEED) $(RUN_PACKAGES) $(TEST_PACKAGES)
	$(PYTHON) -m pytest tests/integration

check: lint unit integration

clean:
	rm -rf build
	find src tests build-aux -name __pycache__ -prune -exec rm -rf {} +
