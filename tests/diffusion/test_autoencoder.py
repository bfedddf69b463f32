"""The VAE works in batches that fit into memory: limited by pixels, and halved when memory runs out."""

from __future__ import annotations

import pytest
import torch

from latentpath.diffusion.autoencoder import decode, encode, images_at_once
from latentpath.diffusion.components import BaseModel

IMAGES = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("side, images", [(64, 32), (512, 16), (1024, 4), (4096, 1)])
def test_batches_are_bounded_by_pixels(side, images):
    assert images_at_once(side**2) == images


@pytest.mark.parametrize("message", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling"])
def test_batches_are_halved_until_they_fit(tiny_sd, monkeypatch, message):
    vae = BaseModel(str(tiny_sd)).vae()
    latents = encode(vae, IMAGES)
    expected = decode(vae, latents)
    sizes = []

    def small(function):
        def call(batch):
            sizes.append(len(batch))
            if len(batch) > 2:
                raise RuntimeError(message)
            return function(batch)

        return call

    monkeypatch.setattr(vae, "decode", small(vae.decode))
    monkeypatch.setattr(vae, "encode", small(vae.encode))
    torch.testing.assert_close(decode(vae, latents, batch_size=8), expected)
    assert sizes == [7, 4, 2, 2, 2, 1]
    torch.testing.assert_close(encode(vae, IMAGES, batch_size=8), latents)


def test_other_errors_are_raised_at_once(tiny_sd, monkeypatch):
    vae, calls = BaseModel(str(tiny_sd)).vae(), []

    def fails(batch):
        calls.append(len(batch))
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(vae, "encode", fails)
    with pytest.raises(RuntimeError, match="multiplied"):
        encode(vae, IMAGES)
    assert calls == [7]
