"""Lightning callbacks of the fine-tune: grids of samples while it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from PIL import Image
from torch import Tensor


class SampleGrid(L.Callback):
    """Every `every` steps save a grid PNG: a row a seed, a column a prompt.

    `sample(unet)` returns images (rows, columns, 3, h, w) in [-1, 1]; it is given the averaged weights where
    there is an average, for those are what will be saved.
    """

    def __init__(self, folder: Path, *, every: int, sample: Callable[[Any], Tensor]) -> None:
        self.folder, self.every, self.sample = folder, every, sample

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        ended_a_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self.every and ended_a_step and step % self.every == 0 and trainer.is_global_zero:
            averaged = next(
                (c._average_model for c in trainer.callbacks if getattr(c, "_average_model", None)), None
            )
            unet = pl_module.unet if averaged is None else averaged.module.unet
            unet.eval()
            save_grid(self.sample(unet), self.folder / f"step_{step:06d}.png")
            unet.train()


def save_grid(images: Tensor, path: Path, *, least_side: int = 128) -> Path:
    """`images` (rows, columns, 3, h, w) in [-1, 1] as one PNG; small ones are enlarged, pixel by pixel."""
    rows, columns, _, h, w = images.shape
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
    sheet = pixels.transpose(0, 3, 1, 4, 2).reshape(rows * h, columns * w, 3)
    zoom = max(1, least_side // h)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.kron(sheet, np.ones((zoom, zoom, 1), np.uint8))).save(path)
    return path
