"""Encodes prompts into their conditioning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from latentpath.diffusion.conditioning import Conditioning, concatenate
from latentpath.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PromptEncoder:
    """Encodes prompts as Stable Diffusion 1 and 2 do: one tokenizer, one text encoder of transformers."""

    tokenizer: Any
    text_encoder: Any
    batch_size: int = 64

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        """The last hidden states of the text encoder, (n, length, dim), one row for each prompt.

        Prompts are padded to the tokenizer's full length, as in Stable Diffusion's training. A longer prompt
        is cut, with a warning that shows the lost part.
        """
        for prompt in prompts:
            self._warn_if_cut(prompt)
        chunks = []
        for start in range(0, len(prompts), self.batch_size):
            tokens = self._tokens(prompts[start : start + self.batch_size])
            # No attention mask: SD's text encoder was trained without one (its config says so).
            states = self.text_encoder(tokens.to(self.text_encoder.device)).last_hidden_state
            chunks.append(Conditioning(states))
        return concatenate(chunks)

    def check_distinct(self, prompts: Sequence[str]) -> None:
        """Raise UserError if two different prompts become the same tokens.

        An edit from one to the other would then change nothing at all. The usual cause is a caption longer
        than the text encoder reads, with the attribute in the part that is cut.
        """
        texts = list(dict.fromkeys(prompts))
        seen: dict[tuple[int, ...], str] = {}
        for text, tokens in zip(texts, self._tokens(texts).tolist(), strict=True):
            other = seen.setdefault(tuple(tokens), text)
            if other != text:
                raise UserError(
                    f"the text encoder cannot tell these two prompts apart, because they become the same "
                    f"{self.tokenizer.model_max_length} tokens:\n  {other!r}\n  {text!r}\n"
                    "An edit from one to the other would change nothing. Shorten the captions, put the "
                    "attributes before the words that are cut, or name them in words that the model knows."
                )

    def _tokens(self, prompts: Sequence[str]) -> torch.Tensor:
        """(n, length) int64, padded or cut to the tokenizer's full length."""
        options: dict[str, Any] = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        return self.tokenizer(list(prompts), max_length=self.tokenizer.model_max_length, **options).input_ids

    def _warn_if_cut(self, prompt: str) -> None:
        length, tokens = self.tokenizer.model_max_length, self.tokenizer(prompt).input_ids
        if len(tokens) > length:
            lost = self.tokenizer.decode(tokens[length - 1 : -1])
            log.warning("prompt of %d tokens is cut to %d: ...%s is lost", len(tokens), length, lost)
