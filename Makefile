.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

# setuptools, which builds what has no wheel, comes first: pip checks no hash of what it builds in isolation.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || python3 -m venv $(VENV)
	sed -n '/^setuptools==/,/#/p' constraints.txt | $(PIP) --require-hashes --requirement /dev/stdin
	$(PIP) --require-hashes --no-build-isolation --requirement constraints.txt
	$(PIP) --no-deps --no-build-isolation --editable .
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
test-slow: $(INSTALLED)  ## run the tests that take long or provoke faults; ARGS= adds options of pytest
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

.PHONY: lock
lock: $(INSTALLED)  ## write constraints.txt, what is installed, with hashes; ARGS=--upgrade takes the newest
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
		--custom-compile-command 'make lock' --output-file constraints.txt $(ARGS) pyproject.toml

.PHONY: audit
audit: $(INSTALLED)  ## look for known vulnerabilities of what is installed; asks PyPI
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement constraints.txt

.PHONY: sbom
sbom: $(INSTALLED)  ## write dist/sbom.json: what is installed, in CycloneDX
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --output-file dist/sbom.json $(VENV)

.PHONY: reproduction
reproduction: $(INSTALLED)  ## compute the paper's tables and figures again, and write docs/reproduction.md
	$(BIN)/python -m san.reproduce
	sed '/^    "paths": {/,/^    }/d' outputs/reproduce/reproduce.json > docs/reproduction.json
	cp outputs/reproduce/summary.md docs/reproduction.md

.PHONY: clean
clean:  ## delete the environment, the caches and what runs wrote
	rm -rf $(VENV) outputs dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
