"""Outcomes of edits beside a placebo: by hand on a few images, and what is unknown stays unknown."""

import numpy as np
import pandas as pd
import pytest

from latentpath.evaluation.outcome_figures import rows_of_outcomes
from latentpath.keys import NULLABLE
from latentpath.metrics import Scored
from latentpath.metrics.outcomes import outcome_table

HEADS, CLASSES = ("hair", "ink", "ruler"), ("MEL", "NV")


def image(seed, method, attribute, hair, ink, ruler, mel, *, step=2, strength=1.0):
    """A row of scores: decisions 1 and 0 as probabilities 0.9 and 0.1."""
    of = {"hair": hair, "ink": ink, "ruler": ruler}
    row = {"class": "MEL", "seed": seed, "method": method, "attribute": attribute, "model": "finetuned"}
    row |= {"swap_step": step, "until": 10, "strength": strength, "frame": None}
    row |= {f"prob_{name}": np.nan if on is None else 0.1 + 0.8 * on for name, on in of.items()}
    return row | {"class_prob_MEL": 0.1 + 0.8 * mel, "class_prob_NV": 0.9 - 0.8 * mel}


def scored(rows) -> Scored:
    return Scored(pd.DataFrame(rows).astype(NULLABLE), HEADS, CLASSES)


@pytest.fixture
def few() -> Scored:
    """Two seeds; hair comes with ink in the first, the placebo brings ink in the second."""
    return scored(
        [
            image(0, "neutral", "", 0, 0, 0, 1, step=10),
            image(1, "neutral", "", 0, 0, 1, 1, step=10),
            image(0, "placebo", "", 0, 0, 0, 1),
            image(1, "placebo", "", 0, 1, 1, 1),
            image(0, "swap", "hair", 1, 1, 0, 0),
            image(1, "swap", "hair", 1, 0, 1, 1),
            image(0, "combination", "hair+ink", 1, 0, 1, 1),
            image(0, "window", "hair", 1, 1, 1, 1),
        ]
    )


def test_what_an_edit_did_beside_a_placebo(few):
    table = outcome_table(few).set_index(["method", "seed"])
    first, second, both = table.loc[("swap", 0)], table.loc[("swap", 1)], table.loc[("combination", 0)]
    assert first[["present", "placebo_present", "placebo_changed"]].tolist() == [1, 0, 0]
    assert first["others_changed"] == pytest.approx(2 / 3)  # ink and the class, not the ruler
    assert second["others_changed"] == 0 and second["placebo_changed"] == pytest.approx(1 / 3)  # ink
    assert (both["present"], both["others_changed"]) == (0, 0.5)  # of ruler and class
    assert set(table.index.get_level_values("method")) == {"swap", "combination"}


def test_figures_are_means_over_seeds_less_the_placebos(few):
    rows = pd.DataFrame(rows_of_outcomes(few, ["hair"], [2])).set_index("figure")
    swaps = rows[rows["method"] == "swap"]
    cell = swaps[swaps["attribute"].eq("hair") & swaps["class"].eq("MEL") & swaps["position"].isna()]
    assert cell.loc["effectiveness", "value"] == 1
    assert cell.loc["leak", "value"] == pytest.approx((2 / 3 - 1 / 3) / 2)
    assert cell.loc["placebo_changed", "value"] == pytest.approx(1 / 6)
    assert (cell["low"] <= cell["value"]).all() and (cell["value"] <= cell["high"]).all()
    assert cell.loc["mnac", "value"] == 1.5  # hair and ink; hair
    mean = swaps[swaps["attribute"].isna()]
    assert mean.loc["leak", "value"] == pytest.approx(cell.loc["leak", "value"])
    assert rows.loc["class_match", "value"].tolist()[0] == 1


def test_without_a_placebo_and_without_scores():
    rows = [image(seed, "neutral", "", 0, None, 0, 1, step=10) for seed in (0, 1)]
    rows += [image(seed, "swap", "hair", 1, None, 1, 1) for seed in (0, 1)]
    found = scored(rows)
    table = outcome_table(found)
    assert table["others_changed"].tolist() == [0.5, 0.5]  # the ruler, of ruler and class
    assert table["placebo_present"].isna().all() and (table["present"] == 1).all()
    figures = pd.DataFrame(rows_of_outcomes(found, ["hair"], [2]))
    assert not set(figures["figure"]) & {"leak", "effectiveness", "placebo_changed"}
    unknown = figures[figures["figure"].eq("mnac") & figures["class"].eq("MEL")]
    assert unknown["n"].tolist() == [0] and unknown["reason"].tolist() == ["no seed has the scores"]


def test_a_placebo_of_another_step_is_no_placebo(few):
    table = few.table.assign(swap_step=few.table["swap_step"].mask(few.table["method"] == "placebo", 4))
    found = outcome_table(Scored(table, HEADS, CLASSES))
    assert found["placebo_changed"].isna().all() and found["others_changed"].notna().all()
