"""Reads many image files into one array of square images, as `ImageSpec` describes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from latentpath.config.choices import OnError, Resize
from latentpath.config.schema import DatasetConfig
from latentpath.data.image_file import read_rgb
from latentpath.data.pixels import to_model_range
from latentpath.data.records import Problem, report_problems
from latentpath.data.source import Source
from latentpath.errors import UserError
from latentpath.runs.arrays import new_array

RULES = 3  # version of the rules that turn files into pixels: raise it when the pixels of a file change


@dataclass(frozen=True)
class ImageSpec:
    """How an image file becomes pixels, and what to do with files that cannot be read.

    size: side of the square in pixels.
    resize: `squash` ignores the aspect ratio (the paper's way); `crop` takes the central square.
    on_error: `fail` raises a UserError that lists the unreadable files; else a warning names some of them.
    """

    size: int
    resize: Resize = Resize.squash
    on_error: OnError = OnError.fail

    @classmethod
    def of(cls, dataset: DatasetConfig) -> ImageSpec:
        """Take the values from the configuration group `dataset`."""
        return cls(dataset.image_size, dataset.resize, dataset.on_error)

    @property
    def identity(self) -> dict[str, int | str]:
        """Return everything that determines the pixels of a readable file; it is part of every cache key."""
        return {"size": self.size, "resize": self.resize, "rules": RULES}


class ReadImages(NamedTuple):
    """The images (kept, 3, size, size) uint8, their row positions (kept,) int64, and the unreadable files."""

    images: NDArray[np.uint8]
    kept: NDArray[np.int64]
    unreadable: list[Problem]


def read_image(path: Source, spec: ImageSpec) -> torch.Tensor:
    """Read one image as (3, size, size) float32 in [-1, 1], resized with LANCZOS.

    Raises UserError if it is unreadable.
    """
    return to_model_range(_read_uint8(path, spec).copy())  # torch wants memory that may be written


def load_images(
    rows: pd.DataFrame, spec: ImageSpec, *, progress: bool = False, out: Path | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read the images of `rows`; unreadable files raise or warn, as `spec.on_error` says.

    Returns images (kept, 3, size, size) uint8 and their row positions (kept,). `out`: see `read_images`.
    """
    images, kept, unreadable = read_images(rows, spec, progress=progress, out=out)
    report_problems(unreadable, spec.on_error)
    return images, kept


def read_images(
    rows: pd.DataFrame,
    spec: ImageSpec,
    *,
    progress: bool = False,
    workers: int | None = None,
    out: Path | None = None,
) -> ReadImages:
    """Read every image of `rows['path']` that can be read, in the order of the rows.

    The images are in memory (12 KiB per image at 64 px, 768 KiB at 512 px) or in a memory-mapped .npy file
    `out`. That file has one unused slot at its end per unreadable image; the returned view omits them.
    """
    paths = rows["path"].tolist()
    shape = (len(paths), 3, spec.size, spec.size)
    images = np.empty(shape, np.uint8) if out is None else new_array(out, np.uint8, shape)

    def read_into(place: int) -> str | None:
        try:
            images[place] = _read_uint8(paths[place], spec)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(workers or cores()) as pool:  # Pillow decodes and resizes without the GIL
        done = pool.map(read_into, range(len(paths)))
        errors = list(track(done, "reading images", total=len(paths), disable=not progress, transient=True))
    kept = np.array([i for i, text in enumerate(errors) if text is None], dtype=np.int64)
    if len(kept) < len(paths):
        # Compact in place: images only move toward the start, so no second copy of the memory map is needed.
        for new, old in enumerate(kept):
            images[new] = images[old]
    return ReadImages(images[: len(kept)], kept, unreadable_files(paths, errors))


def unreadable_files(paths: list[str], errors: list[str | None]) -> list[Problem]:
    """Return a Problem for each error, counted under the common folder of the files."""
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    return [Problem("unreadable image", folder, None, text) for text in errors if text is not None]


def cores() -> int:
    """Return the number of reader threads: the CPUs of this process, at most 16."""
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _read_uint8(path: Source, spec: ImageSpec) -> NDArray[np.uint8]:
    """Read one image as (3, size, size) uint8."""
    image = read_rgb(path, enough=spec.size)
    if spec.resize == Resize.crop:  # not resize(box=...), whose filter also uses pixels outside the box
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        image = image.crop((left, top, left + side, top + side))
    return np.asarray(image.resize((spec.size, spec.size), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
