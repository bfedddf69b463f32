"""Every kind of edit is judged by what it asked for."""

from __future__ import annotations

import pandas as pd
import pytest

from latentpath.metrics import Scored, edit_table

HEADS = ("hair", "ink", "ruler")
N = 10


def image(seed, attribute, method, *present, swap_step=4, until=N, strength=1.0):
    return {
        "class": "MEL", "seed": seed, "attribute": attribute, "method": method, "swap_step": swap_step,
        "until": until, "strength": strength, "model": "finetuned",
    } | {f"prob_{head}": 0.9 if head in present else 0.2 for head in HEADS}  # fmt: skip


def table(*rows):
    return edit_table(Scored(pd.DataFrame(rows), HEADS, ["MEL"])).set_index("method")


def neutral(seed, *present):
    return image(seed, "", "neutral", *present, swap_step=N)


def test_a_combination_matches_when_the_predicted_attributes_are_exactly_those_named():
    found = table(
        *(neutral(seed) for seed in range(4)),
        image(0, "hair+ruler", "combination", "hair", "ruler"),
        image(1, "hair+ruler", "combination", "hair"),
        image(2, "hair+ruler", "combination", "hair", "ruler", "ink"),
        image(3, "hair+ruler", "combination"),
    ).loc["combination"]
    assert (found["before"], found["after"], found["match"], found["n"]) == (0, 0.5, 0.25, 4)
    assert found["others_kept"] == 0.75
    assert found["probability"] == pytest.approx((4 * 0.9 + 1 * 0.9 + 3 * 0.2) / 8)


def test_a_removal_departs_from_the_image_that_has_the_attribute():
    found = table(
        neutral(0), neutral(1),
        image(0, "hair", "present", "hair", swap_step=N),
        image(1, "hair", "present", "hair", "ink", swap_step=N),
        image(0, "hair", "removal"), image(1, "hair", "removal", "hair"),
    ).loc["removal"]  # fmt: skip
    assert (found["before"], found["after"], found["match"]) == (1, 0.5, 0.5)
    assert found["others_kept"] == 0.5  # ink went with it in seed 1


def test_strengths_windows_and_steps_are_rows_of_their_own():
    rows = [
        neutral(0),
        image(0, "hair", "strength", strength=0.5),
        image(0, "hair", "strength", strength=1.5),
    ]
    rows += [image(0, "hair", "window", until=6), image(0, "hair", "window", until=8)]
    assert len(edit_table(Scored(pd.DataFrame(rows), HEADS, ["MEL"]))) == 4


def test_an_attribute_without_a_head_is_not_judged():
    found = table(neutral(0), image(0, "hair+gel", "combination", "hair")).loc["combination"]
    assert found[["before", "after", "match", "probability"]].isna().all()


def test_a_missing_score_leaves_its_seed_out():
    rows = [neutral(0), neutral(1), image(0, "hair", "swap", "hair"), image(1, "hair", "swap")]
    rows[3]["prob_ink"] = None
    found = table(*rows).loc["swap"]
    assert (found["after"], found["n"]) == (1, 2)
