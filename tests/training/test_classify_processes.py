"""Two processes train the same classifier as one: they split every batch, and rank 0 writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from latentpath.commands import classify
from latentpath.judge.classifier import load_classifier


@pytest.fixture(scope="module")
def runs(compose, isic_32, once) -> dict[str, Path]:
    """The stage folders of two classifiers: trained by this process, and by two processes of torchrun."""

    def train(folder: Path) -> None:
        overrides = (
            *("dataset=phantom_isic2019", f"dataset.root={isic_32}", "dataset.phantom.count=40"),
            *("dataset.phantom.size=32", "dataset.image_size=32", "dataset.attributes=[hair,ink]"),
            *("classifier=resnet_micro", "classifier.epochs=2", "classifier.batch_size=8"),
            *("trainer=cpu", f"output_dir={folder}"),
        )
        classify.run(compose("classify", *overrides), folder / "one")
        line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
        line += ["-m", "latentpath", "classify", *overrides, "trainer.devices=2", "name=two"]
        # A run that a scheduler started would be taken for one of its processes.
        env = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
        done = subprocess.run(line, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    folder = once("classified", train)
    return {name: folder / name / "classify" for name in ("one", "two")}


def test_two_processes_write_the_files_that_one_writes(runs: dict[str, Path]):
    one, two = (sorted(p.relative_to(at).as_posix() for p in at.rglob("*")) for at in runs.values())
    assert one == two
    assert json.loads((runs["two"] / "manifest.json").read_text())["status"] == "complete"


def test_two_processes_see_each_image_once_an_epoch(runs: dict[str, Path]):
    """As many steps as one process takes: both share a batch of the same size."""
    logs = [pd.read_csv(at / "metrics.csv") for at in runs.values()]
    assert logs[0]["step"].tolist() == logs[1]["step"].tolist()
    metrics = [json.loads((at / "metrics.json").read_text()) for at in runs.values()]
    for split in ("test", "val"):
        counts = [{label: row["count"] for label, row in found[split].items()} for found in metrics]
        assert counts[0] == counts[1]
    assert load_classifier(runs["two"]).temperatures is not None
