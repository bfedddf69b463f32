"""Augments training images of the classifier, as whole batches on their device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from latentpath.config.training import ClassifierConfig


def augment(images: Tensor, how: ClassifierConfig) -> Tensor:
    """Change images (n, 3, size, size) in [-1, 1]; shape and range stay the same.

    Every image has its own chance and angle; randomness is torch's global generator.
    """
    for dim, on in ((3, how.horizontal_flip), (2, how.vertical_flip)):
        if on:
            images = torch.where(_coin(images), images.flip(dim), images)
    if how.rotation > 0:
        images = rotate(images, how.rotation)
    if how.color_jitter > 0:
        images = jitter(images, how.color_jitter)
    if how.blur > 0:
        # Decoded latents are softer than photographs; a judge that relies on single pixels would err.
        sigma = float(torch.rand(())) * how.blur + 1e-3
        size = 2 * math.ceil(2 * how.blur) + 1
        images = torch.where(_coin(images), gaussian_blur(images, [size] * 2, [sigma] * 2), images)
    return images


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Rotate each image about its centre by its own angle in +-degrees.

    Corners are filled by mirroring, because black corners would look like an artefact of real images.
    """
    angles = (torch.rand(len(images), device=images.device) * 2 - 1) * math.radians(degrees)
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    turns = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(turns, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def jitter(images: Tensor, strength: float) -> Tensor:
    """Change brightness, contrast and saturation, each by its own factor in 1 +- strength.

    Hue stays unchanged, because colour is a diagnostic sign.
    """
    brightness, contrast, saturation = (
        1 + strength * (torch.rand(len(images), 1, 1, 1, device=images.device) * 2 - 1) for _ in range(3)
    )
    light = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    pixels = (images + 1) / 2
    grey = (pixels * light).sum(dim=1, keepdim=True)  # (n, 1, h, w)
    pixels = grey + saturation * (pixels - grey)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    pixels = (mean + contrast * (pixels - mean)) * brightness
    return pixels.clamp(0, 1) * 2 - 1


def _coin(images: Tensor) -> Tensor:
    return torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
