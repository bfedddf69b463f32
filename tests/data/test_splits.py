import numpy as np
import pandas as pd
import pytest

from latentpath.data.splits import assign_splits, hash_unit
from latentpath.errors import UserError

FRACTIONS = {"val_fraction": 0.1, "test_fraction": 0.2, "salt": "s"}


def test_groups_never_straddle_splits():
    groups = pd.Series([f"patient{i % 300}" for i in range(2000)])
    splits = pd.Series(assign_splits(groups, **FRACTIONS))
    assert splits.groupby(groups).nunique().max() == 1
    assert set(splits) == {"train", "val", "test"}


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


def test_no_groups_no_splits():
    assert len(assign_splits(pd.Series([], dtype=str), **FRACTIONS)) == 0


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0.2)])
def test_impossible_fractions_are_refused(val, test):
    with pytest.raises(UserError, match="val_fraction"):
        assign_splits(pd.Series(["a"]), val_fraction=val, test_fraction=test, salt="s")
