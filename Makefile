# make repro            raw files to tables (set up first if need be), for the profiles that params.yaml lists:
#                       the demo in a fresh clone
# make repro PROFILE=cmu  the same on real motion capture
# make plan PROFILE=paper  what its trainings take (FLOPs, memory, hours), before they are run
# make services         Prefect, MLflow and workers on this machine;  make services-down stops them;  make worker: one more
# make test             the suite at reduced counts;  make test-grid: grids on workers, DVC remotes;  make test-full: all,
#                       every campaign at full count
PYTHON  ?= python3
VENV    ?= .venv
# Which torch: any requirement pip understands. The default takes what pip gives (on Linux the CUDA build; it also
# runs on the CPU). For a small CPU-only install name your CPU wheel here.
TORCH   ?= torch==2.13.0
PROFILE ?=

BIN   := $(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(abspath $(BIN)):$(PATH)
# No program that we call reports home.
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: repro plan services services-down worker test test-grid test-full check format clean-environment
repro: $(READY)
	@$(BIN)/python -m pipeline.reproduce $(PROFILE)

plan: $(READY)
	@$(BIN)/python -m pipeline.plan $(or $(PROFILE),demo)

services: $(READY)
	@$(BIN)/python -m pipeline.services up $(SERVICES)

services-down: $(READY)
	@$(BIN)/python -m pipeline.services down

worker: $(READY)
	@$(BIN)/python -m pipeline.services worker

# A file of tests a core at a time (four at most), with a thread each.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

test: $(READY)
	$(PYTEST) -m "not campaign and not grid"

test-grid: $(READY)
	$(PYTEST) -m "grid and not campaign"

test-full: $(READY)
	$(PYTEST)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "LangPose needs Python 3.11 or newer; " \
	  "%s is %s. Name another: make PYTHON=python3.12 ..." % (sys.executable, sys.version.split()[0]))'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean-environment:
	rm -rf $(VENV)
