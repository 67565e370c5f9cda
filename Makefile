# Two commands do everything: `make repro` and `make test`. Both set up .venv first.
# What only tests, style checks and benchmarks need is installed when one of them is run.
PYTHON ?= python3
UV ?= $(shell command -v uv)
# Which torch is in .venv: the stamp says it. A new .venv gets the CPU build.
INSTALLED_TORCH := $(or $(shell cat .venv/installed 2> /dev/null),cpu)
TORCH ?= $(INSTALLED_TORCH)
ifneq ($(TORCH),cpu)
ifneq ($(TORCH),cuda)
ifneq ($(origin TORCH),environment)
$(error TORCH is "$(TORCH)": say TORCH=cpu or TORCH=cuda)
endif
# A variable of the same name, for something else
override TORCH := $(INSTALLED_TORCH)
endif
endif
# A .venv keeps the Python that it was made with.
VERSION = import sys; print(*sys.version_info[:2], sep=".")
ifeq ($(origin PYTHON),command line)
ifeq ($(filter clean lock help,$(MAKECMDGOALS)),)
FOUND := $(shell .venv/bin/python -c '$(VERSION)' 2> /dev/null)
ASKED := $(shell $(PYTHON) -c '$(VERSION)' 2> /dev/null)
ifneq ($(or $(FOUND),$(ASKED)),$(ASKED))
$(error .venv has Python $(FOUND), and $(PYTHON) is $(or $(ASKED),not there): \
`make clean` removes .venv)
endif
endif
endif
TORCH_CPU := https://download.pytorch.org/whl/cpu
# Not /bin/sh: the make of macOS (3.81) would look up simple commands in the PATH that it was
# started with.
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export NO_BROWSER CHROMIUM FIREFOX

.PHONY: help repro test quick chat web browser lint bench faults verify readme lock clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-10s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

repro: .venv/installed  ## Run the pipeline, then fail if a check of the gate failed
	dvc repro
	python scripts/gate.py

test: .venv/installed-dev browser  ## Run every test, in two processes; NO_BROWSER=1 leaves out those in browsers
	python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

quick: .venv/installed-dev  ## Run the tests that need no heavy library, in under a minute
	python -m pytest -m "not slow"

chat: .venv/installed  ## Talk to the model that `make repro` made
	python scripts/chat.py

web: .venv/installed  ## Chat with it in a browser, at port 8000 or PORT
	python scripts/web.py $(if $(PORT),--port $(PORT))

# Elsewhere the tests themselves say what is missing.
browser:  ## Install Chromium, Firefox and npm for the tests, if you are root on Debian
	@missing="$$(command -v $(or $(CHROMIUM),chromium) > /dev/null || echo chromium)"; \
	missing="$$missing $$(command -v $(or $(FIREFOX),firefox-esr firefox) > /dev/null || echo firefox-esr)"; \
	missing="$$missing $$(command -v npm > /dev/null || echo npm)"; \
	if [ -z "$(NO_BROWSER)" ] && [ "$$missing" != "  " ] && [ "$$(id -u)" = 0 ] \
	&& command -v apt-get > /dev/null; then \
	timeout 120 apt-get update -qq; \
	for name in $$missing; do \
	timeout 600 apt-get install -qq -y --no-install-recommends $$name || \
	echo "$$name could not be installed; the tests in Chromium will fail, those in Firefox are skipped"; \
	done; fi

lint: .venv/installed-dev  ## Check style and types
	ruff check . && ruff format --check . && mypy

faults: .venv/installed-dev  ## Run the long fault campaign; tests/faults/README.md has what it found
	python -m pytest -o faulthandler_timeout=7200 tests/faults/campaign_*.py

verify: .venv/installed  ## Look for damaged files in DVC's cache; REMOVE=yes removes them
	python scripts/verify_cache.py $(if $(REMOVE),--remove)

bench: .venv/installed-dev  ## Measure how fast the models answer; benchmarks/README.md has more
	python benchmarks/decode.py --prefill 256 models/tflite/int8.tflite models/tflite/int4.tflite models/bundle/int8.task

readme: .venv/installed-dev  ## Write the parts of README.md that come from the code
	python tests/readme.py

lock:  ## Write both lock files anew from requirements.txt and requirements-dev.txt
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet -r requirements.txt
	$(FREEZE) > requirements.lock
	.venv-lock/bin/pip install --quiet -c requirements.lock -r requirements-dev.txt
	$(FREEZE) | grep -vxFf requirements.lock > requirements-dev.lock
	rm -rf .venv-lock

clean:  ## Remove .venv; data and models stay
	rm -rf .venv

# TORCH=cuda: what PyPI has, on Linux a CUDA build of several GB. Else PyTorch's own CPU build, if its
# index answers: a stage that runs on the CPU needs no more. On macOS both are the same.
# If .venv has the other one, it is replaced: both have the version that is pinned.
# UV=: install with pip where uv is there.
SWITCH_TORCH := $(if $(filter-out $(INSTALLED_TORCH),$(TORCH)),--force-reinstall)
.PHONY: other-torch
.venv/installed: requirements.lock $(if $(SWITCH_TORCH),other-torch)
	@$(PYTHON) -c '$(CHECK_PYTHON)'
	@echo "installing requirements.lock into .venv: a few minutes, 5.2 GB (with TORCH=cuda several more)"
	$(VENV)
	@if [ $(TORCH) = cpu ] && [ "$$(uname)" = Linux ]; then \
	if $(PYTHON) -c '$(FIND_TORCH)' 2> /dev/null; \
	then rm -f $@; $(INSTALL_TORCH) --index-url $(TORCH_CPU) $(if $(SWITCH_TORCH),,|| true); \
	elif [ -n "$(SWITCH_TORCH)" ]; then \
	echo "$(TORCH_CPU) does not answer: torch's CUDA build stays. Try again later, or run make without TORCH=cpu" >&2; \
	exit 1; fi; \
	elif [ -n "$(SWITCH_TORCH)" ]; then rm -f $@; $(INSTALL_TORCH); fi
	$(INSTALL) -r $<
	@$(TORCH_THERE) > $@

# What the stamp says: on Linux the build that is there, which without PyTorch's index is PyPI's.
TORCH_THERE = if [ "$$(uname)" != Linux ]; then echo $(TORCH); \
	elif ls .venv/lib/*/site-packages | grep -q '^torch-.*+cpu\.'; then echo cpu; else echo cuda; fi

# What tests, style checks and benchmarks need besides.
.venv/installed-dev: requirements-dev.lock .venv/installed
	@echo "installing requirements-dev.lock into .venv: less than a minute, 0.6 GB"
	$(INSTALL) -r $<
	touch $@

INSTALL_TORCH = $(INSTALL) --no-deps $(SWITCH_TORCH) $$(grep '^torch==' requirements.lock)
FREEZE = .venv-lock/bin/pip freeze --exclude-editable | sed 's/+cpu$$//'

ifeq ($(UV),)
VENV = $(PYTHON) -m venv .venv
INSTALL = .venv/bin/pip install --disable-pip-version-check
else
VENV = $(UV) venv --quiet --seed --allow-existing --python $(PYTHON) .venv
INSTALL = $(UV) pip install --python .venv/bin/python
endif

define CHECK_PYTHON
import sys; v = sys.version_info[:2]; \
sys.exit("Python 3.11 to 3.13 is needed; try make PYTHON=python3.12" if v < (3, 11) else \
"Python 3.11 to 3.13 is needed: litert-converter, tensorflow-text and mediapipe have no wheels " \
"for 3.14; try make PYTHON=python3.13" if v > (3, 13) else None)
endef

FIND_TORCH = import urllib.request; urllib.request.urlopen("$(TORCH_CPU)/torch/", timeout=5)
