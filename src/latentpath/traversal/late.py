"""Edits that need the whole neutral trajectory: they branch off it once the tree has been walked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import State
from latentpath.traversal.plan import SweepPlan
from latentpath.traversal.suffixes import walk_suffixes
from latentpath.traversal.words import Letter


@dataclass(frozen=True)
class Trunk:
    """The finished neutral trajectory of some seeds of one class.

    states: N + 1 states (seeds, ...), before each step and after the last.
    maps: attributes -> where their captions disagree, as `methods.mask` has found it so far.
    """

    plan: SweepPlan
    sampler: Sampler
    cls: str
    seeds: Sequence[int]
    states: Sequence[State]
    # what `methods.mask` found, by attributes
    maps: dict[tuple[str, ...], Tensor] = field(default_factory=dict)

    @property
    def end(self) -> Tensor:
        """The neutral latents z*_0, (seeds, c, h, w)."""
        return self.states[-1][0]

    def denoise(self, latents: Tensor, step_index: int, letter: Letter) -> Tensor:
        """Predict for `latents` (n, c, h, w) at the noise level of a step, all under one letter."""
        letters = [self.plan.letters.index(letter)] * len(latents)
        return self.sampler.denoise(latents, self.sampler.solver.timesteps[step_index], letters)


def branch_off(trunk: Trunk) -> Tensor:
    """Sample the late branches of the plan: latents (branches x seeds, c, h, w), branch by branch.

    Each row costs N - s denoised latents, besides what its method asks for in advance. If any borrows the
    attention of the neutral image, the rows of that go along and come first (`SweepPlan.lender`).
    """
    plan, n = trunk.plan, len(trunk.seeds)
    ways = [branch.late for branch in plan.late if branch.late is not None]
    first = [plan.first_step(branch) for branch in plan.late]
    starts = [way.start(trunk, step) for way, step in zip(ways, first, strict=True)]
    regions = [
        way.region(trunk, plan.prompts_of(trunk.cls, branch))
        for way, branch in zip(ways, plan.late, strict=True)
    ]
    words = [plan.word(trunk.cls, branch) for branch in plan.late]
    everywhere = torch.ones_like(trunk.end[:, :1], dtype=torch.bool)
    if lender := plan.lender(trunk.cls):
        first, starts = [min(first), *first], [trunk.states[min(first)], *starts]
        regions, words = [~everywhere, *regions], [[lender] * plan.num_inference_steps, *words]
    inside = torch.cat([everywhere if region is None else region for region in regions])

    def anchor(step_index: int, latents: Tensor, rows: list[int]) -> Tensor:
        neutral = trunk.states[step_index + 1][0][[row % n for row in rows]]
        return torch.where(inside[rows], latents, neutral)

    latents = walk_suffixes(
        trunk.sampler,
        tuple(torch.cat(part) for part in zip(*starts, strict=True)),
        words=[[plan.letters.index(x) for x in word] for word in words for _ in trunk.seeds],
        steps=[step for step in first for _ in trunk.seeds],
        seeds=[*trunk.seeds] * len(first),
        anchor=anchor,
    )
    return latents[-n * len(plan.late) :]
