# make demo   see diptych work
# make test   check everything
# Each makes .venv on first use and installs what it needs: the demo does not wait for development tools.

PYTHON ?= python3
# Where to take PyTorch from, when not from the default index; README.md says who wants that.
TORCH_INDEX ?=

BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint format
.DELETE_ON_ERROR:

demo: .venv/.installed
	@$(BIN)/diptych demo

test: lint
	@$(BIN)/pytest --cov --cov-report=term:skip-covered

lint: .venv/.installed-dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: .venv/.installed-dev
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

.venv/.installed: EXTRA := local
.venv/.installed-dev: EXTRA := dev
.venv/.installed .venv/.installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing diptych[$(EXTRA)] into .venv; the first time takes a few minutes."
	@$(if $(TORCH_INDEX),$(INSTALL) --no-deps torch --index-url $(TORCH_INDEX))
	@$(INSTALL) -e ".[$(EXTRA)]"
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo 'diptych needs Python 3.11, 3.12 or 3.13, and "$(PYTHON)" is none of them.'; \
		echo 'Name another one, for example: make $(MAKECMDGOALS) PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -m venv .venv
