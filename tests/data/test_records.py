import logging

import pandas as pd
import pytest

from latentpath.data.captions import CaptionTemplate
from latentpath.data.find import files_present
from latentpath.data.label_table import LabelTable, find_table
from latentpath.data.records import ImageTable, Problem, report_problems
from latentpath.errors import UserError


def table(tmp_path, content, **kwargs):
    file = tmp_path / "labels.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return LabelTable(file, **kwargs)


def test_row_numbers_are_lines_of_the_file_even_after_blank_lines(tmp_path):
    rows = table(tmp_path, "image,hair\na,1\n\nb,0\n").rows
    assert rows["image"].to_dict() == {2: "a", 4: "b"}


def test_separator_byte_order_mark_spaces_and_leading_zeros(tmp_path):
    rows = table(tmp_path, b"\xef\xbb\xbfimage; hair \n007;1\n", text=["image"]).rows
    assert rows["image"].tolist() == ["007"] and rows["hair"].tolist() == ["1"]


def test_labels_outside_the_allowed_leave_with_their_line_and_value(tmp_path):
    labels = table(tmp_path, "image,hair\na,1.0\nb,2\nc,\nd,maybe\ne,-1\nf,0\n")
    labels.read_labels(["hair"], allowed=(0, 1, -1))
    assert labels.rows["image"].tolist() == ["a", "c", "e", "f"]
    assert labels.rows["hair"].isna().tolist() == [False, True, False, False]
    assert [(p.kind, p.row) for p in labels.problems] == [("odd label", 3), ("odd label", 5)]
    assert str(labels.problems[1]) == "line 5: hair is 'maybe'; expected 0, 1, -1 or blank"


def test_blanks_of_spaces_and_true_false_are_labels(tmp_path):
    labels = table(tmp_path, "image,hair,ink\na,True, \nb,False,1\n")
    labels.read_labels(["hair", "ink"], allowed=(0, 1))
    assert labels.rows["hair"].tolist() == [1, 0] and labels.problems == []
    assert labels.rows["ink"].isna().tolist() == [True, False]


def test_duplicate_and_blank_ids_leave_and_the_first_stays(tmp_path):
    labels = table(tmp_path, "image,hair\na,1\n,1\na,0\nb,0\n", text=["image"])
    labels.keep_unique("image")
    assert labels.rows["hair"].tolist() == ["1", "0"]
    assert {(p.kind, p.row) for p in labels.problems} == {("blank id", 3), ("duplicate id", 4)}
    assert str(labels.problems[1]) == "line 4: image a is in line 2 too, which is kept"


def test_an_unknown_column_names_the_near_match_and_who_asked(tmp_path):
    with pytest.raises(UserError) as caught:
        table(tmp_path, "image,hair\na,1\n").require(["hiar"], setting="dataset.attributes")
    assert "labels.csv has no column 'hiar', asked for by dataset.attributes. Did you mean 'hair'?" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"image,hair\n",
        b"image,hair\na,1\nb,1,1,1\n",
        b"image,hair\na,1,9\nb,1,9\n",
        b"image\n\x81\x8d\n",
    ],
)
def test_files_that_are_no_table_are_named(tmp_path, text):
    with pytest.raises(UserError, match=r"labels\.csv"):
        table(tmp_path, text)


def test_a_missing_table_names_the_near_one(tmp_path):
    (tmp_path / "isic_bias.csv").write_text("image\na\n")
    with pytest.raises(UserError, match=r"Did you mean 'isic_bias.csv'"):
        find_table(tmp_path, "isic_bais.csv")
    with pytest.raises(UserError, match="no table in that folder"):
        find_table(tmp_path, "elsewhere/isic_bias.csv")


def test_parquet_ids_become_text_and_blanks_stay_blank(tmp_path):
    pd.DataFrame({"image": [7, 8], "group": ["p", None], "hair": [True, False]}).to_parquet(
        tmp_path / "t.parquet"
    )
    labels = LabelTable(tmp_path / "t.parquet", text=["image", "group"])
    labels.read_labels(["hair"], allowed=(0, 1))
    assert labels.rows["image"].tolist() == ["7", "8"] and labels.rows["hair"].tolist() == [1, 0]
    assert labels.rows["group"].isna().tolist() == [False, True] and labels.rows.index.tolist() == [1, 2]


@pytest.mark.parametrize("folders", [1, 9])
def test_files_present_looks_in_full_folders_and_in_many_small_ones(tmp_path, folders):
    paths = [tmp_path / str(i % folders) / f"{i}.jpg" for i in range(9)] + [tmp_path / "gone" / "x.jpg"]
    for path in paths[:8]:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert files_present([str(path) for path in paths]) == [True] * 8 + [False] * 2


def problems_of(count):
    named = [Problem("odd label", "labels.csv", row, f"hair is {row}") for row in range(2, 5)]
    return [*named, Problem("odd label", "labels.csv", None, "and more", count - 3)]


def test_problems_are_counted_by_kind_and_the_first_few_named(caplog):
    with caplog.at_level(logging.WARNING):
        report_problems(problems_of(1200), "skip")
    (record,) = caplog.records
    assert "left out 1,200 images" in record.getMessage()
    assert "odd label: 1,200 in labels.csv\n    line 2: hair is 2\n" in record.getMessage()
    assert record.getMessage().endswith("and 1,197 more")


def test_fail_lists_them_and_says_what_to_do():
    with pytest.raises(UserError) as caught:
        report_problems(problems_of(5), "fail")
    assert "line 3: hair is 3" in str(caught.value) and "dataset.on_error=skip" in str(caught.value)


def test_rows_left_out_on_purpose_are_no_fault(caplog):
    report_problems([Problem("other class", "labels.csv", 2, "class BKL", fault=False)], "fail")
    assert not caplog.records


def test_captions_mention_what_is_known_to_be_there():
    template = CaptionTemplate(
        "X-ray showing {attributes}", "normal X-ray", {"chest": "chest"}, {"a": "A", "b": "B"}
    )
    rows = pd.DataFrame(
        {"cls": ["chest"] * 3, "split": "train", "a": [1.0, 0.0, 1.0], "b": [1.0, float("nan"), 0.0]}
    )
    images = ImageTable(rows, ("chest",), ("a", "b"), template)
    assert images.captions_of(rows) == ["X-ray showing A, B", "normal X-ray", "X-ray showing A"]
    plain = CaptionTemplate("X-ray showing {attributes}", "normal X-ray", {"chest": "chest"}, {})
    assert ImageTable(rows, ("chest",), (), plain).captions_of(rows) == ["normal X-ray"] * 3
    assert len(images.split("train")) == 3 and len(images.split("val")) == 0
    with pytest.raises(UserError, match="Did you mean 'val'"):
        images.split("vall")
