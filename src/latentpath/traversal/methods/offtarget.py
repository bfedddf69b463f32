"""Subtraction of other attributes: the swap, minus the directions of attributes that are to stay."""

from __future__ import annotations

from dataclasses import dataclass

from latentpath.diffusion.mix import Mix
from latentpath.traversal.words import Letter, Prompts


@dataclass(frozen=True)
class Offtarget:
    """From step s on: u + g (p - u) - dial sum_k (p_k - n). U-Net rows per node: 3 + the number of others k.

    p_k are the captions that name one of the other attributes each, divided by their number: the dial is the
    weight of their mean. With dial 0 it is the swap. Source: composable diffusion (Liu et al. 2022,
    2206.01714), whose negation it is.
    """

    dial: float = 1.0

    def __call__(self, p: Prompts) -> Letter:
        """Return the letter. Raises UserError if there is no other attribute."""
        share = self.dial / len(p.others)
        return Mix.of(
            (p.negative, 1 - p.guidance_scale),
            (p.target, p.guidance_scale),
            (p.neutral, self.dial),
            *((other, -share) for other in p.others),
        )
