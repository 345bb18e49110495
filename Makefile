# Everything starts here: `make demo` shows the product, `make test` shows that it works.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TOOLS := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt

# an address of builds of PyTorch, such as that of the ones without the libraries of NVIDIA's GPUs
TORCH_INDEX ?=

.PHONY: demo test check lint format bench torture docs clean help

help:
	@echo "make demo    install, then train, test and explain a small TAILOR (under three minutes)"
	@echo "make test    the whole test suite"
	@echo "make check   the half-minute half: ruff, mypy and the fast tests"
	@echo "make lint    ruff and mypy"
	@echo "make bench   speed and memory on this machine"
	@echo "make torture kills, power cuts, flipped bytes, bad disks, hostile input: for a night"
	@echo "make docs    build the documentation into docs/_build"
	@echo "With TORCH_INDEX=ADDRESS they take PyTorch from there: for the CPU alone 0.2 GB instead of 3."

# the product alone: what `pip install .` brings
$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { \
	  echo "error: there is no $(PYTHON)"; \
	  echo "  expected: Python 3.11 or newer"; \
	  echo "  to fix it: install it, or name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is $$($(PYTHON) --version)"; \
	  echo "  expected: Python 3.11 or newer"; \
	  echo "  to fix it: name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)"; \
	  exit 1; }
	@echo "== 1. A place of its own: $(VENV), with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@echo "== 2. PyTorch: 0.2 GB for the CPU alone, 3 GB with what NVIDIA's GPUs need"
ifneq ($(TORCH_INDEX),)
	@$(PIP) --extra-index-url $(TORCH_INDEX) torch
else
	@echo "   On Linux the large one is the default; docs/installation.md says how to get the small one."
	@$(PIP) torch
endif
	@echo "== 3. emotailor and its other packages: 0.1 GB; pip is silent while it unpacks"
	@$(PIP) --editable .
	@touch $@
	@echo "== Installed: . $(BIN)/activate makes emotailor a command of this terminal"

# what only the developers of emotailor need
$(TOOLS): $(INSTALLED)
	@echo "== Tools to test and check emotailor, and what reads texts and videos: 0.9 GB"
	@$(PIP) --editable '.[dev,export,hub,serve,text,track,tune,video]'
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/emotailor demo

test: $(TOOLS)
	$(BIN)/python -m pytest -n auto --dist loadfile

check: lint
	$(BIN)/python -m pytest -n auto -m fast

lint: $(TOOLS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(TOOLS)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(TOOLS)
	$(BIN)/python -m benchmarks

torture: $(TOOLS)
	PYTHONPATH=. $(BIN)/python -m tests.torture all
	EMOTAILOR_EVERY_EXPORT=1 $(BIN)/python -m pytest -n auto tests/export

docs: $(INSTALLED)
	@$(PIP) --quiet --editable '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build
	@echo "open docs/_build/index.html"

clean:
	rm -rf $(VENV) runs docs/_build
