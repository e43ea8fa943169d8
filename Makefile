# Every task of the project; `make` lists them. Continuous integration (.ci/run) calls these targets and nothing else.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check --quiet
INSTALLED := $(VENV)/.installed
REQUIREMENTS := requirements.txt requirements-dev.txt requirements-nethack.txt constraints.txt

# `make train` takes a new name each time, so that it can be called again; ARGS is appended to the command.
EXP_NAME = make-train-$(shell date +%Y%m%d-%H%M%S)
ARGS =
# Experts with names: survival, combat, exploration and general (docs/results/experts.md).
TRAIN_ARGS = --config named-roles --episodes 300 --phase-boundaries 100,200 --checkpoint-every 100
TESTS =

# Ray's own reporting to its makers, off.
export RAY_USAGE_STATS_ENABLED ?= 0

# Times that each repeating fault test of `make test-faults` repeats its fault; `make test-slow` takes all.
REPEATS = 2

STAGES = setup lint types test test-faults train

.PHONY: help setup train test test-faults test-slow lint format types docs ci clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## install everything into .venv (quick when nothing changed)

train: $(INSTALLED) ## a short NetHack training through all three phases; ARGS="..." appends flags
	$(PYTHON) scripts/train.py --exp-name $(EXP_NAME) $(TRAIN_ARGS) $(ARGS)

test: $(INSTALLED) ## all tests but the slow ones; TESTS="tests/models -k gate" chooses
	$(PYTHON) -m pytest -m "not slow" $(TESTS)

test-faults: $(INSTALLED) ## the slow tests of faults (kills, stops, lost nodes, resumes), each fault a few times
	TEST_REPEATS=$(REPEATS) $(PYTHON) -m pytest -m "slow and not soak" --durations 0 $(TESTS)

test-slow: $(INSTALLED) ## all slow tests, with every repetition (half an hour)
	$(PYTHON) -m pytest -m slow --durations 0 $(TESTS)

lint: $(INSTALLED) ## ruff: rules and format
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check

format: $(INSTALLED) ## let ruff mend what it can
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

types: $(INSTALLED) ## mypy
	$(PYTHON) -m mypy

docs: $(INSTALLED) ## write docs/metrics.md and the pictures anew
	$(PYTHON) docs/metrics_page.py
	$(PYTHON) docs/pictures.py

ci: ## what continuous integration runs, with the seconds of each stage
	@for stage in $(STAGES); do \
	  echo "==> make $$stage"; SECONDS=0; \
	  $(MAKE) $$stage </dev/null; \
	  echo "==> make $$stage: $$SECONDS s"; \
	done

clean: ## remove caches and .venv; results/ stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find rllib_moe scripts benchmarks tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an interrupted install is done again.
$(INSTALLED): $(REQUIREMENTS) pyproject.toml | $(PYTHON)
	@echo "Installing into $(VENV) (a few minutes the first time) ..."
	@rm -f $@
	$(PIP) install -c constraints.txt -r requirements.txt -r requirements-dev.txt
	$(PIP) install --no-deps -r requirements-nethack.txt
	$(PIP) install --no-deps --editable .
	@touch $@

# By name, then wherever pyenv keeps its versions: its `python3.11` may exist and still refuse to run.
$(PYTHON):
	@for python in python3.11 python3 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.11*/bin/python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	    echo "$$python -m venv $(VENV)"; exec "$$python" -m venv --clear $(VENV); \
	  fi; \
	done; \
	echo "make: Python 3.11 not found (tried python3.11, python3 and pyenv's versions)." \
	  "On Debian 12: apt install python3.11-venv; elsewhere: pyenv install 3.11." >&2; exit 1
