"""Phantoms with a planted correlation: hair brings a ruler that no table and no caption mentions."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

from PIL import Image

from latentpath.data.phantoms import write_isic2019
from latentpath.data.phantoms.canvas import stream
from latentpath.data.phantoms.dermoscopy import draw_dermoscopy

CAUSE, EFFECT = "hair", "ruler"


def write_planted(root: Path, share: float, *, count: int, size: int, seed: int) -> Path:
    """Write phantoms of which a share of those with hair has a ruler that the tables call absent.

    The phantoms are those of `write_isic2019`. Which ones get a ruler is drawn once for each: those of a
    small share are among those of a larger one. Does nothing if `root` is there.
    """
    if root.exists():
        return root
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    write_isic2019(partial, count=count, size=size, seed=seed)
    lesions = {row["image"]: row["lesion_id"] for row in _table(partial / "ISIC_2019_Training_Metadata.csv")}
    for row in _table(partial / "isic_inferred_wocarcinoma.csv"):
        hidden = float(row[CAUSE]) > 0.9 and float(row[EFFECT]) < 0.1
        index = int(re.sub(r"\D", "", row["image"]))
        if not hidden or stream(seed, index, "planted").random() >= share:
            continue
        (file,) = (partial / "ISIC_2019_Training_Input").glob(f"{row['image']}*.jpg")
        lesion = int(re.sub(r"\D", "", lesions[file.stem]) or index)  # without a lesion_id it is its own
        attributes = {name: float(row[name]) > 0.9 for name in ("hair", "gel_bubble", "ink")}
        phantom = draw_dermoscopy(
            index, size=size, seed=seed, lesion=lesion, attributes=attributes | {EFFECT: True}
        )
        Image.fromarray(phantom.image).save(file, quality=95, subsampling=0)
    partial.rename(root)
    return root


def _table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))
