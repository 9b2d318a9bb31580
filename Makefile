# `make rollout` and `make test` do everything from a fresh clone: environment, install, run.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ROOMS := sampler policy envs rollouts checkpoints scripts

.PHONY: rollout test test-slow compare torture torture-short test-install test-install-peers test-lerobot lint types docs clean

rollout: $(INSTALLED)
	$(BIN)/paradp rollout square --sampler ddpm,auto --episodes 10 --out runs/demo

test: $(INSTALLED)
	$(BIN)/pytest -q -n 2

test-slow: $(INSTALLED)
	$(BIN)/pytest -q -n 2 -m slow

# Environments of their own for each Python there is, with what pip installs there.
test-install: $(INSTALLED)
	$(BIN)/pytest -q -m install

# Beside LeRobot, and with every extra: some 10 GB to download, so CI leaves it out.
test-install-peers: $(INSTALLED)
	$(BIN)/pytest -q -m peers

# LeRobot alone: an environment with it, the core and the plugin `lerobot_policy_paradp`, and `lerobot-eval` in there.
test-lerobot: $(INSTALLED)
	$(BIN)/pytest -q -m peers tests/test_install_lerobot.py

# Attacks the package and counts what must not happen: `make torture MINUTES=30 SEED=0`. The short one is for CI.
SEED := 0
torture torture-short: $(INSTALLED)
	PYTHONPATH=tests$${PYTHONPATH:+:$$PYTHONPATH} $(BIN)/python -m torture --minutes $(MINUTES) --seed $(SEED) $(TORTURE_OUT)

torture: MINUTES := 30
torture: TORTURE_OUT = --out docs/results/torture.json --page docs/reliability.md
torture-short: MINUTES := 1

# Whether two commits behave the same, to the bit: `make compare OLD=main NEW=HEAD`. What is meant to differ is named with
# COMPARE="--intended 'NAMES OF VALUES*'"; `--help` tells all options.
OLD := HEAD
NEW := .
compare: $(INSTALLED)
	PYTHONPATH=tests$${PYTHONPATH:+:$$PYTHONPATH} $(BIN)/python -m behaviour $(OLD) $(NEW) $(COMPARE)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy and mkdocs do not see the mapping of the rooms to paradp.<room>: they get a tree of links.
LINKED := mkdir -p build/types/paradp && for room in $(ROOMS); do ln -sfn ../../../$$room build/types/paradp/$$room; done && \
  ln -sfn ../../../checkpoints/bridges build/types/paradp/bridges && \
  ln -sfn ../../checkpoints/bridges/lerobot_policy_paradp build/types/lerobot_policy_paradp

types: $(INSTALLED)
	$(LINKED)
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml $(ROOMS:%=-p paradp.%) -p paradp.bridges -p lerobot_policy_paradp

# The site, in build/site; a broken link or a docstring that cannot be read is an error.
docs: $(INSTALLED)
	$(LINKED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# Said at once: on other versions pip builds packages from source, for an hour or without end.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
IN_USE := $(firstword $(wildcard $(BIN)/python) $(PYTHON))

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(IN_USE)" && "$(IN_USE)" -c "$(SUPPORTED)" 2>/dev/null || { \
	  version=$$("$(IN_USE)" --version 2>/dev/null || echo "no Python"); \
	  echo "paradp needs Python 3.11 or 3.12, and finds $$version at '$(IN_USE)': install one of them and name it, as in" \
	    "make PYTHON=python3.11 (a .venv of another version must be removed first)" >&2; exit 2; }
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
