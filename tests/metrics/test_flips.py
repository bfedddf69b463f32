"""Hard labels and flips on scores small enough to read."""

import numpy as np

from latentpath.metrics import flipped, hard_label


def test_hard_label_is_strictly_above_and_keeps_nan():
    np.testing.assert_array_equal(hard_label([0.5, 0.51, np.nan]), [0, 1, np.nan])


def test_an_image_flips_from_absent_to_present():
    neutral = [0.1, 0.8, 0.1, np.nan]  # the second shows the attribute before any edit
    edited = [[0.9, 0.3], [0.9, 0.3], [np.nan, 0.9], [0.9, 0.3]]
    expected = [[1, 0], [0, 0], [np.nan, 1], [np.nan, np.nan]]
    np.testing.assert_array_equal(flipped(neutral, edited), expected)
    np.testing.assert_array_equal(flipped([0.1], [[0.9, 0.8]], threshold=0.85), [[1, 0]])
