"""The order of an epoch is a function of (seed, epoch), and ranks split it without overlap."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import torch

from latentpath.training.labelled_images import EpochOrder, LabelledImages, label_tensors


def test_order_is_a_function_of_seed_and_epoch():
    first = list(EpochOrder(20, seed=1, epoch=lambda: 3))
    assert first == list(EpochOrder(20, seed=1, epoch=lambda: 3)) and sorted(first) == list(range(20))
    assert first != list(EpochOrder(20, seed=1, epoch=lambda: 4))
    assert first != list(EpochOrder(20, seed=2, epoch=lambda: 3))


def test_ranks_take_disjoint_shares_of_one_length():
    shares = [EpochOrder(11, seed=0, epoch=lambda: 0, rank=rank, world_size=3) for rank in range(3)]
    taken = [list(share) for share in shares]
    assert [len(share) for share in shares] == [len(rows) for rows in taken] == [3, 3, 3]
    assert len({row for rows in taken for row in rows}) == 9


def test_a_list_of_positions_gives_a_batch():
    rows = pd.DataFrame({"cls": ["b", "a", "b"], "x": [1.0, np.nan, 0.0]})
    labels = label_tensors(rows, ("a", "b"), ("x",))
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    data = LabelledImages(images, np.array([0, 1, 3]), *labels, np.array(["p", "p", "q"]))
    batch = data[[2, 0]]
    assert batch["images"].flatten().tolist() == [3, 0]
    assert batch["class_labels"].tolist() == [1, 1]
    assert batch["attribute_labels"].flatten().tolist() == [0.0, 1.0]
    assert torch.isnan(data[[1]]["attribute_labels"]).all()


def test_a_spawned_process_maps_the_pixels_and_copies_none(tmp_path):
    np.save(tmp_path / "images.npy", np.arange(4 * 3 * 32 * 32, dtype=np.uint8).reshape(4, 3, 32, 32))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    data = LabelledImages(images, np.arange(4), torch.zeros(4), torch.zeros(4, 1), np.array(["p"] * 4))
    pickled = pickle.dumps(data)
    assert len(pickled) < 3000 < images.nbytes
    again = pickle.loads(pickled)
    assert isinstance(again.images, np.memmap)
    assert torch.equal(again[[3, 1]]["images"], data[[3, 1]]["images"])
