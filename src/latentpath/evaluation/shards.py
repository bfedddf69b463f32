"""Scores the stored latents shard by shard; an interrupted evaluation resumes at the next shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from latentpath.evaluation.pictures import write_pictures
from latentpath.evaluation.scoring import Scorer
from latentpath.keys import BASE, FINETUNED
from latentpath.runs.files import read_parquet, write_parquet
from latentpath.runs.progress import bar
from latentpath.traversal.store import read_index, read_latents


@dataclass(frozen=True)
class StoredSweep:
    """The stored latents of one model: `index` has one row per latent in `folder`."""

    model: str
    folder: Path
    index: pd.DataFrame

    @property
    def shards(self) -> list[tuple[str, pd.DataFrame]]:
        """Yield the name of each shard (without suffix) and its rows of the index."""
        return [(Path(str(name)).stem, rows) for name, rows in self.index.groupby("shard")]

    @property
    def seeds(self) -> int:
        """The number of seeds over all classes."""
        return len(self.index[["class", "seed"]].drop_duplicates())


def stored_sweeps(traverse: Path) -> list[StoredSweep]:
    """Return the sweep of the fine-tuned model in `traverse`, then that of the base model if there is one."""
    folders = {FINETUNED: traverse, BASE: traverse / "base"}
    return [
        StoredSweep(model, folder, read_index(folder))
        for model, folder in folders.items()
        if model == FINETUNED or (folder / "index.parquet").exists()
    ]


def score_shards(
    scorer: Scorer, sweeps: Sequence[StoredSweep], folder: Path, *, pictured: Sequence[int]
) -> pd.DataFrame:
    """Score every latent of `sweeps`; write scores.parquet and examples.parquet under `folder`.

    Returns the scores, one row for each image. The images of the seeds `pictured` are kept as PNG files. Each
    shard leaves its scores, features and keys of pictures in `folder`/parts; a shard whose scores are there
    is not scored again.
    """
    parts = folder / "parts"
    with bar("scoring seeds", sum(sweep.seeds for sweep in sweeps)) as advance:
        scored = [
            _score_shard(scorer, sweep, name, rows, parts, pictured, advance)
            for sweep in sweeps
            for name, rows in sweep.shards
        ]
    scores = pd.concat([read_parquet(file) for file in scored], ignore_index=True)
    write_parquet(folder / "scores.parquet", scores)
    pictures = pd.concat([read_parquet(file) for file in sorted(parts.glob("pictures_*.parquet"))])
    write_parquet(folder / "examples.parquet", pictures)
    return scores


def read_features(folder: Path) -> pd.DataFrame:
    """Read the features of the fine-tuned model's images, in the order of its index (see `Scorer`)."""
    parts = sorted((folder / "parts").glob(f"features_{FINETUNED}_*.parquet"))
    features = pd.concat([read_parquet(part) for part in parts], ignore_index=True)
    return features.sort_values("place", ignore_index=True)


def _score_shard(
    scorer: Scorer,
    sweep: StoredSweep,
    name: str,
    rows: pd.DataFrame,
    parts: Path,
    pictured: Sequence[int],
    advance: Callable[[int], object],
) -> Path:
    """Score one shard; the file of its scores is written last, since it says that the shard is done."""
    file = parts / f"scores_{sweep.model}_{name}.parquet"
    seeds = rows.groupby(["class", "seed"], sort=False)
    if file.exists():
        advance(len(seeds))
        return file
    scorer.pictures.clear()
    scorer.features.clear()
    tables = []
    for (_, seed), of_seed in seeds:
        latents = read_latents(sweep.folder, of_seed)
        keep = seed in pictured
        tables.append(scorer.score_seed(of_seed, latents, model=sweep.model, keep_pictures=keep))
        advance(1)
    if scorer.pictures:
        kept = write_pictures(parts.parent, scorer.pictures)
        write_parquet(parts / f"pictures_{sweep.model}_{name}.parquet", kept)
    if scorer.features:
        features = pd.concat(scorer.features, ignore_index=True)
        write_parquet(parts / f"features_{sweep.model}_{name}.parquet", features)
    write_parquet(file, pd.concat(tables, ignore_index=True))
    return file
