"""Walks the prefix tree of a sweep: one trunk per seed, one branch per swap, all rows at the same step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import State
from latentpath.traversal.directions import find_directions
from latentpath.traversal.late import Trunk, branch_off
from latentpath.traversal.plan import Branch, SweepPlan


@dataclass(frozen=True)
class Leaf:
    """Identifies one image of a finished sweep."""

    cls: str
    seed: int
    branch: Branch

    @property
    def key(self) -> dict[str, str | int | float]:
        """The columns that identify the image in tables: those of `keys.LATENT_KEY`."""
        branch = self.branch
        return {
            "class": self.cls,
            "seed": self.seed,
            "attribute": branch.attribute,
            "method": branch.method,
            "swap_step": branch.swap_step,
            "until": branch.until,
            "strength": branch.strength,
        }


@torch.no_grad()
def walk(
    plan: SweepPlan,
    sampler: Sampler,
    *,
    cls: str,
    seeds: Sequence[int],
    trunk: list[State] | None = None,
) -> tuple[list[Leaf], Tensor]:
    """Sample every branch of `seeds` for one class.

    All swaps of a seed share the neutral trunk up to their swap step, exactly. So the steps are walked once.
    Before step i the rows that branch at i are copied from the trunk, together with the solver's memory:

        step     0 ----- 5 ----- 10 ----- ... ----- N
        trunk    e ------+-------+------- ... -----> neutral image
                         |       +-- e' - ... -----> swap_step 10
                         +---------- e' - ... -----> swap_step 5

    Letters are indices into `plan.letters`. Returns the leaves, branch by branch, and their final latents
    (branches x seeds, c, h, w). If a list is given as `trunk`, it receives the states of the neutral branch
    (the first one) before each step and after the last.
    """
    if trunk is None and plan.late:
        trunk = []
    levels, ends = plan.tree(cls)
    state = sampler.start(seeds)  # one row per seed
    find_directions(plan, sampler, cls, state[0].shape[1:])
    for step_index, level in enumerate(levels):
        if trunk is not None:
            trunk.append(tuple(part[: len(seeds)].clone() for part in state))
        state = copy_rows(state, level.parents, len(seeds))  # rows are ordered by node, then by seed
        letters = [letter for letter in level.letters for _ in seeds]
        state = sampler.step(state, step_index, seeds=list(seeds) * len(level.letters), letters=letters)
    if trunk is not None:
        trunk.append(tuple(part[: len(seeds)].clone() for part in state))
    (latents, *_) = copy_rows(state, ends, len(seeds))
    branches = plan.early
    if trunk is not None and plan.late:
        latents = torch.cat([latents, branch_off(Trunk(plan, sampler, cls, seeds, trunk))])
        branches = branches + plan.late
    return [Leaf(cls, seed, branch) for branch in branches for seed in seeds], latents


def copy_rows(state: State, nodes: Sequence[int], seeds: int) -> State:
    """Select the rows of `nodes`, in this order, from each part of the state (nodes x seeds, ...)."""
    return tuple(part.unflatten(0, (-1, seeds))[list(nodes)].flatten(0, 1) for part in state)
