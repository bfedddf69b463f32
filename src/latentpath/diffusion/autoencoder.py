"""Encodes images into latents and decodes them, in batches that fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latentpath.diffusion.execution import is_out_of_memory

if TYPE_CHECKING:
    from latentpath.diffusion.networks import Autoencoder

PIXELS = 2**22  # in a batch: the VAE's widest layers hold about 1 KB for each pixel, in float32
MOST = 32  # images in a batch: more is no faster


@torch.no_grad()
def encode(vae: Autoencoder, images: Tensor, *, batch_size: int = MOST) -> Tensor:
    """Encode images (n, 3, H, W) in [-1, 1] into scaled mean latents (n, c, h, w) float32, on the CPU."""
    means = _in_batches(
        lambda x: vae.encode(x.to(vae.device, vae.dtype)).latent_dist.mean.float().cpu(),
        images,
        batch_size=min(batch_size, images_at_once(images.shape[-2] * images.shape[-1])),
    )
    return vae.config.scaling_factor * means


@torch.no_grad()
def decode(
    vae: Autoencoder, latents: Tensor, *, batch_size: int = MOST, to: torch.device | str = "cpu"
) -> Tensor:
    """Decode scaled latents (n, c, h, w) into images (n, 3, H, W) float32 in [-1, 1], on the device `to`."""
    enlargement = 2 ** (len(vae.config.block_out_channels) - 1)
    pixels = latents.shape[-2] * latents.shape[-1] * enlargement**2
    return _in_batches(
        lambda z: vae.decode(z.to(vae.device, vae.dtype)).sample.float().clamp(-1, 1).to(to),
        latents / vae.config.scaling_factor,
        batch_size=min(batch_size, images_at_once(pixels)),
    )


def images_at_once(pixels: int) -> int:
    """Return the VAE batch size for images of H x W = `pixels`: 32 up to 362 x 362, 16 at 512 x 512."""
    return max(1, min(MOST, PIXELS // pixels))


def _in_batches(function: Callable[[Tensor], Tensor], rows: Tensor, *, batch_size: int) -> Tensor:
    """Apply `function` to batches of `rows` and join; halve the batches when memory runs out, down to one."""
    try:
        return torch.cat([function(batch) for batch in rows.split(batch_size)])
    except RuntimeError as error:
        if batch_size == 1 or not is_out_of_memory(error):
            raise
    # Outside the handler, whose traceback holds the tensors of the batch that failed.
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
    return _in_batches(function, rows, batch_size=batch_size // 2)
