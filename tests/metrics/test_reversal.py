"""Reversibility of windows: by hand on a few images, and what is missing is not counted."""

import numpy as np
import pandas as pd
import pytest

from latentpath.keys import LATENT_KEY, NULLABLE
from latentpath.metrics import Scored
from latentpath.metrics.reversal import reversal_table

HEADS = ("hair", "ink")


def row(seed, method, step, until, hair, ink, distance):
    key = {"class": "NV", "seed": seed, "attribute": "" if method == "neutral" else "hair", "method": method}
    key |= {"swap_step": step, "until": until, "strength": 1.0, "frame": None, "model": "finetuned"}
    return key | {"prob_hair": hair, "prob_ink": ink, "distance": distance}


@pytest.fixture
def rows() -> pd.DataFrame:
    """Seed 0 comes half of the way back and loses its hair, seed 1 does not come back, seed 2 never went."""
    return pd.DataFrame(
        [
            row(0, "neutral", 9, 9, 0.1, 0.1, 0.0),
            row(1, "neutral", 9, 9, 0.1, 0.1, 0.0),
            row(2, "neutral", 9, 9, 0.1, 0.1, 0.0),
            row(0, "swap", 2, 9, 0.9, 0.1, 4.0),
            row(1, "swap", 2, 9, 0.9, 0.3, 5.0),
            row(2, "swap", 2, 9, 0.1, 0.1, 0.0),
            row(0, "window", 2, 4, 0.1, 0.3, 2.0),
            row(1, "window", 2, 4, 0.9, 0.3, 5.0),
            row(2, "window", 2, 4, 0.1, 0.1, 0.0),
        ]
    ).astype(NULLABLE)


def table_of(rows: pd.DataFrame) -> pd.DataFrame:
    distances = rows[[*LATENT_KEY, "distance"]]
    return reversal_table(Scored(rows.drop(columns="distance"), HEADS, ("NV",)), distances)


def test_shares_that_are_left_after_a_window(rows):
    (found,) = table_of(rows).to_dict("records")
    assert (found["class"], found["attribute"], found["swap_step"], found["until"]) == ("NV", "hair", 2, 4)
    assert found["remaining"] == pytest.approx((0.5 + 1.0) / 2)  # seed 2 went nowhere
    assert found["still_present"] == 0.5  # of seeds 0 and 1
    assert found["scores_edited"] == pytest.approx((0.4 + 0.5 + 0) / 3)
    assert found["scores_back"] == pytest.approx((0.1 + 0.5 + 0) / 3)
    for figure in ("remaining", "still_present", "scores_edited", "scores_back"):
        assert found[f"{figure}_low"] <= found[figure] <= found[f"{figure}_high"]


def test_without_windows_or_without_their_swap(rows):
    assert table_of(rows[rows["method"] != "window"]).empty
    (found,) = table_of(rows[rows["method"] != "swap"]).to_dict("records")
    assert np.isnan(found["remaining"]) and np.isnan(found["still_present"])
    assert found["scores_back"] == pytest.approx(0.2)
