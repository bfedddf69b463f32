"""Sheets for a human, and what is read from the filled-in CSV."""

import shutil
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from PIL import Image

from latentpath.errors import UserError
from latentpath.report.artefacts import read_run
from latentpath.report.contents import page_tables
from latentpath.report.human_labels import NUMBER, read_labels
from latentpath.report.label_sheets import write_sheets

FILLED = f"{NUMBER},hair,ink\n1,1,0\n2,0,0\n3,,1\n"


@pytest.fixture(scope="module")
def made(fake: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    few = {"attributes": ("hair", "ink"), "swap_steps": (5, 15, 45), "methods": ("swap",), "base": False}
    run_dir = tmp_path_factory.mktemp("runs") / "demo"
    fake.make_fake_run(run_dir, seeds=12, example_seeds=8, tsne=False, **few)
    write_sheets(read_run(run_dir), run_dir / "human_labels", 6)
    return run_dir


@pytest.fixture
def run_dir(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "demo"))


def test_the_sheets_show_numbers_alone_and_the_key_says_what_they_are(run_dir: Path):
    folder = run_dir / "human_labels"
    key, labels = pd.read_csv(folder / "key.csv"), pd.read_csv(folder / "labels.csv")
    assert list(labels) == [NUMBER, "hair", "ink"] and labels[["hair", "ink"]].isna().all(axis=None)
    assert len(key) == len(labels) == 6 * 2 * 3  # seeds, classes, neutral and two attributes
    assert set(key["probability"].round(6)) == {6 / 8}  # one strong swap step of three
    assert set(key.loc[key["method"] == "swap", "swap_step"]) == {5}
    with Image.open(folder / "sheet_1.png") as sheet:
        assert sheet.width > 6 * 160 and sheet.height > 6 * 160 and not sheet.info


def test_nothing_is_read_until_something_is_labelled(run_dir: Path):
    assert page_tables(read_run(run_dir))["human_labels"] is None


def test_filled_in_labels_become_figures_and_a_table(run_dir: Path):
    folder = run_dir / "human_labels"
    key, labels = pd.read_csv(folder / "key.csv"), pd.read_csv(folder / "labels.csv")
    for name in ("hair", "ink"):  # what was asked for is always there
        labels[name] = (key["attribute"].fillna("") == name).astype(int)
    labels.to_csv(folder / "labels.csv", index=False, sep=";", encoding="utf-8-sig")  # as Excel saves it
    run = read_run(run_dir)
    found = run.figures.get("present_human", "MEL", "hair")
    assert found is not None and found.n == 6 and found.high == 1
    assert run.figures.value("present_human", "MEL", "hair", method="neutral") == 0
    (first, *_), *_ = page_tables(run)["human_labels"].groups
    assert first[0].text == "all" and first[4].value > 0.9 and first[-1].text == "6"


def test_sheets_with_labels_are_not_drawn_over(run_dir: Path):
    before = (run_dir / "human_labels" / "labels.csv").read_text()
    assert len(write_sheets(read_run(run_dir), run_dir / "human_labels", 6)) == 1
    with pytest.raises(UserError, match=r"to_label=3: .*holds sheets of 6 seeds"):
        write_sheets(read_run(run_dir), run_dir / "human_labels", 3)
    assert (run_dir / "human_labels" / "labels.csv").read_text() == before


def test_more_seeds_than_have_pictures_are_refused(made: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"to_label=9: .* 8 seeds\. .*`examples`"):
        write_sheets(read_run(made), tmp_path, 9)


def test_labels_of_another_traversal_are_refused(run_dir: Path):
    file = run_dir / "human_labels" / "key.csv"
    pd.read_csv(file).assign(seed=lambda t: t["seed"] + 100).to_csv(file, index=False)
    labels = run_dir / "human_labels" / "labels.csv"
    labels.write_text(FILLED)
    with pytest.raises(UserError, match="belong to another traversal"):
        read_run(run_dir)


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "no image", "other numbers", "no seed", "seed in words"]
)
def test_a_damaged_key_is_named_without_advice_to_delete_the_labels(run_dir: Path, damage: str):
    folder = run_dir / "human_labels"
    key, file = pd.read_csv(folder / "key.csv"), folder / "key.csv"
    (folder / "labels.csv").write_text(FILLED)
    file.unlink()
    tables = {
        "empty": key.iloc[:0, :0],
        "no image": key.drop(columns="image"),
        "other numbers": key.assign(image=key["image"] + 1),
        "no seed": key.drop(columns="seed"),
        "seed in words": key.assign(seed="one"),
    }
    if damage != "missing":
        tables[damage].to_csv(file, index=False)
    with pytest.raises(UserError, match=r"Get it back from a copy, or rename") as raised:
        read_run(run_dir)
    assert str(raised.value).startswith(str(file)) and "Delete" not in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("2,0,0", "2,yes,0", "line 3, column 'hair': expected 1 if .* found 'yes'"),
        ("2,0,0", "2,0.5,0", "line 3, column 'hair': .* found '0.5'"),
        ("2,0,0", "1,0,0", "lines 2 and 3: image 1 stands twice"),
        ("2,0,0", "9,0,0", "line 3, column 'image number': expected a number from 1 to 4, .* found '9'"),
        ("2,0,0", ",0,0", "line 3, column 'image number': .* found ''"),
        ("ink", "tattoo", "no column 'ink'; expected image number, hair, ink"),
        ("ink", "hair ", "two columns are named 'hair'; keep one of them"),
        ("2,0,0", '2,"0,0', "a quotation mark .* opens a value and none closes it"),
        (FILLED, "", "cannot be read as a table: it is empty"),
    ],
)
def test_wrong_labels_are_named_with_file_line_and_value(tmp_path: Path, old: str, new: str, said: str):
    file = tmp_path / "labels.csv"
    file.write_text(FILLED.replace(old, new))
    with pytest.raises(UserError, match=said) as raised:
        read_labels(file, ["hair", "ink"], 4)
    assert str(file) in str(raised.value)


def test_empty_cells_missing_images_and_notes_are_fine(tmp_path: Path):
    file = tmp_path / "labels.csv"
    file.write_text("image number,note,ink,hair\n3,blurred,1, \n1,,0.0,1\n")
    labels = read_labels(file, ["hair", "ink"], 4)
    assert labels["hair"][1] == 1 and labels["ink"][1] == 0 and labels["ink"][3] == 1
    assert labels["hair"].isna().sum() == 1 and len(labels) == 2
