"""Selectivity: closed forms, zero whatever the heads' scales, and the exact test against enumeration."""

from itertools import permutations, product
from math import log2

import numpy as np
import pytest

from latentpath.metrics.cfrt import cfrt_released
from latentpath.metrics.selectivity import matches, selectivity


def _scores(most):
    """Scores of S seeds in which head most[s][i] moves most under the edit toward i."""
    seeds, count = np.shape(most)
    edited = np.full((count, seeds, 2, count), 0.1)
    for s, i in product(range(seeds), range(count)):
        edited[i, s, :, most[s][i]] = 0.9
    return np.zeros((seeds, count)), edited


def test_every_edit_that_moves_its_own_head_is_perfectly_selective():
    found = selectivity(*_scores([[0, 1, 2]] * 4))
    np.testing.assert_array_equal(found.confusion, np.eye(3))
    np.testing.assert_array_equal(found.by_attribute, 1)
    np.testing.assert_array_equal(found.null, 0)
    assert found.mean == 1 and found.n == 4
    np.testing.assert_allclose(found.mean_p, (1 / 6) ** 4)  # one order of six in each of four seeds
    np.testing.assert_allclose(found.p, (1 / 3) ** 4)
    assert found.bits == pytest.approx(log2(3) - 4 / (24 * np.log(2)))


def test_a_head_that_always_moves_most_is_not_selective_though_its_released_cfrt_is_1():
    neutral, edited = _scores([[1, 1]] * 6)
    assert cfrt_released(neutral, edited, 1).cfrt.value == 1
    found = selectivity(neutral, edited)
    np.testing.assert_array_equal(found.by_attribute, 0)
    np.testing.assert_array_equal(found.null, [0, 1])
    assert (found.mean, found.mean_p, found.bits) == (0, 1, 0)


def test_chest_like_heads_of_unequal_scale_have_no_selectivity():
    """One head moves four times as far under both edits alike: CFRT 0.75 and 0.25, selectivity near 0."""
    rng = np.random.default_rng(0)
    change = rng.normal(size=(2, 4000, 1, 2)) + np.array([0.477, -0.477])
    found = selectivity(np.zeros((4000, 2)), change)
    np.testing.assert_allclose(np.diag(found.confusion), [0.75, 0.25], atol=0.02)
    assert abs(found.mean) < 0.02 and found.mean_p > 0.05


def test_the_diagonal_is_the_released_cfrt():
    rng = np.random.default_rng(1)
    neutral, edited = rng.uniform(size=(9, 3)), rng.uniform(size=(3, 9, 2, 3))
    released = [cfrt_released(neutral, edited, a).cfrt.value for a in range(3)]
    np.testing.assert_allclose(np.diag(selectivity(neutral, edited).confusion), released)


def test_the_test_is_the_one_by_enumeration():
    """All 6^3 ways of exchanging the labels of three edits in three seeds."""
    rng = np.random.default_rng(2)
    neutral, edited = np.zeros((3, 3)), rng.normal(size=(3, 3, 1, 3)) + 0.8 * np.eye(3)[:, None, None]
    found = selectivity(neutral, edited)
    means, first = [], []
    for orders in product(permutations(range(3)), repeat=3):
        exchanged = np.stack([edited[list(order), s] for s, order in enumerate(orders)], axis=1)
        again = selectivity(neutral, exchanged)
        means.append(again.mean)
        first.append(again.by_attribute[0])
    assert found.mean_p == pytest.approx(np.mean(np.array(means) >= found.mean - 1e-12))
    assert found.p[0] == pytest.approx(np.mean(np.array(first) >= found.by_attribute[0] - 1e-12))


def test_matches_of_distinct_cards_are_the_fixed_points_of_a_permutation():
    np.testing.assert_allclose(matches([1, 1, 1]), [2 / 6, 3 / 6, 0, 1 / 6])
    np.testing.assert_allclose(matches([2, 0]), [0, 1, 0])
    np.testing.assert_allclose(matches([0, 0, 0]), [1, 0, 0, 0])
    assert matches([1] * 14).sum() == pytest.approx(1)


def test_ties_move_no_head_most_and_missing_seeds_are_left_out():
    neutral, edited = _scores([[0, 1], [0, 1], [0, 1]])
    edited[0, 0] = 0.5  # both heads alike
    edited[1, 1, 0, 0] = np.nan
    found = selectivity(neutral, edited)
    assert found.n == 2
    np.testing.assert_array_equal(found.confusion, [[0.5, 0], [0, 1]])
    np.testing.assert_array_equal(found.per_seed, [[0, 1], [np.nan, np.nan], [1, 1]])
    nothing = selectivity(neutral, np.full_like(edited, np.nan))
    assert nothing.n == 0 and np.isnan(nothing.mean) and np.isnan(nothing.p).all()


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="two or more"):
        selectivity(np.zeros((3, 1)), np.zeros((1, 3, 2, 1)))
    with pytest.raises(ValueError, match=r"\(S, A\)"):
        selectivity(np.zeros((3, 2)), np.zeros((2, 4, 1, 2)))
