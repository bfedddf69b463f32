"""Shares corrected for the judge's errors: closed forms, and coverage of known shares by simulation."""

import numpy as np
import pytest

from latentpath.metrics.judge_error import corrected_share, prediction_powered, rogan_gladen


def test_rogan_gladen_inverts_the_judge_exactly():
    share, se, sp = 0.4, 0.75, 0.9
    seen = share * se + (1 - share) * (1 - sp)
    np.testing.assert_allclose(rogan_gladen(seen, se, sp), share)
    np.testing.assert_allclose(rogan_gladen([0.0, 1.0], se, sp), [0, 1])  # clipped
    assert np.isnan(rogan_gladen(0.5, 0.4, 0.6))


def _judged(rng, truth, se, sp):
    return np.where(
        truth == 1, rng.uniform(size=truth.shape) < se, rng.uniform(size=truth.shape) > sp
    ).astype(float)


def test_the_corrected_share_covers_the_truth_that_the_measured_share_misses():
    """A judge that misses a quarter: 0.8 of images have the attribute, the judge says 0.61."""
    rng = np.random.default_rng(0)
    covered, raw = 0, []
    for _ in range(200):
        labels = np.repeat(rng.integers(0, 2, size=60), 2).astype(float)  # 60 patients, two images each
        shares = _judged(rng, (rng.uniform(size=40) < 0.8).astype(float), 0.75, 0.95)
        found = corrected_share(
            shares,
            _judged(rng, labels, 0.75, 0.95),
            labels,
            np.repeat(range(60), 2),
        )
        covered += found.low <= 0.8 <= found.high
        raw.append(shares.mean())
    assert 0.91 <= covered / 200 <= 0.99
    assert np.mean(raw) == pytest.approx(0.61, abs=0.02)


def test_the_interval_grows_with_few_held_out_groups():
    rng = np.random.default_rng(1)
    labels = np.tile([0.0, 1.0], 100)
    said, shares = _judged(rng, labels, 0.8, 0.9), np.tile([0.0, 1, 1], 20)
    many = corrected_share(shares, said, labels)
    few = corrected_share(shares, said, labels, np.repeat(range(8), 25))
    assert many.value == few.value and few.high - few.low > many.high - many.low


def test_a_share_that_the_errors_on_real_images_do_not_explain_has_no_interval():
    """A judge that finds 7 of 10 on real images, and all of 60 here: more than all can have the attribute."""
    labels = np.repeat([1.0, 0.0], 200)
    said = np.where(np.arange(400) % 10 < 7, labels, 0)
    found = corrected_share(np.ones(60), said, labels)
    assert found.value == 1 and np.isnan(found.low) and "do not explain" in found.reason


def test_what_cannot_be_corrected_is_named():
    assert "without" in corrected_share([0.5, 0.6], [1, 1], [1, 1]).reason
    assert "with the attribute" in corrected_share([0.5, 0.6], [1, 0], [0, 0]).reason
    assert "chance" in corrected_share([0.5, 0.6], [0, 1, 0, 1], [1, 0, 1, 0]).reason
    assert "two seeds" in corrected_share([0.5], [1, 0], [1, 0]).reason


def test_a_useless_classifier_leaves_the_mean_of_the_labels():
    y = np.array([1.0, 0, 1, 1, 0, 1])
    found = prediction_powered(np.full(50, 0.3), np.full(6, 0.3), y, unit=0)
    half = 2.570582 * y.std(ddof=1) / np.sqrt(6)
    np.testing.assert_allclose(found.value, y.mean())
    np.testing.assert_allclose([found.low, found.high], [y.mean() - half, 1], atol=1e-6)


def test_a_perfect_classifier_makes_the_interval_shorter_and_any_classifier_leaves_it_true():
    """400 studies of 30 labelled and 300 other images: it covers though the classifier says 0.61 for 0.8."""
    rng = np.random.default_rng(2)
    truth = (rng.uniform(size=(400, 330)) < 0.8).astype(float)
    widths = {}
    for se, sp in ((1.0, 1.0), (0.75, 0.95)):
        found = [prediction_powered(f[30:], f[:30], y[:30]) for y in truth for f in [_judged(rng, y, se, sp)]]
        assert 0.9 <= np.mean([e.low <= 0.8 <= e.high for e in found]) <= 0.985
        widths[se] = np.mean([e.high - e.low for e in found])
    alone = np.mean([y[:30].std(ddof=1) for y in truth]) * 2 * 2.045 / np.sqrt(30)
    assert widths[1.0] < 0.75 * alone and widths[0.75] < 0.95 * alone


def test_a_classifier_without_a_mistake_on_few_labels_is_not_certain():
    """Eight labels, all agreed to: as published, the interval would be a point and would seldom cover."""
    ones = np.ones(8)
    point, found = (prediction_powered(np.ones(40), ones, ones, unit=unit) for unit in (0, 1))
    assert (point.low, point.high) == (1, 1) and found.low == pytest.approx(
        1 - 1.959964 * np.sqrt(2 / 10 / 8)
    )
    rng = np.random.default_rng(3)
    truth = (rng.uniform(size=(400, 48)) < 0.9).astype(float)
    held = {u: [prediction_powered(y[8:], y[:8], y[:8], unit=u).high >= 0.9 for y in truth] for u in (0, 1)}
    low = {u: [prediction_powered(y[8:], y[:8], y[:8], unit=u).low <= 0.9 for y in truth] for u in (0, 1)}
    covered = {u: np.mean(np.array(held[u]) & np.array(low[u])) for u in (0, 1)}
    assert covered[0] < 0.6 and covered[1] >= 0.95


def test_without_other_images_it_is_the_mean_of_the_labels():
    found = prediction_powered([], [0.0, 1, 1, 1], [0.0, 1, 1, 0])
    assert found.value == 0.5 and found.low < 0.5 < found.high


def test_too_few_labels_are_named():
    assert "labelled seeds: 1" in prediction_powered([0.5, 0.4], [0.5], [1]).reason
    with pytest.raises(ValueError, match=r"\(m,\)"):
        prediction_powered([0.5], [0.5, 0.4], [1])
