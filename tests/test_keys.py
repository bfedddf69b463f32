"""The vocabulary of the tables matches the code that makes the images."""

from latentpath.data.records import COLUMNS
from latentpath.keys import (
    EDIT_KEY,
    IMAGE_KEY,
    INTERPOLATIONS,
    LATENT_KEY,
    RESERVED,
    TRAJECTORIES,
    trajectories_in,
)
from latentpath.traversal import interpolate


def test_every_interpolation_has_a_name():
    assert interpolate.METHODS == INTERPOLATIONS


def test_a_shorter_key_is_part_of_the_longer():
    assert set(EDIT_KEY) < set(LATENT_KEY) < set(IMAGE_KEY)
    assert set(IMAGE_KEY) - set(LATENT_KEY) == {"frame", "model"}


def test_trajectories_are_listed_swaps_first():
    assert trajectories_in(["lerp", "neutral", "window", "swap", "lerp"]) == ["swap", "lerp"]
    assert trajectories_in(reversed(TRAJECTORIES)) == list(TRAJECTORIES)


def test_no_attribute_has_the_name_of_a_column_of_every_data_set():
    assert set(COLUMNS) <= set(RESERVED)
