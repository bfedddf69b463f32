"""MNAC: the decisions that an edit changes, counted by hand."""

import numpy as np

from latentpath.metrics.counterfactual import attributes_changed, moved_most


def test_a_faithful_edit_changes_one_attribute_and_an_entangled_one_more():
    neutral = np.full((3, 3), 0.1)
    edited = np.full((3, 2, 3), 0.1)
    edited[:, 1, 0] = 0.9  # the second edit brings attribute 0
    edited[2, 1, 1:] = 0.9  # and, of the third seed, the two others
    np.testing.assert_array_equal(attributes_changed(neutral, edited), [[0, 1], [0, 1], [0, 3]])
    edited[0, 0, 2] = np.nan
    assert np.isnan(attributes_changed(neutral, edited)[0, 0])


def test_the_score_that_moves_most_up_or_down():
    neutral = np.array([[0.5, 0.5], [0.5, 0.5]])
    edited = np.array([[[0.9, 0.2], [0.1, 0.6]], [[0.6, 0.2], [np.nan, 0.5]]])  # seeds, positions, heads
    np.testing.assert_array_equal(moved_most(neutral, edited, 0), [[1, 1], [0, np.nan]])
    np.testing.assert_array_equal(moved_most(neutral, edited, 1), [[0, 0], [1, np.nan]])
    assert np.isnan(moved_most(neutral[:, :1], edited[..., :1], 0)).all()
