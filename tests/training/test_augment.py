"""Augmentation keeps shape and range, treats every image separately, and changes nothing if off."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from latentpath.config.training import ClassifierConfig
from latentpath.training.augment import augment, jitter, rotate

OFF = ClassifierConfig(horizontal_flip=False, vertical_flip=False)


def pictures(n: int = 8, size: int = 16) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_no_augmentation_returns_the_images_and_draws_no_numbers():
    images, state = pictures(), torch.get_rng_state()
    assert augment(images, OFF) is images
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "on",
    [
        {"horizontal_flip": True},
        {"vertical_flip": True},
        {"rotation": 20.0},
        {"color_jitter": 0.3},
        {"blur": 1.0},
        {"horizontal_flip": True, "vertical_flip": True, "rotation": 20.0, "color_jitter": 0.3, "blur": 1.0},
    ],
)
def test_augmentation_keeps_shape_and_range_and_follows_the_seed(on: dict):
    images, how = pictures(), replace(OFF, **on)
    before = images.clone()
    torch.manual_seed(1)
    once = augment(images, how)
    assert once.shape == images.shape and once.min() >= -1 and once.max() <= 1
    assert torch.equal(images, before), "never in place"
    assert not torch.equal(once, images)
    torch.manual_seed(1)
    assert torch.equal(augment(images, how), once)


def test_augmentation_draws_for_each_image_separately():
    images = pictures(1).expand(32, -1, -1, -1)
    for on in ({"horizontal_flip": True}, {"rotation": 10.0}, {"color_jitter": 0.2}):
        how = replace(OFF, **on)
        torch.manual_seed(0)
        assert len(augment(images, how).unique(dim=0)) >= 2


def test_rotation_by_ninety_degrees_is_a_quarter_turn(monkeypatch: pytest.MonkeyPatch):
    images = pictures()
    monkeypatch.setattr(torch, "rand", lambda n, **_: torch.ones(n))  # the largest angle
    turned = rotate(images, 90.0)
    assert any(torch.allclose(turned, images.rot90(k, dims=(2, 3)), atol=1e-5) for k in (1, 3))
    monkeypatch.setattr(torch, "rand", lambda n, **_: torch.full((n,), 0.5))  # none
    assert torch.allclose(rotate(images, 90.0), images, atol=1e-5)


def test_rotation_fills_corners_by_mirroring():
    torch.manual_seed(0)
    bright = torch.full((16, 3, 32, 32), 0.8)
    assert torch.allclose(rotate(bright, 45.0), bright, atol=1e-5)


def test_jitter_keeps_grey_images_grey():
    torch.manual_seed(0)
    radiographs = pictures()[:, :1].expand(-1, 3, -1, -1)
    out = jitter(radiographs, 0.3)
    assert torch.allclose(out[:, 0], out[:, 1], atol=1e-5) and torch.allclose(out[:, 0], out[:, 2], atol=1e-5)
    assert torch.allclose(jitter(radiographs, 0.0), radiographs, atol=1e-5)
