"""Guidance: mixes of a U-Net's outputs over prompts, in batches of bounded size, with every row counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.execution import attention_kernel
from latentpath.diffusion.mix import Mix


@dataclass
class GuidedDenoiser:
    """eps(z, t, letter) = sum_k w_k eps(z, t, prompt_k), the letter being a mix {prompt_k: w_k}.

    conditioning: the table of prompts. letters: the table of mixes, whose prompts are rows of `conditioning`;
    the first is that of the neutral image. calls: counts the latents that were denoised. rows: counts the
    rows that the U-Net evaluated, one for each term of each mix.

    batch_size: latents of the first letter in a call of the U-Net, which sees two rows of each with guidance.
    static: pads each batch to one number of rows, so that the U-Net sees a single shape. Then a compiled
    U-Net is compiled once, and on one CPU thread a row is bit-equal regardless of its position and of the
    other rows in the batch. Without it rows differ by rounding. attention: a key of
    execution.ATTENTION_BACKENDS; with None PyTorch chooses.
    """

    unet: Any
    conditioning: Conditioning
    letters: Sequence[Mix[int]]
    batch_size: int
    calls: int = 0
    rows: int = 0
    on_call: Callable[[int], object] = lambda rows: None  # called with the number of rows done, for progress
    static: bool = False
    attention: str | None = None

    @torch.no_grad()
    def __call__(self, latents: Tensor, timestep: float, letters: Sequence[int]) -> Tensor:
        """Predict for `latents` (n, c, h, w), letters[k] being the letter of row k -> (n, c, h, w)."""
        mixes = [self.letters[letter] for _, letter in zip(latents, letters, strict=True)]
        outputs = []
        for batch in self._batches(mixes):
            outputs.append(self._mixed(latents[batch], timestep, mixes[batch]))
            rows = sum(map(len, mixes[batch]))
            self.calls += len(mixes[batch])
            self.rows += rows
            self.on_call(rows)
        return torch.cat(outputs)

    @property
    def rows_per_batch(self) -> int:
        """The most rows that the U-Net sees at once."""
        return max(self.batch_size * len(self.letters[0]), *map(len, self.letters))

    def _batches(self, mixes: Sequence[Mix[int]]) -> Iterator[slice]:
        """Cut the rows into runs whose mixes have at most `rows_per_batch` terms together."""
        start = terms = 0
        for row, mix in enumerate(mixes):
            if terms + len(mix) > self.rows_per_batch:
                yield slice(start, row)
                start, terms = row, 0
            terms += len(mix)
        yield slice(start, len(mixes))

    def _mixed(self, latents: Tensor, timestep: float, mixes: Sequence[Mix[int]]) -> Tensor:
        """Evaluate e_0 + sum_k w_k (e_k - e_0), which is the mix, because its weights sum to 1."""
        # places[k]: the rows whose mix has a k-th term. The U-Net gets all first terms, then all second ones.
        places = [[i for i, mix in enumerate(mixes) if len(mix) > k] for k in range(max(map(len, mixes)))]
        pairs = [(row, *mixes[row].terms[k]) for k, rows in enumerate(places) for row in rows]
        filled = pairs + pairs[-1:] * (self.rows_per_batch - len(pairs) if self.static else 0)
        rows, prompts = torch.tensor([pair[:2] for pair in filled], device=latents.device).T
        outputs = self._unet(latents[rows], timestep, self.conditioning[prompts])[: len(pairs)]
        first, *others = outputs.split([len(rows) for rows in places])
        mixed = first
        for k, (rows, output) in enumerate(zip(places[1:], others, strict=True), start=1):
            weights = torch.tensor([mixes[row].terms[k][1] for row in rows], device=latents.device)
            if len(rows) == len(mixes):
                mixed = mixed + weights[:, None, None, None] * (output - first)
            else:
                mixed = mixed.clone()
                mixed[rows] += weights[:, None, None, None] * (output - first[rows])
        return mixed

    def _unet(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        # The network may run in half precision; latents, guidance and solver stay in fp32. A compiled network
        # is compiled again for another memory layout, and for each timestep that is a number of Python's; a
        # tensor of an int is int64 and of a float float32, as diffusers' schedulers have them.
        latents = latents.to(conditioning.hidden.dtype).contiguous()
        timesteps = torch.full((len(latents),), timestep, device=latents.device)
        with attention_kernel(self.attention):
            output = self.unet(latents, timesteps, **conditioning.unet_arguments(), return_dict=False)[0]
        return output.float().contiguous()  # a channels-last network returns its own layout
