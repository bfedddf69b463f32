import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from latentpath.data.load import load_dataset
from latentpath.errors import UserError

LABELS = """path,kind,patient,hair,ink
a/0001.png,benign,7,1,
a/0002.png,malignant,007,0,-1
0003.png,benign,,0,1
0004.png,,8,0,0
"""


@pytest.fixture
def root(tmp_path, draw):
    draw(tmp_path / "images", "a/0001.png", "a/0002.png", "0003.png", "0004.png")
    (tmp_path / "labels.csv").write_text(LABELS)
    return tmp_path


def config(root, **overrides):
    base = {
        "layout": "image_table",
        "root": str(root),
        "classes": ["skin"],
        "attributes": ["hair", "ink"],
        "captions": {
            "with_attributes": "{cls} showing {attributes}",
            "without_attributes": "{cls}",
            "class_names": {},
            "attribute_names": {},
        },
        "on_error": "fail",
        "val_fraction": 0.1,
        "test_fraction": 0.2,
        "split_salt": "s",
        "limit": None,
        "table": {
            "file": "labels.csv",
            "images_dir": "images",
            "path_column": "path",
            "class_column": None,
            "group_column": None,
        },
    }
    return OmegaConf.merge(base, overrides)


def test_a_single_class_and_every_image_a_group_of_its_own(root):
    rows = load_dataset(config(root)).rows
    assert rows["image_id"].tolist() == ["a/0001.png", "a/0002.png", "0003.png", "0004.png"]
    assert rows["group"].tolist() == rows["image_id"].tolist() and set(rows["cls"]) == {"skin"}
    assert rows["path"][0] == str(root / "images" / "a" / "0001.png")
    assert rows["ink"].isna().tolist() == [True, True, False, False] and rows["hair"].tolist() == [1, 0, 0, 0]


def test_groups_keep_their_spelling_and_blank_ones_are_the_image(root):
    rows = load_dataset(config(root, table={"group_column": "patient"})).rows
    assert rows["group"].tolist() == ["7", "007", "0003.png", "8"]


def test_classes_come_from_their_column_and_others_are_left_out(root):
    table = load_dataset(config(root, classes=["benign", "malignant"], table={"class_column": "kind"}))
    assert table.rows["cls"].tolist() == ["benign", "malignant", "benign"]
    assert [(p.kind, p.row, p.fault) for p in table.problems] == [("other class", 5, False)]


def test_columns_that_bear_our_own_names_are_read_before_they_are_written(root):
    text = LABELS.replace("patient", "group").replace("kind", "cls").replace("path,", "image_id,", 1)
    (root / "labels.csv").write_text(text)
    names = {"path_column": "image_id", "class_column": "cls", "group_column": "group"}
    rows = load_dataset(config(root, classes=["benign"], table=names)).rows
    assert rows["group"].tolist() == ["7", "0003.png"] and rows["image_id"].tolist() == [
        "a/0001.png",
        "0003.png",
    ]


def test_parquet_is_read_as_well(root):
    import pandas as pd

    pd.read_csv(root / "labels.csv", dtype={"patient": str}).to_parquet(root / "labels.parquet")
    names = {"file": "labels.parquet", "group_column": "patient"}
    assert load_dataset(config(root, table=names)).rows.equals(
        load_dataset(config(root, table={"group_column": "patient"})).rows
    )


def test_missing_images_and_duplicates_leave(root):
    (root / "labels.csv").write_text(LABELS + "gone.png,benign,9,0,0\n0003.png ,benign,9,1,0\n")
    table = load_dataset(config(root, on_error="skip"))
    assert len(table.rows) == 4
    assert {p.kind: p.row for p in table.problems} == {"missing image": 6, "duplicate id": 7}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"attributes": ["hiar"]}, "asked for by dataset.attributes. Did you mean 'hair'?"),
        ({"table": {"path_column": "pth"}}, "asked for by dataset.table.path_column. Did you mean 'path'?"),
        ({"table": {"group_column": "patients"}}, "Did you mean 'patient'?"),
        ({"classes": ["beningn"], "table": {"class_column": "kind"}}, "Did you mean 'benign'?"),
        ({"classes": ["a", "b"]}, "without dataset.table.class_column give one name"),
        ({"table": {"file": "label.csv"}}, "Did you mean 'labels.csv'?"),
        ({"table": {"images_dir": "image"}}, "give dataset.table.images_dir=images"),
        ({"attributes": ["patient"]}, "line 4: patient is blank"),
    ],
)
def test_what_the_data_do_not_have_is_an_error_that_helps(root, overrides, words):
    if overrides.get("attributes") == ["patient"]:
        (root / "labels.csv").write_text(LABELS.replace(",7,", ",x,"))
        words = "line 2: patient is 'x'"
    with pytest.raises(UserError) as caught:
        load_dataset(config(root, **overrides))
    assert words in str(caught.value)


@pytest.mark.skipif(
    "LATENTPATH_REALDATA" not in os.environ, reason="LATENTPATH_REALDATA names no folder of real images"
)
def test_real_radiographs():
    root = Path(os.environ["LATENTPATH_REALDATA"]) / "chest_xray"
    names = {"path_column": "image", "group_column": "patient_id"}
    table = load_dataset(
        config(root, classes=["chest"], attributes=["Effusion", "Cardiomegaly"], table=names)
    )
    assert len(table.rows) == 711 and table.rows.groupby("group")["split"].nunique().max() == 1
    assert table.rows["Effusion"].sum() == 64
