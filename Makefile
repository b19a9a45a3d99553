.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

# setuptools builds the packages without a wheel, so it comes first: pip checks no hashes in isolated builds.
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
test: $(INSTALLED)  ## run the test suite; ARGS= adds pytest options
	$(BIN)/python -m pytest $(ARGS)

.PHONY: test-slow
test-slow: $(INSTALLED)  ## run the tests that take long or provoke faults; ARGS= adds pytest options
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
check: lint test  ## check style and types, and run the test suite, before a change lands

.PHONY: docs
docs: $(INSTALLED)  ## run the gallery and build the documentation site, dist/site/index.html
	$(BIN)/sphinx-build --fresh-env --fail-on-warning --keep-going --quiet --doctree-dir dist/doctrees docs dist/site

.PHONY: notebooks
notebooks: $(INSTALLED)  ## run the examples of the gallery as notebooks; ARGS= adds pytest options
	$(BIN)/python -m pytest -m notebooks $(ARGS)

.PHONY: bench
bench: $(INSTALLED)  ## measure the speed and write the table, JSON and figures in benchmarks/results/; ARGS= chooses parts
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: lock
lock: $(INSTALLED)  ## lock versions and hashes in constraints.txt; ARGS=--upgrade locks the newest
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
		--custom-compile-command 'make lock' --output-file constraints.txt $(ARGS) pyproject.toml

.PHONY: audit
audit: $(INSTALLED)  ## check the locked packages for known vulnerabilities; queries PyPI
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement constraints.txt

.PHONY: sbom
sbom: $(INSTALLED)  ## list the installed packages in dist/sbom.json (CycloneDX)
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --output-file dist/sbom.json $(VENV)

.PHONY: reproduction
reproduction: $(INSTALLED)  ## reproduce the paper's tables and figures, and write docs/reproduction.md
	$(BIN)/python -m san.reproduce
	sed '/^    "paths": {/,/^    }/d' outputs/reproduce/reproduce.json > docs/reproduction.json
	cp outputs/reproduce/summary.md docs/reproduction.md

.PHONY: clean
clean:  ## delete the environment, the caches and the outputs of runs
	rm -rf $(VENV) outputs dist .pytest_cache .mypy_cache .ruff_cache .hypothesis docs/api docs/commands docs/gallery docs/project
