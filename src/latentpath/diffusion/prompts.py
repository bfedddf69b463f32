"""Prompts to embeddings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)


@torch.no_grad()
def encode_prompts(
    prompts: Sequence[str], *, tokenizer: Any, text_encoder: Any, batch_size: int = 64
) -> Tensor:
    """Last hidden states of the text encoder, (n, length, dim): what the U-Net attends to.

    Prompts are padded to the tokenizer's full length, as in Stable Diffusion's training; a longer one is cut,
    with a warning that shows what was lost.
    """
    length = tokenizer.model_max_length
    for prompt in prompts:
        tokens = tokenizer(prompt).input_ids
        if len(tokens) > length:
            log.warning(
                "prompt of %d tokens is cut to %d: ...%s is lost",
                len(tokens),
                length,
                tokenizer.decode(tokens[length - 1 : -1]),
            )
    chunks = []
    for start in range(0, len(prompts), batch_size):
        tokens = tokenizer(
            list(prompts[start : start + batch_size]),
            padding="max_length",
            max_length=length,
            truncation=True,
            return_tensors="pt",
        )
        # No attention mask: SD's text encoder was trained without one (its config says so).
        chunks.append(text_encoder(tokens.input_ids.to(text_encoder.device)).last_hidden_state)
    return torch.cat(chunks)
