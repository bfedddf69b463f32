import logging
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from latentpath.config.schema import DatasetConfig
from latentpath.data.find import ImageFolder
from latentpath.data.load import load_dataset
from latentpath.errors import UserError

ONE_SPLIT = {"val_fraction": 0.0, "test_fraction": 0.0}  # four images do not fill three
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
        },
        "on_error": "fail",
        "split_salt": "s",
        "table": {
            "file": "labels.csv",
            "images_dir": "images",
            "path_column": "path",
            "class_column": None,
            "group_column": None,
        },
    }
    return OmegaConf.merge(OmegaConf.structured(DatasetConfig), base, overrides)


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


@pytest.mark.parametrize(
    ("files", "images_dir"),
    [
        (["a/0001.PNG", "A/0002.Png", "0003.jpeg", "0004.JPG"], "images"),  # case and suffix
        (["images/a/0001.png", "images/a/0002.png", "images/0003.png", "images/0004.png"], "images"),
        (["part1/a/0001.png", "part2/a/0002.png", "part1/x/0003.png", "part2/y/0004.png"], "images"),
        (["a/0001.png", "a/0002.png", "0003.png", "0004.png"], "."),
    ],
)
def test_images_are_found_whatever_their_folder_case_and_suffix(root, draw, files, images_dir):
    shutil.rmtree(root / "images")
    draw(root / "images", *files)
    rows = load_dataset(config(root, table={"images_dir": images_dir})).rows
    assert rows["image_id"].tolist() == ["a/0001.png", "a/0002.png", "0003.png", "0004.png"]
    assert [Path(path).stem for path in rows["path"]] == ["0001", "0002", "0003", "0004"]
    assert all(Path(path).is_file() for path in rows["path"])


@pytest.mark.parametrize("before", ["/home/else/set/images/", "C:\\Users\\Else\\images\\", "images/", "./"])
def test_paths_of_another_machine_lead_to_the_images_here(root, before):
    lines = LABELS.splitlines()
    (root / "labels.csv").write_text("\n".join([lines[0], *(before + line for line in lines[1:])]))
    assert len(load_dataset(config(root)).rows) == 4


def test_ids_without_a_suffix_are_found(root):
    (root / "labels.csv").write_text(LABELS.replace(".png", ""))
    rows = load_dataset(config(root)).rows
    assert rows["path"].tolist() == [str(root / "images" / f"{name}.png") for name in rows["image_id"]]


def test_an_image_of_another_folder_is_not_taken_for_one_that_is_missing(root):
    """Every patient has a view1.png: a base name alone says nothing."""
    (root / "images" / "a" / "0001.png").rename(root / "images" / "0001.png")
    with pytest.raises(UserError, match=r"missing image: 1 in(.|\n)*line 2: no file .*images/a/0001.png"):
        load_dataset(config(root))


def test_of_two_files_of_one_name_the_tables_suffix_decides_or_none(root, draw):
    draw(root / "images", "0003.jpg")
    assert load_dataset(config(root)).rows["path"][2].endswith("0003.png")
    (root / "labels.csv").write_text(LABELS.replace("0003.png", "0003"))
    with pytest.raises(UserError, match=r"2 files are called 0003: .*0003.jpg and .*0003.png"):
        load_dataset(config(root))


def test_a_wrong_images_dir_says_where_the_images_are(root):
    with pytest.raises(UserError, match=r"are in .*/images: give dataset.table.images_dir=images"):
        load_dataset(config(root, table={"images_dir": "imgs"}))


def test_no_image_that_can_be_read_is_one_sentence_at_once(root):
    for file in (root / "images").rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(
        UserError, match=r"none of 4 images that were tried can be read, the first: cannot read"
    ):
        load_dataset(config(root, on_error="skip"))


def test_an_odd_label_is_named_and_nothing_else_is_blamed(root):
    (root / "labels.csv").write_text(LABELS.replace(",1,", ",UNK,").replace(",0,", ",UNK,"))
    named = {"classes": ["benign"], "table": {"class_column": "kind"}, "on_error": "skip"}
    with pytest.raises(
        UserError, match=r"4 of 4 rows(.|\n)*line 2: hair is 'UNK'; expected 0, 1, -1 or blank"
    ):
        load_dataset(config(root, **named))


@pytest.mark.parametrize(
    "column", ["patient", "Patient_ID", "subject", "case_id", "lesion_id", "StudyID", "pid"]
)
def test_without_a_group_column_the_one_that_looks_like_patients_is_named(root, caplog, column):
    (root / "labels.csv").write_text(LABELS.replace("patient", column).replace("007", "7"))
    with caplog.at_level(logging.WARNING):
        load_dataset(config(root, **ONE_SPLIT))
    (told,) = [message for message in caplog.messages if "group_column" in message]
    assert "3 images are of 2 groups" in told and f"dataset.table.group_column={column!r}" in told


def test_nothing_is_said_where_each_image_is_a_patient_or_groups_are_given(root, caplog):
    with caplog.at_level(logging.WARNING):
        load_dataset(config(root, table={"group_column": "patient"}, **ONE_SPLIT))
        load_dataset(config(root, table={"group_column": "path"}, **ONE_SPLIT))
        (root / "labels.csv").write_text(LABELS.replace(",,0,1", ",9,0,1"))
        load_dataset(config(root, **ONE_SPLIT))
    assert not [message for message in caplog.messages if "group_column" in message]


def test_films_of_different_depth_are_told(root, caplog):
    for file, bits in zip(sorted((root / "images").rglob("*.png")), (12, 12, 10, 12), strict=True):
        Image.fromarray(np.full((4, 4), 2**bits - 1, np.uint16)).save(file)
    with caplog.at_level(logging.WARNING):
        load_dataset(config(root, **ONE_SPLIT))
    (told,) = [message for message in caplog.messages if " bits" in message]
    assert "hold values of 10 and 12 bits" in told


LETTERS = st.characters(exclude_categories=["Cc", "Cs", "Cn"], exclude_characters="/\\")
NAMES = st.text(LETTERS, min_size=1, max_size=9)


@given(stems=st.lists(NAMES.map(str.strip).filter(bool), min_size=1, max_size=6), data=st.data())
def test_names_of_any_letters_are_found_in_their_own_case_or_not_at_all(tmp_path_factory, png, stems, data):
    """Each name gets its own file, or none where two files could be meant; never another's."""
    folder = tmp_path_factory.mktemp("images")
    for number, stem in enumerate(stems):
        (folder / f"{number}").mkdir()
        suffix = data.draw(st.sampled_from([".png", ".JPG", ".jpeg"]))
        (folder / f"{number}" / f"{stem}{suffix}").write_bytes(png)
    form = data.draw(st.sampled_from(["NFC", "NFD"]))
    asked = [f"{number}/{unicodedata.normalize(form, stem)}" for number, stem in enumerate(stems)]
    for name, path in zip(asked, ImageFolder(folder).find(asked), strict=True):
        hidden = name.split("/")[1].startswith(".")
        assert path is None if hidden else Path(str(path)).parent.name == name.split("/")[0]


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
