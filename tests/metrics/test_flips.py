"""Flip rate and flip step on scores small enough to read."""

import numpy as np

from latentpath.metrics import flip_rate, flip_step, hard_label

# positions 5, 10, 15: the strongest edit first
NEUTRAL = [0.1, 0.2, 0.8, 0.1]
EDITED = [
    [0.9, 0.8, 0.3],  # present up to 10
    [0.4, 0.9, 0.9],  # absent at the strong end
    [0.9, 0.9, 0.9],  # was there before
    [0.9, 0.3, 0.9],  # a gap at 10
]


def test_hard_label_is_strictly_above_and_keeps_nan():
    np.testing.assert_array_equal(hard_label([0.5, 0.51, np.nan]), [0, 1, np.nan])


def test_flip_rate_by_position():
    np.testing.assert_allclose(flip_rate(NEUTRAL, EDITED), [2 / 4, 2 / 4, 2 / 4])
    np.testing.assert_allclose(flip_rate(NEUTRAL, EDITED, threshold=0.85), [3 / 4, 2 / 4, 3 / 4])


def test_flip_rate_leaves_out_missing_scores():
    edited = np.array([[0.9, np.nan], [np.nan, np.nan], [0.1, np.nan]])
    np.testing.assert_array_equal(flip_rate([0.1, 0.1, 0.1], edited), [0.5, np.nan])


def test_flip_step_is_the_weakest_that_holds_to_the_strong_end():
    np.testing.assert_array_equal(flip_step(NEUTRAL, EDITED, [5, 10, 15]), [10, np.nan, np.nan, 5])


def test_flip_step_does_not_depend_on_the_order_of_positions():
    backward = [row[::-1] for row in EDITED]
    np.testing.assert_array_equal(flip_step(NEUTRAL, backward, [15, 10, 5]), [10, np.nan, np.nan, 5])


def test_flip_step_of_frames_counts_from_the_last():
    np.testing.assert_array_equal(
        flip_step([0.1, 0.1], [[0.1, 0.9, 0.9], [0.9, 0.9, 0.1]], [0, 1, 2], strongest="largest"), [1, np.nan]
    )
