"""Inverts real images: finds the noise from which sampling reproduces them, so that they can be edited."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentpath.diffusion.noise import step_noise
from latentpath.diffusion.solvers import Solver, predictions
from latentpath.errors import UserError


@dataclass(frozen=True)
class InvertedNoise:
    """The noise of inverted real images, in place of random noise; row k is image number seeds[k].

    start: (n, c, h, w), z_T. residuals: (N, n, c, h, w), z_{i+1} minus the predicted mean of step i; None if
    no noise is added during sampling.
    """

    seeds: tuple[int, ...]
    start: Tensor
    residuals: Tensor | None = None

    def initial(self, seeds: Sequence[int]) -> Tensor:
        return self.start[self._rows(seeds)]

    def step_noise(self, seeds: Sequence[int], step_index: int, sigma: float) -> Tensor | None:
        return None if self.residuals is None else self.residuals[step_index, self._rows(seeds)]

    def _rows(self, seeds: Sequence[int]) -> list[int]:
        return [self.seeds.index(seed) for seed in seeds]


@torch.no_grad()
def ddpm_inversion(
    latents: Tensor, *, seeds: Sequence[int], denoise: Callable[[Tensor, float], Tensor], solver: Solver
) -> InvertedNoise:
    """Edit-friendly DDPM inversion (Huberman-Spiegelglas et al. 2024).

        z_i = sqrt(a_i) z_0 + sqrt(1 - a_i) eps_i,   eps_i independent,   z_N = z_0
        r_i = z_{i+1} - mean(z_i)

    Each z_i gets independent noise, so the residuals r_i, which replace the sampler's noise, hold the
    structure of the image. Sampling with them reproduces `latents` (n, c, h, w) exactly, at any guidance
    scale, if `denoise(latents, timestep)` is the denoiser of sampling. With another prompt the result stays
    closer to the image, the later the prompt is swapped in. `solver` has eta = 1. The eps_i are functions of
    (seed, step). Costs N U-Net calls per image. Raises ValueError for another eta.
    """
    if solver.eta != 1:
        raise ValueError(f"DDPM inversion needs a solver with eta 1, got {solver.eta}")
    steps = len(solver.timesteps)

    def noised(i: int) -> Tensor:
        if i == steps:
            return latents
        alpha = solver.levels[i][0]
        noise = step_noise(seeds, i, latents.shape[1:]).to(latents)
        return math.sqrt(alpha) * latents + math.sqrt(1 - alpha) * noise

    start = z = noised(0)
    residuals = []
    for i in range(steps):
        (mean, *_), _ = solver.step((z,), denoise(z, solver.timesteps[i]), i)
        z = noised(i + 1)
        residuals.append(z - mean)
    return InvertedNoise(tuple(seeds), start / solver.init_noise_sigma, torch.stack(residuals))


@torch.no_grad()
def ddim_inversion(
    latents: Tensor,
    *,
    seeds: Sequence[int],
    denoise: Callable[[Tensor, float], Tensor],
    solver: Solver,
    iterations: int = 1,
) -> InvertedNoise:
    """DDIM walked backwards (Song et al. 2021, section 4.3): z' after a step to z before it,

        z = sqrt(a) (z' - sqrt(1 - a') eps) / sqrt(a') + sqrt(1 - a) eps,   eps = eps(z, t)

    The first iteration evaluates eps at z', further `iterations` at the last estimate of z. The inversion is
    exact only in the limit of small steps and only for the guidance of `denoise`; guidance scales above 1
    make the reconstruction worse. `latents` (n, c, h, w); `solver` is DDIM with eta 0. Costs N x iterations
    U-Net calls per image. Raises ValueError for another solver, and UserError for one that starts at zero
    terminal SNR, where eps is z whatever the image.
    """
    if solver.eta != 0 or solver.multistep:
        raise ValueError("DDIM inversion needs the DDIM or Euler solver with eta 0")
    if solver.levels[0][0] == 0:
        raise UserError(
            "this model's schedule begins with pure noise (zero terminal SNR), which DDIM cannot invert. "
            "Give inversion=ddpm, which can."
        )
    z = latents
    for i in reversed(range(len(solver.timesteps))):
        alpha, after = solver.levels[i]
        later = guess = z
        for _ in range(iterations):
            output = denoise(guess, solver.timesteps[i])
            _, epsilon = predictions(guess, output, alpha, solver.prediction_type)
            clean = (later - math.sqrt(1 - after) * epsilon) / math.sqrt(after)
            guess = math.sqrt(alpha) * clean + math.sqrt(1 - alpha) * epsilon
        z = guess
    return InvertedNoise(tuple(seeds), z / solver.init_noise_sigma)
