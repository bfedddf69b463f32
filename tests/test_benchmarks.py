"""Each benchmark compares two ways that compute the same, at a size that times nothing."""

from __future__ import annotations

import json
import sys

import pytest

from experiments.bench_evaluation import run as evaluation
from experiments.bench_finetune import run as finetune
from experiments.bench_traversal import run as traversal

TINY = {
    evaluation: "--seeds 1 --rounds 1 --image-size 32 --rows 700 --resamples 10 --latents 0",
    finetune: "--steps 1 --rounds 1 --images 8 --batch-size 2 --image-size 32",
    traversal: "--steps 2 --swaps 1 --attributes 1 --seeds 1 --rounds 1 --batch-sizes 2 --image-size 32",
}


@pytest.mark.parametrize("benchmark", TINY, ids=lambda module: module.__name__.split(".")[1])
def test_a_benchmark_runs_and_writes_its_table(benchmark, tmp_path, monkeypatch):
    file = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["run", *TINY[benchmark].split(), "--out", str(file)])
    benchmark.main()
    found = json.loads(file.read_text())
    assert (tmp_path / "found.csv").read_text().count("\n") >= 3  # a line of names, and both ways
    if benchmark is evaluation:
        assert max(found["scoring"]["largest_difference"].values()) < 1e-4
    if benchmark is traversal:
        assert found["largest_difference"] < 1e-3
