# whisper-npu: `make help` lists the targets. Everything is installed into .venv, without root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS ?= $(VENV)-peers/bin/python
FSDD ?= ../shared/fsdd
TRAIN = $(BIN)/python -m tools.training.train --fsdd $(FSDD) --cache build/training/tts-cache

.DEFAULT_GOAL := help

help: ## Show this help
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv with the package and its development tools

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	@echo 'installing into $(VENV): 1.0 GB of packages'
	$(BIN)/pip install --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## Transcribe a human recording with the bundled checkpoint
	$(BIN)/whisper-npu transcribe samples/*.wav --model demo

test: $(STAMP) ## Run the tests (no NPU, network or weights needed)
	$(BIN)/pytest -m "not slow and not real"

test-real: $(STAMP) ## Hold OpenAI's tiny.en and base to openai-whisper (fetches 200 MB of weights once)
	$(BIN)/pytest -m "real and not slow" tests/real

test-slow: $(STAMP) ## Run the slow tests: every fault of an NPU, the demo on 200 clips, deep models, real weights in fp32
	$(BIN)/pytest -m slow

check: $(STAMP) ## Check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

goldens: $(STAMP) ## Make tests/golden anew with transformers and openai-whisper
	$(BIN)/pip install --quiet --requirement tools/requirements.txt
	$(BIN)/python -m tools.goldens

accuracy: $(STAMP) $(PEERS) ## Write docs/accuracy*.md: beside openai-whisper and faster-whisper
	$(BIN)/python -m tools.peers.accuracy --peers $(PEERS) $(ARGS)

recordings: $(STAMP) ## Write docs/recordings.md: make every kind of recording and read it
	$(BIN)/python -m tools.recordings.table $(ARGS)

torture: $(STAMP) ## Write docs/reliability.md: what must never go wrong, tried for 30 minutes
	$(BIN)/python -m tools.torture $(ARGS)

audit: $(STAMP) ## Ask PyPI which locked packages have advisories (needs the network)
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet pip-audit
	.venv-audit/bin/pip-audit --disable-pip -r packaging/requirements.lock
	.venv-audit/bin/pip-audit --disable-pip -r packaging/tests.lock

bench-peers: $(STAMP) $(PEERS) ## Measure speed beside the peers (ARGS='--rounds 1' is quicker)
	$(BIN)/python -m tools.peers.speed --peers $(PEERS) $(ARGS)

bench-long: $(STAMP) ## Measure files of 10 min to 2 h: digits, speed and memory
	$(BIN)/python -m tools.peers.long_form

bench-live: $(STAMP) ## Write docs/live-measured.md: words wrong and delays of listen, on real speech
	$(BIN)/python -m tools.peers.live $(ARGS)

bench-serve: $(STAMP) ## Write docs/serve-measured.md: many clients at a server, beside others (ARGS='--peers PYTHON')
	$(BIN)/python -m tools.peers.serve $(ARGS)

bench-cluster: $(STAMP) ## Write docs/cluster-measured.md: what a cluster costs, and what it survives
	$(BIN)/python -m tools.cluster $(ARGS)

$(VENV)-peers/bin/python: tools/peers/requirements.txt
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/pip install --quiet --requirement tools/peers/requirements.txt
	@# Nothing here uses it, and transformers fails on one that was not built for this torch.
	$(VENV)-peers/bin/pip uninstall --quiet --yes torchvision
	@touch $@

xclbins: $(STAMP) ## Build the NPU overlay (needs mlir-aie, Peano and xclbinutil)
	$(BIN)/python -m mlir.build

mlir-check: $(STAMP) ## Lower the NPU designs with an installed mlir-aie
	$(BIN)/python -m mlir.build --check

simulate: $(STAMP) ## Encode a recording on the simulated array (needs g++)
	$(BIN)/python -m mlir.simulate $(firstword $(wildcard samples/*.wav) tests/data/digits.flac)

test-xrt: $(STAMP) ## Hold the stand-in to Debian's pyxrt (needs root and debootstrap)
	PIP=$(BIN)/pip tools/test_xrt.sh

train-demo: $(STAMP) ## Train the demo checkpoint (hours; FSDD=recordings; espeak-ng, flite, festival)
	$(BIN)/pip install --quiet --requirement tools/requirements.txt
	mkdir -p build/training
	$(TRAIN) --out build/training/first
	$(TRAIN) --out build/training/demo --init build/training/first.state.pt

.PHONY: help setup demo test test-real test-slow check goldens accuracy recordings torture audit bench-peers bench-long bench-live \
	bench-serve bench-cluster xclbins mlir-check simulate test-xrt train-demo
