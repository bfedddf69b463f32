"""Finds directions in the U-Net's h-space, on neutral images of their own, before a sweep is walked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from latentpath.config.choices import MOST_SAMPLE_SEED
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.mix import Direction, Mix, StepDirection
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.sampler import Sampler
from latentpath.traversal.plan import SweepPlan

FIRST_SEED = MOST_SAMPLE_SEED + 2**32  # of the images that directions are a mean over; no sweep has them


@torch.no_grad()
def find_directions(plan: SweepPlan, sampler: Sampler, cls: str, shape: Sequence[int]) -> None:
    """Compute the directions of h-space that `plan` follows for `cls`, and add them to `sampler.directions`.

        dh_i = mean over seeds k of  h(z*_ki, target) - h(z*_ki, source),    h the output of the mid-block

    z*_k is the neutral image of a seed that no sweep uses. It is sampled from random noise, even if the sweep
    edits real images, so a direction depends only on the class, the attribute and the number of seeds.
    shape: (c, h, w) of the latents.
    """
    missing = [along for along in plan.directions(cls) if along not in sampler.directions]
    for seeds in dict.fromkeys(along.seeds for along in missing):
        mine = [along for along in missing if along.seeds == seeds]
        own = range(FIRST_SEED, FIRST_SEED + seeds)
        sampler.directions.update(_walked(plan, sampler, cls, mine, own, shape))


def _walked(
    plan: SweepPlan,
    sampler: Sampler,
    cls: str,
    wanted: Sequence[Direction],
    seeds: Sequence[int],
    shape: Sequence[int],
) -> dict[Direction, list[StepDirection]]:
    denoise, solver = sampler.denoise, sampler.solver
    assert isinstance(denoise, GuidedDenoiser)
    walker = replace(sampler, noise=SeededNoise(tuple(shape)), directions={})
    prompts = dict.fromkeys(prompt for along in wanted for prompt in along.ends)
    letters = {prompt: plan.letters.index(Mix.of((prompt, 1.0))) for prompt in prompts}
    neutral = [plan.letters.index(letter) for letter in plan.word(cls, plan.branches[0])]
    found: dict[Direction, list[StepDirection]] = {direction: [] for direction in wanted}
    state = walker.start(seeds)
    for step_index, timestep in enumerate(solver.timesteps):
        h = {prompt: denoise.bottleneck(state[0], timestep, letters[prompt]) for prompt in prompts}
        for along in wanted:
            direction = (h[along.target] - h[along.source]).mean(dim=0)
            found[along].append(StepDirection(direction, solver.asymmetry(step_index)))
        state = walker.step(state, step_index, seeds=seeds, letters=[neutral[step_index]] * len(seeds))
    return found
