"""A sweep from plan to shards: waves of seeds, those that are done left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch

from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.prompts import encode_prompts
from latentpath.diffusion.solvers import DDIM, initial_noise
from latentpath.errors import UserError
from latentpath.traversal.engine import walk
from latentpath.traversal.plan import SweepPlan
from latentpath.traversal.store import build_index, finished_seeds, write_shard


def denoiser(
    plan: SweepPlan,
    *,
    unet: Any,
    tokenizer: Any,
    text_encoder: Any,
    negative_prompt: str = "",
    guidance_scale: float,
    batch_size: int,
) -> GuidedDenoiser:
    """A denoiser whose prompt table is `plan.prompts()`, the negative prompt last."""
    table = encode_prompts([*plan.prompts(), negative_prompt], tokenizer=tokenizer, text_encoder=text_encoder)
    return GuidedDenoiser(
        unet=unet,
        prompt_embeds=table.to(unet.device, unet.dtype),
        negative=len(table) - 1,
        guidance_scale=guidance_scale,
        batch_size=batch_size,
    )


def sweep(
    plan: SweepPlan,
    *,
    denoise: GuidedDenoiser,
    solver: DDIM,
    folder: Path,
    shard_seeds: int,
    shape: Sequence[int],
    on_rows: Callable[[int], object] = lambda rows: None,
) -> int:
    """Write every shard of the plan that `folder` lacks, then the index; returns the U-Net calls made now.

    `shape` (c, h, w) of a latent; `shard_seeds` seeds make a wave, which is a shard: what a kill can lose.
    `on_rows` is told of finished U-Net evaluations, skipped ones included, so that a bar ends at
    plan.unet_calls.
    """
    done, before = finished_seeds(folder), denoise.calls
    denoise.on_call = on_rows
    unet = denoise.unet
    for cls in plan.classes:
        missing = [seed for seed in plan.seeds if (cls, seed) not in done]
        on_rows((len(plan.seeds) - len(missing)) * plan.calls_per_seed)
        for start in range(0, len(missing), shard_seeds):
            seeds = missing[start : start + shard_seeds]
            name = f"{quote(cls, safe='')}-{seeds[0]:06d}-{seeds[-1]:06d}"
            noise = initial_noise(seeds, shape).to(unet.device)
            leaves, latents = walk(plan, cls=cls, noise=noise, seeds=seeds, denoise=denoise, solver=solver)
            if not torch.isfinite(latents).all():
                raise UserError(
                    f"shard {name}: latents are not finite. Try precision 32-true or a smaller finetune.lr"
                )
            write_shard(
                folder, name, leaves, latents, [plan.prompt(leaf.cls, leaf.attribute) for leaf in leaves]
            )
    build_index(folder)
    return denoise.calls - before
