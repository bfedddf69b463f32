"""The concept slider: a trained low-rank adapter of the attribute is on, and the prompt stays neutral."""

from __future__ import annotations

from dataclasses import dataclass

from latentpath.diffusion.mix import Adapted
from latentpath.traversal.words import Letter, Prompts


@dataclass(frozen=True)
class Slider:
    """From step s on: u + g (n - u) by the U-Net with the attribute's adapter. U-Net rows per node: 2.

    The dial is the scale of the adapter, 1 as it was trained; 0 is the neutral image. `latentpath sliders`
    trains the adapters. Source: Gandikota et al. 2024, 2311.12092.
    """

    dial: float = 1.0

    def __call__(self, p: Prompts) -> Letter:
        neutral = p.guided(p.neutral)
        return Adapted(neutral, tuple((name, self.dial) for name in p.attributes)) if self.dial else neutral
