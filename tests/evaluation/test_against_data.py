"""Generated images against the data: a planted copy comes first, features cost no pass of their own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from latentpath.data.latent_cache import LatentCache
from latentpath.evaluation.against_data import copy_table, fidelity_table
from latentpath.evaluation.features import features_of, noting_features
from latentpath.tasks.classify import Classifier
from latentpath.tasks.networks import build_network

SCALE = 0.5
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def judge() -> Classifier:
    network = build_network("efficientnet_tiny", num_outputs=4, pretrained=False)
    return Classifier(
        network, arch="efficientnet_tiny", image_size=32, classes=["a", "b"], attributes=["x", "y"]
    ).eval()


def test_features_are_noted_in_the_pass_that_judges(judge):
    images = torch.rand(5, 3, 32, 32) * 2 - 1
    calls = []
    handle = judge.network.register_forward_pre_hook(lambda *_: calls.append(1))
    with noting_features(judge.network) as seen:
        _, probabilities = judge.predict(images, batch_size=2)
    handle.remove()
    assert len(calls) == 3  # batches of 2, 2 and 1
    features = torch.cat(seen)
    assert features.shape == (5, judge.network.num_features)
    # They are what the last layer decides on.
    logits = judge.network.get_classifier()(features) / judge.temperature
    torch.testing.assert_close(logits[:, 2:].sigmoid(), probabilities, atol=1e-5, rtol=0)
    torch.testing.assert_close(features_of(judge, images), features, atol=1e-5, rtol=1e-5)
    judge.predict(images)
    assert len(seen) == 3  # nothing is noted outside


def test_a_planted_copy_is_found_first_and_its_image_named():
    means = RNG.normal(size=(80, 4, 4, 4)).astype(np.float16)
    cache = LatentCache(
        moments=np.concatenate([means, np.full_like(means, -5)], axis=1),
        prompt_embeds=torch.zeros(1, 1, 1),
        caption_of=np.zeros(80, np.int64),
    )
    latents = RNG.normal(scale=SCALE, size=(10, 4, 4, 4)).astype(np.float32)
    latents[7] = SCALE * (means[42] + 0.02 * RNG.normal(size=means[42].shape))
    index = pd.DataFrame(
        {
            "class": "a",
            "seed": range(10),
            "method": "swap",
            "attribute": "x",
            "swap_step": 3,
            "row": range(10),
        }
    )
    table = copy_table(index, torch.from_numpy(latents), cache, SCALE)
    assert table.loc[0, ["seed", "generated", "training", "flagged"]].tolist() == [7, 7, 42, True]
    assert not table.loc[1:, "flagged"].any()


def test_each_kind_of_image_is_held_against_its_own_class():
    features = RNG.normal(size=(40, 3)).astype(np.float32)
    generated = pd.DataFrame({"class": ["a"] * 20 + ["b"] * 20, "attribute": (["", "x"] * 20)})
    real = {"a": features[:20], "b": features[:20] + 10}
    table = fidelity_table(generated, features, real, ["a", "b"]).set_index(["class", "images"])
    assert table.index.tolist() == [("a", "neutral"), ("a", "x"), ("b", "neutral"), ("b", "x")]
    assert table.loc[("a", "neutral"), "generated"] == 10
    assert table["fid"]["a"].max() < 10 < 100 < table["fid"]["b"].min()


def test_a_class_without_held_out_images_has_no_figure():
    generated = pd.DataFrame({"class": ["a"] * 9, "attribute": [""] * 9})
    table = fidelity_table(generated, RNG.normal(size=(9, 3)).astype(np.float32), {}, ["a"])
    assert np.isnan(table.loc[0, "fid"])
    assert table.loc[0, "real"] == 0
