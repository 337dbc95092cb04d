# Everything a fresh machine needs: python3 (3.11 or later), git, make, a C compiler.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Stages call `python`, and that is the environment's.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# uv compiles no package. Where Python may not keep what it compiles, each process compiles torch
# anew, which takes four seconds; so it may, whatever the shell has set.
export PYTHONDONTWRITEBYTECODE :=

# Columns that `make experiments` leaves out: all dependencies, and scores that seldom decide.
HIDDEN := .*/|Created|Executor|best_epoch|best_val_accuracy|train_minutes|macro_precision|macro_f1|loss|calibration|.*_baseline|runtime

.DEFAULT_GOAL := help
.PHONY: help setup demo experiments fast test test-all check format clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## make .venv with everything in it

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python 3.11 or later is needed; call make PYTHON=python3.12")'
	test -d .venv || $(PYTHON) -m venv .venv
	@# torch first: a later install then finds it and brings no other build.
	.ci/install torch torchvision
	.ci/install --editable '.[explain,serve,dev]'
	@touch $@

demo: setup ## draw the demo videos, train on them, measure: minutes on two cores
	dvc repro
	@dvc metrics show
	@echo
	@echo 'Look at:'
	@echo '  demo/videos/                 the videos'
	@echo '  metrics/report.html          everything on one page: open it in a browser'
	@echo '  metrics/metrics.json         the measurement; metrics/history.csv every epoch'
	@echo '  metrics/predictions.csv      every test video and what it was taken for'
	@echo '  models/best.pt               the best epoch; models/best_model.pt2 the full model'
	@echo '  dvc plots show               the plots (in .venv/bin, or: source .venv/bin/activate)'
	@echo 'Your own videos: slowfast preset slowfast_r50 --videos FOLDER, then dvc repro'

experiments: setup ## compare experiments: scores, and the parameters that differ
	@dvc exp show --only-changed --keep 'top1|macro_recall' --drop '$(HIDDEN)'

# Tests run in several processes, so each computes with one thread.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

ROOM ?=
fast: setup ## the tests that start no process and take no time; of one room with ROOM=clips
	$(PYTEST) tests/$(ROOM) -m 'not process and not slow and not extended'

test: setup ## the tests of every feature that needs no optional extra
	$(PYTEST) -m 'not extended'

test-all: setup ## every test, also of crashes, clusters, browsers and the notebook; installs the extras
	.ci/install --editable '.[browser,explain,int8,notebook,onnx,ray,serve,tensorboard,dev]'
	@# Playwright drives the Chromium of the system.
	command -v chromium || command -v chromium-browser || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq --no-install-recommends chromium >/dev/null; } || { echo 'install chromium first'; exit 1; }
	$(PYTEST)

check: setup ## lint, format, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

format: setup ## put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment; results and the clip store stay
	rm -rf .venv
