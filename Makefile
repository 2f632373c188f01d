# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Each makes its own environment in .venv first; a second run finds it and starts at once.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
VENV6 ?= .venv-qt6
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STAMP6 := $(VENV6)/.installed
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
EXTRAS := desktop,slides,geo,remote,distributed,test
# CI adds a tenth of the slow tests, another one for each commit.
SLOW := $(if $(CI),--slow-part commit)
# A process for each core, four at most: each may hold a window or a model. Tests of a file share what they set up.
SIDE := -n logical --maxprocesses 4 --dist loadfile
# Real windows on a shared machine are now and then late; a test that fails twice more has a reason.
AGAIN := $(if $(CI),--reruns 2)

.PHONY: help demo test test-slow test-qt6 check bench install clean

help: ## Say what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(STAMP) ## Click bundled coins, print the table, write demo_output/ (no screen, GPU or network)
	@$(BIN)/napari-relay demo --out demo_output

test: check ## All checks, then the fast tests
	@.ci/system-libraries
	@$(BIN)/python -m pytest -q $(SIDE) $(SLOW) $(AGAIN)

test-slow: $(STAMP) ## Every test, the slow ones too
	@.ci/system-libraries
	@$(BIN)/python -m pytest -q $(SIDE) --slow-part all

test-qt6: $(STAMP6) ## The window's tests on PyQt6
	@.ci/system-libraries
	@QT_API=pyqt6 PYTEST_QT_API=pyqt6 $(VENV6)/bin/python -m pytest -q $(SIDE) tests/widgets $(AGAIN)

check: $(STAMP) ## Lint, types, import contracts, napari manifest
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/npe2 validate napari-relay

bench: $(STAMP) ## Run the benchmarks, keep their numbers, write docs/performance.md (half an hour; PEER_WEIGHTS=file adds MobileSAM)
	@.ci/system-libraries
	@$(BIN)/python benchmarks/click_latency.py $(if $(PEER_WEIGHTS),--peer-weights $(PEER_WEIGHTS))
	@for s in busy_click learn_click make_huge store_commit store export window_start gui_stall accept_to_screen open_memory whole_image proposals; do \
	  echo "== $$s"; $(BIN)/python benchmarks/$$s.py; done
	@$(BIN)/python benchmarks/report.py

install: $(STAMP) ## Only make the environment

# torch and torchvision first and as a pair: chosen later they may come from two builds that do not load together.
# mobilesam-mirror is the peer that benchmarks and tests measure against. Its requirements would bring a second
# torch stack with other bounds, and all it needs is installed by then, hence --no-deps and not in the extra `test`.
$(STAMP): pyproject.toml constraints.txt .ci/system-libraries .ci/find-python
	@.ci/system-libraries || true
	@test -x $(BIN)/python || "$$(.ci/find-python)" -m venv $(VENV)
	@echo "Installing into $(VENV): about 5 GB with torch, some minutes, once."
	@$(PIP) -U pip
	@$(PIP) -c constraints.txt torch torchvision
	@$(PIP) -c constraints.txt -e ".[$(EXTRAS)]"
	@$(PIP) --no-deps mobilesam-mirror==1.0.0
	@touch $@

# PyQt6 alone lies in this environment; everything else is read from the first, so that torch is not installed twice.
$(STAMP6): $(STAMP)
	@test -x $(VENV6)/bin/python || $(BIN)/python -m venv $(VENV6)
	@$(VENV6)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt "PyQt6>6.5" PyQt6-Qt6
	@first="$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"; \
	 second="$$($(VENV6)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"; \
	 echo "import site; site.addsitedir('$$first')" > "$$second/first_environment.pth"
	@touch $@

clean: ## Remove the environments and what tests and demo wrote
	@rm -rf $(VENV) $(VENV6) demo_output .mypy_cache .ruff_cache .import_linter_cache .hypothesis
