# Every target sets up what it needs: a fresh machine with Python >= 3.11 is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOME_FOLDER := demo
# files of tests are shared among so many processes, of one thread each
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
export COTRAIN_TEST_DATA

.DEFAULT_GOAL := help
.PHONY: help demo test slow lint wheel clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

# one stamp for the package, one for the tools of development: `make demo` installs no linters
$(VENV)/.package: setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "cotrain needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.development: $(VENV)/.package
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(VENV)/.package  ## install, train the digits recipe into an embedded database, show table and picture
	COTRAIN_HOME=$(HOME_FOLDER) $(BIN)/cotrain enqueue recipes/digits_v1.py
	COTRAIN_HOME=$(HOME_FOLDER) $(BIN)/cotrain work --recipe digits_v1
	COTRAIN_HOME=$(HOME_FOLDER) $(BIN)/cotrain report digits_v1 --out $(HOME_FOLDER)/digits_v1.png
	COTRAIN_HOME=$(HOME_FOLDER) $(BIN)/cotrain db stop

test: $(VENV)/.development  ## install, run the tests that take less than ten seconds each
	$(TESTS) -m 'not slow'

slow: $(VENV)/.development  ## run the other ones
	$(TESTS) -m slow

lint: $(VENV)/.development  ## style, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint docker/Dockerfile docker/lab.Dockerfile
	$(BIN)/shellcheck docker/*.sh
	$(BIN)/mypy

wheel: $(VENV)/.development  ## build the wheel and the source archive into dist/
	rm -rf build dist
	$(BIN)/python -m build --quiet

clean:  ## remove what was built, the virtual environment and the demo's database
	-test -x $(BIN)/cotrain && COTRAIN_HOME=$(HOME_FOLDER) $(BIN)/cotrain db stop
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis $(VENV) $(HOME_FOLDER)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
