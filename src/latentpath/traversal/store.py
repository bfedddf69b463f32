"""Latents on disk: a safetensors shard a wave of seeds, written whole or not at all, and an index of all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from latentpath.errors import UserError
from latentpath.traversal.engine import Leaf

INDEX = "index.parquet"
COLUMNS = ["class", "seed", "attribute", "swap_step", "prompt", "shard", "row"]


def write_shard(
    folder: Path, name: str, leaves: Sequence[Leaf], latents: Tensor, prompts: Sequence[str]
) -> Path:
    """Write `folder/shards/<name>.safetensors`: `latents` (rows, c, h, w) fp32, rows told in the header.

    Written to a temporary name, synced, renamed: a kill or a full disk leaves the shards that were finished.
    Raises UserError when the disk is full.
    """
    rows = [{**asdict(leaf), "prompt": prompt} for leaf, prompt in zip(leaves, prompts, strict=True)]
    content = save({"latents": latents.float().cpu().contiguous()}, metadata={"rows": json.dumps(rows)})
    path = folder / "shards" / f"{name}.safetensors"
    write_whole(path, content)
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Bytes to `path` through a synced temporary file. Raises UserError and leaves nothing when it cannot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"{path} cannot be written: {error.strerror}. What was finished before stays; "
            "make room and run the same command again."
        ) from None


def finished_seeds(folder: Path) -> set[tuple[str, int]]:
    """(class, seed) of everything in the shards that are there; leftovers of a killed writer are removed.

    Raises UserError that names a shard which cannot be read.
    """
    shards = folder / "shards"
    for leftover in shards.glob(".*.safetensors.*"):
        leftover.unlink(missing_ok=True)
    return {(row["cls"], row["seed"]) for path in shards.glob("*.safetensors") for row in _read_rows(path)}


def build_index(folder: Path) -> pd.DataFrame:
    """Join the shards by listing them, write `index.parquet` and return it: a row a final latent.

    Raises UserError that names a shard which cannot be read.
    """
    tables = []
    for path in sorted((folder / "shards").glob("*.safetensors")):
        table = pd.DataFrame(_read_rows(path)).rename(columns={"cls": "class"})
        tables.append(table.assign(shard=path.name, row=range(len(table))))
    index = pd.concat(tables, ignore_index=True)[COLUMNS]
    content = BytesIO()
    index.to_parquet(content)
    write_whole(folder / INDEX, content.getvalue())
    return index


def read_index(folder: Path) -> pd.DataFrame:
    """The index of a finished traversal. Raises UserError if there is none."""
    if not (folder / INDEX).exists():
        raise UserError(f"{folder / INDEX} is missing. Run `latentpath traverse` first.")
    return pd.read_parquet(folder / INDEX)


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


def _read_rows(path: Path) -> list[dict[str, Any]]:
    with _open(path) as file:
        return json.loads(file.metadata()["rows"])


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
