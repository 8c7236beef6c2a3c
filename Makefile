# The two commands of the README, and the parts of the second. Each makes .venv and installs what it needs.
#   make demo    the method at work, in a terminal
#   make test    ruff, mypy and pytest

VENV := .venv
# EXTRAS=dev,trainer runs the trainer's tests too; it brings torch, some gigabytes where its default build is taken.
EXTRAS := dev
BIN := $(VENV)/bin

.PHONY: demo test lint types pytest image clean

demo: $(VENV)/service-installed
	$(BIN)/deepcompress demo

test: lint types pytest

lint: $(VENV)/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --exclude '*.md' .
	$(BIN)/python scripts/unasync.py --check

types: $(VENV)/dev-installed
	$(BIN)/mypy

pytest: $(VENV)/dev-installed
	.ci/system-packages
	$(BIN)/pytest -n 2 --dist loadfile

image:
	docker build -t deepcompress .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	"$$(.ci/python)" -m venv $(VENV)

$(VENV)/service-installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[service]"
	@touch $@

$(VENV)/dev-installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[$(EXTRAS)]"
	@touch $@ $(VENV)/service-installed
