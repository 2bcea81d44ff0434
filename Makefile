# Each target runs the task of its name in pixi.toml: through pixi where pixi is installed, else in
# a virtual environment that scripts/venv.sh makes (`make PIXI= test` asks for that one).
# Works with the GNU make 3.81 of macOS.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup start run rehearsal test bench fmt lint lock clean prepare
# What a user has on PYTHONPATH is no part of the project's environment.
unexport PYTHONPATH PYTHONHOME

PIXI := $(shell command -v pixi 2>/dev/null)
# Which Python to make .venv with; the newest suitable one on PATH unless given.
export PYTHON
# Arguments for the task.
ARGS :=

ifeq ($(PIXI),)
install = scripts/venv.sh
task = scripts/venv.sh $(1) $(2)
archived = .venv/.class-archive
else
install = "$(PIXI)" install --all
task = "$(PIXI)" run -e $(1) $(2)
archived = .pixi/.class-archive
endif

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: install prepare ## Make the environment (every other target does so where it must)

start: prepare ## Open the Dagster UI on http://localhost:3000
	@$(call task,default,start) $(ARGS)

run: prepare ## Run the example pipeline on this machine; ARGS="engine=emr action=plan" goes to the program
	@$(call task,default,run) $(ARGS)

rehearsal: prepare ## Keep a rehearsal cloud (S3, EMR, Databricks) on this machine; ARGS="--port 4600" takes another port
	@$(call task,default,rehearsal) $(ARGS)

test: prepare ## Run the tests; ARGS="-k price" goes to pytest
	@$(call task,testing,test) $(ARGS)

bench: prepare ## Run the benchmarks
	@$(call task,testing,bench) $(ARGS)

fmt: ## Format the code
	@$(call task,ci,fmt) $(ARGS)

lint: ## Check format, code and types
	@$(call task,ci,lint) $(ARGS)

lock: ## Remake requirements.lock from pyproject.toml (needs uv); ARGS=--upgrade takes newer releases
	@uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-strip-extras --generate-hashes \
		--custom-compile-command "make lock" --output-file requirements.lock $(ARGS) pyproject.toml

clean: ## Remove environments and caches; data, results and Dagster's history stay
	rm -rf .venv .pixi/envs .pixi/.class-archive build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

.PHONY: install
install:
	@$(install)

# Spark starts faster from an archive of its classes; made again after the dependencies changed.
# Its notes go to stderr: stdout is the task's.
prepare:
	@[ $(archived) -nt pyproject.toml ] && [ $(archived) -nt requirements.lock ] || \
		{ $(call task,default,class-archive) >&2 && mkdir -p $(dir $(archived)) && touch $(archived); }
