"""Conditioning: everything that a text encoder gives the U-Net for a prompt, in one object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """The conditioning of n prompts, one row for each.

    `hidden` (n, length, dim) are the hidden states that the U-Net attends to; Stable Diffusion 1 and 2 have
    nothing else. SDXL's U-Net adds two things to its timestep embedding: `pooled` (n, dim), one vector for
    each prompt, and the size of the image, which is `image_size` x `image_size` pixels without a crop.
    """

    hidden: Tensor
    pooled: Tensor | None = None
    image_size: int = 0

    def __len__(self) -> int:
        return len(self.hidden)

    def __getitem__(self, rows: Tensor | slice | Sequence[int]) -> Conditioning:
        return self.map(lambda part: part[rows])

    def map(self, function: Callable[..., Tensor], *others: Conditioning) -> Conditioning:
        """Apply `function` to `hidden` and to `pooled`, together with the same part of each of `others`."""
        hidden = function(self.hidden, *(other.hidden for other in others))
        pooled = self.pooled
        if pooled is not None:
            pooled = function(pooled, *(other.pooled for other in others))
        return Conditioning(hidden, pooled, self.image_size)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Conditioning:
        """Move all tensors to `device` and, if given, to `dtype`."""
        return self.map(lambda part: part.to(device, dtype))

    def unet_arguments(self) -> dict[str, Any]:  # Any: arguments of diffusers
        """The keyword arguments by which a diffusers U-Net takes this conditioning, a row for each latent."""
        arguments: dict[str, object] = {"encoder_hidden_states": self.hidden}
        if self.pooled is not None:
            # Height and width of the photograph, top and left of its crop, height and width of the crop.
            time_ids = self.pooled.new_full((len(self), 6), self.image_size)
            time_ids[:, 2:4] = 0
            arguments["added_cond_kwargs"] = {"text_embeds": self.pooled, "time_ids": time_ids}
        return arguments


def concatenate(parts: Sequence[Conditioning]) -> Conditioning:
    """Join the rows of several conditionings of one kind, in their order."""
    first, *others = parts
    return first.map(lambda *tensors: torch.cat(tensors), *others)
