"""Writes images of the first few seeds as PNG files, for the report and for people."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor

from latentpath.config.names import file_name
from latentpath.evaluation.scoring import Picture
from latentpath.keys import IMAGE_KEY, NULLABLE
from latentpath.runs.files import write_image


def write_pictures(folder: Path, pictures: Iterable[Picture]) -> pd.DataFrame:
    """Write `examples/*.png` and LPIPS maps as grey `lpips_maps/*.png`; return their keys and file names.

    The grey value of a map is the distance (clipped at 1) times 255, so all maps have the same scale.
    """
    rows = []
    for picture in pictures:
        key = picture.key
        position = key["swap_step"] if key["frame"] is None else key["frame"]
        if key["method"] in ("window", "order") or (key["frame"] is None and key["strength"] != 1):
            position = f"{position}-{key['until']}x{key['strength']:g}"
        words = (
            file_name(str(key["class"])),
            key["seed"],
            file_name(key["attribute"] or "neutral"),
            key["method"],
            position,
            key["model"],
        )
        name = "_".join(map(str, words)) + ".png"
        _save(folder / "examples" / name, picture.image.permute(1, 2, 0))
        if picture.lpips_map is not None:
            _save(folder / "lpips_maps" / name, picture.lpips_map)
        rows.append(
            {k: key[k] for k in IMAGE_KEY}
            | {"file": name, "lpips_map": name if picture.lpips_map is not None else None}
        )
    return pd.DataFrame(rows).astype(NULLABLE)


def _save(path: Path, pixels: Tensor) -> None:
    write_image(path, Image.fromarray((pixels.clamp(0, 1).numpy() * 255).round().astype(np.uint8)))
