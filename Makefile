# make demo      the whole main job on an invented cluster; needs git, make and python3 only
# make test      lint, types, import contracts and every test; the real-hypervisor ones too as root on Debian or Ubuntu
# make lab-demo  the same job on real hypervisors; root, Debian or Ubuntu
# make lab-matrix  every mode, every fault and a long plan on real hypervisors; root
# make lab       hosts to try things on: make lab [TOPOLOGY=executor/lab/examples/two-sites.yaml]
# make help      this list

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable
ROOT := $(shell [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && echo yes)

.PHONY: help demo lab-demo lab-matrix notebook kvm lint test clean

help:
	@sed -n 's/^# make/make/p' Makefile

.venv/.core: pyproject.toml .ci/venv
	@.ci/venv
	@$(PIP) .
	@$(BIN)/python -m drsim.warm
	@touch $@

.venv/.notebook: .venv/.core
	@$(PIP) '.[notebook]'
	@touch $@

.venv/.dev: .venv/.core
	@$(PIP) '.[dev]'
	@touch $@

# libvirt-python is published as source: what it is built against comes from apt first.
.venv/.kvm: .venv/.core
	@$(BIN)/drsim lab doctor --install
	@$(PIP) '.[kvm]'
	@touch $@

demo: .venv/.core
	@$(BIN)/drsim demo --out out

lab-demo: $(if $(ROOT),.venv/.kvm,.venv/.core)
	@$(BIN)/drsim lab demo --out out

# Takes a quarter of an hour; the tests do a part of it.
lab-matrix: .venv/.dev .venv/.kvm
	@$(BIN)/python -m tests.kvm.matrix --json out/matrix.json
	@$(BIN)/python -m tests.kvm.faults --json out/faults.json
	@$(BIN)/python -m tests.kvm.kills --json out/kills.json
	@$(BIN)/python -m tests.kvm.twins > out/twins.json

lab: .venv/.kvm
	@$(BIN)/drsim lab up $(TOPOLOGY)

kvm: .venv/.kvm

notebook: .venv/.notebook
	@$(BIN)/jupyter lab notebooks

lint: .venv/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

test: .venv/.dev $(if $(ROOT),.venv/.kvm) lint
	@$(BIN)/pytest

clean:
	rm -rf .venv out
