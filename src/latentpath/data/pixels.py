"""Pixels in their two forms, uint8 in 0..255 and float32 in [-1, 1], and sheets of images as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from latentpath.runs.files import write_image


def to_model_range(images: Tensor | NDArray[np.uint8]) -> Tensor:
    """uint8 in 0..255, any shape, to float32 in [-1, 1] of the same shape, on the device where they are."""
    images = torch.as_tensor(images)
    return images.float().div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """Values in [-1, 1], any shape, to uint8 in 0..255, rounded; what lies outside is cut."""
    return ((images.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def save_grid(images: Tensor, path: Path, *, least_side: int = 128) -> Path:
    """Write `images` (rows, columns, 3, h, w) in [-1, 1] as one PNG; small ones are enlarged by pixels."""
    rows, columns, _, h, w = images.shape
    sheet = to_uint8(images).cpu().numpy().transpose(0, 3, 1, 4, 2).reshape(rows * h, columns * w, 3)
    zoom = max(1, least_side // h)
    write_image(path, Image.fromarray(np.kron(sheet, np.ones((zoom, zoom, 1), np.uint8))))
    return path
