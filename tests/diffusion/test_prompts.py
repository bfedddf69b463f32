"""Prompt embeddings equal those of diffusers, and a prompt that is cut gives a warning."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from latentpath.diffusion.components import BaseModel
from latentpath.errors import UserError

PROMPTS = ["a dermoscopic image with melanoma (MEL) showing hair, ruler", "", "Normal chest X-ray", "ink"]
LONG = "a dermoscopic image with " + "hair, ink, " * 60 + "ruler"


@pytest.fixture(scope="module")
def encoder(tiny_sd):
    model = BaseModel(str(tiny_sd))
    return model.prompt_encoder(32)


@pytest.fixture(scope="module")
def pipeline(tiny_sd):
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(
        tiny_sd, safety_checker=None, requires_safety_checker=False
    )


def test_embeddings_equal_the_pipelines(encoder, pipeline):
    embeds = encoder(PROMPTS).hidden
    expected, negative = pipeline.encode_prompt(PROMPTS, "cpu", 1, True)
    assert embeds.shape == (4, encoder.tokenizer.model_max_length, 16)
    torch.testing.assert_close(embeds, expected)
    torch.testing.assert_close(embeds[1], negative[0])  # the pipeline's negative prompt is empty, too
    assert not embeds.requires_grad


def test_prompts_differ_and_batches_do_not_matter(encoder):
    embeds = encoder(PROMPTS).hidden
    assert len(embeds.unique(dim=0)) == len(PROMPTS)
    torch.testing.assert_close(replace(encoder, batch_size=3)(PROMPTS).hidden, embeds)


def test_a_long_prompt_is_cut_as_the_pipeline_cuts_it_and_says_so(encoder, pipeline, caplog):
    with caplog.at_level(logging.WARNING, logger="latentpath"):
        embeds = encoder(["ink", LONG]).hidden
    torch.testing.assert_close(embeds, pipeline.encode_prompt(["ink", LONG], "cpu", 1, False)[0])
    (message,) = [r.getMessage() for r in caplog.records if r.name.startswith("latentpath")]
    assert f"is cut to {encoder.tokenizer.model_max_length}" in message
    assert message.endswith("ruler is lost")


def test_what_fits_is_not_warned_about(encoder, caplog):
    tokenizer = encoder.tokenizer
    word = next(w for w in ("ink", "hair", "a") if len(tokenizer(w).input_ids) == 3)
    fits = " ".join([word] * (tokenizer.model_max_length - 2))
    assert len(tokenizer(fits).input_ids) == tokenizer.model_max_length
    with caplog.at_level(logging.WARNING, logger="latentpath"):
        encoder([fits])
        assert not caplog.records
        encoder([f"{fits} {word}"])
    assert f"...{word} is lost" in caplog.text


def test_prompts_that_are_cut_to_the_same_tokens_are_both_named(encoder):
    """The attribute stands last, where the caption is cut: every edit would be exactly zero."""
    neutral = "a dermoscopic image with " + "a long description of the lesion, " * 40
    encoder.check_distinct([neutral, "hair", "ink", neutral])
    with pytest.raises(UserError, match="cannot tell these two prompts apart") as raised:
        encoder.check_distinct(["ink", neutral, f"{neutral} showing hair"])
    message = str(raised.value)
    assert repr(neutral) in message and repr(f"{neutral} showing hair") in message
    assert "Shorten the captions" in message
