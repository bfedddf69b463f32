"""Augments training images of the classifier, as whole batches on their device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur


@dataclass(frozen=True)
class Augmentation:
    """Every image has its own chance and angle; randomness is torch's global generator.

    rotation: degrees, at most so much to either side. color_jitter: brightness, contrast and saturation each
    by a factor in 1 +- color_jitter. blur: pixels, half of the images blurred by up to this sigma. 0: off.
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation: float = 0.0
    color_jitter: float = 0.0
    blur: float = 0.0

    def __call__(self, images: Tensor) -> Tensor:
        """(n, 3, size, size) in [-1, 1] -> the same shape and range."""
        for dim, on in ((3, self.horizontal_flip), (2, self.vertical_flip)):
            if on:
                images = torch.where(_coin(images), images.flip(dim), images)
        if self.rotation > 0:
            images = rotate(images, self.rotation)
        if self.color_jitter > 0:
            images = jitter(images, self.color_jitter)
        if self.blur > 0:
            # Decoded latents are softer than photographs; a judge that leans on single pixels misjudges.
            sigma = float(torch.rand(())) * self.blur + 1e-3
            size = [2 * math.ceil(2 * self.blur) + 1] * 2
            images = torch.where(
                _coin(images), gaussian_blur(images, kernel_size=size, sigma=[sigma] * 2), images
            )
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
