"""Batch k depends on (seed, k) only, so runs resume and ranks split batches without communication."""

from __future__ import annotations

import logging
import pickle
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from latentpath.data import batches as module
from latentpath.data.batches import LatentBatches, affordable_workers
from latentpath.data.latent_cache import LatentCache

IMAGES, CAPTIONS = 23, 5


@pytest.fixture(scope="module")
def cache() -> LatentCache:
    """Moments of image i are all i; caption 0 is the empty prompt."""
    return LatentCache(
        moments=np.broadcast_to(np.arange(IMAGES, dtype=np.float16)[:, None, None, None], (IMAGES, 8, 2, 2)),
        prompt_embeds=torch.zeros(CAPTIONS, 3, 2),
        caption_of=1 + np.arange(IMAGES) % (CAPTIONS - 1),
    )


def batches(cache, **changes) -> LatentBatches:
    return LatentBatches(cache, **({"batch_size": 6, "total": 40, "seed": 0} | changes))


def images(batch) -> list[int]:
    return batch["moments"][:, 0, 0, 0].int().tolist()


def prompts(batch) -> list[int]:
    return batch["captions"].tolist()


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_batch_holds_the_rows_that_its_places_name(cache):
    for number, batch in enumerate(batches(cache)):
        assert batch["moments"].shape == (6, 8, 2, 2)
        assert batch["moments"].dtype == torch.float32
        assert batch["captions"].shape == (6,)
        assert int(batch["number"]) == number
        assert prompts(batch) == [cache.caption_of[i] for i in images(batch)]


def test_a_batch_is_a_function_of_seed_and_number(cache):
    ours = batches(cache, caption_dropout=0.5)
    backwards = [ours.batch(number) for number in reversed(range(40))][::-1]
    assert all(same(a, b) for a, b in zip(ours, backwards, strict=True))
    other = batches(cache, caption_dropout=0.5, seed=1)
    assert not any(images(a) == images(b) for a, b in zip(ours, other, strict=True))


def test_every_epoch_has_every_image_once_in_its_own_order(cache):
    order = [
        i for batch in batches(cache, total=46) for i in images(batch)
    ]  # 12 epochs of 23 in batches of 6
    epochs = [order[start : start + IMAGES] for start in range(0, len(order), IMAGES)]
    assert len(epochs) == 12
    for epoch in epochs:
        assert sorted(epoch) == list(range(IMAGES))
    assert len({tuple(epoch) for epoch in epochs}) == 12


def test_a_batch_larger_than_the_data_repeats_them_evenly(cache):
    order = images(batches(cache, batch_size=4 * IMAGES).batch(3))
    assert sorted(order) == sorted(list(range(IMAGES)) * 4)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_captions_are_dropped_at_the_rate_asked_for(cache, rate):
    found = [k for batch in batches(cache, total=1000, caption_dropout=rate) for k in prompts(batch)]
    assert abs(found.count(0) / len(found) - rate) < 0.02
    dropped = batches(cache, caption_dropout=rate)
    assert [images(b) for b in dropped] == [images(b) for b in batches(cache)]


@pytest.mark.parametrize("first", [0, 1, 17, 40])
def test_a_resumed_run_continues_with_the_next_batch(cache, first):
    whole = list(batches(cache, caption_dropout=0.5))
    rest = list(batches(cache, caption_dropout=0.5, first=lambda: first))
    assert len(rest) == 40 - first
    assert all(same(a, b) for a, b in zip(whole[first:], rest, strict=True))


def test_where_to_begin_is_asked_when_iteration_starts(cache):
    restored = 0
    ours = batches(cache, first=lambda: restored)
    restored = 38
    assert [int(batch["number"]) for batch in ours] == [38, 39]


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_the_ranks_together_take_the_batch_of_one_process(cache, world_size):
    alone = batches(cache, caption_dropout=0.5)
    ranks = [batches(cache, caption_dropout=0.5, rank=r, world_size=world_size) for r in range(world_size)]
    for number in range(10):
        parts, expected = [rank.batch(number) for rank in ranks], alone.batch(number)
        for key in ("moments", "captions"):
            together = torch.empty_like(expected[key])
            for rank, part in enumerate(parts):
                together[rank::world_size] = part[key]
            assert torch.equal(together, expected[key])
        assert {int(part["number"]) for part in parts} == {number}


def test_a_dataloader_passes_batches_on_as_they_are(cache):
    from torch.utils.data import DataLoader

    ours = batches(cache, total=5)
    loader = DataLoader(ours, batch_size=None)
    assert len(loader) == 5
    assert all(same(a, b) for a, b in zip(loader, ours, strict=True))


@pytest.mark.parametrize("workers", [1, 3])
def test_loading_processes_keep_the_order(cache, workers):
    here = list(batches(cache, total=10, first=lambda: 2))
    loaded = list(DataLoader(batches(cache, total=10, first=lambda: 2), batch_size=None, num_workers=workers))
    assert all(same(a, b) for a, b in zip(here, loaded, strict=True))


def test_places_count_all_samples_and_are_shared_out_with_the_rows(cache):
    assert batches(cache).batch(3)["places"].tolist() == list(range(18, 24))
    shares = [batches(cache, rank=r, world_size=2).batch(3)["places"].tolist() for r in (0, 1)]
    assert shares == [[18, 20, 22], [19, 21, 23]]


def test_a_spawned_process_gets_the_batches_without_the_trainer_behind_them(cache):
    """macOS and Windows pickle the data set for each worker; a closure over a trainer cannot be pickled."""
    trainer = type("Trainer", (), {"step": 7})()
    here = batches(cache, total=10, first=lambda: trainer.step)
    there = pickle.loads(pickle.dumps(here))
    assert [int(batch["number"]) for batch in there] == [7, 8, 9]
    assert all(torch.equal(a["moments"], b["moments"]) for a, b in zip(here, there, strict=True))


@pytest.mark.parametrize(("free", "expected"), [(64, 4), (7, 0)])
def test_workers_that_shared_memory_cannot_feed_are_not_started(monkeypatch, caplog, free, expected):
    usage = namedtuple("usage", "total used free")(0, 0, free * 10**6)
    monkeypatch.setattr(module, "SHARED_MEMORY", type("Mount", (), {"is_dir": lambda self: True})())
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    with caplog.at_level(logging.WARNING):
        assert affordable_workers(4, batch_bytes=10**6) == expected
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (expected == 0)
    assert all("needs 12 MB of shared memory" in text and "has 7 MB free" in text for text in told)


def test_without_workers_or_shared_memory_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: pytest.fail("asked"))
    assert affordable_workers(0, batch_bytes=10**9) == 0
    monkeypatch.setattr(module, "SHARED_MEMORY", module.Path("/nothing/like/that"))
    assert affordable_workers(2, batch_bytes=10**9) == 2
