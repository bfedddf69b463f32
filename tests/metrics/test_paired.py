"""Paired comparison: closed forms, the exact test, few false alarms, and the power that pairing gives."""

import numpy as np
import pytest
from scipy import stats

from latentpath.metrics.paired import paired_differences, sign_flips, unpaired_differences


def test_seeds_that_all_rise_have_the_least_p_that_their_number_allows():
    p, adjusted = sign_flips(np.full((6, 1), 0.1))
    np.testing.assert_allclose([p[0], adjusted[0]], 2 / 2**6)
    p, _ = sign_flips(np.zeros((6, 1)))
    assert p[0] == 1


def test_flips_are_the_exact_test_of_scipy():
    d = np.random.default_rng(0).normal(0.5, 1, size=(9, 1))
    exact = stats.permutation_test(
        (d[:, 0], np.zeros(9)), lambda x, y: np.mean(x - y), permutation_type="samples"
    )
    np.testing.assert_allclose(sign_flips(d)[0], exact.pvalue)


def test_pairing_finds_a_difference_that_means_hide():
    """Seeds spread by 0.3, the runs differ by 0.05 in each: two samples cannot tell, pairs can."""
    rng = np.random.default_rng(1)
    a = rng.normal(0.5, 0.3, size=(16, 1))
    b = a + 0.05 + rng.normal(0, 0.02, size=(16, 1))
    found = paired_differences(a, b)
    assert found.p[0] < 0.001 and 0.03 < found.low[0] < 0.05 < found.high[0] < 0.07
    assert stats.ttest_ind(a[:, 0], b[:, 0]).pvalue > 0.3
    back = paired_differences(b, a)
    np.testing.assert_allclose([back.mean, back.low, back.high], [-found.mean, -found.high, -found.low])


def test_among_many_cells_without_a_difference_none_is_named_in_19_of_20_studies():
    rng = np.random.default_rng(2)
    d = rng.normal(size=(300, 10, 12)) + 0.7 * rng.normal(size=(300, 10, 1))  # the cells of a seed depend
    found = [sign_flips(study) for study in d]
    assert np.mean([adjusted.min() <= 0.05 for _, adjusted in found]) <= 0.085
    assert np.mean([p.min() <= 0.05 for p, _ in found]) > 0.25


def test_adjusted_p_is_never_below_p_and_one_cell_needs_no_adjustment():
    d = np.random.default_rng(3).normal(0.4, 1, size=(20, 5))
    p, adjusted = sign_flips(d)
    assert (adjusted >= p).all()
    alone, same = sign_flips(d[:, :1])
    np.testing.assert_array_equal(alone, same)


def test_seeds_that_one_run_lacks_are_left_out():
    a, b = np.zeros((6, 2)), np.ones((6, 2))
    b[0, 0], a[:5, 1] = np.nan, np.nan
    found = paired_differences(a, b)
    np.testing.assert_array_equal(found.n, [5, 1])
    assert found.mean[0] == 1 and found.p[0] == pytest.approx(2 / 2**5)
    assert np.isnan([found.low[1], found.p[1], found.p_adjusted[1]]).all()


def test_different_seeds_have_welchs_interval_and_holms_p():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0, 1, size=(9, 3)), rng.normal([0, 1.5, 3], 2, size=(14, 3))
    b[0, 0] = np.nan
    found = unpaired_differences(a, b)
    for i in range(3):
        x, y = a[:, i], b[np.isfinite(b[:, i]), i]
        test = stats.ttest_ind(y, x, equal_var=False)
        ends = test.confidence_interval()
        np.testing.assert_allclose([found.low[i], found.high[i]], [ends.low, ends.high])
        np.testing.assert_allclose([found.mean[i], found.p[i]], [y.mean() - x.mean(), test.pvalue])
    ordered = np.sort(found.p)
    expected = np.maximum.accumulate(ordered * [3, 2, 1]).clip(max=1)
    np.testing.assert_allclose(np.sort(found.p_adjusted), expected)
    assert found.n.tolist() == [9, 9, 9]
    with pytest.raises(ValueError, match="same figures"):
        unpaired_differences(a, b[:, :2])


def test_seeds_that_agree_are_not_certain_with_a_unit():
    a, b = np.zeros((8, 1)), np.zeros((8, 1))
    for differences in (paired_differences, unpaired_differences):
        assert differences(a, b, unit=1).high[0] > 0.3
    assert paired_differences(a, b).high[0] == 0


def test_different_seeds_are_refused():
    with pytest.raises(ValueError, match="same seeds"):
        paired_differences(np.zeros((3, 1)), np.zeros((4, 1)))
