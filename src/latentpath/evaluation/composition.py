"""Judges the rounds of inverting and sampling real images again, which the traversal stored."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from latentpath.diffusion.autoencoder import decode
from latentpath.evaluation.scoring import Scorer
from latentpath.keys import COMPOSED
from latentpath.metrics.composition import composition_table
from latentpath.traversal.store import read_index, read_latents


def composition(traverse: Path, scorer: Scorer, *, threshold: float) -> pd.DataFrame | None:
    """Return `metrics.composition_table` of the stored rounds; None if the traversal made one round only."""
    folder = traverse / COMPOSED
    if not (folder / "index.parquet").exists():
        return None
    index = read_index(folder)
    latents = read_latents(folder, index)
    judge = scorer.classifier
    chances, probabilities = judge.predict(decode(scorer.vae, latents, batch_size=scorer.batch_size))
    images = index[["class", "seed"]].assign(round=index["strength"].round().astype(int))
    for i, head in enumerate(judge.attributes):
        images[f"prob_{head}"] = probabilities[:, i].numpy()
    classes = judge.classes if chances.shape[1] else ()
    for i, cls in enumerate(classes):
        images[f"class_prob_{cls}"] = chances[:, i].numpy()
    found = latents.double().flatten(1).numpy()
    return composition_table(images, found, judge.attributes, classes, threshold)
