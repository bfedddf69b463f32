"""MNAC and CD: closed forms, and numpy's correlations."""

import numpy as np
import pytest

from latentpath.metrics.counterfactual import attributes_changed, correlation_difference


def test_a_faithful_edit_changes_one_attribute_and_an_entangled_one_more():
    neutral = np.full((3, 3), 0.1)
    edited = np.full((3, 2, 3), 0.1)
    edited[:, 1, 0] = 0.9  # the second edit brings attribute 0
    edited[2, 1, 1:] = 0.9  # and, of the third seed, the two others
    np.testing.assert_array_equal(attributes_changed(neutral, edited), [[0, 1], [0, 1], [0, 3]])
    edited[0, 0, 2] = np.nan
    assert np.isnan(attributes_changed(neutral, edited)[0, 0])


def test_changes_that_go_together_as_labels_do_have_no_difference():
    """Attribute 1 is there exactly with attribute 0, in the data and in what the edit changes."""
    labels = np.array([[0, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 1]])
    neutral, edited = np.zeros((2, 3)), np.array([[[1.0, 1, 0]], [[0, 0, 0]]])
    assert correlation_difference(neutral, edited, labels, 0) == pytest.approx(0)
    alone = np.array([[[1.0, 0, 0]], [[0, 0, 0]]])
    assert correlation_difference(neutral, alone, labels, 0) == pytest.approx(1)  # the data's own correlation


def test_it_is_the_sum_of_differences_of_correlations():
    rng = np.random.default_rng(0)
    neutral, edited = rng.uniform(size=(30, 4)), rng.uniform(size=(30, 2, 4))
    labels = rng.integers(0, 2, size=(100, 4)).astype(float)
    change = ((edited > 0.5) * 1 - (neutral > 0.5)[:, None]).reshape(60, 4)
    expected = np.abs(np.corrcoef(change.T)[1] - np.corrcoef(labels.T)[1]).sum()
    assert correlation_difference(neutral, edited, labels, 1) == pytest.approx(expected)


def test_an_attribute_that_never_changes_correlates_with_nothing():
    assert np.isnan(correlation_difference(np.zeros((3, 2)), np.zeros((3, 1, 2)), [[0, 1], [1, 0]], 0))
    assert np.isnan(correlation_difference(np.zeros((1, 2)), [[[np.nan, 1]]], [[0, 1], [1, 0]], 0))
