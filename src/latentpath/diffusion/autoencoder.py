"""Images to latents and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def encode(vae: Any, images: Tensor, *, batch_size: int = 32) -> Tensor:
    """Images (n, 3, H, W) in [-1, 1] -> the means of their latents, scaled: (n, c, h, w) float32, on the
    CPU.
    """
    chunks = [
        vae.encode(x.to(vae.device, vae.dtype)).latent_dist.mean.float().cpu()
        for x in images.split(batch_size)
    ]
    return vae.config.scaling_factor * torch.cat(chunks)


@torch.no_grad()
def decode(vae: Any, latents: Tensor, *, batch_size: int = 32) -> Tensor:
    """Scaled latents (n, c, h, w) -> images (n, 3, H, W) float32 in [-1, 1], on the CPU."""
    chunks = (latents / vae.config.scaling_factor).split(batch_size)
    return torch.cat(
        [vae.decode(z.to(vae.device, vae.dtype)).sample.float().clamp(-1, 1).cpu() for z in chunks]
    )
