"""Latents on disk: a safetensors shard a wave of seeds, written whole or not at all, and an index of all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from latentpath.errors import UserError
from latentpath.keys import LATENT_KEY
from latentpath.runs.files import is_abandoned, read_parquet, write_parquet, write_whole

INDEX, FLIPS = "index.parquet", "flips.parquet"
ROW = [*LATENT_KEY, "prompt"]
COLUMNS = [*ROW, "shard", "row"]


def write_shard(
    folder: Path,
    name: str,
    rows: Sequence[dict[str, Any]],
    latents: Tensor,
    *,
    flips: Sequence[dict[str, Any]] = (),
) -> Path:
    """Write `folder/shards/<name>.safetensors`: `latents` (rows, c, h, w) fp32, what they are in the header.

    `rows` have the keys of ROW; `flips` are flip points that were found with them. Written to a temporary
    name, synced, renamed: a kill or a full disk leaves the shards that were finished. Raises UserError when
    the disk is full.
    """
    if len(rows) != len(latents):
        raise ValueError(f"{len(rows)} rows tell of {len(latents)} latents")
    # One entry: safetensors writes several in any order, and a shard is to be the same to the byte.
    header = {"content": json.dumps({"rows": list(rows), "flips": list(flips)})}
    content = save({"latents": latents.float().cpu().contiguous()}, metadata=header)
    path = folder / "shards" / f"{name}.safetensors"
    write_whole(path, content)
    return path


def finished_seeds(folder: Path) -> set[tuple[str, int]]:
    """(class, seed) of everything in the shards that are there; leftovers of a killed writer are removed.

    Raises UserError that names a shard which cannot be read.
    """
    shards = folder / "shards"
    for leftover in shards.glob(".*"):
        if is_abandoned(leftover):
            leftover.unlink(missing_ok=True)
    return {(row["class"], row["seed"]) for path in _shards(folder) for row in _read(path, "rows")}


def build_index(folder: Path) -> pd.DataFrame:
    """Join the shards by listing them, write `index.parquet` and return it: a row a final latent. Flip points
    that were searched for go to `flips.parquet`.

    Raises UserError that names a shard which cannot be read.
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
    """The index of a finished traversal. Raises UserError if there is none."""
    if not (folder / INDEX).exists():
        raise UserError(f"{folder / INDEX} is missing. Run `latentpath traverse` first.")
    return read_parquet(folder / INDEX)


def read_flips(folder: Path) -> pd.DataFrame:
    """The flip points that a traversal searched for, a row a trajectory (see `bisect.bisect_wave`); no rows
    where it did not."""
    return read_parquet(folder / FLIPS) if (folder / FLIPS).exists() else pd.DataFrame()


def read_latents(folder: Path, index: pd.DataFrame) -> Tensor:
    """Final latents of the rows of `index`, in its order: (rows, c, h, w) fp32."""
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


def _read(path: Path, part: str) -> list[dict[str, Any]]:
    with _open(path) as file:
        return json.loads(file.metadata()["content"])[part]


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """The shard, opened. Raises UserError that names it when it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a whole shard ({error}). Delete it and run `traverse` again."
        ) from None
