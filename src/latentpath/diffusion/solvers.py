"""Solver steps of the reverse diffusion: pure, batched, every row on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentpath.diffusion.schedule import NoiseSchedule


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


def ddim_step(
    latents: Tensor,
    model_output: Tensor,
    *,
    alpha: float,
    alpha_previous: float,
    prediction_type: str = "epsilon",
    eta: float = 0.0,
    noise: Tensor | None = None,
) -> Tensor:
    """One step z_t -> z_{t-1} of DDIM (Song et al. 2021, eq. 12 and 16); alpha is their alpha_t = alpha_bar.

    `latents`, `model_output`, `noise` (rows, c, h, w); `eta` in [0, 1], `noise` is needed above 0. The
    predicted z_0 is not clipped: latents have no range.
    """
    sqrt_alpha, sqrt_beta = alpha**0.5, (1 - alpha) ** 0.5
    if prediction_type == "epsilon":
        epsilon = model_output
        clean = (latents - sqrt_beta * epsilon) / sqrt_alpha
    elif prediction_type == "v_prediction":
        clean = sqrt_alpha * latents - sqrt_beta * model_output
        epsilon = sqrt_alpha * model_output + sqrt_beta * latents
    else:
        raise ValueError(f"prediction_type {prediction_type!r}: expected epsilon or v_prediction")
    sigma = eta * ((1 - alpha_previous) / (1 - alpha) * (1 - alpha / alpha_previous)) ** 0.5
    previous = alpha_previous**0.5 * clean + (1 - alpha_previous - sigma**2) ** 0.5 * epsilon
    if sigma > 0:
        if noise is None:
            raise ValueError("eta > 0 needs noise")
        previous = previous + sigma * noise
    return previous


@dataclass(frozen=True)
class DDIM:
    """The DDIM solver over the N steps of a sampler."""

    schedule: NoiseSchedule
    num_inference_steps: int
    eta: float = 0.0

    @property
    def timesteps(self) -> list[int]:
        """Training timestep of each step_index 0..N-1."""
        return self.schedule.timesteps(self.num_inference_steps).tolist()

    def step(self, latents: Tensor, model_output: Tensor, step_index: int, seeds: Sequence[int]) -> Tensor:
        """(rows, c, h, w) before step_index -> after it; a stochastic one takes the noise of `seeds[row]`."""
        schedule = self.schedule
        timestep = self.timesteps[step_index]
        previous = timestep - len(schedule.alphas_cumprod) // self.num_inference_steps
        noise = None
        if self.eta > 0:
            unique = sorted(set(seeds))
            drawn = step_noise(unique, step_index, latents.shape[1:])
            noise = drawn[[unique.index(s) for s in seeds]].to(latents)
        return ddim_step(
            latents,
            model_output,
            alpha=float(schedule.alphas_cumprod[timestep]),
            alpha_previous=float(schedule.alphas_cumprod[previous])
            if previous >= 0
            else schedule.final_alpha_cumprod,
            prediction_type=schedule.prediction_type,
            eta=self.eta,
            noise=noise,
        )
