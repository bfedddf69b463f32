"""Two ways to make a sweep with the same weights, seeds and precision: diffusers and the prefix tree."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from experiments.bench_model import Model
from latentpath.data.captions import CaptionTemplate
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import build_solver
from latentpath.traversal.engine import walk
from latentpath.traversal.plan import SweepPlan, plan_sweep

ATTRIBUTES = {"hair": "hair", "gel_bubble": "gel bubble", "ink": "ink", "ruler": "ruler"}
CAPTIONS = CaptionTemplate(
    "a dermoscopic image with {cls} showing {attributes}",
    "a dermoscopic image with {cls} with no visible artifacts",
    {"MEL": "melanoma (MEL)"},
    ATTRIBUTES,
)
Latents = dict[tuple[int, str, int], torch.Tensor]  # (seed, attribute, swap step) -> (c, h, w)


def sweep_plan(*, steps: int, swaps: list[int], attributes: int, seeds: int, guidance: float) -> SweepPlan:
    return plan_sweep(
        CAPTIONS,
        classes=["MEL"],
        attributes=list(ATTRIBUTES)[:attributes],
        swap_steps=swaps,
        num_inference_steps=steps,
        seeds=range(seeds),
        guidance_scale=guidance,
    )


def tree_way(plan: SweepPlan, model: Model, denoise: GuidedDenoiser) -> Latents:
    solver = build_solver("ddim", model.schedule, plan.num_inference_steps)
    sampler = Sampler(denoise, solver, SeededNoise(model.latent_shape), model.device)
    leaves, latents = walk(plan, sampler, cls="MEL", seeds=plan.seeds)
    return {
        (leaf.seed, leaf.branch.attribute, leaf.branch.swap_step): z
        for leaf, z in zip(leaves, latents, strict=True)
    }


def plain_way(
    plan: SweepPlan, model: Model, pipe: StableDiffusionPipeline, guidance: float, batch_size: int
) -> Latents:
    """Make the sweep with one pipeline call (with a callback) per attribute and swap step, over all seeds."""
    found: Latents = {}
    for branch in plan.branches:
        for start in range(0, len(plan.seeds), batch_size):
            seeds = plan.seeds[start : start + batch_size]
            target = plan.text("MEL", branch)
            latents = plain_call(plan, model, pipe, guidance, target, branch.swap_step, seeds)
            found |= {
                (seed, branch.attribute, branch.swap_step): z for seed, z in zip(seeds, latents, strict=True)
            }
    return found


def plain_call(
    plan: SweepPlan,
    model: Model,
    pipe: Any,
    guidance: float,
    target: str,
    swap_step: int,
    seeds: tuple[int, ...],
) -> torch.Tensor:
    neutral = plan.text("MEL", plan.branches[0])
    embeds, negative = pipe.encode_prompt(target, model.device, len(seeds), guidance > 1, negative_prompt="")
    both = torch.cat([negative, embeds]) if guidance > 1 else embeds
    # The callback takes effect from the next step: to swap at step s it must run at the end of step s - 1.
    swap = lambda p, i, t, kw: {"prompt_embeds": both} if i == swap_step - 1 else {}  # noqa: E731
    return pipe(
        target if swap_step == 0 else neutral,
        num_images_per_prompt=len(seeds),
        height=model.image_size,
        width=model.image_size,
        guidance_scale=guidance,
        num_inference_steps=plan.num_inference_steps,
        output_type="latent",
        callback_on_step_end=swap,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
    ).images
