"""A tiny finished run, as far as the explorer needs one: a fine-tuned model, a judge, and stored latents."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

from latentpath.commands import classify, finetune, sliders, traverse
from latentpath.explore.explorer import Explorer
from latentpath.explore.opening import open_run

OVERRIDES = [
    "experiment=demo",
    "name=tiny",
    "dataset.phantom.count=0",
    "dataset.attributes=[hair,ink]",
    "dataset.image_size=32",
    "attribute.removal=true",
    "attribute.strengths=[0.5]",
    "method=[swap,contrast,fcfg,sega,leditspp,p2p,slider,hspace,mask,sdedit]",
    "method.hspace.dials=[30]",
    "method.hspace.seeds=2",
    "sliders.max_steps=1",
    "sliders.batch_size=2",
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
        for module in (classify, finetune, sliders, traverse):
            command = module.__name__.rpartition(".")[2]
            module.run(compose(command, *OVERRIDES, *own), folder / "tiny")

    return once("explored", make) / "tiny"


@pytest.fixture(scope="module")
def real(finished: Path, compose, tiny_sd: Path, isic_32: Path, tmp_path_factory) -> Path:
    """The folder of a run of the same model that edits real images by `inversion=ddpm`."""
    folder = tmp_path_factory.mktemp("real")
    shutil.copytree(finished, folder / "tiny", ignore=shutil.ignore_patterns("traverse"))
    mine = [
        "attribute.removal=false",
        "method=[swap,contrast,hspace]",
        "inversion=ddpm",
        "inversion.split=train",
    ]
    own = [f"output_dir={folder}", f"dataset.root={isic_32}", f"model.name={tiny_sd}"]
    traverse.run(compose("traverse", *OVERRIDES, *mine, *own), folder / "tiny")
    return folder / "tiny"


@pytest.fixture(scope="session")
def stored():
    """`stored(run_dir, method="swap", ...)`: the latents of the one image of a sweep with this key."""

    def latents(run_dir: Path, **key):
        index = pd.read_parquet(run_dir / "traverse" / "index.parquet")
        for column, value in key.items():
            index = index[index[column] == value]
        ((shard, row),) = index[["shard", "row"]].itertuples(index=False)
        return load_file(run_dir / "traverse" / "shards" / shard)["latents"][row].float()

    return latents


@pytest.fixture
def explorer(finished: Path) -> Explorer:
    return open_run(finished)
