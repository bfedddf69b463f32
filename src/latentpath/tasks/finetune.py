"""The LightningModule that fine-tunes a U-Net on cached latents."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from latentpath.diffusion.objective import diffusion_loss, sample_latents
from latentpath.diffusion.schedule import NoiseSchedule


class UNetFinetuner(L.LightningModule):
    """Fits eps or v (by the schedule's prediction_type); holds the U-Net and nothing else, so that an average
    of the weights averages just that. Batches are those of `data.batches.LatentBatches`."""

    def __init__(
        self,
        unet: Any,
        *,
        schedule: NoiseSchedule,
        scaling_factor: float,
        seed: int,
        max_steps: int,
        lr: float,
        warmup_steps: int = 0,
        lr_decay: bool = False,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.schedule, self.scaling_factor, self.seed = schedule, scaling_factor, seed
        self.max_steps, self.lr, self.warmup_steps, self.lr_decay = max_steps, lr, warmup_steps, lr_decay
        self.betas, self.weight_decay = betas, weight_decay

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        number = int(batch["number"])
        # Randomness is a function of (seed, rank, number): a resumed run draws what it would have drawn.
        state = np.random.SeedSequence((self.seed, self.global_rank, number)).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(state) % 2**63)
        latents = sample_latents(batch["moments"], self.scaling_factor, generator)
        loss = diffusion_loss(self.unet, latents, batch["prompt_embeds"], self.schedule, generator)
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        parameters = [p for p in self.unet.parameters() if p.requires_grad]
        fused = parameters[0].is_cuda
        optimizer = torch.optim.AdamW(
            parameters, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay, fused=fused
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _lr_factor(self, step: int) -> float:
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return warm * (
            0.5 * (1 + math.cos(math.pi * min(1.0, step / self.max_steps))) if self.lr_decay else 1.0
        )
