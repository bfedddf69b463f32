"""Semantic guidance (SEGA): the strongest part of the attribute's own direction, with momentum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentpath.diffusion.mix import Gated
from latentpath.traversal.words import Letter, Prompts


@dataclass(frozen=True)
class Sega:
    """From step s on: u + g (n - u) + phi, with the prompt a of the attribute alone. U-Net rows per node: 3.

        psi = dial (a - u), kept where abs(psi) >= its quantile per channel, else 0
        phi = psi + momentum nu
        nu' = decay nu + (1 - decay) phi,    nu = 0 at step s

    The defaults are those of the paper: dial 5, quantile 0.9, momentum 0.1, decay 0.4. Its warm-up of 10
    steps is the swap step here, and momentum begins there, because earlier steps are shared with the neutral
    image. Source: Brack et al. 2023, 2301.12247.
    """

    dial: float = 5.0
    quantile: float = 0.9
    momentum: float = 0.1
    decay: float = 0.4

    def __call__(self, p: Prompts) -> Letter:
        gate = SegaGate(self.dial, self.quantile, self.momentum, self.decay)
        return Gated(p.guided(p.neutral), toward=p.attribute, away=p.negative, gate=gate)


@dataclass(frozen=True)
class SegaGate:
    """Turns the direction a - u and nu into phi and the next nu, see `Sega`; all (n, c, h, w)."""

    dial: float
    quantile: float
    momentum: float
    decay: float

    def __call__(self, direction: Tensor, nu: Tensor) -> tuple[Tensor, Tensor]:
        psi = self.dial * direction
        size = psi.abs()
        least = torch.quantile(size.flatten(2), self.quantile, dim=2)[:, :, None, None]
        phi = torch.where(size >= least, psi, 0) + self.momentum * nu
        return phi, self.decay * nu + (1 - self.decay) * phi
