"""Linear mixes of a U-Net's outputs over prompts: the form of guidance, and of many ways of editing."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)
Q = TypeVar("Q", bound=Hashable)


@dataclass(frozen=True)
class Mix(Generic[P]):
    """eps = sum_k w_k eps(z, prompt_k), with weights that sum to 1.

    `terms` are pairs (prompt, weight): every prompt once, none with weight 0. Each term costs one row of the
    U-Net. A prompt is whatever identifies it: its text in a plan, its row in the table of a denoiser.
    """

    terms: tuple[tuple[P, float], ...]

    @classmethod
    def of(cls, *terms: tuple[P, float]) -> Mix[P]:
        """Add up the weights of equal prompts and leave out those with weight 0.

        Mixes of the same outputs are then equal, and the tree computes them once. Raises ValueError if the
        weights do not sum to 1.
        """
        weights: dict[P, float] = {}
        for prompt, weight in terms:
            weights[prompt] = weights.get(prompt, 0.0) + weight
        if not math.isclose(sum(weights.values()), 1, abs_tol=1e-6):
            raise ValueError(f"the weights of a mix must sum to 1, got {weights}")
        left = {prompt: weight for prompt, weight in weights.items() if weight}
        return cls(tuple(left.items()) if len(left) > 1 else tuple((prompt, 1.0) for prompt in left))

    def __len__(self) -> int:
        return len(self.terms)

    @property
    def prompts(self) -> tuple[P, ...]:
        return tuple(prompt for prompt, _ in self.terms)

    def map(self, of: Callable[[P], Q]) -> Mix[Q]:
        """Return the same mix with other names of its prompts."""
        return Mix(tuple((of(prompt), weight) for prompt, weight in self.terms))


def guided(prompt: P, *, negative: P, scale: float) -> Mix[P]:
    """Classifier-free guidance: eps_u + g (eps_c - eps_u)   (Ho & Salimans 2022).

    `scale` g is that of diffusers: 1 is the prompt alone, without guidance.
    """
    return Mix.of((negative, 1 - scale), (prompt, scale))
