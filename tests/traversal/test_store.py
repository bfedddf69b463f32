"""Shards come back as they were written, and what a kill or a full disk leaves is whole or named."""

from __future__ import annotations

import errno
import os
import random
import resource

import pytest
import torch

from latentpath.errors import UserError
from latentpath.traversal.engine import Leaf
from latentpath.traversal.store import build_index, finished_seeds, read_index, read_latents, write_shard

SHAPE = (4, 8, 8)


def shard(folder, cls: str, seeds: list[int]) -> dict[Leaf, torch.Tensor]:
    """Write a shard of a neutral image and two swaps a seed; returns what is in it."""
    leaves = [Leaf(cls, seed, a, s) for a, s in (("", 10), ("hair", 4), ("ink", 0)) for seed in seeds]
    latents = torch.randn(len(leaves), *SHAPE)
    prompts = [f"{leaf.cls} with {leaf.attribute or 'nothing'}" for leaf in leaves]
    write_shard(folder, f"{cls}-{seeds[0]:06d}-{seeds[-1]:06d}", leaves, latents, prompts)
    return dict(zip(leaves, latents, strict=True))


def test_latents_come_back_in_the_order_asked_for(tmp_path):
    written = shard(tmp_path, "NV", [0, 1]) | shard(tmp_path, "MEL", [0, 1]) | shard(tmp_path, "MEL", [2])
    index = build_index(tmp_path)
    assert len(index) == len(written)
    for rows in (index, index.iloc[random.Random(0).sample(range(len(index)), len(index))], index.iloc[[7]]):
        latents = read_latents(tmp_path, rows)
        assert latents.dtype == torch.float32
        for row, z in zip(rows.to_dict("records"), latents, strict=True):
            assert torch.equal(
                z, written[Leaf(row["class"], row["seed"], row["attribute"], row["swap_step"])]
            )
            assert row["prompt"] == f"{row['class']} with {row['attribute'] or 'nothing'}"


def test_the_index_is_read_as_it_was_built(tmp_path):
    shard(tmp_path, "NV", [3])
    built = build_index(tmp_path)
    assert read_index(tmp_path).equals(built)
    assert list(built) == ["class", "seed", "attribute", "swap_step", "prompt", "shard", "row"]
    assert list(built["shard"].unique()) == ["NV-000003-000003.safetensors"]


def test_finished_seeds_are_told_by_class(tmp_path):
    assert finished_seeds(tmp_path) == set()
    shard(tmp_path, "NV", [0, 1])
    shard(tmp_path, "MEL", [1])
    assert finished_seeds(tmp_path) == {("NV", 0), ("NV", 1), ("MEL", 1)}


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    shard(tmp_path, "NV", [0])
    leftover = tmp_path / "shards" / ".NV-000001-000001.safetensors.4711"
    leftover.write_bytes(b"half")
    assert finished_seeds(tmp_path) == {("NV", 0)}
    assert [p.name for p in (tmp_path / "shards").iterdir()] == ["NV-000000-000000.safetensors"]


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_shard_is_named(tmp_path, kept):
    shard(tmp_path, "NV", [0])
    index = build_index(tmp_path)
    path = tmp_path / "shards" / "NV-000000-000000.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    for read in (finished_seeds, build_index, lambda folder: read_latents(folder, index)):
        with pytest.raises(UserError, match=f"{path} is not a whole shard"):
            read(tmp_path)


def test_a_foreign_safetensors_file_is_named(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "shards").mkdir()
    save_file({"latents": torch.zeros(1, *SHAPE)}, tmp_path / "shards" / "foreign.safetensors")
    with pytest.raises(UserError, match=r"foreign\.safetensors is not a whole shard"):
        finished_seeds(tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    shard(tmp_path, "NV", [0])
    index = build_index(tmp_path)
    (tmp_path / "shards" / "NV-000000-000000.safetensors").unlink()
    with pytest.raises(UserError, match=r"NV-000000-000000\.safetensors is not a whole shard"):
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
    assert [p.name for p in (tmp_path / "shards").iterdir()] == ["NV-000000-000000.safetensors"]
    assert finished_seeds(tmp_path) == {("NV", 0)}
