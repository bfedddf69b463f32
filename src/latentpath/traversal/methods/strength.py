"""A weaker or stronger target prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace

from latentpath.traversal.words import Letter, Prompts, blend


@dataclass(frozen=True)
class Strength:
    """From step s on the swap, with another embedding of the target prompt. U-Net rows per node: 2.

    E = E(n) + strength (E(p) - E(n))    or, with `scale`,    E = strength E(p)
    """

    strength: float
    scale: bool = False

    def __call__(self, p: Prompts) -> Letter:
        if self.scale:
            return p.guided(replace(p.target, strength=self.strength))
        return p.guided(blend(p.neutral.text, p.target.text, self.strength))
