"""Two edits in both orders: by hand on a few images, and what is missing is not counted."""

import numpy as np
import pandas as pd
import pytest

from latentpath.evaluation.latents import _apart
from latentpath.keys import LATENT_KEY, NULLABLE
from latentpath.metrics import Scored
from latentpath.metrics.commutativity import commutativity_table, other_order

HEADS = ("hair", "ink")


def row(seed, attribute, hair, ink, cls_prob, distance, apart):
    key = {"class": "NV", "seed": seed, "attribute": attribute, "method": "order", "swap_step": 2, "until": 4}
    key |= {"strength": 1.0, "frame": None, "model": "finetuned"}
    scores = {"prob_hair": hair, "prob_ink": ink, "class_prob_NV": cls_prob, "class_prob_MEL": 1 - cls_prob}
    return key | scores | {"distance": distance, "apart": apart}


@pytest.fixture
def rows() -> pd.DataFrame:
    """Seed 0 ends alike, seed 1 in opposite directions and without ink, seed 2 with another class."""
    return pd.DataFrame(
        [
            row(0, "hair+ink", 0.9, 0.8, 0.9, 3.0, 0.0),
            row(0, "ink+hair", 0.9, 0.8, 0.9, 3.0, 0.0),
            row(1, "hair+ink", 0.9, 0.8, 0.9, 1.0, 3.0),
            row(1, "ink+hair", 0.9, 0.2, 0.9, 2.0, 3.0),
            row(2, "hair+ink", 0.9, 0.8, 0.9, 2.0, 2.0),
            row(2, "ink+hair", 0.7, 0.8, 0.1, 2.0, 2.0),
        ]
    ).astype(NULLABLE)


def table_of(rows: pd.DataFrame) -> pd.DataFrame:
    scored = Scored(rows.drop(columns=["distance", "apart"]), HEADS, ("NV", "MEL"))
    return commutativity_table(scored, rows[[*LATENT_KEY, "distance", "apart"]])


def test_each_pair_stands_once_and_its_figures_are_those_by_hand(rows):
    (found,) = table_of(rows).to_dict("records")
    assert (found["attribute"], found["swap_step"], found["until"], found["n"]) == ("hair+ink", 2, 4, 3)
    assert found["apart"] == pytest.approx((0 + 1 + 0.5) / 3)
    assert found["scores_apart"] == pytest.approx((0 + 0.3 + 0.1) / 3)
    assert found["decided_alike"] == pytest.approx(1 / 3)
    for figure in ("apart", "scores_apart", "decided_alike"):
        assert 0 <= found[f"{figure}_low"] <= found[figure] <= found[f"{figure}_high"] <= 1


def test_what_is_missing_is_left_out(rows):
    (found,) = table_of(rows.iloc[1:].assign(prob_ink=lambda t: t["prob_ink"].where(t["seed"] > 1))).to_dict(
        "records"
    )
    assert found["n"] == 2  # seed 0 has one order only
    assert found["decided_alike"] == 0 and found["apart"] == pytest.approx((1 + 0.5) / 2)
    assert found["scores_apart"] == pytest.approx(0.1)
    one = table_of(rows[rows["attribute"] == "hair+ink"])
    assert one["n"].tolist() == [0] and one["apart"].isna().all()
    assert table_of(rows.iloc[:0]).empty


def test_the_distance_to_the_other_order_is_between_their_latents(rows):
    images = rows[rows["seed"] == 1].reset_index(drop=True)
    window = images.iloc[:1].assign(method="window", attribute="hair")
    images = pd.concat([images, window], ignore_index=True)
    latents = np.array([[1.0, 0], [-2, 0], [9, 9]])
    np.testing.assert_array_equal(_apart(images, latents), [3, 3, np.nan])
    assert other_order("hair+ink") == "ink+hair"
