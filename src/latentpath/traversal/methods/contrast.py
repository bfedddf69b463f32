"""Contrast: the neutral caption takes the place of the negative prompt."""

from __future__ import annotations

from dataclasses import dataclass

from latentpath.diffusion.mix import Mix
from latentpath.traversal.words import Letter, Prompts


@dataclass(frozen=True)
class Contrast:
    """From step s on: n + dial (p - n). U-Net rows per node: 2.

    Guidance away from the neutral caption instead of the empty one amplifies only what the captions differ
    in. The usual dial is 7.5. Source: negative prompts as in diffusers, with the neutral caption as negative.
    """

    dial: float = 7.5

    def __call__(self, p: Prompts) -> Letter:
        return Mix.of((p.neutral, 1 - self.dial), (p.target, self.dial))
