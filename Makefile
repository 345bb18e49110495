# Everything starts here: `make demo` shows the product, `make test` shows that it works.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test check lint format bench torture docs clean help

help:
	@echo "make demo    set up, then train, test and explain a small TAILOR (about two minutes)"
	@echo "make test    the whole test suite"
	@echo "make check   the half-minute half: ruff, mypy and the fast tests"
	@echo "make lint    ruff and mypy"
	@echo "make bench   speed and memory on this machine"
	@echo "make torture kills, power cuts, flipped bytes, bad disks, hostile input: for a night"
	@echo "make docs    build the documentation into docs/_build"

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/emotailor demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto

check: lint
	$(BIN)/python -m pytest -n auto -m fast

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks

torture: $(INSTALLED)
	PYTHONPATH=. $(BIN)/python -m tests.torture all

docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build
	@echo "open docs/_build/index.html"

clean:
	rm -rf $(VENV) runs docs/_build
