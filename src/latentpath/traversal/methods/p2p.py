"""Prompt-to-prompt (P2P): the swap, while the U-Net attends to the image as it does for the neutral one."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

from latentpath.diffusion.mix import Borrows, Guidance, Mix, Through
from latentpath.traversal.words import Letter, Prompts

P = TypeVar("P", bound=Hashable)
Q = TypeVar("Q", bound=Hashable)


@dataclass(frozen=True)
class P2p:
    """From step s on: u + g (p - u), where p has attention maps of the neutral image. U-Net rows per node: 2.

        in the first dial of all steps   cross-attention to words that both captions have
        in the first self_attention      self-attention of layers of at most 256 pixels

    The maps are those of the row of n of the neutral image at the same step, which the tree has anyway. Words
    that only p has keep their own attention (the paper's refinement; a caption that only exchanges words is
    its replacement). The defaults are those of the paper, 0.8 and 0.4; with (0, 0), or where s comes later
    than both, it is the swap. The paper's local blend is `mask` here.
    Source: Hertz et al. 2022, 2208.01626.
    """

    dial: float = 0.8
    self_attention: float = 0.4

    def __call__(self, p: Prompts) -> Letter:
        swap = p.guided(p.target)
        return Borrowing(swap, p.target, p.neutral, self.dial, self.self_attention)


@dataclass(frozen=True)
class Borrowing(Through[P]):
    """A mix whose prompt `target` borrows the attention of `source` in a share of all steps, see `P2p`.

    cross, own: the shares of the steps that are spelled (`at`); in a step, 1 or 0.
    """

    mix: Mix[P]
    target: P
    source: P
    cross: float
    own: float

    @property
    def borrows(self) -> Borrows[P]:  # type: ignore[override]
        return Borrows(self.target, self.source, self.cross > 0, self.own > 0)

    def at(self, step_index: int, num_inference_steps: int) -> Guidance[P]:
        cross, own = (step_index < int(x * num_inference_steps) for x in (self.cross, self.own))
        return Borrowing(self.mix, self.target, self.source, cross, own) if cross or own else self.mix

    def map(self, of: Callable[[P], Q]) -> Borrowing[Q]:
        return Borrowing(self.mix.map(of), of(self.target), of(self.source), self.cross, self.own)
