# `make` lists what there is. Everything is installed into .venv, once, and again only when pyproject.toml or
# constraints.txt have changed.
#
#   make demo ENGINE=sdxl     through the real SDXL pipeline, or WAN's (ENGINE=wan); installs torch
#   make test PYTEST='-k queue'
#   make PYTHON=python3.12    another Python, 3.11 or newer, for a new .venv
#   make test TORCH_INDEX=URL another index for torch, such as PyTorch's own with builds for the CPU alone

PYTHON ?= python3
ENGINE ?= sketch
TORCH_INDEX ?=
PYTEST ?=
RUNS ?= 20
SEED ?= 1
IMAGE ?= supabase/postgres:17.6.1.084

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
# Four at a time, for many wait for processes; more threads of torch in each would only get into each other's way.
TEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 --dist worksteal $(PYTEST)
REQUIREMENTS := pyproject.toml constraints.txt
CODE := consumer migrations tests bench

# Two targets that install at once would be in each other's way.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test test-containers chaos lint format docs schema clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/$(if $(filter sketch,$(ENGINE)),.core,.gpu) ## see it work: a private Postgres, a worker, pictures (ENGINE=sketch, sdxl, wan)
	@$(BIN)/consumer demo --engine $(ENGINE)

test: $(VENV)/.dev ## run the tests (PYTEST='-k queue' for some of them)
	@$(TEST)

test-containers: $(VENV)/.dev ## run the tests on a Postgres in a container (IMAGE=supabase/postgres:...)
	@TEST_CONTAINER_IMAGE=$(IMAGE) $(TEST)

lint: $(VENV)/.dev ## check format, style, types, layers and the SQL of the migrations
	@$(BIN)/ruff format --check -q $(CODE)
	@$(BIN)/ruff check -q $(CODE)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/squawk sql/migrations/*.up.sql sql/optional/*.up.sql

format: $(VENV)/.dev ## write the Python files as `make lint` wants them
	@$(BIN)/ruff check -q --fix-only $(CODE)
	@$(BIN)/ruff format -q $(CODE)

docs: $(VENV)/.dev ## write the tables of docs/engines.md
	@PYTHONPATH=tests $(BIN)/python tests/engine_tables.py --write

chaos: $(VENV)/.dev ## kill, cut and fill at random, and check what is left (RUNS=1000 SEED=1)
	@OMP_NUM_THREADS=1 $(BIN)/python tests/chaos/run.py --runs $(RUNS) --seed $(SEED)

schema: $(VENV)/.dev ## write sql/schema.sql, the picture of the migrated database
	@$(BIN)/python tests/schema_picture.py --write

clean: ## remove what was installed, generated or cached
	@rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, and $(PYTHON) is not: try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment: on Debian and Ubuntu, install python3-venv" >&2; exit 1; }

$(VENV)/.core: $(REQUIREMENTS) | $(BIN)/python
	@echo "Installing the core into $(VENV), once; about half a minute ..."
	@$(PIP) -e '.[embedded]'
	@touch $@

$(VENV)/.torch: constraints.txt | $(BIN)/python
	@echo "Installing torch into $(VENV), once; it is large ..."
	@$(PIP) $(addprefix --extra-index-url ,$(TORCH_INDEX)) torch
	@touch $@

$(VENV)/.gpu: $(REQUIREMENTS) $(VENV)/.torch
	@echo "Installing diffusers and what it needs into $(VENV) ..."
	@$(PIP) -e '.[embedded,gpu]'
	@touch $@ $(VENV)/.core

$(VENV)/.dev: $(REQUIREMENTS) $(VENV)/.torch
	@echo "Installing what the tests need into $(VENV) ..."
	@$(PIP) -e '.[gpu,dev]'
	@touch $@ $(VENV)/.core $(VENV)/.gpu
