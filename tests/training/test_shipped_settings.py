"""Every shipped trainer and experiment composes, and trains a tiny model on a CPU with its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision

from latentpath.config.checks import check
from latentpath.config.schema import conf_dir
from latentpath.data.latent_cache import LatentCache
from latentpath.diffusion.components import BaseModel
from latentpath.runs.ranks import SINGLE
from latentpath.training.finetune import UNetFinetuner
from latentpath.training.fit_unet import fit_unet
from latentpath.training.sample_grid import SampleGrid

TRAINERS = sorted(file.stem for file in (conf_dir() / "trainer").glob("*.yaml"))
EXPERIMENTS = sorted(file.stem for file in (conf_dir() / "experiment").glob("*.yaml"))
# How many and which devices there are, the one thing that a test cannot take from the configuration.
HERE = ("trainer.accelerator=cpu", "trainer.devices=1", "trainer.num_nodes=1", "trainer.strategy=auto")
SMALL = ("finetune.max_steps=2", "finetune.batch_size=2", "finetune.compile=false", "finetune.log_every=1")

trained: set[str] = set()  # settings of the fine-tune that a test has trained already


@pytest.fixture
def scaled_on_a_cpu(monkeypatch):
    """Train in float16 with a loss scale, as a GPU does: Lightning would take bfloat16 on a CPU."""
    trainer = L.Trainer

    def with_scale(*, precision: Any = None, plugins: Any = (), **options: Any) -> L.Trainer:
        if precision == "16-mixed":
            scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
            return trainer(plugins=[*plugins, MixedPrecision("16-mixed", "cpu", scaler)], **options)
        return trainer(precision=precision, plugins=plugins, **options)

    monkeypatch.setattr(L, "Trainer", with_scale)


@pytest.fixture(scope="module")
def cache() -> LatentCache:
    rng = np.random.default_rng(0)
    embeds = torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(0))
    return LatentCache(rng.normal(size=(6, 8, 8, 8)).astype(np.float16), embeds, np.arange(6) % 3)


@pytest.fixture
def fitted(compose, tiny_sd, cache, tmp_path, scaled_on_a_cpu):
    """`fitted(cfg)` -> the weights of the tiny U-Net before and after a fine-tune as `cfg` sets it."""

    def fit(cfg: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        base = BaseModel(str(tiny_sd))
        fitted = fit_unet(
            base,
            cache,
            base.schedule(),
            cfg.finetune,
            image_size=32,
            seed=0,
            folder=tmp_path,
            trainer_config=cfg.trainer,
            loggers=[],
            grid=SampleGrid(tmp_path, columns=[], every=0, sample=lambda unet: torch.zeros(0)),
            rank=SINGLE,
        )
        return base.unet().state_dict(), {
            name: w.float() for name, w in fitted.task.unet.state_dict().items()
        }

    return fit


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_shipped_experiment_composes_and_trains(trainer, experiment, compose, fitted):
    chosen = (f"experiment={experiment}", f"trainer={trainer}", "dataset.root=data")
    check(compose("run", *chosen))
    cfg = compose("finetune", *chosen, *HERE, *SMALL)
    settings = f"{cfg.trainer} {cfg.finetune}"
    if settings in trained:
        return
    before, after = fitted(cfg)
    assert all(weights.isfinite().all() for weights in after.values())
    assert sum(not torch.equal(before[name], after[name]) for name in before) > len(before) // 2
    trained.add(settings)


def test_clipping_that_refuses_a_fused_optimizer_does_not_pass(compose, fitted, monkeypatch):
    """The fault by which every fine-tune of the shipped configurations once ended on a GPU."""
    monkeypatch.delattr(UNetFinetuner, "configure_gradient_clipping")
    with pytest.raises(RuntimeError, match="gradient clipping"):
        fitted(compose("finetune", "trainer=gpu", *HERE, *SMALL))


def test_a_checkpoint_is_written_once_and_replaces_the_one_before(compose, fitted, tmp_path, monkeypatch):
    """Also after a resume; of Stable Diffusion it is 10 GB."""
    written, save = [], Trainer.save_checkpoint

    def noted(self: L.Trainer, filepath: Any, *args: Any, **options: Any) -> None:
        written.append(Path(filepath).name)
        save(self, filepath, *args, **options)

    monkeypatch.setattr(Trainer, "save_checkpoint", noted)
    step = UNetFinetuner.training_step

    def crashes(self: UNetFinetuner, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        if int(batch["number"]) == 3:
            monkeypatch.setattr(UNetFinetuner, "training_step", step)  # of the next start
            raise RuntimeError("the node is gone")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(UNetFinetuner, "training_step", crashes)
    cfg = compose("finetune", *HERE, *SMALL, "finetune.checkpoint_every=2", "finetune.max_steps=4")
    with pytest.raises(RuntimeError, match="the node is gone"):
        fitted(cfg)
    fitted(cfg)
    assert written == ["step=2.ckpt", "step=4.ckpt"]
    folder = tmp_path / "checkpoints"
    assert sorted(file.name for file in folder.iterdir()) == ["last.ckpt", "step=4.ckpt"]
    assert (folder / "last.ckpt").resolve() == (folder / "step=4.ckpt").resolve()
