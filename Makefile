# One command for each thing a person does often. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# What is built and fetched lies in the user's cache, as with teal itself.
CACHE := $(or $(TEAL_CACHE_DIR),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/teal)
export CARGO_TARGET_DIR ?= $(CACHE)/target
# A fresh shell may not have rustup's directory in its path yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

RELEASE := $(CARGO_TARGET_DIR)/release/teal
TYPESCRIPT := sdk/typescript
PYTHON := sdk/python
# Apart from the package's own, which the demo installs too.
LINTERS := tools/lint/node_modules
VENV := $(CACHE)/venv

# The tests kill teal at places that only this feature has.
FEATURES := --features teal/failpoints
# Each test that runs teal, or the engine in a process of its own, needs some 300 MB; many of them wait, so there is
# one more than cores.
TEST_THREADS ?= $(shell n=$$(nproc); echo $$((n > 7 ? 8 : n + 1)))
# nextest where it is installed; installing it takes longer than it saves.
NEXTEST := $(shell PATH="$(PATH)" command -v cargo-nextest)

.PHONY: help demo chaos every-write check-model test test-rust test-doc test-typescript test-python lint lint-rust \
	lint-typescript lint-python fmt bench docs setup system release engine typescript python test-servers components clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: release typescript ## build teal, fetch the engine and the data, run the demo (ARGS="--rows 20000000")
	@$(RELEASE) engine install
	@$(RELEASE) demo $(ARGS)

chaos: setup ## everything at once, at random, for as long as you like (DURATION=600 SEED=7)
	TEAL_CHAOS_SECONDS=$(DURATION) TEAL_CHAOS_SEED=$(SEED) \
	  cargo test -p teal $(FEATURES) --test end_to_end -- chaos --nocapture

every-write: setup ## kill teal, and it and its server, behind every single write on a server (test: some of them)
	TEAL_EVERY_WRITE=1 cargo test -p teal $(FEATURES) --test end_to_end -- server_killed --nocapture

check-model: system ## check the protocols as a model, within larger bounds than `make test` does
	TEAL_MODEL_BOUNDS=large cargo test -p teal-protocol --test protocol -- --nocapture

test: setup test-rust test-doc test-typescript test-python ## run every test

lint: lint-rust lint-typescript lint-python ## check formats, types and habits; warnings are errors

fmt: components ## format the sources
	cargo fmt --all
	if grep -qs '^\[tool\.ruff' $(PYTHON)/pyproject.toml; then \
	  $(MAKE) python && $(VENV)/bin/ruff format $(PYTHON); fi

bench: release typescript python test-servers ## measure teal beside what it is compared with (ARGS="copy --pairs 3")
	@$(RELEASE) engine install
	bench/run $(ARGS)

docs: system ## build the crates' documentation
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	@echo "$(CARGO_TARGET_DIR)/doc/teal_migrate/index.html"

setup: system typescript python test-servers engine ## install and fetch all that the tests need

clean: ## remove what was built; what was fetched stays
	rm -rf "$(CARGO_TARGET_DIR)" "$(VENV)" $(TYPESCRIPT)/node_modules $(TYPESCRIPT)/dist $(LINTERS)

# --- set-up -------------------------------------------------------------------------------------

system:
	@tools/setup/system

test-servers: system
	@tools/setup/test-servers "$(CACHE)/test-servers"

components: system
	@tools/setup/components

release: system
	cargo build --release -p teal

# The build is the one that the tests use: without --tests, dependencies have other features, and the program would be
# compiled once more.
engine: system
	cargo build --workspace --tests $(FEATURES)
	@$(CARGO_TARGET_DIR)/debug/teal engine install

ifneq ($(wildcard $(TYPESCRIPT)/*),)
typescript: $(TYPESCRIPT)/dist/cjs/package.json

$(TYPESCRIPT)/dist/cjs/package.json: $(TYPESCRIPT)/node_modules/.package-lock.json \
  $(TYPESCRIPT)/build.cjs $(TYPESCRIPT)/tsconfig.json $(shell find $(TYPESCRIPT)/src -type f)
	cd $(TYPESCRIPT) && npm run --silent build
	@touch $@

$(TYPESCRIPT)/node_modules/.package-lock.json: $(TYPESCRIPT)/package.json \
  $(TYPESCRIPT)/package-lock.json | system
	cd $(TYPESCRIPT) && npm ci --no-fund --no-audit
	@touch $@

test-typescript: typescript
	cd $(TYPESCRIPT) && npm test

lint-typescript: typescript $(LINTERS)/.package-lock.json
	cd $(TYPESCRIPT) && npm run lint && $(CURDIR)/$(LINTERS)/.bin/biome lint --error-on-warnings

$(LINTERS)/.package-lock.json: tools/lint/package.json tools/lint/package-lock.json | system
	cd tools/lint && npm ci --no-fund --no-audit
	@touch $@
else
typescript test-typescript lint-typescript:
	@echo "skipped $@: there is no $(TYPESCRIPT)"
endif

ifneq ($(wildcard $(PYTHON)/*),)
python: system
	@tools/setup/python "$(VENV)" $(PYTHON)

test-python: python
	cd $(PYTHON) && PYTHONPATH=src $(VENV)/bin/python -m pytest

lint-python: python
	if grep -q '^\[tool\.ruff' $(PYTHON)/pyproject.toml; then \
	  $(VENV)/bin/ruff check $(PYTHON) && $(VENV)/bin/ruff format --check $(PYTHON); fi
	$(VENV)/bin/ruff check --config $(PYTHON)/pyproject.toml tests/servers
	$(VENV)/bin/ruff format --config $(PYTHON)/pyproject.toml --check tests/servers
	if grep -q '^\[tool\.mypy' $(PYTHON)/pyproject.toml; then \
	  cd $(PYTHON) && $(VENV)/bin/python -m mypy; fi

# Python models are loaded by the interpreter that has pydantic.
test-rust bench: export TEAL_PYTHON ?= $(VENV)/bin/python
else
python test-python lint-python:
	@echo "skipped $@: there is no $(PYTHON)"
endif

# --- Rust ---------------------------------------------------------------------------------------

# The tests make and drop some hundred thousand small files, for which a disk takes longer than the rest.
MEMORY := $(shell [ -w /dev/shm ] && [ $$(df --output=avail -k /dev/shm | tail -1) -gt 8388608 ] && echo /dev/shm)
ifneq ($(MEMORY),)
test-rust: export TMPDIR ?= $(MEMORY)
endif

test-rust: setup
ifneq ($(NEXTEST),)
	cargo nextest run --workspace $(FEATURES) --no-fail-fast --test-threads $(TEST_THREADS)
else
	cargo test --workspace $(FEATURES) --no-fail-fast -- --test-threads $(TEST_THREADS)
endif

# nextest runs no examples of the documentation; cargo test has run them.
test-doc: setup
ifneq ($(NEXTEST),)
	cargo test --workspace $(FEATURES) --doc
endif

lint-rust: components
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(FEATURES) -- -D warnings
