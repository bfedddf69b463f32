"""The parts of a Stable Diffusion XL folder, its prompts, and the folder that is saved."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from latentpath.diffusion.components import BaseModel, save_pipeline
from latentpath.diffusion.execution import unet_flops
from latentpath.errors import UserError
from latentpath.runs.families import SDXL

PROMPTS = ["a dermoscopic image with melanoma (MEL) showing hair, ruler", "Normal chest X-ray", "ink"]


@pytest.fixture(scope="module")
def pipeline(tiny_sdxl):
    return StableDiffusionXLPipeline.from_pretrained(tiny_sdxl)


@pytest.mark.parametrize("zero", [True, False])
def test_both_embeddings_equal_the_pipelines(tiny_sdxl, pipeline, tmp_path, zero):
    """The empty prompt is the pipeline's missing negative prompt: zeros, if the pipeline says so."""
    folder = shutil.copytree(tiny_sdxl, tmp_path / "base")
    pipeline.register_to_config(force_zeros_for_empty_prompt=zero)
    pipeline.save_config(folder)
    found = BaseModel(str(folder)).prompt_encoder(32)([*PROMPTS, ""])
    hidden, none, pooled, none_pooled = pipeline.encode_prompt(PROMPTS, device="cpu")
    assert found.pooled is not None
    assert (found.hidden.shape[-1], found.pooled.shape[-1], found.image_size) == (16 + 24, 20, 32)
    torch.testing.assert_close(found.hidden, torch.cat([hidden, none[:1]]))
    torch.testing.assert_close(found.pooled, torch.cat([pooled, none_pooled[:1]]))
    assert bool((found.hidden[-1] == 0).all()) == bool((found.pooled[-1] == 0).all()) == zero
    assert len(found.pooled.unique(dim=0)) == len(PROMPTS) + 1


@pytest.mark.parametrize("part", SDXL.parts)
def test_a_missing_part_is_named(tiny_sdxl, tmp_path, part):
    folder = shutil.copytree(tiny_sdxl, tmp_path / "base")
    shutil.rmtree(folder / part)
    with pytest.raises(UserError, match=rf"{folder}: not a diffusers .*{part}/ is missing"):
        BaseModel(str(folder)).check()


def test_encoders_that_do_not_fit_are_named(tiny_sdxl, tmp_path):
    folder = shutil.copytree(tiny_sdxl, tmp_path / "base")
    BaseModel(str(folder)).check()
    file = folder / "text_encoder_2" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"hidden_size": 1280}))
    with pytest.raises(UserError, match=r"width 40, and its text encoder gives 16 \+ 1280"):
        BaseModel(str(folder)).check()


def test_the_second_text_encoder_counts_in_the_fingerprint(tiny_sdxl, tmp_path):
    folder = shutil.copytree(tiny_sdxl, tmp_path / "base")
    before = BaseModel(str(folder)).fingerprint("text_encoder")
    assert before == BaseModel(str(tiny_sdxl)).fingerprint("text_encoder")
    file = folder / "text_encoder_2" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert BaseModel(str(folder)).fingerprint("text_encoder") != before
    assert BaseModel(str(folder)).fingerprint("unet") == BaseModel(str(tiny_sdxl)).fingerprint("unet")


@pytest.mark.parametrize("zero", [True, False])
def test_diffusers_loads_what_was_saved_bit_for_bit(tiny_sdxl, tmp_path, zero):
    base = BaseModel(str(shutil.copytree(tiny_sdxl, tmp_path / "base")))
    index = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl)
    index.register_to_config(force_zeros_for_empty_prompt=zero)
    index.save_config(base.source)
    unet = base.unet()
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter += 0.01
    save_pipeline(tmp_path / "pipeline", base=base, unet=unet, scheduler_changes={})
    saved = StableDiffusionXLPipeline.from_pretrained(tmp_path / "pipeline")
    assert saved.config.force_zeros_for_empty_prompt == zero
    for part, expected in {"unet": unet, "vae": base.vae(), **base.text_parts()}.items():
        if part.startswith("tokenizer"):
            assert getattr(saved, part)(PROMPTS, padding=True) == expected(PROMPTS, padding=True)
            continue
        loaded = getattr(saved, part).state_dict()
        assert loaded.keys() == expected.state_dict().keys()
        assert all(torch.equal(loaded[key], value) for key, value in expected.state_dict().items())


def test_flop_are_counted_with_the_added_embeddings(tiny_sdxl):
    """Each of the two linear layers that take the pooled embedding and the size costs two FLOP a weight."""
    model = BaseModel(str(tiny_sdxl))
    config = dict(model.unet_config())
    whole = unet_flops(config, (4, 8, 8), model.context_shape())
    without = unet_flops(config | {"addition_embed_type": None}, (4, 8, 8), model.context_shape())
    added = model.unet().add_embedding
    assert whole - without == 2 * (added.linear_1.weight.numel() + added.linear_2.weight.numel())
