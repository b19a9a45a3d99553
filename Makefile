.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

.PHONY: install
install: $(INSTALLED)  ## set up .venv with the package and its development tools

.PHONY: train
train: $(INSTALLED)  ## train on the shipped ECG; ARGS= adds overrides
	$(BIN)/python -m san.train dataset=physionet activation=extrema $(ARGS)

.PHONY: test
test: $(INSTALLED)  ## run the test suite; ARGS= adds options of pytest
	$(BIN)/python -m pytest $(ARGS)

.PHONY: test-slow
test-slow: $(INSTALLED)  ## run what takes long or provokes faults; ARGS= adds options of pytest
	$(BIN)/python -m pytest -m slow $(ARGS)

.PHONY: lint
lint: $(INSTALLED)  ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

.PHONY: format
format: $(INSTALLED)  ## rewrite the code in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: check
check: lint test  ## everything that has to be green before a change lands

.PHONY: bench
bench: $(INSTALLED)  ## measure the speed beside the plain way: table, JSON and figures in benchmarks/results/
	$(BIN)/python -m benchmarks

.PHONY: clean
clean:  ## delete the environment, the caches and what runs wrote
	rm -rf $(VENV) outputs dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
