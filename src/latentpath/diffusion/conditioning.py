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

    `hidden` (n, length, dim) are the hidden states that the U-Net attends to. `pooled` (n, dim) is one vector
    for each prompt, which a U-Net like SDXL's adds to its timestep embedding; Stable Diffusion 1 and 2 have
    none.
    """

    hidden: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.hidden)

    def __getitem__(self, rows: Tensor | slice | Sequence[int]) -> Conditioning:
        return self.map(lambda part: part[rows])

    def map(self, function: Callable[..., Tensor], *others: Conditioning) -> Conditioning:
        """Apply `function` to `hidden` and to `pooled`, together with the same part of each of `others`."""
        hidden = function(self.hidden, *(other.hidden for other in others))
        if self.pooled is None:
            return Conditioning(hidden)
        return Conditioning(hidden, function(self.pooled, *(other.pooled for other in others)))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Conditioning:
        return self.map(lambda part: part.to(device, dtype))

    def unet_arguments(self) -> dict[str, Any]:
        """The keyword arguments by which a diffusers U-Net takes this conditioning, a row for each latent."""
        arguments: dict[str, Any] = {"encoder_hidden_states": self.hidden}
        if self.pooled is not None:
            arguments["added_cond_kwargs"] = {"text_embeds": self.pooled}
        return arguments


def concatenate(parts: Sequence[Conditioning]) -> Conditioning:
    """Join the rows of several conditionings of one kind, in their order."""
    first, *others = parts
    return first.map(lambda *tensors: torch.cat(tensors), *others)
