"""Shards are read as they were written; after an interruption or a full disk they are complete or named."""

from __future__ import annotations

import errno
import os
import random
import resource

import pandas as pd
import pytest
import torch

from latentpath.errors import UserError
from latentpath.traversal.store import (
    COLUMNS,
    ROW,
    build_index,
    finished_seeds,
    read_flips,
    read_index,
    read_latents,
    write_shard,
)

SHAPE, N = (4, 8, 8), 10


def row(cls: str, seed: int, attribute: str, swap_step: int) -> dict:
    method = "swap" if attribute else "neutral"
    values = (cls, seed, method, attribute, swap_step, N, 1.0, f"{cls} with {attribute or 'nothing'}")
    return dict(zip(ROW, values, strict=True))


def shard(folder, cls: str, seeds: list[int], **more) -> list[tuple[dict, torch.Tensor]]:
    """Write a shard of a neutral image and two swaps a seed; returns what is in it."""
    rows = [row(cls, seed, a, s) for a, s in (("", N), ("hair", 4), ("ink", 0)) for seed in seeds]
    latents = torch.randn(len(rows), *SHAPE)
    write_shard(folder, f"{cls}-{seeds[0]:06d}-{seeds[-1]:06d}", rows, latents, **more)
    return list(zip(rows, latents, strict=True))


def names(folder) -> list[str]:
    return sorted(path.name for path in (folder / "shards").iterdir())


def test_latents_come_back_in_the_order_asked_for(tmp_path):
    written = shard(tmp_path, "NV", [0, 1]) + shard(tmp_path, "MEL", [0, 1]) + shard(tmp_path, "MEL", [2])
    index = build_index(tmp_path)
    assert len(index) == len(written)
    for rows in (index, index.iloc[random.Random(0).sample(range(len(index)), len(index))], index.iloc[[7]]):
        latents = read_latents(tmp_path, rows)
        assert latents.dtype == torch.float32
        for found, z in zip(rows[ROW].to_dict("records"), latents, strict=True):
            (expected,) = (latent for told, latent in written if told == found)
            assert torch.equal(z, expected)


def test_the_index_is_read_as_it_was_built(tmp_path):
    shard(tmp_path, "NV", [3])
    built = build_index(tmp_path)
    assert read_index(tmp_path).equals(built)
    assert list(built) == COLUMNS
    assert list(built["shard"].unique()) == ["NV-000003-000003.safetensors"]
    assert read_flips(tmp_path).empty


def test_flip_points_that_were_found_with_the_images_are_joined_too(tmp_path):
    flips = [
        {"class": "NV", "seed": seed, "attribute": "hair", "status": status, "flip_step": step}
        for seed, status, step in ((0, "flips", 4), (1, "never", None), (2, "flips", 0))
    ]
    shard(tmp_path, "NV", [0, 1], flips=flips[:2])
    shard(tmp_path, "NV", [2], flips=flips[2:])
    build_index(tmp_path)
    found = read_flips(tmp_path)
    assert list(found["seed"]) == [0, 1, 2]
    assert found["flip_step"].tolist() == [4, pd.NA, 0]


def test_finished_seeds_are_told_by_class(tmp_path):
    assert finished_seeds(tmp_path) == set()
    shard(tmp_path, "NV", [0, 1])
    shard(tmp_path, "MEL", [1])
    assert finished_seeds(tmp_path) == {("NV", 0), ("NV", 1), ("MEL", 1)}


def test_every_latent_needs_its_row(tmp_path):
    with pytest.raises(ValueError, match="1 rows tell of 2 latents"):
        write_shard(tmp_path, "NV", [row("NV", 0, "", N)], torch.zeros(2, *SHAPE))


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_shard_is_named(tmp_path, kept):
    shard(tmp_path, "NV", [0])
    index = build_index(tmp_path)
    path = tmp_path / "shards" / "NV-000000-000000.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    for read in (finished_seeds, build_index, lambda folder: read_latents(folder, index)):
        with pytest.raises(UserError, match=f"{path} is damaged .*Delete {path}, and run"):
            read(tmp_path)


def test_a_foreign_safetensors_file_is_named(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "shards").mkdir()
    save_file({"latents": torch.zeros(1, *SHAPE)}, tmp_path / "shards" / "foreign.safetensors")
    with pytest.raises(UserError, match=r"foreign\.safetensors is damaged \(it holds no rows of a sweep\)"):
        finished_seeds(tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    shard(tmp_path, "NV", [0])
    index = build_index(tmp_path)
    (tmp_path / "shards" / "NV-000000-000000.safetensors").unlink()
    with pytest.raises(UserError, match=r"NV-000000-000000\.safetensors is missing"):
        read_latents(tmp_path, index)


def test_a_missing_index_is_named_with_its_command(tmp_path):
    with pytest.raises(UserError, match=r"index\.parquet is missing\. Run `latentpath traverse` first"):
        read_index(tmp_path)


def test_a_full_disk_leaves_the_finished_shards(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    shard(tmp_path, "NV", [0])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            UserError, match=r"NV-000001-000001\.safetensors cannot be written: No space left"
        ):
            shard(tmp_path, "NV", [1])
        with pytest.raises(UserError, match=r"index\.parquet cannot be written: No space left"):
            build_index(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["NV-000000-000000.safetensors"]
    assert len(build_index(tmp_path)) == 3


def test_a_write_that_breaks_off_midway_leaves_the_finished_shards(tmp_path):
    """The kernel refuses the file's second kilobyte, as it refuses the next block on a full disk."""
    shard(tmp_path, "NV", [0])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(UserError, match="cannot be written: File too large"):
            shard(tmp_path, "NV", [1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["NV-000000-000000.safetensors"]
    assert finished_seeds(tmp_path) == {("NV", 0)}
