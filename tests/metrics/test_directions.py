"""Directions in the plane, where every angle is known."""

import numpy as np
import pytest
import torch

from latentpath.metrics import consecutive_cosines, direction_cosines, path_over_chord

NEUTRAL = np.array([1.0, 1.0])
STEPS = [5, 10, 15]  # 15 is the weakest
# offsets: strongest (0, 2), then (1, 1), weakest (1, 0)
TRAJECTORY = NEUTRAL + np.array([[0.0, 2.0], [1.0, 1.0], [1.0, 0.0]])


def test_cosines_against_either_end():
    half = np.sqrt(0.5)
    np.testing.assert_allclose(direction_cosines(NEUTRAL, TRAJECTORY, STEPS), [1, half, 0], atol=1e-15)
    weakest = direction_cosines(NEUTRAL, TRAJECTORY, STEPS, reference="weakest")
    np.testing.assert_allclose(weakest, [0, half, 1], atol=1e-15)


def test_result_follows_the_order_given():
    swapped = direction_cosines(NEUTRAL, TRAJECTORY[::-1], STEPS[::-1])
    np.testing.assert_allclose(swapped, direction_cosines(NEUTRAL, TRAJECTORY, STEPS)[::-1])
    assert path_over_chord(NEUTRAL, TRAJECTORY[::-1], STEPS[::-1]) == path_over_chord(
        NEUTRAL, TRAJECTORY, STEPS
    )


def test_path_of_three_legs():
    """(0,0) -> (1,0) -> (1,1) -> (0,2): right angle, then 45 degrees; length 2 + sqrt 2, chord 2."""
    np.testing.assert_allclose(consecutive_cosines(NEUTRAL, TRAJECTORY, STEPS), [0, np.sqrt(0.5)], atol=1e-15)
    assert path_over_chord(NEUTRAL, TRAJECTORY, STEPS) == pytest.approx((2 + np.sqrt(2)) / 2)


def test_straight_line_of_latents():
    z, step = torch.randn(4, 8, 8), torch.randn(4, 8, 8)
    line = torch.stack([z + k * step for k in (4, 3, 2, 1)])
    np.testing.assert_allclose(direction_cosines(z, line, [1, 2, 3, 4]), 1, atol=1e-6)
    np.testing.assert_allclose(consecutive_cosines(z, line, [1, 2, 3, 4]), 1, atol=1e-6)
    assert path_over_chord(z, line, [1, 2, 3, 4]) == pytest.approx(1, abs=1e-6)


def test_scale_does_not_matter():
    scaled = NEUTRAL + (TRAJECTORY - NEUTRAL) * np.array([[3.0], [0.5], [7.0]])
    np.testing.assert_allclose(
        direction_cosines(NEUTRAL, scaled, STEPS), direction_cosines(NEUTRAL, TRAJECTORY, STEPS), atol=1e-15
    )


def test_no_direction_is_nan():
    still = np.stack([TRAJECTORY[0], NEUTRAL, NEUTRAL])
    np.testing.assert_array_equal(direction_cosines(NEUTRAL, still, STEPS), [1, np.nan, np.nan])
    assert np.isnan(direction_cosines(NEUTRAL, still, STEPS, reference="weakest")).all()
    assert np.isnan(consecutive_cosines(NEUTRAL, still, STEPS)).all()
    assert np.isnan(path_over_chord(NEUTRAL, np.stack([NEUTRAL, TRAJECTORY[1]]), [5, 10]))


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="trajectory must be"):
        direction_cosines(NEUTRAL, TRAJECTORY, [5, 10])
