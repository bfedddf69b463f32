"""Prompt embeddings are diffusers' own, and a prompt that is cut says what was lost."""

from __future__ import annotations

import logging

import pytest
import torch

from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.prompts import encode_prompts

PROMPTS = ["a dermoscopic image with melanoma (MEL) showing hair, ruler", "", "Normal chest X-ray", "ink"]
LONG = "a dermoscopic image with " + "hair, ink, " * 60 + "ruler"


@pytest.fixture(scope="module")
def parts(tiny_sd):
    model = BaseModel(str(tiny_sd))
    return {"tokenizer": model.tokenizer(), "text_encoder": model.text_encoder()}


@pytest.fixture(scope="module")
def pipeline(tiny_sd):
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(
        tiny_sd, safety_checker=None, requires_safety_checker=False
    )


def test_embeddings_equal_the_pipelines(parts, pipeline):
    embeds = encode_prompts(PROMPTS, **parts)
    expected, negative = pipeline.encode_prompt(PROMPTS, "cpu", 1, True)
    assert embeds.shape == (4, parts["tokenizer"].model_max_length, 16)
    torch.testing.assert_close(embeds, expected)
    torch.testing.assert_close(embeds[1], negative[0])  # the pipeline's negative prompt is empty, too
    assert not embeds.requires_grad


def test_prompts_differ_and_batches_do_not_matter(parts):
    embeds = encode_prompts(PROMPTS, **parts)
    assert len(embeds.unique(dim=0)) == len(PROMPTS)
    torch.testing.assert_close(encode_prompts(PROMPTS, **parts, batch_size=3), embeds)


def test_a_long_prompt_is_cut_as_the_pipeline_cuts_it_and_says_so(parts, pipeline, caplog):
    with caplog.at_level(logging.WARNING, logger="latentpath"):
        embeds = encode_prompts(["ink", LONG], **parts)
    torch.testing.assert_close(embeds, pipeline.encode_prompt(["ink", LONG], "cpu", 1, False)[0])
    (message,) = [r.getMessage() for r in caplog.records if r.name.startswith("latentpath")]
    assert f"is cut to {parts['tokenizer'].model_max_length}" in message
    assert message.endswith("ruler is lost")


def test_what_fits_is_not_warned_about(parts, caplog):
    tokenizer = parts["tokenizer"]
    word = next(w for w in ("ink", "hair", "a") if len(tokenizer(w).input_ids) == 3)
    fits = " ".join([word] * (tokenizer.model_max_length - 2))
    assert len(tokenizer(fits).input_ids) == tokenizer.model_max_length
    with caplog.at_level(logging.WARNING, logger="latentpath"):
        encode_prompts([fits], **parts)
        assert not caplog.records
        encode_prompts([f"{fits} {word}"], **parts)
    assert f"...{word} is lost" in caplog.text
