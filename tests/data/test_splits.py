import numpy as np
import pandas as pd
import pytest

from latentpath.data.captions import CaptionTemplate
from latentpath.data.load import load_dataset
from latentpath.data.records import ImageTable
from latentpath.data.splits import (
    assert_disjoint,
    assign_splits,
    copies_across_splits,
    hash_unit,
    rare_labels,
    reserve_for_judge,
    stratified_splits,
)
from latentpath.errors import UserError

FRACTIONS = {"val_fraction": 0.1, "test_fraction": 0.2, "salt": "s"}


def test_groups_never_straddle_splits():
    groups = pd.Series([f"patient{i % 300}" for i in range(2000)])
    splits = pd.Series(assign_splits(groups, **FRACTIONS))
    assert splits.groupby(groups).nunique().max() == 1
    assert set(splits) == {"train", "val", "test"}


def test_groups_reserved_for_the_judge_are_training_groups_and_stay_whole():
    groups = pd.Series([f"patient{i % 900}" for i in range(3000)])
    splits = assign_splits(groups, **FRACTIONS)
    reserved = pd.Series(reserve_for_judge(groups, splits, fraction=0.4, salt="s"))
    assert reserved.groupby(groups).nunique().max() == 1
    changed = (reserved != splits).to_numpy()
    assert set(splits[changed]) == {"train"} and set(reserved[changed]) == {"judge"}
    assert 0.35 < (reserved == "judge").sum() / (splits == "train").sum() < 0.45
    assert (reserve_for_judge(groups, splits, fraction=0.0, salt="s") == splits).all()


def test_the_judge_and_the_fine_tune_share_no_training_group(isic_32, compose):
    overrides = ("dataset=phantom_isic2019", f"dataset.root={isic_32}", "dataset.image_size=32")
    table = load_dataset(compose("classify", *overrides, "dataset.judge_fraction=0.5").dataset)
    judged, plain = table.for_judge(), load_dataset(compose("classify", *overrides).dataset)
    theirs, ours = (set(one.split("train")["group"]) for one in (table, judged))
    assert theirs and ours and not theirs & ours
    assert theirs | ours == set(plain.split("train")["group"]) and plain.for_judge() is plain
    for held_out in ("val", "test"):
        assert judged.split(held_out)["image_id"].tolist() == plain.split(held_out)["image_id"].tolist()


def test_new_images_move_none_and_order_does_not_matter():
    old = pd.Series([f"lesion{i}" for i in range(500)])
    new = pd.concat([pd.Series([f"new{i}" for i in range(500)]), old[::-1]])
    after = dict(zip(new, assign_splits(new, **FRACTIONS), strict=True))
    assert [after[name] for name in old] == list(assign_splits(old, **FRACTIONS))


def test_the_fractions_hold_and_val_does_not_move_test():
    groups = pd.Series([str(i) for i in range(20_000)])
    splits = assign_splits(groups, **FRACTIONS)
    shares = [np.mean(splits == name) for name in ("train", "val", "test")]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.01)
    wider = assign_splits(groups, val_fraction=0.3, test_fraction=0.2, salt="s")
    assert ((wider == "test") == (splits == "test")).all()


def test_the_hash_is_the_same_on_every_machine_and_changes_with_the_salt():
    units = hash_unit(["a", "b", "ä"], salt="latentpath")
    assert units == pytest.approx([0.531212036385, 0.397272488853, 0.561173577162], abs=1e-12)
    assert not np.isclose(units, hash_unit(["a", "b", "ä"], salt="other")).any()


def test_stratified_splits_hold_a_rare_label_in_every_split_and_no_group_twice():
    """Ten patients of 400 have the rare label: by a hash alone a split can be left without it."""
    rng = np.random.default_rng(3)
    groups = pd.Series([f"p{k}" for k in rng.integers(0, 400, 2000)])
    rare = groups.isin([f"p{k}" for k in range(10)]).astype(float)
    labels = pd.DataFrame({"rare": rare, "common": rng.integers(0, 2, 2000), "unknown": np.nan})
    splits = pd.Series(stratified_splits(groups, labels, **FRACTIONS))
    assert splits.groupby(groups).nunique().max() == 1
    shares = {name: rare[splits == name].sum() / rare.sum() for name in ("train", "val", "test")}
    assert shares == pytest.approx({"train": 0.7, "val": 0.1, "test": 0.2}, abs=0.06)
    for name, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        assert (splits == name).mean() == pytest.approx(share, abs=0.02)
    again = stratified_splits(groups[::-1], labels[::-1], **FRACTIONS)
    assert list(again[::-1]) == list(splits)  # the order of the images does not matter


def test_stratified_splits_without_validation_and_without_images():
    groups = pd.Series([f"p{k}" for k in range(20)])
    labels = pd.DataFrame({"a": np.ones(20)})
    splits = stratified_splits(groups, labels, val_fraction=0.0, test_fraction=0.5, salt="s")
    assert sorted(set(splits)) == ["test", "train"] and (splits == "test").sum() == 10
    assert len(stratified_splits(groups[:0], labels[:0], **FRACTIONS)) == 0


def test_labels_that_a_split_hardly_holds_are_named():
    rows = pd.DataFrame({"cls": "a", "hair": [1.0] * 12 + [np.nan] * 12, "split": ["train", "test"] * 12})
    assert rare_labels(rows, ["hair"], ["train", "test"]) == ["hair (6 in train)", "hair (6 in test)"]
    assert rare_labels(rows, [], ["val"]) == ["a (0 in val)"]


def test_no_groups_no_splits():
    assert len(assign_splits(pd.Series([], dtype=str), **FRACTIONS)) == 0


def table(groups, splits) -> ImageTable:
    names = [f"i{k}" for k in range(len(groups))]
    rows = pd.DataFrame(
        {
            "path": [f"/{n}.png" for n in names],
            "image_id": names,
            "cls": "a",
            "group": groups,
            "split": splits,
        }
    )
    return ImageTable(rows, ("a",), (), CaptionTemplate("{cls} {attributes}", "{cls}", {}, {}))


@pytest.mark.parametrize("kind", ["patient", "lesion", "near-duplicate"])
def test_what_would_be_torn_by_image_stays_together_by_group(kind):
    """Each patient or lesion has several images, each set of near-duplicates a group of its own."""
    images = pd.Series([f"ISIC_{i:04}" for i in range(400)])
    groups = pd.Series([f"{kind}{i // 4}" for i in range(400)])
    by_image = assign_splits(images, **FRACTIONS)
    torn = pd.Series(by_image).groupby(groups).nunique() > 1
    assert torn.sum() > 50, "planted: most groups would leak"
    with pytest.raises(UserError, match=rf"group \(patient or lesion\) {kind}\d+ is in (train|val|test) and"):
        assert_disjoint(table(groups, by_image))
    by_group = assign_splits(groups, **FRACTIONS)
    assert_disjoint(table(groups, by_group))
    assert (pd.Series(by_group).groupby(groups).nunique() == 1).all()


def test_one_planted_leak_is_named():
    groups = [f"p{i}" for i in range(30)] + ["p7"]
    splits = ["train"] * 30 + ["test"]
    with pytest.raises(UserError, match=r"group \(patient or lesion\) p7 is in train and test at once,"):
        assert_disjoint(table(groups, splits))
    assert_disjoint(table(groups, ["train"] * 31))
    with pytest.raises(UserError, match="p3 is in train and val at once, and 1 others are in several"):
        assert_disjoint(table(["p3", "p3", "q", "q"], ["train", "val", "test", "val"]))


def test_one_file_under_two_groups_and_an_image_without_group():
    leaky = table(["p", "q"], ["train", "test"])
    leaky.rows.loc[1, "path"] = leaky.rows.loc[0, "path"]
    with pytest.raises(UserError, match=r"the file /i0\.png is in train and test"):
        assert_disjoint(leaky)
    with pytest.raises(UserError, match="image i1 has no group"):
        assert_disjoint(table(["p", None], ["train", "test"]))


def test_copies_across_splits_are_counted():
    splits = ["train", "train", "test", "test", "val", "train"]
    assert copies_across_splits(["a", "b", "a", "c", "a", "b"], splits) == 3
    assert copies_across_splits(["a", "b", "c", "d", "", ""], splits) == 0
