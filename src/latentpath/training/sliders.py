"""Trains a concept slider: a low-rank adapter whose scale turns an attribute up or down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from torch import Tensor
from torch.utils.data import DataLoader

from latentpath.config.training import SlidersConfig, TrainerConfig
from latentpath.data.batches import LatentBatches
from latentpath.data.latent_cache import LatentCache
from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.objective import draw, sample_latents
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.runs.ranks import SINGLE
from latentpath.training.finetune import Batch, check_loss
from latentpath.training.fit import fit
from latentpath.training.launch import build_trainer
from latentpath.training.trainable import make_trainable

if TYPE_CHECKING:
    from latentpath.diffusion.networks import UNet


class SliderTrainer(L.LightningModule):
    """Fits an adapter D so that the U-Net with it follows the attribute while the prompt does not name it.

    With eps the U-Net without the adapter, eps_D the one with it, c a caption without the attribute and c+
    the same with it (Gandikota et al. 2023, arXiv 2311.12092, eq. 7 with c- = c):

        target = eps(z_t, c) + eta (eps(z_t, c+) - eps(z_t, c))
        loss   = mean |eps_D(z_t, c) - target|^2

    The published method takes z_t from the model's own samples; here z_t are noised training images, which
    costs no sampling. `unet` has the adapter, which alone is trained. `without` and `with_it` hold c and c+
    of each pair of captions that a batch's `captions` point to. The same holds for v in place of eps.
    """

    def __init__(
        self,
        unet: UNet,
        settings: SlidersConfig,
        *,
        without: Conditioning,
        with_it: Conditioning,
        schedule: NoiseSchedule,
        scaling_factor: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.strict_loading = False  # a checkpoint holds the adapter, not the U-Net
        self.unet, self.settings, self.without, self.with_it = unet, settings, without, with_it
        self.schedule, self.scaling_factor, self.seed = schedule, scaling_factor, seed

    def on_fit_start(self) -> None:
        """Move the tensors that every step reads to the device once."""
        self.without, self.with_it = self.without.to(self.device), self.with_it.to(self.device)
        self.schedule = replace(self.schedule, alphas_cumprod=self.schedule.alphas_cumprod.to(self.device))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        moments, places = batch["moments"], batch["places"].tolist()
        shape = (moments.shape[1] // 2, *moments.shape[2:])
        draws = draw(self.seed, places, shape, len(self.schedule.alphas_cumprod))
        z = sample_latents(moments, self.scaling_factor, draws.posterior.to(moments))
        t = draws.timestep.to(moments.device)
        noisy = self.schedule.add_noise(z, draws.noise.to(moments), t)
        without, with_it = (
            table[batch["captions"]].to(moments.device, moments.dtype)
            for table in (self.without, self.with_it)
        )
        with torch.no_grad():
            self.unet.disable_adapters()
            there, beyond = self._unet(noisy, t, without), self._unet(noisy, t, with_it)
            self.unet.enable_adapters()
        step = self.settings.eta * (beyond - there)
        loss = (self._unet(noisy, t, without) - (there + step)).square().mean()
        self.log("train/loss", loss.detach(), prog_bar=True)
        # 1 while the adapter does nothing; 0 if it predicts the direction exactly.
        self.log("train/unexplained", loss.detach() / step.square().mean())
        return loss

    def _unet(self, noisy: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        return self.unet(noisy, timestep, **conditioning.unet_arguments(), return_dict=False)[0].float()

    def state_dict(self, *args: Any, **options: Any) -> Any:  # Any: torch
        """Return the weights of the adapter alone: the pipeline holds those of the U-Net already."""
        trained = {f"unet.{name}" for name, weights in self.unet.named_parameters() if weights.requires_grad}
        every = super().state_dict(*args, **options)
        return {name: weights for name, weights in every.items() if name in trained}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        places = batch.pop("places")  # read on the CPU
        return super().transfer_batch_to_device(batch, device, dataloader_idx) | {"places": places}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [p for p in self.unet.parameters() if p.requires_grad]
        return torch.optim.AdamW(trained, lr=self.settings.lr)


def fit_slider(
    unet: UNet,
    cache: LatentCache,
    pairs: Sequence[int],
    schedule: NoiseSchedule,
    settings: SlidersConfig,
    *,
    without: Conditioning,
    with_it: Conditioning,
    scaling_factor: float,
    seed: int,
    folder: Path,
    trainer_config: TrainerConfig,
    loggers: Sequence[Logger],
) -> SliderTrainer:
    """Add an adapter to `unet` and fit it on the images of `cache`, from the last checkpoint if there is one.

    `pairs` (n,): the row of each image in `without` and `with_it`. Checkpoints are in `folder`/checkpoints.
    One process trains.
    """
    make_trainable(unet.train(), "lora", rank=settings.rank, alpha=settings.alpha)
    task = SliderTrainer(
        unet,
        settings,
        without=without,
        with_it=with_it,
        schedule=schedule,
        scaling_factor=scaling_factor,
        seed=seed,
    )
    checkpoints, every = folder / "checkpoints", settings.checkpoint_every
    trainer = build_trainer(
        trainer_config,
        SINGLE,
        folder,
        loggers,
        [ModelCheckpoint(checkpoints, filename="{step}", every_n_train_steps=every, save_last="link")],
        devices=1,
        num_nodes=1,
        max_epochs=1,
        max_steps=settings.max_steps,
        gradient_clip_val=1.0,
        log_every_n_steps=min(10, settings.max_steps),
    )
    batches = LatentBatches(
        replace(cache, caption_of=np.array(pairs), folder=None),
        batch_size=settings.batch_size,
        total=settings.max_steps,
        seed=seed,
        first=lambda: trainer.global_step,
    )
    fit(trainer, task, last=checkpoints / "last.ckpt", train_dataloaders=DataLoader(batches, batch_size=None))
    if "train/loss" in trainer.callback_metrics:
        check_loss(float(trainer.callback_metrics["train/loss"]), trainer.global_step)
    return task
