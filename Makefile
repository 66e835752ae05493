# make train         install into .venv and learn CartPole from a sentence; flags: ARGS="--seeds 4"
# make test          install the development tools as well and run the tests; flags: ARGS="-k reward"
# make lint          ruff and pyright
# make PYTHON=...    with another interpreter than the first of python3.12, python3.11, python3 that will do
# make VENV=...      in another environment than .venv

VENV ?= .venv
TASK ?= cartpole
ARGS ?=
EXTRAS ?=
BIN := $(VENV)/bin
comma := ,
suitable = $(1) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null

.PHONY: train test lint clean
.DELETE_ON_ERROR:

train: $(VENV)/.installed-base
	$(BIN)/jaxvlm train $(TASK) $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .jax_cache

$(BIN)/python:
	@python=; \
	for candidate in $(PYTHON) python3.12 python3.11 python3; do \
	  if $(call suitable,$$candidate); then python=$$candidate; break; fi; \
	  if [ "$$candidate" = "$(PYTHON)" ]; then break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "jaxvlm needs Python 3.11 or newer with its venv module;" \
	    "found none as $(or $(PYTHON),python3.12$(comma) python3.11 or python3). Name one: make PYTHON=/path/to/python" >&2; \
	  exit 1; \
	fi; \
	echo "Making $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# The stamp is newer than pyproject.toml once everything it asks for is there.
$(VENV)/.installed-base: pyproject.toml | $(BIN)/python
	@echo "Installing jaxvlm$(if $(EXTRAS),[$(EXTRAS)]) into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.$(if $(EXTRAS),[$(EXTRAS)])'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing jaxvlm[dev$(if $(EXTRAS),$(comma)$(EXTRAS))] into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev$(if $(EXTRAS),$(comma)$(EXTRAS))]'
	@touch $(VENV)/.installed-base $@
