"""The LightningModule that fine-tunes a U-Net on cached latents."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from latentpath.config.training import FinetuneConfig
from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.objective import diffusion_loss, draw, prediction_error, sample_latents
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.errors import UserError
from latentpath.training.averaging import averaged_module
from latentpath.training.validation import BINS, mean_losses

if TYPE_CHECKING:
    from latentpath.diffusion.networks import UNet

log = logging.getLogger(__name__)


Batch = dict[str, Tensor]


def check_loss(loss: float, step: int) -> None:
    """Raise UserError if the loss is not finite."""
    if not math.isfinite(loss):
        raise UserError(f"the loss is not finite at step {step}. Try a smaller `lr`, or `precision=32-true`.")


def warn_of_useless(loss: float, noise_offset: float) -> None:
    """Warn if the final loss is above that of a U-Net that always predicts zero.

    That loss is the variance of the target, 1 + noise_offset^2 for eps: the weights have diverged.
    """
    if loss > (zero := 1 + noise_offset**2):
        log.warning(
            "the training diverged: its final loss is %.3g, and a U-Net that always predicts zero has %.3g. "
            "The images of this pipeline will mean nothing; try a smaller learning rate or a longer warm-up.",
            loss,
            zero,
        )


class UNetFinetuner(L.LightningModule):
    """Fits the U-Net to predict eps or v, as the schedule's prediction_type says.

    `captions` are the conditioning of the rows that a batch's `captions` point to; batches are those of
    `data.batches.LatentBatches`, in validations those of `training.validation.HeldOut`, whose captions are
    rows of `held_out_captions`. The U-Net is the only submodule, so an average of the weights averages
    nothing else. Parameters of the U-Net that are frozen stay frozen.

    A validation logs val/loss, the mean of |target - unet(z_t, t, caption)|^2 without weights of the
    timesteps, and val/loss_ema, the same of the averaged weights; both also by bins of t.
    """

    def __init__(
        self,
        unet: UNet,
        settings: FinetuneConfig,
        *,
        captions: Conditioning,
        held_out_captions: Conditioning | None = None,
        schedule: NoiseSchedule,
        scaling_factor: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.unet, self.settings, self.captions = unet, settings, captions
        self.held_out_captions = captions if held_out_captions is None else held_out_captions
        self.schedule, self.scaling_factor, self.seed = schedule, scaling_factor, seed
        self.loss: Tensor | None = None  # of the last step, if this process has made one
        self.sums: dict[str, Tensor] = {}  # of the running validation: (BINS, 2), sum of losses and rows
        self.validated: dict[str, float] = {}  # the last validation's means, and its step

    def on_fit_start(self) -> None:
        """Move the tensors that every step reads to the device once."""
        self.captions = self.captions.to(self.device)
        self.held_out_captions = self.held_out_captions.to(self.device)
        self.schedule = replace(self.schedule, alphas_cumprod=self.schedule.alphas_cumprod.to(self.device))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        moments = batch["moments"]
        shape = (moments.shape[1] // 2, *moments.shape[2:])
        places, timesteps = batch["places"].tolist(), len(self.schedule.alphas_cumprod)
        draws = draw(self.seed, places, shape, timesteps, offset=self.settings.noise_offset)
        loss = diffusion_loss(
            self.unet,
            sample_latents(moments, self.scaling_factor, draws.posterior.to(moments)),
            self.captions[batch["captions"]].to(moments.device, moments.dtype),
            self.schedule,
            noise=draws.noise.to(moments),
            timestep=draws.timestep.to(moments.device),
            min_snr_gamma=self.settings.min_snr_gamma,
        )
        self.loss = loss.detach()
        self.log("train/loss", self.loss, prog_bar=True, sync_dist=self.trainer.world_size > 1)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        average = averaged_module(self.trainer)
        unets = {"loss": self.unet} | ({} if average is None else {"loss_ema": average.unet.eval()})
        for name, unet in unets.items():
            # The average stays in float32 where the weights are in half precision.
            moments, posterior, noise = (
                batch[key].to(unet.dtype) for key in ("moments", "posterior", "noise")
            )
            error = prediction_error(
                unet,
                sample_latents(moments, self.scaling_factor, posterior),
                self.held_out_captions[batch["captions"]].to(moments.device, unet.dtype),
                self.schedule,
                noise=noise,
                timestep=batch["timestep"],
            )
            loss, weight = error.square().flatten(1).mean(dim=1), batch["weight"].float()
            sums = self.sums.setdefault(name, torch.zeros(BINS, 2, device=loss.device))
            sums.index_add_(0, batch["bin"], torch.stack([loss * weight, weight], dim=1))

    def on_validation_epoch_end(self) -> None:
        means: dict[str, float] = {}
        for name, sums in self.sums.items():
            total = self.trainer.strategy.reduce(sums, reduce_op="sum")
            means |= mean_losses(name, total, len(self.schedule.alphas_cumprod))
            # For the callbacks; `_log_validation` sends it to the trackers, with the number of steps done.
            self.log(f"val/{name}", means[f"val/{name}"], prog_bar=True, logger=False, sync_dist=True)
        self.sums.clear()
        self.validated = {"step": self.trainer.global_step, **means}
        self._log_validation(self.trainer.loggers)

    def _log_validation(self, loggers: Iterable[Logger]) -> None:
        means = dict(self.validated)
        step = int(means.pop("step"))
        for logger in loggers:
            logger.log_metrics(means, step)

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        """Stop at the first logged step whose loss is not finite, because the weights are lost then."""
        trainer: Any = self.trainer  # Any: not typed by Lightning
        step = trainer.global_step
        if step % trainer.log_every_n_steps == 0 and "train/loss" in trainer.callback_metrics:
            check_loss(float(trainer.callback_metrics["train/loss"]), step)  # the mean of all processes

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:  # Any: of Lightning
        """Keep the losses of the step: Lightning logs them after the checkpoint, and may be killed before."""
        trainer: Any = self.trainer  # Any: not typed by Lightning
        step = checkpoint["global_step"]
        checkpoint["validated"] = self.validated
        if self.loss is not None and step % trainer.log_every_n_steps == 0:
            checkpoint["unlogged"] = {"step": step - 1, "train/loss": trainer.strategy.reduce(self.loss)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:  # Any: of Lightning
        row = dict(checkpoint.get("unlogged", {}))
        if row and self.trainer.loggers:
            step = row.pop("step")
            self.trainer.loggers[0].log_metrics({"epoch": 0, **row}, step)
        self.validated = dict(checkpoint.get("validated", {}))
        if self.validated.get("step", -1) >= checkpoint["global_step"] - 1:
            self._log_validation(self.trainer.loggers[:1])  # the CSV file drops it with the row above

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move all but `places`, which are read on the CPU; reading them from a GPU would stall it."""
        kept = {key: batch.pop(key) for key in ("places",) if key in batch}
        return super().transfer_batch_to_device(batch, device, dataloader_idx) | kept

    def configure_optimizers(self) -> OptimizerLRScheduler:
        parameters = self._trainable()
        # A fused AdamW divides by the loss scale itself, after clipping: gradients would be clipped scaled.
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        fused = parameters[0].device.type in ("cuda", "cpu") and not scaled
        how = self.settings
        betas = how.adam_beta1, how.adam_beta2
        optimizer = torch.optim.AdamW(
            parameters, lr=how.lr, betas=betas, weight_decay=how.weight_decay, fused=fused
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of all gradients.

        Lightning's own clipping refuses every fused optimizer under mixed precision. Clipping is right
        here: bfloat16 has no loss scale, and with float16 `configure_optimizers` takes an unfused optimizer.
        """
        if gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(self._trainable(), gradient_clip_val)

    def _trainable(self) -> list[torch.nn.Parameter]:
        return [p for p in self.unet.parameters() if p.requires_grad]

    def _lr_factor(self, step: int) -> float:
        warm = min(1.0, (step + 1) / (self.settings.warmup_steps + 1))
        done = min(1.0, step / self.settings.max_steps)
        return warm * (0.5 * (1 + math.cos(math.pi * done)) if self.settings.lr_decay else 1.0)
