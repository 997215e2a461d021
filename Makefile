# Two commands, each doing all of its own set-up in .venv:
#   make demo   train the embedded default from nothing and print its word error rate
#   make test   run the tests (DATA=DIR adds those on real data)
# and make test-kernels: the front end's tests as other processors would run them; make docs: the pages of docs/ as a site
PYTHON ?= python3
DATA ?=
VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test test-kernels docs install lint clean

demo: $(READY)
	egs/mini/asr/run.sh

test: $(READY)
	$(VENV)/bin/python -m pytest -n 2 $(if $(DATA),--data=$(abspath $(DATA)))

test-kernels: $(READY)
	PYTHON=$(VENV)/bin/python tests/kernels.sh

docs: $(READY)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(VENV)/bin/python -m mkdocs build --strict

install: $(READY)

lint: $(READY)
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

$(READY): pyproject.toml setup.py constraints.txt $(wildcard features/native/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "speechllm needs Python 3.11 or newer; say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) exp
