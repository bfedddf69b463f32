"""Guidance: mixes of a U-Net's outputs over prompts, in batches of bounded size, with every row counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latentpath.diffusion.adapters import set_scales
from latentpath.diffusion.attention import Attention, Row, attending
from latentpath.diffusion.bottleneck import reading, shifting
from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.execution import attention_kernel
from latentpath.diffusion.mix import Adapters, Direction, Guidance, StepDirection

if TYPE_CHECKING:
    from latentpath.diffusion.networks import UNet


@dataclass
class GuidedDenoiser:
    """Denoises latents, each under its letter, with the U-Net in batches of bounded size.

        eps(z, t, letter) = sum_k w_k eps(z, t, prompt_k)    for a `Mix` {prompt_k: w_k}; see `mix` for others

    conditioning: the table of prompts.
    letters: the table of letters; their prompts are rows of `conditioning`. The first is the neutral one.
    batch_size: latents in a call of the U-Net, if all have the first letter; with guidance the U-Net then
        sees two rows for each.
    calls, rows: count the latents that were denoised, and the rows of the U-Net: one a prompt of a letter.
    static: pad each batch to one number of rows, so that the U-Net sees a single shape. A compiled U-Net is
        then compiled once, and on one CPU thread a row is bit-equal regardless of its position and of the
        other rows in the batch. Otherwise rows differ by rounding.
    attention: a key of execution.ATTENTION_BACKENDS; None: PyTorch chooses.
    rescale: phi of `rescaled`, for every letter.
    tokens: the token ids of each prompt, for letters that look at attention maps or borrow them.
    """

    unet: UNet
    conditioning: Conditioning
    letters: Sequence[Guidance[int]]
    batch_size: int
    calls: int = 0
    rows: int = 0
    on_call: Callable[[int], object] = lambda rows: None  # called with the number of rows done, for progress
    static: bool = False
    attention: str | None = None
    rescale: float = 0.0
    tokens: Sequence[tuple[int, ...]] = ()

    @torch.no_grad()
    def __call__(
        self,
        latents: Tensor,
        timestep: float,
        letters: Sequence[int],
        memory: Tensor | None = None,
        origins: Sequence[int] | None = None,
        shifts: Mapping[Direction, StepDirection] | None = None,
    ) -> Tensor:
        """Predict for `latents` (n, c, h, w), letters[k] being the letter of row k -> (n, c, h, w).

        `memory` (n, c, h, w) is what gated letters remember of each row, which they change in place.
        origins[k] is the row of the neutral image of row k, before it; letters that borrow need it. `shifts`
        are the directions at this step of letters that shift the mid-block.
        """
        table = [self.letters[letter] for _, letter in zip(latents, letters, strict=True)]
        attention = None
        if any(letter.looks or letter.borrows for letter in table):
            attention = Attention(table, range(len(table)) if origins is None else origins, self.tokens)
        predicted = torch.empty(latents.shape, dtype=torch.float32, device=latents.device)
        for adapters, batch in self._batches(table):
            if self.adapted:
                set_scales(self.unet, dict(adapters))
            mine = [table[row] for row in batch]
            kept = None if memory is None else memory[batch]
            predicted[batch] = self._predict(latents[batch], timestep, mine, kept, attention, batch, shifts)
            if memory is not None and kept is not None:
                memory[batch] = kept
            rows = sum(map(len, mine))
            self.calls += len(batch)
            self.rows += rows
            self.on_call(rows)
        return predicted

    def bottleneck(self, latents: Tensor, timestep: float, letter: int) -> Tensor:
        """Return the mid-block's output (n, c', h', w') for `latents` under a letter of one prompt."""
        with reading(self.unet) as seen:
            self(latents, timestep, [letter] * len(latents))
        return torch.cat(seen)[: len(latents)]  # behind them is the padding of the last batch

    @property
    def adapted(self) -> bool:
        """Whether any letter turns on an adapter of the U-Net."""
        return any(letter.adapters for letter in self.letters)

    @property
    def rows_per_batch(self) -> int:
        """The most rows that the U-Net sees at once."""
        return max(self.batch_size * len(self.letters[0]), *map(len, self.letters))

    def _batches(self, letters: Sequence[Guidance[int]]) -> Iterator[tuple[Adapters, list[int]]]:
        """Share out the rows: batches under the same adapters, with at most `rows_per_batch` prompts."""
        for adapters in dict.fromkeys(letter.adapters for letter in letters):
            batch: list[int] = []
            for row in (row for row, letter in enumerate(letters) if letter.adapters == adapters):
                prompts = sum(len(letters[other]) for other in (*batch, row))
                if batch and prompts > self.rows_per_batch:
                    yield adapters, batch
                    batch = []
                batch.append(row)
            yield adapters, batch

    def _predict(
        self,
        latents: Tensor,
        timestep: float,
        letters: Sequence[Guidance[int]],
        memory: Tensor | None,
        attention: Attention | None,
        batch: Sequence[int],
        shifts: Mapping[Direction, StepDirection] | None,
    ) -> Tensor:
        # The U-Net gets the first prompts of all rows, then all second ones, and so on.
        deepest = range(max(map(len, letters)))
        pairs = [(row, k) for k in deepest for row, letter in enumerate(letters) if k < len(letter)]
        asked = [(row, letters[row].prompts[k]) for row, k in pairs]
        asked += asked[-1:] * (self.rows_per_batch - len(pairs) if self.static else 0)
        at_rows, prompts = torch.tensor(asked, device=latents.device).T
        seen: list[Row] = [(batch[row], letters[row].prompts[k]) for row, k in pairs]
        shift = self._shift([(letters[row], k) for row, k in pairs], len(asked), shifts or {})
        with attending(self.unet, attention, seen), shifting(self.unet, shift):
            outputs = self._unet(latents[at_rows], timestep, self.conditioning[prompts])
        place = {pair: i for i, pair in enumerate(pairs)}
        predicted = torch.empty_like(outputs[: len(letters)])
        for letter in dict.fromkeys(letters):
            rows = [row for row, other in enumerate(letters) if other == letter]
            mine = outputs[[place[row, k] for k in range(len(letter)) for row in rows]]
            mine = mine.unflatten(0, (len(letter), len(rows)))
            kept = None if memory is None else memory[rows]
            if attention is not None and letter.looks:
                maps = [
                    [attention.map_of((batch[row], p), latents.shape[2:]) for row in rows]
                    for p in letter.looks
                ]
                letter = letter.seeing(torch.stack([torch.stack(of) for of in maps]))
            if letter.shifts is not None:
                letter = letter.stepping((shifts or {})[letter.shifts.direction].asymmetry)
            mixed, kept = letter(mine, kept)
            predicted[rows] = rescaled(mixed, mine[letter.strongest], self.rescale) if self.rescale else mixed
            if memory is not None and kept is not None and letter.remembers:
                memory[rows] = kept
        return predicted

    @staticmethod
    def _shift(
        asked: Sequence[tuple[Guidance[int], int]], rows: int, shifts: Mapping[Direction, StepDirection]
    ) -> Tensor | None:
        """The shift of the mid-block in each of the `rows`; None if no letter asks for one."""
        found = {
            k: letter.shifts.scale * shifts[letter.shifts.direction].h
            for k, (letter, place) in enumerate(asked)
            if letter.shifts is not None and place == len(letter) - 1
        }
        if not found:
            return None
        plain = torch.zeros_like(next(iter(found.values())))
        return torch.stack([found.get(k, plain) for k in range(rows)])

    def _unet(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        # The network may run in half precision; latents, guidance and solver stay in fp32. A compiled network
        # is compiled again for another memory layout, and for each timestep that is a number of Python's; a
        # tensor of an int is int64 and of a float float32, as diffusers' schedulers have them.
        latents = latents.to(conditioning.hidden.dtype).contiguous()
        timesteps = torch.full((len(latents),), timestep, device=latents.device)
        with attention_kernel(self.attention):
            output = self.unet(latents, timesteps, **conditioning.unet_arguments(), return_dict=False)[0]
        return output.float().contiguous()  # a channels-last network returns its own layout


def rescaled(mixed: Tensor, prompt: Tensor, phi: float) -> Tensor:
    """Scale a mix to the contrast of its strongest prompt (Lin et al. 2023, eq. 15, 16):

        phi std(prompt) / std(mixed) mixed + (1 - phi) mixed

    `mixed` and `prompt` (n, c, h, w); each row has a standard deviation of its own. Without it, guidance
    makes images too bright or too dark where sampling begins at zero terminal SNR.
    """
    rows = (1, 2, 3)
    return (phi * prompt.std(rows, keepdim=True) / mixed.std(rows, keepdim=True) + 1 - phi) * mixed
