# Two commands do everything: `make demo` and `make test`. The first run of each installs pinned versions into .venv;
# later runs need no network.
PYTHON ?= python3
BIN := .venv/bin
SWEEP_OUT := demo

.PHONY: demo test test-slow lint

demo: .venv/.installed
	$(BIN)/postsweep demo --out $(SWEEP_OUT)

test: lint
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: lint
	$(BIN)/pytest -m "slow"

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("postsweep needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python setup.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable .
	touch $@

.venv/.installed-test: .venv/.installed
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[test]'
	touch $@
