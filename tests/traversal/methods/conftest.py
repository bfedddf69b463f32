"""Sweeps of one class with tiny random weights, by any methods."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentpath.data.captions import CaptionTemplate
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import build_solver
from latentpath.traversal.engine import walk
from latentpath.traversal.plan import SweepPlan, plan_sweep
from latentpath.traversal.sampling import denoiser

N, SHAPE = 6, (4, 8, 8)
CAPTIONS = CaptionTemplate(
    "a dermoscopic image with {cls} showing {attributes}",
    "a dermoscopic image with {cls}",
    {"MEL": "melanoma"},
    {"hair": "hair", "ink": "ink", "ruler": "ruler"},
)
Key = tuple[int, str, str, int, float]  # seed, attribute, method, swap step, strength


@pytest.fixture(scope="session")
def plan() -> Callable[..., SweepPlan]:
    """`plan(methods=..., ...)`: two attributes of melanoma, swapped at steps 0, 2 and 4 of 6."""

    def planned(**changes) -> SweepPlan:
        asked = {
            "classes": ["MEL"],
            "attributes": ["hair", "ink"],
            "swap_steps": [0, 2, 4],
            "num_inference_steps": N,
            "seeds": [3, 11],
            "guidance_scale": 3.0,
        }
        return plan_sweep(CAPTIONS, **(asked | changes))

    return planned


@pytest.fixture(scope="session")
def sample(tiny_sd) -> Callable[..., dict[Key, Tensor]]:
    """`sample(plan, solver)`: the final latents of each image, in batches of one shape."""
    model = BaseModel(str(tiny_sd))
    unet, encoder = model.unet().eval(), model.prompt_encoder(32)

    def sampled(plan: SweepPlan, solver: str = "ddim", **options) -> dict[Key, Tensor]:
        options = {"batch_size": 8, "static": True} | options
        denoise = denoiser(plan, unet=unet, encoder=encoder, **options)
        steps = build_solver(solver, model.schedule(), plan.num_inference_steps)
        sampler = Sampler(denoise, steps, SeededNoise(SHAPE), "cpu", plan.remembers, plan.borrows)
        leaves, latents = walk(plan, sampler, cls="MEL", seeds=plan.seeds)
        assert (denoise.rows, denoise.calls) == (plan.unet_rows, plan.unet_calls)
        assert torch.isfinite(latents).all()
        branches = [(leaf.seed, leaf.branch) for leaf in leaves]
        keys = [(seed, b.attribute, b.method, b.swap_step, b.strength) for seed, b in branches]
        return dict(zip(keys, latents, strict=True))

    return sampled


@pytest.fixture(scope="session")
def of() -> Callable[[dict[Key, Tensor], str], dict]:
    """`of(latents, method)`: those of one method, by seed, attribute and swap step."""
    return lambda latents, method: {(k[0], k[1], k[3]): z for k, z in latents.items() if k[2] == method}
