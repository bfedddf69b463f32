"""Looks into the attention of a U-Net, and lets rows use the attention of another row of the same step.

An attention layer has maps (heads, queries, keys) for each row: how much each pixel attends to each token of
the prompt (cross-attention), or to each other pixel (self-attention).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from typing import Any

import torch
from torch import Tensor

from latentpath.diffusion.mix import Guidance

MOST_PIXELS = 16**2  # of a layer whose self-attention is used by other rows, as in prompt-to-prompt

Row = tuple[int, int]  # a latent of the step, and the prompt that the U-Net sees with it


class Attention:
    """The attention maps of one step: those that letters look at, and those that rows lend to each other.

    letters: the letter of each latent. origins: for each latent, the index of its neutral image's latent,
    which comes before it. tokens: the token ids of each prompt, with start and end.
    """

    def __init__(
        self,
        letters: Sequence[Guidance[int]],
        origins: Sequence[int],
        tokens: Sequence[tuple[int, ...]],
    ) -> None:
        self.tokens = tokens
        self.looked = {(k, prompt) for k, letter in enumerate(letters) for prompt in letter.looks}
        self.lenders: dict[Row, Row] = {}  # borrower -> lender
        self.cross: set[Row] = set()  # rows that lend or borrow cross-attention
        self.own: set[Row] = set()  # rows that lend or borrow self-attention
        for k, borrows in ((k, letter.borrows) for k, letter in enumerate(letters)):
            if borrows is not None:
                borrower, lender = (k, borrows.target), (origins[k], borrows.source)
                self.lenders[borrower] = lender
                self.cross |= {borrower, lender} if borrows.cross else set()
                self.own |= {borrower, lender} if borrows.own else set()
        self._lent: dict[tuple[str, Row], Tensor] = {}  # maps by layer and row
        self._seen: dict[Row, dict[int, list[Tensor]]] = {}  # maps to words, by row and number of pixels

    def lend(self, layer: str, row: Row, maps: Tensor) -> None:
        """Keep the `maps` (heads, queries, keys) of a layer for the rows that borrow them."""
        self._lent[layer, row] = maps

    def borrowed(self, layer: str, row: Row, own: Tensor, *, cross: bool) -> Tensor:
        """Return the maps (heads, queries, keys) that `row` uses instead of its `own`."""
        lender = self.lenders[row]
        theirs = self._lent[layer, lender]
        if not cross:
            return theirs
        columns = torch.tensor(aligned(self.tokens[lender[1]], self.tokens[row[1]], own.shape[-1]))
        columns = columns.to(own.device)
        return torch.where(columns >= 0, theirs[..., columns.clamp(min=0)], own)

    def look(self, row: Row, maps: Tensor) -> None:
        """Keep how much each pixel of `row` attends to the words of its prompt in a layer with `maps`."""
        words = maps[..., 1 : len(self.tokens[row[1]]) - 1].float().sum(dim=-1)
        self._seen.setdefault(row, {}).setdefault(maps.shape[1], []).append(words)

    def map_of(self, row: Row, size: Sequence[int]) -> Tensor:
        """Return how much each pixel of `row` attends to the words of its prompt, (h', w').

        It is the mean over the heads of the layers at a quarter of the latents' height and width `size`,
        which are 16 x 16 in Stable Diffusion at 512 px; of the nearest size where a U-Net has none there.
        """
        height, width = size
        seen = self._seen[row]
        pixels = min(seen, key=lambda pixels: abs(math.log(16 * pixels / (height * width))))
        heads = torch.cat(seen[pixels])
        return heads.mean(dim=0).unflatten(0, (round(math.sqrt(pixels * height / width)), -1))


@cache
def aligned(source: tuple[int, ...], target: tuple[int, ...], length: int) -> list[int]:
    """Return, for each of the `length` tokens of `target`, the place of the same token in `source`, or -1.

    Both are read in order; the padding after them corresponds place by place.
    """
    columns = [-1] * len(target) + list(range(len(target), length))
    for block in SequenceMatcher(None, source, target, autojunk=False).get_matching_blocks():
        for k in range(block.size):
            columns[block.b + k] = block.a + k
    return columns


@contextmanager
def attending(
    unet: Any,  # Any: of diffusers
    attention: Attention | None,
    rows: Sequence[Row],
) -> Iterator[None]:
    """Let calls of `unet` with these `rows` use `attention` within the block; None changes nothing."""
    if attention is None or not {*rows} & (attention.looked | attention.cross | attention.own):
        yield
        return
    plain: Mapping[str, Any] = unet.attn_processors  # Any: processors of diffusers
    unet.set_attn_processor({name: _Layer(name, of, attention, rows) for name, of in plain.items()})
    try:
        yield
    finally:
        unet.set_attn_processor(dict(plain))


@dataclass
class _Layer:
    """An attention layer of diffusers, some of whose rows are looked at, lent or replaced."""

    name: str
    plain: Any  # Any: a processor of diffusers
    attention: Attention
    rows: Sequence[Row]

    def __call__(
        self,
        attn: Any,  # Any: of diffusers
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,  # Any: of diffusers
    ) -> Tensor:
        output = self.plain(attn, hidden_states, encoder_hidden_states, attention_mask, **kwargs)
        cross, asked = encoder_hidden_states is not None, self.attention
        small = hidden_states.shape[1] <= MOST_PIXELS
        shared = asked.cross if cross else asked.own if small else set()
        looked = asked.looked if cross and not self.name.startswith("mid_block") else set()
        mine = [k for k, row in enumerate(self.rows) if row in shared or row in looked]
        if not mine:
            return output
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key = (self._heads(attn, x) for x in (attn.to_q(hidden_states), attn.to_k(context)))
        scores = attn.get_attention_scores(query[mine].flatten(0, 1), key[mine].flatten(0, 1))
        maps = dict(zip(mine, scores.unflatten(0, (len(mine), attn.heads)), strict=True))
        borrows = [k for k in mine if self.rows[k] in shared and self.rows[k] in asked.lenders]
        for k in mine:
            if self.rows[k] in looked:
                asked.look(self.rows[k], maps[k])
            if self.rows[k] in shared and k not in borrows:
                asked.lend(self.name, self.rows[k], maps[k])
        if not borrows:
            return output
        used = [asked.borrowed(self.name, self.rows[k], maps[k], cross=cross) for k in borrows]
        value = self._heads(attn, attn.to_v(context))
        # All rows go through the last layer, so that a row does not depend on how many others borrow.
        attended = torch.zeros_like(query)
        attended[borrows] = torch.stack(used) @ value[borrows]
        replaced = attn.to_out[0](attended.transpose(1, 2).flatten(2)) / attn.rescale_output_factor
        output = output.clone()
        output[borrows] = replaced[borrows]
        return output

    @staticmethod
    def _heads(attn: Any, projected: Tensor) -> Tensor:  # Any: of diffusers
        """(rows, tokens, dim) -> (rows, heads, tokens, dim / heads)."""
        return projected.unflatten(2, (attn.heads, -1)).transpose(1, 2)
