"""The base model that ships is small and complete, and encodes and draws what it was trained on."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from latentpath.data.phantoms import draw_chest, draw_dermoscopy
from latentpath.diffusion.autoencoder import decode
from latentpath.diffusion.components import BaseModel
from latentpath.runs.weights import PHANTOM_SD

BASE = BaseModel("phantom-sd")


def test_it_is_a_diffusers_folder_of_at_most_12_mb():
    assert sum(f.stat().st_size for f in PHANTOM_SD.rglob("*") if f.is_file()) <= 12e6
    pipe = StableDiffusionPipeline.from_pretrained(PHANTOM_SD)
    assert isinstance(pipe, StableDiffusionPipeline)
    assert BASE.latent_shape(64) == (4, 16, 16)


def test_its_vae_reconstructs_phantoms():
    drawn = [draw_dermoscopy(i, seed=5).image for i in range(8)]
    drawn += [np.repeat(draw_chest(i, seed=5).image[..., None], 3, -1) for i in range(8)]
    images = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 127.5 - 1
    vae = BASE.vae()
    with torch.no_grad():
        latents = vae.encode(images).latent_dist.mean * vae.config.scaling_factor
    assert 0.7 < latents.std() < 1.4, "scaled latents must have the noise's scale"
    mse = ((decode(vae, latents) - images) / 2).square().mean((1, 2, 3))
    assert (-10 * mse.log10()).mean() > 26  # dB


def test_its_tokenizer_keeps_the_captions_words_apart():
    tokenizer = BASE.tokenizer()
    words = [
        "hair",
        "gel bubble",
        "ink",
        "ruler",
        "melanoma (MEL)",
        "melanocytic nevus (NV)",
        "pleural effusion",
    ]
    tokens = [tuple(tokenizer(w).input_ids) for w in words]
    assert len(set(tokens)) == len(words)
    assert max(map(len, tokens)) <= 7, "a word of the field is a token or two"
    longest = "a dermoscopic image with melanocytic nevus (NV) showing hair, gel bubble, ink, ruler"
    assert len(tokenizer(longest).input_ids) <= tokenizer.model_max_length
