"""Walks rows that branch off a trajectory, each at its own step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import State

# (step_index, latents after the step, their rows) -> latents
Anchor = Callable[[int, Tensor, list[int]], Tensor]


@torch.no_grad()
def walk_suffixes(
    sampler: Sampler,
    starts: State,
    *,
    words: Sequence[Sequence[int]],
    steps: Sequence[int],
    seeds: Sequence[int],
    anchor: Anchor | None = None,
) -> Tensor:
    """Sample rows, each from its own step on; all that have begun are at the same step.

    Row k starts as row k of `starts` before step steps[k] and continues with the noise of seeds[k] and, at
    step i, with letter i of words[k]; `anchor` may change the latents after each step. Returns latents
    (rows, c, h, w). Row k costs N - steps[k] U-Net calls.
    """
    order = sorted(range(len(steps)), key=lambda k: steps[k])
    state: State = tuple(part[:0] for part in starts)
    for step_index in range(min(steps), len(sampler.solver.timesteps)):
        joining = [k for k in order if steps[k] == step_index]
        state = tuple(torch.cat([part, of[joining]]) for part, of in zip(state, starts, strict=True))
        alive = order[: len(state[0])]
        state = sampler.step(
            state, step_index, seeds=[seeds[k] for k in alive], letters=[words[k][step_index] for k in alive]
        )
        if anchor is not None:
            state = (anchor(step_index, state[0], alive), *state[1:])
    out = starts[0].clone()  # rows that start after the last step are done
    out[order[: len(state[0])]] = state[0]
    return out


def states_at(trunk: Sequence[State], steps: Sequence[int], places: Sequence[int]) -> State:
    """Select row places[k] of the trunk before step steps[k], for each k, from each part of its states."""
    picked = [[part[place] for part in trunk[step]] for step, place in zip(steps, places, strict=True)]
    return tuple(torch.stack(part) for part in zip(*picked, strict=True))
