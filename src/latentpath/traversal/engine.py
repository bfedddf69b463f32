"""The walk through the tree of a sweep: one trunk a seed, a branch a swap, all rows at the same step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentpath.diffusion.solvers import DDIM
from latentpath.traversal.plan import NEUTRAL, SweepPlan

Denoise = Callable[
    [Tensor, int, Sequence[int]], Tensor
]  # (latents, timestep, prompt index a row) -> model output


@dataclass(frozen=True)
class Leaf:
    """What one row of a finished sweep is. `swap_step` N with no attribute is the neutral image."""

    cls: str
    seed: int
    attribute: str
    swap_step: int


@torch.no_grad()
def walk(
    plan: SweepPlan, *, cls: str, noise: Tensor, seeds: Sequence[int], denoise: Denoise, solver: DDIM
) -> tuple[list[Leaf], Tensor]:
    """Sample every leaf of `seeds` for one class.

    All swaps of a seed share the neutral trunk up to their swap step, exactly. So the steps are walked once,
    and before step i the rows that branch at i are copied from the trunk:

        step     0 ----- 5 ----- 10 ----- ... ----- N
        trunk    e ------+-------+------- ... -----> neutral image
                         |       +-- e' - ... -----> swap_step 10
                         +---------- e' - ... -----> swap_step 5

    `noise` (seeds, c, h, w) is z_T; `denoise` takes for each row the index of its prompt in `plan.prompts()`.
    Returns the leaves and their final latents (rows, c, h, w), rows in the order in which they branched.
    """
    prompt_index = {prompt: i for i, prompt in enumerate(plan.prompts())}
    n, trunk = plan.num_inference_steps, len(seeds)
    latents = noise
    leaves = [Leaf(cls, seed, NEUTRAL, n) for seed in seeds]
    for step_index in range(n + 1):
        for swap_step in plan.swap_steps:
            if plan.branch_step(swap_step) == step_index:
                latents = torch.cat([latents, *([latents[:trunk]] * len(plan.attributes))])
                leaves += [Leaf(cls, seed, a, swap_step) for a in plan.attributes for seed in seeds]
        if step_index < n:
            prompts = [prompt_index[plan.prompt(cls, leaf.attribute)] for leaf in leaves]
            output = denoise(latents, solver.timesteps[step_index], prompts)
            latents = solver.step(latents, output, step_index, [leaf.seed for leaf in leaves])
    return leaves, latents
