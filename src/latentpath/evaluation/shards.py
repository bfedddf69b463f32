"""Scores the stored latents shard by shard, in any number of processes; finished shards are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from latentpath.evaluation.pictures import write_pictures
from latentpath.evaluation.scoring import Scorer
from latentpath.keys import BASE, FINETUNED
from latentpath.runs.claims import share_out
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
) -> None:
    """Score every latent of `sweeps` into `folder`/parts, together with all processes that do the same.

    Each shard leaves its scores, features and keys of pictures there; a shard whose scores are there is not
    scored again. The images of the seeds `pictured` are kept as PNG files. When this returns, all shards are
    scored, whoever did it.
    """
    parts = folder / "parts"
    shards = {f"{sweep.model}_{name}": (sweep, rows) for sweep in sweeps for name, rows in sweep.shards}
    seeds = {piece: rows.groupby(["class", "seed"]).ngroups for piece, (_, rows) in shards.items()}
    with bar("scoring seeds", sum(seeds.values())) as advance:
        for piece in share_out(
            list(shards),
            folder / "claims",
            done=lambda piece: scores_of(parts, piece).exists(),
            on_done=lambda piece: advance(seeds[piece]),
        ):
            _score_shard(scorer, *shards[piece], parts, piece, pictured, advance)


def join_parts(sweeps: Sequence[StoredSweep], folder: Path) -> pd.DataFrame:
    """Write scores.parquet and examples.parquet from the parts of all shards, and return the scores.

    The scores have one row for each image, in the order of the sweeps and their shards.
    """
    parts = folder / "parts"
    pieces = [f"{sweep.model}_{name}" for sweep in sweeps for name, _ in sweep.shards]
    scores = pd.concat([read_parquet(scores_of(parts, piece)) for piece in pieces], ignore_index=True)
    write_parquet(folder / "scores.parquet", scores)
    pictures = pd.concat([read_parquet(file) for file in sorted(parts.glob("pictures_*.parquet"))])
    write_parquet(folder / "examples.parquet", pictures)
    return scores


def scores_of(parts: Path, piece: str) -> Path:
    """Return the file with the scores of one shard, which is written last: it says that the shard is done."""
    return parts / f"scores_{piece}.parquet"


def read_features(folder: Path) -> pd.DataFrame:
    """Read the features of the fine-tuned model's images that are compared with real ones (see `Scorer`).

    Column `place` is the label of the image in the index of the sweep, in whose order the rows are.
    """
    parts = sorted((folder / "parts").glob(f"features_{FINETUNED}_*.parquet"))
    features = pd.concat([read_parquet(part) for part in parts], ignore_index=True)
    return features.sort_values("place", ignore_index=True)


def _score_shard(
    scorer: Scorer,
    sweep: StoredSweep,
    rows: pd.DataFrame,
    parts: Path,
    piece: str,
    pictured: Sequence[int],
    advance: Callable[[int], object],
) -> None:
    scorer.pictures.clear()
    scorer.features.clear()
    tables = []
    latents = read_latents(sweep.folder, rows)
    for (_, seed), of_seed in rows.groupby(["class", "seed"], sort=False):
        own = latents[rows.index.get_indexer(of_seed.index)]
        keep = seed in pictured
        tables.append(scorer.score_seed(of_seed, own, model=sweep.model, keep_pictures=keep))
        advance(1)
    if scorer.pictures:
        write_parquet(parts / f"pictures_{piece}.parquet", write_pictures(parts.parent, scorer.pictures))
    if scorer.features:
        write_parquet(parts / f"features_{piece}.parquet", pd.concat(scorer.features, ignore_index=True))
    write_parquet(scores_of(parts, piece), pd.concat(tables, ignore_index=True))
