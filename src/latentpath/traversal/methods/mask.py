"""The mask: an edit changes the image only where the two captions disagree about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latentpath.diffusion.mix import Mix
from latentpath.diffusion.noise import step_noise
from latentpath.traversal.words import Letter, Prompts

if TYPE_CHECKING:
    from latentpath.diffusion.solvers import State
    from latentpath.traversal.late import Trunk

NOISE = (1 << 20) + 1  # the first step_index in the noise of (seed, step_index); no sweep has so many steps
DRAWS = 10  # noises whose maps are averaged
CLAMP = 3.0  # times the mean of the map


@dataclass(frozen=True)
class Mask:
    """After each step from s on: z <- m z + (1 - m) z*, z* the neutral latents of the same noise level.

        map = mean of abs(eps(z, p) - eps(z, n)) over DRAWS noises and all channels, z the neutral image at
              half the steps' noise; clamped at CLAMP times its mean and divided by that
        m   = 1 where map > dial, else 0

    The dial is a threshold in [0, 1], 0.5 as published; with 1 nothing changes. U-Net rows per node: those of
    the method that it masks, and once per seed and attribute 2 DRAWS for the map.
    Sources: DiffEdit, Couairon et al. 2023, 2210.11427; the blend at equal noise is that of RadEdit's paper,
    2312.12865.
    """

    dial: float = 0.5

    def asks(self, p: Prompts) -> tuple[Letter, ...]:
        """The letters of the map: both captions without guidance."""
        return Mix.of((p.neutral, 1.0)), Mix.of((p.target, 1.0))

    def calls(self, p: Prompts) -> int:
        """Denoised latents per seed for the map, which all masks of the same attributes share."""
        return 2 * DRAWS

    def start(self, trunk: Trunk, step: int) -> State:
        return trunk.states[step]

    def region(self, trunk: Trunk, p: Prompts) -> Tensor:
        """Return m as booleans (seeds, 1, h, w)."""
        if p.attributes not in trunk.maps:
            trunk.maps[p.attributes] = self._map(trunk, p)
        return trunk.maps[p.attributes] > self.dial

    def _map(self, trunk: Trunk, p: Prompts) -> Tensor:
        """The disagreement of the two captions in [0, 1], (seeds, 1, h, w)."""
        half = len(trunk.sampler.solver.levels) // 2
        alpha = trunk.sampler.solver.levels[half][0]
        total = torch.zeros_like(trunk.end)
        for draw in range(DRAWS):
            noise = step_noise(trunk.seeds, NOISE + draw, trunk.end.shape[1:]).to(trunk.end)
            noised = math.sqrt(alpha) * trunk.end + math.sqrt(1 - alpha) * noise
            neutral, target = (trunk.denoise(noised, half, letter) for letter in self.asks(p))
            total += (target - neutral).abs()
        disagreement = total.mean(dim=1, keepdim=True) / DRAWS
        most = CLAMP * disagreement.mean(dim=(2, 3), keepdim=True)
        return torch.minimum(disagreement, most) / most.clamp(min=torch.finfo(most.dtype).tiny)
