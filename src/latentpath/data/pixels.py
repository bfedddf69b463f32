"""Converts pixels between uint8 in 0..255 and float32 in [-1, 1], and writes grids of images as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from latentpath.runs.files import write_image


def to_model_range(images: Tensor | NDArray[np.uint8]) -> Tensor:
    """Convert uint8 in 0..255 of any shape to float32 in [-1, 1] of the same shape, on the same device."""
    images = torch.as_tensor(images)
    return images.float().div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """Convert values in [-1, 1] of any shape to uint8 in 0..255, rounded and clipped."""
    return ((images.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def save_grid(images: Tensor, path: Path, *, least_side: int = 128) -> Path:
    """Write `images` (rows, columns, 3, h, w) in [-1, 1] as one PNG grid; return its path.

    Images with a side below `least_side` pixels are enlarged by a whole factor.
    """
    rows, columns, _, h, w = images.shape
    sheet = to_uint8(images).cpu().numpy().transpose(0, 3, 1, 4, 2).reshape(rows * h, columns * w, 3)
    zoom = max(1, least_side // h)
    write_image(path, Image.fromarray(np.kron(sheet, np.ones((zoom, zoom, 1), np.uint8))))
    return path
