"""Grids of samples: when a fine-tune draws them, and how they become a PNG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor

from latentpath.data.pixels import save_grid, to_uint8
from latentpath.runs.tracking import log_images
from latentpath.training.averaging import WeightEMA


class SampleGrid(L.Callback):
    """Every `every` steps a grid of samples, a row a seed, a column a prompt: as a PNG, and to the trackers
    with logger.images=true.

    `sample(unet)` returns images (rows, columns, 3, h, w) in [-1, 1]; it is given the averaged weights where
    there is an average, for those are what will be saved.
    """

    def __init__(
        self, folder: Path, *, columns: Sequence[str], every: int, sample: Callable[[Any], Tensor]
    ) -> None:
        self.folder, self.columns, self.every, self.sample = folder, columns, every, sample

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        ended_a_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self.every and ended_a_step and step % self.every == 0 and trainer.is_global_zero:
            averages = (c.averaged for c in trainer.callbacks if isinstance(c, WeightEMA))
            unet = (next(averages, None) or pl_module).unet
            unet.eval()
            images = self.sample(unet)
            save_grid(images, self.folder / f"step_{step:06d}.png")
            log_images(
                trainer.loggers, "samples", to_uint8(images).cpu().numpy(), columns=self.columns, step=step
            )
            unet.train()
