"""Real images as evaluation reads them: in batches, in the range of the models, for networks to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pandas as pd
import torch
from torch import Tensor

from latentpath.data.images import ImageSpec, load_images
from latentpath.data.pixels import to_model_range

READ_AT_ONCE = 256  # images

Network = Callable[[Tensor], Tensor]  # images (n, 3, h, w) in [-1, 1] -> features (n, d) on the CPU


def read_images(rows: pd.DataFrame, spec: ImageSpec) -> Iterator[tuple[pd.DataFrame, Tensor]]:
    """Batches of the images of `rows`: the rows that could be read, and images (n, 3, h, w) in [-1, 1]."""
    for start in range(0, len(rows), READ_AT_ONCE):
        part = rows.iloc[start : start + READ_AT_ONCE]
        images, places = load_images(part, spec)
        if len(images):
            yield part.iloc[places], to_model_range(images)


def joined(parts: Iterable[Tensor]) -> Tensor:
    """The rows of all parts (n, ...); (0,) where there is no part."""
    parts = list(parts)
    return torch.cat(parts) if parts else torch.empty(0)
