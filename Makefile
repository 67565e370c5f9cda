# Two commands do everything: `make repro` and `make test`. Both set up .venv first.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help repro test quick chat lint bench faults readme lock clean

help:  ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

repro: .venv/installed  ## Run the pipeline, then fail if a hop of the export lost too much
	dvc repro
	python scripts/gate.py

test: .venv/installed  ## Run every test, in two processes
	python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

quick: .venv/installed  ## Run the tests that need no heavy library, in under a minute
	python -m pytest -m "not slow"

chat: .venv/installed  ## Talk to the model that `make repro` made
	python scripts/chat.py

lint: .venv/installed  ## Check style and types
	ruff check . && ruff format --check . && mypy

faults: .venv/installed  ## Run the long fault campaign; tests/faults/README.md has what it found
	python -m pytest tests/faults/campaign_*.py

bench: .venv/installed  ## Measure how fast the models answer; benchmarks/README.md has more
	python benchmarks/decode.py --prefill 256 models/tflite/int8.tflite models/tflite/int4.tflite models/bundle/int8.task

readme: .venv/installed  ## Write the parts of README.md that come from the code
	python tests/readme.py

lock:  ## Write requirements.lock anew from requirements.txt
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet -r requirements.txt
	.venv-lock/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock
	rm -rf .venv-lock

clean:  ## Remove .venv; data and models stay
	rm -rf .venv

.venv/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or later is needed; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	@echo "installing requirements.lock into .venv (a few minutes, 4 GB)"
	.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.lock
	touch $@
