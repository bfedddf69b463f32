"""Sends figures and images of an evaluation to the experiment trackers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray

from latentpath.keys import FINETUNED
from latentpath.runs.files import Json, read_image, read_json, read_parquet
from latentpath.runs.tracking import log_figures, log_images


def log_evaluation(loggers: Sequence[Logger], folder: Path) -> None:
    """Log the means of CFRT with their intervals, and every figure of the swaps, to all `loggers`.

    Names are swap/<class>/<attribute>/<figure>, of means cfrt_mean/<method>/<figure>. With logger.images=true
    also the neutral images that were kept, each beside its strongest swaps.
    """
    metrics, rows = read_json(folder / "metrics.json"), read_parquet(folder / "figures.parquet")
    rows = rows[(rows["method"] == "swap") & rows["position"].isna() & rows["class"].notna()]
    figures: Json = {"cfrt_mean": metrics["cfrt_mean"]}
    for row in rows.dropna(subset=["value"]).to_dict("records"):
        cells = figures.setdefault("swap", {}).setdefault(row["class"], {})
        cells.setdefault(row["attribute"], {})[row["figure"]] = row["value"]
    if any(getattr(logger, "takes_images", False) for logger in loggers):
        columns = ["neutral", *metrics["attributes"]]
        if len(images := _examples(folder, metrics["attributes"])):
            log_images(loggers, "examples", images, columns=columns, step=0)
    log_figures(loggers, figures)


def _examples(folder: Path, attributes: Sequence[str]) -> NDArray[np.uint8]:
    """Return images (seeds, 1 + A, 3, h, w): the neutral image, then each attribute's strongest swap."""
    kept = read_parquet(folder / "examples.parquet")
    kept = kept[(kept["model"] == FINETUNED) & kept["method"].isin(("neutral", "swap"))]
    kept = kept.sort_values("swap_step").drop_duplicates(["class", "seed", "attribute"])
    kept.loc[kept["method"] == "neutral", "attribute"] = "neutral"
    files = kept.pivot(index=["class", "seed"], columns="attribute", values="file")
    files = files.reindex(columns=["neutral", *attributes]).dropna()
    images = [[read_image(folder / "examples" / file) for file in row] for row in files.values]
    pixels = np.array([[np.asarray(image) for image in row] for row in images])
    return pixels.transpose(0, 1, 4, 2, 3) if len(images) else pixels
