# Every target builds .venv first, if need be. `make PYTHON=python3.13 test` chooses an interpreter.

BIN := .venv/bin
READY := .venv/ready
# One more than there are cores: tests wait, too.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

.PHONY: help setup run test check unit slow lint types coverage soak mutants format docs bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## the virtual environment

run: $(READY) ## show the servers on this machine and ask one a question
	$(BIN)/patinox status
	$(BIN)/patinox chat "Hello! What is 3 + 4?"

test: lint types coverage slow ## everything that CI checks, in under ten minutes

check: lint types unit ## the inner loop, under two minutes

unit: $(READY) ## the tests but for the slow ones, without coverage and asyncio's debug mode
	$(BIN)/pytest --numprocesses $(WORKERS) --quiet -m "not slow" -o asyncio_debug=false

lint: $(READY) ## style and layout
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY) ## both type checkers
	$(BIN)/mypy
	$(BIN)/pyright

slow: $(READY) ## the slow tests, without coverage: they repeat the lines of the others, many times
	$(BIN)/pytest --numprocesses auto --quiet -m slow

coverage: $(READY) ## the tests but for the slow ones, with the coverage that they must reach
	rm -rf .coverage
	$(BIN)/coverage run -m pytest --numprocesses auto -m "not slow"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/coverage report --include=$$($(BIN)/python tests/test_architecture.py) --fail-under=100

SECONDS := 60
soak: $(READY) ## a thousand streams at a time, cancelled, spoilt, servers killed: SECONDS=60
	$(BIN)/python scripts/soak --seconds $(SECONDS)

mutants: $(READY) ## change what decides without I/O, a little at a time: does a test see it?
	$(BIN)/python scripts/mutants --sample $(or $(SAMPLE),20)

format: $(READY) ## rewrite to the house's layout
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(READY) ## write the generated parts of docs/ anew
	$(BIN)/python scripts/cli_docs
	$(BIN)/python scripts/config_docs
	$(BIN)/python scripts/services_docs
	$(BIN)/python scripts/telemetry_docs

bench: $(READY) ## Patinox beside its peers, into docs/performance.md (ten minutes; QUICK=1: a look)
	$(BIN)/python benchmarks/run.py $(if $(QUICK),--quick)

lock: ## write requirements/dev.txt anew
	scripts/lock

clean: ## remove what these targets made
	rm -rf .venv benchmarks/.build benchmarks/.envs .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache dist

$(READY): requirements/dev.txt pyproject.toml scripts/setup
	@scripts/setup
	@touch $@
