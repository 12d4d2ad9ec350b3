# Set-up is part of every target: it needs Python 3.11 to 3.13 and make, nothing else.
#
#   make demo    check an objective, verify its certificate, write the page
#   make test    all tests but the long ones and those of browsers and models that are not installed
#   make check   lint and types
#   make soak    the long tests: 100,000 random objectives and as many changed certificates, CVXPY, wrong rules; hours
#   make mutate  wrong rules alone: do the tests of the rules notice each?
#   make docs    the documentation, into site/
#   make tables  the tables of losses and activations in it, by running the tool
#   make clean   remove what was built; `make distclean` removes the environment too
#
# TORCH is what pip installs first.  PyPI's wheel for Linux carries CUDA, several gigabytes; for the CPU build alone say
#   make test TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu'

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$p && break; done)
VENV ?= .venv
TORCH ?= torch==2.13.0
JOBS ?= 2
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install -qq
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test check soak mutate docs tables clean distclean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed '/^TORCH is/,$$d'

# --- the environment: one stamp per set of requirements, renewed when pyproject.toml changes

$(VENV)/.torch:
	@test -n "$(PYTHON)" || { echo "epigraph needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON) and $(TORCH)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) $(TORCH)
	@touch $@

$(VENV)/.data: EXTRAS := data
$(VENV)/.test: EXTRAS := data,test
$(VENV)/.check: EXTRAS := data,test,dev
$(VENV)/.docs: EXTRAS := docs

$(VENV)/.data $(VENV)/.test $(VENV)/.check $(VENV)/.docs: pyproject.toml | $(VENV)/.torch
	@echo "installing epigraph with the extras $(EXTRAS)"
	@$(PIP) --editable '.[$(EXTRAS)]'
	@touch $@

# --- what people run

TARGET ?= examples/digits_mlp.py:objective

demo: $(VENV)/.data
	@mkdir -p build
	$(BIN)/epigraph check $(TARGET) --certificate build/digits.epi --report build/digits.html $(ARGS)
	$(BIN)/epigraph verify build/digits.epi
	@echo
	@echo "The page: file://$(CURDIR)/build/digits.html"

test: $(VENV)/.test
	@$(THREADS) $(BIN)/python -m pytest -n $(JOBS) --timeout 300 $(ARGS)

# Each part prints its counts: random objectives, changed certificates, CVXPY, wrong rules, then pytest's long tests.
SOAK := PYTHONPATH=src:tests/soak:tests/certificate:tests/cvxpy $(THREADS) $(BIN)/python -W ignore

soak: $(VENV)/.test
	@$(SOAK) tests/soak/soak_run.py --jobs $(JOBS)
	@$(SOAK) tests/soak/soak_files.py --jobs $(JOBS)
	@$(SOAK) tests/cvxpy/dcp_compare.py
	@$(THREADS) HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -n $(JOBS) --timeout 3600 -m soak $(ARGS)
	@$(MAKE) --no-print-directory mutate

mutate: $(VENV)/.test
	@PYTHONPATH=src $(THREADS) $(BIN)/python tests/rules/mutate.py --jobs $(JOBS) $(ARGS)

check: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

tables: $(VENV)/.data
	@$(THREADS) $(BIN)/python docs/tables/generate.py $(ARGS)

clean:
	rm -rf build dist site .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
