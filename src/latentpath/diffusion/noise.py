"""The noise of a sampler, which depends only on the seed of the sample and the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Noise(Protocol):
    """A source of the noise of sampling: random, or from the inversion of a real image."""

    def initial(self, seeds: Sequence[int]) -> Tensor:
        """Return z_T (n, c, h, w), standard normal, one row per seed."""
        ...

    def step_noise(self, seeds: Sequence[int], step_index: int, sigma: float) -> Tensor | None:
        """Return the noise (n, c, h, w) to add after a step, or None; `sigma` is its standard deviation."""
        ...


@dataclass(frozen=True)
class SeededNoise:
    """Random noise as a function of (seed, step), shared by all branches of a seed; `shape` is (c, h, w)."""

    shape: tuple[int, ...]

    def initial(self, seeds: Sequence[int]) -> Tensor:
        return initial_noise(seeds, self.shape)

    def step_noise(self, seeds: Sequence[int], step_index: int, sigma: float) -> Tensor | None:
        return sigma * step_noise(seeds, step_index, self.shape) if sigma > 0 else None


def initial_noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Return z_T, (n, *shape) fp32; row i depends on seeds[i] only.

    Each row equals the noise that a diffusers pipeline draws with
    `generator=torch.Generator("cpu").manual_seed(seed)`.
    """
    return torch.cat([torch.randn((1, *shape), generator=torch.Generator().manual_seed(s)) for s in seeds])


def step_noise(seeds: Sequence[int], step_index: int, shape: Sequence[int]) -> Tensor:
    """Return the noise of a stochastic step, (n, *shape), as a function of (seed, step)."""
    rows = []
    for seed in seeds:
        state = int(np.random.SeedSequence((seed, step_index)).generate_state(1, np.uint64)[0])
        rows.append(torch.randn(tuple(shape), generator=torch.Generator().manual_seed(state % 2**63)))
    return torch.stack(rows)
