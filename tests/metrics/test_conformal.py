"""Conformal p-values: closed forms, and alarms as rare as promised where the minimum alone rang often."""

import numpy as np
import pytest
from scipy import stats

from latentpath.metrics.conformal import benjamini_hochberg, lowest_score_p


def test_one_image_a_seed_has_the_usual_conformal_p():
    held_out = [0.2, 0.4, 0.6, 0.8]
    p = lowest_score_p([0.1, 0.4, 0.5, 0.9], [1, 1, 1, 1], held_out)
    np.testing.assert_allclose(p, [1 / 5, 3 / 5, 3 / 5, 1])


def test_below_all_held_out_scores_p_is_the_chance_of_being_the_lowest():
    """Of 30 + 620 ordinary images the lowest is one of the 30 with probability 30 / 650."""
    np.testing.assert_allclose(lowest_score_p([0.0], [30], np.ones(620)), 30 / 650)


def test_p_of_ordinary_seeds_is_uniform_where_it_can_be():
    rng = np.random.default_rng(0)
    p = [lowest_score_p([rng.uniform(size=5).min()], [5], rng.uniform(size=50))[0] for _ in range(3000)]
    for alpha in (0.2, 0.5, 0.8):
        assert alpha - 0.13 < np.mean(np.array(p) <= alpha) < alpha + 0.03  # discrete: never above


def test_ordinary_images_are_not_flagged_unlike_by_the_lowest_held_out_score():
    """2,000 studies of 12 seeds with 10 images, none a copy, and 200 held-out images.

    The rule "lower than every held-out image" rings in 120 / 320 = 38 % of them, this one in at most 10 %.
    """
    rng = np.random.default_rng(1)
    seeds, held_out = rng.uniform(size=(2000, 12, 10)).min(axis=2), rng.uniform(size=(2000, 200))
    old = (seeds.min(axis=1) < held_out.min(axis=1)).mean()
    q = [
        benjamini_hochberg(lowest_score_p(low, [10] * 12, ref))
        for low, ref in zip(seeds, held_out, strict=True)
    ]
    assert old == pytest.approx(0.375, abs=0.04)
    assert np.mean(np.min(q, axis=1) <= 0.1) <= 0.1 + 0.02


def test_copies_are_named():
    rng = np.random.default_rng(2)
    lowest = np.r_[[0.01] * 4, rng.uniform(0.3, 1, size=8)]
    q = benjamini_hochberg(lowest_score_p(lowest, [10] * 12, rng.uniform(0.2, 1, size=620)))
    np.testing.assert_array_equal(q <= 0.1, [True] * 4 + [False] * 8)


def test_adjusted_values_are_those_of_scipy():
    p = np.random.default_rng(3).uniform(size=25) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p))
    assert len(benjamini_hochberg([])) == 0


def test_without_held_out_scores_there_is_no_p():
    with pytest.raises(ValueError, match="held-out"):
        lowest_score_p([0.1], [1], [])
