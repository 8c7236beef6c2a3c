# The two commands of the README, and the parts of the second. Each makes .venv and installs what it needs.
#   make demo    the method at work, in a terminal
#   make test    ruff, codespell, mypy and pytest
#   make release builds a release and checks it
#   make docs    the documentation as a site, in .work/site; warnings and broken links are errors
#   make links   requests every external link of the documentation; needs the network
#   make quick   the tests that need no server: half a minute on two idle cores

VENV := .venv
# EXTRAS=dev,trainer runs the trainer's tests too; it brings torch, some gigabytes where its default build is taken.
EXTRAS := dev
BIN := $(VENV)/bin
QUICK := tests/shaping tests/verification/test_judgement.py tests/verification/test_rules.py tests/verification/test_units.py \
    tests/verification/test_verify.py tests/verification/test_extract.py tests/packaging/test_layers.py \
    tests/packaging/test_documents.py tests/packaging/test_install.py

.PHONY: demo test quick lint types pytest docs links image release clean

demo: $(VENV)/service-installed
	$(BIN)/deepcompress demo

test: lint types pytest

# No server, browser, container or torch.
quick: $(VENV)/dev-installed
	$(BIN)/pytest -n 2 --dist loadfile $(QUICK)

lint: $(VENV)/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --exclude '*.md' .
	$(BIN)/python scripts/unasync.py --check
	$(BIN)/codespell

types: $(VENV)/dev-installed
	$(BIN)/mypy

pytest: $(VENV)/dev-installed
	.ci/system-packages
	$(BIN)/pytest -n 2 --dist loadfile

docs: $(VENV)/docs-installed
	$(BIN)/sphinx-build -W --keep-going -q -c docs/site . .work/site
	@echo "the documentation: .work/site/index.html"

links: $(VENV)/docs-installed
	$(BIN)/sphinx-build -b linkcheck -q -c docs/site . .work/links

image:
	docker build -t deepcompress .

# sdist and wheel in dist/, tried in a fresh environment: scripts/release.py. TAG=v0.1.0 checks that of a real one.
release: | $(BIN)/python
	$(BIN)/python scripts/release.py $(if $(TAG),--tag $(TAG))

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	"$$(.ci/python)" -m venv $(VENV)

$(VENV)/service-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[service]"
	@touch $@

$(VENV)/docs-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	@touch $@

$(VENV)/dev-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@ $(VENV)/service-installed
