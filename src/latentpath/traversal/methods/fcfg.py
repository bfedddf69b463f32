"""Factored classifier-free guidance (FCFG): one weight for what stays, another for what changes."""

from __future__ import annotations

from dataclasses import dataclass

from latentpath.diffusion.mix import Mix
from latentpath.traversal.words import Letter, Prompts


@dataclass(frozen=True)
class Fcfg:
    """From step s on: u + w_inv (n - u) + dial (p - n). U-Net rows per node: 3, with w_inv 1 only 2.

    The dial is the weight of the attribute (w_aff of the paper, 2.5), w_inv that of the neutral caption (1).
    With g the guidance of the sweep: (w_inv, dial) = (g, 0) is the neutral image, (g, g) the swap, and (1, d)
    is contrast at d. Source: arXiv 2506.14399.
    """

    dial: float = 2.5
    w_inv: float = 1.0

    def __call__(self, p: Prompts) -> Letter:
        return Mix.of(
            (p.negative, 1 - self.w_inv), (p.neutral, self.w_inv - self.dial), (p.target, self.dial)
        )
