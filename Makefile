# Two commands do everything: `make run` and `make test`. Each sets up what it needs the first time
# (.venv, the servers' files under .local/downloads) and works offline from then on.

REQUIREMENTS := deploy/requirements
RUN_STAMP := .venv/set-up-run
DEV_STAMP := .venv/set-up-dev
SOURCES := contracts runtime ingest processors query cli deploy tests

.DEFAULT_GOAL := help
.PHONY: help run sql demo test test-long test-containers test-compat faults faults-short fuzz check
.PHONY: format bench bench-check clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  Settings come from the environment (TRACK_PORT, TRACK_HOME …); README.md lists them."

run: $(RUN_STAMP) ## Start everything here; Ctrl-C stops it
	@exec .venv/bin/track up --ends-with-parent

sql: $(RUN_STAMP) ## Ask the running stack in SQL (a prompt; docs/sql.md)
	@exec .venv/bin/track sql

demo: $(RUN_STAMP) ## Send a realistic day through the stack and check every number
	@exec .venv/bin/track demo

test: $(DEV_STAMP) ## Run the tests against real servers (ARGS="tests/cli -k up" for a part)
	@.venv/bin/python -m deploy.local.downloads
	@exec .venv/bin/python -m pytest -n 4 --dist loadfile -rs $(ARGS)

test-long: $(DEV_STAMP) ## Run the tests that `make test` leaves out because they take minutes
	@.venv/bin/python -m deploy.local.downloads
	@exec .venv/bin/python -m pytest -n 2 --dist worksteal -rs -m long $(ARGS)

test-containers: $(DEV_STAMP) ## Run the tests against containers, and the Compose file for real
	@.venv/bin/python -m deploy.local.downloads
	@exec .venv/bin/python -m tests.containers

test-compat: $(DEV_STAMP) ## Run the real clients against the stack
	@.venv/bin/python -m deploy.local.downloads
	@exec .venv/bin/python -m pytest -n 2 --dist worksteal -rs tests/compat $(ARGS)

# Of the seconds, not of bash.
SECONDS := $(if $(filter command line,$(origin SECONDS)),$(SECONDS),500)

fuzz: $(DEV_STAMP) ## Mutated input to every reader and service (SEED=7 SECONDS=500)
	@.venv/bin/python -m deploy.local.downloads
	@FUZZ_SEED=$(SEED) FUZZ_SECONDS=$(SECONDS) exec .venv/bin/python -m pytest -n 2 \
		--dist worksteal -rs tests/fuzz tests/http tests/stack/test_read_back.py

faults: $(DEV_STAMP) ## Break everything under load, check every number (NAME=kafka_* SEED=7)
	@.venv/bin/python -m deploy.local.downloads
	@exec .venv/bin/python -m tests.faults $(if $(SEED),--seed $(SEED)) \
		$(if $(EVENTS),--events $(EVENTS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(NAME),'$(NAME)')

faults-short: $(DEV_STAMP) ## The selection of it that `make test` includes
	@.venv/bin/python -m deploy.local.downloads
	@exec .venv/bin/python -m tests.faults --short $(if $(SEED),--seed $(SEED)) $(if $(NAME),'$(NAME)')

check: $(DEV_STAMP) ## Check format, lint, types and import rules
	@.venv/bin/ruff format --check $(SOURCES)
	@.venv/bin/ruff check $(SOURCES)
	@.venv/bin/mypy
	@.venv/bin/lint-imports

format: $(DEV_STAMP) ## Format the sources
	@.venv/bin/ruff format $(SOURCES)
	@.venv/bin/ruff check --fix $(SOURCES)

bench: $(DEV_STAMP) ## Measure everything on this machine into bench.json (bench-NAME: a part)
	@.venv/bin/python -m deploy.local.downloads
	@exec .venv/bin/python -m tests.benchmarks

bench-check: $(DEV_STAMP) ## Measure what has a ratio, and compare it with the recorded one
	@.venv/bin/python -m deploy.local.downloads
	@exec .venv/bin/python -m tests.benchmarks --check

bench-%: $(DEV_STAMP)
	@.venv/bin/python -m deploy.local.downloads
	@exec .venv/bin/python -m tests.benchmarks $*

clean: ## Remove the environment and caches; data and downloads in .local stay
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN_STAMP): $(REQUIREMENTS)/services.txt $(REQUIREMENTS)/local.txt pyproject.toml
	@deploy/local/set-up $@ $(REQUIREMENTS)/services.txt $(REQUIREMENTS)/local.txt

$(DEV_STAMP): $(RUN_STAMP) $(REQUIREMENTS)/dev.txt
	@deploy/local/set-up $@ $(REQUIREMENTS)/dev.txt
