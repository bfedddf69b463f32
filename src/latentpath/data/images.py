"""Image files to tensors: any colour mode, EXIF turned, squashed or cropped to a square, many at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from rich.progress import track

from latentpath.data.pixels import to_model_range
from latentpath.data.records import Problem, choice, report_problems
from latentpath.errors import UserError


def read_image(path: str | Path, *, size: int, resize: Any) -> torch.Tensor:
    """One image, (3, size, size) float32 in [-1, 1], resized with LANCZOS.

    resize: 'squash' ignores the aspect ratio (the paper's way); 'crop' takes the central square.
    Raises UserError, naming the file, where it cannot be read.
    """
    return to_model_range(_read_uint8(path, size=size, resize=resize))


def load_images(
    rows: pd.DataFrame,
    *,
    size: int,
    resize: Any,
    on_error: Any = "fail",
    progress: bool = False,
    workers: int | None = None,
    out: Path | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Every image of `rows['path']`, and the positions in `rows` of those that could be read.

    Returns (kept, 3, size, size) uint8 and (kept,) int64, both in the order of the rows. In memory (12 KiB an
    image at 64 px, 768 KiB at 512), or in a memory-mapped .npy file `out`, which has unused places at its end
    where images could not be read; the returned view leaves them out.
    on_error: 'skip' leaves unreadable images out with one warning, 'fail' raises a UserError that lists them.
    """
    paths = rows["path"].tolist()
    shape = (len(paths), 3, size, size)
    if out is None:
        images = np.empty(shape, np.uint8)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        images = np.lib.format.open_memmap(out, mode="w+", dtype=np.uint8, shape=shape)

    def read_into(place: int) -> str | None:
        try:
            images[place] = _read_uint8(paths[place], size=size, resize=resize)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(workers or _workers()) as pool:  # PIL decodes and resizes without the GIL
        done = pool.map(read_into, range(len(paths)))
        errors = list(track(done, "reading images", total=len(paths), disable=not progress, transient=True))
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    report_problems(
        [Problem("unreadable image", folder, None, text) for text in errors if text is not None], on_error
    )
    kept = np.array([i for i, text in enumerate(errors) if text is None], dtype=np.int64)
    if len(kept) < len(paths):
        for new, old in enumerate(
            kept
        ):  # forward and in place: new <= old, and a memory map is never doubled
            images[new] = images[old]
    return images[: len(kept)], kept


def _workers() -> int:
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _read_uint8(path: str | Path, *, size: int, resize: Any) -> np.ndarray:
    """(3, size, size) uint8."""
    resize = choice("dataset.resize", resize, ("squash", "crop"))
    try:
        with Image.open(path) as file:
            # A JPEG decodes at 1/2, 1/4 or 1/8 where that is still twice what is needed: many times faster.
            file.draft(None, (2 * size, 2 * size))
            image = _to_rgb(ImageOps.exif_transpose(file))
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise UserError(f"cannot read the image {path}: {error or type(error).__name__}") from error
    if resize == "crop":  # not resize(box=...), which lets pixels outside the box bleed in
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        image = image.crop((left, top, left + side, top + side))
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS)).transpose(2, 0, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip at 255 instead of scaling
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8)).convert(
            "RGB"
        )
    if image.mode == "F":
        raise UserError("floating-point pixels have no known range; save it with 8 or 16 bits a channel")
    if image.mode in ("P", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
