"""From scores to fronts: who is eligible, what counts as leak, and differences on the same seeds."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from latentpath.errors import UserError
from latentpath.metrics.front_outcomes import LEAK, OTHERS, Edits, Setting
from latentpath.metrics.front_table import AREA, AT, CURVE, EQUAL, front_tables
from latentpath.metrics.scored import Scored

N = 10
HEADS, CLASSES = ("hair", "ink", "ruler"), ("MEL", "NV")


def image(
    seed, method, attribute="", step=N, strength=1.0, *, present=(), cls="MEL", decided=None, lpips=0.0
):
    """One row of scores: the heads in `present` are on, the class is decided as `decided`."""
    key = {"class": cls, "seed": seed, "attribute": attribute, "method": method, "swap_step": step}
    key |= {"until": N, "strength": strength, "lpips_alex": lpips, "model": "finetuned"}
    key |= {f"prob_{head}": 0.9 if head in present else 0.1 for head in HEADS}
    return key | {f"class_prob_{c}": 0.9 if c == (decided or cls) else 0.1 for c in CLASSES}


def scored(rows):
    table = pd.DataFrame(rows)
    return Scored(table, HEADS, CLASSES)


def test_effect_and_leak_of_each_seed():
    rows = [image(s, "neutral", present=["ruler"] if s == 2 else ["hair"] * (s == 3)) for s in range(4)]
    rows += [
        image(0, "swap", "hair", 5, present=["hair"]),  # the attribute alone
        image(1, "swap", "hair", 5, present=["ink", "ruler"], decided="NV"),  # everything but it
        image(2, "swap", "hair", 5, present=["hair"]),  # it, and the ruler is gone
        image(3, "swap", "hair", 5, present=["hair"]),  # it was there before: left out
    ]
    found = Edits(scored(rows)).outcomes(["swap"], [("MEL", "hair")])["swap"]
    assert found.settings == (Setting(1.0, 5),)
    np.testing.assert_array_equal(found.effect[:, 0, 0], [1, 0, 1])
    np.testing.assert_allclose(found.leaks[OTHERS][:, 0, 0], [0, 1, 1 / 3])


def test_the_leak_of_the_placebo_is_subtracted():
    rows = [image(s, "neutral") for s in range(2)]
    rows += [image(s, "swap", "hair", 5, present=["hair", "ink", "ruler"]) for s in range(2)]
    rows += [image(0, "placebo", "placebo", 5, present=["ink"]), image(1, "placebo", "placebo", 5)]
    edits = Edits(scored(rows))
    assert edits.leaks == [LEAK, OTHERS, "lpips_alex"] and edits.methods == ["swap"]
    found = edits.outcomes(["swap"], [("MEL", "hair")])["swap"]
    np.testing.assert_allclose(found.leaks[OTHERS][:, 0, 0], [2 / 3, 2 / 3])
    np.testing.assert_allclose(found.leaks[LEAK][:, 0, 0], [1 / 3, 2 / 3])


def test_another_strength_of_the_prompt_is_the_dial_of_the_swap():
    rows = [image(0, "neutral"), image(0, "swap", "hair", 5), image(0, "strength", "hair", 5, 1.5)]
    found = Edits(scored(rows)).outcomes(["swap"], [("MEL", "hair")])["swap"]
    assert found.settings == (Setting(1.0, 5), Setting(1.5, 5))


def test_an_image_that_is_there_twice_is_named():
    rows = [image(0, "neutral"), *[image(0, "swap", "hair", 5)] * 2]
    with pytest.raises(UserError, match=r"an image twice \(class MEL, attribute hair, method swap"):
        Edits(scored(rows)).outcomes(["swap"], [("MEL", "hair")])


def test_with_one_class_only_attributes_leak():
    rows = [image(0, "neutral"), image(0, "swap", "hair", 5, present=["hair", "ink"], decided="NV")]
    single = Scored(pd.DataFrame(rows), HEADS, ("MEL",))
    assert Edits(single).outcomes(["swap"], [("MEL", "hair")])["swap"].leaks[OTHERS].item() == 0.5


def test_methods_are_compared_on_the_same_images():
    rows = [image(s, "neutral") for s in range(3)]
    rows += [image(s, "swap", "hair", 5, present=["hair"]) for s in range(3)]
    rows += [image(s, "fcfg", "hair", 5, 2.5, present=["hair"]) for s in range(2)]  # seed 2 is missing
    found = Edits(scored(rows)).outcomes(["swap", "fcfg"], [("MEL", "hair")])
    np.testing.assert_array_equal(found["swap"].effect[:, 0, 0], [1, 1, np.nan])
    np.testing.assert_array_equal(found["fcfg"].effect[:, 0, 0], [1, 1, np.nan])


def test_only_ways_from_neutral_to_one_attribute_are_compared():
    rows = [image(0, "neutral"), image(0, "present", "hair"), image(0, "removal", "hair", 5)]
    rows += [image(0, "combination", "hair+ink", 5), image(0, "window", "hair", 2)]
    rows += [image(0, "swap", "hair", 5), image(0, "sega", "hair", 5, 3.0), image(0, "sega", "ink", 5, 3.0)]
    rows += [image(0, "bezier", "hair") | {"swap_step": None}]
    edits = Edits(scored(rows))
    assert edits.methods == ["swap", "sega"]
    assert edits.cells(["swap", "sega"]) == [("MEL", "hair")]
    assert edits.cells(["sega"]) == [("MEL", "hair"), ("MEL", "ink")]


@pytest.fixture(scope="module")
def study():
    """24 seeds: `clean` acts as often as the swap and brings no ink; `weak` acts on a quarter of them."""
    rows = []
    for seed in range(24):
        rows.append(image(seed, "neutral"))
        for step, share in ((6, 0.5), (2, 1.0)):
            here = ["hair"] * (seed < 24 * share)
            leaked = ["ink"] * (seed % 3 == 0)
            rows.append(image(seed, "swap", "hair", step, present=here + leaked, lpips=0.3))
            rows.append(image(seed, "clean", "hair", step, 2.0, present=here, lpips=0.1))
            rows.append(image(seed, "weak", "hair", step, present=["hair"] * (seed < 6), lpips=0.1))
    return front_tables(scored(rows), resamples=2000)


def test_the_table_has_the_leak_at_equal_effect(study):
    points, fronts = study
    assert set(fronts["measure"]) == {OTHERS, "lpips_alex"}
    cell = fronts[(fronts["attribute"] == "hair") & (fronts["measure"] == OTHERS)]
    swap, clean = (cell[cell["method"] == m].set_index("level") for m in ("swap", "clean"))
    assert swap.loc[0.8, "value"] == pytest.approx(0.8 / 3 / 3)  # 8 of 24 seeds, one of 3 decisions
    assert clean.loc[0.8, "value"] == 0 and clean.loc[0.8, "difference"] == pytest.approx(-0.8 / 9)
    assert clean.loc[0.8, "p"] < 0.05 and clean.loc[0.8, "difference_high"] < 0
    assert clean.loc[0.35, "p"] != clean.loc[0.35, "p"]  # a level of the curve that is not tested
    assert list(points.columns)[:3] == ["class", "attribute", "method"]
    row = points[(points["method"] == "swap") & (points["measure"] == OTHERS) & (points["swap_step"] == 2)]
    assert row["effect"].tolist() == [1, 1] and row["on_front"].all() and row["n"].tolist() == [24, 24]


def test_values_lie_in_intervals_that_do_not_promise_certainty(study):
    _, fronts = study
    known = fronts[fronts["n"] > 0]
    assert known["value"].between(known["low"], known["high"]).all()
    cell = known[(known["attribute"] == "hair") & (known["measure"] == OTHERS) & (known["method"] == "clean")]
    row = cell[cell["level"] == 0.8].iloc[0]  # no seed leaks in either of two settings
    least = norm.ppf(1 - 0.025 / 2) / 3 * np.sqrt(2 / (24 * 26))  # one of 3 decisions
    assert row["low"] == 0 and row["high"] == pytest.approx(least)
    area = cell[cell["figure"] == AREA].iloc[0]
    assert area["value"] == area["high"] == 1 and 0.8 < area["low"] < 1


def test_a_method_that_does_not_reach_an_effect_says_so(study):
    _, fronts = study
    weak = fronts[(fronts["method"] == "weak") & (fronts["figure"] == AT) & (fronts["attribute"] == "hair")]
    far, near = weak[weak["level"] > 0.25], weak[weak["level"] <= 0.25]
    assert far["value"].isna().all() and far["p"].isna().all() and (far["n"] == 0).all()
    assert far["reason"].str.startswith("no mixture of its settings has an effect of").all()
    assert near["value"].notna().all() and (near["reason"] == "").all()


def test_one_cell_and_the_mean_over_cells_agree(study):
    _, fronts = study
    columns = ["method", "measure", "figure", "level", "value", "difference", "p"]
    mean, cell = (fronts.loc[fronts["attribute"] == a, columns].reset_index(drop=True) for a in ("", "hair"))
    pd.testing.assert_frame_equal(mean, cell)
    assert (fronts["figure"] == AREA).sum() == 2 * 3 and set(EQUAL) < set(CURVE)


def test_a_single_method_has_nobody_to_compare_with():
    rows = [image(0, "neutral"), image(0, "swap", "hair", 5, present=["hair"])]
    points, fronts = front_tables(scored(rows))
    assert points.empty and fronts.empty and "value" in fronts
