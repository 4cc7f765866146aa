# whisper-npu: `make help` lists the targets. Everything is installed into .venv, without root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS ?= $(VENV)-peers/bin/python
FSDD ?= ../shared/fsdd
TRAIN = ../../$(BIN)/python ../../scripts/train_demo.py --fsdd $(abspath $(FSDD))

.DEFAULT_GOAL := help

help: ## Show this help
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv with the package and its development tools

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## Transcribe a human recording with the bundled checkpoint
	$(BIN)/whisper-npu transcribe samples/*.wav --model demo

test: $(STAMP) ## Run the tests (no NPU, network or weights needed)
	$(BIN)/pytest -m "not slow"

test-slow: $(STAMP) ## Run the slow tests: every fault of an NPU, the demo on 200 clips, deep models
	$(BIN)/pytest -m slow

check: $(STAMP) ## Check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

goldens: $(STAMP) ## Make tests/golden anew with transformers and openai-whisper
	$(BIN)/pip install --quiet --requirement scripts/requirements.txt
	$(BIN)/python scripts/make_goldens.py

accuracy: $(STAMP) $(PEERS) ## Write docs/accuracy.md: beside openai-whisper and faster-whisper
	$(BIN)/python benchmarks/accuracy.py --peers $(PEERS) $(ARGS)

bench-peers: $(STAMP) $(PEERS) ## Measure speed beside the peers (ARGS='--rounds 1' is quicker)
	$(BIN)/python benchmarks/peers.py --peers $(PEERS) $(ARGS)

bench-long: $(STAMP) ## Measure files of 10 min to 2 h: digits, speed and memory
	$(BIN)/python benchmarks/long_form.py

$(VENV)-peers/bin/python: benchmarks/requirements.txt
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/pip install --quiet --requirement benchmarks/requirements.txt
	@touch $@

xclbins: $(STAMP) ## Build the NPU overlay (needs mlir-aie, Peano and xclbinutil)
	$(BIN)/python -m mlir.build

mlir-check: $(STAMP) ## Lower the NPU designs with an installed mlir-aie
	$(BIN)/python -m mlir.build --check

simulate: $(STAMP) ## Encode a recording on the simulated array (needs g++)
	$(BIN)/python -m mlir.simulate $(firstword $(wildcard samples/*.wav) tests/data/digits.flac)

test-xrt: $(STAMP) ## Hold the stand-in to Debian's pyxrt (needs root and debootstrap)
	PIP=$(BIN)/pip scripts/test_xrt.sh

train-demo: $(STAMP) ## Train the demo checkpoint (hours; FSDD=recordings; espeak-ng, flite, festival)
	$(BIN)/pip install --quiet --requirement scripts/requirements.txt
	mkdir -p build/training
	cd build/training && $(TRAIN) --out first
	cd build/training && $(TRAIN) --out demo --init first.state.pt

.PHONY: help setup demo test test-slow check goldens accuracy bench-peers bench-long xclbins \
	mlir-check simulate test-xrt train-demo
