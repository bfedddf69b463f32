"""LEDITS++: the attribute's own direction, where it is strong and the U-Net attends to the words."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from latentpath.diffusion.mix import Beside, Mix
from latentpath.traversal.words import Letter, Prompts

P = TypeVar("P", bound=Hashable)
Q = TypeVar("Q", bound=Hashable)

EARLY = 0.2  # of the steps, those with timesteps above 800 of 1,000, in which M2 does not count
BLUR = 0.5  # of the 3 x 3 kernel exp(-d^2 / (2 BLUR)^2), as in diffusers


@dataclass(frozen=True)
class Leditspp:
    """From step s on: u + g (n - u) + psi M1 M2. U-Net rows per node: 3.

        psi = dial (a - u), with the prompt a of the attribute alone
        M1  = 1 where the attention to the words of a, blurred, is >= its quantile, else 0
        M2  = 1 where the sum over channels of abs(psi) is >= its quantile, else 0; in the first fifth 1

    M1 is the cross-attention of the row of a, the mean over layers at a quarter of the latents' height and
    width (16 x 16 in Stable Diffusion), scaled up to theirs. The defaults are those of the paper: dial 5,
    quantile 0.9. It edits real images after DDPM inversion without guidance; where the neutral caption is
    empty, n is u and a node costs 2 rows. Its `skip` of 0.15 is the swap step here. Sources: Brack et al.
    2024, 2311.16711; the blur is that of diffusers.
    """

    dial: float = 5.0
    quantile: float = 0.9

    def __call__(self, p: Prompts) -> Letter:
        neutral = p.guided(p.neutral)
        return Where(neutral, p.attribute, p.negative, self.dial, self.quantile) if self.dial else neutral


@dataclass(frozen=True)
class Where(Beside[P]):
    """eps = base + psi M1 M2, psi = dial (eps_toward - eps_away), see `Leditspp`.

    early: leave out M2. attention: (n, h', w') to the words of `toward`, once it is seen.
    """

    base: Mix[P]
    toward: P
    away: P
    dial: float
    quantile: float
    early: bool = False
    attention: Tensor | None = field(default=None, compare=False)

    @property
    def prompts(self) -> tuple[P, ...]:
        return tuple(dict.fromkeys((*self.base.prompts, self.away, self.toward)))

    @property
    def looks(self) -> tuple[P, ...]:  # type: ignore[override]
        return (self.toward,)

    def at(self, step_index: int, num_inference_steps: int) -> Where[P]:
        return replace(self, early=step_index + 1 <= EARLY * num_inference_steps)

    def map(self, of: Callable[[P], Q]) -> Where[Q]:
        return Where(self.base.map(of), of(self.toward), of(self.away), self.dial, self.quantile, self.early)

    def seeing(self, maps: Tensor) -> Where[P]:
        return replace(self, attention=maps[0])

    def __call__(self, outputs: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return eps (n, c, h, w) of the outputs (prompts, n, c, h, w), and the memory as it was."""
        assert self.attention is not None
        base, of = self.split(outputs)
        psi = self.dial * (of[self.toward] - of[self.away])
        where = F.interpolate(largest(blurred(self.attention), self.quantile).float(), psi.shape[2:])
        if not self.early:
            where = where * largest(psi.abs().sum(dim=1, keepdim=True), self.quantile)
        return base + psi * where, memory


def blurred(maps: Tensor) -> Tensor:
    """Blur `maps` (n, h, w) with a 3 x 3 kernel that sums to 1, reflected at the border -> (n, 1, h, w)."""
    line = torch.exp(-((torch.arange(-1.0, 2.0, device=maps.device) / (2 * BLUR)) ** 2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    return F.conv2d(F.pad(maps[:, None], (1, 1, 1, 1), mode="reflect"), kernel[None, None])


def largest(maps: Tensor, quantile: float) -> Tensor:
    """Return where `maps` (n, 1, h, w) are at least the `quantile` of their row, as booleans."""
    return maps >= torch.quantile(maps.flatten(1), quantile, dim=1)[:, None, None, None]
