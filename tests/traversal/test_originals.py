"""The choice of real images: free of all attributes, one per patient, independent of the table's order."""

import pandas as pd
import pytest

from latentpath.data.captions import CaptionTemplate
from latentpath.data.records import ImageTable
from latentpath.errors import UserError
from latentpath.traversal.originals import choose_originals

CAPTIONS = CaptionTemplate("{cls} {attributes}", "{cls}", {"a": "a", "b": "b"}, {"hair": "hair"})


def _table(**columns):
    rows = pd.DataFrame(columns | {"split": "test"})
    rows["path"] = "/data/" + rows["image_id"]
    return ImageTable(rows, ("a", "b"), ("hair",), CAPTIONS)


def _images(patients, hair=0.0):
    """Four images of each patient, of each class in turn."""
    ids = [f"{patient}_{k}" for patient in patients for k in range(4)]
    groups = [patient for patient in patients for _ in range(4)]
    return _table(image_id=ids, cls=["a", "b"] * (len(ids) // 2), group=groups, hair=hair)


def test_every_seed_of_a_class_is_another_patient():
    """Sixteen images of eight patients were sixteen seeds: an interval as short as of sixteen patients."""
    chosen = choose_originals(_images([f"p{k}" for k in range(8)]), split="test", seeds=range(8))
    assert chosen.groupby("class")["group"].nunique().to_dict() == {"a": 8, "b": 8}
    with pytest.raises(UserError, match=r"8 patients or lesions of a in the test split .* asks for 9"):
        choose_originals(_images([f"p{k}" for k in range(8)]), split="test", seeds=range(9))


def test_the_choice_does_not_depend_on_the_order_of_the_table():
    table = _images([f"p{k}" for k in range(8)])
    mixed = ImageTable(table.rows.sample(frac=1, random_state=0), table.classes, table.attributes, CAPTIONS)
    one, other = (choose_originals(each, split="test", seeds=[0, 3]) for each in (table, mixed))
    pd.testing.assert_frame_equal(one, other)
    assert one["path"].tolist() != table.rows["path"].tolist()[: len(one)]


def test_images_that_may_show_the_attribute_are_not_chosen():
    table = _images([f"p{k}" for k in range(4)], hair=float("nan"))
    table.rows.loc[table.rows["group"] == "p2", "hair"] = 0.0
    chosen = choose_originals(table, split="test", seeds=[0])
    assert chosen["group"].tolist() == ["p2", "p2"]
