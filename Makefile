# Everything happens in .venv, which `make` builds when it is not there.
PYTHON ?= python3
BIN := .venv/bin
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))

# Models this small gain nothing from a second thread, and wait for it when that core is busy.
ONE_THREAD := OMP_NUM_THREADS=1

# How many processes share the tests, file by file; `make test PROCESSES=0` is one alone, as a debugger needs it.
PROCESSES ?= 2

.PHONY: install quickstart test test-slow lint docs bench wheels release-check clean

install: .venv/installed

.venv/installed: requirements.txt core/pyproject.toml $(PLUGINS:%=%/pyproject.toml)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -e core $(PLUGINS:%=-e %)
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

quickstart: install  ## train on real digits, then show what was learned; run again, it goes on where it was
	$(ONE_THREAD) $(BIN)/unmask fit --config vision/mae-digits --out runs/quickstart --ckpt_path last
	$(ONE_THREAD) $(BIN)/unmask probe runs/quickstart
	@echo "Pictures of input, what was hidden and the reconstruction: runs/quickstart/pictures/latest.png"

test: .venv/installed-dev  ## the default tests, a few minutes
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile

test-slow: .venv/installed-dev  ## tests of minutes: each wheel alone in a clean environment, and others
	$(ONE_THREAD) $(BIN)/python -m pytest -m slow

wheels: .venv/installed-dev  ## one per package, in dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist ./core $(PLUGINS:%=./%)

release-check: .venv/installed-dev  ## sdists and wheels in dist/, their metadata, and each wheel alone passing its tests
	rm -rf dist
	$(BIN)/python tests/release_check.py --out dist
	$(ONE_THREAD) $(BIN)/python -m pytest -m 'slow or not slow' tests/test_wheels.py

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed-dev  ## the site, in site/, with no warning and no dead link; then: python -m http.server -d site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict  # the variable silences an advertisement

bench: .venv/installed-dev  ## speed as a ratio against a named peer
	$(BIN)/python benchmarks/speed/vision.py

clean:
	rm -rf .venv runs dist site
