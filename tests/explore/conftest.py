"""A tiny finished run, as far as the explorer needs one: a fine-tuned model, a judge, and stored latents."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentpath.commands import classify, finetune, traverse
from latentpath.explore.explorer import Explorer, open_run

OVERRIDES = [
    "experiment=demo",
    "name=tiny",
    "dataset.phantom.count=0",
    "dataset.attributes=[hair,ink]",
    "dataset.image_size=32",
    "attribute.removal=true",
    "attribute.strengths=[0.5]",
    "method=[swap,contrast,fcfg,sega]",
    "classifier=efficientnet_tiny",
    "classifier.epochs=1",
    "finetune.max_steps=1",
    "finetune.batch_size=2",
    "timesteps.num_inference_steps=6",
    "timesteps.swap_steps=[0,2,4]",
    "sampler.seeds=2",
]


@pytest.fixture(scope="session")
def finished(once, compose, tiny_sd: Path, isic_32: Path) -> Path:
    """The folder of the run."""

    def make(folder: Path) -> None:
        own = [f"output_dir={folder}", f"dataset.root={isic_32}", f"model.name={tiny_sd}"]
        for command, module in (("classify", classify), ("finetune", finetune), ("traverse", traverse)):
            module.run(compose(command, *OVERRIDES, *own), folder / "tiny")

    return once("explored", make) / "tiny"


@pytest.fixture
def explorer(finished: Path) -> Explorer:
    return open_run(finished)
