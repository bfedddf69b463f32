"""The h-space direction (Asyrp): the mid-block of the U-Net is shifted, and the prompt stays neutral."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from latentpath.diffusion.mix import Direction, Guidance, Mix, Shifts
from latentpath.traversal.words import Letter, Prompts

P = TypeVar("P", bound=Hashable)
Q = TypeVar("Q", bound=Hashable)


@dataclass(frozen=True)
class Hspace:
    """From step s on: u + g (n - u) + k_i g (n~ - n). U-Net rows per node: 3.

        n~   = eps(z, n) with the output h of the mid-block shifted to h + dial dh_i
        dh_i = mean of h(z*_i, p) - h(z*_i, n) over the neutral images of `seeds` seeds that no sweep uses
        k_i  = P / (P + D), which turns the paper's asymmetric step into a plain one (`Solver.asymmetry`)

    In the asymmetric step z_0 is predicted with n~, and the direction to the next z with n. As in the swap,
    the attribute enters the conditional row only, and guidance amplifies it. The paper trains dh_i and finds
    it nearly the same for all images; this is its form without training. No sweep uses the images of the
    mean, so an image depends on its own seed only. They cost seeds N (3 + attributes) rows, once per class.
    With dial 0 it is the neutral image. For DDIM and Euler. The paper ends the edit some steps before the
    last; this does not. Source: Kwon et al. 2023, 2210.10960.
    """

    dial: float = 1.0
    seeds: int = 20

    def __call__(self, p: Prompts) -> Letter:
        shifts = Shifts(Direction(p.neutral, p.target, self.seeds), self.dial)
        neutral = p.guided(p.neutral)
        edits = self.dial and p.guidance_scale
        return Shifted(neutral, p.neutral, p.guidance_scale, shifts) if edits else neutral


@dataclass(frozen=True)
class Shifted(Guidance[P]):
    """eps = base + asymmetry scale (eps~ - eps_origin), eps~ with a shifted mid-block, see `Hspace`."""

    base: Mix[P]
    origin: P
    scale: float
    shifts: Shifts  # type: ignore[assignment]
    asymmetry: float = 1.0

    @property
    def prompts(self) -> tuple[P, ...]:
        return (*self.base.prompts, self.origin)

    @property
    def strongest(self) -> int:
        return self.base.strongest

    def map(self, of: Callable[[P], Q]) -> Shifted[Q]:
        return Shifted(self.base.map(of), of(self.origin), self.scale, self.shifts, self.asymmetry)

    def stepping(self, asymmetry: float) -> Shifted[P]:
        return replace(self, asymmetry=asymmetry)

    def __call__(self, outputs: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return eps (n, c, h, w) of the outputs (prompts, n, c, h, w), and the memory as it was."""
        base, _ = self.base(outputs[:-1])
        origin = outputs[self.base.prompts.index(self.origin)]
        return base + self.asymmetry * self.scale * (outputs[-1] - origin), memory
