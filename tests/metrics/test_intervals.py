"""Intervals: known distributions, missing values, certainty that is none, and coverage by simulation."""

from types import SimpleNamespace

import numpy as np
import pytest

from latentpath.metrics import bootstrap_intervals


def test_width_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(3, 2, size=(400, 1))
    low, high = bootstrap_intervals(values, resamples=4000)
    half = 1.96 * values.std() / 20
    np.testing.assert_allclose([low[0], high[0]], values.mean() + np.array([-half, half]), atol=0.03)


def test_coverage_of_rates_whose_positions_depend_on_their_seed():
    """400 studies of 100 seeds and 3 positions, all of a seed alike: 95 % hold the true rate of 0.7. Had the
    300 images been resampled as if independent, the intervals would hold it far too seldom."""
    rng = np.random.default_rng(1)
    seeds = (rng.uniform(size=(100, 400)) < 0.7).astype(float)
    low, high = bootstrap_intervals(seeds, resamples=1000)
    assert 0.91 <= np.mean((low <= 0.7) & (high >= 0.7)) <= 0.98
    low, high = bootstrap_intervals(np.repeat(seeds, 3, axis=0), resamples=1000)
    assert np.mean((low <= 0.7) & (high >= 0.7)) < 0.85


def test_missing_values_are_left_out():
    values = np.random.default_rng(2).uniform(size=(200, 1))
    holes = np.vstack([values, np.full((50, 1), np.nan)])
    full, gaps = bootstrap_intervals(values), bootstrap_intervals(holes)
    np.testing.assert_allclose(full, gaps, atol=0.01)


def test_weights_make_it_the_mean_over_samples():
    """One seed of nine samples at 1, nine seeds of one sample at 0: half the samples, a tenth of seeds."""
    values, weights = np.array([[1.0]] + [[0.0]] * 9), np.array([[9.0]] + [[1.0]] * 9)
    assert bootstrap_intervals(values, weights=weights).high[0] > 0.75
    assert bootstrap_intervals(values).high[0] <= 0.4
    np.testing.assert_array_equal(
        bootstrap_intervals(values, weights=np.ones((10, 1))), bootstrap_intervals(values)
    )


def test_fewer_than_two_seeds_have_no_interval():
    low, high = bootstrap_intervals([[0.3, np.nan, 1.0], [np.nan, np.nan, 1.0]])
    np.testing.assert_array_equal(low, [np.nan, np.nan, 1])
    np.testing.assert_array_equal(high, [np.nan, np.nan, 1])
    assert np.isnan(bootstrap_intervals(np.empty((0, 2)))).all()


def test_seeds_that_all_agree_are_not_certainty():
    """16 of 16: Clopper-Pearson gives 0.025^(1/16) = 0.794; missing seeds do not count."""
    ones = np.ones((16, 1))
    values = np.hstack([ones, 0 * ones, 0.5 * ones])
    low, high = bootstrap_intervals(np.vstack([values, np.full((4, 3), np.nan)]), rates=True)
    np.testing.assert_allclose(low, [0.025 ** (1 / 16), 0, 0.5])
    np.testing.assert_allclose(high, [1, 1 - 0.025 ** (1 / 16), 0.5])
    np.testing.assert_array_equal(bootstrap_intervals(values).low, [1, 0, 0.5])


def test_same_arguments_same_intervals_and_each_column_alone():
    values = np.random.default_rng(3).uniform(size=(30, 5))
    np.testing.assert_array_equal(bootstrap_intervals(values), bootstrap_intervals(values))
    np.testing.assert_allclose(
        np.array(bootstrap_intervals(values))[:, [2]], bootstrap_intervals(values[:, [2]])
    )
    assert (bootstrap_intervals(values).low != bootstrap_intervals(values, seed=1).low).any()
    wide, narrow = bootstrap_intervals(values, level=0.99), bootstrap_intervals(values, level=0.5)
    assert (wide.low < narrow.low).all() and (wide.high > narrow.high).all()


def test_all_figures_share_one_draw_of_the_resamples_and_one_quantile(monkeypatch):
    """Therefore 300 figures of 2500 seeds take seconds: nothing is done figure by figure."""
    counts = {"draws": 0, "quantiles": 0}
    default_rng, quantile = np.random.default_rng, np.quantile

    def integers(*arguments, **options):
        counts["draws"] += 1
        return generator.integers(*arguments, **options)

    def quantiles(*arguments, **options):
        counts["quantiles"] += 1
        return quantile(*arguments, **options)

    generator = default_rng(0)
    values = default_rng(4).uniform(size=(25, 300))
    expected = bootstrap_intervals(values)
    monkeypatch.setattr(np.random, "default_rng", lambda seed: SimpleNamespace(integers=integers))
    monkeypatch.setattr(np, "quantile", quantiles)
    monkeypatch.setattr(np, "nanquantile", lambda *_, **__: pytest.fail("goes figure by figure"))
    np.testing.assert_array_equal(bootstrap_intervals(values), expected)
    assert counts == {"draws": 1, "quantiles": 1}


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"\(S, F\)"):
        bootstrap_intervals([1.0, 2.0])
    with pytest.raises(ValueError, match="weights"):
        bootstrap_intervals([[1.0], [2.0]], weights=[[1.0], [-1.0]])
