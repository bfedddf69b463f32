"""Intervals over seeds: closed forms, both ends rise with the rate, and coverage by simulation."""

from itertools import pairwise, product

import numpy as np
import pytest
from scipy import stats

from latentpath.metrics.intervals import (
    difference_intervals,
    mean_difference_interval,
    mean_intervals,
    mean_rate_interval,
    rate_intervals,
)


def _of(*seeds):
    low, high = rate_intervals(np.array(seeds, dtype=float)[:, None])
    return float(low[0]), float(high[0])


def test_seeds_that_all_agree_are_worth_as_many_samples():
    """Wilson with t of 15 degrees: 16 of 16 is [16 / (16 + t^2), 1]."""
    t = stats.t.ppf(0.975, 15)
    np.testing.assert_allclose(_of(*[1] * 16), [16 / (16 + t**2), 1])
    np.testing.assert_allclose(_of(*[0] * 16), [0, t**2 / (16 + t**2)])


def test_binary_seeds_give_the_wilson_interval_whatever_their_positions():
    k, n = 5, 16
    z = stats.t.ppf(0.975, n - 1)
    wilson = stats.binomtest(k, n).proportion_ci(2 * stats.norm.cdf(z) - 1, method="wilson")
    np.testing.assert_allclose(_of(*[1] * k, *[0] * (n - k)), wilson)


@pytest.mark.parametrize("seeds", [8, 16, 32])
def test_a_higher_rate_has_the_higher_interval_at_both_ends(seeds):
    """15 of 16 lies below 16 of 16: the bootstrap with an exact bound had them the other way round."""
    ends = [_of(*[1] * k, *[0] * (seeds - k)) for k in range(seeds + 1)]
    assert all((a[0] < b[0] and a[1] < b[1]) or (a[0] == b[0] == 0) for a, b in pairwise(ends))


def test_one_more_sample_present_never_lowers_an_end():
    """Every way in which eight seeds can have 0, 1 or 2 of two positions."""
    counts = [c for c in product(range(9), repeat=2) if sum(c) <= 8]  # seeds with both, seeds with one
    for both, one in counts:
        here = _of(*[1] * both, *[0.5] * one, *[0] * (8 - both - one))
        for more in [(both, one + 1), (both + 1, one - 1)]:
            if more in counts and min(more) >= 0:
                there = _of(*[1] * more[0], *[0.5] * more[1], *[0] * (8 - sum(more)))
                assert there[0] >= here[0] - 1e-12 and there[1] >= here[1] - 1e-12, (both, one, more)


@pytest.mark.parametrize("rate", [0.7, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("seeds", [8, 16, 32])
def test_coverage_of_rates_of_seeds_with_three_dependent_positions(rate, seeds):
    """4,000 studies whose seeds have a rate each (beta, intraclass correlation 0.5) and three positions."""
    rng = np.random.default_rng(seeds)
    own = rng.beta(rate, 1 - rate, size=(seeds, 4000))
    low, high = rate_intervals(rng.binomial(3, own) / 3)
    coverage = np.mean((low <= rate) & (rate <= high))
    # With few seeds, or nearly all alike, the pseudo-seeds weigh more and the interval is a little too long.
    assert 0.93 <= coverage <= {8: 0.995, 16: 0.985, 32: 0.98}[seeds]


def test_coverage_of_binary_rates_is_within_what_a_count_allows():
    """Exact, by the binomial distribution. Of 8 seeds at p = 0.99 only 0.923 and 0.997 can be had."""
    for p, n in product([0.7, 0.8, 0.9, 0.95, 0.99], [8, 16, 32]):
        k = np.arange(n + 1)
        values = (np.arange(n)[:, None] < k).astype(float)  # (n, n + 1): all counts at once
        low, high = rate_intervals(values)
        coverage = stats.binom.pmf(k, n, p)[(low <= p) & (p <= high)].sum()
        assert (0.92 if (p, n) == (0.99, 8) else 0.94) <= coverage <= 0.991


def test_coverage_of_a_mean_over_cells_that_share_their_seeds():
    rng = np.random.default_rng(0)
    rates, studies = np.array([0.6, 0.7, 0.8, 0.9, 0.95, 0.99]), 600
    noise = 0.6 * rng.normal(size=(studies, 16, 1)) + 0.8 * rng.normal(size=(studies, 16, 6))
    held = 0
    for values in (stats.norm.cdf(noise) < rates).astype(float):
        low, high = mean_rate_interval(values)
        held += low <= rates.mean() <= high
    assert 0.93 <= held / studies <= 0.98


def test_a_mean_over_one_cell_is_that_cell_and_over_equal_cells_no_more_than_it():
    values = np.array([[1.0], [1], [0], [1], [0.5], [1]])
    np.testing.assert_allclose(mean_rate_interval(values), np.ravel(rate_intervals(values)))
    ones = np.ones((16, 4))
    np.testing.assert_allclose(mean_rate_interval(ones), np.ravel(rate_intervals(ones[:, :1])))
    assert np.isnan(mean_rate_interval(np.full((4, 2), np.nan))).all()


def test_means_have_the_interval_of_student():
    values = np.random.default_rng(1).normal(size=(12, 2))
    values[:4, 1] = np.nan
    low, high = mean_intervals(values)
    for f, rows in enumerate([values[:, 0], values[4:, 1]]):
        expected = stats.ttest_1samp(rows, 0).confidence_interval(0.95)
        np.testing.assert_allclose([low[f], high[f]], expected)


def test_weights_make_it_the_mean_over_samples_and_missing_seeds_do_not_count():
    """A seed of nine samples at 1 and nine of one at 0: half the samples, worth 18^2 / (81 + 9) seeds."""
    values, weights = np.array([[1.0]] + [[0.0]] * 9), np.array([[9.0]] + [[1.0]] * 9)
    low, high = rate_intervals(values, weights)
    t, n = stats.t.ppf(0.975, 9), 3.6
    half = t * np.sqrt(0.25 / n + t**2 / (4 * n**2)) / (1 + t**2 / n)
    np.testing.assert_allclose([low[0], high[0]], [0.5 - half, 0.5 + half])
    with_holes = np.vstack([values, np.full((5, 1), np.nan)])
    np.testing.assert_allclose(rate_intervals(with_holes), rate_intervals(values))


def test_fewer_than_two_seeds_have_no_interval():
    assert np.isnan(rate_intervals([[0.3, np.nan], [np.nan, np.nan]])).all()
    assert np.isnan(mean_intervals([[0.3], [np.nan]])).all()
    assert np.isnan(rate_intervals(np.empty((0, 2)))).all()


def test_differences_lie_between_minus_one_and_one():
    """Sixteen seeds that do not differ are not certainty; and a sign that turns turns the interval."""
    low, high = difference_intervals(np.zeros((16, 1)))
    assert low[0] == pytest.approx(-high[0]) and 0.05 < high[0] < 0.3
    values = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], size=(16, 2), p=[0.1, 0.3, 0.6])
    ends, turned = difference_intervals(values), difference_intervals(-values)
    np.testing.assert_allclose(ends.low, -turned.high)
    assert (ends.low < values.mean(axis=0)).all() and (values.mean(axis=0) < ends.high).all()
    np.testing.assert_allclose(mean_difference_interval(values[:, :1]), [ends.low[0], ends.high[0]])


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"\(S, F\)"):
        rate_intervals([1.0, 2.0])
    with pytest.raises(ValueError, match="weights"):
        rate_intervals([[1.0], [0.0]], [[1.0], [-1.0]])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        rate_intervals([[1.0], [2.0]])
