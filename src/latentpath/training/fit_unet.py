"""Fits the U-Net: selects trainable weights, checkpoints, averages weights, and draws sample grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from torch.utils.data import DataLoader

from latentpath.config.schema import FinetuneConfig, TrainerConfig
from latentpath.data.batches import LatentBatches, affordable_workers
from latentpath.data.latent_cache import LatentCache
from latentpath.diffusion.components import BaseModel, save_pipeline
from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.runs.files import read_csv
from latentpath.runs.progress import lightning_bar, on_terminal
from latentpath.runs.ranks import Rank
from latentpath.training.averaging import WeightEMA
from latentpath.training.finetune import UNetFinetuner
from latentpath.training.fit import fit
from latentpath.training.launch import trainer_options
from latentpath.training.sample_grid import SampleGrid
from latentpath.training.trainable import make_trainable, merge_lora, restore_frozen, save_lora


def fit_unet(
    base: BaseModel,
    cache: LatentCache,
    schedule: NoiseSchedule,
    settings: FinetuneConfig,
    *,
    seed: int,
    folder: Path,
    trainer_config: TrainerConfig,
    loggers: Sequence[Logger],
    grid: SampleGrid,
    rank: Rank,
) -> UNetFinetuner:
    """Fit the U-Net of `base` for `settings.max_steps` steps, from the last checkpoint if there is one.

    Checkpoints are in `folder`/checkpoints. Returns the module; its U-Net holds the EMA weights if
    configured.
    """
    way = settings.trainable.value
    unet: Any = base.unet().train()
    make_trainable(unet, way, rank=settings.lora_rank, alpha=settings.lora_alpha)
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    if settings.channels_last:
        unet.to(memory_format=torch.channels_last)
    if settings.compile:
        unet.compile(fullgraph=True, dynamic=False)  # in place, so that the names of weights do not change
    task = UNetFinetuner(
        unet,
        captions=Conditioning(cache.prompt_embeds),
        schedule=schedule,
        scaling_factor=base.scaling_factor(),
        seed=seed,
        max_steps=settings.max_steps,
        lr=settings.lr,
        warmup_steps=settings.warmup_steps,
        lr_decay=settings.lr_decay,
        betas=(settings.adam_beta1, settings.adam_beta2),
        weight_decay=settings.weight_decay,
        min_snr_gamma=settings.min_snr_gamma,
        noise_offset=settings.noise_offset,
    )
    checkpoints = folder / "checkpoints"
    averages = settings.ema_decay > 0
    callbacks: list[L.Callback] = [
        # last.ckpt links to the newest: of a large model a second copy would be gigabytes.
        ModelCheckpoint(
            checkpoints, filename="{step}", every_n_train_steps=settings.checkpoint_every, save_last="link"
        ),
        lightning_bar(),
        grid,
        *([WeightEMA(settings.ema_decay, every=settings.ema_every)] if averages else []),
    ]
    trainer = L.Trainer(
        **trainer_options(trainer_config, rank, static_graph=settings.accumulate == 1),
        max_epochs=1,
        max_steps=settings.max_steps,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.clip_norm,
        log_every_n_steps=min(settings.log_every, settings.max_steps),
        logger=loggers,
        callbacks=callbacks,
        default_root_dir=folder,
        enable_model_summary=False,
        enable_progress_bar=on_terminal(),
    )
    batches = LatentBatches(
        cache,
        batch_size=settings.batch_size,
        total=settings.max_steps * settings.accumulate,
        seed=seed,
        caption_dropout=settings.caption_dropout,
        first=lambda: trainer.global_step * settings.accumulate,
        rank=trainer.global_rank,
        world_size=trainer.world_size,
    )
    workers = affordable_workers(trainer_config.num_workers, batch_bytes=batches.batch_bytes)
    loader = DataLoader(batches, batch_size=None, num_workers=workers)
    fit(trainer, task, last=checkpoints / "last.ckpt", train_dataloaders=loader)
    if averages and way != "full":
        restore_frozen(unet, base.unet())  # averaging frozen weights changes them by rounding
    return task


def save_unet(
    unet: Any, folder: Path, *, base: BaseModel, trainable: str, scheduler_changes: Mapping[str, Any]
) -> None:
    """Write `folder`/pipeline, the base with the fine-tuned U-Net, and with LoRA `folder`/lora, the adapter.

    The adapter is merged into the U-Net, which ends on the CPU and in evaluation mode.
    """
    unet.cpu().eval()
    if trainable == "lora":
        save_lora(unet, folder / "lora")
        merge_lora(unet)
    save_pipeline(folder / "pipeline", base=base, unet=unet, scheduler_changes=scheduler_changes)


def final_loss(metrics: Path) -> float:
    """Return the mean training loss over the last tenth of the steps in the CSV file `metrics`."""
    losses = read_csv(metrics)["train/loss"].dropna().to_numpy()
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))
