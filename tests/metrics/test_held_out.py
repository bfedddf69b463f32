"""AUROC, sensitivity and specificity over groups: by definition, with intervals that cover what they say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from latentpath.metrics.held_out import auroc, head_figures, psnr


def drawn(rng: np.random.Generator, groups: int, per_group: int, shift: float) -> tuple:
    """Scores of images in groups, whose label and a part of whose noise the images of a group share."""
    label = np.repeat(rng.random(groups) < 0.3, per_group)
    common = np.repeat(rng.normal(size=groups), per_group)
    scores = common + rng.normal(size=len(label)) * 0.5 + shift * label
    return scores, label.astype(float), np.repeat(np.arange(groups), per_group)


def test_values_are_those_of_sklearn_and_of_counting():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 8, 300).astype(float)  # with ties
    labels = (rng.random(300) < 0.3).astype(float)
    labels[:20] = np.nan
    found, known = head_figures(scores, scores > 4, labels), np.isfinite(labels)
    assert found["auroc"]["value"] == pytest.approx(roc_auc_score(labels[known], scores[known]))
    assert found["sensitivity"]["value"] == pytest.approx((scores[labels == 1] > 4).mean())
    assert found["specificity"]["value"] == pytest.approx((scores[labels == 0] <= 4).mean())
    assert found["positives"] + found["negatives"] == 280 == found["groups"]
    for name in ("auroc", "sensitivity", "specificity"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]


def test_without_groups_the_variance_is_delongs():
    """By definition: structural components, each image its own group."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(1, 1, 40), rng.normal(0, 1, 60)
    right = (x[:, None] > y).astype(float)
    variance = right.mean(1).var(ddof=1) / 40 + right.mean(0).var(ddof=1) / 60
    theta, low, high = auroc(x, y, np.arange(40), np.arange(40, 100))
    size = theta * (1 - theta) / variance
    ends = np.roots([1 + 1.959964**2 / size, -(2 * theta + 1.959964**2 / size), theta**2])  # Wilson's
    assert [low, high] == pytest.approx(sorted(ends), abs=1e-6)


@pytest.mark.parametrize("per_group", [1, 4])
def test_intervals_cover(per_group: int):
    """Ninety-five in a hundred; those that ignore the groups would cover far less."""
    rng = np.random.default_rng(2)
    truth = roc_auc_score(*reversed(drawn(rng, 40_000, 1, 1.5)[:2]))
    covered, ignoring = 0, 0
    for _ in range(300):
        scores, labels, groups = drawn(rng, 60, per_group, 1.5)
        one = head_figures(scores, scores > 0, labels, groups)["auroc"]
        covered += one["low"] <= truth <= one["high"]
        other = head_figures(scores, scores > 0, labels)["auroc"]
        ignoring += other["low"] <= truth <= other["high"]
    assert 0.9 <= covered / 300 <= 0.99
    if per_group > 1:
        assert ignoring < 0.85 * 300


def test_copies_of_images_within_their_groups_change_nothing():
    rng = np.random.default_rng(3)
    scores, labels, groups = drawn(rng, 50, 1, 1.0)
    once = head_figures(scores, scores > 0, labels, groups)
    thrice = head_figures(*(np.repeat(x, 3) for x in (scores, scores > 0, labels)), np.repeat(groups, 3))
    for name in ("auroc", "sensitivity", "specificity"):
        assert once[name] == pytest.approx(thrice[name])


def test_what_is_perfect_is_not_certain():
    labels = np.array([1.0] * 5 + [0.0] * 50)
    found = head_figures(labels, labels, labels)
    for name in ("auroc", "sensitivity"):
        assert found[name]["value"] == 1 and 0.3 < found[name]["low"] < 0.75 and found[name]["high"] == 1


def test_what_is_undefined_is_none():
    found = head_figures([0.2, 0.4], [0, 0], [0, 0])
    assert found["auroc"] == found["sensitivity"] == {"value": None, "low": None, "high": None}
    assert found["specificity"]["value"] == 1
    json.dumps(found, allow_nan=False)
    assert head_figures([], [], [])["specificity"]["value"] is None


def test_psnr():
    images = np.zeros((2, 3, 4, 4))
    assert psnr(images, images + 0.2) == pytest.approx([20, 20])
    assert np.isinf(psnr(images, images)).all()
