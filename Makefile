# The same targets for a person and for continuous integration. `make` alone lists them.
# A first call makes .venv from the hashed lock (about 6 GB, 3 to 10 minutes); later calls install nothing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= $(firstword $(foreach python,python3 python3.13 python3.12 python3.11,$(shell \
    $(python) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(python))))
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV ?= uv
# uv, where it is there: the same lock, several times as fast
PIP_INSTALL = $(if $(shell command -v $(UV)),$(UV) pip install --quiet --python $(BIN)/python,$(BIN)/pip install --quiet \
    --disable-pip-version-check)
SCALE ?= $(or $(shell sed -nE "s/^scale: *[\"']?([a-z0-9.-]+).*/\1/p" config/config.yaml),quick)
PYTHON_FILES := marscf snakemake_logger_plugin_marscf tests workflow
SNAKE_FILES := Snakefile workflow/rules

.PHONY: help reproduce published plan check metrics-diff test test-all campaigns lint format lock pull docs clean
help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

reproduce: announce $(READY)  ## set up, run everything at SCALE (default: that of config/config.yaml), write the report
	@$(BIN)/snakemake --cores all --config scale=$(SCALE)
	@printf '\nThe report: %s\n' "$(CURDIR)/reports/$(SCALE)/index.html"
	@cat reports/$(SCALE)/summary.txt

.PHONY: announce
announce:
	@printf 'Scale %s: %s.\n' $(SCALE) "$$(sed -n 's/^description: //p' config/scales/$(SCALE).yaml)"
	@printf 'Prepare data, train, measure, draw every table and figure into reports/%s/.\n' $(SCALE)
	@[ -e $(READY) ] || echo 'First, once: Python packages into $(VENV), about 6 GB, 3 to 10 minutes.'
	@echo 'What is there already is not made again; interrupt it at any moment, and call it again to continue.'

published: $(READY)  ## import the published weights and measure them
	@$(BIN)/snakemake --cores all --config scale=published

plan: $(READY)  ## what SCALE will take: time, memory, disk, download
	@$(BIN)/marscf plan --scale $(SCALE)

check: $(READY)  ## compare the measurements with the reference; fails where one got worse
	@$(BIN)/snakemake --cores all check --config scale=$(SCALE)

metrics-diff: $(READY)  ## what changed in the metrics since commit BASE, as a table
	@echo '### Metrics, $(SCALE)'
	@echo
	@$(BIN)/dvc metrics diff --md $(BASE) --targets reports/$(SCALE)/metrics.json || echo 'no metrics to compare with'

BASE ?= HEAD

test: $(READY)  ## the tests, within 15 minutes on 2 cores
	$(BIN)/python -m pytest -m "not long"

test-all: test  ## these and the long ones, as long again and more
	$(BIN)/python -m pytest -m long

campaigns: $(READY)  ## kills, altered files, hostile inputs, planted errors, full disks; an hour of one core
	MARSCF_CAMPAIGNS=whole $(BIN)/python -m pytest tests/campaigns

lint: $(READY)  ## ruff, mypy, snakefmt, snakemake --lint
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/mypy
	$(BIN)/snakefmt --check $(SNAKE_FILES)
	$(BIN)/python workflow/lint.py

format: $(READY)  ## what lint asks for, done
	$(BIN)/ruff check --fix $(PYTHON_FILES)
	$(BIN)/ruff format $(PYTHON_FILES)
	$(BIN)/snakefmt $(SNAKE_FILES)

lock:  ## pin the newest packages that pyproject.toml allows (needs uv)
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --all-extras --upgrade \
	    pyproject.toml -o requirements.lock

# Datasets are not in it: their licences are their own, and `marscf data` fetches and verifies them
pull: $(READY)  ## fetch the trained models and measurements of the reference, from the remote in the repository
	$(BIN)/dvc pull --remote reference data/runs data/extractors .snakemake/metadata

docs: $(READY)  ## the documents as a site, build/site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@printf 'The documents: %s\n' "$(CURDIR)/build/site/index.html"

clean:  ## remove what can be remade in minutes: reports and logs; never data/ with the trained models, benchmarks, trials
	rm -rf logs $(filter-out reports/reference reports/bench reports/tuning,$(wildcard reports/*))

$(READY): requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo 'make: needs Python 3.11 or newer with venv; set PYTHON=…' >&2; exit 2; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --require-hashes -r requirements.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	touch $@
