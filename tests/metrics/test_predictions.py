"""Made-up files of the authors' form: both column orders, what names say, what can be computed."""

import numpy as np
import pandas as pd
import pytest

from latentpath.errors import UserError
from latentpath.metrics import cfrt_released, cfrt_strict
from latentpath.metrics.predictions import as_predictions
from latentpath.metrics.predictions_cfrt import cfrt_of_predictions, neutral_faults, scope

HEADS, STEPS, SEEDS = ("hairs", "gel_bubbles", "ink"), (5, 10, 15, 20, 25, 30, 35, 40, 45), 12
RNG = np.random.default_rng(0)
NEUTRAL = RNG.uniform(0, 0.5, (SEEDS, len(HEADS)))
EDITED = RNG.uniform(0, 1, (len(HEADS), SEEDS, len(STEPS), len(HEADS)))  # (A, S, P, A)


def wide(toward: int, *, last: bool = False, frames: bool = False) -> pd.DataFrame:
    """The file toward an attribute; `last`: the position last in the column's name."""
    columns = {"seed": range(4000, 4000 + SEEDS), "path": "/melanoma/hairs/style.png"}
    names = [str(p) for p in range(len(STEPS) + 1)] if frames else ["neutral", *map(str, STEPS)]
    for p, position in enumerate(names):
        for h, head in enumerate(HEADS):
            name = f"{head}_{position}" if last else f"{position}_{head}"
            columns[name] = NEUTRAL[:, h] if p == 0 else EDITED[toward, :, p - 1, h]
    return pd.DataFrame(columns)


def files(cls: str = "melanoma", *, heads=HEADS) -> list:
    return [as_predictions(wide(HEADS.index(h)), f"{cls}_{h}_predictions.csv") for h in heads]


@pytest.mark.parametrize("last", [False, True])
def test_a_set_of_files_gives_both_definitions(last):
    read = [as_predictions(wide(i, last=last), f"in/nevus_{h}_predictions.csv") for i, h in enumerate(HEADS)]
    table = cfrt_of_predictions(read)
    assert table["attribute"].tolist() == list(HEADS) and set(table["class"]) == {"nevus"}
    for i, row in enumerate(table.to_dict("records")):
        args = (NEUTRAL, EDITED[:, :, :3], i)
        assert row["positions"] == [5, 10, 15] and row["n_seeds"] == SEEDS
        assert row["cfrt_released"] == cfrt_released(*args).cfrt.value
        assert row["cfrt_strict"] == cfrt_strict(*args).cfrt.value
        assert row["dominant_images"] == cfrt_strict(*args).dominant.value
        assert row["others_kept"] == cfrt_strict(*args).others_kept.value
        assert row["reason"] == "class_kept: the files hold no class scores"
    assert table["cfrt_strict"].nunique() > 1
    assert "released and strict" in scope(read)[0]


def test_one_file_gives_the_released_definition_only():
    one = files(heads=("ink",))
    row = cfrt_of_predictions(one).iloc[0]
    assert row["cfrt_released"] == cfrt_released(NEUTRAL, EDITED[:, :, :3], 2).cfrt.value
    assert row["cfrt_released_low"] <= row["cfrt_released"] <= row["cfrt_released_high"]
    assert np.isnan(row["cfrt_strict"]) and np.isnan(row["cfrt_strict_low"])
    assert "cfrt_strict: no scored images toward hairs, gel_bubbles" in row["reason"]
    assert scope(one)[0].startswith("swap melanoma: released only.")
    assert "no file toward hairs, gel_bubbles" in scope(one)[0]


def test_frames_of_a_curve_start_at_the_neutral_image():
    read = as_predictions(wide(0, frames=True), "interpolations_nevus_hairs_predictions.csv")
    assert (read.method, read.cls, read.attribute) == ("bezier", "nevus", "hairs")
    row = cfrt_of_predictions([read]).iloc[0]
    assert row["positions"] == [6, 7, 8, 9]
    assert row["cfrt_released"] == cfrt_released(NEUTRAL, EDITED[:, :, 5:], 0).cfrt.value
    assert as_predictions(wide(0, frames=True), "slerp_hairs.csv").method == "slerp"


@pytest.mark.parametrize(
    ("name", "cls", "attribute"),
    [
        ("pleural/melanoma_gel_bubbles_predictions.csv", "melanoma", "gel_bubbles"),
        ("Ink-predictions.csv", "", "ink"),
        ("interpolations_nevus_hairs_predictions.csv", "nevus", "hairs"),
        ("basal_cell_carcinoma_ink.csv", "basal_cell_carcinoma", "ink"),
    ],
)
def test_the_name_says_attribute_and_class(name, cls, attribute):
    read = as_predictions(wide(0), name)
    assert (read.cls, read.attribute) == (cls, attribute)


def test_the_longer_head_wins_unless_the_user_names_another():
    table = wide(0).rename(columns=lambda c: c.replace("hairs", "bubbles"))
    assert as_predictions(table, "gel_bubbles.csv").attribute == "gel_bubbles"
    assert as_predictions(wide(0), "run_7.csv", "ink").attribute == "ink"
    for name in ("run_7.csv", "ink_hairs.csv"):
        with pytest.raises(UserError, match=r"hairs, gel_bubbles, ink.*--attribute"):
            as_predictions(wide(0), name)
    with pytest.raises(UserError, match="no column of the attribute 'hair'"):
        as_predictions(wide(0), "run_7.csv", "hair")


def test_wrong_values_are_named():
    def message(table: pd.DataFrame) -> str:
        with pytest.raises(UserError) as error:
            as_predictions(table, "ink.csv")
        return str(error.value)

    bad = wide(2).astype({"10_ink": object})
    bad.loc[3, "10_ink"] = "n.a."
    assert message(bad).startswith("ink.csv, line 5, column 10_ink: expected a probability")
    assert "found '1.2'" in message(wide(2).assign(**{"5_hairs": 1.2}))
    assert "lines 2 and 3, column seed: 7 stands twice" in message(wide(2).assign(seed=[7, 7, *range(10)]))
    assert "column seed: expected a whole number" in message(wide(2).assign(seed=0.5))
    assert "no column of ink at position 10" in message(wide(2).drop(columns="10_ink"))
    assert "say the same thing" in message(wide(2).assign(ink_5=0.5))
    neutral = [f"neutral_{h}" for h in HEADS]
    assert "as neutral_hair, 5_hair" in message(wide(2).drop(columns=neutral))
    assert "expected a column seed" in message(wide(2).drop(columns="seed"))


def test_a_missing_score_leaves_its_seed_out():
    table = wide(0)
    table.loc[0, "5_ink"] = np.nan
    row = cfrt_of_predictions([as_predictions(table, "hairs.csv")]).iloc[0]
    assert row["cfrt_released"] == cfrt_released(NEUTRAL[1:], EDITED[:, 1:, :3], 0).cfrt.value
    assert "cfrt_released: 1 of 12 left out" in row["reason"]


def test_files_that_differ_on_a_neutral_image():
    """Seed 4001 has another neutral image in the file toward ink: strict leaves it out, released does not."""
    table = wide(2)
    table.loc[1, "neutral_hairs"] += 0.2
    read = [*files(heads=HEADS[:2]), as_predictions(table, "melanoma_ink_predictions.csv")]
    row = cfrt_of_predictions(read).iloc[0]
    keep = np.arange(SEEDS) != 1
    assert row["cfrt_strict"] == cfrt_strict(NEUTRAL[keep], EDITED[:, keep, :3], 0).cfrt.value
    assert row["cfrt_released"] == cfrt_released(NEUTRAL, EDITED[:, :, :3], 0).cfrt.value
    faults = neutral_faults(read)
    assert len(faults) == 2 and "differ on the neutral image of 1 of 12 seeds" in faults[0]


def test_a_baseline_of_another_class_is_named():
    faults = neutral_faults([*files("melanoma"), *files("nevus")])
    assert len(faults) == 1 and faults[0].startswith("swap nevus: the neutral scores are melanoma's")
    assert neutral_faults(files("melanoma")) == []
