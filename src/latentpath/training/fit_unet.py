"""Fits the U-Net: selects trainable weights, checkpoints, averages weights, and draws sample grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from torch.utils.data import DataLoader

from latentpath.config.training import FinetuneConfig, TrainerConfig
from latentpath.data.batches import LatentBatches, affordable_workers
from latentpath.data.latent_cache import LatentCache
from latentpath.diffusion.components import BaseModel, save_pipeline
from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.execution import device_of, should_compile
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.runs.files import read_csv
from latentpath.runs.ranks import Rank
from latentpath.training.averaging import WeightEMA
from latentpath.training.checkpoints import read_checkpoint
from latentpath.training.finetune import UNetFinetuner
from latentpath.training.fit import Patience, fit
from latentpath.training.launch import build_trainer
from latentpath.training.sample_grid import SampleGrid
from latentpath.training.trainable import make_trainable, merge_lora, restore_frozen, save_lora
from latentpath.training.validation import CheckpointAfterValidation, HeldOut, steps_between

if TYPE_CHECKING:
    from latentpath.diffusion.networks import UNet


def fit_unet(
    base: BaseModel,
    cache: LatentCache,
    schedule: NoiseSchedule,
    settings: FinetuneConfig,
    *,
    image_size: int,
    seed: int,
    folder: Path,
    trainer_config: TrainerConfig,
    loggers: Sequence[Logger],
    grid: SampleGrid,
    rank: Rank,
    held_out: HeldOut | None = None,
) -> Fitted:
    """Fit the U-Net of `base` for `settings.max_steps` steps, from the last checkpoint if there is one.

    `held_out` are the batches of a validation, None: no validation. Checkpoints are in `folder`/checkpoints:
    last.ckpt, and with a monitor best.ckpt. The U-Net that is returned holds the best weights by the monitor,
    else the last ones, averaged if configured.
    """
    way = settings.trainable
    unet = base.unet().train()
    make_trainable(unet, way, rank=settings.lora_rank, alpha=settings.lora_alpha)
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    if settings.channels_last:
        unet.to(memory_format=torch.channels_last)
    rows = settings.max_steps * settings.batch_size * settings.accumulate
    if should_compile(
        settings.compile,
        device_of(trainer_config.accelerator),
        lambda: 3 * rows * base.flop_per_row(image_size),  # the backward pass costs two more
    ):
        unet.compile(fullgraph=True, dynamic=False)  # in place, so that the names of weights do not change
    captions, held_out_captions = (
        Conditioning(each.prompt_embeds, each.prompt_pooled, image_size)
        for each in (cache, cache if held_out is None else held_out.cache)
    )
    task = UNetFinetuner(
        unet,
        settings,
        captions=captions,
        held_out_captions=held_out_captions,
        schedule=schedule,
        scaling_factor=base.scaling_factor(),
        seed=seed,
    )
    checkpoints = folder / "checkpoints"
    averages = settings.ema_decay > 0
    every = steps_between(settings, len(held_out.image_ids)) if held_out is not None else 0
    callbacks: list[L.Callback] = [
        grid,
        *([WeightEMA(settings.ema_decay, every=settings.ema_every)] if averages else []),
        *(_monitoring(checkpoints, settings) if settings.monitor else []),
        # After the best, so that it knows which step is best. last.ckpt links to the newest: of a large model
        # a second copy would be gigabytes.
        CheckpointAfterValidation(
            checkpoints, filename="{step}", every_n_train_steps=settings.checkpoint_every, save_last="link"
        ),
    ]
    trainer = build_trainer(
        trainer_config,
        rank,
        folder,
        loggers,
        callbacks,
        static_graph=settings.accumulate == 1,
        max_epochs=1,
        max_steps=settings.max_steps,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.clip_norm,
        log_every_n_steps=min(settings.log_every, settings.max_steps),
        val_check_interval=every * settings.accumulate or None,
        check_val_every_n_epoch=None if every else 1,
        num_sanity_val_steps=-1 if every else 0,  # all of it: the loss before the first step
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
    data = {"train_dataloaders": DataLoader(batches, batch_size=None, num_workers=workers)}
    if every and held_out is not None:
        data["val_dataloaders"] = DataLoader(held_out, batch_size=None)
    fit(trainer, task, last=checkpoints / "last.ckpt", **data)
    fitted = Fitted(task, steps=trainer.global_step, exported=trainer.global_step)
    if settings.monitor:
        load_best(task, checkpoints / "best.ckpt", averaged=settings.monitor == "loss_ema")
        fitted = replace(fitted, exported=int(task.validated["step"]))
    if averages and way != "full":
        restore_frozen(unet, base.unet())  # averaging frozen weights changes them by rounding
    return fitted


@dataclass(frozen=True)
class Fitted:
    """A fitted module: `task.unet` holds the weights to export, `task.validated` the last validation of them.

    steps: the number that was made; exported: the step from which the weights are.
    """

    task: UNetFinetuner
    steps: int
    exported: int

    def summary(self, settings: FinetuneConfig) -> str:
        """Say in words which step's weights these are, and their validation loss if it is known."""
        losses = [(key, self.task.validated.get(key)) for key in ("val/loss", "val/loss_ema")]
        known = self.task.validated.get("step") == self.exported
        measured = ", ".join(f"{key} {loss:.4f}" for key, loss in losses if loss is not None and known)
        which = f"the best of {self.steps} by val/{settings.monitor}" if settings.monitor else "the last"
        return f"step {self.exported}, {which}" + (f" ({measured})" if measured else "")


def _monitoring(checkpoints: Path, settings: FinetuneConfig) -> list[L.Callback]:
    """Return the callbacks that keep the best step, and stop after `patience` worse validations."""
    monitor = f"val/{settings.monitor}"
    best = ModelCheckpoint(
        checkpoints,
        filename="best",
        monitor=monitor,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
    return [*([Patience(monitor, patience=settings.patience)] if settings.patience else []), best]


def load_best(task: UNetFinetuner, checkpoint: Path, *, averaged: bool) -> None:
    """Load the weights of a checkpoint, the averaged ones or those that were trained, and its validation."""
    state = read_checkpoint(checkpoint)
    # With an average, a checkpoint's state_dict is the average.
    trained = state.get("current_model_state", state["state_dict"])
    task.load_state_dict(state["state_dict"] if averaged else trained)
    task.validated = state["validated"]


def save_unet(
    unet: UNet, folder: Path, *, base: BaseModel, trainable: str, scheduler_changes: Mapping[str, object]
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
