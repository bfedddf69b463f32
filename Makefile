# The commands of daily work. `make` lists them.

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMP := $(VENV)/.latentpath-setup
# Any of the Pythons that pyproject.toml allows; `make setup PYTHON=3.12` asks for one.
PYTHON ?= >=3.11,<3.14
# uv from the path if it runs, else a private copy in .uv (see that rule).
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)

# Tests must pass on a machine without network: what would load from a hub or log to a server says so at once.
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 WANDB_MODE=offline
# pyright would otherwise ask npm whether there is a newer pyright.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-slurm lint format typecheck bench bench-finetune bench-evaluation bench-gpu gpu-check \
	phantom-base mlflow-ui dist wheelhouse lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## install latentpath and its locked dependencies into .venv

$(STAMP): requirements.lock pyproject.toml | $(filter .uv/%,$(UV))
	test -x $(PY) || $(UV) venv --python '$(PYTHON)' $(VENV)
	$(UV) pip sync --python $(PY) requirements.lock
	$(UV) pip install --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

# --target writes beside the system's Python, not into it, so that an externally managed one allows it.
.uv/bin/uv:
	python3 -m pip install --quiet --target .uv uv

demo: $(STAMP) ## draw phantoms, fine-tune, traverse, evaluate and report: the whole path, small
	$(BIN)/latentpath run experiment=demo

# Two processes: each needs 2 GB of memory. ARGS="-n 0" runs the tests in one process, for a debugger.
WORKERS ?= 2
test: $(STAMP) ## run the tests, offline, in WORKERS processes; ARGS="-k solvers" narrows them
	$(OFFLINE) $(BIN)/pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

test-slurm: $(STAMP) ## run jobs on a SLURM of one node, installed by apt where that may be, and gone afterwards
	$(OFFLINE) $(PY) tests/slurm/run.py

lint: $(STAMP) ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## mend style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(STAMP) ## check types
	$(BIN)/pyright

bench: $(STAMP) ## time the traversal against the plain diffusers way; ARGS goes to the script
	$(PY) experiments/bench_traversal/run.py $(ARGS)

bench-finetune: $(STAMP) ## time fine-tuning against the loop of diffusers' example
	$(PY) experiments/bench_finetune/run.py $(ARGS)

bench-evaluation: $(STAMP) ## time scoring against a pass per metric, the figures of 100,000 rows, and t-SNE
	$(PY) experiments/bench_evaluation/run.py $(ARGS)

bench-gpu: $(STAMP) ## both for Stable Diffusion 1.5 on a GPU: images/s, MFU, memory
	$(PY) experiments/bench_traversal/gpu.py
	$(PY) experiments/bench_finetune/run.py --device cuda --model sd15 --image-size 512 --precision bf16-mixed \
		--compile --batch-size 32 --images 64 --out outputs/bench_finetune_gpu.json

gpu-check: $(STAMP) ## does everything run on a GPU, and how fast? ARGS="--device cpu --tiny" tries the script
	$(PY) experiments/gpu/check.py $(ARGS)

phantom-base: $(STAMP) ## train the small base model that ships with the package
	$(PY) experiments/phantom_base/train.py $(ARGS)

# The pages are in mlflow, which would hold other packages back: uv runs it apart, in the version that recorded.
mlflow-ui: $(STAMP) ## show what logger=mlflow recorded under outputs/
	MLFLOW_DISABLE_TELEMETRY=true $(UV) tool run "mlflow@$$($(PY) -c \
		'from importlib.metadata import version; print(version("mlflow-skinny"))')" ui \
		--backend-store-uri sqlite:///outputs/mlflow.db $(ARGS)

dist: $(STAMP) ## build the wheel and the source archive into dist/
	$(PY) -m build --no-isolation

WHEELHOUSE ?= dist/wheelhouse
# By pip, run by uv, which itself downloads only into its cache. The wheels are for this machine's kind of system
# and the Python of .venv; the node's are to be the same.
wheelhouse: $(STAMP) ## all locked packages and latentpath as wheels (3 GB), for a node without network
	$(UV) tool run --python $(PY) pip wheel --quiet --no-deps --require-hashes \
		--wheel-dir $(WHEELHOUSE) --requirement requirements.lock
	$(PY) -m build --no-isolation --wheel --outdir $(WHEELHOUSE)
	@echo "Copy $(WHEELHOUSE) to the node, and there, in an environment of the same Python:"
	@echo "  uv pip install --no-index --find-links $(notdir $(WHEELHOUSE)) latentpath"
	@echo "or the same with pip. 'latentpath[clusters,trackers]' brings SLURM and the trackers."

# What is locked stays unless UPGRADE=--upgrade asks for the newest, or pyproject.toml no longer allows it.
lock: | $(filter .uv/%,$(UV)) ## write requirements.lock anew from pyproject.toml
	$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev \
		--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(UPGRADE) \
		--output-file requirements.lock pyproject.toml

clean: ## remove caches and builds; outputs/ and .venv stay
	rm -rf build dist .pytest_cache .ruff_cache
	find src tests experiments -type d -name __pycache__ -exec rm -rf {} +
