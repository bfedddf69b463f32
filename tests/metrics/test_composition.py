"""Composition: by hand on two images, and what is missing is not counted."""

import numpy as np
import pandas as pd
import pytest

from latentpath.metrics.composition import composition_table


@pytest.fixture
def images() -> pd.DataFrame:
    """Seed 0 stays; seed 1 gets hair in round 1, and another class in round 2."""
    rows = [
        ("NV", 0, 0, 0.1, 0.9), ("NV", 1, 0, 0.1, 0.9),
        ("NV", 0, 1, 0.1, 0.9), ("NV", 1, 1, 0.8, 0.9),
        ("NV", 0, 2, 0.2, 0.7), ("NV", 1, 2, 0.8, 0.2),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["class", "seed", "round", "prob_hair", "class_prob_NV"])
    return table.assign(class_prob_MEL=1 - table["class_prob_NV"])


LATENTS = np.array([[3.0, 4], [0, 1], [3, 4], [0, 1.5], [3, 9], [0, 2]])


def test_errors_and_changed_decisions_by_round(images):
    found = composition_table(images, LATENTS, ["hair"], ["NV", "MEL"])
    assert found[["class", "round", "n"]].values.tolist() == [["NV", 1, 2], ["NV", 2, 2]]
    np.testing.assert_allclose(found["latent_error"], [(0 + 0.5) / 2, (1 + 1) / 2])
    np.testing.assert_allclose(found["decisions_changed"], [(0 + 0.5) / 2, (0 + 1) / 2])
    for figure in ("latent_error", "decisions_changed"):
        assert (found[f"{figure}_low"] <= found[figure]).all() and (
            found[figure] <= found[f"{figure}_high"]
        ).all()


def test_nothing_changed_is_zero_and_a_missing_score_is_left_out(images):
    still = composition_table(images.iloc[:4], LATENTS[[0, 1, 0, 1]], ["hair"])
    assert still["latent_error"].tolist() == [0]
    images.loc[3, "prob_hair"] = np.nan
    assert composition_table(images, LATENTS, ["hair"])["decisions_changed"].tolist() == [0, 0.5]
