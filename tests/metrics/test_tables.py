"""The tables agree with the formulas, whatever the order and the gaps of scores.parquet."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from latentpath import metrics
from latentpath.errors import UserError
from latentpath.metrics import (
    Scored,
    cfrt_by_position,
    cfrt_means,
    cfrt_released,
    cfrt_sensitivity,
    cfrt_strict,
    cfrt_table,
    strong_frames,
    strong_swap_steps,
)

ATTRIBUTES, CLASSES, STEPS, SEEDS = (
    ("hair", "ink", "ruler"),
    ("MEL", "NV"),
    (5, 10, 15, 20, 25, 30),
    (3, 7, 11),
)


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """Random scores as evaluate writes them: neutral, swaps and a Bezier curve, two classes, both models."""
    rng = np.random.default_rng(1)
    rows = []
    for model in ("finetuned", "base"):
        for cls in CLASSES:
            for seed in SEEDS:
                key = {"class": cls, "seed": seed, "model": model}
                rows.append(key | {"attribute": "", "method": "neutral", "swap_step": 50})
                for attribute in ATTRIBUTES:
                    key["attribute"] = attribute
                    rows += [key | {"method": "swap", "swap_step": s} for s in STEPS]
                    rows += [key | {"method": "bezier", "frame": f} for f in range(10)]
    table = pd.DataFrame(rows).astype({"swap_step": "Int64", "frame": "Int64"})
    for name in [f"prob_{a}" for a in ATTRIBUTES]:
        table[name] = rng.uniform(size=len(table))
    table["class_prob_MEL"] = rng.uniform(size=len(table))
    table["class_prob_NV"] = 1 - table["class_prob_MEL"]
    return table.sample(frac=1, random_state=0).reset_index(drop=True)


def by_hand(scores: pd.DataFrame, cls: str, method: str, column: str, positions: list[int]):
    """The arrays of `cfrt`, one look-up an entry."""
    mine = scores[(scores["model"] == "finetuned") & (scores["class"] == cls)]
    heads = [f"prob_{a}" for a in ATTRIBUTES]

    def find(seed, attribute, position):
        rows = mine[(mine["seed"] == seed) & (mine["attribute"] == attribute)]
        rows = rows[rows["method"] == (method if attribute else "neutral")]
        return (rows[rows[column] == position] if attribute else rows).iloc[0]

    def label(row):
        return float(row["class_prob_NV"] > row["class_prob_MEL"])

    before = [find(s, "", None) for s in SEEDS]
    after = [[[find(s, a, p) for p in positions] for s in SEEDS] for a in ATTRIBUTES]
    return (
        np.array([[row[h] for h in heads] for row in before]),
        np.array([[[[row[h] for h in heads] for row in p] for p in s] for s in after]),
        np.array([label(row) for row in before]),
        np.array([[[label(row) for row in p] for p in s] for s in after]),
    )


@pytest.mark.parametrize(
    ("method", "column", "positions"), [("swap", "swap_step", [5, 10]), ("bezier", "frame", [6, 7, 8, 9])]
)
def test_table_equals_the_formulas(scores, tmp_path, method, column, positions):
    scores.to_parquet(tmp_path / "scores.parquet")
    table = cfrt_table(Scored(pd.read_parquet(tmp_path / "scores.parquet"), ATTRIBUTES, CLASSES), method)
    assert list(zip(table["class"], table["attribute"], strict=True)) == [
        (c, a) for c in CLASSES for a in ATTRIBUTES
    ]
    for row in table.to_dict("records"):
        neutral, edited, y, y_edited = by_hand(scores, row["class"], method, column, positions)
        index = ATTRIBUTES.index(row["attribute"])
        options = dict(neutral_class=y, edited_class=y_edited)
        released = cfrt_released(neutral, edited, index, **options)
        strict = cfrt_strict(neutral, edited, index, **options)
        assert row["positions"] == positions
        assert (row["n_seeds"], row["n_images"], row["reason"]) == (3, 3 * len(positions), "")
        assert row["cfrt_released"] == row["dominant_heads"] == released.cfrt.value
        assert row["cfrt_strict"] == strict.cfrt.value
        assert row["dominant_images"] == strict.dominant.value
        for name in ("flipped", "class_kept", "others_kept", "already_present"):
            assert row[name] == getattr(strict, name).value
        assert (row["all_released"], row["all_strict"]) == (released.all.value, strict.all.value)


def test_table_can_tell_its_conditions_apart(scores):
    """Guards the test above against a fixture on which everything is 0 or 1."""
    table = cfrt_table(Scored(scores, ATTRIBUTES, CLASSES), "swap", STEPS)
    for name in ("flipped", "dominant_heads", "dominant_images", "class_kept", "others_kept"):
        assert table[name].nunique() > 1
    assert not np.allclose(table["dominant_heads"], table["dominant_images"])


def test_model_is_chosen_not_mixed(scores):
    """cfrt_table of the base model equals that of a table that holds nothing else."""
    alone = scores[scores["model"] == "base"].drop(columns="model")
    pd.testing.assert_frame_equal(
        cfrt_table(Scored(scores, ATTRIBUTES, CLASSES, model="base"), "swap"),
        cfrt_table(Scored(alone, ATTRIBUTES, CLASSES), "swap"),
    )


def test_gaps_are_named(scores):
    gone = (scores["class"] == "MEL") & (scores["attribute"] == "ink") & (scores["method"] == "swap")
    table = cfrt_table(Scored(scores[~gone].drop(columns="prob_ruler"), ATTRIBUTES, CLASSES), "swap")
    reasons = table.set_index(["class", "attribute"])["reason"]
    assert "flipped: no scored images toward ink" in reasons["MEL", "ink"]
    assert "dominant_images: no scored images toward ink" in reasons["MEL", "hair"]
    assert "cfrt_released: no score of head ruler" in reasons["NV", "hair"]
    both = "no score of head ruler on the neutral images and no scored images toward ink"
    assert f"cfrt_released: {both}" in reasons["MEL", "ink"].split("; ")  # no reason is lost
    assert table["cfrt_released"].isna().all()


def test_a_seed_without_neutral_image_is_counted_as_left_out(scores):
    lost = (scores["method"] == "neutral") & (scores["seed"] == 7) & (scores["class"] == "NV")
    table = cfrt_table(Scored(scores[~lost], ATTRIBUTES, CLASSES), "swap").set_index(["class", "attribute"])
    assert table.loc[("NV", "hair"), "n_seeds"] == 3
    assert "cfrt_released: 1 of 3 left out" in table.loc[("NV", "hair"), "reason"]
    assert table.loc[("MEL", "hair"), "reason"] == ""


def test_single_class_needs_no_class_columns(scores):
    chest = scores[scores["class"] == "NV"].drop(columns=["class_prob_MEL", "class_prob_NV"])
    table = cfrt_table(Scored(chest, ATTRIBUTES, ["NV"]), "swap")
    assert table["class_kept"].isna().all() and table["cfrt_strict"].notna().all()
    assert table["reason"].str.contains("single class").all()


def test_what_is_not_there_is_refused(scores):
    with pytest.raises(UserError, match="'slerp'"):
        cfrt_table(Scored(scores, ATTRIBUTES, CLASSES), "slerp")
    with pytest.raises(UserError, match=r"no swap_step \[7\]"):
        cfrt_table(Scored(scores, ATTRIBUTES, CLASSES), "swap", [5, 7])
    with pytest.raises(UserError, match="two rows for the same image"):
        cfrt_table(Scored(pd.concat([scores, scores]), ATTRIBUTES, CLASSES), "swap")


def test_strong_end_is_the_papers():
    assert strong_swap_steps(range(5, 50, 5)) == (5, 10, 15)
    assert strong_frames(range(50)) == tuple(range(30, 50))
    assert strong_swap_steps([10]) == (10,) and strong_frames([0, 1]) == (1,)


def test_the_package_loads_nothing_until_asked():
    code = "import sys, latentpath.metrics; assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_of_the_package_is_a_function_or_class():
    """A module named like a function would take its place after the first import."""
    for name in dir(metrics):
        assert callable(getattr(metrics, name)), name


def test_intervals_are_columns_beside_the_same_figures(scores):
    table = cfrt_table(Scored(scores, ATTRIBUTES, CLASSES), "swap", STEPS)
    for name in ("cfrt_released", "cfrt_strict", "flipped", "class_kept", "all_strict"):
        assert (table[f"{name}_low"] <= table[name]).all() and (table[name] <= table[f"{name}_high"]).all()
        assert (table[f"{name}_low"] < table[f"{name}_high"]).any()


def test_intervals_narrow_with_the_seeds_not_with_the_positions(scores):
    """100 seeds, all positions of a seed alike: six positions tell no more than one."""
    rng = np.random.default_rng(2)
    key = {"class": "NV", "model": "finetuned"}
    rows = []
    for seed, hair in enumerate(rng.uniform(size=100) < 0.5):
        rows.append(key | {"seed": seed, "attribute": "", "method": "neutral"} | {"prob_hair": 0.1})
        rows += [
            key
            | {"seed": seed, "attribute": "hair", "method": "swap", "swap_step": s, "prob_hair": 0.9 * hair}
            for s in STEPS
        ]
    table = pd.DataFrame(rows)
    many = cfrt_table(Scored(table, ["hair"], ["NV"]), "swap", STEPS).iloc[0]
    one = cfrt_table(Scored(table, ["hair"], ["NV"]), "swap", [5]).iloc[0]
    assert many["n_images"] == 600 and one["n_images"] == 100
    assert many["flipped_low"] == pytest.approx(one["flipped_low"])
    assert many["flipped_high"] == pytest.approx(one["flipped_high"])
    assert many["flipped_high"] - many["flipped_low"] == pytest.approx(2 * 1.96 * 0.05, abs=0.02)
    assert np.isnan(many["cfrt_strict_low"])  # undefined: no other attribute
    alone = cfrt_by_position(Scored(table, ["hair"], ["NV"]), "swap")
    assert alone["flipped_low"].tolist() == pytest.approx([one["flipped_low"]] * len(STEPS))
    assert alone["flipped_high"].tolist() == pytest.approx([one["flipped_high"]] * len(STEPS))


@pytest.mark.parametrize(("method", "positions"), [("swap", STEPS), ("bezier", range(1, 10))])
def test_every_position_alone(scores, method, positions):
    table = cfrt_by_position(Scored(scores, ATTRIBUTES, CLASSES), method)
    assert len(table) == len(CLASSES) * len(ATTRIBUTES) * len(positions)
    for position in positions:
        alone = cfrt_table(Scored(scores, ATTRIBUTES, CLASSES), method, [position])
        mine = table[table["position"] == position].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine[alone.columns.drop("positions")], alone.drop(columns="positions"))


def test_sensitivity_turns_one_knob_at_a_time(scores):
    table = cfrt_sensitivity(Scored(scores, ATTRIBUTES, CLASSES), "swap", thresholds=(0.2, 0.5))
    for t in (0.2, 0.5):
        mine = table[(table["varies"] == "threshold") & (table["threshold"] == t)].reset_index(drop=True)
        here = cfrt_table(Scored(scores, ATTRIBUTES, CLASSES, threshold=t), "swap")
        pd.testing.assert_frame_equal(mine[here.columns], here)
    for n in range(1, 7):
        mine = table[(table["varies"] == "strong") & (table["n_strong"] == n)].reset_index(drop=True)
        here = cfrt_table(Scored(scores, ATTRIBUTES, CLASSES), "swap", STEPS[:n])
        pd.testing.assert_frame_equal(mine[here.columns], here)
    released = (
        table[table["varies"] == "threshold"].groupby(["class", "attribute"])["cfrt_released"].nunique()
    )
    assert (released == 1).all()


def test_late_frames_are_the_strong_ones(scores):
    table = cfrt_sensitivity(Scored(scores, ATTRIBUTES, CLASSES), "bezier", thresholds=(), counts=(1, 4))
    assert [tuple(p) for p in table["positions"].drop_duplicates()] == [(9,), (6, 7, 8, 9)]
    with pytest.raises(ValueError, match=r"1\.\.9"):
        cfrt_sensitivity(Scored(scores, ATTRIBUTES, CLASSES), "bezier", counts=[11])


def test_means_are_over_the_cells_asked_for(scores):
    table = cfrt_table(Scored(scores, ATTRIBUTES, CLASSES), "swap", STEPS)
    table = table[table["attribute"].isin(["hair", "ink"])]
    means = cfrt_means(Scored(scores, ATTRIBUTES, CLASSES), "swap", STEPS, of=["hair", "ink"])
    for name in ("cfrt_released", "cfrt_strict", "flipped", "all_strict"):
        assert means[name] == pytest.approx(table[name].mean())
        assert means[f"{name}_low"] <= means[name] <= means[f"{name}_high"]
    lost = scores.drop(columns="prob_ruler")
    assert np.isnan(cfrt_means(Scored(lost, ATTRIBUTES, CLASSES), "swap")["cfrt_released"])


def test_an_attribute_twice_narrows_no_interval(scores):
    """Ten classes that are copies of one say what the one says: their seeds are the same seeds."""
    one = scores[scores["class"] == "NV"].drop(columns=["class_prob_MEL", "class_prob_NV"])
    names = [f"copy {k}" for k in range(10)]
    many = pd.concat([one.assign(**{"class": name}) for name in names])
    alone = cfrt_means(Scored(one, ATTRIBUTES, ["NV"]), "swap", STEPS)
    copies = cfrt_means(Scored(many, ATTRIBUTES, names), "swap", STEPS)
    for figure in ("cfrt_released", "flipped", "others_kept"):
        for end in ("", "_low", "_high"):
            assert copies[figure + end] == pytest.approx(alone[figure + end])


def test_frame_zero_is_no_position_of_its_own(scores):
    frames = cfrt_by_position(Scored(scores, ATTRIBUTES, CLASSES), "bezier")["position"]
    assert sorted(set(frames)) == list(range(1, 10))


def test_scores_without_calibration(scores):
    """Undoing the temperatures gives the sigmoid and softmax of the logits that they had divided."""
    rng = np.random.default_rng(2)
    logits = rng.normal(size=len(scores)) * 3
    raw, softened = (1 / (1 + np.exp(-logits / t)) for t in (1, 2.5))
    classes = {}
    for name, t in (("raw", 1.0), ("calibrated", 0.5)):
        power = np.exp(np.stack([logits, -0.3 * logits], axis=1) / t)
        classes[name] = power / power.sum(axis=1, keepdims=True)
    mine = scores.assign(
        prob_hair=softened,
        class_prob_MEL=classes["calibrated"][:, 0],
        class_prob_NV=classes["calibrated"][:, 1],
    )
    found = Scored(mine, ATTRIBUTES, CLASSES).uncalibrated({"hair": 2.5, "class": 0.5, "unknown": 3.0}).table
    np.testing.assert_allclose(found["prob_hair"], raw)
    np.testing.assert_allclose(found[["class_prob_MEL", "class_prob_NV"]], classes["raw"])
    pd.testing.assert_series_equal(found["prob_ink"], scores["prob_ink"])

    weights = {"hair": [0.7], "class": [0.4, -1.1]}
    weighted = {"hair": 1 / (1 + np.exp(-(logits - 0.7) / 2.5))}
    power = np.exp(np.stack([logits - 0.4, -0.3 * logits + 1.1], axis=1) / 0.5)
    weighted |= {"MEL": power[:, 0] / power.sum(axis=1), "NV": power[:, 1] / power.sum(axis=1)}
    full = scores.assign(
        prob_hair=weighted["hair"], class_prob_MEL=weighted["MEL"], class_prob_NV=weighted["NV"]
    )
    found = Scored(full, ATTRIBUTES, CLASSES).uncalibrated({"hair": 2.5, "class": 0.5}, weights).table
    np.testing.assert_allclose(found["prob_hair"], raw)
    np.testing.assert_allclose(found[["class_prob_MEL", "class_prob_NV"]], classes["raw"])

    temperatures = {"hair": 3.0, "ink": 0.5}
    table = cfrt_sensitivity(Scored(mine, ATTRIBUTES, CLASSES), "swap", temperatures=temperatures)
    both = {on: rows for on, rows in table[table["varies"] == "calibration"].groupby("calibrated")}
    of = ["class", "attribute", "flipped", "cfrt_released", "others_kept"]
    there = cfrt_table(Scored(mine, ATTRIBUTES, CLASSES), "swap")
    pd.testing.assert_frame_equal(both[True][of].reset_index(drop=True), there[of])
    without = cfrt_table(Scored(mine, ATTRIBUTES, CLASSES).uncalibrated(temperatures), "swap")
    pd.testing.assert_frame_equal(both[False][of].reset_index(drop=True), without[of])
    assert not np.allclose(without["cfrt_released"], there["cfrt_released"])
    np.testing.assert_array_equal(without["flipped"], there["flipped"])  # a decision at 0.5 stays
