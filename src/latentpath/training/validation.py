"""The validation loss of a fine-tune: held-out images, with the same noise and timesteps every time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor
from torch.utils.data import Dataset

from latentpath.config.training import FinetuneConfig
from latentpath.data.latent_cache import LatentCache
from latentpath.data.splits import hash_unit
from latentpath.diffusion.objective import Draws, draw
from latentpath.errors import UserError
from latentpath.runs.ranks import SINGLE, Rank
from latentpath.runs.stopping import validates_now

BINS = 4  # equal ranges of the timestep; each image is noised once in each
SHARE = 0.05  # of the U-Net's rows in training: what val_every_steps=auto may spend
MOST = 50  # validations of a training with val_every_steps=auto


def choose_images(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Choose at most `count` of the held-out images `rows`, by a hash of their ids.

    Every group (patient or lesion) gives its first image before any gives its second.
    """
    rows = rows.iloc[np.argsort(hash_unit(rows["image_id"].tolist(), salt="validation"), kind="stable")]
    turn = rows.groupby("group", sort=False).cumcount()
    return rows.iloc[np.argsort(turn, kind="stable")].head(count).reset_index(drop=True)


def steps_between(settings: FinetuneConfig, images: int) -> int:
    """Return the number of steps from one validation on `images` images to the next; 0: none.

    With val_every_steps=auto all validations, the one before the first step included, cost at most SHARE of
    the training's U-Net rows, and the last step is validated. A training that is too short for two of them
    has none.
    """
    if settings.val_every_steps != "auto" or images == 0:
        return int(settings.val_every_steps) if images else 0
    rows = images * BINS * (2 if settings.ema_decay > 0 else 1)
    trained = settings.max_steps * settings.accumulate * settings.batch_size
    affordable = min(int(SHARE * trained / rows) - 1, MOST)
    even = [count for count in range(1, affordable + 1) if settings.max_steps % count == 0]
    return settings.max_steps // even[-1] if even else 0


def check_validation(settings: FinetuneConfig, images: int) -> None:
    """Raise UserError if `settings.monitor` needs a validation that `images` held-out images do not allow."""
    if settings.monitor and images == 0:
        raise UserError(
            f"`monitor={settings.monitor}` needs images of the validation split with known "
            "attributes, and there are none. Raise `val_fraction` or `limit`."
        )
    if settings.monitor and not steps_between(settings, images):
        raise UserError(
            f"`monitor={settings.monitor}`: in {settings.max_steps} steps of {settings.batch_size} "
            f"images, validations on {images} images would cost more than {SHARE:.0%} of the training. "
            "Lower `val_images`, or give the steps between validations as `val_every_steps=...`"
        )


def fixed_draws(image_ids: Sequence[str], bins: Sequence[int], shape: Sequence[int], timesteps: int) -> Draws:
    """Draw noise and timestep of (image, bin) pairs; a pair's numbers depend on the image's id and bin only.

    `shape` (c, h, w). Timesteps of bin b are uniform in [b / BINS, (b + 1) / BINS) of 0..timesteps-1.
    """
    rows = [draw(_number(name), [at], shape, timesteps) for name, at in zip(image_ids, bins, strict=True)]
    posterior, noise = (torch.cat([getattr(row, part) for row in rows]) for part in ("posterior", "noise"))
    uniform = torch.cat([row.timestep for row in rows])
    return Draws(posterior, noise, (torch.tensor(bins) * timesteps + uniform) // BINS)


def _number(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest())


@dataclass(frozen=True)
class HeldOut(Dataset[dict[str, Tensor]]):
    """The batches of a validation: BINS noised copies of each image, dealt out to the processes.

    `image_ids` are those of the images in `cache`. All batches of all processes have one size; the rows that
    fill the last ones have weight 0.
    """

    cache: LatentCache
    image_ids: Sequence[str]
    timesteps: int  # of the training schedule
    batch_size: int  # of one process, at most
    rank: Rank = SINGLE

    @property
    def rows(self) -> int:
        """Rows of one process, those with weight 0 included."""
        return math.ceil(len(self.image_ids) * BINS / self.rank.world_size)

    def __len__(self) -> int:
        return math.ceil(self.rows / self.batch_size)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """moments (n, 2c, h, w), captions (n,), posterior, noise, timestep, bin, weight (n,)."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        size, pairs = math.ceil(self.rows / len(self)), len(self.image_ids) * BINS
        places = np.arange(number * size, (number + 1) * size) * self.rank.world_size + self.rank.index
        images, bins = np.divmod(places % pairs, BINS)
        moments = torch.from_numpy(self.cache.moments[images].astype(np.float32))
        shape = (moments.shape[1] // 2, *moments.shape[2:])
        draws = fixed_draws([self.image_ids[int(i)] for i in images], bins.tolist(), shape, self.timesteps)
        return {
            "moments": moments,
            "captions": torch.from_numpy(self.cache.caption_of[images]),
            "posterior": draws.posterior,
            "noise": draws.noise,
            "timestep": draws.timestep,
            "bin": torch.from_numpy(bins),
            "weight": torch.from_numpy((places < pairs).astype(np.float32)),
        }


def mean_losses(name: str, sums: Tensor, timesteps: int) -> dict[str, float]:
    """Return {val/<name>: mean, val/<name>_t0-249: mean of a bin, ...} of `sums` (BINS, 2): losses, rows."""
    means = {f"val/{name}": float(sums[:, 0].sum() / sums[:, 1].sum())}
    for at, (loss, rows) in enumerate(sums.tolist()):
        first, last = -(-at * timesteps // BINS), -(-(at + 1) * timesteps // BINS) - 1
        means[f"val/{name}_t{first}-{last}"] = loss / rows
    return means


class CheckpointAfterValidation(ModelCheckpoint):
    """Writes checkpoints by steps; at a step with a validation after it, so that its losses are included."""

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
    ) -> None:
        if not validates_now(trainer):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            super().on_train_batch_end(trainer, pl_module, None, None, 0)
