"""CFRT by hand: in each case exactly one condition fails, under the definition that looks at it."""

import numpy as np
import pytest

from latentpath.metrics import Cfrt, cfrt_released, cfrt_strict

A, J, K = 0, 1, 2
NAMES = ("hair", "ink", "ruler")
NEUTRAL = [0.1, 0.2, 0.3]


def arrays(toward_a, toward_j, toward_k, *, neutral=NEUTRAL, y=0, y_a=0):
    """One seed, one position, three attributes, a class decision: keyword arguments of both functions."""
    edited = np.array([toward_a, toward_j, toward_k], dtype=float)[:, None, None, :]  # (3, 1, 1, 3)
    edited_class = np.array([y_a, y, y], dtype=float)[:, None, None]
    return dict(
        neutral=np.array([neutral]),
        edited=edited,
        attribute=A,
        neutral_class=np.array([float(y)]),
        edited_class=edited_class,
        names=NAMES,
    )


def values(result: Cfrt) -> dict[str, float]:
    conditions = ("flipped", "dominant", "class_kept", "others_kept", "cfrt", "all")
    return {name: getattr(result, name).value for name in conditions}


def expected(*failed: str) -> dict[str, float]:
    return {
        name: float(name not in failed)
        for name in ("flipped", "dominant", "class_kept", "others_kept", "cfrt", "all")
    }


# toward_a, toward_j, toward_k, class toward A -> what fails in released, what fails in strict
CASES = {
    "all hold": (([0.9, 0.3, 0.3], [0.2, 0.9, 0.3], [0.1, 0.2, 0.9]), 0, (), ()),
    # D_A = 0.3 is still the largest shift, but 0.4 is below the threshold; the formulas hold no threshold
    "no flip of A": (
        ([0.4, 0.3, 0.3], [0.2, 0.9, 0.3], [0.1, 0.2, 0.9]),
        0,
        ("flipped", "all"),
        ("flipped", "all"),
    ),
    # neutral hair is 0.3 here: D_A = 0.25 < D_J = 0.29, and ink at 0.49 does not flip
    "another head moves more": (
        ([0.55, 0.49, 0.3], [0.2, 0.9, 0.3], [0.1, 0.2, 0.9]),
        0,
        ("dominant", "cfrt", "all"),
        (),
    ),
    # the image toward J raises head A by 0.85, more than the image toward A (0.8)
    "another image moves head A more": (
        ([0.9, 0.3, 0.3], [0.95, 0.9, 0.3], [0.1, 0.2, 0.9]),
        0,
        (),
        ("dominant", "cfrt", "all"),
    ),
    "class changes": (
        ([0.9, 0.3, 0.3], [0.2, 0.9, 0.3], [0.1, 0.2, 0.9]),
        1,
        ("class_kept", "all"),
        ("class_kept", "cfrt", "all"),
    ),
    # ruler crosses 0.5 (0.3 -> 0.6) by less than hair moves
    "another attribute flips": (
        ([0.9, 0.2, 0.6], [0.2, 0.9, 0.3], [0.1, 0.2, 0.9]),
        0,
        ("others_kept", "all"),
        ("others_kept", "cfrt", "all"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_exactly_one_condition_fails(name):
    toward, y_a, released, strict = CASES[name]
    neutral = [0.3, 0.2, 0.3] if name == "another head moves more" else NEUTRAL
    given = arrays(*toward, neutral=neutral, y_a=y_a)
    assert values(cfrt_released(**given)) == expected(*released)
    assert values(cfrt_strict(**given)) == expected(*strict)


def test_released_is_signed_and_strict_is_not():
    # head A falls from 0.9 to 0.1: no head rises more than J's +0.05, so only the signed comparison fails
    given = arrays([0.1, 0.25, 0.3], [0.8, 0.9, 0.3], [0.9, 0.2, 0.9], neutral=[0.9, 0.2, 0.3])
    assert cfrt_released(**given).dominant.value == 0.0
    assert cfrt_strict(**given).dominant.value == 1.0
    assert cfrt_strict(**given).already_present.value == 1.0
    assert cfrt_strict(**given).flipped.value == 0.0  # present -> absent is not the flip asked for


def test_a_tie_is_not_dominance():
    given = arrays([0.75, 0.75, 0.25], [0.75, 0.9, 0.25], [0.25, 0.25, 0.9], neutral=[0.25, 0.25, 0.25])
    assert cfrt_released(**given).dominant.value == 0.0
    assert cfrt_strict(**given).dominant.value == 0.0


def test_positions_are_averaged_by_released_and_counted_by_strict():
    """A +0.8 and 0.0, J +0.3 twice: D_A = 0.4 > D_J = 0.3, yet the second of the two images fails."""
    neutral = np.array([[0.1, 0.1]])
    toward_a = [[0.9, 0.4], [0.1, 0.4]]  # (P, A)
    toward_j = [[0.2, 0.9], [0.2, 0.9]]
    edited = np.array([toward_a, toward_j])[:, None]  # (2, 1, 2, 2)
    released, strict = cfrt_released(neutral, edited, 0), cfrt_strict(neutral, edited, 0)
    assert (released.cfrt.value, released.cfrt.n) == (1.0, 1)
    assert (strict.dominant.value, strict.dominant.n) == (0.5, 2)
    assert strict.dominant.per_seed.tolist() == [0.5]
    assert (strict.flipped.value, released.flipped.value) == (0.5, 0.5)


def test_rates_over_seeds():
    """Three seeds, hair dominant in two of them."""
    neutral = np.full((3, 2), 0.1)
    hair = np.array([[0.9, 0.2], [0.8, 0.1], [0.3, 0.4]])  # (S, A): the last one moves ink more
    ink = np.array([[0.1, 0.9]] * 3)
    edited = np.stack([hair, ink])[:, :, None]  # (2, 3, 1, 2)
    result = cfrt_released(neutral, edited, 0)
    assert result.cfrt.value == pytest.approx(2 / 3)
    assert result.cfrt.per_seed.tolist() == [1.0, 1.0, 0.0]
    assert (result.seeds, result.cfrt.n) == (3, 3)
    assert cfrt_released(neutral, edited, 1).cfrt.value == 1.0


def test_flips_among_the_eligible_can_reach_1():
    """Of ten seeds two show the attribute from the start: 0.8 of all flip, and all that could."""
    neutral, edited = np.full((10, 2), 0.1), np.full((2, 10, 3, 2), 0.1)
    neutral[:2, A], edited[A, ..., A] = 0.9, 0.9
    result = cfrt_strict(neutral, edited, A)
    assert (result.flipped.value, result.flipped_eligible.value) == (0.8, 1.0)
    assert (result.flipped.n, result.flipped_eligible.n, result.flipped_eligible.reason) == (30, 24, "")
    neutral[:, A] = 0.9
    nobody = cfrt_strict(neutral, edited, A).flipped_eligible
    assert np.isnan(nobody.value) and nobody.reason == "every neutral image already shows the attribute"


def test_renaming_the_other_attributes_changes_nothing():
    rng = np.random.default_rng(0)
    neutral, edited = rng.uniform(size=(20, 4)), rng.uniform(size=(4, 20, 3, 4))
    y, y_edited = rng.integers(0, 2, size=20), rng.integers(0, 2, size=(4, 20, 3))
    order = [2, 0, 3, 1]
    for cfrt in (cfrt_released, cfrt_strict):
        plain = cfrt(neutral, edited, 2, neutral_class=y, edited_class=y_edited)
        shuffled = cfrt(
            neutral[:, order], edited[order][..., order], 0, neutral_class=y, edited_class=y_edited[order]
        )
        assert values(plain) == values(shuffled)
        assert plain.class_kept.value == (y[:, None] == y_edited[2]).mean()
        assert 0 < plain.dominant.value < 1


def test_single_attribute_has_nothing_to_dominate():
    for cfrt in (cfrt_released, cfrt_strict):
        result = cfrt([[0.1]], [[[[0.9]]]], 0)
        for rate in (result.cfrt, result.dominant, result.others_kept, result.all):
            assert np.isnan(rate.value) and rate.n == 0
            assert rate.reason == "only one attribute: no other to compare with"
        assert result.flipped.value == 1.0


def test_single_class_is_named_and_left_out_of_the_formula():
    given = arrays(*CASES["all hold"][0]) | {"neutral_class": None, "edited_class": None}
    result = cfrt_strict(**given)
    assert np.isnan(result.class_kept.value) and "single class" in result.class_kept.reason
    assert result.cfrt.value == 1.0 and result.all.value == 1.0


def test_missing_class_decision_is_not_a_single_class():
    given = arrays(*CASES["all hold"][0]) | {"neutral_class": [np.nan]}
    result = cfrt_strict(**given)
    assert np.isnan(result.cfrt.value) and "no class decision" in result.cfrt.reason
    assert cfrt_released(**given).cfrt.value == 1.0  # the class is no part of it


def test_missing_head_and_missing_images_are_told_apart():
    given = arrays(*CASES["all hold"][0])
    no_head = given | {"neutral": given["neutral"].copy(), "edited": given["edited"].copy()}
    no_head["neutral"][:, J] = no_head["edited"][..., J] = np.nan
    assert cfrt_released(**no_head).cfrt.reason == "no score of head ink on the neutral images"
    assert cfrt_strict(**no_head).dominant.value == 1.0  # needs head A only
    assert np.isnan(cfrt_strict(**no_head).others_kept.value)
    assert np.isnan(cfrt_strict(**no_head).cfrt.value)

    no_images = given | {"edited": given["edited"].copy()}
    no_images["edited"][J] = np.nan
    assert cfrt_released(**no_images).cfrt.value == 1.0  # needs the images toward A only
    assert cfrt_strict(**no_images).cfrt.reason == "no scored images toward ink"
    assert cfrt_strict(**no_images).others_kept.value == 1.0


def test_a_missing_score_leaves_the_image_out_and_says_so():
    neutral = np.full((2, 2), 0.1)
    edited = np.stack([np.full((2, 1, 2), [0.9, 0.1]), np.full((2, 1, 2), [0.1, 0.9])])  # (2, 2, 1, 2)
    edited[0, 1, 0, 0] = np.nan
    rate = cfrt_strict(neutral, edited, 0).cfrt
    assert (rate.value, rate.n) == (1.0, 1)
    assert rate.reason == "1 of 2 left out: a score is missing"
    assert np.isnan(rate.per_seed[1])


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="edited must be"):
        cfrt_strict(np.zeros((2, 3)), np.zeros((3, 2, 1, 2)), 0)
    with pytest.raises(ValueError, match="both, or neither"):
        cfrt_strict(np.zeros((1, 2)), np.zeros((2, 1, 1, 2)), 0, neutral_class=[0.0])
