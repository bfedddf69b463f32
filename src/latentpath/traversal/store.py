"""Stores latents on disk: one safetensors shard per wave of seeds, written atomically, and an index."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from latentpath.errors import UserError
from latentpath.keys import LATENT_KEY
from latentpath.runs.digests import MANIFEST
from latentpath.runs.files import Json, read_parquet, reading, write_parquet, write_whole

INDEX, FLIPS = "index.parquet", "flips.parquet"
ROW = [*LATENT_KEY, "prompt"]
COLUMNS = [*ROW, "shard", "row"]


def write_shard(
    folder: Path,
    name: str,
    rows: Sequence[dict[str, object]],
    latents: Tensor,
    *,
    flips: Sequence[dict[str, object]] = (),
) -> Path:
    """Write `folder/shards/<name>.safetensors`: `latents` (rows, c, h, w) fp32, with `rows` in the header.

    rows: one dict per latent with the keys of ROW. flips: the flip points of these seeds, if searched. The
    file is written under a temporary name, synced and renamed, so that an interruption or a full disk leaves
    only complete shards. Raises UserError if the disk is full.
    """
    if len(rows) != len(latents):
        raise ValueError(f"{len(rows)} rows tell of {len(latents)} latents")
    # A single entry: safetensors writes several in any order, and equal shards must be equal to the byte.
    header = {"content": json.dumps({"rows": list(rows), "flips": list(flips)})}
    content = save({"latents": latents.float().cpu().contiguous()}, metadata=header)
    path = shard_file(folder, name)
    write_whole(path, content)
    return path


def shard_file(folder: Path, name: str) -> Path:
    """Return the file of the shard `name`."""
    return folder / "shards" / f"{name}.safetensors"


def finished_seeds(folder: Path) -> set[tuple[str, int]]:
    """Return the (class, seed) pairs in all shards. Raises UserError, naming it, if one cannot be read."""
    return {(row["class"], row["seed"]) for path in _shards(folder) for row in _read(path, "rows")}


def build_index(folder: Path) -> pd.DataFrame:
    """List the latents of all shards in `index.parquet` and return it: one row per final latent.

    Also writes `flips.parquet` if flip points were searched. Raises UserError, naming the shard, if one
    cannot be read.
    """
    tables = []
    for path in _shards(folder):
        table = pd.DataFrame(_read(path, "rows"))
        tables.append(table.assign(shard=path.name, row=range(len(table))))
    index = pd.concat(tables, ignore_index=True)[COLUMNS]
    flips = [flip for path in _shards(folder) for flip in _read(path, "flips")]
    if flips:
        write_parquet(folder / FLIPS, pd.DataFrame(flips).astype({"flip_step": "Int64"}))
    write_parquet(folder / INDEX, index)
    return index


def read_index(folder: Path) -> pd.DataFrame:
    """Read the index of a complete traversal. Raises UserError if there is none."""
    if not (folder / INDEX).exists():
        raise UserError(f"{folder / INDEX} is missing. Run `latentpath traverse` first.")
    return read_parquet(folder / INDEX)


def read_flips(folder: Path) -> pd.DataFrame:
    """Read the flip points of a traversal, one row per trajectory (see `bisect.bisect_wave`).

    The table is empty if the traversal did not search for them.
    """
    return read_parquet(folder / FLIPS) if (folder / FLIPS).exists() else pd.DataFrame()


def read_latents(folder: Path, index: pd.DataFrame) -> Tensor:
    """Read the final latents of the rows of `index`, in its order: (rows, c, h, w) fp32."""
    latents: Tensor | None = None
    for shard, rows in index.reset_index(drop=True).groupby("shard"):
        with _open(folder / "shards" / str(shard)) as file:
            stored = file.get_tensor("latents")
        if latents is None:
            latents = torch.empty((len(index), *stored.shape[1:]))
        latents[rows.index.tolist()] = stored[rows["row"].tolist()]
    if latents is None:
        raise ValueError("no rows to read")
    return latents


def _shards(folder: Path) -> list[Path]:
    return sorted((folder / "shards").glob("[!.]*.safetensors"))


def _read(path: Path, part: str) -> list[Json]:
    with _open(path) as file:
        header = file.metadata() or {}
        if "content" not in header:
            raise ValueError("it holds no rows of a sweep")
        return json.loads(header["content"])[part]


@contextmanager
def _open(path: Path) -> Iterator[Any]:  # Any: of safetensors
    """Open a shard. Raises UserError, naming it, if it is missing or damaged."""
    manifests = [str(file) for folder in path.parents if (file := folder / MANIFEST).exists()]
    both = " and ".join([str(path), *manifests[:1]])
    remedy = f"Delete {both}, and run `latentpath traverse` again: it samples only the seeds of this shard."
    with reading(path, remedy=remedy), safe_open(path, framework="pt") as file:
        yield file
