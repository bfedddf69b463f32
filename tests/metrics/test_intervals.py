"""Intervals over seeds: closed forms, both ends rise with the rate, and coverage by simulation."""

from itertools import pairwise, product

import numpy as np
import pytest
from scipy import stats

from latentpath.metrics.intervals import (
    mean_intervals,
    overall_mean_interval,
    overall_rate_interval,
    rate_intervals,
)


def _of(*seeds):
    low, high = rate_intervals(np.array(seeds, dtype=float)[:, None])
    return float(low[0]), float(high[0])


def test_seeds_that_all_agree_are_worth_as_many_samples():
    """Mid-p: half the chance of 16 of 16 is 0.025 at the lower end."""
    np.testing.assert_allclose(_of(*[1] * 16), [0.05 ** (1 / 16), 1])
    np.testing.assert_allclose(_of(*[0] * 16), [0, 1 - 0.05 ** (1 / 16)])


@pytest.mark.parametrize("k", [1, 5, 15])
def test_binary_seeds_have_the_binomial_tails_of_mid_p_whatever_their_positions(k):
    low, high = _of(*[1] * k, *[0] * (16 - k))
    np.testing.assert_allclose(stats.binom.sf(k, 16, low) + stats.binom.pmf(k, 16, low) / 2, 0.025)
    np.testing.assert_allclose(stats.binom.cdf(k - 1, 16, high) + stats.binom.pmf(k, 16, high) / 2, 0.025)


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
    # With few seeds the pseudo-seeds weigh more; near 1 only the lower end can miss.
    assert 0.93 <= coverage <= (0.998 if rate > 0.85 else {8: 0.993, 16: 0.983, 32: 0.975}[seeds])


@pytest.mark.parametrize(("seeds", "most"), [(8, 0.986), (16, 0.983), (32, 0.98)])
def test_coverage_of_binary_rates_is_within_what_a_count_allows(seeds, most):
    """Exact, by the binomial distribution: at every rate, and on average over the rates near one.

    A count takes few values, so that coverage jumps with the rate (Brown, Cai and DasGupta 2001). Near 1 no
    interval that ends at 1 misses above: 0.975 is then the least that equal tails can give on average.
    """
    rates, k = np.linspace(0.5, 0.999, 500), np.arange(seeds + 1)
    low, high = rate_intervals((np.arange(seeds)[:, None] < k).astype(float))  # all counts at once
    held = (low <= rates[:, None]) & (rates[:, None] <= high)
    coverage = (stats.binom.pmf(k, seeds, rates[:, None]) * held).sum(axis=1)
    assert coverage.min() > 0.92
    for p in (0.6, 0.7, 0.8, 0.9, 0.95):
        near = coverage[np.abs(rates - p) <= 0.05].mean()
        assert 0.94 <= near <= (most if p > 0.75 else 0.97), p


@pytest.mark.parametrize("seeds", [8, 16, 32])
def test_coverage_of_differences_of_two_runs(seeds):
    """The same seeds in two runs, whose rates differ by 0.1: most seeds have no difference."""
    rng = np.random.default_rng(seeds)
    noise = 0.8 * rng.normal(size=(seeds, 4000, 1)) + 0.6 * rng.normal(size=(seeds, 4000, 2))
    shown = stats.norm.cdf(noise) < [0.6, 0.7]
    low, high = mean_intervals(shown[..., 1].astype(float) - shown[..., 0], unit=1, within=(-1, 1))
    assert 0.94 <= np.mean((low <= 0.1) & (high >= 0.1)) <= {8: 0.99, 16: 0.97, 32: 0.97}[seeds]


@pytest.mark.parametrize("seeds", [8, 16, 32])
def test_coverage_of_means_of_skewed_and_of_even_values(seeds):
    """Student's interval covers the mean of eight exponential values in 0.90 of studies."""
    rng = np.random.default_rng(seeds)
    for values, mean in ((rng.exponential(size=(seeds, 8000)), 1), (rng.normal(size=(seeds, 8000)), 0)):
        low, high = mean_intervals(values)
        assert 0.92 <= np.mean((low <= mean) & (mean <= high)) <= 0.97


def test_coverage_of_a_mean_over_cells_that_share_their_seeds():
    rng = np.random.default_rng(0)
    rates, studies = np.array([0.6, 0.7, 0.8, 0.9, 0.95, 0.99]), 600
    noise = 0.6 * rng.normal(size=(studies, 16, 1)) + 0.8 * rng.normal(size=(studies, 16, 6))
    held = 0
    for values in (stats.norm.cdf(noise) < rates).astype(float):
        low, high = overall_rate_interval(values)
        held += low <= rates.mean() <= high
    assert 0.93 <= held / studies <= 0.98


def test_a_mean_over_one_cell_is_that_cell_and_over_equal_cells_no_more_than_it():
    values = np.array([[1.0], [1], [0], [1], [0.5], [1]])
    np.testing.assert_allclose(overall_rate_interval(values), np.ravel(rate_intervals(values)))
    ones = np.ones((16, 4))
    np.testing.assert_allclose(overall_rate_interval(ones), np.ravel(rate_intervals(ones[:, :1])))
    assert np.isnan(overall_rate_interval(np.full((4, 2), np.nan))).all()


def test_means_of_even_values_have_the_interval_of_student():
    values = np.random.default_rng(1).normal(size=(12, 2))
    values[6:] = -values[:6]  # no skewness
    values[[0, 6], 1] = np.nan
    low, high = mean_intervals(values)
    for f, rows in enumerate([values[:, 0], np.delete(values[:, 1], [0, 6])]):
        expected = stats.ttest_1samp(rows, 0).confidence_interval(0.95)
        np.testing.assert_allclose([low[f], high[f]], expected)


def test_a_long_tail_lengthens_the_interval_on_its_side_only():
    values = np.array([[0.1, 0.2, 0.2, 0.3, 0.4, 3.0]]).T
    low, high = mean_intervals(values)
    expected = stats.ttest_1samp(values[:, 0], 0).confidence_interval(0.95)
    t, skewness = stats.t.ppf(0.975, 5), stats.skew(values[:, 0])
    longer = stats.sem(values[:, 0]) * skewness * (1 + 2 * t**2) / (6 * np.sqrt(6))
    np.testing.assert_allclose([low[0], high[0]], [expected.low, expected.high + longer])
    turned = mean_intervals(-values)
    np.testing.assert_allclose([-turned.high[0], -turned.low[0]], [low[0], high[0]])


def test_seeds_that_agree_are_not_certain_with_a_unit():
    """As near as a rate's: eight seeds without a difference, and eight without an event."""
    low, high = mean_intervals(np.zeros((8, 1)), unit=1)
    assert low[0] == -high[0] and high[0] == pytest.approx(_of(*[0] * 8)[1], abs=0.01)
    np.testing.assert_allclose(mean_intervals(np.ones((8, 1)), unit=1, within=(-1, 1)).high, 1)
    np.testing.assert_allclose(mean_intervals(np.zeros((8, 1)), unit=0.2).high, high / 5)


def test_weights_make_it_the_mean_over_samples_and_missing_seeds_do_not_count():
    """A seed of nine samples at 1 and nine of one at 0: half the samples, worth 18^2 / (81 + 9) seeds."""
    values, weights = np.array([[1.0]] + [[0.0]] * 9), np.array([[9.0]] + [[1.0]] * 9)
    low, high = rate_intervals(values, weights)
    n, k = 3.6, 1.8
    tail = stats.beta.cdf(low[0], k, n - k + 1) + stats.beta.cdf(low[0], k + 1, n - k)
    np.testing.assert_allclose([tail / 2, low[0] + high[0]], [0.025, 1])
    with_holes = np.vstack([values, np.full((5, 1), np.nan)])
    np.testing.assert_allclose(rate_intervals(with_holes), rate_intervals(values))


def test_fewer_than_two_seeds_have_no_interval():
    assert np.isnan(rate_intervals([[0.3, np.nan], [np.nan, np.nan]])).all()
    assert np.isnan(mean_intervals([[0.3], [np.nan]])).all()
    assert np.isnan(rate_intervals(np.empty((0, 2)))).all()


def test_a_mean_over_cells_of_differences_keeps_the_seeds_together():
    values = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], size=(16, 1), p=[0.1, 0.3, 0.6])
    one = np.ravel(mean_intervals(values, unit=1))
    np.testing.assert_allclose(overall_mean_interval(values, unit=1), one)
    np.testing.assert_allclose(overall_mean_interval(np.tile(values, 3), unit=1), one)
    agreed = overall_mean_interval(np.zeros((16, 5)), unit=1)
    np.testing.assert_allclose(agreed, np.ravel(mean_intervals(np.zeros((16, 1)), unit=1)))
    assert np.isnan(overall_mean_interval(np.full((4, 2), np.nan), unit=1)).all()


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"\(S, F\)"):
        rate_intervals([1.0, 2.0])
    with pytest.raises(ValueError, match="weights"):
        rate_intervals([[1.0], [0.0]], [[1.0], [-1.0]])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        rate_intervals([[1.0], [2.0]])
