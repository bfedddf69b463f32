"""Co-change of a classifier whose answers are known: what moves, what does not, and what cannot be said."""

import numpy as np
import pandas as pd
import pytest

from latentpath.errors import UserError
from latentpath.metrics import Scored, co_change_table, most_entangled

ATTRIBUTES, CLASSES, STEPS, SEEDS = ("hair", "ruler"), ("MEL", "NV"), (5, 10, 15), range(40)


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """Toward hair: hair +0.6 then +0.4 and 0, ruler +0.1, more by a thousandth of the seed, MEL -0.3. Toward
    ruler: ruler +0.5, hair +-0.2 by the seed's parity. Strong end: step 5 alone of the three."""
    rows = []
    for seed in SEEDS:
        key = {"class": "MEL", "seed": seed, "model": "finetuned"}
        neutral = {"prob_hair": 0.3, "prob_ruler": 0.45, "class_prob_MEL": 0.6, "class_prob_NV": 0.4}
        rows.append(key | neutral | {"attribute": "", "method": "neutral", "swap_step": 50})
        for step, rise in zip(STEPS, (0.6, 0.4, 0.0), strict=True):
            toward = {"attribute": "hair", "method": "swap", "swap_step": step}
            moved = {"prob_hair": 0.3 + rise, "prob_ruler": 0.55 + seed / 1000}
            rows.append(key | toward | moved | {"class_prob_MEL": 0.3, "class_prob_NV": 0.7})
            moved = {"prob_hair": 0.3 + 0.2 * (-1) ** seed, "prob_ruler": 0.95}
            rows.append(key | toward | {"attribute": "ruler"} | neutral | moved)
    return pd.DataFrame(rows).sample(frac=1, random_state=0).reset_index(drop=True)


def cell(table: pd.DataFrame, attribute: str, head: str) -> pd.Series:
    return table[(table["attribute"] == attribute) & (table["head"] == head)].iloc[0]


def test_every_cell_is_as_built(scores):
    table = co_change_table(Scored(scores, ATTRIBUTES, CLASSES, resamples=500))
    assert set(table.loc[table["class"] == "NV", "reason"]) == {"no images of this class"}
    table = table[table["class"] == "MEL"]
    assert len(table) == 2 * 4 and set(table["head"]) == {"hair", "ruler", "class MEL", "class NV"}
    assert (table["n"] == 40).all() and (table["reason"] == "").all()
    own = cell(table, "hair", "hair")
    np.testing.assert_allclose(
        [own["change"], own["low"], own["high"], own["abs_change"], own["label_changes"]], [0.6] * 4 + [1]
    )
    ruler = cell(table, "hair", "ruler")
    assert ruler["change"] == pytest.approx(0.1 + np.mean(SEEDS) / 1000)
    assert ruler["low"] < ruler["change"] < ruler["high"] and ruler["low"] > 0.1
    assert ruler["label_changes"] == 1
    assert cell(table, "hair", "class MEL")["change"] == pytest.approx(-0.3)
    assert cell(table, "hair", "class NV")["change"] == pytest.approx(0.3)
    assert cell(table, "hair", "class NV")["label_changes"] == 1
    assert cell(table, "ruler", "class NV")["label_changes"] == 0


def test_a_change_that_goes_either_way(scores):
    back = cell(co_change_table(Scored(scores, ATTRIBUTES, ["MEL"], resamples=500)), "ruler", "hair")
    assert back["change"] == pytest.approx(0) and back["abs_change"] == pytest.approx(0.2)
    assert back["low"] < 0 < back["high"] and back["label_changes"] == 0


def test_positions_are_averaged_within_a_seed(scores):
    table = co_change_table(Scored(scores, ATTRIBUTES, ["MEL"], resamples=10), positions=STEPS)
    assert cell(table, "hair", "hair")["change"] == pytest.approx(1 / 3)
    assert cell(table, "hair", "hair")["label_changes"] == pytest.approx(2 / 3)
    assert "class MEL" not in set(table["head"])  # a single class is no decision


def test_most_entangled_are_those_whose_labels_change_most(scores):
    table = co_change_table(Scored(scores, ATTRIBUTES, CLASSES, resamples=500))
    pairs = most_entangled(table)
    assert (pairs["head"] != pairs["attribute"]).all() and pairs["change"].notna().all()
    assert pairs["label_changes"].tolist() == [1, 1, 0, 0]
    assert pairs["significant"].tolist() == [True] * 2 + [False] * 2
    assert pairs["head"].tolist()[:2] == ["class MEL", "ruler"]
    assert len(most_entangled(table, 2)) == 2


def test_a_head_that_flips_either_way_is_more_entangled_than_one_that_creeps_up(scores):
    """Ordered by "the interval excludes 0", the pair that was entangled most came last."""
    scores = scores.copy()
    toward_ruler = (scores["method"] == "swap") & (scores["attribute"] == "ruler")
    either_way = np.where(scores.loc[toward_ruler, "seed"] % 2, 0.6, 0.0)
    scores.loc[toward_ruler, "prob_hair"] = either_way  # neutral 0.3: half of the seeds flip, the mean stays
    toward_hair = (scores["method"] == "swap") & (scores["attribute"] == "hair")
    scores.loc[toward_hair, "prob_ruler"] = 0.41  # neutral 0.45: always a little less
    table = co_change_table(Scored(scores, ATTRIBUTES, ["MEL"], resamples=500))
    first, second = most_entangled(table).to_dict("records")[:2]
    assert (first["attribute"], first["head"]) == ("ruler", "hair") and first["label_changes"] == 0.5
    assert (second["attribute"], second["head"]) == ("hair", "ruler") and second["significant"]


def test_gaps_are_counted_and_named(scores):
    gone = (scores["attribute"] == "hair") & (scores["swap_step"] == 5) & (scores["seed"] < 10)
    table = co_change_table(Scored(scores[~gone], ATTRIBUTES, CLASSES, resamples=10))
    assert cell(table, "hair", "ruler")["n"] == 30
    no_head = co_change_table(Scored(scores.drop(columns="prob_ruler"), ATTRIBUTES, ["MEL"], resamples=10))
    row = cell(no_head, "hair", "ruler")
    assert np.isnan(row["change"]) and row["reason"] == "no score of head ruler on the neutral images"
    three = co_change_table(Scored(scores.assign(prob_ink=0.1), [*ATTRIBUTES, "ink"], ["MEL"], resamples=10))
    assert cell(three, "ink", "hair")["reason"] == "no scored images toward ink"
    assert len(most_entangled(three, 99)) == 4
    with pytest.raises(UserError, match="'bezier'"):
        co_change_table(Scored(scores, ATTRIBUTES, CLASSES), "bezier")
