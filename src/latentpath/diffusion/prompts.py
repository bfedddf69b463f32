"""Encodes prompts into their conditioning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import CLIPTextModel, CLIPTokenizer

from latentpath.diffusion.conditioning import Conditioning, concatenate
from latentpath.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PromptEncoder:
    """Encodes prompts as Stable Diffusion 1 and 2 do: one tokenizer, one text encoder of transformers."""

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    batch_size: int = 64

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        """Return the conditioning of the prompts, one row for each; hidden states are (n, length, dim).

        Prompts are padded to the tokenizer's full length, as in Stable Diffusion's training. A longer prompt
        is cut, with a warning that shows the lost part.
        """
        for prompt in prompts:
            self._warn_if_cut(prompt)
        starts = range(0, len(prompts), self.batch_size)
        return concatenate([self._encode(prompts[start : start + self.batch_size]) for start in starts])

    def _encode(self, prompts: Sequence[str]) -> Conditioning:
        # No attention mask: SD's text encoder was trained without one (its config says so).
        tokens = _tokens(self.tokenizer, prompts).to(self.text_encoder.device)
        return Conditioning(self.text_encoder(tokens).last_hidden_state)

    def tokens(self, prompts: Sequence[str]) -> list[tuple[int, ...]]:
        """Return the tokens of each prompt that the text encoder reads, with start and end, not padded."""
        longest = self.tokenizer.model_max_length
        options: dict[str, Any] = {"truncation": True, "max_length": longest}  # Any: of the tokenizer
        return [tuple(ids) for ids in self.tokenizer(list(prompts), **options).input_ids]

    def check_distinct(self, prompts: Sequence[str]) -> None:
        """Raise UserError if two different prompts become the same tokens.

        An edit from one to the other would then change nothing at all. The usual cause is a caption longer
        than the text encoder reads, with the attribute in the part that is cut.
        """
        texts = list(dict.fromkeys(prompts))
        seen: dict[tuple[int, ...], str] = {}
        for text, tokens in zip(texts, _tokens(self.tokenizer, texts).tolist(), strict=True):
            other = seen.setdefault(tuple(tokens), text)
            if other != text:
                raise UserError(
                    f"the text encoder cannot tell these two prompts apart, because they become the same "
                    f"{self.tokenizer.model_max_length} tokens:\n  {other!r}\n  {text!r}\n"
                    "An edit from one to the other would change nothing. Shorten the captions, put the "
                    "attributes before the words that are cut, or name them in words that the model knows."
                )

    def _warn_if_cut(self, prompt: str) -> None:
        length, tokens = self.tokenizer.model_max_length, self.tokenizer(prompt).input_ids
        if len(tokens) > length:
            lost = self.tokenizer.decode(tokens[length - 1 : -1])
            log.warning("prompt of %d tokens is cut to %d: ...%s is lost", len(tokens), length, lost)


@dataclass(frozen=True)
class SDXLPromptEncoder(PromptEncoder):
    """Encodes prompts as Stable Diffusion XL does: with a second text encoder, which also gives `pooled`.

    The hidden states are those before the last layer of both encoders, side by side. If `empty_is_zero`, the
    empty prompt is all zeros instead, as in the pipeline without a negative prompt (its setting
    `force_zeros_for_empty_prompt`). `image_size` in pixels is what the U-Net is told.
    """

    tokenizer_2: Any = None  # Any: as transformers loads it
    text_encoder_2: Any = None  # Any: as transformers loads it
    empty_is_zero: bool = True
    image_size: int = 1024

    def _encode(self, prompts: Sequence[str]) -> Conditioning:
        networks = ((self.tokenizer, self.text_encoder), (self.tokenizer_2, self.text_encoder_2))
        first, second = (
            network(_tokens(tokenizer, prompts).to(network.device), output_hidden_states=True)
            for tokenizer, network in networks
        )
        hidden = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        encoded = Conditioning(hidden, second.text_embeds, self.image_size)
        zero = [self.empty_is_zero and prompt == "" for prompt in prompts]
        empty = torch.tensor(zero, device=hidden.device)
        return encoded.map(lambda part: part.masked_fill(empty.view(-1, *[1] * (part.ndim - 1)), 0))


def _tokens(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> torch.Tensor:
    """(n, length) int64, padded or cut to the tokenizer's full length."""
    options: dict[str, Any] = {"padding": "max_length", "truncation": True}  # Any: of the tokenizer
    options["return_tensors"] = "pt"
    return tokenizer(list(prompts), max_length=tokenizer.model_max_length, **options).input_ids
