"""SDEdit: the finished neutral image is noised again to the level of step s, then edited."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latentpath.diffusion.noise import step_noise
from latentpath.traversal.words import Letter, Prompts

if TYPE_CHECKING:
    from latentpath.diffusion.solvers import State
    from latentpath.traversal.late import Trunk

NOISE = 1 << 20  # stands for a step_index in the noise of (seed, step_index); no sweep has so many steps


@dataclass(frozen=True)
class Sdedit:
    """z_s = sqrt(a_s) z*_0 + sqrt(1 - a_s) noise(seed), then the swap. U-Net rows per node: 2.

    z*_0 is the neutral image and a_s the noise level before step s. The swap step is the only dial; it is
    published with a strength of 0.8, which is s = 0.2 N. Source: Meng et al. 2022, 2108.01073.
    """

    def asks(self, p: Prompts) -> tuple[Letter, ...]:
        return ()

    def calls(self, p: Prompts) -> int:
        return 0

    def start(self, trunk: Trunk, step: int) -> State:
        """Return the state before `step`; the predicted z_0 of a multistep solver is z*_0 itself."""
        solver, (latents, *memory) = trunk.sampler.solver, trunk.states[step]
        if step == len(solver.levels):
            return (latents, *memory)
        alpha = solver.levels[step][0]
        noise = step_noise(trunk.seeds, NOISE, latents.shape[1:]).to(latents)
        noised = math.sqrt(alpha) * trunk.end + math.sqrt(1 - alpha) * noise
        rest = memory[1:] if solver.multistep else memory
        return (noised, *((trunk.end,) if solver.multistep else ()), *map(torch.zeros_like, rest))

    def region(self, trunk: Trunk, p: Prompts) -> Tensor | None:
        return None
