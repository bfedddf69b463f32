"""Orthogonal guidance: the attribute's direction, without what it shares with those of other attributes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from latentpath.diffusion.mix import Beside, Mix
from latentpath.traversal.words import Letter, Prompts

P = TypeVar("P", bound=Hashable)
Q = TypeVar("Q", bound=Hashable)


@dataclass(frozen=True)
class Ortho:
    """From step s on: u + g (n - u) + dial d. U-Net rows per node: 3 + the number of others k.

        d = (p - n) - its projection onto the span of the (p_k - n), over all channels and pixels of a latent

    p_k are the captions that name one of the other attributes each. A subtraction with fixed weights
    (`offtarget`) pushes the others below the neutral image; this removes at each step exactly the part of the
    direction that moves along them. With one attribute only it is FCFG with w_inv = g, and with dial 0 the
    neutral image. Of latentpath.
    """

    dial: float = 7.5

    def __call__(self, p: Prompts) -> Letter:
        return Apart(p.guided(p.neutral), p.neutral, p.target, tuple(p.others), self.dial)


@dataclass(frozen=True)
class Apart(Beside[P]):
    """eps = base + dial (eps_toward - eps_origin), without its part in the span of the eps_k - eps_origin."""

    base: Mix[P]
    origin: P
    toward: P
    others: tuple[P, ...]
    dial: float

    @property
    def prompts(self) -> tuple[P, ...]:
        return tuple(dict.fromkeys((*self.base.prompts, self.origin, *self.others, self.toward)))

    def map(self, of: Callable[[P], Q]) -> Apart[Q]:
        """Return the same letter with each prompt `p` replaced by `of(p)`."""
        others = tuple(of(other) for other in self.others)
        return Apart(self.base.map(of), of(self.origin), of(self.toward), others, self.dial)

    def __call__(self, outputs: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return eps (n, c, h, w) of the outputs (prompts, n, c, h, w), and the memory as it was."""
        base, of = self.split(outputs)
        others = [of[other] - of[self.origin] for other in self.others]
        return base + self.dial * without(of[self.toward] - of[self.origin], others), memory


def without(direction: Tensor, others: list[Tensor]) -> Tensor:
    """Remove from each row its projection onto the span of the same row of `others`; all (n, c, h, w).

    By Gram and Schmidt. A direction that others already span removes nothing more.
    """
    basis: list[Tensor] = []
    for other in others:
        rest = _apart(other, basis)
        kept = _dot(rest, rest) > 1e-8 * _dot(other, other)
        basis.append(torch.where(kept, rest, 0))
    return _apart(direction, basis)


def _apart(direction: Tensor, basis: list[Tensor]) -> Tensor:
    for b in basis:
        length = _dot(b, b)
        direction = direction - torch.where(length > 0, _dot(direction, b) / length, 0) * b
    return direction


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(1, 2, 3), keepdim=True)
