"""Classifier-free guidance around a U-Net, in batches of bounded size, with every call counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class GuidedDenoiser:
    """eps(z, t, e) = eps_u + g (eps_c - eps_u)   (Ho & Salimans 2022, with diffusers' g: 1 = no guidance).

    `prompt_embeds` (prompts, length, dim) is a table that rows point into; row `negative` of it is the
    negative prompt. `calls` counts rows that were evaluated; with guidance each is two rows to the U-Net.
    """

    unet: Any
    prompt_embeds: Tensor
    negative: int
    guidance_scale: float
    batch_size: int
    calls: int = 0
    on_call: Callable[[int], object] = lambda rows: None  # told how many rows were done, for progress bars

    @torch.no_grad()
    def __call__(self, latents: Tensor, timestep: int, prompts: Sequence[int]) -> Tensor:
        """`latents` (rows, c, h, w), `prompts[row]` its row in the table -> model output (rows, c, h, w)."""
        prompt_index = torch.as_tensor(prompts, device=self.prompt_embeds.device)
        outputs = []
        for z, index in zip(latents.split(self.batch_size), prompt_index.split(self.batch_size), strict=True):
            outputs.append(self._guided(z, timestep, index))
            self.calls += len(z)
            self.on_call(len(z))
        return torch.cat(outputs)

    def _guided(self, latents: Tensor, timestep: int, index: Tensor) -> Tensor:
        if self.guidance_scale == 1:
            return self._unet(latents, timestep, self.prompt_embeds[index])
        embeds = self.prompt_embeds[torch.cat([torch.full_like(index, self.negative), index])]
        unconditional, conditional = self._unet(torch.cat([latents, latents]), timestep, embeds).chunk(2)
        return unconditional + self.guidance_scale * (conditional - unconditional)

    def _unet(self, latents: Tensor, timestep: int, embeds: Tensor) -> Tensor:
        # The network may run in half precision; latents, guidance and solver stay in fp32.
        latents = latents.to(self.prompt_embeds.dtype)
        return self.unet(latents, timestep, encoder_hidden_states=embeds, return_dict=False)[0].float()
