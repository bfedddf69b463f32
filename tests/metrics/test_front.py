"""Fronts in closed form: the cheapest mixture, what each seed says of it, the area, and cells together."""

import numpy as np
import pytest
from scipy import stats

from latentpath.metrics.front import (
    area,
    best_of_intervals,
    cheapest,
    edited_share,
    effect_within,
    leak_at,
    mean_over_cells,
    on_front,
    unit_over_cells,
)
from latentpath.metrics.intervals import mean_intervals


def test_between_two_settings_the_front_is_the_line():
    best = cheapest([0.4, 0.8], [0.1, 0.5], 0.6)
    np.testing.assert_allclose(best.weights, [0.5, 0.5])
    assert best.cost == pytest.approx(0.3) and best.price == pytest.approx(1.0)


def test_from_the_neutral_image_a_part_of_the_seeds_is_edited():
    best = cheapest([0.8], [0.2], 0.6)
    np.testing.assert_allclose(best.weights, [0.75])
    assert best.cost == pytest.approx(0.15) and best.price == pytest.approx(0.25)


def test_a_setting_that_reaches_more_for_less_is_taken_alone():
    best = cheapest([0.5, 0.9], [0.3, 0.1], 0.5)
    assert best.cost == pytest.approx(0.1 * 0.5 / 0.9)  # mixed with the neutral image
    best = cheapest([0.5, 0.9], [0.3, -0.1], 0.5)
    assert best.cost == pytest.approx(-0.1) and best.price == 0  # below the placebo: all seeds


def test_a_level_that_no_setting_reaches_is_not_reached():
    assert cheapest([0.5, 0.7], [0.0, 0.0], 0.8).cost == np.inf
    assert np.isnan(leak_at([[1, 0], [0, 0]], [[0, 0], [0, 0]], 0.8)).all()


def test_the_front_is_no_worse_than_any_mixture_and_rises_with_effect():
    rng = np.random.default_rng(0)
    effect, leak = rng.random(6), rng.random(6)
    shares = rng.dirichlet(np.ones(7), size=20_000)[:, :6]
    for level in (0.2, 0.4, 0.6):
        reach = shares @ effect >= level
        assert cheapest(effect, leak, level).cost <= (shares[reach] @ leak).min() + 1e-12
    costs = [cheapest(effect, leak, level).cost for level in np.linspace(0, effect.max(), 30)]
    assert (np.diff(costs) >= -1e-12).all() and costs[0] == 0


def test_a_seed_contributes_its_leak_and_the_price_of_missing_effect():
    effect = np.array([[0, 1], [1, 1], [0, 1], [1, 1]], float)  # means 0.5 and 1
    leak = np.array([[0, 1], [0, 1], [0, 0], [0.4, 1]], float)  # means 0.1 and 0.75
    said = leak_at(effect, leak, 0.75)
    price = (0.75 - 0.1) / 0.5
    np.testing.assert_allclose(said, leak.mean(axis=1) + price * (0.75 - effect.mean(axis=1)))
    assert said.mean() == pytest.approx(cheapest([0.5, 1], [0.1, 0.75], 0.75).cost)


def test_what_seeds_say_is_the_derivative_of_the_leak_by_their_weights():
    rng = np.random.default_rng(1)
    effect, leak = (rng.random((9, 5)) < 0.6).astype(float), rng.random((9, 5))
    said, step = leak_at(effect, leak, 0.45), 1e-6
    for seed in range(9):
        weights = np.full(9, (1 - step) / 9)
        weights[seed] += step
        moved = cheapest(weights @ effect, weights @ leak, 0.45).cost
        assert (moved - said.mean()) / step == pytest.approx(said[seed] - said.mean(), abs=1e-4)


def test_a_seed_without_scores_says_nothing_and_moves_nothing():
    effect, leak = np.array([[1.0], [0], [1]]), np.array([[0.2], [0], [0.4]])
    more = [np.vstack([x, [[np.nan]]]) for x in (effect, leak)]
    np.testing.assert_array_equal(leak_at(*more, 0.5), [*leak_at(effect, leak, 0.5), np.nan])


def test_the_area_of_one_setting():
    """Effect 0.8 at leak 0.1: a line up to there, then flat, up to a leak of 0.2."""
    effect, leak = np.full((2, 1), 0.8), np.full((2, 1), 0.1)
    assert area(effect, leak).mean() == pytest.approx(0.8 * 0.5 / 2 + 0.8 * 0.5, abs=1e-9)
    assert area(effect, np.zeros((2, 1))).mean() == pytest.approx(0.8)
    assert effect_within(effect, leak, 0.05).mean() == pytest.approx(0.4)


def test_the_corners_of_the_front():
    assert on_front([0.4, 0.5, 0.8, 0.8, 0.2], [0.1, 0.3, 0.4, 0.5, 0.2]) == [0, 2]
    assert on_front([0.0], [0.0]) == []
    assert on_front([0.3, 0.6], [0.0, 0.0]) == [1]


def test_cells_with_other_seeds_count_equally():
    values = np.full((4, 2, 1), np.nan)
    values[:4, 0, 0] = [1, 1, 0, 0]  # mean 0.5
    values[:1, 1, 0] = [1]  # mean 1
    combined = mean_over_cells(values)
    assert combined.mean() == pytest.approx(0.75)
    values[3] = np.nan
    assert np.isnan(mean_over_cells(values)[3]).all()
    assert np.nanmean(mean_over_cells(values)) == pytest.approx((2 / 3 + 1) / 2)


def test_one_cell_is_itself():
    values = np.array([[[1.0, 0]], [[0, 0]], [[np.nan, 1]]])
    np.testing.assert_array_equal(mean_over_cells(values), [[1, 0], [0, 0], [np.nan, np.nan]])


def test_the_mixture_edits_a_share_of_the_seeds():
    effect, leak = np.array([[1.0, 1], [0, 1]]), np.array([[0.2, 1], [0, 1]])  # means 0.5 and 1, 0.1 and 1
    assert edited_share(effect, leak, 0.25) == pytest.approx(0.5)  # the rest are neutral images
    assert edited_share(effect, leak, 0.75) == pytest.approx(1.0)
    assert edited_share(effect, leak, 1.1) == 0.0


def test_only_the_end_behind_which_the_truth_hides_is_moved_by_the_number_of_settings():
    values = np.array([[1.0], [2], [3], [4]])  # no skewness
    error = np.sqrt(5 / 3) / 2
    low, high = best_of_intervals(values, 5)
    assert low.item() == pytest.approx(2.5 - error * stats.t.ppf(0.975, 3))
    assert high.item() == pytest.approx(2.5 + error * stats.t.ppf(1 - 0.025 / 5, 3))
    np.testing.assert_allclose(best_of_intervals(-values, 5, highest=True), [-high, -low])
    assert best_of_intervals(values, 5, within=(1, 4)) == (1, 4)


def test_of_one_setting_it_is_the_interval_of_a_mean():
    values = np.random.default_rng(0).exponential(size=(12, 3))
    np.testing.assert_array_equal(best_of_intervals(values, 1), mean_intervals(values))


def test_seeds_that_agree_do_not_promise_certainty():
    low, high = best_of_intervals(np.zeros((8, 1)), 4, unit=0.25, within=(0, 1))
    assert low.item() == 0 and high.item() == pytest.approx(
        stats.norm.ppf(1 - 0.025 / 4) * 0.25 / np.sqrt(40)
    )
    assert np.isnan(best_of_intervals([[0.3], [np.nan]], 4)).all()


def test_the_interval_of_the_best_of_many_contains_the_truth():
    """Twelve settings leak equally; the interval of a mean does not know that the least was chosen."""
    rng, covered = np.random.default_rng(0), []
    effect, truth = np.ones((24, 12)), 0.2 * 0.5  # half of the seeds are edited
    for _ in range(300):
        leak = rng.binomial(4, 0.2, size=(24, 12)) / 4
        said = leak_at(effect, leak, 0.5)[:, None]
        unit = edited_share(effect, leak, 0.5) / 4
        ends = best_of_intervals(said, 12, unit=unit, within=(0, 1)), mean_intervals(said)
        covered.append([low.item() <= truth <= high.item() for low, high in ends])
    honest, alone = np.mean(covered, axis=0)
    assert honest >= 0.93 and alone < 0.8


def test_a_value_of_one_cell_moves_the_mean_over_cells_by_its_unit():
    values = np.zeros((6, 2, 1))
    assert unit_over_cells(values[:, :1]) == 1 and unit_over_cells(values) == 0.5
    values[2:, 1] = np.nan  # two seeds in the second cell: 6 / (6 * 2) and 6 / (2 * 2)
    moved = values.copy()
    moved[0] = 1
    both = (mean_over_cells(moved) - mean_over_cells(values)).sum() / 6  # of the mean, by one seed in both
    assert both == pytest.approx(2 * unit_over_cells(values) / 6) and unit_over_cells(values) == 1


@pytest.mark.parametrize("effect, leak", [(np.zeros((2, 1)), np.zeros((3, 1))), (np.zeros(2), np.zeros(2))])
def test_shapes_that_differ_are_refused(effect, leak):
    with pytest.raises(ValueError, match="same seeds and settings"):
        leak_at(effect, leak, 0.5)
