"""The noise of a sampler: a function of the sample's seed and of the step, of nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Noise(Protocol):
    """Where the noise of a walk comes from: drawn anew, or found by inverting a real image."""

    def initial(self, seeds: Sequence[int]) -> Tensor:
        """z_T (n, c, h, w), standard normal, one row a seed."""
        ...

    def step_noise(self, seeds: Sequence[int], step_index: int, sigma: float) -> Tensor | None:
        """What is added to the latents after a step whose noise has the standard deviation `sigma`:
        (n, c, h, w), or None for nothing."""
        ...


@dataclass(frozen=True)
class SeededNoise:
    """Drawn by (seed, step), so that all branches of a seed share it. `shape` is (c, h, w)."""

    shape: tuple[int, ...]

    def initial(self, seeds: Sequence[int]) -> Tensor:
        return initial_noise(seeds, self.shape)

    def step_noise(self, seeds: Sequence[int], step_index: int, sigma: float) -> Tensor | None:
        return sigma * step_noise(seeds, step_index, self.shape) if sigma > 0 else None


def initial_noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """z_T, (n, *shape) fp32: row i depends on seeds[i] alone, and is what a diffusers pipeline draws for
    `generator=torch.Generator("cpu").manual_seed(seed)`."""
    return torch.cat([torch.randn((1, *shape), generator=torch.Generator().manual_seed(s)) for s in seeds])


def step_noise(seeds: Sequence[int], step_index: int, shape: Sequence[int]) -> Tensor:
    """Noise of a stochastic step, (n, *shape): a function of (seed, step), one for all branches of a seed."""
    rows = []
    for seed in seeds:
        state = int(np.random.SeedSequence((seed, step_index)).generate_state(1, np.uint64)[0])
        rows.append(torch.randn(tuple(shape), generator=torch.Generator().manual_seed(state % 2**63)))
    return torch.stack(rows)
