"""The training objective of the U-Net, and the random draws of a training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.schedule import NoiseSchedule

if TYPE_CHECKING:
    from latentpath.diffusion.networks import UNet


@dataclass(frozen=True)
class Draws:
    """The random numbers of a training step, one row per sample."""

    posterior: Tensor  # (n, c, h, w) standard normal, samples the VAE's posterior
    noise: Tensor  # (n, c, h, w) standard normal, is added to the latents
    timestep: Tensor  # (n,) uniform in 0..T-1


def draw(
    seed: int, places: Sequence[int], shape: Sequence[int], timesteps: int, *, offset: float = 0.0
) -> Draws:
    """Draw the random numbers of the samples at `places` in the endless stream of training samples.

    Row k depends on (seed, places[k]) only, so a resumed run and any number of processes that split a batch
    draw the same numbers as a single process. `offset` > 0 adds one normal number per channel to the noise,
    so that the model can make darker or brighter images (Guttenberg 2023); the noise keeps its variance.
    """
    posterior, noise, timestep = [], [], []
    for place in places:
        state = np.random.SeedSequence((seed, int(place))).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(state) % 2**63)
        posterior.append(torch.randn(tuple(shape), generator=generator))
        eps = torch.randn(tuple(shape), generator=generator)
        timestep.append(torch.randint(timesteps, (), generator=generator))
        if offset > 0:
            level = torch.randn(shape[0], *(1 for _ in shape[1:]), generator=generator)
            eps = (eps + offset * level) / (1 + offset**2) ** 0.5
        noise.append(eps)
    return Draws(torch.stack(posterior), torch.stack(noise), torch.stack(timestep))


def sample_latents(moments: Tensor, scaling_factor: float, noise: Tensor) -> Tensor:
    """Sample scaled latents z_0 (n, c, h, w) from the posterior of the VAE.

    moments: (n, 2c, h, w), its mean and log-variance. noise: (n, c, h, w), standard normal.
    """
    mean, log_variance = moments.chunk(2, dim=1)
    return scaling_factor * (mean + (0.5 * log_variance.clamp(-30, 20)).exp() * noise)


def diffusion_loss(
    unet: UNet,
    latents: Tensor,
    conditioning: Conditioning,
    schedule: NoiseSchedule,
    *,
    noise: Tensor,
    timestep: Tensor,
    min_snr_gamma: float = 0.0,
) -> Tensor:
    """mean_n w(t) |target - unet(z_t, t, prompt)|^2 (Ho et al. 2020, eq. 14): a scalar.

    `latents`, `noise` (n, c, h, w), `timestep` (n,); `conditioning` has n rows. w = 1, or with
    `min_snr_gamma` > 0 that of Hang et al. 2023: SNR = a / (1 - a), a = alpha_bar,

        w = min(SNR, gamma) / SNR  for eps,   min(SNR, gamma) / (SNR + 1)  for v
    """
    error = prediction_error(unet, latents, conditioning, schedule, noise=noise, timestep=timestep)
    if min_snr_gamma == 0:
        return error.square().mean()
    alpha = schedule.alphas_cumprod.to(latents.device)[timestep]
    snr = alpha / (1 - alpha)
    below = snr + 1 if schedule.prediction_type == "v_prediction" else snr
    weight = snr.clamp(max=min_snr_gamma) / below
    return (weight * error.square().flatten(1).mean(dim=1)).mean()


def prediction_error(
    unet: UNet,
    latents: Tensor,
    conditioning: Conditioning,
    schedule: NoiseSchedule,
    *,
    noise: Tensor,
    timestep: Tensor,
) -> Tensor:
    """unet(z_t, t, prompt) - target, (n, c, h, w) in float32; the arguments are those of `diffusion_loss`."""
    noisy = schedule.add_noise(latents, noise, timestep)
    predicted = unet(noisy, timestep, **conditioning.unet_arguments(), return_dict=False)[0]
    return predicted.float() - schedule.target(latents, noise, timestep).float()
