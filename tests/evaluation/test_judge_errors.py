"""The judge's errors on real images, and shares corrected for them: by hand, and where nothing is known."""

import numpy as np
import pandas as pd
import pytest

from latentpath.evaluation.judge_errors import rows_of_judge_errors
from latentpath.keys import HELD_OUT, NULLABLE
from latentpath.metrics import Scored

HEADS = ("hair", "ink")


def scored(share: float, seeds: int = 40) -> Scored:
    """Swaps toward both attributes, of which the judge sees the attribute in a share of seeds."""
    rows = []
    for seed in range(seeds):
        blank = {
            "class": "NV",
            "seed": seed,
            "until": 9,
            "strength": 1.0,
            "frame": None,
            "model": "finetuned",
        }
        rows.append(
            blank | {"attribute": "", "method": "neutral", "swap_step": 9} | {f"prob_{h}": 0.1 for h in HEADS}
        )
        for attribute in HEADS:
            seen = 0.9 if seed < share * seeds else 0.1
            edit = {"attribute": attribute, "method": "swap", "swap_step": 2}
            rows.append(blank | edit | {f"prob_{h}": seen if h == attribute else 0.1 for h in HEADS})
    return Scored(pd.DataFrame(rows).astype(NULLABLE), HEADS, ("NV",), resamples=400)


def real(sensitivity: float, images: int = 200) -> pd.DataFrame:
    """Half of the images have hair, of which the judge sees a share; it never sees what is not there."""
    hair = np.arange(images) % 2
    seen = (hair == 1) & (np.arange(images) < sensitivity * images)
    table = pd.DataFrame(
        {"cls": "NV", "group": [f"g{i // 4}" for i in range(images)], "hair": hair.astype(float)}
    )
    return table.assign(prob_hair=np.where(seen, 0.9, 0.1), ink=np.nan, prob_ink=0.1)


def test_a_judge_that_misses_half_sees_half_of_what_is_there():
    rows = pd.DataFrame(rows_of_judge_errors(scored(0.4), HEADS, [2], real(0.5)))
    hair = rows[rows["attribute"] == "hair"].set_index("figure")
    assert hair.loc["sensitivity", "value"] == pytest.approx(0.5) and hair.loc["specificity", "value"] == 1
    assert hair.loc["sensitivity", "method"] == HELD_OUT and hair.loc["sensitivity", "n"] == 100
    assert hair.loc["present", "value"] == pytest.approx(0.4)
    assert hair.loc["present_corrected", "value"] == pytest.approx(0.8)
    for figure in ("sensitivity", "present", "present_corrected"):
        row = hair.loc[figure]
        assert row["low"] < row["value"] < row["high"], figure
    judged, corrected = (
        hair.loc[key, "high"] - hair.loc[key, "low"] for key in ("present", "present_corrected")
    )
    assert corrected > 1.5 * judged  # dividing by the sensitivity stretches the interval, too


def test_what_is_not_labelled_is_undefined_and_says_why():
    rows = pd.DataFrame(rows_of_judge_errors(scored(0.4), HEADS, [2], real(0.5)))
    ink = rows[rows["attribute"] == "ink"].set_index("figure")
    assert ink.loc["present", "value"] == pytest.approx(0.4)
    for figure in ("sensitivity", "specificity", "present_corrected"):
        assert np.isnan(ink.loc[figure, "value"]) and "no" in ink.loc[figure, "reason"]
