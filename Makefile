# make demo   the main job, end to end, on this machine
# make test   everything that is tested
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test lint audit protos zoo bench plots clean

demo: $(VENV)/.demo
	$(BIN)/zoo demo

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

lint: $(VENV)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf breaking --against tests/data/frozen/seedzoo.v1.binpb
	$(BIN)/python tools/gen_protos.py --check

# Asks PyPI for known holes in the exact versions; --strict, or what cannot be asked about would pass unseen.
audit: | $(BIN)/python
	$(PIP) pip-audit==2.10.1
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

protos: $(VENV)/.lint
	$(BIN)/python tools/gen_protos.py

zoo: $(VENV)/.test
	$(BIN)/zoo build recipes/fashion-cnn.toml
	rm -rf zoo/seedzoo/starter/fashion-cnn
	cp -r build/fashion-cnn/bundle zoo/seedzoo/starter/fashion-cnn

# Hours, not minutes; each script has --quick.
bench: $(VENV)/.test
	$(PIP) --editable '.[cluster]' --group bench
	OMP_NUM_THREADS=1 $(BIN)/python bench/seed_tasks.py
	OMP_NUM_THREADS=1 $(BIN)/python bench/promises.py --out docs/coverage.json --docs docs/statistics.md
	OMP_NUM_THREADS=1 $(BIN)/python bench/prior.py --docs docs/statistics.md
	OMP_NUM_THREADS=1 $(BIN)/python bench/race.py --docs docs/statistics.md
	OMP_NUM_THREADS=1 $(BIN)/python bench/few_labels.py --docs docs/statistics.md
	OMP_NUM_THREADS=1 $(BIN)/python bench/paper.py --docs docs/paper.md
	$(BIN)/python bench/engine.py --docs docs/performance.md
	$(BIN)/python bench/end_to_end.py --docs docs/performance.md
	$(BIN)/python bench/race_engine.py --docs docs/performance.md
	$(BIN)/python bench/growth.py --docs docs/performance.md
	$(BIN)/python bench/catalog.py --docs docs/performance.md --operations docs/operations.md
	OMP_NUM_THREADS=1 $(BIN)/python bench/transfer.py --docs docs/operations.md
	$(BIN)/python bench/scaling.py --docs docs/scaling.md
	$(BIN)/python bench/decoding.py
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.e2e.soak --seconds 360 --store-faults --docs docs/operations.md

plots: $(VENV)/.test
	$(BIN)/python tools/plot_spread.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --upgrade pip

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[demo]'
	touch $@

# torch is named with its exact version: a range would fetch a build for GPUs, several GB larger.
$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) torch==2.13.0
	$(PIP) --editable '.[demo,train,otel]' --group test --group docs
	touch $@ $(VENV)/.demo

$(VENV)/.lint: pyproject.toml constraints.txt | $(VENV)/.test
	$(PIP) --group lint
	touch $@
