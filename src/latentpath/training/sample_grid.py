"""Draws grids of samples during fine-tuning, and writes them to files and trackers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor

from latentpath.data.captions import CaptionTemplate
from latentpath.data.pixels import save_grid, to_uint8
from latentpath.diffusion.autoencoder import decode
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.diffusion.solvers import build_solver
from latentpath.runs.tracking import log_images
from latentpath.training.averaging import averaged_module
from latentpath.traversal.engine import walk
from latentpath.traversal.plan import plan_sweep
from latentpath.traversal.sampling import prompt_table

if TYPE_CHECKING:
    from latentpath.diffusion.networks import UNet

SEEDS = 4  # per class: rows of a grid
STEPS = 20  # largest number of DDIM steps


def grid_sampler(
    base: BaseModel,
    schedule: NoiseSchedule,
    captions: CaptionTemplate,
    *,
    classes: Sequence[str],
    attributes: Sequence[str],
    image_size: int,
    num_inference_steps: int,
    guidance_scale: float,
    guidance_rescale: float,
    negative_prompt: str,
) -> Callable[[UNet], Tensor]:
    """Build `sample(unet)`, which draws a grid of images (rows, 1 + A, 3, H, W) in [-1, 1].

    Each row is a class and a seed; the columns are the neutral prompt, then each attribute from step 0 on.
    The grid is drawn on the device of the U-Net. Raises UserError at once, before any training, if the text
    encoder cannot tell two of the prompts apart.
    """
    steps = min(STEPS, num_inference_steps)
    plan = plan_sweep(
        captions,
        classes=classes,
        attributes=attributes,
        swap_steps=[0],
        num_inference_steps=steps,
        seeds=range(SEEDS),
        guidance_scale=guidance_scale,
        negative_prompt=negative_prompt,
    )
    prompts = prompt_table(plan, base.prompt_encoder(image_size))
    letters = [plan.indexed(letter) for letter in plan.letters]
    solver, noise = build_solver("ddim", schedule, steps), SeededNoise(base.latent_shape(image_size))
    vae = base.vae()

    @torch.no_grad()
    def sample(unet: UNet) -> Tensor:
        denoise = GuidedDenoiser(
            unet, prompts.to(unet.device, unet.dtype), letters, batch_size=32, rescale=guidance_rescale
        )
        sampler = Sampler(denoise, solver, noise, unet.device)
        vae.to(unet.device)
        grids = []
        for cls in plan.classes:
            _, latents = walk(plan, sampler, cls=cls, seeds=plan.seeds)
            grids.append(decode(vae, latents).unflatten(0, (-1, SEEDS)).transpose(0, 1))
        vae.cpu()  # training needs the memory
        return torch.cat(grids)

    return sample


class SampleGrid(L.Callback):
    """Every `every` steps, writes a grid of samples as a PNG, and to the trackers with logger.images=true.

    `sample(unet)` returns images (rows, columns, 3, h, w) in [-1, 1], one row per seed and one column per
    prompt. It uses the EMA weights if there are any, because those will be saved.
    """

    def __init__(
        self, folder: Path, *, columns: Sequence[str], every: int, sample: Callable[[UNet], Tensor]
    ) -> None:
        self.folder, self.columns, self.every, self.sample = folder, columns, every, sample

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: Any,  # Any: a module with a U-Net
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        step = trainer.global_step
        ended_a_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self.every and ended_a_step and step % self.every == 0 and trainer.is_global_zero:
            unet = (averaged_module(trainer) or pl_module).unet
            unet.eval()
            images = self.sample(unet)
            save_grid(images, self.folder / f"step_{step:06d}.png")
            log_images(
                trainer.loggers, "samples", to_uint8(images).cpu().numpy(), columns=self.columns, step=step
            )
            unet.train()
