"""An exponential moving average of the weights, kept on the device that trains them."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightEMA(WeightAveraging):
    """ema <- decay^every ema + (1 - decay^every) weights, every `every` optimizer steps.

    `decay` lies in [0, 1) and is meant per step. The first update copies the weights. After training the
    model holds the average. The average stays in float32 where `trainer.precision` makes the weights bfloat16
    or float16: with a decay of 0.999 the change of one step is below their resolution.

    Lightning's own `EMAWeightAveraging` asks for the model's device before the model has been moved there, so
    each update would copy all weights from the GPU to the host.
    """

    def __init__(self, decay: float, *, every: int = 1) -> None:
        blend = get_ema_multi_avg_fn(decay**every)

        def average(averages: list[Tensor], weights: list[Tensor], count: Tensor | int) -> None:
            blend(averages, [w.to(a.dtype) for a, w in zip(averages, weights, strict=True)], count)

        super().__init__(multi_avg_fn=torch.no_grad()(average))
        self.every = every

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            # Each update asks how many came before it: on a GPU the answer would wait for the training step.
            self._average_model.n_averaged = torch.tensor(0)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Copy the average even if nothing was left to train, in which case `on_train_end` is not called.

        The process may have been killed after the last checkpoint and before the weights were saved.
        """
        self._copy_average_to_current(pl_module)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Do not swap the weights with their average: a validation measures both."""

    on_validation_epoch_end = on_validation_epoch_start

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and step_idx % self.every == 0

    @property
    def averaged(self) -> Any:  # Any: the module that is trained
        """The module with the averaged weights while training runs, else None."""
        return None if self._average_model is None else self._average_model.module


def averaged_module(trainer: L.Trainer) -> Any:  # Any: the module that is trained
    """Return the module with the averaged weights while `trainer` trains with a `WeightEMA`, else None."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((each.averaged for each in callbacks if isinstance(each, WeightEMA)), None)
