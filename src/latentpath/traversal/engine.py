"""The walk through the tree of a sweep: one trunk a seed, a branch a swap, all rows at the same step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentpath.diffusion.noise import Noise
from latentpath.diffusion.solvers import Solver, State
from latentpath.traversal.plan import Branch, SweepPlan

# (latents, timestep, prompt index a row) -> model output
Denoise = Callable[[Tensor, float, Sequence[int]], Tensor]


@dataclass(frozen=True)
class Leaf:
    """What one image of a finished sweep is."""

    cls: str
    seed: int
    branch: Branch


@torch.no_grad()
def walk(
    plan: SweepPlan,
    *,
    cls: str,
    seeds: Sequence[int],
    noise: Noise,
    denoise: Denoise,
    solver: Solver,
    device: torch.device | str = "cpu",
    trunk: list[State] | None = None,
) -> tuple[list[Leaf], Tensor]:
    """Sample every branch of `seeds` for one class.

    All swaps of a seed share the neutral trunk up to their swap step, exactly. So the steps are walked once,
    and before step i the rows that branch at i are copied from the trunk, the solver's memory with them:

        step     0 ----- 5 ----- 10 ----- ... ----- N
        trunk    e ------+-------+------- ... -----> neutral image
                         |       +-- e' - ... -----> swap_step 10
                         +---------- e' - ... -----> swap_step 5

    `denoise` takes for each row the index of its prompt in `plan.prompts`. Returns the leaves, branch by
    branch, and their final latents (branches x seeds, c, h, w). A list given as `trunk` receives the states
    of the first branch, the neutral one, before each step and after the last.
    """
    levels, ends = plan.tree(cls)
    state = solver.start(noise.initial(seeds).to(device))  # a row a seed
    for step_index, level in enumerate(levels):
        if trunk is not None:
            trunk.append(tuple(part[: len(seeds)].clone() for part in state))
        state = copy_rows(state, level.parents, len(seeds))  # rows: node by node, in each seed by seed
        prompts = [prompt for prompt in level.prompts for _ in seeds]
        state = advance(state, step_index, list(seeds) * len(level.prompts), prompts, noise, denoise, solver)
    if trunk is not None:
        trunk.append(tuple(part[: len(seeds)].clone() for part in state))
    (latents, *_) = copy_rows(state, ends, len(seeds))
    return [Leaf(cls, seed, branch) for branch in plan.branches for seed in seeds], latents


def advance(
    state: State,
    step_index: int,
    seeds: Sequence[int],
    prompts: Sequence[int],
    noise: Noise,
    denoise: Denoise,
    solver: Solver,
) -> State:
    """All rows of `state` one step on; row k is of seeds[k] and uses prompts[k]."""
    output = denoise(state[0], solver.timesteps[step_index], prompts)
    (latents, *memory), sigma = solver.step(state, output, step_index)
    unique = list(dict.fromkeys(seeds))
    noise_term = noise.step_noise(unique, step_index, sigma)  # drawn once a seed: its branches share it
    if noise_term is not None:
        latents = latents + noise_term.to(latents)[[unique.index(seed) for seed in seeds]]
    return (latents, *memory)


def copy_rows(state: State, nodes: Sequence[int], seeds: int) -> State:
    """Of every part of the state (nodes x seeds, ...) the rows of `nodes`, in their order."""
    return tuple(part.unflatten(0, (-1, seeds))[list(nodes)].flatten(0, 1) for part in state)
