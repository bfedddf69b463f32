"""Classifier-free guidance around a U-Net, in batches of bounded size, with every call counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.execution import attention_kernel


@dataclass
class GuidedDenoiser:
    """eps(z, t, e) = eps_u + g (eps_c - eps_u)   (Ho & Salimans 2022, with diffusers' g: 1 = no guidance).

    conditioning: the table of prompts; its row `negative` is the negative prompt. calls: counts the evaluated
    rows; with guidance the U-Net sees each row twice.

    static: pads the last batch to `batch_size` rows, so that the U-Net sees a single shape. Then a compiled
    U-Net is compiled once, and on one CPU thread a row is bit-equal regardless of its position and of the
    other rows in the batch. Without it rows differ by rounding. attention: a key of
    execution.ATTENTION_BACKENDS; with None PyTorch chooses.
    """

    unet: Any
    conditioning: Conditioning
    negative: int
    guidance_scale: float
    batch_size: int
    calls: int = 0
    on_call: Callable[[int], object] = lambda rows: (
        None
    )  # called with the number of rows that are done, for progress bars
    static: bool = False
    attention: str | None = None

    @torch.no_grad()
    def __call__(self, latents: Tensor, timestep: float, prompts: Sequence[int]) -> Tensor:
        """Predict for `latents` (rows, c, h, w), prompts[row] being a row of the table -> (rows, c, h, w)."""
        prompt_index = torch.as_tensor(prompts, device=self.conditioning.hidden.device)
        outputs = []
        for z, index in zip(latents.split(self.batch_size), prompt_index.split(self.batch_size), strict=True):
            rows = len(z)
            if self.static:
                z, index = _padded(z, self.batch_size), _padded(index, self.batch_size)
            outputs.append(self._guided(z, timestep, index)[:rows])
            self.calls += rows
            self.on_call(rows)
        return torch.cat(outputs)

    def _guided(self, latents: Tensor, timestep: float, index: Tensor) -> Tensor:
        if self.guidance_scale == 1:
            return self._unet(latents, timestep, self.conditioning[index])
        both = self.conditioning[torch.cat([torch.full_like(index, self.negative), index])]
        unconditional, conditional = self._unet(torch.cat([latents, latents]), timestep, both).chunk(2)
        return unconditional + self.guidance_scale * (conditional - unconditional)

    def _unet(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        # The network may run in half precision; latents, guidance and solver stay in fp32. A compiled network
        # is compiled again for another memory layout, and for each timestep that is a number of Python's; a
        # tensor of an int is int64 and of a float float32, as diffusers' schedulers have them.
        latents = latents.to(conditioning.hidden.dtype).contiguous()
        timesteps = torch.full((len(latents),), timestep, device=latents.device)
        with attention_kernel(self.attention):
            output = self.unet(latents, timesteps, **conditioning.unet_arguments(), return_dict=False)[0]
        return output.float().contiguous()  # a channels-last network returns its own layout


def _padded(rows: Tensor, n: int) -> Tensor:
    """Pad `rows` (m, ...) to n by repeating the last one; padding does not affect other rows."""
    return rows[torch.arange(n, device=rows.device).clamp(max=len(rows) - 1)]
