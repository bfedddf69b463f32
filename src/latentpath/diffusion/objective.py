"""The training objective of the U-Net."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentpath.diffusion.schedule import NoiseSchedule


def sample_latents(moments: Tensor, scaling_factor: float, generator: torch.Generator) -> Tensor:
    """Draw z_0 from the VAE's posterior. `moments` (n, 2c, h, w): mean and log-variance -> (n, c, h, w)."""
    mean, log_variance = moments.chunk(2, dim=1)
    std = (0.5 * log_variance.clamp(-30, 20)).exp()
    return scaling_factor * (mean + std * _randn_like(mean, generator))


def diffusion_loss(
    unet: Any, latents: Tensor, prompt_embeds: Tensor, schedule: NoiseSchedule, generator: torch.Generator
) -> Tensor:
    """E |target - unet(z_t, t, e)|^2 with t uniform (Ho et al. 2020, eq. 14): a scalar.

    `latents` (n, c, h, w) scaled, `prompt_embeds` (n, length, dim). All randomness comes from `generator`, a
    CPU one, so that a step is a function of its number on every device.
    """
    noise = _randn_like(latents, generator)
    timestep = torch.randint(len(schedule.alphas_cumprod), (len(latents),), generator=generator).to(
        latents.device
    )
    noisy = schedule.add_noise(latents, noise, timestep)
    predicted = unet(noisy, timestep, encoder_hidden_states=prompt_embeds, return_dict=False)[0]
    return F.mse_loss(predicted.float(), schedule.target(latents, noise, timestep).float())


def _randn_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype).to(tensor.device)
