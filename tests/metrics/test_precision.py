"""Variance components and power: exact cases, recovery of known components, and the formula by search."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from latentpath.metrics.precision import Components, seeds_needed, variance_components


def test_a_figure_that_only_the_judge_changes():
    values = np.broadcast_to(np.array([0.7, 0.9])[None, :, None], (3, 2, 8))
    found = variance_components(values)
    assert found.judge == pytest.approx(0.02) and [found.run, found.seed] == pytest.approx([0, 0], abs=1e-12)
    assert found.residual == pytest.approx(0, abs=1e-12)


def test_components_that_were_put_in_come_out():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        parts = (
            rng.normal(size=(5, 1, 1)) * 0.3,
            rng.normal(size=(1, 4, 1)) * 0.2,
            rng.normal(size=(1, 1, 20)) * 0.4,
        )
        c = variance_components(sum(parts) + rng.normal(size=(5, 4, 20)) * 0.5)
        found.append([c.run, c.judge, c.seed, c.residual])
    np.testing.assert_allclose(np.mean(found, axis=0), [0.09, 0.04, 0.16, 0.25], rtol=0.12)


def test_more_seeds_do_not_reduce_the_variance_between_runs():
    c = Components(run=0.01, judge=0.0, seed=0.16, residual=0.0)
    assert c.variance(1, 1, 10_000) > 0.01 and c.variance(4, 1, 64) < 0.01


def test_factors_of_one_level_are_unknown_and_left_out_of_the_variance():
    found = variance_components([[[0.0, 1.0, 0.5]]])
    assert np.isnan([found.run, found.judge, found.residual]).all() and found.seed == pytest.approx(0.25)
    assert found.variance(1, 1, 3) == pytest.approx(0.25 / 3)
    with pytest.raises(ValueError, match="runs, judges, seeds"):
        variance_components(np.zeros((2, 2)))


@pytest.mark.parametrize("half_width", [0.3, 0.1, 0.02])
def test_the_seeds_needed_are_the_first_that_are_enough(half_width):
    """As many binary seeds, in the same proportion, have an interval of just this half-width."""
    needed = seeds_needed(np.arange(12)[:, None] < 3, half_width)
    assert needed is not None

    def half(seeds: int) -> float:
        tails = stats.beta.cdf, seeds / 4, seeds * 3 / 4
        low, high = (brentq(lambda q, t=t: _tail(q, *tails) - t, 0, 1) for t in (0.025, 0.975))
        return (high - low) / 2

    assert half(needed) <= half_width < half(needed - 1)


def _tail(q, cdf, k, rest):
    return (cdf(q, k, rest + 1) + cdf(q, k + 1, rest)) / 2


def test_seeds_that_agree_do_not_promise_that_two_are_enough():
    assert seeds_needed(np.ones((16, 1)), 0.05) == 29  # (1 - 0.05^(1 / 29)) / 2 = 0.049
    assert (
        seeds_needed(np.ones((16, 8)), 0.05)
    ) == 29  # nothing tells how much the cells depend on each other
    assert seeds_needed([[1.0], [np.nan]], 0.05) is None
    assert seeds_needed([[0.0], [1.0]], 1e-9) is None
    with pytest.raises(ValueError, match="above 0"):
        seeds_needed([[0.0], [1.0]], 0)


def test_more_cells_take_fewer_seeds_unless_they_say_the_same():
    rng = np.random.default_rng(0)
    one, many = rng.uniform(size=(24, 1)) < 0.7, rng.uniform(size=(24, 8)) < 0.7
    alone, same, apart = (seeds_needed(v, 0.05) or 0 for v in (one, np.tile(one, 8), many))
    assert alone == same and apart < alone / 3
