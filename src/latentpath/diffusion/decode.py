"""Latents to images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def decode(vae: Any, latents: Tensor, *, batch_size: int = 32) -> Tensor:
    """Scaled latents (n, c, h, w) -> images (n, 3, H, W) float32 in [-1, 1], on the CPU."""
    chunks = (latents / vae.config.scaling_factor).split(batch_size)
    return torch.cat(
        [vae.decode(z.to(vae.device, vae.dtype)).sample.float().clamp(-1, 1).cpu() for z in chunks]
    )
