"""Tables in every common format read as the same table, and damaged ones are named."""

from __future__ import annotations

import csv
import gzip
import io
import logging
import unicodedata

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentpath.data.label_table import LabelTable, find_table
from latentpath.data.read_table import plain_name, read_table
from latentpath.errors import UserError

# Letters of Windows-1252 and of the whole of Unicode, without line ends, quotes' own trouble left in.
WORD = st.text(st.characters(codec="cp1252", exclude_categories=["Cc", "Zs"]), min_size=1, max_size=8)
LETTERS = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp", "Cn"]), min_size=1, max_size=8
)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp1252")


def saved(path, header, rows, *, separator=",", encoding="utf-8", sep_line=False, zipped=False, end="\n"):
    text = io.StringIO()
    if sep_line:
        text.write(f"sep={separator}{end}")
    csv.writer(text, delimiter=separator, lineterminator=end).writerows([header, *rows])
    content = text.getvalue().encode(encoding)
    path.write_bytes(gzip.compress(content) if zipped else content)
    return path


def plain(words):
    """No two are the same column, none is a missing value or what a separator would be guessed from."""
    return len({plain_name(word) for word in words}) == len(words) and not any(
        set(word) & set(',;\t|"') or word.lower().startswith("sep=") or word in ("nan", "NA")
        for word in words
    )


@given(
    names=st.lists(WORD, min_size=2, max_size=5).filter(plain),
    labels=st.lists(st.lists(st.sampled_from(["0", "1", "-1", ""]), min_size=5, max_size=5), max_size=4),
    separator=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(ENCODINGS),
    sep_line=st.booleans(),
    zipped=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    data=st.data(),
)
def test_a_table_reads_the_same_in_every_format(
    tmp_path, names, labels, separator, encoding, sep_line, zipped, end, data
):
    if encoding == "cp1252" and "".join(names).isascii() is False:
        content = ",".join(names).encode("cp1252")
        try:  # bytes that are UTF-8 by chance are read as such
            content.decode("utf-8")
            encoding = "utf-8"
        except UnicodeDecodeError:
            pass
    rows = [
        ["first", *"1" * (len(names) - 1)],
        *([f"id{k}", *row][: len(names)] for k, row in enumerate(labels)),
    ]
    order = data.draw(st.permutations(range(len(names))))
    file = saved(
        tmp_path / "t.csv",
        [names[k] for k in order],
        [[row[k] for k in order] for row in rows],
        separator=separator,
        encoding=encoding,
        sep_line=sep_line,
        zipped=zipped,
        end=end,
    )
    table = LabelTable(file)
    table.require(names, setting="dataset.attributes")
    table.read_labels(names[1:], allowed=(0, 1, -1))
    assert table.rows[names[0]].tolist() == [row[0] for row in rows]
    assert table.rows.index.tolist() == [k + sep_line for k in range(2, 2 + len(rows))]
    for place, name in enumerate(names[1:], 1):
        expected = [float(row[place]) if row[place] else None for row in rows]
        assert [None if pd.isna(value) else value for value in table.rows[name]] == expected
    assert table.problems == []


@given(name=LETTERS.filter(lambda word: plain([word])), form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_a_column_is_found_however_its_accents_are_composed(tmp_path, name, form):
    """macOS decomposes what is typed; a configuration and a table then differ in bytes only."""
    asked = unicodedata.normalize("NFD", name)
    if plain_name(unicodedata.normalize(form, name)) != plain_name(asked):
        form = "NFC"  # the compatibility forms change letters
    file = saved(tmp_path / "t.csv", ["image ", unicodedata.normalize(form, name) + " "], [["a", "1"]])
    table = LabelTable(file)
    table.require(["image", asked], setting="dataset.attributes") if plain_name(name) != "image" else None
    assert plain_name(name) == "image" or table.rows[asked].tolist() == ["1"]


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_message_that_names_the_file(tmp_path, content):
    file = tmp_path / "t.csv"
    file.write_bytes(content)
    try:
        assert len(read_table(file)) > 0
    except UserError as error:
        assert str(file) in str(error)


@given(cut=st.integers(0, 60), flip=st.integers(0, 59), zipped=st.booleans())
def test_a_damaged_file_gives_a_table_or_a_message(tmp_path, cut, flip, zipped):
    file = saved(tmp_path / "t.csv", ["image", "hair"], [["a", "1"], ["b", "0"], ["c", "-1"]], zipped=zipped)
    content = bytearray(file.read_bytes())
    content[flip % len(content)] ^= 0xFF
    file.write_bytes(bytes(content[: cut + 1]))
    try:
        read_table(file)
    except UserError as error:
        assert str(file) in str(error)


def test_what_excel_saves_in_western_europe_is_read_and_said_so(tmp_path, caplog):
    file = saved(
        tmp_path / "t.csv", ["image", "Épanchement"], [["é.png", "0,5"]], separator=";", encoding="cp1252"
    )
    with caplog.at_level(logging.WARNING):
        table = LabelTable(file)
    table.read_labels(["Épanchement"], allowed=None)
    assert table.rows.iloc[0].tolist() == ["é.png", 0.5]
    (record,) = caplog.records
    assert "Windows-1252" in record.getMessage() and "save it as 'CSV UTF-8'" in record.getMessage()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04....", "an Excel workbook or a zip archive. Save it as 'CSV UTF-8'"),
        (b"\xd0\xcf\x11\xe0....", "an old Excel workbook"),
        (b"PAR1....", "a parquet file under another name"),
        (b"\n \n", "it is empty"),
        (b"\x1f\x8b broken", "cannot be read as a table"),
        (b"a,b\n1,2,3\n1,2\n", "more fields than its header"),
        (b"a,b\n1,2\n1,2,3\n", "line 3"),
        (b"image\n\x81\x8d\n", "neither UTF-8 nor Windows' own; save it as 'CSV UTF-8'"),
    ],
)
def test_what_is_no_table_is_named_with_what_to_do(tmp_path, content, words):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_table(tmp_path / "t.csv")
    assert str(tmp_path / "t.csv") in str(caught.value) and words in str(caught.value)


def test_two_columns_that_differ_by_spaces_are_named_only_if_they_are_asked_for(tmp_path):
    file = saved(tmp_path / "t.csv", ["id", "x", "id ", "notes", "notes"], [["a", "1", "b", "", ""]])
    table = LabelTable(file)
    table.require(["x"], setting="dataset.attributes")
    for name, places in (("id", "1, 3"), ("notes", "4, 5")):
        with pytest.raises(UserError) as caught:
            table.require([name], setting="dataset.table.path_column")
        assert f"has 2 columns named {name!r}" in str(caught.value)
        assert f"asks for one: columns {places};" in str(caught.value)


def test_an_unknown_column_does_not_offer_the_index_that_pandas_saved(tmp_path):
    pd.DataFrame({"image": ["a"], "hair": [1]}).to_csv(tmp_path / "t.csv")
    with pytest.raises(UserError, match=r"Choose from: hair, image\."):
        LabelTable(tmp_path / "t.csv").require(["zzz"], setting="dataset.attributes")


@pytest.mark.parametrize(
    ("given_labels", "expected"),
    [
        (["True", "False", ""], [1, 0, None]),
        (["yes", "NO", " "], [1, 0, None]),
        (["1", "0.0", "NA"], [1, 0, None]),
        (["1,0", "0,0", "null"], [1, 0, None]),
        ([" 1 ", "+1", "1e0"], [1, 1, 1]),
    ],
)
def test_labels_in_numbers_and_words(tmp_path, given_labels, expected):
    rows = [[f"{k}", label] for k, label in enumerate(given_labels)]
    table = LabelTable(saved(tmp_path / "t.csv", ["image", "hair"], rows))
    table.read_labels(["hair"], allowed=(0, 1))
    assert [None if pd.isna(value) else value for value in table.rows["hair"]] == expected
    assert table.problems == []


def test_one_odd_word_among_true_and_false_is_the_one_that_is_named(tmp_path):
    labels = ["True", "False", "True", "UNK", "False"]
    rows = [[f"{k}", label] for k, label in enumerate(labels)]
    table = LabelTable(saved(tmp_path / "t.csv", ["image", "Effusion"], rows))
    table.read_labels(["Effusion"], allowed=(0, 1, -1))
    assert [str(p) for p in table.problems] == ["line 5: Effusion is 'UNK'; expected 0, 1, -1 or blank"]
    assert len(table.rows) == 4


@pytest.mark.parametrize("odd", ["inf", "2", "-2", "1.0.0", "y", "t", "positive", "0x1", "1 0", "nan%"])
def test_odd_labels_are_named_as_they_are_written(tmp_path, odd):
    table = LabelTable(saved(tmp_path / "t.csv", ["image", "hair"], [["a", "1"], ["b", "0"], ["c", odd]]))
    table.read_labels(["hair"], allowed=(0, 1, -1))
    assert [str(p) for p in table.problems] == [f"line 4: hair is {odd!r}; expected 0, 1, -1 or blank"]


def test_a_compressed_table_is_found_under_the_usual_name(tmp_path):
    saved(tmp_path / "labels.csv.gz", ["image"], [["a"]], zipped=True)
    assert read_table(find_table(tmp_path, "labels.csv"))["image"].tolist() == ["a"]


def test_a_table_is_found_one_folder_below_and_named_one_above(tmp_path):
    (tmp_path / "set" / "images").mkdir(parents=True)
    file = saved(tmp_path / "set" / "labels.csv", ["image"], [["a"]])
    assert find_table(tmp_path, "labels.csv") == file
    with pytest.raises(UserError, match=f"give dataset.root={tmp_path / 'set'}$"):
        find_table(tmp_path / "set" / "images", "labels.csv")
    (tmp_path / "other").mkdir()
    saved(tmp_path / "other" / "labels.csv", ["image"], [["a"]])
    with pytest.raises(UserError, match="is in several folders of"):
        find_table(tmp_path, "labels.csv")
