# Kobe: `make report` and `make test` are all a new machine needs (Python 3.11+ and make).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python .ci/install.py

.PHONY: report test ui docs bench lint audit clean
.DELETE_ON_ERROR:

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Kobe needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/made pyproject.toml constraints.txt
	@echo "installing Kobe into $(VENV): some 100 packages, a minute or two, once"
	@$(INSTALL) .
	@touch $@

$(VENV)/installed-test: $(VENV)/made pyproject.toml constraints.txt
	@echo "installing Kobe and what its tests need into $(VENV): about two minutes, once"
	@$(INSTALL) '.[test]'
	@touch $(VENV)/installed $@

report: $(VENV)/installed  ## run the main job on the embedded sample and print where the report is
	@echo "the report on the sample: half a minute the first time, ten seconds once compiled, two where nothing changed"
	@$(BIN)/kobe report

test: $(VENV)/installed-test  ## run every test
	@$(BIN)/python -m tests.support.browser
	@echo "about 4,800 tests; fifteen to twenty minutes on two cores, with the installation"
	@$(BIN)/python -m tests.support.ready
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

ui: $(VENV)/installed  ## the Dagster UI with its daemon, and the reports, on loopback
	@$(BIN)/kobe ui

lint: $(VENV)/installed-test  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed  ## write the generated pages of docs/ anew
	@$(BIN)/kobe config docs --out docs

bench: $(VENV)/installed-test  ## measure; prints figures, fails on nothing
	@$(INSTALL) '.[bench]'
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only --benchmark-columns=min,median,max,rounds -s

audit: $(VENV)/made  ## ask the advisory service about every pinned package
	@$(BIN)/python -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check --constraint .ci/audit.txt pip-audit
	@$(VENV)/audit/bin/python .ci/audit.py

clean:
	rm -rf $(VENV) build *.egg-info
