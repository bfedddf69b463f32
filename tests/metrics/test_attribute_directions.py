"""Directions that name attributes: exact cases, chance where nothing can be told, and the plain loop."""

import numpy as np
import pytest

from latentpath.metrics.attribute_directions import name_attributes


def test_directions_of_their_own_are_all_named():
    directions = np.eye(3)[None].repeat(5, axis=0) * np.arange(1, 6)[:, None, None]  # any length
    found = name_attributes(directions, permutations=200)
    assert found.accuracy == 1 and found.n == 5 and found.p < 0.02
    np.testing.assert_array_equal(found.confusion, np.eye(3))
    assert found.null == pytest.approx(1 / 3, abs=0.08)


def test_a_direction_common_to_all_attributes_names_none():
    rng = np.random.default_rng(0)
    directions = 3 + rng.normal(size=(40, 4, 50))
    found = name_attributes(directions, permutations=200)
    assert abs(found.accuracy - 0.25) < 0.12 and found.p > 0.02
    assert found.null == pytest.approx(0.25, abs=0.03)


def test_it_is_the_loop_over_seeds_with_the_seed_left_out():
    rng = np.random.default_rng(1)
    d = rng.normal(size=(7, 3, 2, 4)) + 0.5 * rng.normal(size=(1, 3, 2, 4))
    u = d.reshape(7, 3, 8) / np.linalg.norm(d.reshape(7, 3, 8), axis=2, keepdims=True)
    named = np.empty((7, 3))
    for s in range(7):
        means = np.delete(u, s, axis=0).mean(axis=0)
        named[s] = (u[s] @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).argmax(axis=1)
    found = name_attributes(d, permutations=0)
    np.testing.assert_array_equal(found.right, named == [0, 1, 2])
    np.testing.assert_array_equal(found.by_attribute, (named == [0, 1, 2]).mean(axis=0))


def test_the_seed_itself_does_not_help_to_name_it():
    """Directions at right angles to each other: with the seed left in all would be named."""
    found = name_attributes(np.eye(24).reshape(8, 3, 24), permutations=0)
    assert found.accuracy == pytest.approx(1 / 3)  # all products are 0, the first attribute is taken


def test_seeds_without_a_direction_are_left_out():
    directions = np.eye(3)[None].repeat(4, axis=0)
    directions[0, 1], directions[1, 2] = 0, np.nan
    assert name_attributes(directions, permutations=10).n == 2
    assert np.isnan(name_attributes(directions[:3], permutations=10).accuracy)
    with pytest.raises(ValueError, match="two attributes"):
        name_attributes(np.ones((3, 1, 5)))
